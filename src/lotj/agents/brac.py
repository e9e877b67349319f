"""Behaviour-regularised actor-critic (BRAC, Wu et al. 2019): SAC whose policy stays near a model of the behaviour that
is fitted to all that is learnt from."""

from __future__ import annotations

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
from lotj.nets.front import Front, Seen
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


class Behaviour(nn.Module):
    """Encoder and a Gaussian before the tanh, of its own spread in each state."""

    def __init__(self, spec: Spec, front: Front, config: BRACConfig, axes: int) -> None:
        super().__init__()
        self.encoder = front.encoder(spec, "behaviour")
        self.head = SquashedGaussian(self.encoder.size, config, axes)

    def forward(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, (B, A) each."""
        return self.head(self.encoder(observation))

    def log_likelihood(self, observation: Seen, action: Tensor) -> Tensor:
        """Log-density (B,) [nats] of actions (B, A) in [-1, 1]."""
        raw = torch.atanh(action.clamp(-EDGE, EDGE))
        squash = torch.log1p(-torch.tanh(raw).square()).sum(1)
        mean, log_std = self(observation)
        return losses.log_probability(mean, log_std, raw) - squash


class BRAC(SAC):
    """Attributes: those of SAC, and the ``behaviour``."""

    CONFIG = BRACConfig
    trained = {**SAC.trained, "policy": ("policy", "bc", "kl"), "behaviour": ("behaviour",)}
    offline = True

    def __init__(self, spec: Spec, front: Front, config: BRACConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.behaviour = Behaviour(spec, front, config, self.axes)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """Those of SAC; ``behaviour``, its negative log-likelihood; and ``kl``, of the policy from it."""
        terms, numbers = super().losses(batch, target, at, generator)
        likelihood = self.behaviour.log_likelihood(batch.observation, batch.action).mean()
        with torch.no_grad():
            behaviour = self.behaviour(batch.observation)
            features = self.critic.encoder(batch.observation)
        kl = losses.kl_divergence(*self.policy(features), *behaviour).mean()
        terms |= {"behaviour": -likelihood, "kl": self.config.kl_weight * kl}
        return terms, numbers | {"kl": kl, "behaviour_log_likelihood": likelihood}


def log_likelihood(learner: Learner, observation: Mapping[str, Any], action: np.ndarray) -> np.ndarray:
    """What a BRAC learner's model of the behaviour says of actions (B, A) that it has not learnt from, e.g. those of an
    episode of practice before it is added: log-density, (B,) float32 [nats]."""
    model: Any = learner.algorithm.behaviour
    done = torch.as_tensor(action, dtype=torch.float32, device=learner.device)
    return learner.ask(observation, (), lambda seen, part: model.log_likelihood(seen, done[part]))
