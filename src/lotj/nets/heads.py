"""Small fully connected heads on features: a Gaussian policy, and ensembles of values; and how slow copies follow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lotj.nets.encoder import Encoder


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """A multi-layer perceptron with ReLU between its layers and none at the end; linear without hidden ones."""
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class GaussianHead(nn.Module):
    """A Gaussian over actions of A axes, whose mean is squashed by tanh. The Gaussian is not; what is executed is
    clipped to [-1, 1]. The standard deviation is one learned number for each axis, the same in every state (IQL): `std`
    at the start, strictly within `limits`, which are approached smoothly so that the gradient never ends."""

    def __init__(self, inputs: int, hidden: Sequence[int], axes: int, std: float, limits: tuple[float, float]) -> None:
        super().__init__()
        self.mean = mlp(inputs, hidden, axes)
        self._low, self._span = math.log(limits[0]), math.log(limits[1] / limits[0])
        share = (math.log(std) - self._low) / self._span
        self.spread = nn.Parameter(torch.full((axes,), math.log(share / (1.0 - share))))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, A) in (-1, 1) and log standard deviation (A,), of (B, inputs)."""
        return torch.tanh(self.mean(code)), self._low + self._span * torch.sigmoid(self.spread)


class EnsembleLinear(nn.Module):
    """E linear layers side by side: (E, B, inputs) -> (E, B, outputs); an input of E = 1 is shared by all."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


class Ensemble(nn.Module):
    """E independent functions of (features, action) or of features alone, evaluated together.

    The action enters the first hidden layer through weights of its own, of the scale of as many inputs as it has axes.

    Args:
        features: D, size of the features.
        axes: A of the action; 0 for a function of the features alone.
        members: E.
        projection: size to which features are projected first, so that thousands of them do not drown a few axes; 0
            for states, which are few.
        hidden: width of the two hidden layers.
        layer_norm: normalise the projection and the hidden layers, so that values of unseen actions do not run away.
    """

    def __init__(self, features: int, axes: int, members: int, projection: int, hidden: int, layer_norm: bool) -> None:
        super().__init__()
        self.members = members
        self.projection = nn.Linear(features, members * projection) if projection else None
        self.first = EnsembleLinear(members, projection or features, hidden)
        self.action = EnsembleLinear(members, axes, hidden) if axes else None
        self.second = EnsembleLinear(members, hidden, hidden)
        self.last = EnsembleLinear(members, hidden, 1)
        self.layer_norm = layer_norm

    def _activate(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:]).relu_() if self.layer_norm else torch.relu(x)

    def forward(self, features: Tensor, action: Tensor | None = None) -> Tensor:
        """(E, B) values of (B, D) features and, where it has axes, (B, A) actions."""
        return self.judge(self.read(features), action)

    def read(self, features: Tensor) -> Tensor:
        """(E, B, hidden): what the members make of (B, D) features before they look at an action."""
        if self.projection is None:
            return self.first(features[None])
        projected = self.projection(features).unflatten(1, (self.members, -1)).transpose(0, 1)
        return self.first(self._activate(projected))

    def judge(self, hidden: Tensor, action: Tensor | None = None) -> Tensor:
        """(E, B) values of what `read` gave and, where it has axes, (B, A) actions."""
        if self.action is not None:
            assert action is not None
            hidden = hidden + self.action(action[None])
        return self.last(self._activate(self.second(self._activate(hidden)))).squeeze(-1)


class Critic(nn.Module):
    """An ensemble with what it sees through; the members share the encoder and nothing else."""

    def __init__(self, encoder: Encoder, head: Ensemble) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, observation: Mapping[str, Tensor], action: Tensor | None = None) -> Tensor:
        """(E, B) values."""
        return self.head(self.encoder(observation), action)


class Values(nn.Module):
    """Q and V, on Q's encoder or on independent ones; and a head that tells positions from Q's features, or None."""

    def __init__(self, q: Critic, v_encoder: Encoder | None, v: Ensemble, position: Any) -> None:
        super().__init__()
        self.q, self.v_encoder, self.v, self.position = q, v_encoder, v, position

    def value(self, observation: Mapping[str, Tensor], q_features: Tensor | None = None) -> Tensor:
        """V(s), (B,). Q's features of the same observation serve V if it has none of its own."""
        if self.v_encoder is not None:
            return self.v(self.v_encoder(observation))[0]
        return self.v(self.q.encoder(observation) if q_features is None else q_features)[0]


class Follower:
    """Takes a slow copy of a network a step after it, in place."""

    def __init__(self, slow: nn.Module, fast: nn.Module) -> None:
        # Gathered once: to walk through the modules takes three times as long as the step.
        self._parameters = [*zip(slow.parameters(), fast.parameters(), strict=True)]
        self._buffers = [*zip(slow.buffers(), fast.buffers(), strict=True)]

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """slow <- (1 - rate) slow + rate fast; buffers, which are statistics of what was seen, are copied unless the
        rate, in [0, 1], is 0."""
        for slow, fast in self._parameters:
            slow.lerp_(fast, rate)
        for slow, fast in self._buffers if rate else ():
            slow.copy_(fast)
