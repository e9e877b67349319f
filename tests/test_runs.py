"""Run folders: what is written is whole, whatever kills the writer."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lotj.errors import CheckpointError, SettingsError, StorageError
from lotj.runs import Run, atomic_write, find_run
from lotj.runs.metrics import append_line, plain, read_lines


@dataclass(frozen=True)
class Inner:
    path: Path = Path("a/b")
    rates: tuple[float, ...] = (0.5, 2.0)


@dataclass(frozen=True)
class Config:
    steps: int = 7
    inner: Inner = Inner()


@pytest.fixture
def run(tmp_path: Path):
    with Run.create(tmp_path, "practice", Config(), seed=3) as run:
        yield run


def test_a_run_is_a_folder_that_describes_itself(run: Run, tmp_path: Path) -> None:
    assert run.path.parent == tmp_path
    assert json.loads((run.path / "config.json").read_text()) == {
        "steps": 7,
        "inner": {"path": "a/b", "rates": [0.5, 2.0]},
    }
    versions = json.loads((run.path / "versions.json").read_text())
    assert {"python", "torch", "mujoco", "numpy", "lotj", "cpu", "cores", "threads"} <= set(versions)
    assert versions["threads"] == torch.get_num_threads()
    again = Run.open(tmp_path / "last")
    assert (again.path, again.kind, again.seed, again.config) == (run.path, "practice", 3, run.config)


def test_two_runs_in_one_second_get_two_folders_and_last_is_the_second(tmp_path: Path) -> None:
    runs = [Run.create(tmp_path, "pretrain", {}, seed) for seed in (0, 1, 2)]
    assert len({run.path for run in runs}) == 3
    assert find_run(tmp_path, "pretrain").seed == Run.open(tmp_path / "last").seed == 2


def age(run: Run, year: int, **entries: object) -> None:
    """Make it a run of another year, with changed entries of run.json."""
    about = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(about | {"created": f"{year}-01-01T00:00:00"} | entries))


def test_the_newest_run_is_the_one_created_last_whatever_was_touched_since(tmp_path: Path) -> None:
    old, new = (Run.create(tmp_path, "practice", {}, seed) for seed in (1, 2))
    age(new, 2027)
    age(old, 2025)
    assert find_run(tmp_path, "practice").seed == 2


def test_the_newest_run_with_a_result_is_preferred_to_a_dead_one(tmp_path: Path) -> None:
    good, dead = (Run.create(tmp_path, "practice", {}, seed) for seed in (1, 2))
    assert find_run(tmp_path, "practice", "truth.jsonl").path == dead.path  # neither has it
    (good.path / "truth.jsonl").touch()
    assert find_run(tmp_path, "practice", "truth.jsonl").path == good.path
    assert find_run(tmp_path, "practice").path == dead.path


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"format": 0, "kind": "practice", "seed": 1}', '{"format": 1, "seed": 1}', '{"id": 7}']
)
def test_what_is_no_run_of_this_format_is_passed_over(tmp_path: Path, text: str) -> None:
    """Another tool's run.json, another format's, a damaged one."""
    odd = tmp_path / "wandb"
    odd.mkdir()
    (odd / "run.json").write_text(text)
    (odd / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match=f"no practice run here .*passed over: {odd}: "):
        find_run(tmp_path, "practice")
    run = Run.create(tmp_path, "practice", {}, seed=3)
    age(run, 2020)
    assert find_run(tmp_path, "practice").path == run.path


def test_links_that_lead_to_themselves_are_no_runs_and_give_way(tmp_path: Path) -> None:
    (tmp_path / "last").symlink_to("last")
    with pytest.raises(SettingsError, match="not a run folder"):
        Run.open(tmp_path / "last")
    run = Run.create(tmp_path, "practice", {}, seed=0)
    assert Run.open(tmp_path / "last").path == run.path


@pytest.mark.parametrize("text", ["[]", "7", "\xff"])
def test_damaged_settings_are_no_run(run: Run, text: str) -> None:
    (run.path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match="not a run folder"):
        Run.open(run.path)


def test_a_setting_is_there_and_of_its_type(run: Run) -> None:
    assert run.setting("steps", int) == 7
    for name, kind in (("steps", str), ("missing", str)):
        with pytest.raises(SettingsError, match=f"config.json: {name} is .*, not a str; restore the file"):
            run.setting(name, kind)


def test_a_folder_named_in_the_settings_is_found_after_a_move(tmp_path: Path) -> None:
    """Beside the run first; else where it was; else where it stood to the run's folder."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old / "runs" / "before", old / "data"):
        folder.mkdir(parents=True)
        (folder / "mark").touch()
    (old / "runs" / "data").mkdir()  # of the same name, but something else
    settings = {"of": str(old / "runs" / "before"), "data": str(old / "data")}
    name = Run.create(old / "runs", "practice", settings, seed=0).path.name
    run = Run.open(old / "runs" / name)
    assert run.locate("data", "mark") == old / "data"
    shutil.copytree(old, new)
    run = Run.open(new / "runs" / name)
    assert (run.locate("of", "mark"), run.locate("data", "mark")) == (new / "runs" / "before", old / "data")
    shutil.rmtree(old)
    assert (run.locate("of", "mark"), run.locate("data", "mark")) == (new / "runs" / "before", new / "data")
    shutil.rmtree(new / "data")
    with pytest.raises(SettingsError, match=f"{run.path}/config.json: data is {old}/data, which is not there; move"):
        run.locate("data", "mark")


