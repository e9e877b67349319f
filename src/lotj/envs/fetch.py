"""The Fetch arm of gymnasium-robotics (Plappert et al. 2018, arXiv:1802.09464): reach, push, slide, pick and place."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np

from lotj.controllers.fetch import EXPERTS
from lotj.envs.base import Family, GoalEnv, robotics_module
from lotj.sim.drawing import free_camera

WITHIN = 0.05  # the goal is reached within this of it [m]
FALLEN = 0.1  # an object that lies this far below its start on the table has fallen from it [m]

MEMBERS = {
    "reach": "move the gripper to a point in the air",
    "push": "push a block to a position on the table, with the gripper closed",
    "slide": "hit a puck so that it comes to rest out of reach",
    "pick-and-place": "take a block to a position on the table or in the air",
}


class FetchEnv(GoalEnv):
    """One of the four Fetch tasks; the arm moves freely, a success ends the episode.

    Action: (4,) motion of the gripper along x, y, z, where 1 is 5 cm, and of its fingers, where 1 opens and -1 closes
    them; 25 Hz.
    Observation: "state" (25,), for `reach` without an object (10,): gripper position (3) [m]; object position (3) [m],
    object relative to gripper (3) [m]; fingers (2) [m]; object rotation (3) [rad], its velocity relative to the gripper
    (3) and angular velocity (3); gripper velocity (3), finger velocity (2), all per step. "goal" and "achieved_goal":
    position of the object, for `reach` of the gripper (3,) [m]. World frame. `info["lost"]`: the object has fallen from
    the table, which ends the episode; theirs goes on.

    Args:
        task: a name in `MEMBERS`. For the others see `GoalEnv`.
    """

    def __init__(
        self,
        task: str = "reach",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 50,
        end_on_success: bool = True,
    ) -> None:
        camera = free_camera((1.3 + 0.2 * (task == "slide"), 0.75, 0.5), 1.4, azimuth=132.0, elevation=-25.0)
        super().__init__(_theirs(task), WITHIN, 25.0, camera, observation, image_size, max_steps, end_on_success)
        self.task = task

    def lost(self, achieved_goal: np.ndarray) -> bool:
        """Whether the object has fallen from the table."""
        return self.inner.has_object and bool(achieved_goal[2] < self.inner.height_offset - FALLEN)

    def _place_goal(self) -> None:
        self.inner.data.site("target0").xpos[:] = self.inner.goal


def _theirs(task: str) -> Any:
    module = robotics_module(f"envs.fetch.{task.replace('-', '_')}")
    tools = robotics_module("utils.mujoco_utils")
    # MuJoCo 4: `mjtJoint.mjJNT_HINGE == np.int32(3)` is False, and `joint_type in (mjJNT_HINGE, mjJNT_SLIDE)` in these
    # tools asks just that of the model's array, so every Fetch fails an assertion. They get the names as plain numbers.
    joints = {name: int(value) for name, value in mujoco.mjtJoint.__members__.items()}
    tools.mujoco = SimpleNamespace(**{**vars(mujoco), "mjtJoint": SimpleNamespace(**joints)})
    name = "".join(word.capitalize() for word in task.split("-"))
    return getattr(module, f"MujocoFetch{name}Env")()


FAMILY = Family(
    name="fetch",
    title="a Fetch arm moves its gripper, a block or a puck to a goal (gymnasium-robotics)",
    members=MEMBERS,
    make=FetchEnv,
    expert=lambda env: EXPERTS[env.task](),
)
