"""Agents small enough to be made in milliseconds, and random transitions for them."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lotj.agents import AGENTS, Algorithm, At, Learner
from lotj.agents.base import ValueConfig
from lotj.agents.iql import IQLConfig
from lotj.agents.learner import agent_name
from lotj.data.store import MemoryStore, Store
from lotj.experience import PRACTISED, Batch
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Front, Pixels, Vector
from lotj.spaces import Array, Spec

TASKS = 3
OFF = AugmentConfig(shift=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0, gradient=0, noise=0)
PIXELS = Pixels(EncoderConfig(width=8, stages=1), feature_channels=4, augment=OFF, half_precision=False)
GOAL = Vector(("state", "goal"))
BOUNDED = Vector(("goal",))
"""Sees the same before and in an update: what has bounds is not normalised by what was seen."""
CODES = Vector(("code", "goal"))
"""Of an agent that plans by codes, whatever front is asked for: it has no other."""
SMALL_BOTTLENECK = BottleneckConfig(invariant_dim=16, specific_dim=4, domain_hidden=(16,))
SMALL_IQL = IQLConfig(bottleneck=SMALL_BOTTLENECK, hidden=(16,), critic_projection=16, critic_hidden=16)
"""For what is trained, saved and loaded, well or not: the usual networks have a million weights."""
FRONTS = {"image": PIXELS, "state": Vector(), "goal": GOAL}
IMAGE = Array((2, 8, 16, 3), "uint8", 0, 255)


def spec_of(axes: int = 3) -> Spec:
    """Two views of 8 x 16 pixels, a state of five numbers, a goal of two that lies in [-4, 4]."""
    state = Array((5,), "float32", -math.inf, math.inf)
    return Spec({"image": IMAGE, "state": state, "goal": Array((2,), "float32", -4.0, 4.0)}, (axes,), 10.0, 20)


def config_of(kind: type[Algorithm], **changes: Any) -> Any:
    small: dict[str, Any] = {"hidden": (16,)}
    if issubclass(kind.CONFIG, ValueConfig):
        small |= {"critic_projection": 16, "critic_hidden": 16}
    if "bottleneck" in kind.CONFIG.__dataclass_fields__:
        small["bottleneck"] = SMALL_BOTTLENECK
    if "latent" in kind.CONFIG.__dataclass_fields__:
        small["latent"] = 2
    return kind.CONFIG(**(small | changes))


def learner_of(name: str, front: Front = GOAL, axes: int = 3, seed: int = 0, device: str = "cpu", **changes) -> Learner:
    kind, spec = AGENTS[name], spec_of(axes)
    if "waypoint" in kind.requires:
        front, spec = CODES, replace(spec, observation={**spec.observation, "code": spec.observation["goal"]})
    return Learner(kind, spec, front, config_of(kind, **changes), TASKS, seed, device)


def observe(rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    seen = {
        "image": rng.integers(0, 256, (rows, *IMAGE.shape), dtype=np.uint8),
        "state": rng.normal(size=(rows, 5)).astype(np.float32),
        "goal": rng.uniform(-4, 4, (rows, 2)).astype(np.float32),
    }
    return {**seen, "code": seen["state"][:, :2].clip(-4, 4)}


def make_batch(
    rows: int = 8, seed: int = 0, axes: int = 3, task: int | None = 0, agent: str = "td3", **columns: Any
) -> Batch:
    """Of the task's prior data; without a task, of several and of practice; with the columns that `agent` requires."""
    rng = np.random.default_rng(seed)
    done = rng.random(rows) < 0.3
    known = {"return": done.astype(np.float32), "next_action": np.full((rows, axes), 0.25, np.float32)}
    known["context"] = np.tile(rng.normal(size=(1, 4, 2 * (5 + 2) + axes + 1)).astype(np.float32), (rows, 1, 1))
    known["waypoint"] = (
        rng.uniform(-4, 4, (rows, 2)).astype(np.float32) if "waypoint" in AGENTS[agent].requires else done
    )
    columns = {name: known[name] for name in sorted(AGENTS[agent].requires)} | columns
    return Batch(
        observation=observe(rows, rng),
        action=rng.uniform(-1, 1, (rows, axes)).astype(np.float32),
        reward=done.astype(np.float32),
        terminated=done,
        next_observation=observe(rows, rng),
        task=rng.integers(PRACTISED, TASKS, rows) if task is None else np.full(rows, task),
        columns=columns,
    )


def on_features(learner: Learner, batch: Batch) -> Batch:
    """The batch as the learner's features."""
    now, then = learner.encode(batch.observation), learner.encode(batch.next_observation)
    return replace(batch, observation=now, next_observation=then)


def same(one: Any, other: Any) -> bool:
    """Whether two states (or parts of one) are equal bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def weights(learner: Learner, module: str) -> dict[str, torch.Tensor]:
    """Copies of a submodule's parameters."""
    return {n: p.detach().clone() for n, p in learner.algorithm.get_submodule(module).named_parameters()}


def noise_of(seed: int, update: int) -> torch.Generator:
    """The random numbers that an update draws, where its front draws none."""
    number = np.random.SeedSequence((seed, update)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(number >> np.uint64(1)))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True, map_location="cpu")


def train(learner: Learner, updates: int, first: int = 0, **batch: Any) -> dict[str, float]:
    """A few updates on different batches; the last one's numbers."""
    given = {"axes": learner.algorithm.axes, "agent": agent_name(type(learner.algorithm))}
    for number in range(first, first + updates):
        numbers = learner.update(make_batch(seed=number, **(given | batch)), At(number, progress=0.5))
    return numbers


def chosen(store: Store, episodes: np.ndarray) -> MemoryStore:
    """The store of some episodes of another, (E,) bool."""
    made = MemoryStore(store.tasks)
    for number in np.flatnonzero(episodes).tolist():
        made.append(store.episode(number))
    return made
