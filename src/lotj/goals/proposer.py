"""Who says what to practise next: goals as codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lotj.errors import DataError
from lotj.goals.encoder import Latent


class GoalProposer(Protocol):
    """Proposes goals.

    Attributes:
        needs_context: goals depend on the first frame of the episode they are for.
    """

    needs_context: bool

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) float32 codes, for an episode whose first frame has the (C,) context code; None where none is
        needed."""
        ...


class Prior:
    """What a variational autoencoder draws (RIG), see `Latent.draw`; with a context encoder the scene comes with the
    episode's own context, so the same draw serves (CC-RIG)."""

    needs_context = False

    def __init__(self, encoder: Latent) -> None:
        self._encoder = encoder

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) float32."""
        return self._encoder.draw(n, rng)


class Seen:
    """Codes of what has been seen before, evenly. Not for an encoder whose codes depend on their episode.

    Args:
        codes: says all (N, D), anew at each call.
    """

    needs_context = False

    def __init__(self, codes: Callable[[], np.ndarray]) -> None:
        self._codes = codes

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) float32; DataError where nothing has been seen."""
        codes = self._codes()
        if not len(codes):
            raise DataError("goals from what has been seen: there is nothing yet; begin with another proposer")
        return codes[rng.integers(len(codes), size=n)].astype(np.float32)


class Given:
    """The goal that a task itself sets, for baselines and tests alone: practice on its own knows none.

    Args:
        goal: says its code, (D,), for the running episode.
    """

    needs_context = False

    def __init__(self, goal: Callable[[], np.ndarray]) -> None:
        self._goal = goal

    def propose(self, context: np.ndarray | None, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, D) float32, all alike."""
        return np.repeat(np.asarray(self._goal(), np.float32)[None], n, 0)
