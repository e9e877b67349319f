"""Scripted experts of the Fetch tasks. They look at "state" and "goal" only, anew at every step, so that they go on
after a disturbance and take up a block that was dropped; only `Slide` must remember.

`err` makes an expert as clumsy as a person for the episode that has begun; its `fingers` are an axis of the action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

GAIN = 10.0  # action per metre of error; an action of 1 is 5 cm, so half of the error is gone in a step, none overshot
OPEN, CLOSED = 1.0, -1.0
ABOVE = 0.08  # height over an object at which the gripper moves across the table [m]
BESIDE = 0.01  # the gripper is where it should be, across the table, within this [m]
MISJUDGED = 0.2  # share of episodes in which a person grasps at a wrong height
WRONG = (-0.01, 0.025)  # and how wrong [m]
EARLY, AIM = 0.02, 0.9  # from how high a person lets go, at most [m]; deviation of a person's aim [rad]
GRIPPED = 0.055  # fingers closer together than this, with a block of 5 cm between them, hold it [m]


class Reach(Memoryless):
    """Straight to the goal."""

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(4,) action in [-1, 1]."""
        return _act(observation["goal"] - observation["state"][:3], CLOSED)


class PickAndPlace(Memoryless):
    """Over the block, down, close, carry."""

    fingers = slice(3, 4)
    wrong = 0.0  # takes the block for this much higher than it is [m]

    def err(self, rng: np.random.Generator) -> None:
        """In one episode of five, grasp at a wrong height."""
        self.wrong = rng.uniform(*WRONG) if rng.random() < MISJUDGED else 0.0

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(4,) action in [-1, 1]."""
        state = observation["state"]
        offset, held = state[6:9] + [0.0, 0.0, self.wrong], state[9] + state[10] < GRIPPED
        if np.linalg.norm(offset) < 2 * BESIDE:
            return _act(observation["goal"] - state[3:6] if held else offset, CLOSED)
        return _over(offset, BESIDE, OPEN)


class Stack(PickAndPlace):
    """Block by block from the lowest: over it, take it, up, over its place, down, let go, up. What has fallen is taken
    again."""

    PLACED = (0.015, 0.01)  # a block is in its place within this of it, across the table and in height [m]
    FREE = 0.08  # fingers at least this far apart do not drag a block of 5 cm along [m]
    early = 0.0  # lets go of a block up to this high above its place [m]

    def err(self, rng: np.random.Generator) -> None:
        """Besides, let go too early."""
        super().err(rng)
        self.early = rng.uniform(0.0, EARLY)

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(4,) action in [-1, 1]."""
        state = observation["state"]
        grip, width, blocks = state[:3], state[3] + state[4], state[10:].reshape(-1, 15)[:, :3]
        away = observation["goal"].reshape(-1, 3) - blocks
        placed = (np.linalg.norm(away[:, :2], axis=1) < self.PLACED[0]) & (
            np.abs(away[:, 2]) < self.PLACED[1] + self.early
        )
        offsets = blocks + [0.0, 0.0, self.wrong] - grip
        if width < self.FREE and np.any(placed & (np.linalg.norm(offsets, axis=1) < 2 * BESIDE + 0.01)):
            return np.array([0.0, 0.0, 0.0, OPEN])
        top = blocks[:, 2].max()
        if placed.all():
            return _act(np.array([0.0, 0.0, top + 1.5 * ABOVE - grip[2]]), OPEN)
        one = int(np.argmin(placed))
        if np.linalg.norm(offsets[one]) >= 2 * BESIDE:
            return self._over(offsets[one], top + ABOVE - blocks[one, 2], OPEN)
        if width >= GRIPPED:
            return _act(offsets[one], CLOSED)
        return self._over(away[one], ABOVE, CLOSED)

    @staticmethod
    def _over(error: np.ndarray, height: float, fingers: float) -> np.ndarray:
        """As the other `_over`, but up first and then across: a tower may stand in between."""
        across = np.linalg.norm(error[:2])
        if across < BESIDE:
            return _act(error, fingers)
        missing = error[2] + height
        return _act(np.array([*(error[:2] * (missing < 0.03)), missing]), fingers)


class Push(Memoryless):
    """Behind the block, down, and forwards with closed fingers; behind it again when it has slipped aside."""

    BEHIND = 0.07  # from the block's middle to the gripper before it pushes [m]

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(4,) action in [-1, 1]."""
        state = observation["state"]
        offset = state[6:9]  # from the gripper to the block
        way = (observation["goal"] - state[3:6])[:2]
        distance = np.linalg.norm(way)
        ahead = way / max(distance, 1e-6)
        along = offset[:2] @ ahead
        aside = offset[:2] - along * ahead
        if abs(offset[2]) < 2 * BESIDE and along > 0 and np.linalg.norm(aside) < 3 * BESIDE:
            speed = min(1.0, 6.0 * distance) * ahead  # slower near the goal: the block slides on
            return np.clip([*(speed + GAIN * aside), GAIN * offset[2], CLOSED], -1.0, 1.0)
        return _over(offset - [*(self.BEHIND * ahead), 0.0], 2 * BESIDE, CLOSED)


class Slide:
    """Behind the puck, down, one shove, and off it. How hard is a guess from the distance, so it often comes to rest
    short of the goal or beyond: poor prior data, on purpose."""

    BEHIND = 0.10  # from the puck's middle to the gripper before the shove [m]
    PUSHED = 0.06  # the gripper lets go of a puck that it has moved this far [m]
    STRENGTH = 1.2  # action per square root of the distance [1/m^0.5]: friction stops a puck after about speed squared

    turned = 0.0  # aims this far beside the goal [rad]

    def err(self, rng: np.random.Generator) -> None:
        """Aim badly."""
        self.turned = rng.normal(0.0, AIM)

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._start: np.ndarray | None = None
        self._phase = "behind"

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(4,) action in [-1, 1]."""
        state = observation["state"]
        gripper, puck = state[:3], state[3:6]
        if self._start is None:
            self._start = puck.copy()
        way = (observation["goal"] - self._start)[:2]
        across, along = np.sin(self.turned), np.cos(self.turned)
        ahead = np.array([[along, -across], [across, along]]) @ way / np.linalg.norm(way)
        error = self._start - gripper - [*(self.BEHIND * ahead), 0.0]
        if self._phase == "behind" and np.linalg.norm(error) < 2 * BESIDE:
            self._phase = "shove"
        elif self._phase == "shove" and np.linalg.norm(puck - self._start) > self.PUSHED:
            self._phase = "off"
        if self._phase == "behind":
            return _over(error, 3 * BESIDE, CLOSED)
        if self._phase == "shove":
            return np.clip([*(self.STRENGTH * np.sqrt(np.linalg.norm(way)) * ahead), 0.0, CLOSED], -1.0, 1.0)
        return np.array([0.0, 0.0, 0.5, CLOSED])


EXPERTS = {"reach": Reach, "push": Push, "slide": Slide, "pick-and-place": PickAndPlace}
EXPERTS |= {"pick-and-place-air": PickAndPlace, "stack-2": Stack, "stack-3": Stack}


def _act(error: np.ndarray, fingers: float) -> np.ndarray:
    """(4,) action towards where the gripper should be, (3,) from where it is [m]."""
    return np.clip([*(GAIN * error), fingers], -1.0, 1.0)


def _over(error: np.ndarray, within: float, fingers: float) -> np.ndarray:
    """As `_act`, but high above as long as it is not within this of there, across the table [m]."""
    return _act(error + [0.0, 0.0, 0.0 if np.linalg.norm(error[:2]) < within else ABOVE], fingers)
