"""Updates a second of the agent on a GPU, at laptop size and at the paper's: replayed, and launched one by one.

python benchmarks/gpu_updates.py --out results/benchmarks/gpu_updates.json

Batches are random and lie in memory: reading from disk, which goes on beside the updates, is not in these figures.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import rates, report

from lotj.agents import At, Learner
from lotj.agents.iql import IQL
from lotj.experience import Batch
from lotj.experiments.presets import Preset, find_preset
from lotj.spaces import Array, Spec

TASKS = 100


def random_batch(preset: Preset, spec: Spec, rng: np.random.Generator) -> Batch:
    """Transitions as pretraining draws them, but for what they show."""
    rows = preset.pretrain.batch
    now, then = rng.integers(0, 255, (2, rows, *spec.observation["image"].shape), dtype=np.uint8)
    columns: dict[str, np.ndarray] = {"imitate": np.arange(rows) < round((preset.pretrain.policy_share or 1.0) * rows)}
    if preset.iql.position_weight:
        columns["position"] = rng.normal(0.0, 0.01, (rows, 3)).astype(np.float32)
    return Batch(
        observation={"image": now},
        action=rng.uniform(-1, 1, (rows, 3)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=np.zeros(rows, bool),
        next_observation={"image": then},
        task=rng.integers(0, TASKS, rows),
        columns=columns,
    )


def measure(preset: Preset, steps: int, repeats: int, device: str = "cuda") -> dict[str, Any]:
    """Both ways in turns."""
    rng = np.random.default_rng(0)
    side = preset.collect.image_size
    spec = Spec({"image": Array((2, side // 2, side, 3), "uint8", 0, 255)}, (3,), 10.0, 20)
    batches = itertools.cycle([random_batch(preset, spec, rng) for _ in range(4)])
    agents = {
        name: Learner(IQL, spec, preset.front, preset.iql, TASKS, device=device) for name in ("replayed", "launched")
    }
    agents["launched"].recorded = None

    def update(agent: Learner) -> None:
        agent.update(next(batches), At(agent.updates))

    ways = {name: functools.partial(update, agent) for name, agent in agents.items()}
    torch.cuda.reset_peak_memory_stats()
    rates(ways, 5, 1)  # the first calls choose algorithms and record
    found = rates(ways, steps, repeats)
    return {
        "batch": preset.pretrain.batch,
        "pixels": side,
        "updates_per_second": {name: round(float(np.median(values)), 1) for name, values in found.items()},
        "all": {name: [round(value, 1) for value in values] for name, values in found.items()},
        "peak_memory_gb_of_both": round(torch.cuda.max_memory_allocated() / 1e9, 2),
    }


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: this benchmark is of a GPU; update_speed.py is of the processor")
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    for name in ("laptop", "paper"):
        result[name] = measure(find_preset(name), options.steps, options.repeats)
    report(result, options.out)


if __name__ == "__main__":
    main()
