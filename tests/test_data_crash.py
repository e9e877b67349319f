"""The episode store under kills, Ctrl-C, power cuts and full disks: what was acknowledged stays."""

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

from lotj.data.inspect import check
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError, StorageError
from test_data import SCHEMA, assert_same, episode, fill, task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


# A kill, Ctrl-C or full disk at any moment

ENDLESS = """
import os, sys
from pathlib import Path
from lotj.data.writer import EpisodeWriter
from lotj.data.layout import Schema
from test_data import episode, task
with EpisodeWriter(Path(sys.argv[1]), task(), Schema.of(episode(0, size=64))) as writer:
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
        bufsize=0,  # or `communicate` would miss what `readline` has buffered
        **options,  # type: ignore[arg-type]
    )


def test_kill_9_at_random_moments_keeps_every_acknowledged_episode(root: Path) -> None:
    generator = np.random.default_rng(0)
    acknowledged: list[int] = []
    for _ in range(6):
        process = python(ENDLESS, root)
        assert process.stdout is not None
        first = process.stdout.readline()  # it is writing now
        start = time.perf_counter()
        for _ in range(generator.integers(5, 25)):
            first += process.stdout.readline()
        gap = (time.perf_counter() - start) / 15
        time.sleep(generator.uniform(0, 2 * gap))  # somewhere in the next append, however busy this machine is
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()
        lines = (first + rest).decode().splitlines()
        acknowledged += [int(line) for line in lines]
        store = DiskStore.open(root)
        stored = store.episodes["seed"].tolist()
        # In order, none twice; at most the one that was killed between its line and its acknowledgement is extra.
        assert stored == list(range(len(stored)))
        assert set(acknowledged) <= set(stored)
        assert len(stored) - len(acknowledged) <= 6
    for number, seed in enumerate(stored):
        assert_same(store, number, episode(seed, (0,) * 20 + (1,), size=64))
    assert check(root) == []
    assert len(acknowledged) >= 6 * 6


@pytest.mark.parametrize("name", ["rows.tbl", "truth.tbl", "image.raw", "episodes.jsonl"])
def test_every_torn_state_of_the_last_append_is_read_and_repaired(root: Path, name: str) -> None:
    """A kill leaves a prefix of what one append writes, file by file, the line at the end. Each prefix is tried (of the
    images, each 61st)."""
    folder = fill(root, episode(1))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill(root, episode(2))
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    order = [*SCHEMA.files, "episodes.jsonl"]
    assert order == ["rows.tbl", "truth.tbl", "image.raw", "episodes.jsonl"]
    for length in range(len(before[name]), len(after[name]), 61 if name == "image.raw" else 1):
        for other in order:
            done = order.index(other) < order.index(name)
            content = after[name][:length] if other == name else (after if done else before)[other]
            (folder / other).write_bytes(content)
        assert DiskStore.open(root).episodes["seed"].tolist() == [1]
        assert check(root) == []
        if length % 4 == 0:
            fill(root, episode(2))
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == after


def test_a_line_torn_by_a_power_cut_is_ignored(root: Path) -> None:
    folder = fill(root, episode(1), episode(2))
    lines = (folder / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "episodes.jsonl").write_bytes(lines[0] + b"\0" * 50 + lines[1][50:])
    assert DiskStore.open(root).episodes["seed"].tolist() == [1]
    EpisodeWriter(root, task(), SCHEMA).close()
    assert (folder / "image.raw").stat().st_size == 3 * 1200 and (folder / "rows.tbl").stat().st_size == 3 * 34
    assert (folder / "episodes.jsonl").read_bytes() == lines[0]
    fill(root, episode(3))
    assert DiskStore.open(root).episodes["seed"].tolist() == [1, 3]


def test_a_power_cut_costs_at_most_the_last_episodes(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The index may reach the disk before the frames: of 20 episodes, the last 16 may be torn, no earlier one."""
    folder = fill(root, *(episode(seed) for seed in range(20)))
    whole = (folder / "image.raw").read_bytes()
    (folder / "image.raw").write_bytes(
        whole[: 18 * 3600] + bytes(3600) + whole[19 * 3600 :]
    )  # episode 18 never arrived
    (problem,) = check(root)
    assert "episode 18 (expert, seed 18)" in problem and "give the same `lotj collect` again, which drops" in problem
    EpisodeWriter(root, task(), SCHEMA).close()
    assert "dropped the last 2 episodes, torn by a power cut" in caplog.text
    assert DiskStore.open(root).episodes["seed"].tolist() == list(range(18))
    os.truncate(folder / "image.raw", 2 * 3600)  # of episodes 0 to 17, the first two are settled
    with pytest.raises(DataError, match="holds 7200 bytes, but 54 frames .* give the same `lotj collect` again"):
        DiskStore.open(root)
    with EpisodeWriter(root, task(), SCHEMA) as writer:
        assert writer.finished == {("expert", 0), ("expert", 1)}
        for seed in range(2, 20):
            writer.append(episode(seed))
    assert (folder / "image.raw").read_bytes() == whole and check(root) == []
    os.truncate(folder / "image.raw", 4 * 3600 - 1)
    with pytest.raises(DataError, match="holds 14399 bytes, but 12 frames"):
        EpisodeWriter(root, task(), SCHEMA)
    (folder / "image.raw").unlink()
    with pytest.raises(DataError, match="image.raw is missing: 60 frames need it"):
        EpisodeWriter(root, task(), SCHEMA)


