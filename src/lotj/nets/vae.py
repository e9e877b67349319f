"""Autoencoders of pictures, 48 x 48: the beta-VAE of RIG (Nair et al. 2018), a plain one, and one of spatial features.

Losses are sums over pixels, channels and latent entries, and means over the batch: a beta of here is one of theirs with
the same reduction (the paper's 5; mean losses elsewhere need others).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.errors import SettingsError
from lotj.ranges import COUNT, NOT_NEGATIVE, Checked

SIZE = 48
"""Side of the pictures [pixels]."""

WIDE = 128
"""Channels of the first layer of a `Broadcast`: with 32 it finds, in thousands of updates, one moving thing of two."""

FEATURES = 16
"""Whose places an encoder sees."""
COARSE = 16
"""Cells along a side of the picture that `Pixels` shows."""
SHARPNESS = 3.0
"""Of the softmax over each feature's map, at the start."""

NEW = 0.02
"""Share of the latest batch in what is known of all codes."""

LEAST_LOG_VARIANCE = -6.9
"""Floor of q's log variances: a variance of 1e-3."""


@dataclass(frozen=True)
class VAEConfig(Checked):
    """Settings of an autoencoder."""

    kind: Literal["vae", "ae", "spatial"] = "vae"
    """`vae`; `ae`, deterministic and without a prior; `spatial`, deterministic, whose codes are the places of its
    features (Finn et al. 2016)."""
    size: Annotated[int, COUNT] = 4
    """Entries of a code; an even number of `spatial`, two for each place."""
    beta: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the divergence from the prior; larger ones lose the hand, which is few pixels."""


class PictureModel(nn.Module):
    """What all models of pictures (B, 3, 48, 48) in [0, 1] have.

    Attributes:
        size, context_size: entries of a code, and of that of an episode's first picture; 0 without one.
    """

    size: int
    context_size: int = 0

    def code(self, images: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q, (B, D) each; `first` are the first pictures of their episodes."""
        raise NotImplementedError

    def context(self, first: Tensor) -> Tensor:
        """(B, C) of first pictures."""
        return first.new_zeros(len(first), self.context_size)

    def picture(self, code: Tensor, context: Tensor) -> Tensor:
        """(B, 3, 48, 48) in [0, 1] of codes (B, D) and (B, C)."""
        raise NotImplementedError

    def losses(self, images: Tensor, first: Tensor) -> Mapping[str, Tensor]:
        """Terms whose sum is the loss, () each."""
        raise NotImplementedError


class GaussianModel(PictureModel):
    """One whose codes can be drawn: of the Gaussian that fits those of its training. Of N(0, I) training asks only that
    codes are not far; where they have more entries than things have places, its draws are pictures of nothing.

    Attributes:
        mean, square: (D,) and (D, D), of the codes of the last batches and of their products; at first those of
            N(0, I).
    """

    def __init__(self, size: int, context_size: int = 0) -> None:
        super().__init__()
        self.size, self.context_size = size, context_size
        self.mean, self.square = nn.Buffer(torch.zeros(size)), nn.Buffer(torch.eye(size))

    @torch.no_grad()
    def count(self, codes: Tensor) -> None:
        """Takes codes (B, D) of a batch of training into the fit."""
        self.mean.lerp_(codes.mean(0), NEW)
        self.square.lerp_(codes.T @ codes / len(codes), NEW)


