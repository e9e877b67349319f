"""Memory of drawing training batches at paper size (96 px) from data sets that grow: frames stay on disk.

    python benchmarks/frame_memory.py --out results/benchmarks/frame_memory.json

The frames are noise, as many as an expert's episode has; each data set is read in a process of its own. `own` is what
the process holds itself; `resident` counts pages of the frame files too, which the system keeps as long as nobody needs
the room.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from command import memory
from side_by_side import report

from lotj.data.layout import Schema
from lotj.data.replay import Replay, Source
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.experience import Episode, Task

STEPS = 12
"""Steps of an episode, as in the collected data."""
TASKS = 10
IMAGE_SIZE, BATCH = 96, 256
"""Of the paper preset."""


def record(root: Path, episodes: int) -> None:
    """A data set of so many episodes of noise."""
    rng = np.random.default_rng(0)
    for number in range(TASKS):
        task, writer = Task(f"noise.{number}", "noise"), None
        for seed in range(episodes // TASKS):
            shape = (STEPS + 1, 2, IMAGE_SIZE // 2, IMAGE_SIZE, 3)
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            action = rng.uniform(-1, 1, (STEPS, 3)).astype(np.float32)
            reward = (np.arange(STEPS) == STEPS - 1).astype(np.float32)
            episode = Episode({"image": image}, action, reward, True, False, task.name, "expert", seed)
            writer = writer or EpisodeWriter(root, task, Schema.of(episode))
            writer.append(episode)
        if writer is not None:
            writer.close()


def draw(root: Path, batches: int, answer: mp.Queue) -> None:
    """Draw batches; answers seconds, and memory before and at its peak."""
    os.setsid()  # `memory` counts a session's processes
    before = memory(os.getsid(0))
    replay = Replay([Source(DiskStore.open(root))], BATCH)
    started, peak = time.perf_counter(), before
    for step in range(batches):
        replay.sample(np.random.default_rng(step))
        peak = {name: max(value, peak[name]) for name, value in memory(os.getsid(0)).items()}
    answer.put((time.perf_counter() - started, before, peak))


def main() -> None:
    """Record, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, nargs="+", default=[500, 2_000, 8_000])
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    context, rows = mp.get_context("spawn"), []
    for episodes in options.episodes:
        with tempfile.TemporaryDirectory() as folder:
            record(Path(folder) / "data", episodes)
            answer = context.Queue()
            process = context.Process(target=draw, args=(Path(folder) / "data", options.batches, answer))
            process.start()
            seconds, before, peak = answer.get()
            process.join()
        frames = episodes // TASKS * TASKS * (STEPS + 1)
        rows.append(
            {
                "episodes": episodes,
                "frames_gb": round(frames * IMAGE_SIZE**2 * 3 / 1e9, 2),
                "batches_per_second": round(options.batches / seconds, 1),
                "own_gb_before": round(before["without_files"], 3),
                "own_gb_peak": round(peak["without_files"], 3),
                "resident_gb_peak": round(peak["resident"], 3),
            }
        )
    figures = {
        "batch": BATCH,
        "image_size": IMAGE_SIZE,
        "rows": rows,
    }
    report(figures, options.out)


if __name__ == "__main__":
    main()
