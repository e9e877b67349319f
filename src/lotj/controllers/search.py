"""Hand-made baselines (LOTJ section VI-A). They feel the contact force but do not know where the socket is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

CONTACT_FORCE = 3.0
"""Upward force that counts as touching [N]; ConnTact and UR programs use 3-7 N."""

PRESSING = -0.7
"""Downward action of a search in contact: the robot's force limit turns it into a push."""

DOWN = (0.0, 0.0, -1.0)


class StraightDown(Memoryless):
    """Moves straight down from the start."""

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        """(3,) action."""
        return np.array(DOWN)


@dataclass
class RandomSearch:
    """Moves down until it touches, then to random positions one after the other while pressing (LOTJ section VI-A).

    Where it is, it knows from its own commands. How far the positions reach, how hard to press and how many steps each
    one has are not published; they are those of the other controllers here.
    """

    reach: float  # positions are drawn within this of the start, in x and y [m]
    action_scale: float  # metres of an action of 1
    positions: int = 5  # how many are drawn (paper: 5); after the last one it stays

    def reset(self, seed: int) -> None:
        """Start an episode; `seed` draws its positions."""
        self._targets = list(np.random.default_rng(seed).uniform(-self.reach, self.reach, (self.positions, 2)))
        self._at = np.zeros(2)
        self._touched = False

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the measured force in `info["force"]`."""
        self._touched = self._touched or info["force"][2] >= CONTACT_FORCE
        if not self._touched:
            return np.array(DOWN)
        if self._targets and np.allclose(self._at, self._targets[0]):
            self._targets.pop(0)
        step = np.zeros(2)
        if self._targets:
            error = self._targets[0] - self._at
            step = error * min(1.0, self.action_scale / max(float(np.abs(error).max()), 1e-12))
        self._at = self._at + step
        return np.array([*(step / self.action_scale), PRESSING])


@dataclass
class SpiralSearch:
    """Moves down until it touches, then along an Archimedean spiral at constant speed while pressing.

    The covering rule is pitch <= 2 x clearance. With 20 steps of 6 mm a true covering pitch sweeps only a small disc
    (area = path x pitch), so as a practitioner would, the pitch is the widest that the lead-in still catches.
    """

    pitch: float  # distance between the turns [m]
    action_scale: float  # metres of an action of 1

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._angle: float | None = None

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the measured force in `info["force"]`."""
        if self._angle is None and info["force"][2] < CONTACT_FORCE:
            return np.array(DOWN)
        before = self._angle or 0.0
        growth = self.pitch / (2 * np.pi)
        # Arc length of r = g * a is about g * a^2 / 2: solve for the angle one step further along the path; in the
        # first turn a quarter at most, so that a chord stays close to the arc.
        after = min(np.sqrt(before**2 + 2 * 0.9 * self.action_scale / growth), before + np.pi / 2)
        self._angle = after
        old, new = (growth * angle * np.array([np.cos(angle), np.sin(angle)]) for angle in (before, after))
        return np.array([*np.clip((new - old) / self.action_scale, -1.0, 1.0), PRESSING])
