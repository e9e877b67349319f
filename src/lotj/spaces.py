"""What an environment shows and takes: named arrays with shapes, dtypes and bounds (NumPy only)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.errors import DataError, SettingsError


def is_picture(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether arrays of this dtype (NumPy's name) and shape are pictures, (..., H, W, 3) uint8, and not empty."""
    return dtype == "uint8" and len(shape) >= 3 and shape[-1] == 3 and math.prod(shape) > 0


@dataclass(frozen=True)
class Array:
    """One named array of an observation: its shape, NumPy's name of its dtype, and the bounds of its elements, infinite
    where there are none."""

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float


@dataclass(frozen=True)
class Spec:
    """What an agent needs to know of an environment: what is observed, the shape of an action, whose elements lie in
    [-1, 1], steps a second, and where an episode is truncated."""

    observation: Mapping[str, Array]
    action: tuple[int, ...]
    rate_hz: float = 0.0  # not known: a data set records neither
    max_steps: int = 0

    @classmethod
    def from_spaces(cls, observation: Any, action: Any, rate_hz: float, max_steps: int) -> Spec:
        """From gymnasium's ``Dict`` of ``Box`` and ``Box`` of actions from -1 to 1; SettingsError for others. Bounds
        that differ within an array become the outermost."""
        boxes = getattr(observation, "spaces", None)
        if not isinstance(boxes, Mapping) or not boxes or not all(hasattr(box, "low") for box in boxes.values()):
            raise SettingsError(f"observation space {observation}: must be a Dict of Box, with a name for each array")
        if not hasattr(action, "low") or np.any(action.low != -1) or np.any(action.high != 1):
            rule = "must be a Box from -1 to 1; gymnasium's RescaleAction makes one"
            raise SettingsError(f"action space {action}: {rule}")
        arrays = {
            name: Array(tuple(box.shape), box.dtype.name, float(box.low.min()), float(box.high.max()))
            for name, box in boxes.items()
        }
        return cls(arrays, tuple(action.shape), float(rate_hz), int(max_steps))

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Spec:
        """From its fields as strict JSON has them, with null where there is no bound; DataError if it is not that."""
        try:
            arrays = {name: _array(**entry) for name, entry in written["observation"].items()}
            rate_hz, max_steps = float(written["rate_hz"]), int(written["max_steps"])
            return cls(arrays, tuple(int(n) for n in written["action"]), rate_hz, max_steps)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"no description of an environment ({reason}): {written!r}") from None


def _array(shape: list[int], dtype: str, low: float | None, high: float | None) -> Array:
    bounds = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return Array(tuple(int(n) for n in shape), np.dtype(dtype).name, *bounds)