class VAE(GaussianModel):
    """An encoder of the places of features, a linear layer to mean and log variance, and a `Broadcast` decoder. The
    released 48-pixel model's encoder has kernels 5, 3, 3 with strides 3, 2, 2 and flattens its last maps, its decoder
    kernels 3, 3, 6 with strides 2, 2, 3: in thousands of updates instead of millions such codes fold, and no policy is
    learnt on them (docs/lab-notes/chapters.md)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config.size)
        if config.kind == "spatial" and config.size % 2:
            raise SettingsError(f"size {config.size} of spatial codes: must be even, two numbers for each place")
        self.config = config
        spatial = config.kind == "spatial"
        self.trunk = places_of(3, config.size // 2 if spatial else FEATURES)
        self.head = nn.Identity() if spatial else nn.Linear(2 * FEATURES, 2 * config.size)
        self.decoder = Broadcast(config.size)

    def code(self, images: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """See `PictureModel`; of ``spatial`` the log variance is the least there is: nothing is drawn."""
        found = self.head(self.trunk(images))
        if self.config.kind == "spatial":
            return found, torch.full_like(found, LEAST_LOG_VARIANCE)
        mean, log_variance = found.chunk(2, 1)
        return mean, LEAST_LOG_VARIANCE + F.softplus(log_variance - LEAST_LOG_VARIANCE)

    def picture(self, code: Tensor, context: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(code))

    def losses(self, images: Tensor, first: Tensor) -> Mapping[str, Tensor]:
        """``reconstruction`` and, of a ``vae``, ``divergence`` times beta."""
        mean, log_variance = self.code(images, first)
        self.count(mean)
        sampled = self.config.kind == "vae"
        code = draw(mean, log_variance) if sampled else mean
        terms = {"reconstruction": bernoulli(self.decoder(code), images)}
        return terms | ({"divergence": self.config.beta * divergence(mean, log_variance)} if sampled else {})


class Pixels(PictureModel):
    """No model at all: a code is the picture itself, means of `COARSE` x `COARSE` cells. The distance of codes is that
    of pixels, as in the baseline HER of RIG."""

    size = 3 * COARSE**2

    def code(self, images: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """See `PictureModel`; all entries are known equally well."""
        cells = F.avg_pool2d(images, SIZE // COARSE).flatten(1)
        return cells, torch.zeros_like(cells)

    def picture(self, code: Tensor, context: Tensor) -> Tensor:
        """(B, 3, 48, 48) of one colour in each cell."""
        return F.interpolate(code.view(-1, 3, COARSE, COARSE), SIZE)


def convolutions(channels: int) -> nn.Sequential:
    """(B, channels, 48, 48) -> (B, 576)."""
    sizes = [(channels, 16, 5, 3), (16, 32, 3, 2), (32, 64, 3, 2)]  # 48 -> 15 -> 7 -> 3
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in sizes:
        layers += [nn.Conv2d(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten())


class Broadcast(nn.Module):
    """(B, inputs) -> (B, 3, 48, 48) logits: the code at each cell of a map of half the size, beside the cell's own
    place (spatial broadcast decoder, Watters et al. 2019). A thing that moves is drawn where a linear function of the
    code equals the place, so codes become straight in where things are: of hand and puck a linear regression reads 0.95
    to 0.99 of the variance. Kernels 1, 3 and 4, the last with stride 2."""

    def __init__(self, inputs: int, channels: int = 32) -> None:
        super().__init__()
        axis = torch.linspace(-1.0, 1.0, SIZE // 2)
        self.places = nn.Buffer(torch.stack(torch.meshgrid(axis, axis, indexing="ij"))[None], persistent=False)
        self.of_code, self.of_place = nn.Linear(inputs, WIDE), nn.Conv2d(2, WIDE, 1, bias=False)
        self.layers = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(WIDE, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(channels, 3, 4, 2, 1),
        )  # fmt: skip

    def forward(self, code: Tensor) -> Tensor:
        """(B, 3, 48, 48) of (B, inputs)."""
        return self.layers(self.of_code(code)[:, :, None, None] + self.of_place(self.places))


def places_of(channels: int, features: int) -> nn.Sequential:
    """(B, channels, 48, 48) -> (B, 2 features), the places of features in their maps, in [-1, 1] (Finn et al. 2016).
    The maps' deviation begins at `SHARPNESS`, so that features lie on something from the start, each on what draws it;
    else they all lie in the middle, and only what moves and is largest is found."""
    sharpened = nn.BatchNorm2d(features)
    nn.init.constant_(sharpened.weight, SHARPNESS)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
        nn.Conv2d(32, features, 3, 1, 1), sharpened, SpatialSoftmax(),
    )  # fmt: skip


class SpatialSoftmax(nn.Module):
    """The mean place of each channel under its softmax: (B, C, H, W) -> (B, 2 C), x and y from -1 to 1."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 2 C), x of all channels, then y."""
        share = maps.flatten(2).softmax(-1).view_as(maps)
        x, y = (torch.linspace(-1, 1, n, device=maps.device) for n in (maps.shape[3], maps.shape[2]))
        return torch.cat([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], 1)


def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    """z ~ q, reparametrised."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(s|z), summed over pixels and channels, mean over the batch [nats]."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)), summed over the entries, mean over the batch [nats]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
