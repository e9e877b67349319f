"""The losses that algorithms share, on plain float32 tensors; equations are those of implicit Q-learning as LOTJ writes
them. B is the batch, E the number of critics, A the number of axes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as divergence

from lotj.experience import Batch

POSITION_SCALE = 0.01
"""Positions are learnt in units of this [m]."""


def value_loss(value: Tensor, target_q: Tensor, expectile: float) -> Tensor:
    """Equation 2: V (B,) becomes an upper expectile of Q over the actions in the data; `target_q` (B,) is the minimum
    of the target critics there. Its L_2^tau(u) = |tau - 1(u < 0)| u^2 is half of the squared error with tau = 0.5;
    towards 1 positive u weigh more."""
    above = target_q - value
    return (torch.where(above < 0, 1.0 - expectile, expectile) * above.square()).mean()


def advantage_weights(advantage: Tensor, scale: float, clip: float) -> Tensor:
    """min(exp(scale * A), clip), the weights of equation 3, for advantages A = Q - V; `scale` is 1 / beta there."""
    return torch.exp((scale * advantage).clamp(max=math.log(clip)))


def effective_share(weight: Tensor) -> Tensor:
    """Which share of the rows carries the weights (B,): (sum w)^2 / (B sum w^2), 1 for equal ones, 1 / B for a single
    one."""
    total = len(weight) * weight.square().sum()
    return weight.sum().square() / total.clamp_min(torch.finfo(weight.dtype).tiny)  # 0 where all weights underflow


def log_probability(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """log N(action; mean, std^2) of (B, A), summed over the axes: (B,) nats."""
    return Normal(mean, log_std.exp(), validate_args=False).log_prob(action).sum(-1)


def policy_loss(log_prob: Tensor, weight: Tensor) -> Tensor:
    """Equation 3 with the sign of a loss, advantage-weighted regression: log pi(a|s) and its weights, (B,) each."""
    return -(weight * log_prob).mean()


def imitation(mean: Tensor, log_std: Tensor, action: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """`policy_loss` of a Gaussian (B, A) on actions (B, A) with weights (B,), and numbers worth a look."""
    numbers = {
        "weight_max": weight.max(),
        "weight_effective": effective_share(weight),
        "policy_std": log_std.exp().mean(),
        "policy_error": error(mean, action),
    }
    return policy_loss(log_probability(mean, log_std, action), weight), numbers


def cloning_loss(action: Tensor, demonstrated: Tensor, better: Tensor | None = None) -> Tensor:
    """Mean over B demonstrated rows of the squared norm of what the policy would do otherwise, actions (B, A) each
    (Nair et al. 2018, equation 13 with lambda_2 = 1 / B); with the Q-filter (equation 14) those rows alone count, as 0
    else, in which `better` (B,) bool says that the critic prefers what was demonstrated."""
    missed = (action - demonstrated).square().sum(-1)
    return (missed if better is None else missed * better.detach().float()).mean()


def kl_divergence(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """KL(N || N') of diagonal Gaussians (B, A), summed over the axes: (B,) nats. A tanh behind both leaves it."""
    one, other = (Normal(m, s.exp(), validate_args=False) for m, s in ((mean, log_std), (other_mean, other_log_std)))
    return divergence(one, other).sum(-1)


def lowest(values: Tensor, members: int, generator: torch.Generator) -> Tensor:
    """(B,) the lowest of E critics' values (E, B), or of so many `members` drawn at random; 0 takes all."""
    if members:
        order = torch.rand(len(values), generator=generator, device=values.device).argsort()
        values = values.index_select(0, order[:members])
    return values.amin(0)


def td_target(batch: Batch, next_value: Tensor, discount: float, bounds: tuple[float, float]) -> Tensor:
    """r + discount * V(s') of equation 1, of the shape of V, without the second term where the episode *terminated*. A
    time limit is no end of the task: truncated transitions keep bootstrapping, so a batch does not know of it.

    Args:
        batch: B transitions.
        next_value: (B,) V(s'), or (E, B) of several, without gradient.
        discount: gamma in [0, 1].
        bounds: smallest and largest return there can be; the target is clamped to them.
    """
    return (batch.reward + discount * next_value * (~batch.terminated).float()).clamp(*bounds)


def error(mean: Tensor, action: Tensor) -> Tensor:
    """Root mean square of what a policy would do otherwise, (B, A) each: ()."""
    return (mean - action).detach().square().mean().sqrt()


def position_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Huber loss of positions (B, 3) in units of `POSITION_SCALE`, quadratic within a millimetre; far plugs' errors are
    large and matter less."""
    return F.smooth_l1_loss(predicted, true, beta=0.1)


def q_loss(q: Tensor, target: Tensor) -> Tensor:
    """Equation 1: squared error of (E, B) values and their (B,) targets, mean over the batch, summed over critics."""
    return (q - target).square().mean(1).sum(0)
