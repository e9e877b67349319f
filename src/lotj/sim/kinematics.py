"""Inverse kinematics of any jointed arm, given as a MuJoCo model: the joints that hold a tool where it shall be.

Differential inverse kinematics by mink (extra `robot`): the joint velocities that move the tool towards its goal within
the limits of all joints and of their speeds are those of a quadratic program.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from lotj.errors import RobotError
from lotj.extras import library

REACHED = 1e-4
"""A pose counts as reached within this [m], and as many times ten of it [rad]."""

_POSTURE = 1e-3  # cost of a radian away from the usual posture, where a metre away from the goal costs 1
_TRIES = 100  # steps of the solver from the usual posture to a pose


class Kinematics:
    """The joints of one arm, which follow its tool.

    Args:
        model: the arm alone, with hinge or slide joints that have ranges, and a site at its tool.
        tool: name of the site.
        turn: (3, 3) the orientation that the tool is held in, its axes as columns, in the frame of the model's world.
        posture: (J,) the usual position of the joints [rad or m]: what is left free stays near it.
        speeds: (J,) largest joint speeds [rad/s or m/s].

    Raises:
        SettingsError: mink is not installed.
    """

    def __init__(
        self, model: mujoco.MjModel, tool: str, turn: np.ndarray, posture: np.ndarray, speeds: np.ndarray
    ) -> None:
        package = library("mink")  # no attribute: modules cannot be copied
        self._tool, self._posture = tool, np.array(posture, float)
        self._turn = package.SO3.from_matrix(np.asarray(turn, float))
        self._at = package.Configuration(model)
        self._goal = package.FrameTask(tool, "site", position_cost=1.0, orientation_cost=1.0)
        self._usual = package.PostureTask(model, cost=_POSTURE)
        self._usual.set_target(self._posture)
        names = [model.joint(joint).name for joint in range(model.njnt)]
        self._ranges = [package.ConfigurationLimit(model)]
        self._limits = [*self._ranges, package.VelocityLimit(model, dict(zip(names, map(float, speeds), strict=True)))]

    @property
    def joints(self) -> np.ndarray:
        """(J,) where the last solution is [rad or m]."""
        return self._at.q.copy()

    def reach(self, place: np.ndarray) -> np.ndarray:
        """(J,) that hold the tool at (3,) [m], from the usual posture, however far that is.

        Raises:
            RobotError: the arm does not reach so far.
        """
        self._at.update(self._posture)
        self._aim(place)
        for _ in range(_TRIES):
            if self._reached():
                return self.joints
            self._step(1.0, self._ranges)
        raise RobotError(f"the arm does not reach {np.round(place, 3).tolist()} m, its tool held as it is to be")

    def follow(self, place: np.ndarray, seconds: float) -> np.ndarray:
        """(J,) on the way to the tool at (3,) [m], as far as joints and their speeds allow in so long."""
        self._aim(place)
        self._step(seconds, self._limits)
        return self.joints

    def start(self, joints: np.ndarray) -> None:
        """Follow from (J,) on [rad or m]: where the arm is measured to be."""
        self._at.update(np.array(joints, float))

    def tool(self) -> np.ndarray:
        """(3,) where the last solution holds the tool [m]."""
        return self._at.get_transform_frame_to_world(self._tool, "site").translation()

    def _aim(self, place: np.ndarray) -> None:
        self._goal.set_target(library("mink").SE3.from_rotation_and_translation(self._turn, np.array(place, float)))

    def _reached(self) -> bool:
        error = np.abs(self._goal.compute_error(self._at))
        return bool(error[:3].max() < REACHED and error[3:].max() < 10 * REACHED)

    def _step(self, seconds: float, limits: list[Any]) -> None:
        package = library("mink")
        try:
            velocity = package.solve_ik(self._at, [self._goal, self._usual], seconds, solver="daqp", limits=limits)
        except package.NoSolutionFound as error:
            raise RobotError(f"inverse kinematics: {error}") from None
        self._at.integrate_inplace(velocity, seconds)
