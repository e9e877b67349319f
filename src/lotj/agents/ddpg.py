"""Deep deterministic policy gradient (DDPG, Lillicrap et al. 2015), with demonstrations where it is told to clone them
(Nair et al. 2018; thesis chapter 4).

As is usual from images (DrQ-v2, Yarats et al. 2021), the policy reads the critic's encoder, which the critic's loss
alone shapes. Its slow copy reads the critic's slow copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, DemonstrationConfig, Losses
from lotj.experience import Batch
from lotj.nets.front import Front, Seen
from lotj.nets.heads import mlp
from lotj.ranges import COUNT, NOT_NEGATIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class DDPGConfig(DemonstrationConfig):
    """Settings of DDPG. Slow copies follow at every update."""

    own = frozenset({"critics"})
    critics: Annotated[int, COUNT] = 1
    """Number of Q functions; of their values the lowest counts."""
    exploration: Annotated[float, NOT_NEGATIVE] = 0.1
    """Standard deviation of the actions around the policy's, when it acts with a spread of 1."""


class DDPG(Algorithm):
    """Attributes:
    critic: Q with the encoder.
    policy: features to actions before the tanh.
    """

    CONFIG = DDPGConfig
    trained = {"critic": ("q",), "policy": ("policy", "bc")}
    followed = ("critic", "policy")
    clones: frozenset[str] = frozenset({"demo"})
    """The column that says which rows are cloned; none for all."""

    def __init__(self, spec: Spec, front: Front, config: DDPGConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.requires = self.requires | (self.clones if config.bc_weight else frozenset())
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)
        self.policy = mlp(self.critic.encoder.size, config.hidden, self.axes)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``q``; ``policy`` and, of demonstrations, ``bc``."""
        config = self.config
        with torch.no_grad():
            following = target["critic"].encoder(batch.next_observation)
            next_action = self.next_action(target["policy"](following), generator)
            next_value = target["critic"].head(following, next_action).amin(0) - self.penalty(batch, next_action)
            goal = losses.td_target(batch, next_value, config.discount, config.target_bounds)
        features = self.critic.encoder(batch.observation)
        q = self.critic.head(features, batch.action)
        terms = {"q": losses.q_loss(q, goal)}
        if self.improves(at):
            still = features.detach()
            action = torch.tanh(self.policy(still))
            own = self.critic.head(still, action)[0]
            terms |= config.objective(batch, own, q[0], action, own)
        return terms, {"q_mean": q.mean(), "target_mean": goal.mean()}

    def next_action(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """pi'(s'), (B, A), of what the slow policy says before the tanh."""
        return torch.tanh(raw)

    def penalty(self, batch: Batch, next_action: Tensor) -> Any:
        """What is taken off the value of s', (B,)."""
        return 0.0

    def improves(self, at: At) -> bool:
        """Whether the policy learns in this update."""
        return True

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """The mean (B, A) is within [-1, 1] already; the standard deviation (B, A) is `exploration` everywhere."""
        mean = torch.tanh(self.policy(self.critic.encoder(observation)))
        return mean, torch.full_like(mean, self.config.exploration)
