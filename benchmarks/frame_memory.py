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

from lotj.data.dataset import Dataset
from lotj.data.store import EpisodeWriter
from lotj.experience import STATE_DIM, Domain, Episode
from lotj.experiments.presets import find_preset
from lotj.training.pretrain_batches import TransitionBatches

STEPS = 12
"""Steps of an episode, as in the collected data."""
DOMAINS = 10


def record(root: Path, episodes: int, image_size: int) -> None:
    """A data set of so many episodes of noise."""
    rng = np.random.default_rng(0)
    success = np.arange(STEPS + 1) == STEPS
    for number in range(DOMAINS):
        domain = Domain(f"noise.duo.{number}", "noise", "noise", "duo", number, "train")
        with EpisodeWriter(root, domain, image_size) as writer:
            for seed in range(episodes // DOMAINS):
                writer.append(
                    Episode(
                        frames=rng.integers(0, 256, (STEPS + 1, image_size, image_size, 3), dtype=np.uint8),
                        actions=rng.uniform(-1, 1, (STEPS, 3)).astype(np.float32),
                        success=success,
                        state=np.zeros((STEPS + 1, STATE_DIM), np.float32),
                        terminated=True,
                        truncated=False,
                        domain=domain.name,
                        scenario="far",
                        kind="expert",
                        seed=seed,
                    )
                )


def draw(root: Path, batches: int, answer: mp.Queue) -> None:
    """Draw batches of the paper preset; answers seconds, and memory before and at its peak."""
    os.setsid()  # `memory` counts a session's processes
    before = memory(os.getsid(0))
    dataset = Dataset.open(root)
    source = TransitionBatches(dataset, find_preset("paper").pretrain, 0)
    started, peak = time.perf_counter(), before
    for step in range(batches):
        source.load(step)
        peak = {name: max(value, peak[name]) for name, value in memory(os.getsid(0)).items()}
    answer.put((time.perf_counter() - started, before, peak))


def main() -> None:
    """Record, draw, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, nargs="+", default=[500, 2_000, 8_000])
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    preset, context, rows = find_preset("paper"), mp.get_context("spawn"), []
    for episodes in options.episodes:
        with tempfile.TemporaryDirectory() as folder:
            record(Path(folder) / "data", episodes, preset.collect.image_size)
            answer = context.Queue()
            process = context.Process(target=draw, args=(Path(folder) / "data", options.batches, answer))
            process.start()
            seconds, before, peak = answer.get()
            process.join()
        frames = episodes // DOMAINS * DOMAINS * (STEPS + 1)
        rows.append(
            {
                "episodes": episodes,
                "frames_gb": round(frames * preset.collect.image_size**2 * 3 / 1e9, 2),
                "batches_per_second": round(options.batches / seconds, 1),
                "own_gb_before": round(before["without_files"], 3),
                "own_gb_peak": round(peak["without_files"], 3),
                "resident_gb_peak": round(peak["resident"], 3),
            }
        )
    figures = {
        "command": f"python benchmarks/frame_memory.py --batches {options.batches}",
        "batch": preset.pretrain.batch,
        "image_size": preset.collect.image_size,
        "rows": rows,
    }
    report(figures, options.out)


if __name__ == "__main__":
    main()
