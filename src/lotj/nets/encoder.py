"""ResNet-18 image encoder (He et al. 2016) that keeps its last feature map: where a thing is, is the information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from lotj.errors import CheckpointError, SettingsError
from lotj.nets.norm import CHANNELS_PER_GROUP, Norm, normalisation, normalise_and_rectify, standardise
from lotj.ranges import Checked, Interval

BLOCKS_PER_STAGE = 2


@dataclass(frozen=True)
class EncoderConfig(Checked):
    """Shape of the image encoder. The default is the laptop preset; the paper's has width 64 and 4 stages."""

    width: Annotated[int, Interval(CHANNELS_PER_GROUP)] = 32
    """Channels of the first stage, a multiple of 8, doubled at each further one. ResNet-18 has 64."""
    stages: Annotated[int, Interval(1, 4)] = 3
    """Number of stages of two residual blocks. ResNet-18 has 4."""
    norm: Norm = "group"
    """Normalisation: `group` has no memory of other images, so target networks and cached features are exact; `batch`
    is a little faster."""
    standardise: bool = True
    """Remove each image's mean and standard deviation first, which makes the encoder blind to a lamp's brightness."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % CHANNELS_PER_GROUP:
            self._refuse("width", f"must be a multiple of {CHANNELS_PER_GROUP}")

    @property
    def stride(self) -> int:
        """Input pixels per cell of the feature map: 4 after the stem, doubled by each stage but the first."""
        return 4 * 2 ** (self.stages - 1)


class Encoder(nn.Module):
    """An observation to (B, size) float32 features, for those who have the `role` to read them."""

    def __init__(self, role: str, size: int) -> None:
        super().__init__()
        self.role, self.size = role, size


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut, projected where the shape changes (He et al. 2016, option B)."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = normalisation(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = normalisation(norm, channels)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels_in == channels
            else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), normalisation(norm, channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h / stride, w / stride), not negative, of (B, channels_in, h, w); odd sides are rounded up."""
        out = normalise_and_rectify(self.norm1, self.conv1(x))
        return torch.relu_(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNetEncoder(nn.Module):
    """Images of height and width `size` [pixels] to a feature map.

    Attributes:
        feature_shape: (C, h, w) of the map.
        stages: the residual stages in order; in the paper preset at 96 px they have 24, 12, 6, 3 cells a side.
    """

    def __init__(self, config: EncoderConfig, size: tuple[int, int]) -> None:
        super().__init__()
        if min(size) < config.stride:
            raise SettingsError(
                f"images of {size[0]} x {size[1]} pixels: {config.stages} stages need at least {config.stride} a side; "
                "use fewer stages or larger images"
            )
        self.config, self.size = config, size
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.width, 7, 2, 3, bias=False),
            normalisation(config.norm, config.width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages, channels_in = [], config.width
        for index in range(config.stages):
            channels = config.width * 2**index
            first = ResidualBlock(channels_in, channels, 1 if index == 0 else 2, config.norm)
            rest = [ResidualBlock(channels, channels, 1, config.norm) for _ in range(BLOCKS_PER_STAGE - 1)]
            stages.append(nn.Sequential(first, *rest))
            channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.feature_shape = (channels_in, *(-(-pixels // config.stride) for pixels in size))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def saliency_stage(self) -> nn.Module:
        """The stage whose map Grad-CAM looks at: the last but one, of 6 x 6 cells in the paper preset (LOTJ section
        VI-C) and 8 x 8 in the laptop's. What follows the last stage weighs each of its cells on its own, and Grad-CAM's
        mean over the cells says little there: of twenty positives nineteen had no heat at all."""
        return self.stages[max(0, len(self.stages) - 2)]

    def forward(self, images: Tensor) -> Tensor:
        """(B, *feature_shape), not negative, of (B, 3, H, W) in [0, 1], best channels-last.

        Raises:
            CheckpointError: the images have another size than the encoder was made for.
        """
        if images.shape[1:] != (3, *self.size):
            raise CheckpointError(
                f"images of shape {tuple(images.shape[1:])}: this network was made for {(3, *self.size)}; "
                "use data or a camera of that size, or train another network"
            )
        convolution, norm, _, pool = self.stem
        stem = convolution(standardise(images) if self.config.standardise else images)
        return self.stages(pool(normalise_and_rectify(norm, stem)))
