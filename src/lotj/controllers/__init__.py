"""What acts without learning: scripted experts, searches, and controllers that a learned model guides."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Controller(Protocol):
    """What chooses actions: from the observation, as a policy does, or from what `info` holds."""

    def reset(self, seed: int) -> None:
        """Start an episode; its random numbers come from `seed`."""

    def __call__(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """The action, (A,) in [-1, 1]."""
        ...
