"""Advantage-weighted regression (AWR, Peng et al. 2019): what was done is imitated the more, the more its Monte-Carlo
return exceeds V. With normalised advantages it is MARWIL (Wang et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from lotj.agents import losses
from lotj.agents.base import At, GaussianConfig, Losses, ValueConfig, rows, select
from lotj.agents.bc import BC
from lotj.experience import Batch
from lotj.nets.front import Front
from lotj.nets.heads import Critic
from lotj.ranges import POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class AWRConfig(GaussianConfig, ValueConfig):
    """Settings of AWR."""

    own = frozenset({"advantage_scale", "weight_clip"})
    advantage_scale: Annotated[float, POSITIVE] = 3.0
    """Multiplies the advantage in the weights' exponent: 1 / beta of AWR, which has 1 / 0.05 or 1; beta of MARWIL."""
    normalize_advantage: bool = True
    """Divide advantages by their root mean square over the batch, so that the scale does not depend on the rewards;
    MARWIL's is a moving average."""
    weight_clip: Annotated[float, POSITIVE] = 20.0
    """Largest weight, AWR's; MARWIL has none."""


class AWR(BC):
    """Attributes:
    policy: encoder and Gaussian head.
    critic: V.
    """

    CONFIG = AWRConfig
    trained = {"critic": ("v",), "policy": ("policy",)}
    requires = frozenset({"return"})

    def __init__(self, spec: Spec, front: Front, config: AWRConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        encoder = front.encoder(spec, "critic")
        self.critic = Critic(encoder, config.ensemble(encoder.size, 0, 1))

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``v``, and ``policy`` of the rows that are to be imitated."""
        config, gained = self.config, batch.columns["return"]
        value = self.critic(batch.observation)[0]
        terms = {"v": (gained - value).square().mean()}  # algorithm 1
        numbers = {"v_mean": value.mean(), "target_mean": gained.mean()}
        imitated = rows(batch, "imitate")
        action, advantage = batch.action[imitated], (gained - value).detach()[imitated]
        if len(action):
            if config.normalize_advantage:
                advantage = advantage / advantage.square().mean().sqrt().clamp_min(1e-6)
            mean, log_std = self.policy(select(batch.observation, imitated))
            weight = losses.advantage_weights(advantage, config.advantage_scale, config.weight_clip)
            terms["policy"], more = losses.imitation(mean, log_std, action, weight)
            numbers |= more
        return terms, numbers
