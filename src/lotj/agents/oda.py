"""Offline meta-reinforcement learning with demonstration adaptation (ODA, Zhao et al. 2022): AWAC that is told by a few
demonstrations which task it is.

An encoder makes of each demonstrated transition a Gaussian over a latent code z; their product is the posterior (as in
PEARL, Rakelly et al. 2019), so order does not matter. Policy and Q read z beside what is observed. The encoder is
moved by the critic's loss and by the divergence of z from a standard normal alone; the policy's loss does not reach it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lotj.agents.awac import AWAC, AWACConfig
from lotj.agents.base import At, Losses
from lotj.experience import PRACTISED, Batch
from lotj.nets.encoder import Encoder
from lotj.nets.front import Front, Seen
from lotj.nets.heads import mlp
from lotj.ranges import COUNT, NOT_NEGATIVE
from lotj.spaces import Spec

CODE = "z"
"""The latent code, among what is observed."""


@dataclass(frozen=True)
class ODAConfig(AWACConfig):
    """Settings of ODA."""

    latent: Annotated[int, COUNT] = 12
    """Size of z."""
    kl_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """beta: weight of KL(q(z|c) || N(0, I)), summed over z and averaged over tasks."""
    context_hidden: Annotated[tuple[int, ...], COUNT] = (128, 128)
    """Hidden layers of the encoder of a transition."""


class Beside(Encoder):
    """What another encoder sees, with z beside it."""

    def __init__(self, inner: Encoder, latent: int) -> None:
        super().__init__(inner.role, inner.size + latent)
        self.inner = inner

    def forward(self, seen: Seen) -> Tensor:
        """(B, size)."""
        return torch.cat([self.inner(seen), seen[CODE]], 1)


class _WithCode:
    """A front whose encoders see z."""

    def __init__(self, front: Front, latent: int) -> None:
        self._front, self._latent = front, latent

    def encoder(self, spec: Spec, role: str) -> Encoder:
        return Beside(self._front.encoder(spec, role), self._latent)


class ContextEncoder(nn.Module):
    """Demonstrated transitions to a Gaussian over z.

    Args:
        size: D, numbers of a transition: what is observed before, action, reward, what is observed after.
        config: settings.
    """

    def __init__(self, size: int, config: ODAConfig) -> None:
        super().__init__()
        self.normal = nn.BatchNorm1d(size, momentum=0.01, affine=False)
        self.factors = mlp(size, config.context_hidden, 2 * config.latent)
        self.code = nn.Buffer(torch.zeros(config.latent))  # of the task at hand, see `ODA.adapt`

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (T, L) of the posteriors of (T, C, D) contexts: the products of C Gaussians."""
        mean, raw = self.factors(self.normal(context.flatten(0, 1))).unflatten(0, context.shape[:2]).chunk(2, dim=-1)
        precision = 1.0 / (nn.functional.softplus(raw) + 1e-4)
        variance = 1.0 / precision.sum(1)
        return variance * (mean * precision).sum(1), variance


class ODA(AWAC):
    """Attributes: those of AWAC, and
    context: the encoder of demonstrations.
    """

    CONFIG = ODAConfig
    trained = {**AWAC.trained, "context": ("q", "kl")}
    recordable = False  # the number of tasks in a batch varies
    requires = frozenset({"context"})

    def __init__(self, spec: Spec, front: Front, config: ODAConfig, tasks: int) -> None:
        super().__init__(spec, _WithCode(front, config.latent), config, tasks)  # type: ignore[arg-type]
        vectors = [math.prod(spec.observation[name].shape) for name in vector_names(spec)]
        self.context = ContextEncoder(2 * sum(vectors) + self.axes + 1, config)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """Those of AWAC given z, one a task and batch, and ``kl``. In practice the task at hand is told anew: its code
        follows the encoder, which goes on learning."""
        tasks, place = torch.unique(batch.task, return_inverse=True)
        first = torch.stack([(place == number).nonzero()[0, 0] for number in range(len(tasks))])
        if practised := bool(tasks[0] == PRACTISED):  # the lowest
            self.context.normal.eval()  # normalised by its own mean, a task alone would look like any other
        mean, variance = self.context(batch.columns["context"][first])
        if practised:
            self.context.code.copy_(mean[0].detach())
        code = mean + variance.sqrt() * torch.empty_like(mean).normal_(generator=generator)
        divergence = 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(1).mean()
        now = {**batch.observation, CODE: code[place]}
        then = {**batch.next_observation, CODE: code.detach()[place]}
        seen = replace(batch, observation=now, next_observation=then)
        terms, numbers = super().losses(seen, target, at, generator)
        return terms | {"kl": self.config.kl_weight * divergence}, numbers | {"kl_nats": divergence}

    @torch.no_grad()
    def adapt(self, context: Tensor) -> None:
        """Takes the mean of the posterior of (C, D) demonstrated transitions for the task at hand."""
        self.context.code.copy_(self.context(context[None])[0][0])

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """Given z, that of the observation or else of the task at hand, see `adapt`."""
        return super().decide(self._with_code(observation))

    def value(self, observation: Seen) -> Tensor:
        """Given the same z as in `decide`."""
        return super().value(self._with_code(observation))

    def _with_code(self, observation: Seen) -> Seen:
        rows = len(next(iter(observation.values())))
        return observation if CODE in observation else {**observation, CODE: self.context.code.expand(rows, -1)}


def vector_names(spec: Spec) -> list[str]:
    """Names of what is observed and is no image, in their order in a context."""
    return sorted(name for name, array in spec.observation.items() if len(array.shape) == 1)
