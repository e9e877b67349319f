"""Controllers that go where a learned model says the socket is (LOTJ section VI-A)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.controllers import Controller, Memoryless
from lotj.controllers.expert import CENTRE_WITHIN, towards

Locate = Callable[[np.ndarray], np.ndarray]
"""(N, V, H, W, 3) uint8 images -> (N, 3) position of the plug in the socket frame [m]."""


@dataclass
class Localize(Memoryless):
    """The expert's way, with predicted positions: to the centre-line, then down; settings as of `expert.towards`."""

    locate: Locate
    action_scale: float
    contact_height: float

    def __call__(self, observation: Mapping[str, Any], info: Any) -> np.ndarray:
        """(3,) action from the image."""
        position = self.locate(observation["image"][None])[0].astype(float)
        return towards(position, np.zeros(2), self.action_scale, self.contact_height)


@dataclass
class LocalizeFirst:
    """Goes sideways to where the model says the centre-line is, then leaves the rest to another controller.

    It asks the model anew at every step, for near by that is more precise. Where predictions do not settle it stops
    after some steps: the other controller needs its share of the trial.
    """

    locate: Locate
    then: Controller  # takes over
    action_scale: float  # metres of an action of 1
    most_steps: int = 6  # after these the other takes over at the latest

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._left = self.most_steps
        self.then.reset(seed)

    def __call__(self, observation: Mapping[str, Any], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the image, later the other controller's."""
        if self._left > 0:
            error = -self.locate(observation["image"][None])[0, :2].astype(float)
            if np.linalg.norm(error) >= CENTRE_WITHIN:
                self._left -= 1
                return np.array([*np.clip(error / self.action_scale, -1.0, 1.0), 0.0])
            self._left = 0
        return self.then(observation, info)
