"""A hand on a table of things: drawers, a button, a tray, objects of shapes that may never have been seen; goals are
pictures (VAL, Khazatsky et al. 2021, arXiv:2106.00671; PTP, Fang et al. 2022, arXiv:2205.08129)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import mujoco
import numpy as np

from lotj.controllers.table_skills import Skills
from lotj.envs.base import Family, TaskEnv, check_view, check_whole
from lotj.envs.table_tasks import JOBS, Pair, pair, reached, start_of, things
from lotj.errors import SettingsError
from lotj.sim.drawing import free_camera
from lotj.sim.table import RATE_HZ, Table

LAYOUTS = 24  # pairs of start and goal of a task, or of one of its as many scenes, that seeds choose from
JITTER = (0.02, 0.02, 0.02, np.radians(6.0))  # the hand starts off that of its pair by at most this [m, rad]
WITHOUT_GOAL = ("play", "primitives")


class TableEnv(TaskEnv):
    """Get from a start to a goal; success ends nothing, unless `end_on_success` is set.

    Action: (5,) motion of the hand along x (right), y (away) and z, where 1 is 5 cm, about the vertical, where 1 is 5
    degrees, and its fingers, where 1 is open and -1 closed; 10 Hz. Fingers hold by friction alone, with at most 12 N.
    Observation: "image" and, of the state at the goal, hand and all, "goal" (1, H, H, 3) uint8. "state" is what a robot
    knows of itself (5,): hand x, y, z [m], yaw [rad], gap between the fingers [m].
    Only without "image" is "state" all there is to know (25,): besides, `things` (9), the yaw of the small object,
    whether the drawer is blocked, and x, y, yaw of cabinet, the button's drawer and tray, 0 if absent; and then "goal"
    and "achieved_goal" are `things` (9,), which the truth of recorded episodes has, too.
    `play` and `primitives`, made for prior data, have no goal: each start is new, and a success has changed what the
    plan says. All others start from one of 24 pairs, see `table_tasks.pair`, with the hand up to 2 cm off.
    Success: drawers within 2 cm of their goal, the small object in or on the same thing and within 5 cm, the large one
    within 8 cm and in the same quarter of the table; `truth` has them each.

    Args:
        task: one of `table_tasks.JOBS`.
        split: shapes are those of training scenes, ``train``, or held out from them, ``test``; the task's own usually.
        scene: shapes, colours and light are those of this one of 24, VAL's new scene, and 24 pairs differ in what of it
            is there and where; else each pair has its own. For the others see `TaskEnv`.
    """

    def __init__(
        self,
        task: str = "open-drawer",
        observation: str | Sequence[str] = "image",
        image_size: int = 48,
        max_steps: int | None = None,
        end_on_success: bool = False,
        split: str = "",
        scene: int | None = None,
    ) -> None:
        if split not in ("", "train", "test"):
            raise SettingsError(f"split = {split!r}: must be train or test")
        if scene is not None:
            check_whole("scene", scene, 0, LAYOUTS - 1)
            if task in WITHOUT_GOAL:
                raise SettingsError(f"scene = {scene!r}: table/{task} draws a new one for each episode; leave it out")
        self.task, self.split, self._scene = task, split or JOBS[task].split, scene
        self.table = Table()
        self._picture: dict[int, np.ndarray] = {}
        steps = JOBS[task].steps if max_steps is None else max_steps
        self._sees = "image" in check_view(observation, image_size, steps)
        arrays = {"state": (5,) if self._sees else (25,)}
        if not (self._sees or task in WITHOUT_GOAL):
            arrays.update({"goal": (9,), "achieved_goal": (9,)})
        camera = free_camera((0.0, 0.0, 0.02), 0.7, azimuth=90.0, elevation=-50.0)
        view = camera, observation, image_size, steps, end_on_success
        super().__init__(self.table.model, arrays, (5,), RATE_HZ, *view)
        if self._sees and task not in WITHOUT_GOAL:
            boxes = dict(cast(gym.spaces.Dict, self.observation_space))
            self.observation_space = gym.spaces.Dict({**boxes, "goal": boxes["image"]})

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        rng = self.np_random
        if self.task in WITHOUT_GOAL:
            start = None
            while start is None:
                start = start_of(self.task, self.split, rng, self.table)
            self.pair: Pair = start
            return
        self.layout = int(rng.integers(LAYOUTS))
        self.pair = pair(self.task, self.split, self.layout, self.layout if self._scene is None else self._scene)
        self.table.load(self.pair.scene)
        if (size := self._image_size) and self.layout not in self._picture:
            self.table.set_state(self.pair.goal)
            self._picture[self.layout] = self.picture(size)
        self.table.set_state(self.pair.start, rng.uniform(-1.0, 1.0, 4) * JITTER)

    def act(self, action: np.ndarray) -> None:
        self.table.act(action)

    def measure(self) -> dict[str, np.ndarray]:
        now, self._things = self.table.look(), things(self.table)
        own = np.append(now["hand"], now["gap"])
        if self._sees:
            return {"state": own}
        scene = self.table.scene
        poses = [pose or (0.0, 0.0, 0.0) for pose in (scene.cabinet, scene.unit, scene.tray)]
        more = now["small"][3] if scene.small else 0.0, float(self.table.blocked)
        state = np.concatenate([own, self._things, more, *poses])
        return {"state": state, "goal": self.pair.goal_things, "achieved_goal": self._things}

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        self.reached = reached(self._things, self.pair.goal_things)
        if self.task in WITHOUT_GOAL:
            return not self.reached[self.pair.changes].any(), False
        return bool(self.reached.all()), False

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where (..., 9) `achieved_goal` has reached (..., 9) `goal`, else 0; for hindsight."""
        return np.asarray(reached(achieved_goal, goal).all(-1), np.float32)

    def truth(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What only a simulator knows, to be recorded: `things` (9,), which of them are at the goal (4,), and the
        simulator's whole state (N,)."""
        return {"things": self._things, "reached": self.reached, "simulator": self.table.state()}

    def picture_of(self) -> mujoco.MjData:
        return self.table.data

    def _observe(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, info = super()._observe()
        if self._sees and self.task not in WITHOUT_GOAL:
            observation["goal"] = self._picture[self.layout].copy()
        return observation, info

    def picture_of_goal(self) -> np.ndarray:
        """(H, H, 3) uint8: the goal of the running episode, hand included; of tasks with a goal and an image."""
        return self._picture[self.layout][0].copy()


FAMILY = Family(
    name="table",
    title="a hand on a table of drawers, a button, a tray and objects never seen; goals are pictures",
    members={name: job.title for name, job in JOBS.items()},
    make=TableEnv,
    expert=lambda env: Skills(env.table, lambda: env.pair.plan),
)