def test_a_damaged_line_of_metrics_is_named(run: Run) -> None:
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match="metrics.jsonl, line 2: damaged; restore the file from a copy"):
        run.metrics()


def test_a_run_knows_the_command_that_began_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/lib/lotj/__main__.py", "practice", "--connector", "my [v2].toml"])
    begun = Run.create(tmp_path, "practice", {}, seed=0)
    assert Run.open(begun.path).command == begun.command == "lotj practice --connector 'my [v2].toml'"


def test_find_run_gives_the_newest_of_a_kind(tmp_path: Path) -> None:
    for kind, seed in (("pretrain", 0), ("pretrain", 1), ("practice", 2)):
        Run.create(tmp_path, kind, {}, seed)
    assert find_run(tmp_path, "pretrain").seed == 1
    with pytest.raises(SettingsError, match="no evaluate run here \\(there: practice, pretrain\\)"):
        find_run(tmp_path, "evaluate")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_not_every_generator_takes_leaves_no_folder(tmp_path: Path, seed: int) -> None:
    with pytest.raises(SettingsError, match=f"seed {seed}: must be between 0 and 4294967295"):
        Run.create(tmp_path / "runs", "practice", {}, seed)
    assert not (tmp_path / "runs").exists()


def test_opening_something_else_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a run folder"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99, "kind": "x", "seed": 0}')
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="format 99"):
        Run.open(tmp_path)


def test_metrics_keep_numbers_and_turn_nan_into_null(run: Run) -> None:
    run.log(
        1, {"loss": torch.tensor(0.5), "count": np.int64(4), "done": np.bool_(True), "odd": float("nan"), "on": "far"}
    )
    (line,) = run.metrics()
    assert line.pop("time") == pytest.approx(time.time(), abs=60)
    assert line == {"step": 1, "loss": 0.5, "count": 4, "done": True, "odd": None, "on": "far"}
    assert list((run.path / "tensorboard" / "metrics").glob("events*"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.25), 0.25),
        (math.inf, None),
        (np.array([1.0, np.nan]), [1.0, None]),
        ({"a": (Path("x"), None)}, {"a": ["x", None]}),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_a_torn_last_line_is_ignored_and_cut_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in read_lines(path)] == [1, 2]
    append_line(path, {"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_rewind_drops_what_a_resumed_run_writes_again(run: Run) -> None:
    for step in (1, 2, 3):
        run.log(step, {"loss": step}, stream="reward")
    run.rewind(2, stream="reward")
    run.log(3, {"loss": 30}, stream="reward")
    assert [(line["step"], line["loss"]) for line in run.metrics("reward")] == [(1, 1), (2, 2), (3, 30)]


def points(run: Run, stream: str) -> list[tuple[int, float]]:
    """Step and value of the points that TensorBoard shows of `<stream>/loss`."""
    board = EventAccumulator(str(run.path / "tensorboard" / stream)).Reload()
    return [(event.step, event.value) for event in board.Scalars(f"{stream}/loss")]


def test_tensorboard_forgets_what_a_resumed_run_writes_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3, 4, 5):
        run.log(step, {"loss": step})
        run.log(step, {"loss": step}, stream="reward")
    run.close()
    assert points(run, "metrics") == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    clock = time.time  # event files are read in the order of the seconds in their names
    monkeypatch.setattr(time, "time", lambda: clock() + 60)
    with Run.open(run.path) as resumed:
        resumed.rewind(3)
        resumed.log(4, {"loss": 40})
        resumed.log(6, {"loss": 6}, stream="reward")
    assert points(run, "metrics") == [(1, 1), (2, 2), (3, 3), (4, 40)]
    assert points(run, "reward") == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]
    monkeypatch.setattr(time, "time", lambda: clock() + 120)
    with Run.open(run.path) as resumed:
        resumed.rewind(3)  # killed before anything is written: the next one finds no line to drop
    with Run.open(run.path) as resumed:
        resumed.rewind(3)
        resumed.log(4, {"loss": 400})
    assert points(run, "metrics") == [(1, 1), (2, 2), (3, 3), (4, 400)]


STATE = {
    "weights": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)},
    "numpy_generator": np.random.default_rng(5).bit_generator.state,
    "torch_generator": torch.Generator().manual_seed(5).get_state(),
    "names": ["a", ("b", None)],
    "rate": 0.1,
}


