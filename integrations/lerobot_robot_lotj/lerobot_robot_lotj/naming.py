"""What lotj's observations and actions are called in LeRobot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lotj.envs.insertion import STATE
from lotj.experience import Observation
from lotj.spaces import Spec

ACTIONS = ("dx", "dy", "dz")
"""Motion of the hand along x, y, z of the bench, each from -1 to 1 (6 mm of the simulated robots)."""


def state_names(spec: Spec) -> list[str]:
    """Of the numbers of ``state``; none where the robot shows none."""
    if "state" not in spec.observation:
        return []
    (count,) = spec.observation["state"].shape
    return list(STATE) if count == len(STATE) else [f"state_{number}" for number in range(count)]


def camera_names(spec: Spec) -> list[str]:
    """Of the views, in their order in ``image``: wrist_0, wrist_1."""
    return [f"wrist_{number}" for number in range(spec.observation["image"].shape[0])]


def flat(seen: Observation, spec: Spec) -> dict[str, float | np.ndarray]:
    """An observation as LeRobot's robots give it: a float for each number, (H, W, 3) uint8 for each camera."""
    numbers = zip(state_names(spec), seen.get("state", ()), strict=True)
    pictures = zip(camera_names(spec), seen["image"], strict=True)
    return {name: float(value) for name, value in numbers} | {name: np.array(view) for name, view in pictures}


def vector(action: Mapping[str, float]) -> np.ndarray:
    """(3,) float32 within [-1, 1]; what lies outside is clipped. ValueError where one is missing or not finite."""
    missing = [name for name in ACTIONS if name not in action]
    values = np.array([float(action[name]) for name in ACTIONS if name in action], np.float32)
    if missing or not np.isfinite(values).all():
        raise ValueError(f"action {dict(action)}: must have finite {', '.join(ACTIONS)}")
    return np.clip(values, -1.0, 1.0)
