"""Film strips: frames of one trial, on connectors with what reward and policy looked at; `filmstrips.npz` in a run."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.evaluation.results import AGAIN
from lotj.files import atomic_file

_OPTIONAL = ("scores", "reward_heat", "policy_heat")


@dataclass(frozen=True)
class FilmStrip:
    """One trial to look at.

    Attributes:
        frames: (F, V, H, W, 3) uint8 of V cameras.
        scores: (F,) reward probability of each frame; None where the environment rewards.
        reward_heat: (F, V, H, W) Grad-CAM of the reward in [0, 1]; None as above.
        policy_heat: the same of one action component of the policy; None if it sees no picture.
        success: the trial truly succeeded.
        seed: of the start pose.
        steps: (F,) after which step each frame was; None: they are all, from the start pose on.
    """

    frames: np.ndarray
    scores: np.ndarray | None
    reward_heat: np.ndarray | None
    policy_heat: np.ndarray | None
    success: bool
    seed: int
    steps: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 5 or self.frames.shape[-1] != 3 or not len(self.frames):
            raise DataError(f"film frames must be uint8 (T, V, H, W, 3), not {self.frames.dtype} {self.frames.shape}")
        for name, wanted in (("scores", 1), ("reward_heat", 4), ("policy_heat", 4), ("steps", 1)):
            part = getattr(self, name)
            if part is not None and part.shape != self.frames.shape[:wanted]:
                raise DataError(f"film {name} of shape {part.shape} must match frames {self.frames.shape}")

    def step(self, frame: int) -> int:
        """After which step a frame was, also counted from the end."""
        return int(np.arange(len(self.frames))[frame] if self.steps is None else self.steps[frame])


def save_filmstrips(path: Path, strips: Mapping[str, FilmStrip]) -> None:
    """Writes strips (names: ``before``, ``after`` practice) as one compressed file; whole file or nothing."""
    arrays: dict[str, np.ndarray] = {}
    for name, strip in strips.items():
        for part, value in vars(strip).items():
            if value is not None:
                array = np.asarray(value)
                arrays[f"{name}_{part}"] = array.astype(np.float16) if array.dtype.kind == "f" else array
    with atomic_file(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


_DAMAGE = (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


def load_filmstrips(path: Path) -> dict[str, FilmStrip]:
    """Reads strips back.

    Raises:
        DataError: missing, torn or foreign file, or arrays that do not fit each other.
    """
    strips: dict[str, dict[str, Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key, array in file.items():
                name, part = key.split("_", 1)
                strips.setdefault(name, dict.fromkeys(_OPTIONAL))[part] = array if array.ndim else array.item()
        return {name: FilmStrip(**parts) for name, parts in strips.items()}
    except (DataError, *_DAMAGE) as error:
        raise DataError(f"{path}: not a film strip file ({error}): {AGAIN}") from error
