"""The hand-made controller of natural-reward insertion: straight to where the socket is believed to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

GAIN = (1.0, 1.0, 0.3)  # k_p of Schoettler et al. 2019 (arXiv:1906.05841), along x, y, z


@dataclass
class Proportional(Memoryless):
    """u = -k_p o (x - x*), from the first three entries of "state", which are x - x* [m].

    Args:
        action_scale: metres of an action of 1.
        gain: k_p, share of the error to go in a step.
    """

    action_scale: float
    gain: Sequence[float] = GAIN

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1]."""
        return np.clip(-np.asarray(self.gain) * observation["state"][:3] / self.action_scale, -1.0, 1.0)
