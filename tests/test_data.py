"""The episode store: what was acknowledged stays, what is damaged is named, and the numbers are the ones written."""

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
from PIL import Image
from rich.console import Console

from lotj.data.dataset import Dataset
from lotj.data.inspect import check, describe, summarise
from lotj.data.pictures import choose, contact_sheet, film_strip, record_rerun, save_png
from lotj.data.store import EpisodeWriter
from lotj.errors import DataError, NumericsError, StorageError
from lotj.experience import KINDS, Domain, Episode

SIZE = 4  # pixels, in most tests: a frame is 4 * 4 * 3 = 48 bytes, a row 3 * 4 + 6 * 4 + 1 = 37 bytes


def domain(name: str = "peg.sawbot.0", split: str = "train") -> Domain:
    return Domain(name=name, connector="peg", family="pegs", robot="sawbot", seed=0, split=split)


def episode(
    seed: int,
    success: tuple[int, ...] = (0, 0, 1),
    kind: str = "expert",
    truncated: bool = False,
    name: str = "peg.sawbot.0",
    size: int = SIZE,
) -> Episode:
    """An episode whose every number follows from its seed and the frame: pixel = 10 seed + step, action = step / 10."""
    n = len(success)
    steps = np.arange(n)
    frames = np.broadcast_to((10 * seed + steps)[:, None, None, None] % 256, (n, size, size, 3)).astype(np.uint8)
    state = np.zeros((n, 6), np.float32)
    state[:, 2] = 0.02 - 0.01 * steps
    state[:, 5] = seed
    return Episode(
        frames=frames,
        actions=np.repeat(steps[:-1, None] / 10, 3, axis=1).astype(np.float32),
        success=np.array(success, bool),
        state=state,
        terminated=bool(success[-1]) and not truncated,
        truncated=truncated,
        domain=name,
        scenario="far",
        kind=kind,
        seed=seed,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def fill(root: Path, *episodes: Episode, **settings: object) -> Path:
    """Writes the episodes, each to its domain; returns the folder of the last domain."""
    for item in episodes:
        with EpisodeWriter(root, domain(item.domain), item.frames.shape[1], settings or None) as writer:
            writer.append(item)
    return root / "domains" / episodes[-1].domain


def assert_same(dataset: Dataset, number: int, expected: Episode) -> None:
    """Every bit of a stored episode is the one given."""
    entry = dataset.episodes[number]
    at = slice(entry["first_frame"], entry["first_frame"] + entry["n_frames"])
    assert (dataset.images(np.arange(at.start, at.stop)) == expected.frames).all()
    assert dataset.frame_action[at][:-1].tobytes() == expected.actions.tobytes()
    assert np.isnan(dataset.frame_action[at][-1]).all()
    assert dataset.frame_state[at].tobytes() == expected.state.tobytes()
    assert (dataset.frame_success[at] == expected.success).all()
    assert (entry["terminated"], entry["truncated"]) == (expected.terminated, expected.truncated)
    assert (KINDS[entry["kind"]], entry["seed"]) == (expected.kind, expected.seed)


# Writing and reading


def test_three_frames_come_back_bit_for_bit(root: Path) -> None:
    folder = fill(root, episode(7))
    dataset = Dataset.open(root)
    assert_same(dataset, 0, episode(7))
    assert (folder / "frames.u8").stat().st_size == 3 * 48
    assert (folder / "frames.tbl").stat().st_size == 3 * 37
    assert dataset.images(np.array([2, 0]))[:, 0, 0, 0].tolist() == [72, 70]
    assert (len(dataset), dataset.n_frames, dataset.image_size, dataset.domains) == (1, 3, SIZE, (domain(),))


def test_columns_of_two_domains(root: Path) -> None:
    fill(root, episode(1, (0, 1), name="b"), episode(2, (0, 0, 0), "press", True, "a"), episode(3, (0, 1), name="a"))
    dataset = Dataset.open(root)  # a: press (3 frames), expert (2); b: expert (2)
    assert [d.name for d in dataset.domains] == ["a", "b"]
    assert dataset.episodes["first_frame"].tolist() == [0, 3, 5]
    assert dataset.episodes["success"].tolist() == [False, True, True]
    assert dataset.episodes["success_frames"].tolist() == [0, 1, 1]
    assert dataset.episodes["min_z"].tolist() == pytest.approx([0.0, 0.01, 0.01])
    assert dataset.frame_domain.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert dataset.frame_kind.tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert dataset.frame_episode.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.frame_step.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert dataset.images(np.array([6, 0, 4, 6]))[:, 3, 3, 2].tolist() == [11, 20, 31, 11]


def test_transitions_stop_at_success_and_keep_time_outs(root: Path) -> None:
    fill(
        root,
        episode(0, (0, 0, 1)),  # frames 0 1 2
        episode(1, (0, 1, 0, 0), "withdraw", True),  # frames 3 4 5 6: in at 4, out again at 5
        episode(2, (0, 0), "press", True),  # frames 7 8
        episode(3, (1, 1), "half"),  # frames 9 10: starts in success, so it has no transition
    )
    found = Dataset.open(root).transitions()
    assert found.frame.tolist() == [0, 1, 3, 5, 7]
    assert found.reward.tolist() == [0, 1, 1, 0, 0]
    assert found.terminated.tolist() == [False, True, True, False, False]
    assert found.truncated.tolist() == [False, False, False, True, True]
    assert found.action[:, 0].tolist() == pytest.approx([0, 0.1, 0, 0.2, 0])
    assert (found.kind.tolist(), found.domain.tolist()) == ([0, 0, 2, 2, 1], [0] * 5)
    assert (found.frame.dtype, found.reward.dtype, found.domain.dtype) == (np.int64, np.float32, np.int64)
    assert len(found) == 5


def test_success_on_the_last_step_is_not_a_time_out(root: Path) -> None:
    fill(root, episode(0, (0, 0, 1), truncated=True))
    found = Dataset.open(root).transitions()
    assert (found.terminated.tolist(), found.truncated.tolist()) == ([False, True], [False, False])


def test_subset_renumbers_frames_but_not_domains(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 1), "press", name="b"), episode(3, (0, 1), name="b"))
    whole = Dataset.open(root)
    part = whole.subset(np.array([False, True, True])).subset(np.array([False, True]))
    assert part.episodes["first_frame"].tolist() == [0]
    assert part.episodes["seed"].tolist() == [3]
    assert part.frame_domain.tolist() == [1, 1] and part.domains == whole.domains
    assert_same(part, 0, episode(3, (0, 1), name="b"))
    assert part.transitions().frame.tolist() == [0]
    assert whole.episodes["first_frame"].tolist() == [0, 3, 5]  # the original is untouched
    with pytest.raises(DataError, match="none of 3 episodes"):
        whole.subset(np.zeros(3, bool))
    with pytest.raises(ValueError, match="bool"):
        whole.subset(np.array([0, 2]))


