"""Where the plug is over its socket, predicted from images: the learned perception of the localising baselines.

LOTJ, section VI-A: a model trained on the same offline data predicts the socket's position; a hand-made controller
goes there, and State-IQL takes it for the state. State-IQL is `IQL` behind a `Vector` front that reads ``position``: of
prior data the true one, in practice what `Localizer.locate` sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, Losses
from lotj.agents.learner import Learner
from lotj.agents.supervised import SupervisedConfig, labelled
from lotj.errors import CheckpointError, LotjError
from lotj.experience import Batch
from lotj.nets.front import Front, Pixels, Seen
from lotj.nets.heads import mlp
from lotj.nets.precision import check_finite
from lotj.runs.settings import restore_settings
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


class Localizer:
    """Regression of the plug's position in the socket frame, from the ``image`` of `spec`; see `Learner`."""

    def __init__(self, config: LocalizerConfig, spec: Spec, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config, self.spec = config, spec
        self._learner = Learner(Position, spec, config.front, config, 1, seed, device)

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return self._learner.updates

    def update(self, images: np.ndarray, position: np.ndarray) -> dict[str, float]:
        """One gradient step on images (B, V, H, W, 3) uint8 and positions (B, 3) of the plug in the socket frame [m].

        Returns:
            ``loss``, ``lateral_mm`` (mean error beside the axis) and ``lr``.

        Raises:
            NumericsError: a position or a loss is not finite; the weights are as before.
        """
        lr = self.config.learning_rate(self.updates)
        batch = labelled(images, *self.spec.action, columns={"position": position})
        numbers = self._learner.update(batch, At(self.updates, lr=lr))
        return {"loss": numbers["loss_position"], "lateral_mm": numbers["lateral_mm"], "lr": lr}

    def locate(self, images: np.ndarray) -> np.ndarray:
        """Position of the plug in the socket frame [m], (N, 3) float32, of (N, V, H, W, 3) uint8 images."""
        network: Any = self._learner.algorithm.network

        def ask(seen: Seen, part: slice) -> Tensor:
            return check_finite("located position", network(seen)) * losses.POSITION_SCALE

        return self._learner.ask({"image": images}, (3,), ask)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `restore` needs, also to go on training."""
        return self._learner.state()

    @classmethod
    def restore(cls, state: Mapping[str, Any], device: str | torch.device = "cpu") -> Self:
        """What `state_dict` was taken of; raises CheckpointError where that does not fit this program."""
        try:
            config = restore_settings(LocalizerConfig, state["config"], "the localisation model")
            made = cls(config, Spec.from_json(state["spec"]), state["seed"], device)
            made._learner.restore(state)
        except (KeyError, TypeError, ValueError, LotjError) as error:
            raise CheckpointError(f"the localisation model does not fit this program ({error}): train anew") from error
        return made
