"""How a learning rate goes over a training."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, lr: float, warmup: int) -> float:
    """Of update `step` of `steps`, from 0: a linear rise over the first `warmup` (half of all at most), then a cosine
    down to 0."""
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
