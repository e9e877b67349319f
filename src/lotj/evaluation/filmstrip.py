"""Film strips: the frames of one trial with what reward and policy looked at, as `filmstrips.npz` in a run folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lotj.errors import DataError
from lotj.runs import atomic_write


@dataclass(frozen=True)
class FilmStrip:
    """One trial to look at.

    Attributes:
        frames: (T+1, V, H, W, 3) uint8 of V cameras.
        scores: (T+1,) reward probability of each frame, or None.
        reward_heat: (T+1, V, H, W) Grad-CAM of the reward in [0, 1], or None.
        policy_heat: the same of one action component of the policy, or None.
        success: the trial truly succeeded; None if unknown.
        seed: of the start pose; None if unknown.
    """

    frames: np.ndarray
    scores: np.ndarray | None = None
    reward_heat: np.ndarray | None = None
    policy_heat: np.ndarray | None = None
    success: bool | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 5 or self.frames.shape[-1] != 3 or not len(self.frames):
            raise DataError(
                f"film frames must be uint8 (T, V, H, W, 3), not {self.frames.dtype} {self.frames.shape}: "
                "run `lotj evaluate` again"
            )
        if self.scores is not None and self.scores.shape != self.frames.shape[:1]:
            raise DataError(f"film scores {self.scores.shape} must match {len(self.frames)} frames")
        for name in ("reward_heat", "policy_heat"):
            heat = getattr(self, name)
            if heat is not None and heat.shape != self.frames.shape[:-1]:
                raise DataError(f"{name} {heat.shape} must match frames {self.frames.shape[:-1]}")


def save_filmstrips(path: Path, strips: Mapping[str, FilmStrip]) -> None:
    """Writes strips (names: ``before``, ``after`` practice) as one compressed file; whole file or nothing."""
    arrays: dict[str, np.ndarray] = {}
    for name, strip in strips.items():
        for part, value in vars(strip).items():
            if value is not None:
                array = np.asarray(value)
                arrays[f"{name}_{part}"] = array.astype(np.float16) if array.dtype.kind == "f" else array
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getvalue())


def load_filmstrips(path: Path) -> dict[str, FilmStrip]:
    """Reads strips back, those that have frames.

    Raises:
        DataError: missing, torn or foreign file, or arrays that do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a film strip file ({error}): run `lotj evaluate` again") from error
    strips: dict[str, FilmStrip] = {}
    for name in (key.removesuffix("_frames") for key in arrays if key.endswith("_frames")):
        parts = {part: arrays.get(f"{name}_{part}") for part in FilmStrip.__dataclass_fields__}
        scalars = {part: value.item() for part, value in parts.items() if value is not None and not value.ndim}
        strips[name] = FilmStrip(**parts | scalars)  # pyright: ignore[reportArgumentType]
    return strips
