"""The domain adversarial information bottleneck, DAIB (LOTJ, section V-D), and its ablations (Table IV)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.nets.heads import mlp
from lotj.ranges import COUNT, NOT_NEGATIVE, Checked

Variant = Literal["none", "erm", "dann", "vib", "daib-lambda0", "daib"]

SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class BottleneckConfig(Checked):
    """Which representation is learnt between the encoder and the head."""

    variant: Variant = "daib"
    """`none`: the features as they are, for states. `erm`: z_I alone, no penalty. `dann`: z_I behind a domain
    adversary. `vib`: z_S behind the variational bottleneck. `daib-lambda0`: z_I with its adversary beside z_S without
    the bottleneck's penalty. `daib`: both."""
    invariant_dim: Annotated[int, COUNT] = 256
    """Size of the invariant code z_I."""
    specific_dim: Annotated[int, COUNT] = 32
    """Size of the specific code z_S."""
    kl_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight lambda of KL(q(z_S|s) || N(0, 1)) [nats], summed over the dimensions of z_S, averaged over the batch."""
    adversarial_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Strength of the reversed domain gradient at the end of its ramp."""
    domain_hidden: Annotated[tuple[int, ...], COUNT] = (256, 256)
    """Hidden layers of the domain classifier."""


@dataclass(frozen=True)
class Code:
    """A batch of codes. Parts that a variant lacks have no columns.

    Attributes:
        z: (B, code_size), what the head reads: z_I beside the sampled (or mean) z_S.
        invariant: (B, invariant_dim or 0), z_I.
        kl: (B,) KL(q(z_S|s) || N(0, 1)) in nats, summed over dimensions; 0 without z_S.
    """

    z: Tensor
    invariant: Tensor
    kl: Tensor


def reverse_gradient(x: Tensor, strength: float | Tensor) -> Tensor:
    """Pass `x` on unchanged and its gradient multiplied by -`strength` (DANN, Ganin et al. 2016)."""
    held = x.detach()
    return held + strength * (held - x)


def adversarial_ramp(progress: Any) -> Any:
    """Strength of the adversary, 2 / (1 + exp(-10 p)) - 1: from 0 at the start to almost 1 (Ganin et al. 2016), for the
    fraction of the training done, a number or a tensor."""
    return 2.0 / (1.0 + math.e ** (-10.0 * progress)) - 1.0


def gaussian_kl(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) of (B, D), summed over D: (B,) nats."""
    return 0.5 * (mean.square() + std.square() - 1.0 - 2.0 * std.log()).sum(-1)


class Bottleneck(nn.Module):
    """So many features to a code of `code_size` entries in two parts: z_I, from which the `domains` trained on cannot
    be told, and z_S, which may carry little."""

    def __init__(self, features: int, domains: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.config = config
        self.domains = domains
        invariant = {"none": features, "vib": 0}.get(config.variant, config.invariant_dim)
        specific = config.specific_dim if config.variant in ("vib", "daib-lambda0", "daib") else 0
        self.code_size = invariant + specific
        self.invariant: nn.Module | None = None
        # The layer norm bounds z_I: without it the encoder can escape the adversary by growing, not by forgetting.
        if config.variant == "none":
            self.invariant = nn.Identity()
        elif invariant:
            self.invariant = nn.Sequential(nn.Linear(features, invariant), nn.LayerNorm(invariant), nn.ReLU())
        self.specific = nn.Linear(features, 2 * specific) if specific else None
        adversarial = config.variant in ("dann", "daib-lambda0", "daib")
        self.adversary = mlp(invariant, config.domain_hidden, domains) if adversarial else None

    def forward(self, features: Tensor, sample: bool, generator: torch.Generator | None = None) -> Code:
        """The code, float32, of (B, features); `sample` draws z_S, with `generator` (training), rather than take its
        mean (inference and, in the paper, the online phase)."""
        batch = len(features)
        none = features.new_zeros((batch, 0), dtype=torch.float32)
        invariant = self.invariant(features).float() if self.invariant is not None else none
        if self.specific is None:
            return Code(invariant, invariant, none.sum(1))
        # Logarithms and squares of small numbers: float32, whatever the layer computed in.
        mean, raw_std = self.specific(features).float().chunk(2, dim=1)
        std = F.softplus(raw_std) + SMALLEST_STD
        drawn = mean + std * torch.empty_like(mean).normal_(generator=generator) if sample else mean
        return Code(torch.cat([invariant, drawn], 1), invariant, gaussian_kl(mean, std))

    def penalty(self, code: Code, domain: Tensor, progress: float | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_DAIB of equation 5: the domain classifier's loss and the weighted divergence of z_S, where the variant has
        them. Minimising it trains the classifier to tell the domains apart and, its gradient reversed before it enters
        z_I, the encoder to prevent that.

        Args:
            code: from `forward`.
            domain: (B,) int64 in [0, domains); -1 for a domain that was not trained on, which is left out.
            progress: fraction of the training done, in [0, 1], for the ramp; a number or a () tensor.

        Returns:
            The loss, and detached ``kl`` [nats] (unweighted), ``domain_loss`` [nats], cross-entropy, and
            ``domain_accuracy`` in [0, 1]; these two are 0 without an adversary, and where no domain is known.
        """
        kl = code.kl.mean()
        adversarial = accuracy = kl.new_zeros(())
        if self.adversary is not None:
            strength = self.config.adversarial_weight * adversarial_ramp(progress)
            logits = self.adversary(reverse_gradient(code.invariant, strength)).float()
            # Sums, not a choice of rows: how many are known is not asked of a GPU, which would have to be waited for.
            known = (domain >= 0).sum().clamp_min(1)
            adversarial = F.cross_entropy(logits, domain, ignore_index=-1, reduction="sum") / known
            accuracy = (logits.detach().argmax(1) == domain).sum() / known
        weight = 0.0 if self.config.variant == "daib-lambda0" else self.config.kl_weight
        terms = {"kl": kl.detach(), "domain_loss": adversarial.detach(), "domain_accuracy": accuracy}
        return adversarial + weight * kl, terms
