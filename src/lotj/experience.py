"""What a robot lives through: episodes as they are recorded and batches as they are learnt from (NumPy only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ACTION_DIM = 3
"""Actions are relative Cartesian motions (x, y, z) in [-1, 1]; the robot states the scale in metres."""

STATE_NAMES = ("x", "y", "z", "fx", "fy", "fz")
"""Columns of `Episode.state`: plug origin in the socket frame [m] (z = 0 when seated, positive outside)
and the contact force on the plug [N] in the same frame. Ground truth: for labels, baselines and evaluation only."""

STATE_DIM = len(STATE_NAMES)

SCENARIOS = ("near", "far")
"""`near`: start within +-10 mm of the socket axis; `far`: start in the 10-20 mm box (LOTJ, section VI-A)."""

KINDS = ("expert", "press", "withdraw", "half", "recover")
"""How an episode came about. `expert`: the paper's scripted expert (section IV). `recover`: the same expert taking over
where a `press` has left the plug. The near misses: `press`, a wrong calibration by 1-30 mm and pressing there;
`withdraw`, inserted and pulled out again; `half`, held at a partial depth."""

NEAR_MISSES = ("press", "withdraw", "half")
"""The kinds whose frames, where they are no success, look most like one."""


def is_kind(kinds: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """(N,) bool: which of (N,) indices into `KINDS` are of a wanted kind."""
    return np.isin(kinds, [KINDS.index(kind) for kind in wanted])


@dataclass(frozen=True)
class Domain:
    """One connector with one look, mount and robot, fixed by a seed.

    Attributes:
        name: unique, e.g. ``usb-a-2-0.sawbot.17``.
        connector: catalogue name.
        family: family of the connector.
        robot: name of the robot.
        seed: fixes everything else (clamp pose, in-hand pose, camera, lights, materials, clutter).
        split: ``train``, ``validation`` or ``test``.
    """

    name: str
    connector: str
    family: str
    robot: str
    seed: int
    split: str


@dataclass(frozen=True)
class Episode:
    """One finished episode of T steps, thus T+1 frames. Frames are stored once: the next frame of step t is frame t+1.

    Attributes:
        frames: (T+1, H, W, 3) uint8.
        actions: (T, 3) float32 in [-1, 1]; action t leads from frame t to frame t+1.
        success: (T+1,) bool, true success of each frame. A *near miss* may go on after success; the expert ends there.
        state: (T+1, STATE_DIM) float32, see `STATE_NAMES`.
        terminated: the last frame is a true success and the episode ended because of it.
        truncated: the episode ended by the time limit (the value of the last frame still bootstraps).
    """

    frames: np.ndarray
    actions: np.ndarray
    success: np.ndarray
    state: np.ndarray
    terminated: bool
    truncated: bool
    domain: str
    scenario: str
    kind: str
    seed: int

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (T+1, H, W, 3), not {self.frames.dtype} {self.frames.shape}")
        if not len(self.frames) == len(self.success) == len(self.state) == steps + 1:
            raise ValueError(
                f"{steps} actions need {steps + 1} frames, labels and states, not "
                f"{len(self.frames)}, {len(self.success)}, {len(self.state)}"
            )
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is not one of {KINDS}")

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.actions)


@dataclass
class Batch:
    """B transitions. Arrays are NumPy or torch (the learner moves them); observations are images or cached features.

    Attributes:
        observation: (B, H, W, 3) uint8 images, or a mapping name -> (B, ...) of cached features.
        action: (B, 3) float32.
        reward: (B,) float32, 1 for success in the *next* frame, else 0.
        terminated: (B,) bool; only these cut the bootstrap.
        truncated: (B,) bool; time limits, which keep bootstrapping.
        next_observation: like `observation`.
        domain: (B,) int64, index of the domain; -1 for the domain being practised.
        policy: (B,) bool, the rows that the policy is to learn from; None for all. Values are learnt from all.
        position: (B, 3) of the plug in the socket frame [m], where the data know it; None in practice.
    """

    observation: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    next_observation: Any
    domain: Any
    policy: Any = None
    position: Any = None

    def __len__(self) -> int:
        return len(self.action)
