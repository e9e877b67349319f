"""What the environments with a compliant hand in a scene of our own share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.envs.base import TaskEnv

RATE_HZ = 10.0
STEP_LIMIT = 10e-3  # commanded motion of an action of 1 along an axis [m]: 100 mm/s

LEASH = 4e-3
"""The commanded point never leads the measured hand by more than this before a new step is added [m], as that of the
bench: a blocked hand does not wind up."""

_BLOCKS = 5  # pieces of a step: the commanded point is a ramp, which ends before the last of them


class HandEnv(TaskEnv):
    """A compliant Cartesian hand: joints ``hand-x``, ``hand-y`` and ``hand-z``, moved by the only actuators of a scene,
    in which stand their stiffness, damping and force limits. Action: Box(-1, 1, (3,)), where 1 is 10 mm; 10 Hz.

    Args:
        scene: a file of `lotj.sim`.
        box: (2, 3) corners of where the hand may move, world frame [m].
        state: entries of the "state". For the others see `TaskEnv`.
    """

    def __init__(
        self, scene: str, box: Sequence[Sequence[float]], state: int, camera: mujoco.MjvCamera, *view: Any
    ) -> None:
        text = resources.files("lotj.sim").joinpath(scene).read_text(encoding="utf-8")
        self.model = mujoco.MjModel.from_xml_string(text)
        self.data = mujoco.MjData(self.model)
        self._box, self._command = np.array(box), np.zeros(3)
        self._qpos = [self.model.joint(f"hand-{axis}").qposadr[0] for axis in "xyz"]
        self._substeps = round(1.0 / RATE_HZ / self.model.opt.timestep / _BLOCKS)
        super().__init__(self.model, {"state": (state,)}, (3,), RATE_HZ, camera, *view)

    @property
    def hand(self) -> np.ndarray:
        """(3,) its measured position, world frame [m]."""
        return self.data.qpos[self._qpos].copy()

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._qpos] = self.data.ctrl[:] = self._command = self.draw_start()
        mujoco.mj_forward(self.model, self.data)

    @abstractmethod
    def draw_start(self) -> np.ndarray:
        """Draw a start from the episode's generator: (3,) of the hand [m]; the subclass places the rest."""

    def act(self, action: np.ndarray) -> None:
        """Adds a step to the commanded point, from `LEASH` before the hand at most, in the box; the hand follows."""
        here = self.hand
        start = np.clip(self._command, here - LEASH, here + LEASH)
        self._command = np.clip(start + STEP_LIMIT * action, *self._box)
        for block in range(_BLOCKS):
            self.data.ctrl[:] = start + (self._command - start) * min(1.0, (block + 1) / (_BLOCKS - 1))
            mujoco.mj_step(self.model, self.data, self._substeps)

    def picture_of(self) -> mujoco.MjData:
        return self.data
