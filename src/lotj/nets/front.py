"""Perception in front of an agent: what is observed becomes features, so that no algorithm asks what that is.

A front brings observations to a device, changes those of prior data, and makes encoders. Its dataclass holds settings
only; what it sees is said by the environment's `Spec`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lotj.errors import SettingsError
from lotj.nets.augment import AugmentConfig, augment
from lotj.nets.encoder import Encoder, EncoderConfig, ResNetEncoder
from lotj.nets.precision import autocast
from lotj.ranges import COUNT, NOT_NEGATIVE, Checked
from lotj.spaces import Array, Spec

Seen = Mapping[str, Tensor]
"""An observation of B rows on a device, as a front brought it."""

FEATURE = "feature/"
"""Cached features are observations of this name and the role of the encoder that made them."""


@dataclass(frozen=True)
class Front(Checked, ABC):
    """What stands between observations and encoders."""

    learns: ClassVar[bool] = True
    """Whether what is seen can still be shaped; if not, an agent does without the losses that only do that."""

    @abstractmethod
    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which observations are read, where those of these names are shown."""

    @abstractmethod
    def encoder(self, spec: Spec, role: str) -> Encoder:
        """A new encoder. Raises SettingsError where this front cannot see what the environment shows."""

    def bring(self, observation: Mapping[str, Any], device: torch.device | str) -> dict[str, Tensor]:
        """What of an observation, name -> (B, ...), is read, on the device: float32 unless a front says otherwise."""
        found = {name: torch.as_tensor(_named(observation, name)) for name in self.reads(observation)}
        return {name: values.to(device, torch.float32, non_blocking=True) for name, values in found.items()}

    def change(self, brought: Seen, prior: Tensor | None, generator: torch.Generator) -> Seen:
        """What `bring` gave, augmented where `prior` (B,) bool says that rows are of prior data (None: all are); what
        is practised is left as it is (LOTJ section V-C)."""
        return brought


@dataclass(frozen=True)
class Pixels(Front):
    """Images of V cameras, observation ``image`` (B, V, H, W, 3) uint8, by residual networks.

    Views pass through the same weights, are augmented each by itself, and their features are put side by side. Features
    are not pooled: position is the information. The defaults are the laptop preset.
    """

    resnet: EncoderConfig = field(default_factory=EncoderConfig)
    """The residual network, one for each encoder."""
    feature_channels: Annotated[int, NOT_NEGATIVE] = 32
    """Channels kept of each cell of a view's map by a last 1 x 1 convolution; 0 keeps all. Cached features, and the
    heads' first layers, which are most of the work on them, shrink by the same factor."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of images of the prior data."""
    half_precision: bool = True
    """Compute in bf16 where the device is fast at it."""

    @classmethod
    def paper(cls) -> Pixels:
        """LOTJ's: ResNet-18."""
        return cls(EncoderConfig(width=64, stages=4), feature_channels=0)

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        return ("image",)

    def bring(self, observation: Mapping[str, Any], device: torch.device | str) -> dict[str, Tensor]:
        """``image`` as (B, V, 3, H, W) float32 in [0, 1], channels-last in memory."""
        images = _named(observation, "image")
        if isinstance(images, np.ndarray) and not images.flags.writeable:
            images = images.copy()  # torch warns of what it could write into, though nothing here does
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or images.ndim != 5 or images.shape[-1] != 3:
            shown = f"{images.dtype} {tuple(images.shape)}"
            raise SettingsError(f"images of {shown}: must be uint8 (B, V, H, W, 3) of V cameras")
        # The permuted view of (B V, H, W, 3) is channels-last already: nothing is copied but the conversion itself.
        folded = images.flatten(0, 1).to(device, non_blocking=True).permute(0, 3, 1, 2)
        return {"image": folded.float().div_(255.0).unflatten(0, images.shape[:2])}

    def change(self, brought: Seen, prior: Tensor | None, generator: torch.Generator) -> Seen:
        images = brought["image"]
        if prior is not None:
            mixed = images.clone()
            mixed[prior] = self.change({"image": images[prior]}, None, generator)["image"]
            return {"image": mixed}
        return {"image": augment(self.augment, images.flatten(0, 1), generator).unflatten(0, images.shape[:2])}

    def encoder(self, spec: Spec, role: str) -> PixelEncoder:
        image = _named(spec.observation, "image")
        if len(image.shape) != 4 or image.shape[-1] != 3 or image.dtype != "uint8":
            raise SettingsError(f"image of {image.dtype} {image.shape}: must be uint8 (V, H, W, 3)")
        return PixelEncoder(role, image.shape[0], image.shape[1:3], self)


