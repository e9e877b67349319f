"""Goals that are possible in a scene, drawn from a PixelCNN given the scene's first frame (VAL)."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch

from lotj.goals.codes import CodeEncoder
from lotj.nets.pixelcnn import PixelCNN

ROWS = 128
"""Draws made at once."""


class PixelCNNProposer:
    """Proposes codes of what may come of a first frame, see `lotj.goals.proposer.GoalProposer`.

    A draw takes thousands of small steps, many at once hardly more. So each scene has a bank of draws, made when it is
    first asked for, from which goals are taken evenly; as numbers of codes one takes 288 bytes.

    Args:
        model: trained on the codes of `encoder`.
        encoder: whose dictionary the codes are of.
        bank: draws of each scene, at least 1.
        scenes: whose banks are kept, the latest.
        temperature: of the draws, above 0.
    """

    needs_context = True

    def __init__(
        self, model: PixelCNN, encoder: CodeEncoder, bank: int = 128, scenes: int = 4096, temperature: float = 1.0
    ) -> None:
        self._model = model.to(encoder.device).eval().requires_grad_(False)
        self._encoder, self._bank, self._scenes, self._temperature = encoder, bank, scenes, temperature
        self._banks: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) goals of the scene whose first frame has the code `context` (D,)."""
        if context is None:
            raise ValueError("PixelCNNProposer: goals are those of a scene; give the code of its first frame")
        self.prepare(context[None], rng)
        bank = self._banks[_key(context)]
        return self._encoder.look_up(bank[rng.integers(len(bank), size=n)])

    def prepare(self, contexts: np.ndarray, rng: np.random.Generator) -> None:
        """Makes the banks of scenes with contexts (M, D) that have none, together."""
        new = {_key(context): context for context in contexts if _key(context) not in self._banks}
        generator = torch.Generator(self._encoder.device).manual_seed(int(rng.integers(2**63)))
        if new:
            maps = self._encoder.maps(np.stack([*new.values()])).repeat_interleave(self._bank, 0)
            parts = [self._model.sample(part, generator, self._temperature).cpu() for part in maps.split(ROWS)]
            drawn = torch.cat(parts).numpy().astype(np.uint16)
            self.keep(np.stack([*new.values()]), drawn.reshape(len(new), self._bank, *drawn.shape[1:]))
        for context in contexts:
            self._banks.move_to_end(_key(context))
        while len(self._banks) > max(self._scenes, len(contexts)):
            self._banks.popitem(last=False)

    def keep(self, contexts: np.ndarray, banks: np.ndarray) -> None:
        """Takes the banks (M, bank, h, w) uint16 of scenes with contexts (M, D), drawn before."""
        self._banks.update(zip(map(_key, contexts), banks, strict=True))

    def banks(self, contexts: np.ndarray) -> np.ndarray:
        """(M, bank, h, w) uint16 of scenes with contexts (M, D) that have banks."""
        return np.stack([self._banks[_key(context)] for context in contexts])


def _key(context: np.ndarray) -> bytes:
    return np.ascontiguousarray(context, np.float32).tobytes()
