"""The boundary to a machine. A practising learner sees a robot through it only: observations in, motions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from lotj.envs.base import check_options
from lotj.errors import LostError, NumericsError, RobotError
from lotj.experience import Observation
from lotj.sim.connector import Connector
from lotj.spaces import Spec

PRACTICE, EVALUATION, COLLECTION = PURPOSES = ("practice", "evaluation", "collection")


@dataclass(frozen=True)
class Setup:
    """What a robot is to be ready for. A real one looks whether it is; the simulated one makes such a bench."""

    purpose: str  # of PURPOSES: in the last two the truth is told, see `Robot.outcome`
    part: str  # TOML of the connector, see `lotj.sim.connector`
    domain_seed: int = 0  # of the simulated bench, with the two that follow
    scenario: str = "far"
    image_size: int = 64
    max_steps: int = 20
    seed: int = 0  # of the run: in practice it draws how wrong the socket's position is estimated


class Robot(Protocol):
    """What practice needs of a machine. Workspace, speed and force limits are enforced behind this boundary."""

    spec: Spec  # what it observes and how it is moved
    action_scale: float  # metres of an action of 1
    estimate_error: float  # its goal is within this of where it takes it to be, along x and y [m]; 0: not known
    height_error: float  # the same along z

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """Move to `start`, (2,) along x and y from where the goal is estimated to be [m], or to a pose drawn from
        `seed`; returns what is observed there, e.g. ``image`` (V, H, W, 3) uint8."""
        ...

    def move(self, action: np.ndarray) -> Observation:
        """Execute one step, (A,) in [-1, 1]; returns what is observed next.

        Raises:
            LostError: the robot has noticed that its part is lost; the next `reset` grasps it anew.
            RobotError: the robot refuses.
        """
        ...

    def relax(self) -> Observation:
        """Press against nothing any more: hold still where the hand is measured to be.

        Raises:
            LostError: as of `move`.
        """
        ...

    def park(self) -> None:
        """The trial is over: hold still where the hand is until the next `reset`, however long that takes."""
        ...

    def close(self) -> None:
        """Release the machine."""
        ...


class Witness(Protocol):
    """What a robot has besides where evaluation or collection is to run on it: practice never asks."""

    def outcome(self) -> Mapping[str, Any]:
        """Of the last motion: ``is_success``, by a tester or a person, and as far as they are measured ``dislodged``,
        ``peak_force`` [N], ``force`` (3,) [N] and ``position`` (3,) of the plug in the socket frame [m], which the
        scripted expert needs; as the info of `lotj.envs.insertion.InsertionEnv`."""
        ...


class RobotEnv(gym.Env[Any, np.ndarray]):
    """A robot as an environment. It knows of no success: reward is 0, and only the loss of the part terminates an
    episode (``info["lost"]``). What came after a loss nobody has seen: the last observation stands for it.

    Args:
        robot: is closed with the environment.
    """

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.action_scale = robot.action_scale
        spaces: dict[str, gym.Space[Any]] = {
            name: gym.spaces.Box(array.low, array.high, array.shape, np.dtype(array.dtype).type)
            for name, array in robot.spec.observation.items()
        }
        self.observation_space = gym.spaces.Dict(spaces)
        self.action_space = gym.spaces.Box(-1.0, 1.0, robot.spec.action, np.float32)
        self._last: Observation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode from a pose drawn from `seed`, or from the option ``start``, see `Robot.reset`.

        Raises:
            SettingsError: another option.
        """
        super().reset(seed=seed)
        start = check_options(options, ("start",)).get("start")
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        self._last = self.robot.reset(number, start)
        return self._last, {"lost": False}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move the robot by (A,) in [-1, 1].

        Raises:
            NumericsError: an action that is not finite; the robot has not moved.
        """
        action = np.asarray(action, np.float32)
        if not np.isfinite(action).all():
            raise NumericsError(f"action {action.tolist()}: must be finite; the robot has not moved")
        return self._after(lambda: self.robot.move(action))

    def relax(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """See `Robot.relax`."""
        return self._after(self.robot.relax)

    def park(self) -> None:
        """See `Robot.park`."""
        self.robot.park()

    def _after(self, motion: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        seen, lost = self._last, False
        if seen is None:
            raise gym.error.ResetNeeded("call reset() first: the robot stands nowhere")
        try:
            self._last = seen = motion()
        except LostError:
            lost = True
        return seen, 0.0, lost, False, {"lost": lost}

    def close(self) -> None:
        """Release the robot."""
        self.robot.close()


class WitnessedEnv(RobotEnv):
    """A robot whose successes are told, for evaluation and collection: rewards, ends and info are those of
    `lotj.envs.insertion.InsertionEnv`, and a success ends an episode if `end_on_success`.

    Raises:
        RobotError: the robot is no `Witness`.
    """

    def __init__(self, robot: Robot, part: Connector, end_on_success: bool = True) -> None:
        super().__init__(robot)
        self.part, self.end_on_success, self.max_steps = part, end_on_success, robot.spec.max_steps
        self.metadata = {**self.metadata, "render_fps": robot.spec.rate_hz}
        self._steps, self._paid = 0, False
        if not callable(getattr(robot, "outcome", None)):
            raise RobotError("this robot does not tell successes: give its driver an `outcome`, see docs/real-robot.md")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """See `RobotEnv.reset`."""
        seen, _ = super().reset(seed=seed, options=options)
        info = self._outcome()
        self._steps, self._paid = 0, bool(info["is_success"])
        return seen, info

    def _outcome(self) -> dict[str, Any]:
        robot: Any = self.robot
        return {"lost": False, "dislodged": False, **robot.outcome()}

    def _after(self, motion: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        seen, _, lost, _, _ = super()._after(motion)
        info = self._outcome()
        info["lost"] = info["dislodged"] = bool(lost or info["lost"] or info["dislodged"])
        success, self._steps = bool(info["is_success"]), self._steps + 1
        reward, self._paid = float(success and not self._paid), self._paid or success
        terminated = info["lost"] or (success and self.end_on_success)
        truncated = not terminated and self._steps >= self.max_steps
        if terminated or truncated:
            self.park()
        return seen, reward, terminated, truncated, info
