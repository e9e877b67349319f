"""Actor and critics on image features: encoder, bottleneck and policy head; ensembles of Q and V heads."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lotj.experience import ACTION_DIM
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.encoder import EncoderConfig, ResNetEncoder
from lotj.nets.heads import mlp


class ImageEncoder(nn.Module):
    """Images to flattened features. Flattened, not pooled: position is the information.

    A last 1 x 1 convolution keeps only a few channels of each cell. It belongs to the convolutions, so it freezes with
    them: cached features, and the heads' first layers, which are most of an update's work, shrink by the same factor.

    Args:
        config: the residual network.
        channels: channels to keep; 0, or as many as there are, for no last convolution.

    Attributes:
        resnet: (B, 3, H, W) -> (B, C, h, w); Grad-CAM looks at its stages.
        size: D, number of features.
    """

    def __init__(self, config: EncoderConfig, channels: int) -> None:
        super().__init__()
        self.resnet = ResNetEncoder(config)
        full, *cells = self.resnet.feature_shape
        kept = channels if 0 < channels < full else full
        self.squeeze = nn.Conv2d(full, kept, 1) if kept < full else nn.Identity()
        self.size = kept * math.prod(cells)

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) features of (B, 3, H, W) images."""
        return self.squeeze(self.resnet(images)).flatten(1)


POSITION_SCALE = 0.01
"""An output of 1 of a `PositionEncoder` is this far [m]."""


class PositionEncoder(ImageEncoder):
    """Images to the plug's position in the socket frame, in units of `POSITION_SCALE`: the localisation model, also in
    the place of an agent's encoder.

    Args:
        config: the residual network.
        hidden: hidden layers of the head.
    """

    def __init__(self, config: EncoderConfig, hidden: tuple[int, ...] = (256,)) -> None:
        super().__init__(config, 0)
        self.head = mlp(self.resnet.feature_size, hidden, 3)
        self.size = 3

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3) positions of (B, 3, H, W) images."""
        return self.head(super().forward(images))


class Actor(nn.Module):
    """pi(a|s): images -> encoder -> DAIB code -> Gaussian whose mean is squashed by tanh, with a std of its own.

    The std is one learned number per action axis, the same in every state (IQL); the Gaussian is not squashed, and
    what is executed is clipped to [-1, 1].

    Attributes:
        encoder: (B, 3, H, W) -> (B, D).
        bottleneck: features -> code (LOTJ section V-E).
        log_std: (3,) learned.
        position: features -> plug's position in units of `POSITION_SCALE`, for an auxiliary loss; None without one.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        bottleneck: BottleneckConfig,
        domains: int,
        hidden: tuple[int, ...],
        std: float,
        locating: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.position = mlp(encoder.size, hidden, 3) if locating else None
        self.bottleneck = Bottleneck(encoder.size, domains, bottleneck)
        self.head = mlp(self.bottleneck.code_size, hidden, ACTION_DIM)
        self.log_std = nn.Parameter(torch.full((ACTION_DIM,), math.log(std)))

    def decide(self, features: Tensor, sample: bool, generator: torch.Generator | None = None) -> tuple[Tensor, Code]:
        """Mean action and code of flattened features.

        Args:
            features: (B, D) float.
            sample: draw z_S (training) instead of taking its mean (acting).
            generator: random numbers for the draw.

        Returns:
            (B, 3) mean action in (-1, 1), and the code.
        """
        code = self.bottleneck(features, sample, generator)
        return torch.tanh(self.head(code.z)), code

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3) mean action of (B, 3, H, W) images, with the deterministic code (for Grad-CAM)."""
        return self.decide(self.encoder(images).float(), sample=False)[0]


class EnsembleLinear(nn.Module):
    """E linear layers side by side: (E, B, inputs) -> (E, B, outputs); an input of E = 1 is shared by all."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


