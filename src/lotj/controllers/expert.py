"""The scripted expert of the collection phase and its deliberate mistakes. All of them need ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CENTRE_WITHIN = 1e-3  # the expert descends within this of the centre-line [m] (LOTJ section IV)
NOISE_PROBABILITY = 0.2  # of a random action (LOTJ section IV)
LIFT = 1.5e-3  # clearance over the socket at which a recovering expert moves sideways [m]

ENGAGED_WITHIN = 2.5e-3
"""A plug below the rim but no further from the centre-line than this sits in the socket, pushed aside; beyond, it is
stuck beside the socket [m]."""

MISTAKE = (1e-3, 30e-3)
"""Range of a wrong calibration [m]. It reaches beyond every start pose, out to the clamp and past it: a practising
policy goes there, and a reward that has never seen those positions pays for some of them (lab notes)."""

PACE = (0.5, 1.0)  # of a clumsy demonstration, share of full speed
OVERSHOOT = 4e-3  # it goes up to this far past the centre-line at first [m]
PAUSE_PROBABILITY = 0.05  # that it stops at a step, for 1 to 3 of them

HOP = (2e-3, 12e-3)
"""How far from one wrong position the next one is [m]."""


def towards(position: np.ndarray, target: np.ndarray, scale: float, contact_height: float) -> np.ndarray:
    """One noise-free step of the expert: to the centre-line, then down; lifts first if it is stuck beside the socket.

    Args:
        position: (3,) of the plug in the socket frame [m].
        target: (2,) of the centre-line that the expert believes in [m].
        scale: metres of an action of 1.
        contact_height: z at which plug and socket just touch [m].

    Returns:
        (3,) action in [-1, 1].
    """
    error, beside = target - position[:2], np.linalg.norm(target - position[:2])
    if position[2] < contact_height - 2e-3 and beside > ENGAGED_WITHIN:
        return np.clip([0.0, 0.0, (contact_height + LIFT - position[2]) / scale], -1.0, 1.0)
    return np.clip([*(error / scale), -1.0 if beside < CENTRE_WITHIN else 0.0], -1.0, 1.0)


@dataclass
class _Scripted:
    """What the expert and its mistakes share; `action_scale` and `contact_height` as of `towards`."""

    rng: np.random.Generator
    action_scale: float
    contact_height: float

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self.rng = np.random.default_rng(seed)

    def _towards(self, position: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        return towards(position, np.zeros(2) if target is None else target, self.action_scale, self.contact_height)

    def _noisy(self, position: np.ndarray, noise: float) -> np.ndarray:
        return self.rng.uniform(-1.0, 1.0, 3) if self.rng.random() < noise else self._towards(position)


@dataclass
class Expert(_Scripted):
    """Moves towards the centre-line until within 1 mm, then down; a random action with probability `noise`.

    With noise 0 it is the upper bound that the contract tests use.
    """

    noise: float = NOISE_PROBABILITY

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the true position in `info`."""
        return self._noisy(info["position"], self.noise)


