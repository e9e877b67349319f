"""The scripted expert of a maze: the shortest way through its cells, and a spring and damper towards the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from lotj.controllers import Memoryless

STIFFNESS = 10.0  # action per metre of error
DAMPING = 1.0  # action against a metre a second
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


class Waypoints(Memoryless):
    """Goes from the middle of one cell to the middle of the next along a shortest way, at last to the goal.

    Args:
        walls: (R, C) bool, true where a cell of 1 m is wall; the border is. Row 0 is at the top (largest y), and the
            middle of the maze is the origin.
        stiffness, damping: action per metre of error, and against a metre a second.
    """

    def __init__(self, walls: np.ndarray, stiffness: float = STIFFNESS, damping: float = DAMPING) -> None:
        self.walls, self._stiffness, self._damping = walls, stiffness, damping
        self._towards: tuple[int, int] | None = None
        self._next: dict[tuple[int, int], tuple[int, int]] = {}

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(2,) action from "state", (2,) position [m] and, where there is one, (2,) velocity [m/s], and "goal" (2,)."""
        position, velocity = observation["state"][:2], np.resize(observation["state"][2:], 2)
        goal = observation["goal"]
        last = self.cell(goal)
        if last != self._towards:
            self._towards, self._next = last, self._ways(last)
        cell = self._next.get(self.cell(position), last)
        target = goal if cell == last else self.middle(cell)
        return np.clip(self._stiffness * (target - position) - self._damping * velocity, -1.0, 1.0)

    def way(self, start: tuple[int, int], goal: tuple[int, int]) -> list[tuple[int, int]]:
        """The cells of a shortest way, both ends included."""
        following, way = self._ways(goal), [start]
        while way[-1] != goal:
            way.append(following[way[-1]])
        return way

    def cell(self, position: np.ndarray) -> tuple[int, int]:
        """(row, column) of a position (2,) [m]."""
        rows, columns = self.walls.shape
        return int(np.floor(rows / 2 - position[1])), int(np.floor(position[0] + columns / 2))

    def middle(self, cell: tuple[int, int]) -> np.ndarray:
        """(2,) position of the middle of a cell [m]."""
        rows, columns = self.walls.shape
        return np.array([cell[1] + 0.5 - columns / 2, rows / 2 - cell[0] - 0.5])

    def _ways(self, last: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
        """Cell -> the next one on a shortest way to `last`, by breadth first search from there."""
        following = {last: last}
        reached = deque([last])
        while reached:
            row, column = here = reached.popleft()
            for down, right in STEPS:
                cell = (row + down, column + right)
                if cell not in following and not self.walls[cell]:
                    following[cell] = here
                    reached.append(cell)
        return following
