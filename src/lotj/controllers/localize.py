"""Controllers that go where a learned model says the socket is (LOTJ section VI-A)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lotj.controllers import Controller
from lotj.controllers.expert import CENTRE_WITHIN, towards

Locate = Callable[[np.ndarray], np.ndarray]
"""(N, V, H, W, 3) uint8 images -> (N, 3) position of the plug in the socket frame [m]."""


class Localize:
    """The expert's way, with predicted positions: to the centre-line, then down.

    Args:
        locate: the model.
        action_scale: metres of an action of 1.
        contact_height: z at which plug and socket just touch [m].
    """

    def __init__(self, locate: Locate, action_scale: float, contact_height: float) -> None:
        self._locate = locate
        self._action_scale = action_scale
        self._contact_height = contact_height

    def reset(self, seed: int) -> None:
        """Start an episode; nothing to remember."""

    def __call__(self, observation: Mapping[str, Any], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the image."""
        position = self._locate(observation["image"][None])[0].astype(float)
        return towards(position, np.zeros(2), self._action_scale, self._contact_height)


class LocalizeFirst:
    """Goes sideways to where the model says the centre-line is, then leaves the rest to another controller.

    It looks again at every step, as near by the model sees better. Where predictions do not settle it stops after
    some steps: the other controller needs its share of the trial.

    Args:
        locate: the model.
        then: takes over.
        action_scale: metres of an action of 1.
        most_steps: steps after which the other takes over at the latest.
    """

    def __init__(self, locate: Locate, then: Controller, action_scale: float, most_steps: int = 6) -> None:
        self._locate = locate
        self._then = then
        self._action_scale = action_scale
        self._most_steps = most_steps
        self._left = most_steps

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._left = self._most_steps
        self._then.reset(seed)

    def __call__(self, observation: Mapping[str, Any], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the image, later the other controller's."""
        if self._left > 0:
            error = -self._locate(observation["image"][None])[0, :2].astype(float)
            if np.linalg.norm(error) >= CENTRE_WITHIN:
                self._left -= 1
                return np.array([*np.clip(error / self._action_scale, -1.0, 1.0), 0.0])
            self._left = 0
        return self._then(observation, info)
