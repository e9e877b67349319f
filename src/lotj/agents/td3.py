"""Twin delayed deterministic policy gradient (TD3, Fujimoto et al. 2018): DDPG with the lower of two critics, a
smoothed target policy, and a policy that learns less often. With `bc_weight` and `normalize_q` it is TD3+BC (Fujimoto
and Gu 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from lotj.agents.base import At
from lotj.agents.ddpg import DDPG, DDPGConfig
from lotj.ranges import COUNT, NOT_NEGATIVE


@dataclass(frozen=True)
class TD3Config(DDPGConfig):
    """Settings of TD3. Slow copies follow at every update; in the paper at each `policy_delay`-th."""

    own = frozenset()
    critics: Annotated[int, COUNT] = 2
    """Number of Q functions; of their values the lowest counts."""
    policy_delay: Annotated[int, COUNT] = 2
    """The policy learns in every so many-th update."""
    target_noise: Annotated[float, NOT_NEGATIVE] = 0.2
    """Standard deviation of the noise on the slow policy's actions [share of the largest action]."""
    target_noise_clip: Annotated[float, NOT_NEGATIVE] = 0.5
    """Limit of that noise."""


class TD3(DDPG):
    """Attributes: those of DDPG."""

    CONFIG = TD3Config
    recordable = False  # not every update does the same

    def next_action(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Target policy smoothing (algorithm 1)."""
        noise = self.config.target_noise * torch.empty_like(raw).normal_(generator=generator)
        noise = noise.clamp(-self.config.target_noise_clip, self.config.target_noise_clip)
        return (torch.tanh(raw) + noise).clamp(-1.0, 1.0)

    def improves(self, at: At) -> bool:
        """In every `policy_delay`-th update (algorithm 1)."""
        return at.update % self.config.policy_delay == 0
