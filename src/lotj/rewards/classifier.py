"""The success classifier R(s): encoder, bottleneck and a small head (LOTJ, section V-B and V-D)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn

from lotj.agents.supervised import SupervisedConfig
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import PixelEncoder, Pixels
from lotj.nets.heads import mlp
from lotj.ranges import INSIDE, SHARE


@dataclass(frozen=True)
class RewardConfig(SupervisedConfig):
    """How the success classifier is made and trained. The default is the laptop preset."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The image encoder, which all views pass through."""
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    """The representation between encoder and head, and the method's variants."""
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(flip=0.5, rotation=8.0, zoom=0.1))
    """Changes of the training images. Unlike an action, success is the same in a mirror."""
    ema: Annotated[float, INSIDE] = 0.995
    """Decay of the running average of the weights, which is what is kept."""
    near_miss_share: Annotated[float, SHARE] = 0.5
    """Share of near misses among the frames that are no success, where a task has them."""
    near_miss_kinds: tuple[str, ...] = ("press", "withdraw", "half")
    """Kinds of episodes that were recorded as near misses."""
    min_precision: Annotated[float, SHARE] = 0.98
    """The threshold is chosen so that, on validation tasks, at least this share of predicted successes is true when
    successes are as frequent as near misses, and as frequent as other frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch % 2:
            self._refuse("batch", "must be even, half of it are successes")

    @property
    def front(self) -> Pixels:
        """What brings, changes and encodes the images. Whole feature maps are read."""
        return Pixels(self.encoder, feature_channels=0, augment=self.augment)


class SuccessClassifier(nn.Module):
    """Images to the logit of success; `shape` (V, H, W, 3) is that of an observation ``image``, `tasks` the number of
    training tasks, for the adversary."""

    def __init__(self, config: RewardConfig, shape: tuple[int, ...], tasks: int) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = PixelEncoder("reward", shape[0], shape[1:3], config.front)
        self.bottleneck = Bottleneck(self.encoder.size, tasks, config.bottleneck)
        self.head = mlp(self.bottleneck.code_size, config.hidden, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,) with the mean code, the same of the same (B, V, 3, H, W) images in [0, 1]."""
        return self.judge(self.encode(images, sample=False).z)

    def encode(self, images: Tensor, sample: bool, generator: torch.Generator | None = None) -> Code:
        """The code of (B, V, 3, H, W) images in [0, 1]; `sample` draws z_S, with `generator`."""
        return self.bottleneck(self.encoder({"image": images}), sample, generator)

    def judge(self, z: Tensor) -> Tensor:
        """Codes (B, code_size) to logits (B,), in float32: 8 bits of a bf16 logit are too coarse for a threshold."""
        with torch.autocast(z.device.type, enabled=False):
            return self.head(z.float()).squeeze(1)