def test_a_task_that_was_only_begun_with_all_its_files_is_passed_over(root: Path) -> None:
    fill(root, episode(1))
    begun = root / "tasks" / "begun"
    begun.mkdir()
    for name in ("episodes.jsonl", "image.raw", "rows.tbl"):
        (begun / name).touch()
    assert len(DiskStore.open(root).tasks) == 1
    (begun / "image.raw").write_bytes(b"x")
    with pytest.raises(DataError, match="task.json"):
        DiskStore.open(root)


def test_a_task_that_was_only_begun_is_passed_over(root: Path) -> None:
    fill(root, episode(1))
    (root / "tasks" / "begun").mkdir()
    (root / "tasks" / "begun" / "episodes.jsonl").touch()
    (root / "tasks" / ".hidden").touch()
    assert [d.name for d in DiskStore.open(root).tasks] == [task().name]
    assert check(root) == []


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
import numpy as np
from lotj.data.inspect import check
from lotj.data.writer import EpisodeWriter
from lotj.data.layout import Schema
from test_data import episode, task
generator = np.random.default_rng(0)
interrupts = 0
with EpisodeWriter(Path(sys.argv[1]), task(), Schema.of(episode(0, size=32))) as writer:
    start = time.perf_counter()
    for seed in range(1000, 1020):
        writer.append(episode(seed, (0,) * 20 + (1,), size=32))
    each = (time.perf_counter() - start) / 20
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # raises KeyboardInterrupt, as Ctrl-C does
    for seed in range(300):
        try:
            signal.setitimer(signal.ITIMER_REAL, generator.uniform(1e-5, 1.5 * each))
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
    store = DiskStore.open(root)
    stored = store.episodes["seed"].tolist()
    assert {int(line) for line in output.split()} <= set(stored)
    for number, seed in enumerate(stored):
        assert_same(store, number, episode(seed, (0,) * 20 + (1,), size=32))
    assert check(root) == []


LIMITED = """
import resource, sys
from pathlib import Path
from lotj.data.writer import EpisodeWriter
from lotj.errors import StorageError
from lotj.data.layout import Schema
from test_data import episode, task
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with EpisodeWriter(Path(sys.argv[1]), task(), Schema.of(episode(0, size=64))) as writer:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
    for seed in range(100):
        try:
            if sys.argv[3] == "append":
                writer.append(episode(seed, size=64))
            else:
                writer.discard("expert", seed, "lost")
        except StorageError as error:
            print(seed, error)
            print((writer.folder / "image.raw").stat().st_size, (writer.folder / "episodes.jsonl").stat().st_size)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # space was freed
            writer.append(episode(seed, size=64))
            break
"""


def test_a_file_size_limit_stops_with_one_line_and_keeps_what_was_finished(root: Path) -> None:
    # An episode of 3 frames of 64 pixels is 36,864 bytes: 100,000 bytes hold two and a torn third.
    output, errors = python(LIMITED, root, 100_000, "append").communicate(timeout=60)
    folder = root / "tasks" / task().name
    message, sizes = output.decode().splitlines()
    assert message == (
        f"2 disk full at {folder / 'image.raw'} (File too large): free space and run again, "
        "a run with --resume; what is finished is kept"
    ), errors.decode()
    assert sizes.split()[0] == "73728"  # the torn third is cut: its space is free again
    store = DiskStore.open(root)
    assert store.episodes["seed"].tolist() == [0, 1, 2]
    for seed in range(3):
        assert_same(store, seed, episode(seed, size=64))
    assert check(root) == []


def test_a_full_disk_in_the_index_leaves_no_half_line(root: Path) -> None:
    # {"discarded":"lost","kind":"expert","seed":N} and a newline: 46 bytes for N < 10.
    output, errors = python(LIMITED, root, 100, "discard").communicate(timeout=60)
    assert output.decode().startswith("2 disk full at"), errors.decode()
    assert output.decode().split()[-2:] == ["0", "92"]
    store = DiskStore.open(root)
    assert store.discarded[task().name] == Counter(lost=2)
    assert store.episodes["seed"].tolist() == [2]


FULL = """
import sys
from pathlib import Path
from lotj.data.writer import EpisodeWriter
from lotj.data.inspect import check
from lotj.data.store import DiskStore
from lotj.errors import StorageError
from lotj.data.layout import Schema
from test_data import episode, task
root, filler = Path(sys.argv[1]) / "set", Path(sys.argv[1]) / "filler"
filler.write_bytes(bytes(200_000))
with EpisodeWriter(root, task(), Schema.of(episode(0, size=64))) as writer:
    try:
        for seed in range(100):
            writer.append(episode(seed, size=64))
    except StorageError as error:
        print(error)
held = DiskStore.open(root).episodes["seed"].tolist()
assert held == list(range(seed)) and 0 < seed < 100 and check(root) == [], held
filler.unlink()
with EpisodeWriter(root, task(), Schema.of(episode(0, size=64))) as writer:
    writer.append(episode(seed, size=64))
assert DiskStore.open(root).episodes["seed"].tolist() == held + [seed] and check(root) == []
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
    with pytest.raises(StorageError, match="cannot write .*file.*; choose another folder"):
        EpisodeWriter(tmp_path / "file" / "set", task(), SCHEMA)


# Size

FLAT = """
import resource, sys
from pathlib import Path
import numpy as np
from lotj.data.store import DiskStore
store = DiskStore.open(Path(sys.argv[1]))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, store.n_frames, 1000):
    store.observe(np.arange(start, min(start + 1000, store.n_frames)))
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
    os.truncate(folder / "image.raw", 60_003 * 12_288)
    os.truncate(folder / "rows.tbl", 60_003 * 34)
    os.truncate(folder / "truth.tbl", 60_003 * 24)
    output, errors = python(FLAT, root).communicate(timeout=120)
    assert int(output.split()[0]) < 350, errors.decode()
