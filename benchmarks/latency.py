"""Milliseconds from an image to an action, of the policy and of the reward model, at laptop size.

    python benchmarks/latency.py --out results/benchmarks/latency.json

A robot that acts ten times a second waits for `practice step`: score and features of the new image, then the action.
`act` is the policy alone, as after practice; `score` the reward model alone. The networks are untrained, the images
noise: neither has a part in the time. All ways take turns, step by step, so that none finds its weights in the cache.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import as_command, report

from lotj.agents import Learner
from lotj.agents.iql import IQL
from lotj.experiments.presets import find_preset
from lotj.nets.precision import fast_dtype
from lotj.rewards.classifier import SuccessClassifier
from lotj.rewards.model import RewardModel
from lotj.spaces import Array, Spec

TARGET_MS = 20.0
"""The 99th percentile of `act` shall be no longer."""

WARM_UP = 50
TASKS = 300
"""Of the prior data; only the adversaries' last layers, which do not act, depend on it."""


def shape_of(preset_name: str) -> tuple[int, int, int, int]:
    """Two views that share a square of the preset's size."""
    side = find_preset(preset_name).collect.image_size
    return 2, side // 2, side, 3


def ways_of(preset_name: str) -> dict[str, Callable[[np.ndarray], object]]:
    """What is done with images (1, V, H, W, 3) uint8."""
    preset, shape = find_preset(preset_name), shape_of(preset_name)
    spec = Spec({"image": Array(shape, "uint8", 0, 255)}, (3,), 10.0, 20)
    agent = Learner(IQL, spec, preset.front, preset.iql, TASKS)
    practising = agent.on_features()
    reward = RewardModel(SuccessClassifier(preset.reward, shape, TASKS), preset.reward, threshold=0.5)
    rng = np.random.default_rng(0)

    def practice_step(image: np.ndarray) -> None:
        reward.score(image)
        practising.act(agent.encode({"image": image}), 1.0, rng)

    return {"act": lambda image: agent.act({"image": image}), "score": reward.score, "practice step": practice_step}


def measure(preset_name: str, steps: int, threads: int) -> dict[str, list[float]]:
    """Milliseconds of each way at each step."""
    torch.set_num_threads(threads)
    ways, shape = ways_of(preset_name), shape_of(preset_name)
    images = np.random.default_rng(0).integers(0, 256, (64, 1, *shape), dtype=np.uint8)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(WARM_UP + steps):
        for name, way in ways.items():
            started = time.perf_counter()
            way(images[step % len(images)])
            if step >= WARM_UP:
                found[name].append(1e3 * (time.perf_counter() - started))
    return found


def quantiles(milliseconds: list[float]) -> dict[str, float]:
    """What is told of a distribution."""
    found = {f"p{q}": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}
    return {name: round(value, 2) for name, value in (found | {"max": max(milliseconds)}).items()}


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    for threads in options.threads:
        found = as_command(measure, options.preset, options.steps, threads)
        rows[f"threads {threads}"] = {name: quantiles(values) for name, values in found.items()}
    result = {
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "format": str(fast_dtype("cpu")),
        "steps": options.steps,
        "target_ms": TARGET_MS,
        "milliseconds": rows,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
