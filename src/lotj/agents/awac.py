"""Advantage-weighted actor-critic (AWAC, Nair et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from lotj.agents import losses
from lotj.agents.base import At, CriticConfig, GaussianConfig, Losses, rows, select
from lotj.agents.bc import BC
from lotj.experience import Batch
from lotj.nets.front import Front
from lotj.ranges import COUNT, POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class AWACConfig(GaussianConfig, CriticConfig):
    """Settings of AWAC."""

    advantage_scale: Annotated[float, POSITIVE] = 100.0
    """Multiplies the advantage in the weights' exponent: 1 / lambda of the paper, which has 1 / 0.3; the authors' code
    has 2 for hands. Returns of short episodes differ by little, see `IQLConfig`."""
    weights: Literal["batch", "paper", "state"] = "batch"
    """Of the imitated rows. ``batch``: a softmax over them, 1 on the mean, as in the authors' code. ``paper``: the
    exponential alone, as printed. ``state``: over Z(s) too, the mean exponential of `z_samples` actions of the policy,
    which the paper leaves out because with it hands learn less (its appendix)."""
    weight_clip: Annotated[float, POSITIVE] = 100.0
    """Largest weight, but for ``batch``."""
    z_samples: Annotated[int, COUNT] = 10
    """Actions of the policy in each state for Z(s)."""


class AWAC(BC):
    """Attributes:
    policy: encoder and Gaussian head.
    critic: Q.
    """

    CONFIG = AWACConfig
    trained = {"critic": ("q",), "policy": ("policy",)}
    followed = ("critic",)

    def __init__(self, spec: Spec, front: Front, config: AWACConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``q``, and ``policy`` of the rows that are to be imitated."""
        config = self.config
        with torch.no_grad():  # equation 7: policy evaluation, with one action of the policy at s'
            mean, log_std = self.policy(batch.next_observation)
            next_action = mean + log_std.exp() * torch.empty_like(mean).normal_(generator=generator)
            next_value = target["critic"](batch.next_observation, next_action.clamp(-1.0, 1.0)).amin(0)
            goal = losses.td_target(batch, next_value, config.discount, config.target_bounds)
        read = self.critic.head.read(self.critic.encoder(batch.observation))
        q = self.critic.head.judge(read, batch.action)
        terms, numbers = {"q": losses.q_loss(q, goal)}, {"q_mean": q.mean(), "target_mean": goal.mean()}

        imitated = rows(batch, "imitate")
        action = batch.action[imitated]
        if len(action):
            mean, log_std = self.policy(select(batch.observation, imitated))
            seen = read[:, imitated].detach()
            with torch.no_grad():  # V(s) is Q of the most likely action
                value = self.critic.head.judge(seen, mean).amin(0)
                advantage = q[:, imitated].amin(0) - value
                above = config.advantage_scale * advantage
                if config.weights == "state":
                    above = above - self._log_z(seen, value, mean, log_std.exp(), generator)
                weight = losses.advantage_weights(above, 1.0, config.weight_clip)
                if config.weights == "batch":
                    weight = torch.softmax(above, 0) * len(action)
            terms["policy"], more = losses.imitation(mean, log_std, action, weight)  # equation 9
            numbers |= more | {"advantage_mean": advantage.mean()}
        return terms, numbers

    def _log_z(self, seen: Tensor, value: Tensor, mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
        """log Z(s), (N,), of states that the critics have `seen` (E, N, H) and give `value` (N,)."""
        count = self.config.z_samples
        noise = torch.empty(count, *mean.shape, device=mean.device).normal_(generator=generator)
        drawn = (mean + std * noise).clamp(-1.0, 1.0).flatten(0, 1)
        apart = self.critic.head.judge(seen.repeat(1, count, 1), drawn).amin(0).view(count, -1) - value
        return (self.config.advantage_scale * apart).logsumexp(0) - math.log(count)
