"""The simulated robot behind the same boundary as a real one."""

from __future__ import annotations

import copy
import json
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.envs.base import spec_of
from lotj.envs.insertion import InsertionEnv
from lotj.errors import LostError, RobotError
from lotj.experience import Observation
from lotj.robots.robot import PRACTICE, Setup
from lotj.sim.bench import SLIP_LIMIT, TILT_LIMIT

GRIP_NOISE = (0.4e-3, np.deg2rad(1.0))
"""Standard deviation of the gripper's reading of slip [m] and tilt [rad] of the part: the order of a tactile finger."""

GRIP_DELAY = (1, 2)
"""The reading is that of so many steps ago, at 10 Hz; which one changes from step to step."""


def simulated_bench(setup: Setup, arm: str, laboratory: int | None = None) -> InsertionEnv:
    """The bench that an arm (``duo``, ``trio`` or ``panda``) is set up for; only in practice is it estimated wrongly
    where the socket is. `laboratory`: see `InsertionEnv`. CatalogueError for a part that is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.toml"
        path.write_text(setup.part, encoding="utf-8")
        seen = (setup.image_size, ("image", "state"), setup.max_steps, False)
        estimate = setup.seed if setup.purpose == PRACTICE else None
        return InsertionEnv(str(path), arm, setup.domain_seed, setup.scenario, *seen, estimate, laboratory=laboratory)


class SimulatedRobot:
    """Observes and takes motions. Ground truth goes one way: to a side file that no learner opens,
    but in a study that says so (`lotj.evaluation.truth.ToldTruth`).

    That the part was lost it knows from its gripper alone, whose reading is blurred and late: it reports losses
    that are none, and misses others. After a reported one the part is grasped anew, in another pose. A reset of the
    same seed again is a trial made again, and holds the part as that one did.

    Args:
        env: the bench, wrapped or not (`lotj.envs.disturbances`); its episodes must not end on true success
            (`end_on_success=False`), or their length would tell.
        truth_file: one JSON line after every move: is the plug in, how deep, how far beside. The last line of a seed is
            that of its trial, even where a kill ended it. A robot made anew of the same bench and file, as after a
            kill, holds the part as it did when the trial that is made again was begun. None: not recorded.
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
        self.truth_file, self.name, self._bench = truth_file, bare.task.attributes["robot"], bare.task.name
        self._grasped: int | None = None  # seed of the start at which the part was grasped anew, the last time
        self._trial: dict[str, Any] = {}  # none before the first reset
        self._grips: list[np.ndarray] = []
        self._rng = np.random.default_rng(0)
        self._alarm = self._regrasps = False
        self.spec, self.action_scale = spec_of(env), bare.action_scale
        self.estimate_error, self.height_error = bare.estimate_error, bare.height_error

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """See `Robot.reset`."""
        if not self._trial:
            self._recover(seed)
        # Between trials the reading has the time to settle. A trial that is made again begins as it did, whatever its
        # void attempt has done to the part.
        if self._trial.get("seed") != int(seed):
            lost = self._alarm or (bool(self._grips) and self._reads_a_loss(self._grips[-1], self._rng))
            self._regrasps = lost and not self._witnessed
        options = {"regrasp": self._regrasps} | ({} if start is None else {"start": start})
        self._grasped = int(seed) if options["regrasp"] else self._grasped
        observation, info = self._env.reset(seed=seed, options=options)
        self._rng, self._grips, self._alarm = np.random.default_rng([seed, 1]), [info["grip"]], False
        self._trial = {"seed": int(seed), "steps": 0, "true_success": False, "ever_success": False, "peak_force_n": 0.0}
        self._trial |= {"bench": self._bench, "grasped": self._grasped}
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
        self._alarm = not self._witnessed and self._reads_a_loss(
            self._grips[max(0, len(self._grips) - 1 - late)], self._rng
        )
        self._trial["steps"] += 1
        self._witness(info)
        # What the next start would read, were it now.
        self._trial["regrasp"] = self._alarm or self._reads_a_loss(self._grips[-1], copy.deepcopy(self._rng))
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

    def _reads_a_loss(self, grip: np.ndarray, rng: np.random.Generator) -> bool:
        return bool((grip + rng.normal(0.0, GRIP_NOISE) > (SLIP_LIMIT, TILT_LIMIT)).any())

    def _recover(self, seed: int) -> None:
        """Holds the part as before the trial of this seed was begun for the first time."""
        if self.truth_file is None or not self.truth_file.exists():
            return
        lines = map(json.loads, self.truth_file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines())
        mine = [line for line in lines if line.get("bench") == self._bench]
        before = [*takewhile(lambda line: line["seed"] != seed, mine)]
        if before:
            self._grasped, self._alarm = before[-1]["grasped"], before[-1]["regrasp"]
        if self._grasped is not None:
            self._env.unwrapped.reset(seed=self._grasped, options={"regrasp": True})

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
