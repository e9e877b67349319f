"""What carries the gripper and is driven to a commanded point: three sliding axes, without links, or a jointed arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import mujoco
import numpy as np

AXES = "xyz"


class Carrier(Protocol):
    """Of the hand, along the axes of the bench; it does not turn."""

    def put(self, place: np.ndarray) -> None:
        """Stand with the hand at (3,) in the world [m], at rest, held there; `mujoco.mj_forward` is the caller's."""
        ...

    def drive(self, point: np.ndarray, substeps: int) -> None:
        """Pull the hand to a point (3,) in the world [m] for so many steps of the physics."""
        ...

    def place(self) -> np.ndarray:
        """(3,) where the hand is measured to be in the world [m]."""
        ...

    def velocity(self) -> np.ndarray:
        """(3,) of the hand [m/s]."""
        ...

    def force(self) -> np.ndarray:
        """(3,) of socket, clamp and bench on plug and fingers, with the friction of the seat [N]."""
        ...


class Sliding:
    """A hand on three sliding axes, each with a position drive."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._at: Sequence[int] = [model.joint(f"hand-{axis}").qposadr[0] for axis in AXES]
        self._dof: Sequence[int] = [model.joint(f"hand-{axis}").dofadr[0] for axis in AXES]

    def put(self, place: np.ndarray) -> None:
        """See `Carrier.put`."""
        self._data.qpos[self._at] = self._data.ctrl[:] = place

    def drive(self, point: np.ndarray, substeps: int) -> None:
        """See `Carrier.drive`."""
        self._data.ctrl[:] = point
        mujoco.mj_step(self._model, self._data, substeps)

    def place(self) -> np.ndarray:
        """See `Carrier.place`."""
        return self._data.qpos[self._at].copy()

    def velocity(self) -> np.ndarray:
        """See `Carrier.velocity`."""
        return self._data.qvel[self._dof].copy()

    def force(self) -> np.ndarray:
        """See `Carrier.force`. The three axes carry all that touches the hand, so their constraint forces are the sum
        of all contacts plus the friction of the seat."""
        return self._data.qfrc_constraint[self._dof].copy()
