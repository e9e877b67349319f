"""Normalisation layers for images, in a form that is fast in bf16 on a CPU."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lotj.nets.compiled import WIDEST, group_norm_library

Norm = Literal["batch", "group"]

CHANNELS_PER_GROUP = 8


class _CompiledGroupNorm(torch.autograd.Function):
    """Group normalisation of a channels-last bf16 batch in C, with or without a ReLU behind it.

    torch's own is as exact but, for such a batch on a CPU, its backward pass is about ten times slower than batch
    normalisation, and under autocast it is promoted to float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, relu: bool) -> Tensor:
        library = group_norm_library()
        assert library is not None
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = weight.detach().contiguous(), bias.detach().contiguous()
        out = torch.empty_like(x)
        mean, rstd = (torch.empty(len(x), groups) for _ in range(2))
        arrays = (array.data_ptr() for array in (x, weight, bias, out, mean, rstd))
        library.lotj_group_norm(*arrays, *_sizes(x), eps, relu, torch.get_num_threads())
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.relu = relu
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:  # type: ignore[override]
        library = group_norm_library()
        assert library is not None
        x, weight, bias, mean, rstd = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        total, normal = (torch.empty(x.shape[:2]) for _ in range(2))
        arrays = (array.data_ptr() for array in (grad, x, weight, bias, mean, rstd, out, total, normal))
        library.lotj_group_norm_backward(*arrays, *_sizes(x), ctx.relu, torch.get_num_threads())
        return out, normal.sum(0), total.sum(0), None, None, None


def _sizes(image: Tensor) -> tuple[int, int, int]:
    """Images, cells of each, channels."""
    return len(image), image.shape[2] * image.shape[3], image.shape[1]


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` with 8 channels a group, faster in 16 bits on a CPU with a C compiler; the same numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels // CHANNELS_PER_GROUP, channels)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Of the shape of `x`, (B, channels, ...); in 16 bits on the CPU that must be (B, channels, h, w). With `relu`
        a ReLU stands behind it."""
        in_c = x.dtype == torch.bfloat16 and x.device.type == "cpu" and self.num_channels <= WIDEST
        if in_c and group_norm_library() is not None:
            settings = (self.weight, self.bias, self.num_groups, self.eps)
            return _CompiledGroupNorm.apply(x, *settings, relu)  # type: ignore[return-value]
        out = super().forward(x)
        return torch.relu_(out) if relu else out


def normalisation(kind: Norm, channels: int) -> nn.Module:
    """A normalisation layer for (B, channels, h, w); for ``group`` channels must be a multiple of 8."""
    return nn.BatchNorm2d(channels) if kind == "batch" else GroupNorm(channels)


def normalise_and_rectify(norm: nn.Module, x: Tensor) -> Tensor:
    """A layer from `normalisation` with a ReLU behind it, in one step where that is faster."""
    return norm(x, relu=True) if isinstance(norm, GroupNorm) else torch.relu_(norm(x))


def standardise(images: Tensor) -> Tensor:
    """Subtract each image's mean and divide by its standard deviation, over pixels and colours together, (B, 3, H, W).

    Takes away what a lamp's brightness and a camera's gain do; keeps colour. 0.02 (about 5 grey levels of 255) stops
    an almost uniform image from becoming amplified noise.
    """
    flat = images.permute(0, 2, 3, 1).flatten(1)  # no copy where the batch is channels-last
    mean = flat.mean(1)
    deviation = ((flat * flat).mean(1) - mean * mean).clamp_min(0.0).sqrt()  # exact enough in float32 for [0, 1]
    scale = 1.0 / (deviation + 0.02)
    return images * scale[:, None, None, None] - (mean * scale)[:, None, None, None]
