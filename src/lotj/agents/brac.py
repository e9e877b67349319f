"""Behaviour-regularised actor-critic (BRAC, Wu et al. 2019): SAC whose policy stays near a model of the behaviour that
is fitted to all that is learnt from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import At, Losses
from lotj.agents.learner import Learner
from lotj.agents.sac import SAC, SACConfig, SquashedGaussian
from lotj.experience import Batch
from lotj.nets.front import Front
from lotj.ranges import NOT_NEGATIVE
from lotj.spaces import Spec

EDGE = 0.999
"""Actions are taken for no larger than this: at 1 the density before the tanh ends."""


@dataclass(frozen=True)
class BRACConfig(SACConfig):
    """Settings of BRAC: those of SAC, whose entropy stays, and the weight of the penalty."""

    kl_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of KL(pi || behaviour) in the policy's loss, beside Q (policy regularisation; BRAC's value penalty, which
    takes it off the targets too, is not here)."""


class BRAC(SAC):
    """Attributes: those of SAC, and
    behaviour: encoder and Gaussian before the tanh.
    """

    CONFIG = BRACConfig
    trained = {**SAC.trained, "policy": ("policy", "bc", "kl"), "behaviour": ("behaviour",)}
    offline = True

    def __init__(self, spec: Spec, front: Front, config: BRACConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        encoder = front.encoder(spec, "behaviour")
        head = SquashedGaussian(encoder.size, config, self.axes)
        self.behaviour = nn.Sequential(OrderedDict(encoder=encoder, head=head))

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """Those of SAC; ``behaviour``, its negative log-likelihood; and ``kl``, of the policy from it."""
        terms, numbers = super().losses(batch, target, at, generator)
        mean, log_std = self.behaviour(batch.observation)
        likelihood = _log_likelihood((mean, log_std), batch.action).mean()
        with torch.no_grad():
            features = self.critic.encoder(batch.observation)
        own, own_log_std = self.policy(features)
        kl = losses.kl_divergence(own, own_log_std, mean.detach(), log_std.detach()).mean()
        terms |= {"behaviour": -likelihood, "kl": self.config.kl_weight * kl}
        return terms, numbers | {"kl": kl, "behaviour_log_likelihood": likelihood}


def log_likelihood(learner: Learner, observation: Mapping[str, Any], action: np.ndarray) -> np.ndarray:
    """Log-density, (B,) float32 [nats], that a BRAC learner's model of the behaviour gives to actions (B, A), e.g. to
    those of an episode of practice before it learns from them."""
    model: Any = learner.algorithm.behaviour
    done = torch.as_tensor(action, dtype=torch.float32, device=learner.device)
    return learner.ask(observation, (), lambda seen, part: _log_likelihood(model(seen), done[part]))


def _log_likelihood(behaviour: tuple[Tensor, Tensor], action: Tensor) -> Tensor:
    raw = torch.atanh(action.clamp(-EDGE, EDGE))
    return losses.log_probability(*behaviour, raw) - torch.log1p(-torch.tanh(raw).square()).sum(1)
