"""Slow copies of networks: targets of a bootstrap, the average that is kept of a training."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, rate: float) -> None:
    """slow <- (1 - rate) slow + rate fast; buffers, which are statistics of what was seen, are copied unless the rate,
    in [0, 1], is 0."""
    for copy, source in zip(slow.parameters(), fast.parameters(), strict=True):
        copy.lerp_(source, rate)
    if rate:
        for copy, source in zip(slow.buffers(), fast.buffers(), strict=True):
            copy.copy_(source)
