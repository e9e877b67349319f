"""Practice trials on disk: one file each, written whole or not at all, under ``<run>/trials``.

Features are stored beside the frames, so that a resumed run learns from exactly the numbers of the first sitting.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from lotj.data.replay import Trial
from lotj.errors import CheckpointError
from lotj.runs.files import atomic_write, storage_errors

FEATURE = "feature/"
"""Prefix of the arrays that are features, by name."""


def trial_path(run_path: Path, number: int) -> Path:
    """Where trial `number` (from 1) of a run lies."""
    return run_path / "trials" / f"{number:05d}.npz"


def save_trial(run_path: Path, trial: Trial) -> None:
    """Writes a finished trial atomically.

    Raises:
        StorageError: the disk is full.
    """
    arrays = {FEATURE + name: values for name, values in trial.features.items()}
    arrays |= {name: np.asarray(getattr(trial, name)) for name in Trial.__dataclass_fields__ if name != "features"}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    path = trial_path(run_path, trial.number)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    atomic_write(path, file.getvalue())


def load_trial(run_path: Path, number: int) -> Trial:
    """Reads a trial back.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = trial_path(run_path, number)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return Trial(
            number=int(arrays["number"]),
            frames=arrays["frames"],
            features={name.removeprefix(FEATURE): a for name, a in arrays.items() if name.startswith(FEATURE)},
            actions=arrays["actions"],
            scores=arrays["scores"],
            rewards=arrays["rewards"],
            terminated=bool(arrays["terminated"]),
            truncated=bool(arrays["truncated"]),
        )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"trial {number} cannot be read from {path} ({error}): the run cannot be resumed, start a new one"
        ) from error