class EnsembleHead(nn.Module):
    """E independent functions of (features, action) or of features alone, evaluated together.

    Features are projected to a few numbers first, so that thousands of them do not drown three actions; the action
    enters the first hidden layer through weights of its own, of the scale of three inputs.

    Args:
        features: D, size of the flattened feature map.
        members: E, 2 for a twin Q, 1 for V.
        with_action: whether it is a Q.
        projection: size to which features are projected.
        hidden: width of the two hidden layers.
        layer_norm: normalise the projection and the hidden layers, so that values of unseen actions do not run away.
    """

    def __init__(
        self,
        features: int,
        members: int,
        with_action: bool,
        projection: int,
        hidden: int,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.members = members
        self.projection = nn.Linear(features, members * projection)
        self.first = EnsembleLinear(members, projection, hidden)
        self.action = EnsembleLinear(members, ACTION_DIM, hidden) if with_action else None
        self.second = EnsembleLinear(members, hidden, hidden)
        self.last = EnsembleLinear(members, hidden, 1)
        self.layer_norm = layer_norm

    def _activate(self, x: Tensor) -> Tensor:
        return torch.relu(nn.functional.layer_norm(x, x.shape[-1:]) if self.layer_norm else x)

    def forward(self, features: Tensor, action: Tensor | None = None) -> Tensor:
        """(E, B) values of (B, D) features and, for a Q, (B, 3) actions."""
        return self.judge(self.read(features), action)

    def read(self, features: Tensor) -> Tensor:
        """(E, B, hidden): what the members make of (B, D) features before they look at an action."""
        projected = self.projection(features).unflatten(1, (self.members, -1)).transpose(0, 1)
        return self.first(self._activate(projected))

    def judge(self, hidden: Tensor, action: Tensor | None = None) -> Tensor:
        """(E, B) values of what `read` gave and, for a Q, (B, 3) actions."""
        if self.action is not None:
            assert action is not None
            hidden = hidden + self.action(action[None])
        return self.last(self._activate(self.second(self._activate(hidden)))).squeeze(-1)


class Critic(nn.Module):
    """Q and V, on independent encoders (paper) or on one (laptop).

    The members of the Q ensemble share Q's encoder and nothing else.

    Attributes:
        encoders: ``critic`` alone, or ``q`` and ``v``.
        q_key, v_key: which encoder's features Q and V read.
        q: (B, D), (B, 3) -> (E, B).
        v: (B, D) -> (1, B).
        position: as `Actor.position`, of Q's encoder.
    """

    def __init__(
        self,
        encoder: Callable[[], ImageEncoder],
        shared: bool,
        members: int,
        projection: int,
        hidden: int,
        layer_norm: bool,
        locating: bool = False,
    ) -> None:
        super().__init__()
        self.q_key, self.v_key = ("critic", "critic") if shared else ("q", "v")
        self.encoders = nn.ModuleDict({key: encoder() for key in dict.fromkeys((self.q_key, self.v_key))})
        size = self.encoder(self.q_key).size
        self.q = EnsembleHead(size, members, True, projection, hidden, layer_norm)
        self.v = EnsembleHead(size, 1, False, projection, hidden, layer_norm)
        self.position = mlp(size, (projection,), 3) if locating else None

    def encoder(self, key: str) -> ImageEncoder:
        """The encoder of that name."""
        encoder = self.encoders[key]
        assert isinstance(encoder, ImageEncoder)
        return encoder


class TargetQ(nn.Module):
    """A copy of Q (encoder and heads) that follows it slowly; the bar over Q in equations 2 and 3.

    Args:
        critic: the online Q; its parameters must stay the same objects.
    """

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(critic.encoder(critic.q_key))
        self.head = copy.deepcopy(critic.q)
        self.requires_grad_(False)
        # Gathered once: walking through the modules takes longer than to follow.
        pairs = (self.head, critic.q), (self.encoder, critic.encoder(critic.q_key))
        self._head, self._encoder = (_tensors(mine, other) for mine, other in pairs)

    @torch.no_grad()
    def follow(self, rate: float, encoder_too: bool) -> None:
        """target <- (1 - rate) target + rate online.

        Args:
            rate: in [0, 1]; 1 copies.
            encoder_too: whether the convolutions changed.
        """
        for parameters, buffers in (self._head, self._encoder) if encoder_too else (self._head,):
            for parameter, source in parameters:
                parameter.lerp_(source, rate)
            for buffer, source in buffers:  # batch normalisation's statistics
                buffer.copy_(source)


def _tensors(mine: nn.Module, other: nn.Module) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Parameters and buffers of two alike modules, in pairs."""
    parameters = zip(mine.parameters(), other.parameters(), strict=True)
    return list(parameters), list(zip(mine.buffers(), other.buffers(), strict=True))
