"""Updates of d3rlpy's IQL, in rounds; run by `benchmarks/peer_updates.py` in d3rlpy's own Python.

The image encoder is lotj's own class, imported from this repository, at single precision (d3rlpy has no other); the
layers behind it have the widths of lotj's heads. Everything else is d3rlpy's: a twin Q whose two members, V and the
policy have an encoder each, its replay buffer, its optimiser steps.
"""
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import torch
from rounds import Round, serve
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[2] / "src"))

from lotj.nets.encoder import EncoderConfig  # noqa: E402
from lotj.nets.front import PixelEncoder, Pixels  # noqa: E402

EPISODES, STEPS = 40, 20
"""Of noise in the replay buffer; what is learnt has no part in the speed."""
ACTIONS, VIEWS = 3, 2


class Seen(nn.Module):
    """Images or vectors to the features that heads read."""

    def __init__(self, shape: tuple[int, ...], encoder: dict[str, Any], channels: int) -> None:
        super().__init__()
        front = Pixels(EncoderConfig(**encoder), channels, half_precision=False)
        self.encoder = PixelEncoder("peer", VIEWS, (shape[1] // VIEWS, shape[2]), front) if len(shape) == 3 else None
        self.size = self.encoder.size if self.encoder else shape[0]

    def forward(self, x: Tensor) -> Tensor:
        if self.encoder is None:
            return x
        # Views lie above each other. This layout of the pixels is the fastest, with lotj as with d3rlpy.
        views = x.unflatten(2, (VIEWS, -1)).transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.encoder({"image": views.unflatten(0, (len(x), VIEWS))})


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers with a ReLU behind each."""
    return nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:], strict=False)))


class Alone(nn.Module):
    """Observation to the last hidden layer, for policy and V."""

    def __init__(self, seen: Seen, hidden: list[int]) -> None:
        super().__init__()
        self.seen, self.layers = seen, layers(seen.size, *hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.seen(x))


class WithAction(nn.Module):
    """Observation and action to the last hidden layer, for Q: features are projected before the action joins them."""

    def __init__(self, seen: Seen, hidden: list[int]) -> None:
        super().__init__()
        self.seen, self.projection = seen, layers(seen.size, hidden[0])
        self.layers = layers(hidden[0] + ACTIONS, *hidden[1:])

    def forward(self, x: Tensor, action: Tensor) -> Tensor:
        return self.layers(torch.cat([self.projection(self.seen(x)), action], 1))


@dataclass()
class Factory(d3rlpy.models.encoders.EncoderFactory):
    """Makes encoders as d3rlpy asks for them."""

    encoder: dict[str, Any]
    channels: int
    hidden: list[int]

    def create(self, observation_shape: Any) -> Any:
        return Alone(Seen(tuple(observation_shape), self.encoder, self.channels), self.hidden)

    def create_with_action(self, observation_shape: Any, action_size: int, discrete_action: bool = False) -> Any:
        return WithAction(Seen(tuple(observation_shape), self.encoder, self.channels), self.hidden)

    @staticmethod
    def get_type() -> str:
        return "lotj"


def make(shape: tuple[int, ...], settings: dict[str, Any], batch: int) -> tuple[Any, Any]:
    """An agent for observations of that shape, and a replay buffer."""
    shared = {"encoder": settings["encoder"], "channels": settings["channels"]}
    actor, critic = (Factory(**shared, hidden=settings[name]) for name in ("actor_hidden", "critic_hidden"))
    agent = d3rlpy.algos.IQLConfig(
        batch_size=batch,
        actor_encoder_factory=actor,
        critic_encoder_factory=critic,
        value_encoder_factory=critic,
        observation_scaler=d3rlpy.preprocessing.PixelObservationScaler() if len(shape) == 3 else None,
    ).create(device=False)
    agent.create_impl(shape, ACTIONS)
    count, rng = EPISODES * STEPS, np.random.default_rng(0)
    image = len(shape) == 3
    buffer = d3rlpy.dataset.MDPDataset(
        observations=rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        if image
        else rng.normal(size=(count, *shape)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, ACTIONS)).astype(np.float32),
        rewards=(np.arange(count) % STEPS == STEPS - 1).astype(np.float32),
        terminals=(np.arange(count) % STEPS == STEPS - 1).astype(np.float32),
    )
    return agent, buffer


def begin() -> tuple[dict[str, Any], Round]:
    """Make the agents; what they are, and what does rounds."""
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    size = settings["image_size"]
    features = Seen((3, size, size), settings["encoder"], settings["channels"]).size
    made = {
        "images": make((3, size, size), settings, settings["batch"]),
        "images practice": make((3, size, size), settings, settings["practice_batch"]),
        "vectors practice": make((features,), settings, settings["practice_batch"]),
    }

    def play(request: dict[str, Any]) -> dict[str, Any]:
        """`count` updates: `update_s` by d3rlpy's update alone, `draw_s` by its replay buffer."""
        agent, buffer = made[request["way"]]
        draw_s = update_s = 0.0
        for _ in range(request["count"]):
            started = time.perf_counter()
            batch = buffer.sample_transition_batch(agent.batch_size)
            drawn = time.perf_counter()
            agent.update(batch)
            draw_s, update_s = draw_s + drawn - started, update_s + time.perf_counter() - drawn
        return {"count": request["count"], "draw_s": draw_s, "update_s": update_s}

    about = {"d3rlpy": d3rlpy.__version__, "torch": torch.__version__, "features": features}
    about["threads"] = torch.get_num_threads()
    return about, play


if __name__ == "__main__":
    serve(begin)
