"""Advantage-weighted actor-critic (AWAC, Nair et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from lotj.agents import losses
from lotj.agents.base import At, CriticConfig, GaussianConfig, Losses, rows, select
from lotj.agents.bc import BC
from lotj.experience import Batch
from lotj.nets.front import Front
from lotj.ranges import POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class AWACConfig(GaussianConfig, CriticConfig):
    """Settings of AWAC."""

    advantage_scale: Annotated[float, POSITIVE] = 100.0
    """Multiplies the advantage in the weights' exponent: 1 / lambda of the paper, which has 1 / 0.3; the authors' code
    has 2 for hands. Returns of short episodes differ by little, see `IQLConfig`. Weights are a softmax over the batch,
    1 on the mean, as in that code."""


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
            with torch.no_grad():  # V(s) is Q of the most likely action
                advantage = q[:, imitated].amin(0) - self.critic.head.judge(read[:, imitated], mean).amin(0)
                weight = torch.softmax(config.advantage_scale * advantage, 0) * len(advantage)
            terms["policy"] = losses.policy_loss(losses.log_probability(mean, log_std, action), weight)  # equation 9
            numbers |= {
                "advantage_mean": advantage.mean(),
                "weight_max": weight.max(),
                "weight_effective": losses.effective_share(weight),
                "policy_std": log_std.exp().mean(),
                "policy_error": losses.error(mean, action),
            }
        return terms, numbers
