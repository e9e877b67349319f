"""Updates of agents that learn from states, in rounds; run by `benchmarks/peer_state_updates.py` in each package's own
Python. Networks and batches are alike; whatever else is each package's own, its replay included."""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rounds import Round, serve

STATE, AXES, HIDDEN, BATCH = 17, 6, (256, 256), 256
FRAMES, EPISODE = 4000, 200
"""Transitions of noise, and how many make an episode; what is learnt has no part in the speed."""
DISCOUNT, RATE = 0.99, 3e-4

Update = Callable[[int], None]
"""Does so many updates, drawing included."""


def noise() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States (N, 17), actions (N, 6) in [-1, 1] and rewards (N,)."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(FRAMES, STATE)).astype(np.float32)
    return states, rng.uniform(-1, 1, (FRAMES, AXES)).astype(np.float32), rng.normal(size=FRAMES).astype(np.float32)


def lotj_agents(names: list[str]) -> dict[str, Update]:
    """Of lotj."""
    from dataclasses import replace

    from lotj.agents import At, Learner, find_agent
    from lotj.data.replay import Replay, Source
    from lotj.data.store import MemoryStore
    from lotj.experience import Episode, Task
    from lotj.experiments.presets import find_preset
    from lotj.experiments.stages import agent_settings
    from lotj.nets.front import Vector
    from lotj.processes import keep_memory
    from lotj.spaces import Array, Spec

    keep_memory()  # as the command does
    states, actions, rewards = noise()
    store = MemoryStore([Task("noise", "noise")])
    for number, first in enumerate(range(0, FRAMES, EPISODE)):
        steps = slice(first, first + EPISODE - 1)
        seen = {"state": states[first : first + EPISODE]}
        store.append(Episode(seen, actions[steps], rewards[steps], False, True, "noise", "noise", number))
    spec, front = (
        Spec({"state": Array((STATE,), "float32", -np.inf, np.inf)}, (AXES,), 20.0, EPISODE),
        Vector(("state",)),
    )
    alike = {"hidden": HIDDEN, "critic_hidden": HIDDEN[0], "critic_layer_norm": False}
    preset = replace(find_preset("state"), agent={**alike, "discount": DISCOUNT, "lr": RATE, "ema": 0.005})
    made = {}
    for name in names:
        learner = Learner(find_agent(name), spec, front, agent_settings(preset, name), 1)
        replay, rng = Replay([Source(store, 1.0)], BATCH), np.random.default_rng(0)

        def update(count: int, learner: Any = learner, replay: Any = replay, rng: Any = rng) -> None:
            for _ in range(count):
                learner.update(replay.sample(rng), At(learner.updates))

        made[name] = update
    return made


def d3rlpy_agents(names: list[str]) -> dict[str, Update]:
    """Of d3rlpy."""
    import d3rlpy

    states, actions, rewards = noise()
    ends = (np.arange(FRAMES) % EPISODE == EPISODE - 1).astype(np.float32)
    buffer = d3rlpy.dataset.MDPDataset(states, actions, rewards, np.zeros(FRAMES, np.float32), ends)
    layers = d3rlpy.models.VectorEncoderFactory(list(HIDDEN))
    made = {}
    for name in names:
        kind = {"iql": "IQLConfig", "awac": "AWACConfig", "td3": "TD3Config", "sac": "SACConfig"}[name]
        networks = dict.fromkeys(("actor_encoder_factory", "critic_encoder_factory"), layers)
        networks |= {"value_encoder_factory": layers} if name == "iql" else {}
        agent = getattr(d3rlpy.algos, kind)(batch_size=BATCH, gamma=DISCOUNT, **networks).create(device=False)
        agent.create_impl((STATE,), AXES)

        def update(count: int, agent: Any = agent) -> None:
            for _ in range(count):
                agent.update(buffer.sample_transition_batch(BATCH))

        made[name] = update
    return made


def sb3_agents(names: list[str]) -> dict[str, Update]:
    """Of Stable-Baselines3."""
    import gymnasium as gym
    import stable_baselines3 as sb3
    from stable_baselines3.common.logger import Logger

    class Empty(gym.Env[np.ndarray, np.ndarray]):
        """Spaces alone."""

        observation_space = gym.spaces.Box(-np.inf, np.inf, (STATE,), np.float32)
        action_space = gym.spaces.Box(-1.0, 1.0, (AXES,), np.float32)

    states, actions, rewards = noise()
    made = {}
    for name in names:
        how = {"policy_kwargs": {"net_arch": list(HIDDEN)}, "batch_size": BATCH, "gamma": DISCOUNT, "device": "cpu"}
        model = getattr(sb3, name.upper())("MlpPolicy", Empty(), learning_rate=RATE, buffer_size=FRAMES, **how)
        model.set_logger(Logger(None, []))
        for k in range(FRAMES - 1):
            model.replay_buffer.add(
                states[k][None], states[k + 1][None], actions[k][None], rewards[k][None], np.zeros(1), [{}]
            )

        def update(count: int, model: Any = model) -> None:
            model.train(gradient_steps=count, batch_size=BATCH)

        made[name] = update
    return made


MAKE = {
    "lotj": (lotj_agents, "torch"),
    "d3rlpy": (d3rlpy_agents, "d3rlpy"),
    "sb3": (sb3_agents, "stable-baselines3"),
}


def begin() -> tuple[dict[str, Any], Round]:
    """Make the agents; what they are, and what does rounds."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    make, distribution = MAKE[settings["package"]]
    agents = make(settings["agents"])

    def play(request: dict[str, Any]) -> dict[str, Any]:
        """`count` updates with the drawing of their batches: ``seconds``."""
        started = time.perf_counter()
        agents[request["agent"]](request["count"])
        return {"count": request["count"], "seconds": time.perf_counter() - started}

    about = {distribution: importlib.metadata.version(distribution), "torch": torch.__version__}
    return {**about, "threads": torch.get_num_threads()}, play


if __name__ == "__main__":
    serve(begin)
