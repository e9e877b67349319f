"""Twin delayed deterministic policy gradient (TD3, Fujimoto et al. 2018).

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
from lotj.agents.base import Algorithm, At, CriticConfig, Losses
from lotj.experience import Batch
from lotj.nets.front import Front, Seen
from lotj.nets.heads import mlp
from lotj.ranges import COUNT, NOT_NEGATIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class TD3Config(CriticConfig):
    """Settings of TD3. Slow copies follow at every update; in the paper at each `policy_delay`-th."""

    policy_delay: Annotated[int, COUNT] = 2
    """The policy learns in every so many-th update."""
    target_noise: Annotated[float, NOT_NEGATIVE] = 0.2
    """Standard deviation of the noise on the slow policy's actions [share of the largest action]."""
    target_noise_clip: Annotated[float, NOT_NEGATIVE] = 0.5
    """Limit of that noise."""
    exploration: Annotated[float, NOT_NEGATIVE] = 0.1
    """Standard deviation of the actions around the policy's, when it acts with a spread of 1."""


class TD3(Algorithm):
    """Attributes:
    critic: Q with the encoder.
    policy: features to actions before the tanh.
    """

    CONFIG = TD3Config
    trained = {"critic": ("q",), "policy": ("policy",)}
    followed = ("critic", "policy")
    recordable = False  # not every update does the same

    def __init__(self, spec: Spec, front: Front, config: TD3Config, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)
        self.policy = mlp(self.critic.encoder.size, config.hidden, self.axes)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``q``, and ``policy`` in every `policy_delay`-th update."""
        config, slow = self.config, target["critic"]
        with torch.no_grad():  # algorithm 1: target policy smoothing, clipped double Q
            following = slow.encoder(batch.next_observation)
            noise = config.target_noise * torch.empty_like(batch.action).normal_(generator=generator)
            noise = noise.clamp(-config.target_noise_clip, config.target_noise_clip)
            next_action = (torch.tanh(target["policy"](following)) + noise).clamp(-1.0, 1.0)
            next_value = slow.head(following, next_action).amin(0)
            goal = losses.td_target(batch, next_value, config.discount, config.target_bounds)
        features = self.critic.encoder(batch.observation)
        q = self.critic.head(features, batch.action)
        terms = {"q": losses.q_loss(q, goal)}
        if at.update % config.policy_delay == 0:
            still = features.detach()
            terms["policy"] = -self.critic.head(still, torch.tanh(self.policy(still)))[0].mean()
        return terms, {"q_mean": q.mean(), "target_mean": goal.mean()}

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        mean = torch.tanh(self.policy(self.critic.encoder(observation)))
        return mean, torch.full_like(mean, self.config.exploration)
