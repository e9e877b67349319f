"""The simulated robot behind the same boundary as a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lotj.envs.insertion import InsertionEnv
from lotj.errors import DislodgedError, RobotError
from lotj.geometry import mosaic
from lotj.sim.bench import RATE_HZ


class SimulatedRobot:
    """Gives images and takes motions. Ground truth goes one way: to a side file that no learner opens.

    Args:
        env: the bench; its episodes must not end on true success (`end_on_success=False`), or their length would tell.
        truth_file: one JSON line after every move: is the plug in, how deep, how far beside. The last line of a seed is
            that of its trial, even where a kill ended it. None: not recorded.
    """

    def __init__(self, env: InsertionEnv, truth_file: Path | None = None) -> None:
        if env.end_on_success:
            raise RobotError(
                "this environment ends on true success, which would tell the learner: use end_on_success=False"
            )
        self._env = env
        self._truth_file = truth_file
        self._image: np.ndarray | None = None
        self._trial: dict[str, Any] | None = None
        self.image_size = env.bench.image_size
        self.action_scale = env.action_scale
        self.rate_hz = RATE_HZ

    def reset(self, seed: int) -> np.ndarray:
        """See `Robot.reset`."""
        observation, info = self._env.reset(seed=seed)
        image = self._image = mosaic(observation["image"])
        self._trial = {"seed": int(seed), "steps": 0, "true_success": False, "peak_force_n": 0.0}
        self._witness(info)
        return image

    def observe(self) -> np.ndarray:
        """See `Robot.observe`."""
        if self._image is None:
            raise RobotError("observe() before reset(): the robot stands nowhere; call reset(seed) first")
        return self._image

    def move(self, delta: np.ndarray) -> np.ndarray:
        """See `Robot.move`."""
        if self._trial is None:
            raise RobotError("move() before reset(): the robot stands nowhere; call reset(seed) first")
        return self._moved(*self._env.step(delta))

    def relax(self) -> np.ndarray:
        """See `Robot.relax`."""
        if self._trial is None:
            raise RobotError("relax() before reset(): the robot stands nowhere; call reset(seed) first")
        return self._moved(*self._env.relax())

    def _moved(self, observation: Any, _reward: float, _ended: bool, _cut: bool, info: dict[str, Any]) -> np.ndarray:
        assert self._trial is not None
        image = self._image = mosaic(observation["image"])
        self._trial["steps"] += 1
        self._witness(info)
        self._write_truth()
        if info["dislodged"]:
            raise DislodgedError(
                "the plug was dislodged from the fingers: the trial is void, the plug must be grasped anew"
            )
        return image

    def close(self) -> None:
        """See `Robot.close`."""
        self._env.close()

    def _witness(self, info: dict[str, Any]) -> None:
        assert self._trial is not None
        self._trial |= {
            "true_success": bool(info["is_success"]),
            "ever_success": bool(self._trial.get("ever_success", False) or info["is_success"]),
            "depth_mm": round(1e3 * info["depth"], 3),
            "insertion_depth_mm": round(1e3 * self._env.bench.connector.insertion_depth, 3),
            "lateral_mm": round(1e3 * info["lateral"], 3),
            "peak_force_n": round(max(self._trial["peak_force_n"], info["peak_force"]), 3),
            "dislodged": bool(info["dislodged"]),
        }

    def _write_truth(self) -> None:
        if self._truth_file is not None:
            with self._truth_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._trial) + "\n")
