"""Settings of implicit Q-learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lotj.agents.image_agent import ImageAgentConfig
from lotj.errors import SettingsError
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig


@dataclass(frozen=True)
class IQLConfig(ImageAgentConfig):
    """Settings of IQL. The defaults are the laptop preset; `IQLConfig.paper()` gives the paper's."""

    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    """Bottleneck between the policy's encoder and its head."""
    augment_alike: bool = False
    """Change observation and next observation in the same way; otherwise each on its own."""
    shared_critic_encoder: bool = True
    """One encoder for Q and V instead of one each (paper: independent ones)."""
    critics: int = 2
    """Number of Q functions."""
    critics_in_minimum: int = 2
    """How many of them, drawn anew for each update, the minimum in equations 2 and 3 is taken over."""
    expectile: float = 0.7
    """tau of equation 2, in (0, 1)."""
    advantage_scale: float = 100.0
    """Multiplies the advantage in the exponent of equation 3, in practice; pretraining has its own. Returns within 20
    steps differ by less than 0.2, so that the 3 to 10 of other tasks would weight nothing."""
    weight_clip: float = 100.0
    """Largest weight in equation 3."""
    normalise_weights: bool = False
    """Divide the weights by their batch mean, so that the bottleneck's penalty keeps its strength beside them."""
    q_gradient_weight: float = 0.0
    """Weight of -Q(s, mean action) in the policy's loss, on all rows of a batch, imitated or not (as in TD3+BC by
    Fujimoto and Gu 2021; Park et al. 2024 find it the better extraction); 0 is pure advantage-weighted regression.
    Practice has its own."""
    target_bounds: tuple[float, float] = (0.0, 1.0)
    """Range of returns, to which targets are clamped: [0, 1] for a reward of 1 at the end."""
    initial_std: float = 0.4
    """Standard deviation of the policy at the start [share of the largest action]."""
    std_range: tuple[float, float] = (0.05, 1.0)
    """Limits of the learned standard deviation."""
    position_weight: float = 10.0
    """Weight of a loss beside those of equations 1 to 3, in pretraining: the features of policy and Q are to tell where
    the plug is over its socket, which prior data know (localisation's loss, as an auxiliary task). Expert's actions
    alone teach it too slowly: they are noisy, and half of them say no more than down. 0 in the paper."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices and kernels; biases and norms have none."""

    PARTS: ClassVar[Mapping[str, type]] = {**ImageAgentConfig.PARTS, "bottleneck": BottleneckConfig}

    def __post_init__(self) -> None:
        _between("expectile", self.expectile, 0, 1, strictly=True)
        _between("discount", self.discount, 0, 1)
        _between("ema", self.ema, 0, 1)
        for name in ("advantage_scale", "weight_clip", "initial_std", "lr"):
            _between(name, getattr(self, name), 0, math.inf, strictly=True)
        for name in ("q_gradient_weight", "position_weight", "weight_decay", "gradient_clip"):
            _between(name, getattr(self, name), 0, math.inf)
        if not 1 <= self.critics_in_minimum <= self.critics:
            raise SettingsError(f"iql critics_in_minimum {self.critics_in_minimum}: must be 1 to {self.critics}")
        if not 0 < self.std_range[0] <= self.initial_std <= self.std_range[1]:
            raise SettingsError(f"iql std_range {self.std_range}: must be positive and hold {self.initial_std}")

    @classmethod
    def paper(cls) -> IQLConfig:
        """LOTJ's: an independent ResNet-18 each for pi, Q and V, without what later work added."""
        encoder = EncoderConfig(image_size=96, width=64, stages=4)
        return cls(
            encoder=encoder,
            feature_channels=0,
            shared_critic_encoder=False,
            hidden=(256, 256),
            critic_projection=256,
            critic_hidden=256,
            critic_layer_norm=False,
            ema=0.005,
            lr=3e-4,
            position_weight=0.0,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` took apart, here or before there was a position loss."""
        return super().from_dict({"position_weight": 0.0, **values})


def _between(name: str, value: float, low: float, high: float, strictly: bool = False) -> None:
    if not (low < value < high if strictly else low <= value <= high):
        raise SettingsError(f"iql {name} {value}: must be {'strictly ' if strictly else ''}between {low} and {high}")
