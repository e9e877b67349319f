"""Behaviour cloning: the policy's density of what was done is raised (Pomerleau 1991)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, GaussianConfig, Losses, rows, select
from lotj.experience import Batch
from lotj.nets.front import Front, Seen
from lotj.spaces import Spec


class BC(Algorithm):
    """Attributes:
    policy: encoder and Gaussian head.
    """

    CONFIG = GaussianConfig
    trained = {"policy": ("policy",)}
    needs = frozenset({"imitate"})
    offline = True

    def __init__(self, spec: Spec, front: Front, config: GaussianConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        encoder = front.encoder(spec, "policy")
        self.policy = nn.Sequential(OrderedDict(encoder=encoder, head=config.gaussian(encoder.size, self.axes)))

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``policy``, of the rows that are to be imitated."""
        imitated = rows(batch, "imitate")
        action = batch.action[imitated]
        if not len(action):
            return {}, {}
        mean, log_std = self.policy(select(batch.observation, imitated))
        loss = -losses.log_probability(mean, log_std, action).mean()
        return {"policy": loss}, {"policy_std": log_std.exp().mean(), "policy_error": losses.error(mean, action)}

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        mean, log_std = self.policy(observation)
        return mean, log_std.exp()
