"""The episode store under kills, Ctrl-C, full disks and damage: what was acknowledged stays, what is broken is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lotj.data.dataset import Dataset
from lotj.data.inspect import check, describe
from lotj.data.store import EpisodeWriter
from lotj.errors import DataError, StorageError
from test_data import SIZE, assert_same, domain, episode, fill


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


# A kill, Ctrl-C or full disk at any moment

ENDLESS = """
import os, sys
from pathlib import Path
from lotj.data.store import EpisodeWriter
from test_data import domain, episode
with EpisodeWriter(Path(sys.argv[1]), domain(), 64) as writer:
    for seed in range(10**6):
        if ("expert", seed) not in writer.finished:
            writer.append(episode(seed, (0,) * 20 + (1,), size=64))
            os.write(1, b"%d\\n" % seed)  # acknowledged
"""


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen:
    """Starts a Python that can import lotj and this file."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[arg-type]
    )


def test_kill_9_at_random_moments_keeps_every_acknowledged_episode(root: Path) -> None:
    generator = np.random.default_rng(0)
    acknowledged: list[int] = []
    for _ in range(6):
        process = python(ENDLESS, root)
        assert process.stdout is not None
        first = process.stdout.readline()  # it is writing now
        time.sleep(generator.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()
        lines = (first + rest).decode().splitlines()
        acknowledged += [int(line) for line in lines]
        dataset = Dataset.open(root)
        stored = dataset.episodes["seed"].tolist()
        # In order, none twice; at most the one that was killed between its line and its acknowledgement is extra.
        assert stored == list(range(len(stored)))
        assert set(acknowledged) <= set(stored)
        assert len(stored) - len(acknowledged) <= 6
    for number, seed in enumerate(stored):
        assert_same(dataset, number, episode(seed, (0,) * 20 + (1,), size=64))
    assert check(root) == []
    assert len(acknowledged) > 20


@pytest.mark.parametrize("name", ["episodes.jsonl", "frames.u8", "frames.tbl"])
def test_every_torn_state_of_the_last_append_is_read_and_repaired(root: Path, tmp_path: Path, name: str) -> None:
    """A kill leaves a prefix of what one append writes: frames, then rows, then the line. Each prefix is tried."""
    folder = fill(root, episode(1))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill(root, episode(2))
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    order = ["frames.u8", "frames.tbl", "episodes.jsonl"]
    for length in range(len(before[name]), len(after[name])):
        for other in order:
            done = order.index(other) < order.index(name)
            content = after[name][:length] if other == name else (after if done else before)[other]
            (folder / other).write_bytes(content)
        assert Dataset.open(root).episodes["seed"].tolist() == [1]
        assert check(root) == []
        if length % 16 == 0:  # the writer syncs to disk: not at each byte
            fill(root, episode(2))
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == after


def test_a_line_torn_by_a_power_cut_is_ignored(root: Path) -> None:
    folder = fill(root, episode(1), episode(2))
    lines = (folder / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "episodes.jsonl").write_bytes(lines[0] + b"\0" * 50 + lines[1][50:])
    assert Dataset.open(root).episodes["seed"].tolist() == [1]
    EpisodeWriter(root, domain(), SIZE).close()
    assert (folder / "frames.u8").stat().st_size == 3 * 48 and (folder / "frames.tbl").stat().st_size == 3 * 37
    assert (folder / "episodes.jsonl").read_bytes() == lines[0]
    fill(root, episode(3))
    assert Dataset.open(root).episodes["seed"].tolist() == [1, 3]


def test_a_domain_that_was_only_begun_is_passed_over(root: Path) -> None:
    fill(root, episode(1))
    (root / "domains" / "begun").mkdir()
    (root / "domains" / "begun" / "episodes.jsonl").touch()
    (root / "domains" / ".hidden").touch()
    assert [d.name for d in Dataset.open(root).domains] == [domain().name]
    assert check(root) == []


INTERRUPTED = """
import signal, sys
from pathlib import Path
import numpy as np
from lotj.data.inspect import check
from lotj.data.store import EpisodeWriter
from test_data import domain, episode
generator = np.random.default_rng(0)
interrupts = 0
with EpisodeWriter(Path(sys.argv[1]), domain(), 32) as writer:
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # raises KeyboardInterrupt, as Ctrl-C does
    for seed in range(150):
        signal.setitimer(signal.ITIMER_REAL, generator.uniform(1e-5, 1.5e-3))
        try:
            writer.append(episode(seed, (0,) * 20 + (1,), size=32))
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(seed, flush=True)
        except KeyboardInterrupt:
            interrupts += 1
            assert check(Path(sys.argv[1])) == [], "a reader would see an episode that is not whole"
print(interrupts, file=sys.stderr)
"""


def test_ctrl_c_inside_append_leaves_the_writer_usable(root: Path) -> None:
    process = python(INTERRUPTED, root)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert int(errors) > 10
    dataset = Dataset.open(root)
    stored = dataset.episodes["seed"].tolist()
    assert {int(line) for line in output.split()} <= set(stored)
    for number, seed in enumerate(stored):
        assert_same(dataset, number, episode(seed, (0,) * 20 + (1,), size=32))
    assert check(root) == []


LIMITED = """
import resource, sys
from pathlib import Path
from lotj.data.store import EpisodeWriter
from lotj.errors import StorageError
from test_data import domain, episode
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with EpisodeWriter(Path(sys.argv[1]), domain(), 64) as writer:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
    for seed in range(100):
        try:
            if sys.argv[3] == "append":
                writer.append(episode(seed, size=64))
            else:
                writer.discard("expert", "far", seed, "dislodged")
        except StorageError as error:
            print(seed, error)
            print((writer.folder / "frames.u8").stat().st_size, (writer.folder / "episodes.jsonl").stat().st_size)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # space was freed
            writer.append(episode(seed, size=64))
            break
"""


def test_a_file_size_limit_stops_with_one_line_and_keeps_what_was_finished(root: Path) -> None:
    # An episode of 3 frames of 64 pixels is 36,864 bytes: 100,000 bytes hold two and a torn third.
    output, errors = python(LIMITED, root, 100_000, "append").communicate(timeout=60)
    folder = root / "domains" / domain().name
    message, sizes = output.decode().splitlines()
    assert message == (
        f"2 disk full at {folder / 'frames.u8'} (File too large): free space and run again; finished episodes are kept"
    ), errors.decode()
    assert sizes.split()[0] == "73728"  # the torn third is cut: its space is free again
    dataset = Dataset.open(root)
    assert dataset.episodes["seed"].tolist() == [0, 1, 2]
    for seed in range(3):
        assert_same(dataset, seed, episode(seed, size=64))
    assert check(root) == []


def test_a_full_disk_in_the_index_leaves_no_half_line(root: Path) -> None:
    # {"discarded":"dislodged","kind":"expert","scenario":"far","seed":N} and a newline: 68 bytes for N < 10.
    output, errors = python(LIMITED, root, 150, "discard").communicate(timeout=60)
    assert output.decode().startswith("2 disk full at"), errors.decode()
    assert output.decode().split()[-2:] == ["0", "136"]
    dataset = Dataset.open(root)
    assert dataset.discarded[domain().name] == Counter(dislodged=2)
    assert dataset.episodes["seed"].tolist() == [2]


FULL = """
import sys
from pathlib import Path
from lotj.data.store import EpisodeWriter
from lotj.data.dataset import Dataset
from lotj.data.inspect import check
from lotj.errors import StorageError
from test_data import domain, episode
root, filler = Path(sys.argv[1]) / "set", Path(sys.argv[1]) / "filler"
filler.write_bytes(bytes(200_000))
with EpisodeWriter(root, domain(), 64) as writer:
    try:
        for seed in range(100):
            writer.append(episode(seed, size=64))
    except StorageError as error:
        print(error)
held = Dataset.open(root).episodes["seed"].tolist()
assert held == list(range(seed)) and 0 < seed < 100 and check(root) == [], held
filler.unlink()
with EpisodeWriter(root, domain(), 64) as writer:
    writer.append(episode(seed, size=64))
assert Dataset.open(root).episodes["seed"].tolist() == held + [seed] and check(root) == []
"""


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A small memory disk of its own, where the machine lets a user mount one."""
    script = 'mount -t tmpfs -o size=512k t "$1" && shift && exec "$@"'
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "-", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a user mount a small disk")
    here = Path(__file__).parent
    result = subprocess.run(
        [*mount, sys.executable, "-c", FULL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent / "src")])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("disk full at ") and "(No space left on device)" in result.stdout
    assert result.stdout.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write .*file.*; check the folder's permissions"):
        EpisodeWriter(tmp_path / "file" / "set", domain(), SIZE)


# Damage: each is one line that names the file, the rule and the way out


def damage(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"meta.json: version is 2, this lotj reads 1; .*collect again"),
        ({"format": "other"}, r"meta.json: format is 'other', not 'lotj-episodes'"),
        ({"image_size": 0}, r"meta.json: image_size is 0"),
        ({"settings": None}, r"settings a NoneType"),
    ],
)
def test_other_versions_and_formats(root: Path, changes: dict, message: str) -> None:
    fill(root, episode(1))
    damage(root / "meta.json", **changes)
    for attempt in (Dataset.open, check, describe, lambda r: EpisodeWriter(r, domain(), SIZE)):
        with pytest.raises(DataError, match=message) as caught:
            attempt(root)
        assert "\n" not in str(caught.value)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set at .*nowhere.*`lotj collect`"):
        Dataset.open(tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"is not a data set: it has no meta.json"):
        Dataset.open(tmp_path)
    with pytest.raises(DataError, match=r"is not a data set but holds 'holiday.jpg': name a new or empty folder"):
        EpisodeWriter(tmp_path, domain(), SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("foreign", ["notes.txt", "folder/x.bin"])
def test_foreign_things_among_the_domains(root: Path, foreign: str) -> None:
    fill(root, episode(1))
    path = root / "domains" / foreign
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(DataError, match=r"is not part of a data set: it has no domain.json; move it elsewhere"):
        Dataset.open(root)


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("frames.u8", None, r"frames.u8 is missing: 6 frames need it; copy the data set again, or delete"),
        ("frames.tbl", None, r"frames.tbl is missing: 6 frames need it"),
        ("frames.u8", 287, r"frames.u8 holds 287 bytes, but 6 frames of 48 bytes need 288"),
        ("frames.tbl", 0, r"frames.tbl holds 0 bytes, but 6 frames of 37 bytes need 222"),
    ],
)
def test_missing_and_short_files(root: Path, name: str, keep: int | None, message: str) -> None:
    folder = fill(root, episode(1), episode(2))
    if keep is None:
        (folder / name).unlink()
    else:
        os.truncate(folder / name, keep)
    with pytest.raises(DataError, match=message):
        Dataset.open(root)
    with pytest.raises(DataError, match=message):
        EpisodeWriter(root, domain(), SIZE)
    assert len(check(root)) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'{"id":0', b'{"id":', "not a record"),
        (b'"id":0', b'"id":5', "id 5 at frame 0 where id 0 at frame 0 must follow"),
        (b'"seed":1', b'"seed":-1', "seed is -1"),
        (b'"seed":1', b'"seed":"1"', "seed is '1'"),
        (b'"expert"', b'"wizard"', "kind 'wizard'"),
        (b'"n_frames":3', b'"n_frames":1', "n_frames is 1"),
        (b'"n_frames":3', b'"n_frames":4', "first_frame|id 1 at frame 3 where id 1 at frame 4 must follow"),
        (b'"crc":', b'"crc":-', "crc is -"),
        (b'"truncated":false', b'"truncated":0', "must be true or false"),
        (b'"terminated"', b'"finished"', "terminated is missing"),
        (b'{"id":0', b'[{"id":0', "not a record"),
        (b'"expert"', b'["expert"]', "not a record"),
    ],
)
def test_a_corrupt_line_in_the_middle(root: Path, old: bytes, new: bytes, message: str) -> None:
    folder = fill(root, episode(1), episode(2), episode(3))
    index = folder / "episodes.jsonl"
    index.write_bytes(index.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match=r"episodes.jsonl, line [12]: .*" + f"({message})" + ".*restore") as caught:
        Dataset.open(root)
    assert "\n" not in str(caught.value)


def test_a_damaged_domain_file(root: Path) -> None:
    path = fill(root, episode(1)) / "domain.json"
    damage(path, seed="0", colour="red")
    with pytest.raises(DataError, match=r"domain.json: colour, seed missing, unknown or of the wrong type"):
        Dataset.open(root)
    path.write_text("{")
    with pytest.raises(DataError, match=r"domain.json is damaged"):
        Dataset.open(root)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"holds a list, not an object"):
        Dataset.open(root)


def test_a_renamed_domain_folder(root: Path) -> None:
    folder = fill(root, episode(1))
    folder.rename(folder.with_name("other"))
    with pytest.raises(DataError, match="name is 'peg.sawbot.0' but the folder is 'other'; rename"):
        Dataset.open(root)


def test_nothing_but_success_gives_no_transitions(root: Path) -> None:
    fill(root, episode(1, (1, 1), "half"))
    with pytest.raises(DataError, match="all 1 episodes start and stay in success"):
        Dataset.open(root).transitions()


def test_check_finds_one_flipped_bit(root: Path) -> None:
    folder = fill(root, episode(1), episode(2, kind="press"), episode(3))
    told: list[tuple[int, int]] = []
    assert check(root, lambda done, total: told.append((done, total))) == []
    assert told == [(1, 3), (2, 3), (3, 3)]
    for name, at in (("frames.u8", 3 * 48 + 5), ("frames.tbl", 3 * 37)):
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 1
        (folder / name).write_bytes(content)
        (problem,) = check(root)
        assert "episode 1 (press, seed 2): frames or rows do not match their checksum; copy" in problem
        content[at] ^= 1
        (folder / name).write_bytes(content)
    index = folder / "episodes.jsonl"
    index.write_bytes(index.read_bytes().replace(b'"success":true', b'"success":false', 1))
    (problem,) = check(root)
    assert "episode 0 (expert, seed 1): the index and the last row disagree about success" in problem


# Size

FLAT = """
import resource, sys
from pathlib import Path
import numpy as np
from lotj.data.dataset import Dataset
dataset = Dataset.open(Path(sys.argv[1]))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, dataset.n_frames, 1000):
    dataset.images(np.arange(start, min(start + 1000, dataset.n_frames)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024, "MB")
"""


@pytest.mark.slow
def test_memory_stays_flat_while_all_frames_are_read(root: Path) -> None:
    """60,000 frames of 64 pixels are 737 MB (holes on disk); reading them all must not take them into memory."""
    folder = fill(root, episode(0, size=64))
    line = json.loads((folder / "episodes.jsonl").read_text())
    with open(folder / "episodes.jsonl", "a") as index:
        for number in (1, 2):
            more = {"id": number, "seed": number, "first_frame": 3 + (number - 1) * 30_000, "n_frames": 30_000}
            index.write(json.dumps({**line, **more}) + "\n")
    os.truncate(folder / "frames.u8", 60_003 * 12_288)
    os.truncate(folder / "frames.tbl", 60_003 * 37)
    output, errors = python(FLAT, root).communicate(timeout=120)
    assert int(output.split()[0]) < 350, errors.decode()
