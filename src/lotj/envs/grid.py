"""The toy maze of IQL (Kostrikov et al. 2022, arXiv:2110.06169, figure 1): a grid, and its values solved exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.envs.base import check_options, check_view, checked_action

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


class GridEnv(gym.Env[dict[str, Any], np.ndarray]):
    """The toy maze as a task.

    Action: (2,) right and up; the larger of the two decides which of the four neighbours is meant, so that actions
    drawn uniformly are moves drawn uniformly.
    Observation: "state", "achieved_goal" and "goal", each (2,): middle of a cell of side 1, origin at the middle of the
    maze, y upwards; "image" (1, H, H, 3) uint8. Not one-hot: a network should have to generalise, `Grid` is the table.
    Reward: 1 on entering the goal as in every task, so values are a tenth of the paper's. It has one start and one
    goal. `terminated` at the goal; without `end_on_success` it stays there. For the options see `GoalEnv`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1.0}
    render_mode = "rgb_array"

    def __init__(
        self,
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 100,
        end_on_success: bool = True,
    ) -> None:
        shown = check_view(observation, image_size, max_steps)
        self.returns = (0.0, 1.0)
        self.grid, self.max_steps, self.end_on_success = Grid(), max_steps, end_on_success
        self.walls = self.grid.walls
        self._shown, self._image_size = ("goal", "achieved_goal", *shown), image_size
        self._cell, self._steps = self.grid.start, -1
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        boxes: dict[str, gym.Space] = {n: gym.spaces.Box(-np.inf, np.inf, (2,), np.float32) for n in self._shown}
        if "image" in shown:
            boxes["image"] = gym.spaces.Box(0, 255, (1, image_size, image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict(boxes)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; SettingsError for options: there are none."""
        check_options(options, ())
        super().reset(seed=seed)
        self._cell, self._steps = self.grid.start, 0
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Act: (2,) in [-1, 1]; what lies outside is clipped."""
        if self._steps < 0:
            raise gym.error.ResetNeeded("call reset() before step()")
        right, up = checked_action(action, self.action_space.shape)
        move = (2 + (right > 0)) if abs(right) > abs(up) else int(up <= 0)
        before = self._cell
        if before != self.grid.goal:
            weights = self.grid.transition[before, move]
            self._cell = int(self.np_random.choice(len(weights), p=weights))
        self._steps += 1
        observation, info = self._observe()
        reward = float(self._cell == self.grid.goal != before)
        terminated = info["is_success"] and self.end_on_success
        return observation, reward, terminated, not terminated and self._steps >= self.max_steps, info

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where the (..., 2) cell is that of the goal, else 0; for hindsight."""
        return (np.abs(achieved_goal - goal).max(-1) < 0.5).astype(np.float32)

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8."""
        return self._picture(256)

    def _observe(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        middle = np.subtract(self.walls.shape, 1) / 2
        here, goal = (((self.grid.cells[cell] - middle) * (-1, 1))[::-1] for cell in (self._cell, self.grid.goal))
        seen = {name: (goal if name == "goal" else here).astype(np.float32) for name in self._shown if name != "image"}
        if "image" in self._shown:
            seen["image"] = self._picture(self._image_size)[None]
        return seen, {"is_success": self._cell == self.grid.goal, "lost": False}

    def _picture(self, size: int) -> np.ndarray:
        colours = np.where(self.walls[..., None], 60, 230).repeat(3, -1).astype(np.uint8)
        for cell, colour in ((self.grid.goal, (200, 30, 30)), (self._cell, (30, 90, 200))):
            colours[tuple(self.grid.cells[cell])] = colour
        rows, columns = (np.arange(size) * n // size for n in self.walls.shape)
        return colours[rows[:, None], columns]
