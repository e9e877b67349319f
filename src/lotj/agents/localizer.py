"""Where the plug is over its socket, predicted from one image: the learned perception of the localising baselines.

LOTJ, section VI-A: a model trained on the same offline data predicts the socket's position; a hand-made controller
goes there, and State-IQL takes it for the state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lotj.agents import losses
from lotj.agents.networks import POSITION_SCALE, PositionEncoder
from lotj.errors import CheckpointError, SettingsError
from lotj.nets.augment import Augment, AugmentConfig
from lotj.nets.encoder import EncoderConfig, to_tensor
from lotj.nets.generator import restore_generator
from lotj.nets.precision import autocast, check_finite
from lotj.nets.schedule import warmup_cosine

BATCH = 256
"""Images located at once."""


@dataclass(frozen=True)
class LocalizerConfig:
    """How the localisation model is made and trained."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The image encoder."""
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(flip=0.0))
    """Changes of the training images. In a mirror the position would be another."""
    steps: int = 3000
    """Updates."""
    batch: int = 128
    """Frames per update."""
    lr: float = 1e-3
    """Learning rate of AdamW after the warm-up; falls to 0 along a cosine."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise SettingsError(f"localizer {name} {getattr(self, name)}: must be at least 1")
        if self.augment.flip:
            raise SettingsError(f"localizer augment flip {self.augment.flip}: must be 0, a mirror changes the position")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` took apart."""
        parts = {"encoder": EncoderConfig, "augment": AugmentConfig}
        return cls(**{**values, **{name: part(**values[name]) for name, part in parts.items()}})


class Localizer:
    """Regression of the plug's position in the socket frame.

    Args:
        config: settings.
        seed: of the weights and of the augmentation.
        device: where it computes.

    Attributes:
        network: images to positions.
        updates: number of updates so far.
    """

    def __init__(self, config: LocalizerConfig, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.updates = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = PositionEncoder(config.encoder)
        self.network.to(self.device)
        self._augment = Augment(config.augment).to(self.device)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=config.weight_decay)

    @property
    def image_size(self) -> int:
        """Side of the images it was made for [pixels]."""
        return self.config.encoder.image_size

    def update(self, images: np.ndarray, position: np.ndarray) -> dict[str, float]:
        """One gradient step on `losses.position_loss`.

        Args:
            images: (B, H, W, 3) uint8.
            position: (B, 3) of the plug in the socket frame [m].

        Returns:
            ``loss``, ``lateral_mm`` (mean error beside the axis) and ``lr``.

        Raises:
            NumericsError: a position or a loss is not finite; the weights are as before.
        """
        target = check_finite("position", torch.as_tensor(position).to(self.device, torch.float32)) / POSITION_SCALE
        pixels = self._augment(to_tensor(images, self.device), self._generator)
        lr = warmup_cosine(self.updates, self.config.steps, self.config.lr, self.config.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self.network.train()
        with autocast(self.device):
            predicted = self.network(pixels).float()
        loss = check_finite("localizer loss", losses.position_loss(predicted, target))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.updates += 1
        error = (predicted - target)[:, :2].detach().norm(dim=1).mean() * POSITION_SCALE * 1e3
        return {"loss": float(loss.detach()), "lateral_mm": float(error), "lr": lr}

    @torch.no_grad()
    def locate(self, images: np.ndarray) -> np.ndarray:
        """Position of the plug in the socket frame [m], (N, 3) float32, of (N, H, W, 3) uint8 images."""
        self.network.eval()
        parts: list[Tensor] = [torch.zeros(0, 3)]
        for first in range(0, len(images), BATCH):
            some = to_tensor(images[first : first + BATCH], self.device)
            with autocast(self.device, images=len(some)):
                predicted = self.network(some)
            parts.append(check_finite("located position", predicted.float()).cpu() * POSITION_SCALE)
        return torch.cat(parts).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `restore` needs, also to go on training."""
        return {
            "config": dataclasses.asdict(self.config),
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self.updates,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], device: str | torch.device = "cpu") -> Self:
        """What `state_dict` was taken of.

        Raises:
            CheckpointError: it does not fit this program.
        """
        try:
            made = cls(LocalizerConfig.from_dict(state["config"]), 0, device)
            made.network.load_state_dict(state["network"])
            made._optimiser.load_state_dict(state["optimiser"])
            restore_generator(made._generator, state["generator"])
            made.updates = int(state["updates"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the localisation model does not fit this program ({error}): train anew") from error
        return made