class PixelEncoder(Encoder):
    """Images of V cameras to features.

    Attributes:
        resnet: (B V, 3, H, W) -> (B V, C, h, w), views of a row one after the other; Grad-CAM looks at its stages.
    """

    def __init__(self, role: str, views: int, size: tuple[int, ...], front: Pixels) -> None:
        resnet = ResNetEncoder(front.resnet, (size[0], size[1]))
        full, *cells = resnet.feature_shape
        kept = min(front.feature_channels or full, full)
        super().__init__(role, views * kept * math.prod(cells))
        self.resnet = resnet
        self.squeeze = nn.Conv2d(full, kept, 1) if kept < full else nn.Identity()
        self._half = front.half_precision

    def forward(self, seen: Seen) -> Tensor:
        """(B, size) features of ``image`` (B, V, 3, H, W)."""
        images = seen["image"]
        folded = images.flatten(0, 1)
        with autocast(images.device, self._half, images=None if torch.is_grad_enabled() else len(folded)):
            features = self.squeeze(self.resnet(folded)).flatten(1)
        return features.reshape(len(images), self.size).float()


@dataclass(frozen=True)
class Vector(Front):
    """Named float observations side by side, e.g. ``state`` and ``goal``; one with bounds is scaled to [-1, 1]."""

    names: tuple[str, ...] = ("state",)
    """Which, in this order."""

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        return self.names

    def encoder(self, spec: Spec, role: str) -> Encoder:
        return VectorEncoder(role, {name: _named(spec.observation, name) for name in self.names})


class VectorEncoder(Encoder):
    """Named vectors to one, each entry with the mean and the deviation that it had in training so far taken out (as in
    hindsight experience replay, Andrychowicz et al. 2017); what has bounds is scaled to [-1, 1] instead."""

    def __init__(self, role: str, arrays: Mapping[str, Array]) -> None:
        sizes = torch.tensor([math.prod(array.shape) for array in arrays.values()])
        super().__init__(role, int(sizes.sum()))
        self.names = tuple(arrays)
        bounded = [math.isfinite(array.low) and math.isfinite(array.high) for array in arrays.values()]
        places = [
            ((a.low + a.high) / 2, (a.high - a.low) / 2 or 1.0) if b else (0.0, 1.0)
            for a, b in zip(arrays.values(), bounded, strict=True)
        ]
        middle, reach = torch.tensor(places).repeat_interleave(sizes, 0).T
        self.bounded = nn.Buffer(torch.tensor(bounded).repeat_interleave(sizes), persistent=False)
        self.middle, self.reach = nn.Buffer(middle.contiguous()), nn.Buffer(reach.contiguous())
        # Sums over all rows so far: their number, and of each entry and its square.
        self.rows = nn.Buffer(torch.zeros((), dtype=torch.float64))
        self.sums = nn.Buffer(torch.zeros(2, self.size, dtype=torch.float64))

    def forward(self, seen: Seen) -> Tensor:
        """(B, size)."""
        vector = torch.cat([seen[name].flatten(1) for name in self.names], 1)
        if self.training and torch.is_grad_enabled():
            self._count(vector.detach().double())
        return ((vector - self.middle) / self.reach).clamp(-LARGEST, LARGEST)

    def _count(self, vector: Tensor) -> None:
        """Takes a batch into the mean and deviation of what has no bounds."""
        self.rows += len(vector)
        self.sums += torch.stack([vector.sum(0), vector.square().sum(0)])
        mean, square = self.sums / self.rows
        deviation = (square - mean.square()).clamp_min(SMALLEST**2).sqrt()
        for mine, new in ((self.middle, mean), (self.reach, deviation)):
            mine.copy_(torch.where(self.bounded, mine, new.float()))


