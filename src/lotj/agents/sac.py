"""Soft actor-critic (SAC, Haarnoja et al. 2018) with a learned temperature: the learned baseline without a bottleneck
(LOTJ section VI-A).

As is usual from images (DrQ, Kostrikov et al. 2021), the policy reads the critic's encoder, which the critic's loss
alone shapes, and the target critic has an encoder of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn
from torch.distributions.transforms import TanhTransform

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, DemonstrationConfig, Losses
from lotj.experience import Batch
from lotj.nets.front import Front, Seen
from lotj.nets.heads import mlp
from lotj.ranges import NOT_NEGATIVE, POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class SACConfig(DemonstrationConfig):
    """Settings of SAC. Its targets hold entropy: bounds of the returns alone do not hold for them."""

    own = frozenset({"target_bounds"})
    target_critics: Annotated[int, NOT_NEGATIVE] = 0
    """How many of the critics, drawn at random in each update, give the target by their lowest value; the policy then
    raises the mean of all (REDQ, Chen et al. 2021). 0: the lowest of all, for both."""
    entropy_backup: bool = True
    """Targets hold the entropy of the next action."""

    initial_temperature: Annotated[float, POSITIVE] = 0.1
    """Weight of the entropy at the start; learned from then on."""
    entropy_per_axis: float = -1.0
    """Entropy that the temperature is to keep, for each axis of an action [nats]; -1 is the authors' choice."""
    log_std_range: tuple[float, float] = (-5.0, 1.0)
    """Limits of the policy's log standard deviation before the squashing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.log_std_range[0] < self.log_std_range[1]:
            self._refuse("log_std_range", "the first must be below the second")
        if self.target_critics > self.critics:
            self._refuse("target_critics", f"must be at most the number of critics, {self.critics}")

    @classmethod
    def rlpd(cls, **changes: Any) -> Self:
        """RLPD (Ball et al. 2023): SAC with settings, where half of each batch is prior data (an `online_fraction` of
        0.5 in practice) and an update follows every step or more often. Its authors leave `entropy_backup` out for
        sparse rewards (mazes, hands) and for images."""
        given = {"critics": 10, "target_critics": 2, "initial_temperature": 1.0, "entropy_per_axis": -0.5}
        return cls(**(given | changes))


class SquashedGaussian(nn.Module):
    """Features to a Gaussian before the tanh, whose spread depends on the state."""

    def __init__(self, size: int, config: SACConfig, axes: int) -> None:
        super().__init__()
        self.head = mlp(size, config.hidden, 2 * axes)
        self._range = config.log_std_range

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, (B, A) each."""
        mean, raw = self.head(features).chunk(2, dim=1)
        low, high = self._range
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)

    def draw(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Actions (B, A) in (-1, 1) and their log-probabilities (B,) (appendix C)."""
        mean, log_std = self(features)
        raw = mean + log_std.exp() * torch.empty_like(mean).normal_(generator=generator)
        action = torch.tanh(raw)
        squash = TanhTransform().log_abs_det_jacobian(raw, action).sum(1)
        return action, losses.log_probability(mean, log_std, raw) - squash


class SAC(Algorithm):
    """Attributes:
    critic: Q with the encoder.
    policy: of the critic's features.
    temperature: the ``log`` of alpha.
    """

    CONFIG = SACConfig
    trained = {"critic": ("q",), "policy": ("policy", "bc"), "temperature": ("temperature",)}
    followed = ("critic",)

    def __init__(self, spec: Spec, front: Front, config: SACConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.requires = frozenset({"demo"} if config.bc_weight else ())
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)
        self.policy = SquashedGaussian(self.critic.encoder.size, config, self.axes)
        self.temperature = nn.ParameterDict({"log": torch.full((), math.log(config.initial_temperature))})

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``q``, ``policy``, of demonstrations ``bc``, and ``temperature``."""
        config, temperature = self.config, self.temperature["log"].exp()
        alpha = temperature.detach()
        with torch.no_grad():  # equations 2 and 3
            next_action, next_log_prob = self.policy.draw(self.critic.encoder(batch.next_observation), generator)
            next_q = target["critic"](batch.next_observation, next_action)
            next_value = losses.lowest(next_q, config.target_critics, generator)
            if config.entropy_backup:
                next_value = next_value - alpha * next_log_prob
            goal = losses.td_target(batch, next_value, config.discount, config.target_bounds)
        features = self.critic.encoder(batch.observation)
        q = self.critic.head(features, batch.action)
        still = features.detach()
        drawn, log_prob = self.policy.draw(still, generator)
        own = self.critic.head(still, drawn)
        gain = (own.mean(0) if config.target_critics else own.amin(0)) - alpha * log_prob  # equation 7
        entropy = -log_prob.detach().mean()
        terms = {
            "q": losses.q_loss(q, goal),
            "temperature": temperature * (entropy - config.entropy_per_axis * self.axes),  # equation 18
        }
        terms |= config.objective(batch, gain, q, drawn, own)
        return terms, {"temperature": alpha, "entropy": entropy, "q_mean": q.mean(), "target_mean": goal.mean()}

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """Before the tanh."""
        mean, log_std = self.policy(self.critic.encoder(observation))
        return mean, log_std.exp()

    def squash(self, action: Tensor) -> Tensor:
        """The tanh, which the log-likelihood of a drawn action accounts for."""
        return torch.tanh(action)
