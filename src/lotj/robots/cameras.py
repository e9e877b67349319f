"""Whether cameras still see: a picture of the wrong size, a black one, one that stays while the hand moves."""

from __future__ import annotations

import numpy as np

from lotj.errors import FaultError
from lotj.experience import Observation
from lotj.spaces import Spec, is_picture

BLACK = 8
"""A view is black where none of its values is above this, of 255."""

FROZEN = 4e-3
"""A view is frozen when it has stayed the same, bit for bit, over so much motion of the hand [m]: even without noise a
wrist camera sees that, and a real one is never twice the same."""


class Cameras:
    """Holds every picture against what the robot has promised, and against the one before.

    Args:
        spec: of the robot; of its arrays those of uint8 with three colours are pictures, one or several views.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._seen: dict[str, np.ndarray] = {}
        self._still: dict[str, np.ndarray] = {}  # (V,) motion since each view has changed [m]

    def check(self, seen: Observation, moved: float) -> None:
        """Takes in what is observed after the hand has moved by so much [m].

        Raises:
            FaultError: an array is missing, of another shape or type or not finite, a view is black or frozen.
        """
        for name, of in self._spec.observation.items():
            array = np.asarray(seen.get(name))
            if array.shape != of.shape or array.dtype != of.dtype:
                raise FaultError(f"{name} is {array.shape} {array.dtype}, it must be {of.shape} {of.dtype}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise FaultError(f"{name} is not finite")
            if is_picture(of.dtype, of.shape):
                self._check_views(name, array.reshape(-1, *of.shape[-3:]), moved)

    def _check_views(self, name: str, views: np.ndarray, moved: float) -> None:
        before, still = self._seen.get(name), self._still.get(name, np.zeros(len(views)))
        if before is not None:
            same = np.array([np.array_equal(*pair) for pair in zip(before, views, strict=True)])
            still = np.where(same, still + moved, 0.0)
        self._seen[name], self._still[name] = views.copy(), still
        for number, view in enumerate(views):
            if view.max() <= BLACK:
                raise FaultError(f"camera {number} of {name} is black")
            if still[number] > FROZEN:
                raise FaultError(
                    f"camera {number} of {name} is frozen: the same picture over {1e3 * still[number]:.0f} mm"
                )
