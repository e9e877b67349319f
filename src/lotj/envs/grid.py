"""The toy maze of IQL (Kostrikov et al. 2022, arXiv:2110.06169, figure 1): a grid, and its values solved exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lotj.envs.base import TaskEnv

UMAZE = """\
##########
#G       #
#        #
#######  #
#######  #
#######  #
#        #
#        #
#S########
##########
"""
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])  # up, down, left, right, in rows and columns
SLIP = 0.25  # probability that a move is drawn anew from all four: "to a random state" in the text, which its figure
# contradicts: a jump anywhere gives 2.56 at the start where the figure has 0.85


class Grid:
    """A grid and its exact values, with the rewards of the paper: 10 for entering the goal, which ends an episode.

    Against a wall a move stays where it is. Values are (S,) of the S free cells, 0 at the goal; the behaviour policy
    draws each of the four moves alike.

    Attributes:
        walls: (R, C) bool.
        cells: (S, 2) row and column of the free cells; `start` and `goal` are indices into them.
        following: (S, 4) index of the cell that each of `MOVES` leads to.
        transition: (S, 4, S) probability of the next cell, with slips.
    """

    def __init__(self, layout: str = UMAZE, discount: float = 0.9, pays: float = 10.0) -> None:
        letters = np.array([list(line) for line in layout.splitlines()])
        self.walls, self.discount, self.pays = letters == "#", discount, pays
        self.cells = np.argwhere(~self.walls)
        index = np.full(letters.shape, -1)
        index[tuple(self.cells.T)] = np.arange(len(self.cells))
        self.start, self.goal = (int(index[tuple(np.argwhere(letters == letter)[0])]) for letter in "SG")
        reached = index[tuple(np.moveaxis(self.cells[:, None] + MOVES, -1, 0))]
        self.following = np.where(reached < 0, np.arange(len(self.cells))[:, None], reached)
        intended = np.eye(len(self.cells))[self.following]
        self.transition = (1 - SLIP) * intended + SLIP * intended.mean(1, keepdims=True)

    def action_values(self, values: np.ndarray) -> np.ndarray:
        """(S, 4) expected return of a move where values (S,) follow."""
        return self.transition @ np.where(np.arange(len(values)) == self.goal, self.pays, self.discount * values)

    def optimal(self) -> np.ndarray:
        """V*."""
        return self._fixed_point(lambda values: self.action_values(values).max(1))

    def expectile(self, tau: float) -> np.ndarray:
        """V of IQL with an expectile in (0, 1): expectile over the behaviour's moves, mean over where they lead. 0.5 is
        the value of the behaviour policy, from which one-step methods improve; towards 1 it goes to V*."""
        moves = np.full((len(self.cells), 4), 0.25)
        return self._fixed_point(lambda values: expectile(self.action_values(values), moves, tau))

    def lucky(self, tau: float) -> np.ndarray:
        """What comes without a network of its own for V: the expectile of r + discount Q(s', a') over moves and where
        they lead, which takes luck for skill; here Q of the best move, (S,)."""
        weights = np.repeat(self.transition, 4, axis=2) / 4

        def backup(q: np.ndarray) -> np.ndarray:
            follows = np.where(np.arange(len(q)) == self.goal, self.pays, self.discount * q.T).T
            return expectile(np.broadcast_to(follows.ravel(), weights.shape), weights, tau)

        return self._fixed_point(backup, 4).max(1)

    def _fixed_point(self, backup: Any, *moves: int) -> np.ndarray:
        values = np.zeros((len(self.cells), *moves))
        while True:
            following = backup(values)
            following[self.goal] = 0.0
            if np.abs(following - values).max() < 1e-12:
                return following
            values = following


def expectile(values: np.ndarray, weights: np.ndarray, tau: float) -> np.ndarray:
    """(...) the m that minimises the sum of `weights` |tau - 1(value < m)| (value - m)^2 over the last axis, exactly:
    Newton's method on a derivative that is piecewise linear ends after a few steps."""
    found = (weights * values).sum(-1)
    while True:
        pulls = weights * np.where(values > found[..., None], tau, 1 - tau)
        following = (pulls * values).sum(-1) / pulls.sum(-1)
        if np.allclose(following, found, rtol=0, atol=1e-14):
            return following
        found = following


class GridEnv(TaskEnv):
    """The toy maze as a task.

    Action: (2,) right and up; the larger of the two decides which of the four neighbours is meant, so that actions
    drawn uniformly are moves drawn uniformly.
    Observation: "state", "achieved_goal" and "goal", each (2,): middle of a cell of side 1, origin at the middle of the
    maze, y upwards; "image" (1, H, H, 3) uint8. Not one-hot: a network should have to generalise, `Grid` is the table.
    Reward: 1 on entering the goal as in every task, so values are a tenth of the paper's. It has one start and one
    goal. `terminated` at the goal; without `end_on_success` it stays there. For the options see `GoalEnv`.
    """

    def __init__(
        self,
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 100,
        end_on_success: bool = True,
    ) -> None:
        self.grid = Grid()
        self.walls = self.grid.walls
        arrays = {name: (2,) for name in ("goal", "achieved_goal", "state")}
        super().__init__(None, arrays, (2,), 1.0, None, observation, image_size, max_steps, end_on_success)

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        self._cell = self.grid.start

    def act(self, action: np.ndarray) -> None:
        right, up = action
        move = (2 + (right > 0)) if abs(right) > abs(up) else int(up <= 0)
        if self._cell != self.grid.goal:
            weights = self.grid.transition[self._cell, move]
            self._cell = int(self.np_random.choice(len(weights), p=weights))

    def measure(self) -> dict[str, np.ndarray]:
        middle = np.subtract(self.walls.shape, 1) / 2
        here, goal = (((self.grid.cells[cell] - middle) * (-1, 1))[::-1] for cell in (self._cell, self.grid.goal))
        return {"goal": goal, "achieved_goal": here, "state": here}

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        return self._cell == self.grid.goal, False

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where the (..., 2) cell is that of the goal, else 0; for hindsight."""
        return (np.abs(achieved_goal - goal).max(-1) < 0.5).astype(np.float32)

    def picture(self, size: int, of: Any = None) -> np.ndarray:
        colours = np.where(self.walls[..., None], 60, 230).repeat(3, -1).astype(np.uint8)
        for cell, colour in ((self.grid.goal, (200, 30, 30)), (self._cell, (30, 90, 200))):
            colours[tuple(self.grid.cells[cell])] = colour
        rows, columns = (np.arange(size) * n // size for n in self.walls.shape)
        return colours[rows[:, None], columns][None]
