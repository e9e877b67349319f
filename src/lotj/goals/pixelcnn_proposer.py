"""Goals that are possible in a scene, drawn from a PixelCNN given the scene's first frame (VAL); and how the draws of
any model are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from zlib import crc32

import numpy as np
import torch

from lotj.goals.codes import CodeEncoder
from lotj.nets.pixelcnn import PixelCNN

ROWS = 128
"""Draws made at once."""


class Banked(ABC):
    """Proposes codes of what may come of a first frame, see `lotj.goals.proposer.GoalProposer`.

    To draw is slow, many at once hardly slower than one. So each scene has a bank of draws, made when it is first asked
    for, from which goals are taken evenly; as numbers of codes one takes 288 bytes. Draws follow from the scene alone:
    practice that was stopped and goes on has the same.

    Args:
        encoder: whose dictionary the codes are of.
        bank: draws of each scene, at least 1.
        scenes: whose banks are kept, the latest.
    """

    needs_context = True

    def __init__(self, encoder: CodeEncoder, bank: int, scenes: int = 4096) -> None:
        self._encoder, self._bank, self._scenes = encoder, bank, scenes
        self._banks: OrderedDict[bytes, np.ndarray] = OrderedDict()

    @abstractmethod
    def _drawn(self, contexts: np.ndarray, seed: int) -> np.ndarray:
        """(M, bank, h, w) numbers of codes, for scenes with contexts (M, D)."""

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) goals of the scene whose first frame has the code `context` (D,)."""
        if context is None:
            raise ValueError(f"{type(self).__name__}: goals are those of a scene; give the code of its first frame")
        self.prepare(context[None])
        bank = self._banks[_key(context)]
        return self._encoder.look_up(bank[rng.integers(len(bank), size=n)])

    def prepare(self, contexts: np.ndarray) -> None:
        """Makes the banks of scenes with contexts (M, D) that have none, together."""
        new = {_key(context): context for context in contexts if _key(context) not in self._banks}
        if new:
            unknown = np.stack([*new.values()])
            self.keep(unknown, self._drawn(unknown, crc32(b"".join(new))).astype(np.uint16))
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


class PixelCNNProposer(Banked):
    """`Banked` draws of a PixelCNN, which take thousands of small steps.

    Args:
        model: trained on the codes of `encoder`.
        encoder, bank, scenes: see `Banked`.
    """

    def __init__(self, model: PixelCNN, encoder: CodeEncoder, bank: int = 128, scenes: int = 4096) -> None:
        super().__init__(encoder, bank, scenes)
        self._model = model.to(encoder.device).eval().requires_grad_(False)

    def _drawn(self, contexts: np.ndarray, seed: int) -> np.ndarray:
        generator = torch.Generator(self._encoder.device).manual_seed(seed)
        maps = self._encoder.maps(contexts).repeat_interleave(self._bank, 0)
        parts = [self._model.sample(part, generator).cpu() for part in maps.split(ROWS)]
        drawn = torch.cat(parts).numpy()
        return drawn.reshape(len(contexts), self._bank, *drawn.shape[1:])


def _key(context: np.ndarray) -> bytes:
    return np.ascontiguousarray(context, np.float32).tobytes()
