"""One-step offline reinforcement learning (Brandfonbrener et al. 2021): the behaviour policy's Q is evaluated, and
improved upon once, by weighted imitation.

Q and V are those of the behaviour: V is the mean of Q over the actions in the data, which is the expectile at 0.5, and
Q bootstraps from V. SARSA from the data's next action has the same fixed point; V takes the mean over next actions
instead of one draw, needs none where an episode was cut off, and is the baseline that the weights need anyway. One
critic is enough, for nothing is maximised. As the policy never enters the critics, learning it beside them ends where
learning it afterwards does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from lotj.agents import losses
from lotj.agents.base import At, CriticConfig, GaussianConfig, Losses, rows, select
from lotj.agents.bc import BC
from lotj.experience import Batch
from lotj.nets.front import Front, Seen
from lotj.ranges import COUNT, POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class OneStepConfig(GaussianConfig, CriticConfig):
    """Settings of one-step reinforcement learning."""

    own = frozenset({"critics"})
    critics: Annotated[int, COUNT] = 1
    """Number of Q functions; of their values the lowest counts."""
    advantage_scale: Annotated[float, POSITIVE] = 20.0
    """Multiplies the advantage in the weights' exponent, as in IQL."""
    weight_clip: Annotated[float, POSITIVE] = 100.0
    """Largest weight."""


class OneStep(BC):
    """Attributes:
    policy: encoder and Gaussian head.
    critic: Q of the behaviour.
    baseline: V of the behaviour.
    """

    CONFIG = OneStepConfig
    trained = {"critic": ("q",), "baseline": ("v",), "policy": ("policy",)}
    followed = ("critic",)

    def __init__(self, spec: Spec, front: Front, config: OneStepConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)
        self.baseline = config.state_value(front.encoder(spec, "baseline"))

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``q`` and ``v``, and ``policy`` of the rows that are to be imitated."""
        config = self.config
        value = self.baseline(batch.observation)[0]
        with torch.no_grad():
            behaved = target["critic"](batch.observation, batch.action).amin(0)
            next_value = self.baseline(batch.next_observation)[0]
            goal = losses.td_target(batch, next_value, config.discount, config.target_bounds)
        q = self.critic(batch.observation, batch.action)
        terms = {"v": losses.value_loss(value, behaved, expectile=0.5), "q": losses.q_loss(q, goal)}
        numbers = {"q_mean": q.mean(), "v_mean": value.mean(), "target_mean": goal.mean()}
        imitated = rows(batch, "imitate")
        action, advantage = batch.action[imitated], (behaved - value).detach()[imitated]
        if len(action):
            mean, log_std = self.policy(select(batch.observation, imitated))
            weight = losses.advantage_weights(advantage, config.advantage_scale, config.weight_clip)
            terms["policy"], more = losses.imitation(mean, log_std, action, weight)
            numbers |= more
        return terms, numbers

    def value(self, observation: Seen) -> Tensor:
        return self.baseline(observation)[0]
