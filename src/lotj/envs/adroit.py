"""The Adroit hand of gymnasium-robotics (Rajeswaran et al. 2018, arXiv:1709.10087), with the sparse rewards of AWAC."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from lotj.controllers.tanh_policy import TanhPolicy
from lotj.envs.base import Family, TaskEnv, robotics_module, scene_of_others
from lotj.sim.drawing import free_camera

EXPERTS = "LOTJ_ADROIT"
"""Environment variable: folder of experts as ``scripts/convert_dapg.py`` writes them, ``door.npz`` and so on."""

OPEN = 1.4  # the door is open beyond this [rad]; theirs says 1.35
MEMBERS = {
    "door": "turn the latch of a door and open it by 80 degrees",
    "pen": "turn a pen in the hand to a given orientation",
    "relocate": "take a ball to a place in the air",
}


class AdroitEnv(TaskEnv):
    """A hand of 24 joints, on an arm but for the pen, acts by targets of its joints; 100 Hz.

    Action: (28,), (24,) or (30,) for door, pen, relocate; theirs. Observation: "state" (39,), (45,) or (39,), theirs.
    Success, binary as in AWAC (arXiv:2006.09359): the door open by more than 1.4 rad; the pen within 7.5 cm of its
    place and within 18 degrees of the orientation; the ball within 10 cm of its goal.

    Args:
        task: a name in `MEMBERS`. For the others see `TaskEnv`.
    """

    def __init__(
        self,
        task: str = "door",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 200,
        end_on_success: bool = True,
    ) -> None:
        module, self.task = robotics_module(f"envs.adroit_hand.adroit_{task}"), task
        with scene_of_others():
            self.inner = getattr(module, f"AdroitHand{task.capitalize()}Env")(reward_type="sparse")
        self._hinge = self.inner.model.joint("door_hinge").qposadr[0] if task == "door" else None
        camera = free_camera((0.0, -0.1, 0.25), 1.3, azimuth=90.0, elevation=-30.0)
        shapes = {"state": self.inner.observation_space.shape}
        view = (camera, observation, image_size, max_steps, end_on_success)
        super().__init__(self.inner.model, shapes, self.inner.action_space.shape, 1.0 / self.inner.dt, *view)

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        self._now, self._there = self.inner.reset(seed=seed)[0], False

    def act(self, action: np.ndarray) -> None:
        self._now, _, _, _, info = self.inner.step(action)
        self._there = bool(info["success"])

    def measure(self) -> Mapping[str, np.ndarray]:
        return {"state": self._now}

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        return self._there if self._hinge is None else bool(self.inner.data.qpos[self._hinge] > OPEN), False

    def picture_of(self) -> mujoco.MjData:
        return self.inner.data

    def close(self) -> None:
        super().close()
        self.inner.close()


def _expert(env: AdroitEnv) -> TanhPolicy:
    return TanhPolicy(Path(os.environ[EXPERTS]) / f"{env.task}.npz")


FAMILY = Family(
    name="adroit",
    title=f"a dexterous hand (gymnasium-robotics); {EXPERTS} names the folder of its experts, see docs/tasks.md",
    members=MEMBERS,
    make=AdroitEnv,
    expert=_expert if EXPERTS in os.environ else None,
)
