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

from lotj.agents.iql import IQL
from lotj.experience import Batch
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import open_split
from lotj.nets.encoder import EncoderConfig, ResNetEncoder
from lotj.nets.precision import autocast
from lotj.rewards.training import RewardTrainer
from lotj.training.pretrain_batches import TransitionBatches


def bare(config: EncoderConfig, images: int) -> Callable[[], object]:
    """One pass forwards and backwards over so many images."""
    net = nn.Sequential(ResNetEncoder(config), nn.Flatten(), nn.LazyLinear(1))
    pixels = torch.rand(images, 3, config.image_size, config.image_size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(torch.device("cpu")):
            loss = net(pixels).float().mean()
        loss.backward()
        net.zero_grad()

    return step


def features(agent: IQL, count: int) -> Batch:
    """Random cached features, as practice draws them."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (count, agent.image_size, agent.image_size, 3), dtype=np.uint8)
    seen = agent.encode(frames)
    nothing = np.zeros(count, bool)
    action = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    return Batch(seen, action, np.zeros(count, np.float32), nothing, nothing, seen, np.full(count, -1))


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/laptop"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    preset, train = find_preset("laptop"), open_split(options.data, "train")
    batch = preset.pretrain.batch
    agent, practising = (IQL(preset.iql, len(train.domains)) for _ in range(2))
    practising.freeze_convolutions()
    batches, cached = TransitionBatches(train, preset.pretrain, 0), features(practising, preset.practice.batch_size)
    images = batches.load(0)
    passed = batch + int(images.policy.sum())
    with RewardTrainer(train, train, preset.reward, 0) as trainer:
        ways = {
            "reward": trainer.step,
            "reward_bare": bare(preset.reward.encoder, preset.reward.batch),
            "agent": lambda: agent.update(images),
            "agent_bare": bare(preset.iql.encoder, passed),
            "practice": lambda: practising.update(cached, q_gradient_weight=preset.practice.q_gradient_weight),
        }
        for way in ways.values():
            way()  # the first call of each makes what the others use again
        found = rates(ways, options.steps, options.repeats)
    medians = {name: round(float(np.median(values)), 2) for name, values in found.items()}
    result = {
        "command": f"python benchmarks/update_speed.py --steps {options.steps} --repeats {options.repeats}",
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
