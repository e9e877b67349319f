"""Hand-made controllers of `blocks/assembly`. They look at "state" only; its layout is that of `lotj.envs.blocks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

STEP = 10e-3  # motion of an action of 1 [m]
GAIN = np.array([1.0, 1.0, 0.3])  # of the hand's error, along x, y and z (Schoettler et al. 2019, arXiv:1906.05841)
ABOVE = 0.11  # height of the waypoint over the goal: the held block is clear of the standing ones, of 100 mm [m]
OVER = 3e-3  # the hand is over the goal, along x and y, within this [m]


class StraightDown(Memoryless):
    """A proportional controller: to the waypoint above the goal, then down. It looks at no block."""

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1]."""
        hand, goal = observation["state"][:3], observation["state"][-3:]
        error = goal - hand
        if np.abs(error[:2]).max() > OVER and -error[2] > ABOVE - 0.02:
            error[2] += ABOVE
        return np.clip(GAIN * error / STEP, -1.0, 1.0)


class SideEntry:
    """Down in front of the gap or behind it, on the side where it is wider, and then in along y: low down a standing
    block is turned straight instead of toppled. It looks at the blocks' poses and remembers the side."""

    BESIDE = 0.066  # from the goal to the held block, along y, before it goes in [m]; a block is 60 mm deep
    ALIGNED = 2e-3  # the held block stands before the gap, along x, within this [m]

    def reset(self, seed: int) -> None:
        """Start an episode."""
        self._side = 0.0

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1]."""
        state = observation["state"]
        hand, goal = state[:3], state[-3:]
        left, right = state[14:19], state[19:24]
        ends = {side: (_corner(left, 1.0, side), _corner(right, -1.0, side)) for side in (-1.0, 1.0)}
        self._side = self._side or max(ends, key=lambda side: ends[side][1] - ends[side][0])
        out, target = self._side * (hand[1] - goal[1]), goal.copy()
        if out > 0.04 or hand[2] > goal[2] + 0.02:
            target[0] = sum(ends[self._side]) / 2
            if hand[2] > goal[2] + 0.02 or abs(hand[0] - target[0]) > self.ALIGNED:
                target[1] += self._side * self.BESIDE
            if out < self.BESIDE - 4e-3 and hand[2] > goal[2] + 0.02:
                target[2] += ABOVE
        return np.clip((target - hand) / STEP, -1.0, 1.0)


def _corner(pose: np.ndarray, inwards: float, side: float) -> float:
    """x of the corner of a standing block that faces the gap, at the end `side` along y [m]."""
    return float(pose[0] + np.cos(pose[4]) * inwards * 0.015 - np.sin(pose[4]) * side * 0.03)