@dataclass
class Clumsy(_Scripted):
    """A person at a joystick, who sees the socket: each episode at a pace of its own, past the centre-line at first and
    back, with pauses, down only when over the socket. The robot's own state does not show what the person sees."""

    def reset(self, seed: int) -> None:
        """Start an episode: draw its pace and how far it overshoots."""
        super().reset(seed)
        self._pace, self._overshoot = self.rng.uniform(*PACE), self.rng.uniform(0.0, OVERSHOOT)
        self._target: np.ndarray | None = None
        self._pause = 0  # steps left of it

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the true position in `info`."""
        position = info["position"]
        if self._target is None:
            self._target = -self._overshoot * position[:2] / max(float(np.linalg.norm(position[:2])), 1e-6)
        if np.linalg.norm(self._target - position[:2]) < CENTRE_WITHIN:
            self._target = np.zeros(2)
        if not self._pause and self.rng.random() < PAUSE_PROBABILITY:
            self._pause = self.rng.integers(1, 4)
        if self._pause:
            self._pause -= 1
            return np.zeros(3)
        action = self._pace * self._towards(position, self._target) + self.rng.normal(0.0, 0.1, 3)
        return np.clip(action, -1.0, 1.0)


@dataclass
class Press(_Scripted):
    """Believes in a wrong calibration, presses and drags there, then tries another nearby; in half of the episodes the
    mistake is corrected later.

    Without such episodes a reward classifier has never seen a plug pressed beside the socket, or pushed down past it,
    and a practising policy finds out. The corrected half shows how to recover.
    """

    mistake: tuple[float, float] = MISTAKE

    def reset(self, seed: int) -> None:
        """Start an episode: draw the wrong centre-line and when it is corrected, if at all."""
        super().reset(seed)
        self._target = self._around(np.zeros(2), self.mistake)
        self._drag = self.rng.uniform(0.0, 0.5)
        self._correct_after = self.rng.integers(4, 14) if self.rng.random() < 0.5 else 10**6
        self._left = 0  # steps left of pressing here; 0 on the way
        self._step = 0

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the true position in `info`."""
        self._step += 1
        position = info["position"]
        if self._step > self._correct_after:
            return self._noisy(position, NOISE_PROBABILITY)
        touches = position[2] < self.contact_height + 0.5e-3
        if not self._left and touches and np.linalg.norm(self._target - position[:2]) < 2 * CENTRE_WITHIN:
            self._left = self.rng.integers(1, 6)
        if self._left:
            self._left -= 1
            if not self._left:
                self._target = self._next_place(position[:2])
            return np.clip([*self.rng.normal(0, self._drag, 2), self.rng.uniform(-1.0, -0.2)], -1, 1)
        return np.clip(self._towards(position, self._target) + self.rng.normal(0, 0.1, 3), -1.0, 1.0)

    def _next_place(self, place: np.ndarray) -> np.ndarray:
        """A wrong position a hop away; after some misses any wrong one."""
        for _ in range(10):
            hop = self._around(place, HOP)
            if self.mistake[0] <= np.linalg.norm(hop) <= self.mistake[1]:
                return hop
        return self._around(np.zeros(2), self.mistake)

    def _around(self, centre: np.ndarray, distance: tuple[float, float]) -> np.ndarray:
        angle, reach = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(*distance)
        return centre + reach * np.array([np.cos(angle), np.sin(angle)])


@dataclass
class Partial(_Scripted):
    """Inserts to a drawn depth, stays there a while, moves on to another depth, and so on.

    `full` true reaches the seat between partial depths (insert and withdraw); false never does (half insertion).
    """

    insertion_depth: float
    full: bool

    def reset(self, seed: int) -> None:
        """Start an episode."""
        super().reset(seed)
        self._visits = 0
        self._next_goal()

    def _next_goal(self) -> None:
        depth = self.rng.uniform(0.0, 1.1) if self.full else max(self.rng.uniform(0.08, 1.1), 0.15)
        seat = self.full and self._visits % 2 == 0
        self._goal = -2e-3 if seat else depth * self.insertion_depth
        self._stay = self.rng.integers(1, 4)
        self._visits += 1

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action from the true position in `info`."""
        position = info["position"]
        outside = position[2] > self.insertion_depth * 1.05 and position[2] > self._goal
        if outside and np.linalg.norm(position[:2]) > CENTRE_WITHIN:
            return self._towards(position)
        if abs(position[2] - self._goal) < 0.7e-3 or (self._goal < 0 and info["is_success"]):
            self._stay -= 1
            if self._stay <= 0:
                self._next_goal()
        action = np.array([*(-position[:2]), self._goal - position[2]]) / self.action_scale
        return np.clip(action + self.rng.normal(0, 0.06, 3), -1.0, 1.0)
