"""The context-conditioned VAE (Nair et al. 2019): what stays the same in an episode goes round the bottleneck.

Two encoders without shared weights: e_0(s_0) = z_c, and q(z_t | s_t, s_0). Two decoders: d(z_t, z_c) = s_t, and
d_0(z_c) = s_0. Minimised is -log p(s_t|z_t, z_c) + beta KL(q || N(0, I)) - log p(s_0|z_c), reductions as in `vae`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.nets.vae import (
    LEAST_LOG_VARIANCE,
    GaussianModel,
    bernoulli,
    convolutions,
    decoder_of,
    divergence,
    draw,
    encoder_of,
)
from lotj.ranges import COUNT, NOT_NEGATIVE, SHARE, Checked


@dataclass(frozen=True)
class CCVAEConfig(Checked):
    """Settings of the context-conditioned VAE."""

    size: Annotated[int, COUNT] = 4
    """Entries of z_t."""
    context_size: Annotated[int, COUNT] = 8
    """Entries of z_c."""
    beta: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the divergence from the prior; larger ones lose the hand, which is few pixels."""
    dropout: Annotated[float, SHARE] = 0.0
    """Before each encoder's head; the released code has 0.5."""
    places: bool = True
    """See `VAEConfig`."""


class CCVAE(GaussianModel):
    """See this module."""

    def __init__(self, config: CCVAEConfig) -> None:
        super().__init__(config.size, config.context_size)
        self.config = config
        (self.trunk, width), self.context_trunk = encoder_of(6, config.places), convolutions(3)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, 2 * config.size))
        normal = nn.BatchNorm1d(config.context_size, affine=False)
        self.context_head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(64 * 3 * 3, config.context_size), normal
        )
        self.decoder = decoder_of(config.size + config.context_size, config.places)
        self.context_decoder = decoder_of(config.context_size, config.places)

    def code(self, images: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.head(self.trunk(torch.cat([images, first], 1))).chunk(2, 1)
        return mean, LEAST_LOG_VARIANCE + F.softplus(log_variance - LEAST_LOG_VARIANCE)

    def context(self, first: Tensor) -> Tensor:
        return self.context_head(self.context_trunk(first))

    def picture(self, code: Tensor, context: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(torch.cat([code, context], 1)))

    def losses(self, images: Tensor, first: Tensor) -> Mapping[str, Tensor]:
        """``reconstruction`` of s_t, ``divergence`` times beta, and ``context``, the reconstruction of s_0 from z_c."""
        mean, log_variance = self.code(images, first)
        self.count(mean)
        context = self.context(first)
        code = draw(mean, log_variance)
        return {
            "reconstruction": bernoulli(self.decoder(torch.cat([code, context], 1)), images),
            "divergence": self.config.beta * divergence(mean, log_variance),
            "context": bernoulli(self.context_decoder(context), first),
        }
