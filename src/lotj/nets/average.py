"""Slow copies of networks: targets of a bootstrap, the average that is kept of a training."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, rate: float) -> None:
    """slow <- (1 - rate) slow + rate fast, for parameters and statistics alike; counts are copied.

    Args:
        slow, fast: alike modules on one device.
        rate: in [0, 1]; 0 leaves `slow` as it is, 1 copies.
    """
    mine, other = ([*module.parameters(), *module.buffers()] for module in (slow, fast))
    for copy, source in zip(mine, other, strict=True):
        if copy.is_floating_point():
            copy.lerp_(source, rate)
        else:
            copy.copy_(source)
