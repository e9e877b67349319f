"""Pictures to codes and back: what proposers, rewards and planners know of a generative model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lotj.errors import SettingsError
from lotj.nets.vae import GaussianModel, PictureModel

CHUNK = 256
"""Pictures that pass through a model at once."""

LEAST = 1e-6
"""Least variance of an entry of what is drawn, so that one that is always the same can be."""


class Encoder(Protocol):
    """What any model of pictures (B, H, W, 3) uint8 can do.

    Attributes:
        size: D, entries of a code.
        needs_context: codes depend on the first picture of their episode; one of another episode means nothing here.
    """

    size: int
    needs_context: bool

    def encode(self, images: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """(B, D) float32 codes of pictures (B, H, W, 3) uint8; `context` has the first picture of each one's episode,
        of the same shape, or a single one (1, H, W, 3) for all."""
        ...

    def context(self, first: np.ndarray) -> np.ndarray:
        """(B, C) float32 codes of first pictures (B, H, W, 3) uint8, that `decode` and proposers want; C may be 0."""
        ...

    def decode(self, codes: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """(B, H, W, 3) uint8 pictures of codes (B, D), with context *codes* (B, C) or (1, C)."""
        ...


class Latent:
    """See `Encoder`: a model of `lotj.nets`, on a device.

    Args:
        model: in evaluation mode from now on.
        device: where it computes.
    """

    def __init__(self, model: PictureModel, device: str | torch.device = "cpu") -> None:
        self.model, self.device = model.to(device).eval(), torch.device(device)
        self.size, self.context_size, self.needs_context = model.size, model.context_size, model.context_size > 0

    def encode(self, images: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """Means of q; see `Encoder`."""
        return self.encode_with_precision(images, context)[0]

    def encode_with_precision(
        self, images: np.ndarray, context: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means of q and the inverse of its variances, (B, D) float32 each."""
        if self.needs_context and context is None:
            raise SettingsError(f"{type(self.model).__name__}: codes need the first picture of their episode, context")
        firsts = images if context is None else context
        firsts = np.broadcast_to(firsts, images.shape) if len(firsts) == 1 else firsts
        mean, log_variance = self._in_chunks(lambda a, b: self.model.code(a, b), pixels(images), pixels(firsts))
        return mean, np.exp(-log_variance)

    def context(self, first: np.ndarray) -> np.ndarray:
        """See `Encoder`."""
        return self._in_chunks(lambda a: (self.model.context(a),), pixels(first))[0]

    def decode(self, codes: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """See `Encoder`."""
        wanted = np.zeros((1, 0), np.float32) if context is None else context
        if wanted.shape[-1] != self.context_size:
            raise SettingsError(f"context codes of {wanted.shape[-1]} entries: must be {self.context_size}")
        wanted = np.broadcast_to(wanted, (len(codes), self.context_size))
        parts = (torch.from_numpy(np.array(part, np.float32)) for part in (codes, wanted))
        (pictures,) = self._in_chunks(lambda z, c: (self.model.picture(z, c),), *parts)
        return np.rint(255.0 * pictures.transpose(0, 2, 3, 1)).astype(np.uint8)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, D) float32 of the Gaussian that fits the codes of the training; N(0, I) before that."""
        if not isinstance(self.model, GaussianModel):
            raise SettingsError(f"{type(self.model).__name__}: its codes are not drawn of a Gaussian")
        mean, square = (part.double().cpu().numpy() for part in (self.model.mean, self.model.square))
        factor = np.linalg.cholesky(square - np.outer(mean, mean) + LEAST * np.eye(self.size))
        return (mean + rng.standard_normal((count, self.size), np.float32) @ factor.T).astype(np.float32)

    @torch.no_grad()
    def _in_chunks(self, ask: Callable[..., tuple[Tensor, ...]], *arrays: Tensor) -> tuple[np.ndarray, ...]:
        parts = [
            [found.cpu().numpy() for found in ask(*(array[at : at + CHUNK].to(self.device) for array in arrays))]
            for at in range(0, max(1, len(arrays[0])), CHUNK)
        ]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def pixels(images: np.ndarray) -> Tensor:
    """(B, 3, H, W) float32 in [0, 1] of (B, H, W, 3) uint8."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise SettingsError(f"pictures of {images.dtype} {images.shape}: must be uint8 (B, H, W, 3)")
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(255.0)
