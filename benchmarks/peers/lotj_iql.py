"""Updates of lotj's IQL, in rounds; run by `benchmarks/peer_updates.py`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rounds import Round, serve

from lotj.agents.iql import IQL
from lotj.data.replay import MixedReplay, OfflineFeatures
from lotj.experience import Batch
from lotj.experiments.parts import choose_training
from lotj.experiments.presets import Preset, find_preset
from lotj.nets.precision import fast_dtype

FRAMES = 2000
"""Frames of noise whose features are drawn from in practice; what is learnt has no part in the speed."""


def domains(preset: Preset) -> int:
    """How many the adversary tells apart."""
    collect = preset.collect
    return len(choose_training(None)) * collect.robots_per_connector * collect.looks_per_connector


def images(preset: Preset, policy_share: float | None) -> Batch:
    """A batch of noise, all of it augmented; the policy learns from that share of its rows, None for all."""
    rng, count, size = np.random.default_rng(0), preset.pretrain.batch, preset.iql.encoder.image_size
    frames = rng.integers(0, 256, (2, count, size, size, 3), dtype=np.uint8)
    last = rng.random(count) < 0.1
    return Batch(
        observation=frames[0],
        action=rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        reward=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(count, bool),
        next_observation=frames[1],
        domain=rng.integers(0, domains(preset), count),
        policy=None if policy_share is None else np.arange(count) < policy_share * count,
    )


def replay(agent: IQL, preset: Preset) -> MixedReplay:
    """Cached features of noise, mixed as in practice; the policy learns from all rows."""
    rng, size = np.random.default_rng(0), agent.image_size
    views = preset.practice.features.views
    frames = rng.integers(0, 256, (FRAMES, size, size, 3), dtype=np.uint8)
    seen = {name: values.numpy()[:, None].repeat(views, 1) for name, values in agent.encode(frames).items()}
    count = FRAMES - 1
    last = rng.random(count) < 0.1
    source = OfflineFeatures(
        features=seen,
        frame=np.arange(count),
        next_frame=np.arange(count) + 1,
        action=rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        reward=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(count, bool),
        domain=np.zeros(count, np.int64),
    )
    return MixedReplay(source, source, preset.practice.batch_size, preset.practice.online_fraction)


def begin() -> tuple[dict[str, Any], Round]:
    """Make the agents; what they are, and what does rounds."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    preset, rng = find_preset(settings["preset"]), np.random.default_rng(0)
    single = replace(preset.iql, half_precision=False)
    agents = {name: IQL(config, domains(preset)) for name, config in (("bf16", preset.iql), ("single", single))}
    practising = IQL(preset.iql, domains(preset))
    practising.freeze_convolutions()
    whole, share, mixed = images(preset, None), images(preset, preset.pretrain.policy_share), replay(practising, preset)
    ways: dict[str, tuple[IQL, Callable[[], Batch], float]] = {
        "offline": (agents["bf16"], lambda: whole, 0.0),
        "offline single precision": (agents["single"], lambda: whole, 0.0),
        "offline policy share": (agents["bf16"], lambda: share, 0.0),
        "practice": (practising, lambda: mixed.sample(rng), preset.practice.q_gradient_weight),
    }

    def play(request: dict[str, Any]) -> dict[str, Any]:
        """`count` updates: `update_s` by the update alone, `draw_s` by the replay."""
        agent, draw, pull = ways[request["way"]]
        draw_s = update_s = 0.0
        for _ in range(request["count"]):
            started = time.perf_counter()
            batch = draw()
            drawn = time.perf_counter()
            agent.update(batch, q_gradient_weight=pull)
            draw_s, update_s = draw_s + drawn - started, update_s + time.perf_counter() - drawn
        return {"count": request["count"], "draw_s": draw_s, "update_s": update_s}

    about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "format": str(fast_dtype("cpu"))}
    return about, play


if __name__ == "__main__":
    serve(begin)
