"""What may be true a while from now: a conditional VAE over maps of codes (PTP, Fang et al. 2022), one for each time
gap; without a context it is LEAP's (Nasiriany et al. 2019), with start and end as context it proposes midpoints (GCP,
Pertsch et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Checked


@dataclass(frozen=True)
class SubgoalConfig(Checked):
    """Settings of a generator of subgoals. The defaults are the laptop preset; PTP's fully connected layer has 512."""

    latent: Annotated[int, COUNT] = 8
    """Z, size of the code z."""
    hidden: Annotated[int, COUNT] = 64
    """Channels at half of the map's resolution; half of them at the whole."""
    reconstruction_weight: Annotated[float, NOT_NEGATIVE] = 1000.0
    """Of the smooth L1 loss, a mean over batch and entries of the map (the authors' code)."""
    kl_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Of KL(q || N(0, I)), summed over z and a mean over the batch (the authors' code)."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Of Adam. PTP has 3e-4, for many more updates."""


Terms = dict[str, Tensor]

LOG_STD = (-5.0, 2.0)
"""Limits of log sigma of q."""


class SubgoalCVAE(nn.Module):
    """g(context, z): maps (B, E, h, w) of E numbers a cell, h and w even, from `contexts` maps (0, 1 or 2) beside each
    other, (B, contexts * E, h, w), and z (B, Z) from N(0, I)."""

    def __init__(self, config: SubgoalConfig, embedding: int, cells: int, contexts: int = 1) -> None:
        super().__init__()
        self.config, self.contexts, self.embedding, self.cells = config, contexts, embedding, cells
        half, full, inner = max(config.hidden // 2, 1), config.hidden, (cells // 2) ** 2
        self.posterior = nn.Sequential(
            nn.Conv2d(embedding * max(1, 2 * contexts), half, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(half, full, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(full * inner, 4 * full), nn.ReLU(), nn.Linear(4 * full, 2 * config.latent),
        )  # fmt: skip
        # A U-Net whose way down reads the context, and z at the bottom; without a context z is all.
        self.down: Any = nn.ModuleList(
            [nn.Conv2d(max(contexts, 1) * embedding, half, 3, 1, 1), nn.Conv2d(half, full, 4, 2, 1)]
        )
        self.spread = nn.Linear(config.latent, full * inner)
        self.bottom = nn.Conv2d(full, full, 3, 1, 1)
        self.up = nn.Sequential(nn.Conv2d(full, 4 * half, 1), nn.PixelShuffle(2))
        self.last = nn.Conv2d(2 * half, embedding, 3, 1, 1)

    def infer(self, context: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (B, Z) of q(z | context, after). It reads differences to each context map, as
        the authors' code does."""
        shown = [after - part for part in context.chunk(self.contexts, 1)] if self.contexts else [after]
        mean, log_std = self.posterior(torch.cat([*shown, context], 1)).chunk(2, 1)
        return mean, log_std.clamp(*LOG_STD)

    def forward(self, context: Tensor, z: Tensor) -> Tensor:
        """(B, E, h, w), not quantised."""
        if not self.contexts:
            context = z.new_zeros(len(z), self.embedding, self.cells, self.cells)
        fine = F.relu(self.down[0](context))
        coarse = F.relu(self.down[1](fine))
        wide = self.spread(z).view_as(coarse)
        middle = F.relu(self.bottom(coarse + wide))
        made = self.last(torch.cat([F.relu(self.up(middle)), fine], 1))
        return context[:, -self.embedding :] + made if self.contexts == 1 else made

    def losses(self, context: Tensor, *after: Tensor, quantise: Callable[[Tensor], Tensor] | None = None) -> Terms:
        """``reconstruction`` and ``kl`` with their weights, () each, means over a chain of maps that come `after` each
        other. z is drawn from q; each further context is the reconstruction before it, quantised, without gradient."""
        errors, divergences = [], []
        for wanted in after:
            mean, log_std = self.infer(context, wanted)
            made = self(context, mean + log_std.exp() * torch.randn_like(mean))
            errors.append(F.smooth_l1_loss(made, wanted))
            divergences.append(kl_to_standard(mean, log_std).mean())
            context = made.detach() if quantise is None else quantise(made.detach())
        return {
            "reconstruction": self.config.reconstruction_weight * torch.stack(errors).mean(),
            "kl": self.config.kl_weight * torch.stack(divergences).mean(),
        }


def kl_to_standard(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, I)), summed over z: (B,) nats."""
    return (0.5 * (mean.square() + (2 * log_std).exp() - 1.0) - log_std).sum(1)