def test_a_checkpoint_comes_back_as_it_was(run: Run) -> None:
    run.save("agent", STATE)
    back = run.load("agent")
    assert torch.equal(back["weights"]["w"], STATE["weights"]["w"])
    assert back["weights"]["b"].dtype == torch.bfloat16
    assert torch.equal(back["torch_generator"], STATE["torch_generator"])
    for key in ("numpy_generator", "names", "rate"):
        assert back[key] == STATE[key]
    assert run.has("agent") and not run.has("other")


def test_a_missing_checkpoint_names_those_there_are(run: Run) -> None:
    run.save("reward", {"x": 1})
    with pytest.raises(CheckpointError, match="no such checkpoint \\(there: reward\\)"):
        run.load("agent")


@pytest.mark.parametrize("damage", ["empty", "half", "one byte short", "one byte changed", "foreign"])
def test_a_damaged_checkpoint_is_a_checkpoint_error(run: Run, damage: str) -> None:
    path = run.save("agent", {"weights": torch.randn(5000)})
    data = bytearray(path.read_bytes())
    if damage == "one byte changed":
        data[len(data) // 2] ^= 0xFF
    cut = {"empty": b"", "half": data[: len(data) // 2], "one byte short": data[:-1], "foreign": b"PK not a zip" * 50}
    path.write_bytes(cut.get(damage, data))
    with pytest.raises(CheckpointError, match="torn or not a lotj checkpoint"):
        run.load("agent")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_loading_runs_no_code_from_the_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run.save("agent", {"weights": Trap()})
    with pytest.raises(CheckpointError):
        run.load("agent")
    assert not (tmp_path / "sprung").exists()


FORK = multiprocessing.get_context("fork")
"""Processes that need not load torch anew."""


def write_for_ever(path: Path, ready: Any) -> None:
    run = Run.open(path)
    ready.set()
    for step in range(10**9):
        run.save("agent", {"step": step, "weights": torch.full((200_000,), float(step))})
        run.log(step, {"value": step})


def test_kill_at_any_moment_leaves_a_whole_checkpoint_and_whole_lines(run: Run) -> None:
    generator = np.random.default_rng(0)
    for _ in range(2):
        ready = FORK.Event()
        process = FORK.Process(target=write_for_ever, args=(run.path, ready))
        process.start()
        assert ready.wait(30)
        deadline = time.monotonic() + 30
        while not run.has("agent") and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(generator.uniform(0.0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        state = run.load("agent")
        assert torch.equal(state["weights"], torch.full((200_000,), float(state["step"])))
        assert all(line["value"] == line["step"] for line in run.metrics())
        # A line is written after its checkpoint: at most the running step's is missing.
        written = [line["step"] for line in run.metrics()]
        assert not written or state["step"] - written[-1] in (0, 1)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "config.json"
    atomic_write(target, b"old")
    with pytest.raises(StorageError, match="cannot write"):
        atomic_write(tmp_path / "missing" / "x", b"new")
    code = (
        "import sys; from pathlib import Path; from lotj.runs import atomic_write; "
        "atomic_write(Path(sys.argv[1]), b'n' * 9000)"
    )
    limited = f'ulimit -f 4; exec {sys.executable} -c "{code}" {target}'  # files of at most a few kB: a full disk
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True)
    assert "StorageError: disk full at" in done.stderr and "--resume" in done.stderr
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json"]


def test_a_full_disk_while_saving_a_checkpoint_keeps_the_old_one(run: Run) -> None:
    """A limit of a file's size is to the writer what a full disk is."""
    run.save("agent", {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(StorageError, match="disk full at"):
            run.save("agent", {"w": torch.zeros(500_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.load("agent") == {"step": 1}


def test_one_process_at_a_time_writes_to_a_run(run: Run) -> None:
    """Whoever reads is let in; a second writer is not, until the first has been killed."""
    wrote = FORK.Event()

    def write_and_wait() -> None:
        Run.open(run.path).log(1, {"a": 1.0})
        wrote.set()
        time.sleep(60)

    other = FORK.Process(target=write_and_wait)
    other.start()
    assert wrote.wait(30)
    assert [row["a"] for row in Run.open(run.path).metrics()] == [1.0]
    for write in (lambda: run.log(2, {"a": 2.0}), lambda: run.save("c", {}), lambda: run.rewind(0)):
        with pytest.raises(SettingsError, match="another process writes to this run"):
            write()
    other.kill()
    other.join()
    run.log(2, {"a": 2.0})
    assert [row["a"] for row in run.metrics()] == [1.0, 2.0]


def test_reading_a_run_needs_no_torch(run: Run) -> None:
    code = (
        "import sys; from pathlib import Path; from lotj.runs import Run; "
        "Run.open(Path(sys.argv[1])).metrics(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True)
