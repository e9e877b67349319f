"""Images as the codes of a VQ-VAE, and what a generator says of codes to come, as the vectors that agents and planners
work on: maps (E, h, w) laid out flat, D = E h w numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lotj.goals.encoder import Latent
from lotj.nets.subgoal_cvae import SubgoalCVAE
from lotj.nets.vq_vae import VQVAE


class CodeEncoder(Latent):
    """An encoder to quantised codes, and to their numbers (h, w), which take a tenth of the room.

    Args:
        model: the trained VQ-VAE.
        device: where it computes.
    """

    model: VQVAE

    def __init__(self, model: VQVAE, device: torch.device | str = "cpu") -> None:
        super().__init__(model.requires_grad_(False), device)
        self.shape = (model.config.embedding, model.config.cells, model.config.cells)

    def context(self, first: np.ndarray) -> np.ndarray:
        """(B, D) codes of first pictures: what a proposer wants to know of a scene."""
        return self.encode(first)

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """(B, h, w) uint16, the codes nearest to (B, D)."""
        return self.model.nearest(self.maps(codes)).cpu().numpy().astype(np.uint16)

    def look_up(self, numbers: np.ndarray) -> np.ndarray:
        """(B, D) float32 of (B, h, w) numbers."""
        wanted = torch.as_tensor(numbers.astype(np.int64), device=self.device)
        return self.model.look_up(wanted).flatten(1).cpu().numpy()

    def maps(self, codes: Any) -> Tensor:
        """(B, E, h, w) of (B, D)."""
        return torch.as_tensor(codes, dtype=torch.float32, device=self.device).reshape(-1, *self.shape)


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
