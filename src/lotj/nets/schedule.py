"""How a learning rate goes over a training."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, lr: float, warmup: int) -> float:
    """A linear rise over the first updates, then a cosine down to 0.

    Args:
        step: number of the update, from 0.
        steps: updates in all.
        lr: the highest rate.
        warmup: updates of the rise; half of all at most.
    """
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
