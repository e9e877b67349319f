"""Images as the codes of a VQ-VAE, and what a generator says of codes to come, as the vectors that agents and planners
work on: maps (E, h, w) laid out flat, D = E h w numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lotj.nets.subgoal_cvae import SubgoalCVAE
from lotj.nets.vq_vae import VQVAE

ROWS = 256
"""Images that pass through a network at once."""


class CodeEncoder:
    """An encoder to quantised codes, see `lotj.goals.encoder.Encoder`.

    Args:
        model: the trained VQ-VAE.
        device: where it computes.
    """

    needs_context = False

    def __init__(self, model: VQVAE, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model.to(device).eval().requires_grad_(False), torch.device(device)
        self.size = self.context_size = model.config.size
        self.shape = (model.config.embedding, model.config.cells, model.config.cells)

    def encode(self, images: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """(B, D) float32 of (B, H, W, 3) uint8."""
        return self.look_up(self.numbers(images))

    def encode_with_precision(self, images: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes, and a precision of 1; of the `first` pictures they do not depend."""
        codes = self.encode(images)
        return codes, np.ones_like(codes)

    def context(self, first: np.ndarray) -> np.ndarray:
        """(B, D) codes of first pictures: what a proposer wants to know of a scene."""
        return self.encode(first)

    def numbers(self, images: np.ndarray) -> np.ndarray:
        """(B, h, w) uint16 of (B, H, W, 3) uint8: which codes, which are 20 times smaller than what they stand for."""
        parts = [images[first : first + ROWS] for first in range(0, len(images), ROWS)]
        found = [self.model.nearest(self.model.encode(to_tensor(part, self.device))) for part in parts]
        return torch.cat(found).cpu().numpy().astype(np.uint16)

    def look_up(self, numbers: np.ndarray) -> np.ndarray:
        """(B, D) float32 of (B, h, w) codes."""
        return self.flat(self.model.look_up(torch.as_tensor(numbers.astype(np.int64), device=self.device)))

    def decode(self, codes: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
        """(B, H, W, 3) uint8 of (B, D)."""
        parts = [self.maps(codes[first : first + ROWS]) for first in range(0, len(codes), ROWS)]
        return np.concatenate([to_images(self.model.decode(part)) for part in parts])

    def maps(self, codes: Any) -> Tensor:
        """(B, E, h, w) of (B, D)."""
        return torch.as_tensor(codes, dtype=torch.float32, device=self.device).reshape(-1, *self.shape)

    def flat(self, maps: Tensor) -> np.ndarray:
        """(B, D) float32 of (B, E, h, w)."""
        return maps.flatten(1).cpu().numpy()


class CodeGenerator:
    """A generator of subgoals between codes, see `lotj.goals.planner.Generator`: what it decodes is quantised by the
    dictionary, so that all it says is what an image may be encoded to."""

    def __init__(self, model: SubgoalCVAE, encoder: CodeEncoder) -> None:
        self._model, self._encoder = model.to(encoder.device).eval().requires_grad_(False), encoder
        self.latent = model.config.latent

    def __call__(self, contexts: tuple[Tensor, ...], z: Tensor) -> Tensor:
        """(B, D), of as many contexts (B, D) as the model has, and z (B, Z)."""
        shown = [self._encoder.maps(context) for context in contexts]
        context = torch.cat(shown, 1) if shown else z.new_zeros(len(z), 0, *self._encoder.shape[1:])
        return self._encoder.model.quantise(self._model(context, z.to(self._encoder.device))).flatten(1)


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(B, 3, H, W) float32 in [0, 1] of (B, H, W, 3) uint8."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float().div_(255.0)


def to_images(shown: Tensor) -> np.ndarray:
    """(B, H, W, 3) uint8 of (B, 3, H, W) in [0, 1]."""
    return (shown * 255.0).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
