"""Freeing a plug that a policy holds fast.

What still fails after practice mostly presses beside the socket, where friction holds the plug: the picture stays the
same, and so does the action. A robot feels that its hand does not move. It then lifts it a little and shifts it at
random, and the policy goes on from there. Of 720 trials of twelve practised validation units 38 failed without and 23
with it (lab notes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.experience import Controller, Observation

STILL = 0.15
"""A hand that goes less than this share of a largest step has not moved; pressed against a surface it goes 0 to 0.1."""

AFTER = 2
"""Steps without motion, one after the other, until the plug counts as stuck."""

LIFT = 0.5
"""Action upwards that frees it, beside an even draw of each action sideways."""


@dataclass
class Recovery:
    """A controller that is helped where it is stuck.

    Attributes:
        controller: acts otherwise; its (3,) actions are x, y and z.
        action_scale: how far an action of 1 goes [m].
    """

    controller: Controller
    action_scale: float

    def reset(self, seed: int) -> None:
        """Start an episode; `seed` draws the shifts, too."""
        self.controller.reset(seed)
        self._rng = np.random.default_rng(seed)
        self._hand: np.ndarray | None = None
        self._still = 0

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1], from `observation["state"]`, whose first three are the hand as measured [m]."""
        hand = np.asarray(observation["state"], float)[:3]
        if self._hand is not None:
            moved = float(np.linalg.norm(hand - self._hand))
            self._still = self._still + 1 if moved < STILL * self.action_scale else 0
        self._hand = hand
        # The policy is asked all the same: what it draws then does not depend on whether it was stuck before.
        action = self.controller(observation, info)
        if self._still < AFTER:
            return action
        self._still = 0
        return np.array([*self._rng.uniform(-1.0, 1.0, 2), LIFT], np.float32)
