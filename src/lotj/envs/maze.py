"""The point mazes of gymnasium-robotics, after D4RL (Fu et al. 2020, arXiv:2004.07219), and the toy maze of IQL."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers.waypoints import Waypoints
from lotj.envs.base import Family, GoalEnv, check_switch, check_whole, robotics_module
from lotj.envs.grid import GridEnv
from lotj.errors import SettingsError
from lotj.sim.drawing import free_camera

WITHIN = 0.45  # the goal is reached within this of it [m]; a cell of the maze is 1 m wide
MEMBERS = {
    "umaze": "once round a wall, 7 free cells",
    "medium": "6 x 6 cells with 26 free",
    "large": "7 x 10 cells with 46 free",
    "umaze-toy": "a grid of 39 cells in which moves slip; no physics, solved exactly by `Grid`",
}
MAPS = {"umaze": ("U_MAZE", 300), "medium": ("MEDIUM_MAZE", 600), "large": ("LARGE_MAZE", 800)}  # with time limits
ROUTES = {"umaze": ((1, 1), (3, 1)), "medium": ((5, 1), (6, 5)), "large": ((7, 1), (7, 10))}
"""Where policies that stitch start, and where they are to go: the longest routes there are. Straight for the goal the
ball gets caught in a corner; from the upper left to the lower right, as is usual, the walls lead it there."""


class MazeEnv(GoalEnv):
    """A ball is pushed through a maze to a goal.

    Action: (2,) force along x and y; 100 Hz, or so many times less often.
    Observation: "state" (4,): position [m] and velocity [m/s]; "goal" and "achieved_goal": position (2,) [m].
    Origin at the middle of the maze, y upwards. Start and goal are drawn from the free cells, apart from each other;
    ``reset(options={"goal_cell": (row, column), "reset_cell": (row, column)})`` says which free ones, up to 0.25 m.
    `route` is such a pair, from start to goal, at opposite ends.

    Args:
        maze: a name in `MEMBERS`.
        max_steps: time limit; 300, 600 and 800 steps of the simulation unless given.
        whole_route: start and goal are those of `route` unless a reset says others.
        repeat: steps of the simulation, 10 ms each, for which an action is held, unless the goal is reached before: the
            fewer decisions lead to it, the sooner its value is known at the start. For the others see `GoalEnv`.
    """

    RESETS = ("goal_cell", "reset_cell")

    def __init__(
        self,
        maze: str = "umaze",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int | None = None,
        end_on_success: bool = True,
        whole_route: bool = False,
        repeat: int = 1,
    ) -> None:
        check_whole("repeat", repeat, 1)
        check_switch("whole_route", whole_route)
        theirs, usual_steps = MAPS[maze]
        cells = getattr(robotics_module("envs.maze.maps"), theirs)
        inner = robotics_module("envs.maze.point_maze").PointMazeEnv(cells, continuing_task=False)
        Path(inner.tmp_xml_file_path).unlink(missing_ok=True)  # each one leaves its scene among the temporary files
        self.route, self._whole_route = ROUTES[maze], whole_route
        self.walls = np.array([[cell == 1 for cell in row] for row in inner.maze.maze_map])
        camera = free_camera((0.0, 0.0, 0.0), 1.25 * max(self.walls.shape), azimuth=90.0, elevation=-90.0)
        self._repeat, steps = repeat, usual_steps // repeat if max_steps is None else max_steps
        super().__init__(inner, WITHIN, 100.0 / repeat, camera, observation, image_size, steps, end_on_success)

    def start(self, options: dict[str, Any]) -> dict[str, Any]:
        """Cells as arrays, each a free one."""
        usual = dict(zip(("reset_cell", "goal_cell"), self.route, strict=True)) if self._whole_route else {}
        cells = {**usual, **options}
        free = np.argwhere(~self.walls).tolist()
        for name, cell in cells.items():
            if np.asarray(cell, object).tolist() not in free:
                rule = f"must be (row, column) of a free cell, counted from 0: {free}"
                raise SettingsError(f"reset option {name} = {cell!r}: {rule}")
        return {name: np.array(cell, int) for name, cell in cells.items()}

    def act(self, action: np.ndarray) -> None:
        for _ in range(self._repeat):
            super().act(action)
            if self.compute_reward(self._now["achieved_goal"], self._now["desired_goal"]):
                break

    def observed(self) -> Mapping[str, np.ndarray]:
        self.inner.update_target_site_pos()
        return self.inner._get_obs(self.inner.point_env._get_obs()[0])


@wraps(MazeEnv, assigned=(), updated=())  # the options are its own
def make(maze: str = "umaze", **options: Any) -> Any:
    """A `MazeEnv`, or a `GridEnv`, which has one route alone."""
    if maze != "umaze-toy":
        return MazeEnv(maze, **options)
    taken = inspect.signature(GridEnv).parameters
    return GridEnv(**{k: value for k, value in options.items() if k in taken and (k, value) != ("max_steps", None)})


FAMILY = Family(
    name="maze",
    title="a ball finds its way through a maze to a goal (gymnasium-robotics)",
    members=MEMBERS,
    make=make,
    expert=lambda env: Waypoints(env.walls),
)
