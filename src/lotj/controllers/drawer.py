"""The scripted expert of `drawer/open`. It looks at "state" only, whose layout is that of `lotj.envs.drawer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

STEP = 10e-3  # motion of an action of 1 [m]
SLOT, TOP = -0.007, 0.006  # x of the middle of the closed drawer's handle slot, and height of the handle's top [m]
OVER, IN = 0.02, -0.006  # heights of the hook's tip before it goes in, and when it pulls [m]
BESIDE, INSIDE = 1e-3, 5e-3  # the hook goes in, and is in the slot, within this of its middle along x and y [m]


class Pull(Memoryless):
    """Over the slot, down into it, and back."""

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1]."""
        hand, opening = observation["state"][:3], observation["state"][3]
        aside, low = np.array([SLOT - opening, 0.0]) - hand[:2], hand[2] < TOP
        away = np.abs(aside).max()
        if low and away < INSIDE:  # in the slot
            return np.clip([-1.0 if hand[2] < TOP / 3 else 0.0, aside[1] / STEP, (IN - hand[2]) / STEP], -1.0, 1.0)
        if away < BESIDE:
            return np.clip([*aside / STEP, (IN - hand[2]) / STEP], -1.0, 1.0)
        if hand[2] < OVER / 2:  # too low to cross the handle
            return np.array([0.0, 0.0, 1.0])
        return np.clip([*aside / STEP, (OVER - hand[2]) / STEP], -1.0, 1.0)
