"""Goals that are possible in a scene, drawn from a PixelCNN given the scene's first frame (VAL)."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch

from lotj.goals.codes import CodeEncoder
from lotj.nets.pixelcnn import PixelCNN

SCENES = 512
"""Scenes whose draws are kept, the latest."""


class PixelCNNProposer:
    """Proposes codes of what may come of a first frame, see `lotj.goals.proposer.GoalProposer`.

    To draw takes as long for one as for many, so each scene's draws are made ahead, `bank` at a time, and handed out
    once each; kept as numbers of codes they take 36 kB a scene.

    Args:
        model: trained on the codes of `encoder`.
        encoder: whose dictionary the codes are of.
        bank: draws made at a time, at least 1.
        temperature: of the draws, above 0.
    """

    needs_context = True

    def __init__(self, model: PixelCNN, encoder: CodeEncoder, bank: int = 128, temperature: float = 1.0) -> None:
        self._model = model.to(encoder.device).eval().requires_grad_(False)
        self._encoder, self._bank, self._temperature = encoder, bank, temperature
        self._ahead: OrderedDict[bytes, list[np.ndarray]] = OrderedDict()

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) goals of the scene whose first frame has the code `context` (D,)."""
        assert context is not None
        context = np.ascontiguousarray(context, np.float32)
        left = self._ahead.setdefault(context.tobytes(), [])
        self._ahead.move_to_end(context.tobytes())
        while len(left) < n:
            left.extend(self._draw(context, self._bank, rng))
        if len(self._ahead) > SCENES:
            self._ahead.popitem(last=False)
        given = np.stack([left.pop() for _ in range(n)])
        return self._encoder.look_up(given)

    def log_prob(self, context: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """(n,) nats of (n, D) goals."""
        maps = self._encoder.maps(np.broadcast_to(context, goals.shape))
        return self._model.log_prob(self._encoder.model.nearest(self._encoder.maps(goals)), maps).cpu().numpy()

    def _draw(self, context: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        maps = self._encoder.maps(context).expand(count, -1, -1, -1)
        generator = torch.Generator(maps.device).manual_seed(int(rng.integers(2**63)))
        return self._model.sample(maps, generator, self._temperature).cpu().numpy().astype(np.uint16)
