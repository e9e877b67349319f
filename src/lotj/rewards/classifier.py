"""The success classifier R(s): encoder, bottleneck and a small head (LOTJ, section V-B and V-D)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lotj.errors import SettingsError
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.encoder import EncoderConfig, ResNetEncoder
from lotj.nets.heads import mlp


@dataclass(frozen=True)
class RewardConfig:
    """How the success classifier is made and trained. The default is the laptop preset."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The image encoder."""
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    """The representation between encoder and head, and the method's variants."""
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(flip=0.5, rotation=8.0, zoom=0.1))
    """Changes of the training images. Unlike an action, success is the same in a mirror."""
    hidden: tuple[int, ...] = (256,)
    """Hidden layers of the head."""
    steps: int = 3000
    """Updates."""
    batch: int = 128
    """Frames per update, half of them successes."""
    lr: float = 1e-3
    """Learning rate of AdamW after the warm-up; falls to 0 along a cosine."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    label_smoothing: float = 0.0
    """Labels become this / 2 and 1 - this / 2."""
    ema: float = 0.995
    """Decay of the running average of the weights, which is what is kept; 0 keeps the last weights."""
    near_miss_share: float = 0.5
    """Share of near misses among the frames that are no success, where a domain has them."""
    almost_share: float | None = None
    """Share of plugs a few millimetres short of their seat among the near misses; None draws near misses evenly, which
    makes it a quarter. A half is no better (lab notes)."""
    min_precision: float = 0.98
    """The threshold is chosen so that, on validation domains, at least this share of predicted successes is true when
    successes are as frequent as near misses, and as frequent as other frames."""

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise SettingsError(f"reward batch {self.batch}: must be even and at least 2, half of it are successes")
        if self.steps < 1:
            raise SettingsError(f"reward steps {self.steps}: must be at least 1")
        if not 0.0 <= self.label_smoothing < 1.0 or not 0.0 <= self.ema < 1.0:
            raise SettingsError(
                f"label_smoothing {self.label_smoothing}, ema {self.ema}: both must be at least 0 and below 1"
            )


class SuccessClassifier(nn.Module):
    """Images to the logit of success.

    Args:
        config: its settings.
        domains: number of training domains, for the adversary.
    """

    def __init__(self, config: RewardConfig, domains: int) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(config.encoder)
        self.bottleneck = Bottleneck(self.encoder.feature_size, domains, config.bottleneck)
        self.head = mlp(self.bottleneck.code_size, config.hidden, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logit with the mean code: the same images give the same answer.

        Args:
            images: (B, 3, H, W) float in [0, 1].

        Returns:
            (B,) float32.
        """
        return self.judge(self.encode(images, sample=False).z)

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None = None) -> Code:
        """The code of (B, 3, H, W) images in [0, 1]; `sample` draws z_S, with `generator`."""
        return self.bottleneck(self.encoder(images).flatten(1), sample, generator)

    def judge(self, z: Tensor) -> Tensor:
        """Codes (B, code_size) to logits (B,), in float32: 8 bits of a bf16 logit are too coarse for a threshold."""
        with torch.autocast(z.device.type, enabled=False):
            return self.head(z.float()).squeeze(1)
