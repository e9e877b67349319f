"""A dot among walls that stand elsewhere in each episode, to where a picture shows it (CC-RIG, Nair et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.controllers.waypoints import Waypoints
from lotj.envs.base import Family
from lotj.envs.push import GoalPicture
from lotj.sim.drawing import free_camera
from lotj.sim.push_scene import colour_of

MEMBERS = {"seen": "15 layouts of walls", "unseen": "three further layouts, and dots of colours that are held out"}
LAYOUTS = {"seen": range(15), "unseen": range(15, 18)}
CELLS, BLOCKS = 7, 5  # a side, border included; walls within
STEP_LIMIT, WITHIN = 0.35, 0.5  # commanded motion of an action of 1; the goal is reached within this of it [m]


@cache
def layouts() -> np.ndarray:
    """(18, 7, 7) bool, true where a cell of 1 m is wall: `BLOCKS` of 25 inner cells, with a way between all others; all
    are different."""
    rng, found = np.random.default_rng(7), []
    while len(found) < 18:
        walls = np.ones((CELLS, CELLS), bool)
        walls[1:-1, 1:-1] = False
        walls[1:-1, 1:-1].flat[rng.permutation(25)[:BLOCKS]] = True
        start = tuple(np.argwhere(~walls)[0].tolist())
        whole = len(Waypoints(walls)._ways(start)) == (~walls).sum()
        if whole and not any(np.array_equal(walls, other) for other in found):
            found.append(walls)
    return np.array(found)


class Maze2dEnv(GoalPicture):
    """Each episode has a layout, a colour of the dot, and a goal, drawn from its seed; with images `picture_of_goal`
    alone shows the goal.

    Action: (2,) of 0.35 m, along x and y; 10 Hz, of limited force.
    Observation: "image" (1, H, H, 3) uint8; or "state", "achieved_goal" (both alike) and "goal" (2,): places [m], the
    maze's middle being the origin, y upwards; cells are 1 m wide.
    Success: within 0.5 m of the goal; it does not end an episode unless asked to. `info` holds ``object_distance``, and
    ``hand_distance``, which is the same.

    Args:
        task: a name in `MEMBERS`. For the others see `TaskEnv`.
    """

    step_limit = STEP_LIMIT

    def __init__(
        self,
        task: str = "seen",
        observation: str | Sequence[str] = "state",
        image_size: int = 48,
        max_steps: int = 40,
        end_on_success: bool = False,
    ) -> None:
        self._numbers, self._split = LAYOUTS[task], "held-out" if task == "unseen" else "train"
        self.walls = layouts()[self._numbers[0]].copy()
        camera = free_camera((0.0, 0.0, 0.0), 7.6, azimuth=90.0, elevation=-90.0)
        super().__init__(_scene(), 2, camera, observation, image_size, max_steps, end_on_success)

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        rng = self.np_random
        self.walls[:] = layouts()[rng.choice(self._numbers)]
        inner = np.argwhere(self.walls[1:-1, 1:-1])
        middle = Waypoints(self.walls).middle
        for block, (row, column) in enumerate(inner.tolist()):
            self.model.geom_pos[self.model.geom(f"block{block}").id, :2] = middle((row + 1, column + 1))
        self._colour = colour_of(rng, self._split)
        self.model.geom_rgba[self.model.geom("dot").id, :3] = self._colour
        free = np.argwhere(~self.walls)
        start, goal = (tuple(cell) for cell in free[rng.permutation(len(free))[:2]].tolist())
        self.goal = middle(goal) + rng.uniform(-0.15, 0.15, 2)
        for data, place in ((self._goal_data, self.goal), (self.data, middle(start) + rng.uniform(-0.15, 0.15, 2))):
            mujoco.mj_resetData(self.model, data)
            data.qpos[:] = data.ctrl[:] = place
            mujoco.mj_forward(self.model, data)

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        return self._distance() < WITHIN, False

    def facts(self, success: bool) -> dict[str, Any]:
        return {"hand_distance": self._distance(), "object_distance": self._distance()}

    def truth(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What only a simulator knows, to be recorded: the dot's place and colour."""
        return {"places": self.data.qpos.astype(np.float32), "colour": self._colour.astype(np.float32)}

    def _distance(self) -> float:
        return float(np.linalg.norm(self.data.qpos - self.goal))


def _scene() -> mujoco.MjModel:
    scene = resources.files("lotj.sim").joinpath("maze2d.xml").read_text(encoding="utf-8")
    return mujoco.MjModel.from_xml_string(scene)


FAMILY = Family(
    name="maze2d",
    title="a dot finds its way among walls that are others in each episode, to where a picture shows it",
    members=MEMBERS,
    make=Maze2dEnv,
    expert=lambda env: Waypoints(env.walls, 1.0 / STEP_LIMIT, 0.0),
)
