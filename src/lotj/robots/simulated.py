"""The simulated robot behind the same boundary as a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.envs.base import spec_of
from lotj.envs.insertion import InsertionEnv
from lotj.errors import LostError, RobotError
from lotj.experience import Observation
from lotj.sim.bench import SLIP_LIMIT, TILT_LIMIT

GRIP_NOISE = (0.4e-3, np.deg2rad(1.0))
"""Standard deviation of the gripper's reading of slip [m] and tilt [rad] of the part: the order of a tactile finger."""

GRIP_DELAY = (1, 2)
"""The reading is that of so many steps ago, at 10 Hz; which one changes from step to step."""


class SimulatedRobot:
    """Observes and takes motions. Ground truth goes one way: to a side file that no learner opens.

    That the part was lost it knows from its gripper alone, whose reading is blurred and late: it reports losses
    that are none, and misses others. After a reported one the part is grasped anew, in another pose.

    Args:
        env: the bench, wrapped or not (`lotj.envs.disturbances`); its episodes must not end on true success
            (`end_on_success=False`), or their length would tell.
        truth_file: one JSON line after every move: is the plug in, how deep, how far beside. The last line of a seed is
            that of its trial, even where a kill ended it. None: not recorded.
        witnessed: for evaluation and collection, which ask for the `outcome`: the gripper is not asked, and the part
            never grasped otherwise.
    """

    def __init__(self, env: gym.Env, truth_file: Path | None = None, witnessed: bool = False) -> None:
        bare = env.unwrapped
        assert isinstance(bare, InsertionEnv)
        if bare.end_on_success:
            raise RobotError(
                "this environment ends on true success, which would tell the learner: use end_on_success=False"
            )
        self._env: Any = env
        self._witnessed, self._info = witnessed, dict[str, Any]()
        self.truth_file, self.name = truth_file, bare.task.attributes["robot"]
        self._trial: dict[str, Any] = {}  # none before the first reset
        self._grips: list[np.ndarray] = []
        self._rng = np.random.default_rng(0)
        self._alarm = False
        self.spec, self.action_scale, self.estimate_error = spec_of(env), bare.action_scale, bare.estimate_error

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """See `Robot.reset`."""
        # Between trials the reading has the time to settle.
        lost = self._alarm or (bool(self._grips) and self._reads_a_loss(self._grips[-1]))
        options = {"regrasp": lost and not self._witnessed} | ({} if start is None else {"start": start})
        observation, info = self._env.reset(seed=seed, options=options)
        self._rng, self._grips, self._alarm = np.random.default_rng([seed, 1]), [info["grip"]], False
        self._trial = {"seed": int(seed), "steps": 0, "true_success": False, "ever_success": False, "peak_force_n": 0.0}
        self._witness(info)
        return observation

    def move(self, action: np.ndarray) -> Observation:
        """See `Robot.move`."""
        return self._moved(self._env.step(action))

    def relax(self) -> Observation:
        """See `Robot.relax`."""
        return self._moved(self._env.relax())

    def _moved(self, came: tuple[Any, ...]) -> Observation:
        observation, *_, info = came
        self._grips.append(info["grip"])
        late = self._rng.integers(GRIP_DELAY[0], GRIP_DELAY[1], endpoint=True)
        self._alarm = not self._witnessed and self._reads_a_loss(self._grips[max(0, len(self._grips) - 1 - late)])
        self._trial["steps"] += 1
        self._witness(info)
        if self.truth_file is not None:
            with self.truth_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._trial) + "\n")
        if self._alarm:
            raise LostError("the gripper feels that the plug was dislodged: it must be grasped anew")
        return observation

    def park(self) -> None:
        """See `Robot.park`: between motions the simulated hand stands still anyway."""

    def outcome(self) -> dict[str, Any]:
        """See `lotj.robots.robot.Witness`; RobotError in practice, which is told no truth."""
        if not self._witnessed:
            raise RobotError("the truth is for evaluation and collection, not for practice")
        return self._info

    def sensors(self) -> dict[str, Any]:
        """What the robot's own controller measures, see `lotj.robots.safe`."""
        env: Any = self._env.unwrapped
        return {**env.bench.sensors(), "peak_force": self._info["peak_force"]}

    def _reads_a_loss(self, grip: np.ndarray) -> bool:
        return bool((grip + self._rng.normal(0.0, GRIP_NOISE) > (SLIP_LIMIT, TILT_LIMIT)).any())

    def _witness(self, info: dict[str, Any]) -> None:
        self._info = info
        self._trial |= {
            "true_success": bool(info["is_success"]),
            "ever_success": bool(self._trial["ever_success"] or info["is_success"]),
            "wrong_socket": bool(info["wrong_socket"]),
            "depth_mm": round(1e3 * info["depth"], 3),
            "lateral_mm": round(1e3 * info["lateral"], 3),
            "peak_force_n": round(max(self._trial["peak_force_n"], info["peak_force"]), 3),
            "dislodged": bool(info["dislodged"]),
            "alarm": self._alarm,
        }

    def close(self) -> None:
        """See `Robot.close`."""
        self._env.close()
