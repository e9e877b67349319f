"""Gradient updates a second of each learner, beside what its networks alone would allow, in turns in one run.

python benchmarks/update_speed.py --data data/laptop --out results/benchmarks/update_speed.json

`bare` is one pass forwards and backwards of a plain encoder with a linear head over as many images as the update
passes through its encoders with gradients: no augmentation, no targets, no optimiser, no reading from disk.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from side_by_side import rates, report
from torch import nn

from lotj.agents import At, Learner
from lotj.agents.iql import IQL
from lotj.data.store import DiskStore
from lotj.experience import PRACTISED, Batch
from lotj.experiments.presets import find_preset
from lotj.nets.front import Pixels
from lotj.nets.precision import autocast
from lotj.rewards.training import RewardTrainer
from lotj.spaces import Spec
from lotj.training.pretrain import spec_of_data
from lotj.training.prior import batches


def bare(front: Pixels, spec: Spec, rows: int) -> Callable[[], object]:
    """One pass forwards and backwards over the images of so many rows."""
    encoder = front.encoder(spec, "bare")
    head = nn.Linear(encoder.size, 1)
    frames = np.random.default_rng(0).integers(0, 255, (rows, *spec.observation["image"].shape), dtype=np.uint8)
    seen = front.bring({"image": frames}, "cpu")

    def step() -> None:
        with autocast(torch.device("cpu")):
            loss = head(encoder(seen)).float().mean()
        loss.backward()
        encoder.zero_grad()

    return step


def features(agent: Learner, count: int) -> Batch:
    """Random cached features, as practice draws them."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (count, *agent.spec.observation["image"].shape), dtype=np.uint8)
    seen = agent.encode({"image": frames})
    action = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    ended, task = np.zeros(count, bool), np.full(count, PRACTISED)
    return Batch(seen, action, np.zeros(count, np.float32), ended, seen, task, {"imitate": ~ended})


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/laptop"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    preset, train = find_preset("laptop"), DiskStore.open(options.data, split="train")
    batch = preset.pretrain.batch
    spec = spec_of_data(train.schema, ("image",))
    agent = Learner(IQL, spec, preset.front, preset.iql, len(train.tasks))
    practising = agent.on_features(q_gradient_weight=preset.practice.q_gradient_weight)
    cached = features(agent, preset.practice.batch_size)
    images = batches(train, preset.pretrain, 0, agent.needs, ("image",))(0)
    passed = batch + int(images.columns["imitate"].sum())
    with RewardTrainer(train, train, preset.reward, 0) as trainer:
        ways = {
            "reward": trainer.step,
            "reward_bare": bare(preset.reward.front, spec, preset.reward.batch),
            "agent": lambda: agent.update(images, At(agent.updates)),
            "agent_bare": bare(preset.front, spec, passed),
            "practice": lambda: practising.update(cached, At(practising.updates)),
        }
        for way in ways.values():
            way()  # the first call of each makes what the others use again
        found = rates(ways, options.steps, options.repeats)
    medians = {name: round(float(np.median(values)), 2) for name, values in found.items()}
    result = {
        "cores": os.cpu_count(),
        "batch": {"reward": preset.reward.batch, "agent": batch, "practice": preset.practice.batch_size},
        "updates_per_second": medians,
        "share_of_bare": {
            name: round(float(np.median(np.divide(found[name], found[f"{name}_bare"]))), 3)
            for name in ("reward", "agent")
        },
        "all": {name: [round(value, 2) for value in values] for name, values in found.items()},
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
