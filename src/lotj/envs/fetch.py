"""The Fetch arm of gymnasium-robotics (Plappert et al. 2018, arXiv:1802.09464): reach, push, slide, pick and place; and
towers of blocks on the same table (Nair et al. 2018, arXiv:1709.10089)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np

from lotj.controllers.fetch import EXPERTS
from lotj.envs.base import Family, GoalEnv, robotics_module
from lotj.envs.stack import BLOCK, stack_of
from lotj.sim.drawing import free_camera

WITHIN = 0.05  # the goal is reached within this of it [m]
FALLEN = 0.1  # an object that lies this far below its start on the table has fallen from it [m]

MEMBERS = {
    "reach": "move the gripper to a point in the air",
    "push": "push a block to a position on the table, with the gripper closed",
    "slide": "hit a puck so that it comes to rest out of reach",
    "pick-and-place": "take a block to a position on the table or in the air",
    "pick-and-place-air": "take a block to a position in the air, always: pushing does not do",
    "stack-2": "put one of two blocks on the other",
    "stack-3": "build a tower of three blocks",
}

AWAY, STILL = 0.03, 0.01
"""A tower is released and still when the gripper is this far from every block [m] and all are slower [m/s]."""


class FetchEnv(GoalEnv):
    """One of the Fetch tasks; the arm moves freely.

    Action: (4,) motion of the gripper along x, y, z, where 1 is 5 cm, and of its fingers, where 1 opens and -1 closes
    them; 25 Hz.
    Observation: "state" (25,), for `reach` without an object (10,): gripper position (3) [m]; object position (3) [m],
    object relative to gripper (3) [m]; fingers (2) [m]; object rotation (3) [rad], its velocity relative to the gripper
    (3) and angular velocity (3); gripper velocity (3), finger velocity (2), all per step. "goal" and "achieved_goal":
    position of the object, for `reach` of the gripper (3,) [m]. World frame. `info["lost"]`: the object has fallen from
    the table, which ends the episode; theirs goes on.

    A tower of N blocks: "state" (10 + 15 N,): gripper position (3), fingers (2), gripper velocity (3), finger velocity
    (2), then of each block, from the lowest, what is said of the object above (15). "goal" and "achieved_goal":
    positions of all blocks (3 N,) [m]; the first one's goal is where it lies, each next one 5 cm higher. The goal is
    reached when every block is within 5 cm of its own, so a block that is held near its place counts, as in the paper,
    and so may one that will fall. `info["released"]` is stricter: besides, the gripper is more than 3 cm from every
    block's surface and no block is faster than 1 cm/s.

    Args:
        task: a name in `MEMBERS`.
        max_steps: time limit; 50 unless given, for a tower of N blocks 50 (N - 1).
        end_on_success: unless given, a success ends the episode, but for towers, which are to be let go of.
            For the others see `GoalEnv`.
    """

    def __init__(
        self,
        task: str = "reach",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int | None = None,
        end_on_success: bool | None = None,
    ) -> None:
        camera = free_camera((1.3 + 0.2 * (task == "slide"), 0.75, 0.5), 1.4, azimuth=132.0, elevation=-25.0)
        self.task, self.blocks = task, int(task[6:]) if task.startswith("stack-") else 0
        steps = 50 * max(self.blocks - 1, 1) if max_steps is None else max_steps
        ends = not self.blocks if end_on_success is None else end_on_success
        super().__init__(_theirs(task), WITHIN, 25.0, camera, observation, image_size, steps, ends)

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        """(...) float32: 1 where (..., G) `achieved_goal` has reached (..., G) `goal`, block by block, else 0."""
        apart = (achieved_goal - goal).reshape(*achieved_goal.shape[:-1], -1, 3)
        return (np.linalg.norm(apart, axis=-1).max(-1) <= self.within).astype(np.float32)

    def lost(self, achieved_goal: np.ndarray) -> bool:
        """Whether an object has fallen from the table."""
        return self.inner.has_object and bool(achieved_goal[2::3].min() < self.inner.height_offset - FALLEN)

    def facts(self, success: bool) -> dict[str, bool]:
        """Of a tower, whether it is released and still."""
        if not self.blocks:
            return {}
        data, bodies = self.inner.data, [f"object{number}" for number in range(self.blocks)]
        grip, speeds = data.site("robot0:grip").xpos, [data.joint(f"{name}:joint").qvel[:3] for name in bodies]
        beside = [data.body(name).xmat.reshape(3, 3).T @ (grip - data.body(name).xpos) for name in bodies]
        gaps = np.linalg.norm(np.maximum(np.abs(beside) - BLOCK / 2, 0.0), axis=-1)
        still = np.linalg.norm(speeds, axis=-1).max() < STILL
        return {"released": bool(success and still and gaps.min() > AWAY)}

    def _place_goal(self) -> None:
        self.inner.data.site("target0").xpos[:] = self.inner.goal[-3:]


def _theirs(task: str) -> Any:
    known = "pick-and-place" if task.startswith(("pick", "stack")) else task
    module = robotics_module(f"envs.fetch.{known.replace('-', '_')}")
    tools = robotics_module("utils.mujoco_utils")
    # MuJoCo 4: `mjtJoint.mjJNT_HINGE == np.int32(3)` is False, and `joint_type in (mjJNT_HINGE, mjJNT_SLIDE)` in these
    # tools asks just that of the model's array, so every Fetch fails an assertion. They get the names as plain numbers.
    joints = {name: int(value) for name, value in mujoco.mjtJoint.__members__.items()}
    tools.mujoco = SimpleNamespace(**{**vars(mujoco), "mjtJoint": SimpleNamespace(**joints)})
    name = "".join(word.capitalize() for word in known.split("-"))
    kind = getattr(module, f"MujocoFetch{name}Env")
    if task.startswith("stack-"):
        return stack_of(kind, int(task[6:]))()

    class InTheAir(kind):
        def _sample_goal(self) -> np.ndarray:
            goal = super()._sample_goal()  # half of theirs are on the table
            goal[2] = self.height_offset + self.np_random.uniform(0.05, 0.45)  # of a block that lies there
            return goal

    return InTheAir() if task.endswith("-air") else kind()


FAMILY = Family(
    name="fetch",
    title="a Fetch arm moves its gripper, a block or a puck to a goal (gymnasium-robotics)",
    members=MEMBERS,
    make=FetchEnv,
    expert=lambda env: EXPERTS[env.task](),
)
