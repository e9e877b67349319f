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

from lotj.agents import At, Learner
from lotj.agents.iql import IQL
from lotj.data.replay import Replay, Source
from lotj.experience import Batch, Task
from lotj.experiments.parts import choose_training
from lotj.experiments.presets import Preset, find_preset
from lotj.nets.precision import fast_dtype
from lotj.spaces import Array, Spec
from lotj.training.features import FeatureStore

FRAMES = 2000
"""Frames of noise whose features are drawn from in practice; what is learnt has no part in the speed."""


def domains(preset: Preset) -> int:
    """How many the adversary tells apart."""
    collect = preset.collect
    return len(choose_training(None)) * collect.robots_per_connector * collect.domains_per_connector


def images(preset: Preset, spec: Spec, policy_share: float) -> Batch:
    """A batch of noise, all of it augmented; the policy learns from that share of its rows."""
    rng, count = np.random.default_rng(0), preset.pretrain.batch
    frames = rng.integers(0, 256, (2, count, *spec.observation["image"].shape), dtype=np.uint8)
    last = rng.random(count) < 0.1
    return Batch(
        observation={"image": frames[0]},
        action=rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        reward=last.astype(np.float32),
        terminated=last,
        next_observation={"image": frames[1]},
        task=rng.integers(0, domains(preset), count),
        columns={"imitate": np.arange(count) < policy_share * count},
    )


def replay(agent: Learner, preset: Preset) -> Replay:
    """Cached features of noise, mixed as in practice; the policy learns from all rows."""
    rng, count = np.random.default_rng(0), FRAMES // 2
    frames = rng.integers(0, 256, (FRAMES, *agent.spec.observation["image"].shape), dtype=np.uint8)
    seen = {name: values.reshape(count, 2, -1) for name, values in agent.encode({"image": frames}).items()}
    last = rng.random(count) < 0.1
    columns = {"action": rng.uniform(-1, 1, (count, 3)).astype(np.float32), "reward": last.astype(np.float32)}
    columns |= {"terminated": last, "task": np.zeros(count, np.int64), "imitate": np.ones(count, bool)}
    store, online = FeatureStore(columns | seen, (Task("noise", "noise"),)), preset.practice.online_fraction
    sources = [Source(store, share, columns={"imitate": True}, practised=own) for share, own in
               ((online, True), (1.0 - online, False))]  # fmt: skip
    return Replay(sources, preset.practice.batch_size, ["imitate"])


def begin() -> tuple[dict[str, Any], Round]:
    """Make the agents; what they are, and what does rounds."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    preset, rng = find_preset(settings["preset"]), np.random.default_rng(0)
    side = preset.collect.image_size
    spec = Spec({"image": Array((2, side // 2, side, 3), "uint8", 0, 255)}, (3,), 10.0, 20)
    agents = {
        name: Learner(IQL, spec, replace(preset.front, half_precision=half), preset.iql, domains(preset))
        for name, half in (("bf16", True), ("single", False))
    }
    practising = agents["bf16"].on_features(q_gradient_weight=preset.practice.q_gradient_weight)
    whole, share = images(preset, spec, 1.0), images(preset, spec, preset.pretrain.policy_share or 1.0)
    mixed = replay(agents["bf16"], preset)
    ways: dict[str, tuple[Learner, Callable[[], Batch]]] = {
        "offline": (agents["bf16"], lambda: whole),
        "offline single precision": (agents["single"], lambda: whole),
        "offline policy share": (agents["bf16"], lambda: share),
        "practice": (practising, lambda: mixed.sample(rng)),
    }

    def play(request: dict[str, Any]) -> dict[str, Any]:
        """`count` updates: `update_s` by the update alone, `draw_s` by the replay."""
        agent, draw = ways[request["way"]]
        draw_s = update_s = 0.0
        for _ in range(request["count"]):
            started = time.perf_counter()
            batch = draw()
            drawn = time.perf_counter()
            agent.update(batch, At(agent.updates))
            draw_s, update_s = draw_s + drawn - started, update_s + time.perf_counter() - drawn
        return {"count": request["count"], "draw_s": draw_s, "update_s": update_s}

    about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "format": str(fast_dtype("cpu"))}
    return about, play


if __name__ == "__main__":
    serve(begin)
