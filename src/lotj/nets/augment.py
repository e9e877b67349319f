"""Random changes of image batches that leave their meaning: colour, light and noise, and small shifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotj.ranges import SHARE, Checked, Interval

LUMA = (0.299, 0.587, 0.114)
# RGB to YIQ, in whose IQ plane a change of hue is a rotation.
RGB_TO_YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """How strongly training images are changed. Ranges are drawn uniformly, once an image."""

    shift: Annotated[int, Interval(0, 31)] = 4
    """Largest shift in x and y [pixels per 64 of image size]; the border is repeated."""
    flip: Annotated[float, SHARE] = 0.0
    """Probability of a mirror image, left for right. Not for a policy: its actions would have to be mirrored too."""
    rotation: Annotated[float, Interval(0, 180)] = 0.0
    """Largest turn about the middle of the image, either way [degrees]. Not for a policy, as a mirror image."""
    zoom: Annotated[float, SHARE] = 0.0
    """Size is multiplied by 1 - this to 1 + this."""
    brightness: Annotated[float, SHARE] = 0.5
    """Light is multiplied by 1 - this to 1 + this."""
    contrast: Annotated[float, SHARE] = 0.5
    """Differences from the image's mean grey are multiplied by 1 - this to 1 + this."""
    saturation: Annotated[float, SHARE] = 0.8
    """Differences from grey are multiplied by 1 - this to 1 + this."""
    hue: Annotated[float, SHARE] = 0.5
    """Hue is turned by up to this fraction of a full turn, either way."""
    grey: Annotated[float, SHARE] = 0.2
    """Probability of an image without colour."""
    gradient: Annotated[float, SHARE] = 0.3
    """A lamp from one side: light changes linearly across the image by up to this fraction, either way."""
    noise: Annotated[float, SHARE] = 0.02
    """Largest standard deviation of pixel noise (of 1.0 = white)."""


COLOURLESS: Mapping[str, Any] = dict.fromkeys(
    ("brightness", "contrast", "saturation", "hue", "grey", "gradient", "noise"), 0.0
)
"""Settings of an `AugmentConfig` that leave light and colour as they are."""


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Luma (3,); and (3, 3, 3), of which the first matrix, and the second times the cosine of a turn of the hue, and
    the third times its sine, are that turn. Brought once, for it makes a GPU wait."""
    to_yiq = torch.tensor(RGB_TO_YIQ, dtype=torch.float64)
    parts = torch.zeros(3, 3, 3, dtype=torch.float64)
    parts[0, 0, 0] = parts[1, 1, 1] = parts[1, 2, 2] = parts[2, 2, 1] = 1.0
    parts[2, 1, 2] = -1.0
    return torch.tensor(LUMA, device=device), (torch.linalg.inv(to_yiq) @ parts @ to_yiq).float().to(device)


Draw = Callable[[float, float], Tensor]
"""(B,) numbers drawn uniformly between two bounds, one an image."""


@torch.no_grad()
def augment(config: AugmentConfig, images: Tensor, generator: torch.Generator) -> Tensor:
    """Changes each image of a batch in its own way.

    Args:
        config: how.
        images: (B, 3, H, W) float32 in [0, 1]; not changed.
        generator: random numbers, on the images' device.

    Returns:
        (B, 3, H, W) float32 in [0, 1], channels-last.
    """
    if not len(images):
        return images

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(len(images), device=images.device).uniform_(low, high, generator=generator)

    # Planes, not channels-last, while working: loops over a last dimension of 3 are ten times slower.
    planes = images.contiguous(memory_format=torch.contiguous_format)
    if config.shift:
        planes = _shift(config, planes, generator)
    if config.flip or config.rotation or config.zoom:
        planes = _warp(config, planes, draw)
    planes = _colour(config, planes, draw)
    if config.gradient:
        planes.mul_(_gradient(config, planes, draw))
    if config.noise:
        grain = torch.empty((len(planes), 1, *planes.shape[2:]), device=planes.device).normal_(generator=generator)
        planes.add_(grain * draw(0.0, config.noise)[:, None, None, None])
    return planes.clamp_(0.0, 1.0).contiguous(memory_format=torch.channels_last)


def _shift(config: AugmentConfig, planes: Tensor, generator: torch.Generator) -> Tensor:
    batch, _, height, width = planes.shape
    reach = max(1, round(config.shift * height / 64))
    row, column = torch.randint(0, 2 * reach + 1, (2, batch), device=planes.device, generator=generator)
    padded = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, 3, 2 reach + 1, 2 reach + 1, H, W)
    return windows[torch.arange(batch, device=planes.device), :, row, column]


def _warp(config: AugmentConfig, planes: Tensor, draw: Draw) -> Tensor:
    """Mirror, turn and resize about the middle; the border is repeated."""
    side = torch.where(draw(0.0, 1.0) < config.flip, -1.0, 1.0)
    turn = draw(-config.rotation, config.rotation).deg2rad()
    size = draw(1.0 - config.zoom, 1.0 + config.zoom)
    cos, sin = turn.cos() / size, turn.sin() / size
    none = torch.zeros_like(cos)
    rows = torch.stack([side * cos, -sin, none], 1), torch.stack([side * sin, cos, none], 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)


def _colour(config: AugmentConfig, planes: Tensor, draw: Draw) -> Tensor:
    """Brightness, contrast, saturation, hue and grey as one affine map of the colours of each image: one small matrix
    product."""
    (luma, hue_parts), flat = _constants(planes.device), planes.flatten(2)
    spreads = config.brightness, config.contrast, config.saturation
    gain, contrast, saturation = (draw(1.0 - spread, 1.0 + spread) for spread in spreads)
    saturation = saturation * (draw(0.0, 1.0) >= config.grey)
    turn = draw(-config.hue, config.hue) * (2.0 * math.pi)

    hue = torch.tensordot(torch.stack([torch.ones_like(turn), turn.cos(), turn.sin()], 1), hue_parts, 1)
    grey = luma.expand(3, 3)
    colour = grey + saturation[:, None, None] * (torch.eye(3, device=planes.device) - grey)
    matrix = (gain * contrast)[:, None, None] * (colour @ hue)
    offset = gain * (1.0 - contrast) * (flat.mean(2) @ luma)
    return torch.baddbmm(offset[:, None, None], matrix, flat).view_as(planes)


def _gradient(config: AugmentConfig, planes: Tensor, draw: Draw) -> Tensor:
    """Factors (B, 1, H, W) of the light, linear across the image."""
    height, width = planes.shape[2:]
    strength, angle = draw(0.0, config.gradient), draw(0.0, 2.0 * math.pi)
    down = torch.linspace(-1.0, 1.0, height, device=planes.device) * (strength * angle.sin())[:, None]
    right = torch.linspace(-1.0, 1.0, width, device=planes.device) * (strength * angle.cos())[:, None]
    return (1.0 + down[:, :, None] + right[:, None, :])[:, None]
