"""What agents that learn from images have in common: networks' settings, acting, and coming back from a checkpoint."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from lotj.nets.augment import AugmentConfig
from lotj.nets.encoder import EncoderConfig


@dataclass(frozen=True)
class ImageAgentConfig:
    """Settings that all these agents have. The defaults are the laptop preset."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Image encoder, the same for policy and critics."""
    feature_channels: int = 32
    """Channels kept of each cell of the encoder's map by a last 1 x 1 convolution; 0 keeps all."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of images of the prior data; images of the practised domain are left alone (LOTJ section V-C)."""
    hidden: tuple[int, ...] = (256,)
    """Hidden layers of the policy head."""
    critic_projection: int = 128
    """Size to which features are projected before a critic's head joins them with the action."""
    critic_hidden: int = 128
    """Width of the two hidden layers of a critic's head."""
    critic_layer_norm: bool = True
    """Layer normalisation in the critics' heads."""
    discount: float = 0.97
    """gamma, per step."""
    ema: float = 0.02
    """Share of the online Q that enters the target Q at each update. Value travels back from the goal one step in about
    1 / ema updates: IQL's 0.005 suits a million updates, not thousands."""
    lr: float = 1e-3
    """Learning rate of Adam in practice; pretraining has its own."""
    gradient_clip: float = 10.0
    """Largest gradient norm, for policy and critics separately; with IQL 0 for no limit."""
    half_precision: bool = True
    """Compute encoders in bf16 where the device is fast at it."""

    PARTS: ClassVar[Mapping[str, type]] = {"encoder": EncoderConfig, "augment": AugmentConfig}
    """Settings that are settings themselves."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` took apart."""
        return cls(**{**values, **{name: part(**values[name]) for name, part in cls.PARTS.items()}})


class ImageAgent(ABC):
    """An agent whose policy is a Gaussian over (squashed) actions, seen through images or their features.

    Attributes:
        config: settings.
    """

    config: ImageAgentConfig

    CONFIG: ClassVar[type[ImageAgentConfig]]
    """Class of the settings."""

    SEES: ClassVar[tuple[str, ...]]
    """Names of the features that the policy reads."""

    @abstractmethod
    def __init__(self, config: Any, domains: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        """A new agent.

        Args:
            config: settings, of class `CONFIG`.
            domains: number of domains of the prior data.
            seed: of the weights and of all random numbers drawn in updates.
            device: where it computes.
        """

    @property
    def image_size(self) -> int:
        """Side of the images it was made for [pixels]."""
        return self.config.encoder.image_size

    def act(self, observation: Any, explore: float = False, generator: torch.Generator | None = None) -> np.ndarray:
        """Actions.

        Args:
            observation: (B, H, W, 3) uint8 images or features from `encode`.
            explore: share of the policy's standard deviation with which actions are drawn around its mean: False (0)
                takes the mean, True (1) draws from the policy.
            generator: random numbers of the draw, on the CPU; needed with `explore`.

        Returns:
            (B, 3) float32 in [-1, 1].
        """
        seen = observation if isinstance(observation, Mapping) else self.encode(observation, self.SEES)
        with torch.no_grad():
            action, std = (x.cpu() for x in self._gaussian(seen))
            if explore:
                if generator is None:
                    raise ValueError("act: exploring needs a torch.Generator")
                action = action + explore * std * torch.randn(action.shape, generator=generator)
            return self._squash(action).numpy()

    @abstractmethod
    def _gaussian(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Mean (B, 3) and standard deviation, (3,) or (B, 3), before the squashing; features are those of `SEES`."""

    @abstractmethod
    def _squash(self, action: Tensor) -> Tensor:
        """(B, 3) in [-1, 1]."""

    @abstractmethod
    def encode(
        self,
        images: Any,
        names: tuple[str, ...] | None = None,
        augment: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Features of images, to be cached while the convolutions are frozen. The same numbers that `act` uses.

        Args:
            images: (B, H, W, 3) uint8, any B.
            names: which of them; default: all.
            augment: change the images first, as in training.
            generator: random numbers for that, on the agent's device; default: the agent's own.

        Returns:
            name -> (B, D) float16 on the CPU.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state.

        Raises:
            CheckpointError: made by another format, image size or network shape.
        """

    @classmethod
    def restore(cls, state: dict[str, Any], device: str | torch.device = "cpu", **settings: Any) -> Self:
        """The agent of a checkpoint.

        Args:
            state: from `state_dict`.
            device: where it computes from now on.
            settings: fields of its config to change, e.g. ``lr`` for practice; not the networks' shapes.

        Raises:
            CheckpointError: see `load_state_dict`.
        """
        config = dataclasses.replace(cls.CONFIG.from_dict(state["config"]), **settings)
        agent = cls(config, state["domains"], device=device)
        agent.load_state_dict(state)
        return agent
