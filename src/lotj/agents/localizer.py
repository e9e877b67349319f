"""Where the plug is over its socket, predicted from images: the learned perception of the localising baselines.

LOTJ, section VI-A: a model trained on the same offline data predicts the socket's position; a hand-made controller
goes there, and State-IQL takes it for the state. State-IQL is `IQL` behind a `Vector` front that reads ``position``: of
prior data the true one, in practice what `Localizer.locate` sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, Losses
from lotj.agents.learner import Learner
from lotj.agents.supervised import SupervisedConfig
from lotj.experience import Batch
from lotj.nets.front import Front, Pixels, Seen
from lotj.nets.heads import mlp
from lotj.nets.precision import check_finite
from lotj.spaces import Spec


@dataclass(frozen=True)
class LocalizerConfig(SupervisedConfig):
    """How the localisation model is made and trained."""

    gradient_clip = 0.0
    front: Pixels = field(default_factory=lambda: Pixels(feature_channels=0))
    """What it sees through. Without mirror images, in which the position would be another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front.augment.flip:
            self._refuse("front", "its augment flip must be 0, a mirror changes the position")


class Position(Algorithm):
    """Attributes:
    network: observation to positions in units of `losses.POSITION_SCALE`.
    """

    CONFIG = LocalizerConfig
    trained = {"network": ("position",)}
    needs = frozenset({"position"})

    def __init__(self, spec: Spec, front: Front, config: LocalizerConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        encoder = front.encoder(spec, "position")
        self.network = nn.Sequential(encoder, mlp(encoder.size, config.hidden, 3))

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``position``, and ``lateral_mm``, the mean error beside the axis."""
        true = batch.columns["position"] / losses.POSITION_SCALE
        predicted = self.network(batch.observation)
        lateral = (predicted - true)[:, :2].norm(dim=1).mean() * losses.POSITION_SCALE * 1e3
        return {"position": losses.position_loss(predicted, true)}, {"lateral_mm": lateral}


class Localizer(Learner):
    """A learner of `Position`, which also says what it has learnt."""

    def locate(self, images: np.ndarray) -> np.ndarray:
        """Position of the plug in the socket frame [m], (N, 3) float32, of (N, V, H, W, 3) uint8 images."""
        network: Any = self.algorithm.network

        def ask(seen: Seen, part: slice) -> Tensor:
            return check_finite("located position", network(seen)) * losses.POSITION_SCALE

        return self.ask({"image": images}, (3,), ask)
