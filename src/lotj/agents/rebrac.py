"""Revisited behaviour-regularised actor-critic (ReBRAC, Tarasov et al. 2023): TD3+BC with a second penalty, in the
critic's target, whose weight is its own, and layer normalisation in the critics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from lotj.agents.td3 import TD3, TD3Config
from lotj.experience import Batch
from lotj.ranges import NOT_NEGATIVE


@dataclass(frozen=True)
class ReBRACConfig(TD3Config):
    """Settings of ReBRAC. The authors search `bc_weight` and `critic_bc_weight` for each task, 0.001 to 0.1 and 0 to
    0.5; here both are for rewards near 1."""

    bc_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """beta_1: weight of the squared distance to the action of the data in the policy's loss, on all rows."""
    critic_bc_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """beta_2: of the squared distance to the data's next action, taken off the value of s'."""
    normalize_q: bool = True
    """Divide Q in the policy's loss by the mean of its absolute values, as the authors do."""


class ReBRAC(TD3):
    """Attributes: those of DDPG."""

    CONFIG = ReBRACConfig
    requires = frozenset({"next_action"})
    clones = frozenset()  # all rows, those of practice too
    offline = True

    def penalty(self, batch: Batch, next_action: Tensor) -> Tensor:
        """(B,): beta_2 times the squared distance of a' from what was done in s'."""
        return self.config.critic_bc_weight * (next_action - batch.columns["next_action"]).square().sum(1)
