"""The losses that algorithms share, on plain tensors; equations are those of implicit Q-learning as LOTJ writes them.

B is the batch, E the number of critics. Everything is float32; nothing here knows a network.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lotj.experience import Batch

POSITION_SCALE = 0.01
"""Positions are learnt in units of this [m]."""


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """L_2^tau(u) = |tau - 1(u < 0)| u^2, entry by entry (below equation 2).

    Args:
        difference: u, any shape.
        expectile: tau in (0, 1); 0.5 is half of the squared error, towards 1 positive u weigh more.
    """
    return torch.where(difference < 0, 1.0 - expectile, expectile) * difference.square()


def value_loss(value: Tensor, target_q: Tensor, expectile: float) -> Tensor:
    """Equation 2: V becomes an upper expectile of Q over the actions in the data.

    Args:
        value: (B,) V(s).
        target_q: (B,) minimum of the target critics at (s, a), without gradient.
        expectile: tau.
    """
    return expectile_loss(target_q - value, expectile).mean()


def advantage_weights(advantage: Tensor, scale: float, clip: float) -> Tensor:
    """min(exp(scale * A), clip), the weights of equation 3.

    Args:
        advantage: (B,) A = Q - V.
        scale: multiplies the advantage: 1 / beta of the paper.
        clip: largest weight, positive.
    """
    return torch.exp((scale * advantage).clamp(max=math.log(clip)))


def effective_share(weight: Tensor) -> Tensor:
    """Which share of the rows carries the weight: (sum w)^2 / (B sum w^2), 1 for equal weights, 1 / B for a single one.

    Args:
        weight: (B,) not negative.
    """
    total = len(weight) * weight.square().sum()
    return weight.sum().square() / total.clamp_min(torch.finfo(weight.dtype).tiny)  # 0 where all weights underflow


def log_probability(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """log N(action; mean, std^2), summed over the axes.

    Args:
        mean: (B, A).
        log_std: (A,).
        action: (B, A).

    Returns:
        (B,) nats.
    """
    scaled = (action - mean) * torch.exp(-log_std)
    return -(0.5 * scaled.square() + log_std + 0.5 * math.log(2.0 * math.pi)).sum(-1)


def policy_loss(log_prob: Tensor, weight: Tensor) -> Tensor:
    """Equation 3 with the sign of a loss: advantage-weighted regression.

    Args:
        log_prob: (B,) log pi(a|s).
        weight: (B,) from `advantage_weights`, without gradient.
    """
    return -(weight * log_prob).mean()


def td_target(batch: Batch, next_value: Tensor, discount: float, bounds: tuple[float, float]) -> Tensor:
    """r + discount * V(s') of equation 1, without the second term where the episode *terminated*.

    A time limit is no end of the task: truncated transitions keep bootstrapping, so a batch does not know of it.

    Args:
        batch: B transitions.
        next_value: (B,) V(s'), without gradient.
        discount: gamma in [0, 1].
        bounds: smallest and largest return there can be; the target is clamped to them.
    """
    return (batch.reward + discount * next_value * (~batch.terminated).float()).clamp(*bounds)


def error(mean: Tensor, action: Tensor) -> Tensor:
    """Root mean square of what a policy would do otherwise, (B, A) each: ()."""
    return (mean - action).detach().square().mean().sqrt()


def position_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Huber loss of positions, quadratic within a millimetre; far plugs' errors are large and matter less.

    Args:
        predicted, true: (B, 3) in units of `POSITION_SCALE`.
    """
    return F.smooth_l1_loss(predicted, true, beta=0.1)


def q_loss(q: Tensor, target: Tensor) -> Tensor:
    """Equation 1: squared error, mean over the batch, summed over the critics.

    Args:
        q: (E, B).
        target: (B,) from `td_target`.
    """
    return (q - target).square().mean(1).sum(0)
