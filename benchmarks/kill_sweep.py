"""kill -9 at random moments of everything that writes: what is lost, and does going on give the uninterrupted result?

    python benchmarks/kill_sweep.py --kills 200 --out results/benchmarks/kill_sweep.json

Each job (collect, upgrade, pretrain, practise, export, import, serve) is done once without a kill; then again and
again, killed at moments drawn by chance, its workers with it or left to end by themselves. After every kill the
data set or run must open and be whole; begun again, the job must go on behind what it had said was done, and in the
end leave what the uninterrupted one has left, bit for bit (of runs: checkpoints, recorded trials, lines of metrics).
For serve the server of a robot is killed while a learner practises on it; the learner waits for the next one, and
nothing of its practice may be another. The same command goes on with a sweep that was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import record

from lotj.data import layout
from lotj.data.inspect import check
from lotj.data.store import DiskStore
from lotj.experience import SUCCESS
from lotj.runs import Run

ALLOWED = {"export": 8, "serve": 0}
"""Episodes of an export that a kill may cost, those of a part; of all other jobs nothing that was said to be done."""

RESULT = {"upgrade": "data", "export": "out.hdf5", "import": "data"}
"""What has this name only once it is whole; who is told to make it again then says that it is there."""

PORT = 8797
TOKEN = "only for this benchmark"
FORM = "robomimic"


# The jobs, each in a process of its own; `w` is the folder of one attempt, `given` holds what it starts from


def say(done: int, total: int = 0) -> None:
    print(f"done {done}", flush=True)


def preset() -> Any:
    from lotj.agents.iql import IQLConfig
    from lotj.experiments.presets import Preset
    from lotj.nets.encoder import EncoderConfig
    from lotj.nets.front import Pixels
    from lotj.rewards.classifier import RewardConfig
    from lotj.training.features import FeatureConfig
    from lotj.training.practice_config import SelfJudgedConfig
    from lotj.training.pretrain_config import PretrainConfig

    encoder = EncoderConfig(width=8, stages=1)
    return Preset(
        name="tiny",
        reward=RewardConfig(encoder=encoder, steps=30, batch=16),
        front=Pixels(encoder),
        iql=IQLConfig(),
        pretrain=PretrainConfig(steps=60, batch=16, log_every=5, save_minutes=0.0),
        features=FeatureConfig(transitions=200),
        practice=SelfJudgedConfig(trials=10, max_steps=8, warmup_trials=1, batch_size=32, threads=1),
    )


def collect(w: Path, given: Path) -> None:
    from lotj.training.collect import collect
    from lotj.training.collect_insertion import CollectConfig, InsertionCollection

    config = CollectConfig(image_size=32, expert_episodes=9, near_miss_share=0.4)
    count = iter(range(1, 1000))
    before = said_before(w / "data")
    collection = InsertionCollection(("usb-a", "duplo-2x2", "as-3112"), config)
    print("begin", flush=True)
    collect(w / "data", collection, 2, lambda progress: say(before + next(count)))


def upgrade(w: Path, given: Path) -> None:
    from lotj.data.upgrade import upgrade

    print("begin", flush=True)
    upgrade(given / "old", w / "data", slowly)


def slowly(done: int, total: int) -> None:
    """What takes milliseconds could not be killed in its midst."""
    say(done)
    time.sleep(0.02)


def export(w: Path, given: Path) -> None:
    from lotj.interop import exchange

    exchange.PART_BYTES = 300_000
    print("begin", flush=True)
    exchange.export(given / "data", FORM, w / "out.hdf5", progress=slowly)


def import_(w: Path, given: Path) -> None:
    from lotj.interop.exchange import import_

    print("begin", flush=True)
    import_(given / "out.hdf5", FORM, w / "data", progress=slowly)


def pretrain(w: Path, given: Path) -> None:
    from lotj.cli.job import unfinished
    from lotj.experiments.stages import pretrain_phase

    resume = unfinished(w / "runs", "pretrain", 0)
    print("begin", flush=True)
    pretrain_phase(preset(), given / "data", w / "runs", 0, resume=resume).close()


def practise(w: Path, given: Path, robot: str = "duo") -> None:
    from lotj.cli.job import unfinished
    from lotj.experiments.stages import practice_phase

    resume, pretrained = unfinished(w / "runs", "practice", 0), Run.open(next((given / "runs").glob("pretrain-*")))
    print("begin", flush=True)
    practice_phase(preset(), pretrained, w / "runs", "deutsch-dt-6", "far", robot, resume=resume)[0].close()


def learn(w: Path, given: Path) -> None:
    """The learner of `serve`: it is not killed."""
    practise(w, given, f"localhost:{PORT}")


def serve(w: Path, given: Path) -> None:
    from lotj.robots.server import Benches, RobotServer

    server = RobotServer(Benches(truth_file=w / "truth.jsonl"), TOKEN, port=PORT)
    print("begin", flush=True)
    server.run()


JOBS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "collect": (collect, ""),
    "upgrade": (upgrade, "collect"),
    "pretrain": (pretrain, "collect"),
    "practise": (practise, "pretrain"),
    "export": (export, "collect"),
    "import": (import_, "export"),
    "serve": (serve, "practise"),
}
"""Name -> what is done, and the job before it that leaves what it starts from."""


# What is there, and what it is


def said_before(root: Path) -> int:
    """Episodes that a data set holds, discarded ones too."""
    names = layout.task_names(root) if (root / layout.META).exists() else []
    folders = [layout.task_folder(root, name) for name in names]
    return sum(len(layout.read_index(folder / layout.INDEX).finished) for folder in folders)


def whole(w: Path) -> list[str]:
    """What of a killed job does not open or is damaged."""
    found = []
    for root in (w / "data", *(w / "runs").glob("*/trials")):
        if (root / layout.META).exists() and said_before(root):
            found += [str(problem) for problem in check(root)]
    for path in (w / "runs").glob("p*/run.json"):
        run = Run.open(path.parent)
        for stream in path.parent.glob("*.jsonl"):
            run.metrics(stream.stem)
        for saved in (path.parent / "checkpoints").glob("*.pt"):
            run.load(saved.stem)
        run.close()
    return found


def digest(w: Path) -> dict[str, str]:
    """Name of each part of a result -> what tells it from another."""
    found = {}
    for root in (w / "data", *(w / "runs").glob("*/trials")):
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found[str(path.relative_to(root.parent))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in w.glob("out.hdf5"):
        found["out"] = hashlib.sha256(b"".join(_values_of_hdf5(path))).hexdigest()
    for path in (w / "runs").glob("p*/run.json"):
        run = Run.open(path.parent)
        for saved in sorted((path.parent / "checkpoints").glob("*.pt")):
            found[saved.name] = hashlib.sha256(b"".join(_values(run.load(saved.stem)))).hexdigest()
        timed = {"time", "seconds", "updates_per_second"}
        for stream in sorted(path.parent.glob("*.jsonl")):
            if stream.name != "truth.jsonl":
                rows = [{k: v for k, v in row.items() if k not in timed} for row in run.metrics(stream.stem)]
                found[stream.name] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        run.close()
    return found


def _values(state: Any) -> Iterator[bytes]:
    if isinstance(state, dict):
        for key in sorted(state, key=str):
            yield str(key).encode()
            yield from _values(state[key])
    elif isinstance(state, (list, tuple)):
        for item in state:
            yield from _values(item)
    else:
        yield state.numpy().tobytes() if hasattr(state, "numpy") else repr(state).encode()


def _values_of_hdf5(path: Path) -> list[bytes]:
    import h5py

    values: list[bytes] = []

    def visit(name: str, node: Any) -> None:
        values.append(name.encode() + json.dumps(sorted((k, str(v)) for k, v in node.attrs.items())).encode())
        if isinstance(node, h5py.Dataset):
            value = np.asarray(node[()])
            values.append(value.tobytes() if value.dtype != object else repr(value.tolist()).encode())

    with h5py.File(path) as file:
        file.visititems(visit)
    return values


def format_1(new: Path, old: Path) -> None:
    """What `upgrade` starts from: the collected data as format 1 would have them, see `lotj.data.upgrade`."""
    store = DiskStore.open(new)
    for number, task in enumerate(store.tasks):
        folder = old / "domains" / task.name
        folder.mkdir(parents=True)
        about = {name: task.attributes[name] for name in ("connector", "family", "robot", "seed")}
        (folder / "domain.json").write_text(json.dumps({"name": task.name, "split": task.split, **about}))
        lines, first = [], 0
        for episode in (store.episode(int(n)) for n in np.flatnonzero(store.episodes["task"] == number)):
            frames = len(episode) + 1
            images = np.ascontiguousarray(episode.observation["image"]).tobytes()
            rows = np.zeros(frames, [("action", "<f4", (3,)), ("state", "<f4", (6,)), ("success", "u1")])
            rows["action"][:-1], rows["action"][-1] = episode.action, np.nan
            rows["success"] = episode.notes[SUCCESS]
            line = {"id": len(lines), "kind": episode.kind, "scenario": "far", "seed": episode.seed}
            line |= {"first_frame": first, "n_frames": frames, "terminated": bool(episode.terminated)}
            line |= {"truncated": bool(episode.truncated), "crc": zlib.crc32(images + rows.tobytes())}
            lines.append(json.dumps(line) + "\n")
            first += frames
            for name, data in (("frames.u8", images), ("frames.tbl", rows.tobytes())):
                with (folder / name).open("ab") as file:
                    file.write(data)
        (folder / "episodes.jsonl").write_text("".join(lines))
    size = store.schema.observation["image"].shape[2]
    (old / "meta.json").write_text(
        json.dumps({"format": "lotj-episodes", "version": 1, "image_size": size, "settings": {}})
    )


# The sweep


@contextmanager
def started(name: str, w: Path, given: Path) -> Iterator[subprocess.Popen[str]]:
    """A job's process, in a session of its own, once it has said that it begins."""
    words = [sys.executable, __file__, "--do", name, str(w), str(given)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LOTJ_ROBOT_TOKEN": TOKEN, "COLUMNS": "200"}
    with (w / "errors").open("a") as errors:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, start_new_session=True
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "begin\n":
                raise SystemExit(f"{name} does not begin: see {w / 'errors'}")
            yield process
        finally:
            kill(process, all_of_it=True)


def kill(process: subprocess.Popen[str], all_of_it: bool) -> None:
    """kill -9; returns when all of the session has ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if all_of_it else process.kill()
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise SystemExit("its workers do not end")


def said(lines: str) -> list[int]:
    """What a process has said to be done, in its order."""
    return [int(a or b) for a, b in re.findall(r"^(?:done (\d+)|trial (\d+)/).*$", lines, re.MULTILINE)]


def done_whole(name: str, w: Path, given: Path) -> float:
    """Does a job to its end; the seconds that it has worked."""
    with started(name, w, given) as process:
        begun = time.monotonic()
        assert process.stdout is not None
        process.stdout.read()
        if process.wait():
            raise SystemExit(f"{name} fails: see {w / 'errors'}")
        return time.monotonic() - begun


def reference(work: Path) -> tuple[Path, dict[str, float]]:
    """Every job without a kill, in one folder, and the seconds that each has taken."""
    whole, known = work / "whole", work / "seconds.json"
    if known.exists():
        return whole, json.loads(known.read_text())
    shutil.rmtree(whole, ignore_errors=True)
    seconds = {}
    for name in JOBS:
        made = whole / name
        made.mkdir(parents=True)
        if name == "upgrade":
            format_1(whole / "collect" / "data", whole / "collect" / "old")
        if name != "serve":
            seconds[name] = done_whole(name, made, whole / JOBS[name][1])
            print(f"{name}: {seconds[name]:.1f} s", flush=True)
    seconds["serve"] = 0.5 * seconds["practise"]  # from the first trial on
    known.write_text(json.dumps(seconds))
    return whole, seconds


def attempt(name: str, work: Path, rng: np.random.Generator, kills: int) -> dict[str, Any]:
    """One job with so many kills, or fewer where it is done before: what was found."""
    whole_jobs, seconds = reference(work)
    w, given = work / f"killed-{name}", whole_jobs / JOBS[name][1]
    shutil.rmtree(w, ignore_errors=True)
    w.mkdir()
    found: dict[str, Any] = {"kills": 0, "lost": [], "problems": []}
    if name == "serve":
        serve_and_kill(w, whole_jobs / "pretrain", rng, kills, seconds[name], found)
        wanted = digest(whole_jobs / "practise")
    else:
        promised, there = 0, w / RESULT.get(name, "nothing")
        while found["kills"] < kills and not there.exists():
            with started(name, w, given) as process:
                time.sleep(float(rng.uniform(0, 0.7 * seconds[name])))
                ended = process.poll() is not None
                kill(process, bool(rng.integers(2)))
                assert process.stdout is not None
                heard = said(process.stdout.read())
            if heard and name != "pretrain":
                # An export tells the parts that are there one by one, and then counts the episodes that it writes.
                again = next((a for a, b in pairwise(heard) if b == a + 1), heard[-1])
                found["lost"].append(max(0, promised - (again if name == "export" else heard[0] - 1)))
                promised = max(promised, *heard)
            if ended:
                break
            found["kills"] += 1
            found["problems"] += whole(w)
        if not there.exists():
            done_whole(name, w, given)
        wanted = digest(whole_jobs / name)
    mine = digest(w)
    found["problems"] += [f"another {part}" for part in wanted if mine.get(part) != wanted[part]]
    if any(lost > ALLOWED.get(name, 0) for lost in found["lost"]):
        found["problems"].append(f"lost {found['lost']}")
    if found["problems"]:
        shutil.copytree(w, work / f"problem-{name}-{time.time():.0f}", symlinks=True)
    return found


def serve_and_kill(
    w: Path, given: Path, rng: np.random.Generator, kills: int, seconds: float, found: dict[str, Any]
) -> None:
    """Kills the server while the learner practises, and starts the next."""
    learner: subprocess.Popen[bytes] | None = None
    try:
        while learner is None or learner.poll() is None:
            with started("serve", w, given):
                if learner is None:
                    words = [sys.executable, __file__, "--do", "learn", str(w), str(given)]
                    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LOTJ_ROBOT_TOKEN": TOKEN}
                    with (w / "said").open("w") as out:
                        learner = subprocess.Popen(words, stdout=out, stderr=out, env=env, start_new_session=True)
                    # Who does not find its robot at the beginning says so and ends, as it should.
                    while not [*(w / "runs").glob("p*/run.json")] and learner.poll() is None:
                        time.sleep(0.05)
                assert learner is not None
                until = time.monotonic() + (float(rng.uniform(0, seconds)) if found["kills"] < kills else 1e9)
                while time.monotonic() < until and learner.poll() is None:
                    time.sleep(0.02)
            found["kills"] += learner.poll() is None
        if learner is not None and learner.returncode:
            found["problems"].append((w / "said").read_text().strip().splitlines()[-1])
    finally:
        if learner is not None and learner.poll() is None:
            learner.kill()


def main() -> None:
    """Sweep, and keep what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--of-one", type=int, default=3, help="kills of one job, at most")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--work", type=Path, default=Path("/tmp/lotj-kill-sweep"), help="folder for all that is killed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--do", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        name, w, given = options.do
        return {"learn": learn, **{name: job for name, (job, _) in JOBS.items()}}[name](Path(w), Path(given))
    options.work.mkdir(parents=True, exist_ok=True)
    before = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    table = before.get("jobs", {})
    while (killed := sum(row["kills"] for row in table.values())) < options.kills:
        fewest = min(options.jobs, key=lambda name: table.get(name, {}).get("attempts", 0))
        row = table.setdefault(fewest, {"attempts": 0, "kills": 0, "most_lost": 0, "problems": []})
        rng = np.random.default_rng([row["attempts"], *fewest.encode()])
        found = attempt(fewest, options.work, rng, min(options.of_one, options.kills - killed))
        row["attempts"] += 1
        row["kills"] += found["kills"]
        row["most_lost"] = max([row["most_lost"], *found["lost"]])
        row["problems"] += found["problems"]
        print(f"{fewest}: {found}", flush=True)
        if options.out:
            kills = sum(row["kills"] for row in table.values())
            record(
                {"kills": kills, "problems": sum(len(r["problems"]) for r in table.values()), "jobs": table},
                options.out,
            )


if __name__ == "__main__":
    main()
