"""What a frame is worth for a goal, by codes alone: no state, no true reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from lotj.errors import SettingsError
from lotj.goals.encoder import Encoder
from lotj.ranges import Checked

KEPT = 100_000
"""Decoded goals that are remembered, 7 kB each: all frames of a thousand walks."""


class GoalReward(Protocol):
    """What a frame is worth.

    Attributes:
        reads: names of the observations that it wants: of ``code`` (B, D), ``precision`` (B, D), ``context`` (B, C)
            and ``image`` (B, V, H, W, 3).
    """

    @property
    def reads(self) -> tuple[str, ...]: ...

    def __call__(self, seen: Mapping[str, np.ndarray], goal: np.ndarray) -> np.ndarray:
        """(B,) float32, of what is observed in the frames that steps lead to, name -> (B, ...), and goals (B, D)."""
        ...


@dataclass(frozen=True)
class LatentReward(Checked):
    """Dense rewards of RIG (equation 3 of Nair et al. 2018, without its slip of sign).

    ``dense``: -||z' - z_g||, A = I. ``precision``: -||z' - z_g||_A, A the encoder's precision at s'. ``pixel``: minus
    the mean squared difference of s' and the decoded goal, pixels from 0 to 1.
    """

    kind: Literal["dense", "precision", "pixel"] = "dense"
    encoder: Encoder | None = None
    """Decodes goals, for ``pixel``."""
    _decoded: dict[bytes, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "pixel" and self.encoder is None:
            raise SettingsError("reward 'pixel': needs the encoder that decodes goals")

    @property
    def reads(self) -> tuple[str, ...]:
        """See `GoalReward`."""
        scene = ("context",) if self.encoder and self.encoder.needs_context else ()
        return {"dense": ("code",), "precision": ("code", "precision"), "pixel": ("image", *scene)}[self.kind]

    def __call__(self, seen: Mapping[str, np.ndarray], goal: np.ndarray) -> np.ndarray:
        """(B,) float32, at most 0."""
        if self.kind == "pixel":
            wanted = self._wanted(goal, seen.get("context")).astype(np.float32)
            there = seen["image"].reshape(wanted.shape).astype(np.float32)
            return -np.square((there - wanted) / 255.0).mean((1, 2, 3), dtype=np.float32)
        apart = np.square(seen["code"] - goal)
        if self.kind == "precision":
            apart = apart * seen["precision"]
        return -np.sqrt(apart.sum(-1)).astype(np.float32)

    def _wanted(self, goals: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """(B, H, W, 3) uint8 of goals (B, D). Each is decoded once, and alone, so that its picture does not depend on
        which others are in the batch: to decode a batch takes fifty times as long as an update of TD3."""
        assert self.encoder is not None
        pictures = []
        for row, goal in enumerate(goals):
            scene = None if context is None else context[row : row + 1]
            key = goal.tobytes() + (b"" if scene is None else scene.tobytes())
            if key not in self._decoded:
                if len(self._decoded) >= KEPT:
                    self._decoded.clear()
                self._decoded[key] = self.encoder.decode(goal[None], scene)[0]
            pictures.append(self._decoded[key])
        return np.array(pictures)
