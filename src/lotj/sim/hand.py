"""A compliant Cartesian hand, as that of the bench: three position-controlled slides of limited force."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

RATE_HZ = 10.0  # of the policy
STEP_LIMIT = 10e-3  # commanded motion of an action of 1 along an axis [m]: 100 mm/s

LEASH = 4e-3
"""The commanded point never leads the measured hand by more than this before a new step is added [m]: a blocked hand
does not wind up."""

_BLOCKS = 5  # pieces of a policy step: the commanded point is a ramp, which ends before the last of them


class Hand:
    """Moves what hangs on the joints ``hand-x``, ``hand-y`` and ``hand-z`` by the actuators of a model, its only ones;
    their stiffness, damping and force limits stand in the scene.

    Args:
        model, data: of the scene.
        low, high: (3,) corners of the box in which the hand may move, world frame [m].
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, low: Sequence[float], high: Sequence[float]
    ) -> None:
        self._model, self._data, self._low, self._high = model, data, np.array(low), np.array(high)
        self._qpos = [model.joint(f"hand-{axis}").qposadr[0] for axis in "xyz"]
        self._command = np.zeros(3)
        self._substeps = round(1.0 / RATE_HZ / model.opt.timestep / _BLOCKS)

    @property
    def position(self) -> np.ndarray:
        """(3,) measured, world frame [m]."""
        return self._data.qpos[self._qpos].copy()

    def put(self, position: np.ndarray) -> None:
        """Hand and commanded point to (3,), world frame [m], without a step of physics."""
        self._data.qpos[self._qpos] = self._data.ctrl[:] = self._command = position

    def move(self, action: np.ndarray) -> None:
        """A policy step: the commanded point moves by (3,) `action` x `STEP_LIMIT`, and physics follows."""
        here = self.position
        start = np.clip(self._command, here - LEASH, here + LEASH)
        self._command = np.clip(start + STEP_LIMIT * action, self._low, self._high)
        for block in range(_BLOCKS):
            self._data.ctrl[:] = start + (self._command - start) * min(1.0, (block + 1) / (_BLOCKS - 1))
            mujoco.mj_step(self._model, self._data, self._substeps)