@dataclass(frozen=True)
class Maps(Vector):
    """The same, where some are maps (E, h, w) laid out flat, as codes of a VQ-VAE are: these by convolutions, the
    others beside what comes of it. Flat, codes of 90,000 frames teach a network nearly nothing of what to do (lab
    notes)."""

    shape: tuple[int, int, int] = (5, 12, 12)
    """(E, h, w) of a map."""
    channels: Annotated[int, COUNT] = 32
    """Of each of two convolutions, the first of which halves h and w."""
    own: tuple[str, ...] = ()
    """What of the names is the robot's own, e.g. ``state``: seen by who acts or judges actions, not by values of states
    alone, which plans ask of states that nobody has been in."""

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        shown = {*names}
        return tuple(name for name in self.names if name not in self.own or name in shown)

    def encoder(self, spec: Spec, role: str) -> Encoder:
        names = [name for name in self.names if name not in self.own or role not in VALUES]
        return MapEncoder(role, {name: _named(spec.observation, name) for name in names}, self)


VALUES = ("v", "value", "value-goal")
"""Roles of encoders for values of states alone."""


class MapEncoder(Encoder):
    """Named vectors, normalised as by `VectorEncoder`, of which the maps pass through convolutions side by side.

    Raises:
        SettingsError: none of them has the size of a map.
    """

    def __init__(self, role: str, arrays: Mapping[str, Array], front: Maps) -> None:
        depth, high, across = front.shape
        sizes = [math.prod(array.shape) for array in arrays.values()]
        maps = [size == depth * high * across for size in sizes]
        if not any(maps):
            raise SettingsError(f"{', '.join(arrays)} of {sizes} numbers: none is a map of {front.shape}")
        cells = -(-high // 2) * -(-across // 2)
        super().__init__(role, front.channels * cells + sum(sizes) - sum(maps) * depth * high * across)
        self.flat, self._shape = VectorEncoder(role, arrays), front.shape
        self._maps, self._sizes = maps, sizes
        self.convolutions = nn.Sequential(
            nn.Conv2d(sum(maps) * depth, front.channels, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(front.channels, front.channels, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, seen: Seen) -> Tensor:
        """(B, size)."""
        parts = list(zip(self.flat(seen).split(self._sizes, 1), self._maps, strict=True))
        maps = torch.cat([part.unflatten(1, self._shape) for part, is_map in parts if is_map], 1)
        return torch.cat([self.convolutions(maps).flatten(1), *(part for part, is_map in parts if not is_map)], 1)


LARGEST = 10.0
"""Deviations from the mean at which a normalised entry is cut off."""

SMALLEST = 1e-3
"""Least deviation that an entry is divided by, in its own unit."""


@dataclass(frozen=True)
class Features(Front):
    """Features that another front's encoders made before: role ``policy`` reads the observation ``feature/policy``."""

    learns: ClassVar[bool] = False

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name.startswith(FEATURE))

    def encoder(self, spec: Spec, role: str) -> Encoder:
        return _Cached(role, _named(spec.observation, FEATURE + role).shape[0])


class _Cached(Encoder):
    def forward(self, seen: Seen) -> Tensor:
        return _named(seen, FEATURE + self.role)


FRONTS: Mapping[str, type[Front]] = {front.__name__: front for front in (Pixels, Vector, Maps, Features)}
"""Kinds of front by name, for checkpoints."""


def _named(observation: Mapping[str, Any], name: str) -> Any:
    if name not in observation:
        raise SettingsError(f"an observation of {', '.join(sorted(observation)) or 'nothing'}: it must have {name!r}")
    return observation[name]