def test_domains_are_chosen_by_predicate(root: Path) -> None:
    for name, split in (("a", "train"), ("b", "validation")):
        with EpisodeWriter(root, domain(name, split), SIZE) as writer:
            writer.append(episode(1, name=name))
    assert [d.name for d in Dataset.open(root, lambda d: d.split == "validation").domains] == ["b"]
    with pytest.raises(DataError, match="none of the 2 domains"):
        Dataset.open(root, lambda d: d.split == "test")


@pytest.mark.parametrize("index", [[-1], [3], [[0]], [0.5]])
def test_frame_numbers_out_of_range_are_refused(root: Path, index: list) -> None:
    fill(root, episode(1))
    with pytest.raises(IndexError):
        Dataset.open(root).images(np.array(index))


def test_no_frames_asked_none_given(root: Path) -> None:
    fill(root, episode(1))
    assert Dataset.open(root).images(np.array([])).shape == (0, SIZE, SIZE, 3)


# Resuming


def test_resume_knows_what_is_done_and_goes_on(root: Path) -> None:
    with EpisodeWriter(root, domain(), SIZE, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == set()
        writer.append(episode(1))
        writer.discard("press", "near", 2, "dislodged")
    with EpisodeWriter(root, domain(), SIZE, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == {("expert", 1), ("press", 2)}
        writer.append(episode(3))
        with pytest.raises(ValueError, match="stored or discarded already"):
            writer.append(episode(2, kind="press"))
    dataset = Dataset.open(root)
    assert dataset.episodes["seed"].tolist() == [1, 3]
    assert dataset.discarded == {domain().name: Counter(dislodged=1)}
    assert dataset.settings == {"noise": 0.2, "box": [1, 2]}


def test_one_writer_per_domain(root: Path) -> None:
    with EpisodeWriter(root, domain(), SIZE) as first:
        with pytest.raises(DataError, match="is being written by another process"):
            EpisodeWriter(root, domain(), SIZE)
        with EpisodeWriter(root, domain("other"), SIZE) as second:  # another domain is free
            second.append(episode(1, name="other"))
        first.append(episode(1))
    EpisodeWriter(root, domain(), SIZE).close()
    assert len(Dataset.open(root)) == 2


def test_a_closed_writer_says_so(root: Path) -> None:
    writer = EpisodeWriter(root, domain(), SIZE)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.append(episode(1))


def test_another_size_setting_or_domain_is_refused(root: Path) -> None:
    fill(root, episode(1), noise=0.2)
    with pytest.raises(DataError, match="images of 4 pixels, not 8"):
        EpisodeWriter(root, domain(), 8)
    with pytest.raises(DataError, match="collected with noise = 0.2, not 0.3"):
        EpisodeWriter(root, domain(), SIZE, {"noise": 0.3})
    with pytest.raises(DataError, match="describes Domain"):
        EpisodeWriter(root, domain(split="test"), SIZE)
    with pytest.raises(DataError, match=r"'\.\./x' cannot be a folder"):
        EpisodeWriter(root, domain("../x"), SIZE)
    assert len(Dataset.open(root)) == 1


def test_wrong_episodes_are_refused_and_nothing_is_stored(root: Path) -> None:
    bad = episode(1)
    bad.state[1, 0] = np.inf
    with EpisodeWriter(root, domain(), SIZE) as writer:
        with pytest.raises(NumericsError, match="state of expert episode 1 of peg.sawbot.0 are not all finite"):
            writer.append(bad)
        with pytest.raises(ValueError, match="given to the writer"):
            writer.append(episode(1, name="other"))
        with pytest.raises(ValueError, match="this data set holds"):
            writer.append(episode(1, size=8))
        with pytest.raises(ValueError, match="2 to 32768 frames, not 1"):
            writer.append(episode(1, (1,)))
        with pytest.raises(ValueError, match="'pull'"):
            writer.discard("pull", "far", 1, "dislodged")
        assert writer.finished == set()
    with pytest.raises(DataError, match="holds no finished episode in 1 domains: run `lotj collect` first"):
        Dataset.open(root)


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
from lotj.data.store import EpisodeWriter
from test_data import domain, episode
generator = np.random.default_rng(0)
interrupts = 0
with EpisodeWriter(Path(sys.argv[1]), domain(), 64) as writer:
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # raises KeyboardInterrupt, as Ctrl-C does
    for seed in range(150):
        signal.setitimer(signal.ITIMER_REAL, generator.uniform(1e-5, 1.5e-3))
        try:
            writer.append(episode(seed, (0,) * 20 + (1,), size=64))
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(seed, flush=True)
        except KeyboardInterrupt:
            interrupts += 1
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
        assert_same(dataset, number, episode(seed, (0,) * 20 + (1,), size=64))
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
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # space was freed
            writer.append(episode(seed, size=64))
            break
"""


def test_a_file_size_limit_stops_with_one_line_and_keeps_what_was_finished(root: Path) -> None:
    # An episode of 3 frames of 64 pixels is 36,864 bytes: 100,000 bytes hold two and a torn third.
    output, errors = python(LIMITED, root, 100_000, "append").communicate(timeout=60)
    folder = root / "domains" / domain().name
    assert output.decode() == (
        f"2 disk full at {folder / 'frames.u8'} (File too large): "
        "free space and run again; finished episodes are kept\n"
    ), errors.decode()
    dataset = Dataset.open(root)
    assert dataset.episodes["seed"].tolist() == [0, 1, 2]
    for seed in range(3):
        assert_same(dataset, seed, episode(seed, size=64))
    assert check(root) == []


def test_a_full_disk_in_the_index_leaves_no_half_line(root: Path) -> None:
    # {"discarded":"dislodged","kind":"expert","scenario":"far","seed":N} and a newline: 68 bytes for N < 10.
    output, errors = python(LIMITED, root, 150, "discard").communicate(timeout=60)
    assert output.decode().startswith("2 disk full at"), errors.decode()
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


# Looking


def test_summary_and_description(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 0), truncated=True, name="a"), episode(3, (0, 1), "half", name="a"))
    with EpisodeWriter(root, domain("b"), SIZE) as writer:
        writer.discard("expert", "far", 1, "dislodged")
    first, second = summarise(Dataset.open(root))
    assert (first.episodes, first.successes) == ((2, 0, 0, 1), (1, 0, 0, 1))
    assert (first.frames, first.success_frames, first.discarded) == (7, 2, 0)
    assert first.mean_steps == pytest.approx(4 / 3) and first.success_rate == pytest.approx(2 / 3)
    assert (second.frames, second.discarded) == (0, 1)
    assert np.isnan(second.success_rate) and np.isnan(second.mean_steps)
    console = Console(width=80, record=True, file=open(os.devnull, "w"))
    console.print(describe(root))
    text = console.export_text()
    assert "3 episodes: 3 far, 0 near" in text and "7 frames: 28.6% show success" in text
    assert "1 episodes discarded: 1 dislodged" in text
    row = next(line for line in text.splitlines() if line.startswith("a "))
    assert row.split() == ["a", "1/2", "-", "-", "1/1", "67%", "7", "1.3", "0"]


def test_film_strip_shows_first_and_last_and_marks_success(root: Path) -> None:
    fill(root, episode(1, (0, 0, 0, 0, 1)))  # pixels 10 11 12 13 14
    strip = film_strip(Dataset.open(root), 0, frames=3, scale=2)
    # A cell is 4 * 2 + 2 * 3 = 14 pixels, the gap 4: three cells take 3 * 18 - 4 = 50.
    assert strip.shape == (14, 50, 3) and strip.dtype == np.uint8
    assert strip[7, [7, 25, 43], 0].tolist() == [10, 12, 14]
    assert strip[0, [0, 18, 36]].tolist() == [[70, 74, 82], [70, 74, 82], [46, 204, 113]]


def test_contact_sheet_is_a_png_with_a_row_an_episode(root: Path, tmp_path: Path) -> None:
    fill(root, episode(1), episode(2), episode(3, kind="press"))
    image = contact_sheet(root, np.random.default_rng(0), rows=2)
    assert image.shape[0] == 2 * (14 + 22 + 8) + 4
    save_png(image, tmp_path / "view" / "sheet.png")
    assert (np.asarray(Image.open(tmp_path / "view" / "sheet.png")) == image).all()
    assert (image == contact_sheet(root, np.random.default_rng(0), rows=2)).all()
    with pytest.raises(DataError, match="holds no episode of kind withdraw: choose others"):
        contact_sheet(root, np.random.default_rng(0), kinds=["withdraw"])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        save_png(image, tmp_path / "file" / "sheet.png")


def test_choice_takes_each_domain_and_kind_before_a_second(root: Path) -> None:
    experts = [episode(seed, name="a") for seed in range(6)]
    fill(root, *experts, episode(1, kind="press", name="a"), episode(1, name="b"))
    dataset = Dataset.open(root)
    for seed in range(5):
        chosen = choose(dataset, 3, np.random.default_rng(seed))
        assert chosen[1:].tolist() == [6, 7] and chosen[0] < 6
    assert choose(dataset, 99, np.random.default_rng(0)).tolist() == list(range(8))


def test_recording_for_the_viewer(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    fill(root, episode(1))
    record_rerun(Dataset.open(root), [0], tmp_path / "view" / "episodes.rrd")
    assert (tmp_path / "view" / "episodes.rrd").read_bytes()[:3] == b"RRF"


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
