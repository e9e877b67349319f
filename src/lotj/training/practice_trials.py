"""A practice trial as it grows, and on disk: one file each, written whole or not at all, under ``<run>/trials``.

Features are stored beside the frames, so that a resumed run learns from exactly the numbers of the first sitting.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data.replay import Trial
from lotj.errors import CheckpointError
from lotj.files import atomic_write, storage_errors
from lotj.training.pretrain_loop import Means

FEATURE = "feature/"
"""Prefix of the arrays that are features, by name."""


@dataclass
class RunningTrial:
    """A trial as it grows."""

    frames: list[np.ndarray] = field(default_factory=list)
    features: list[dict[str, np.ndarray]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    pressed: int = 0  # last steps that are the press of a touch which it stood
    moves: int = 0  # motions of the robot, those of a touch that are no steps included
    success: bool = False
    tried: np.ndarray | None = None  # the policy's action while the robot executes it
    denied: int = 0  # predicted successes that slid on a push
    elsewhere: bool = False  # ended in what looked like success, in a place that is not the socket's
    value: float = math.nan  # of the start state
    bold: float = 0.0  # how bold its exploration is

    @property
    def observation(self) -> Any:
        """What the agent gets to see now, as a batch of one."""
        return {name: values[None] for name, values in self.features[-1].items()} or self.frames[-1][None]

    def begin(self, observed: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
        """Take in the start: an (H, W, 3) uint8 frame and its features, without a batch dimension."""
        self.frames.append(observed[0])
        self.features.append(observed[1])

    def add(self, action: np.ndarray, score: float, observed: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
        """Take in a step: the (3,) action, the score in [0, 1] of the frame after it, and that frame as in `begin`."""
        self.actions.append(action)
        self.scores.append(score)
        self.begin(observed)

    def refute(self) -> None:
        """None of the frames so far was a success, whatever they score."""
        self.scores = [0.0] * len(self.scores)

    def finish_lost(self, number: int) -> Trial:
        """The trial as it is kept where the last action tried has dislodged the plug: that ends it, without reward.

        Nobody has seen what came after, and as the end it need not be known: the last frame stands for it.
        """
        assert self.tried is not None
        self.refute()
        self.add(self.tried, 0.0, (self.frames[-1], self.features[-1]))
        return replace(self.finish(number), terminated=True, truncated=False)

    def finish(self, number: int) -> Trial:
        """The trial as it is kept. Its last step ended it."""
        steps, ended = len(self.actions), self.success or self.elsewhere
        if self.elsewhere:
            self.refute()
        return Trial(
            number=number,
            frames=np.stack(self.frames),
            features={name: np.stack([f[name] for f in self.features]) for name in self.features[0]},
            actions=np.stack(self.actions),
            scores=np.array(self.scores, np.float32),
            rewards=np.where(np.arange(1, steps + 1) == steps, self.success, False).astype(np.float32),
            terminated=ended,
            truncated=not ended,
        )

    def row(self) -> dict[str, float]:
        """Its part of the trial's line in ``metrics.jsonl``."""
        score = {"score": self.scores[-1]} if self.scores else {}
        counts = {"steps": len(self.actions), "moves": self.moves, "predicted_success": int(self.success)}
        counts |= {"denied_pushes": self.denied, "denied_place": int(self.elsewhere)}
        return counts | {"bold": self.bold, "value": self.value} | score


@dataclass
class UpdateMeans:
    """Means of what the agent says of the updates of one trial."""

    count: int = 0
    seconds: float = 0.0
    means: Means = field(default_factory=Means)

    def add(self, numbers: dict[str, float]) -> None:
        """Take in what one update returned."""
        self.count += 1
        self.means.add(numbers)

    def row(self) -> dict[str, float]:
        """Its part of the trial's line: losses as ``loss/<name>``, the rest as ``agent/<name>``. To be taken once."""
        row: dict[str, float] = {"updates": self.count}
        if self.count:
            row["updates_per_second"] = self.count / self.seconds
        for name, mean in self.means.take().items():
            row["loss/" + name[5:] if name.startswith("loss_") else "agent/" + name] = mean
        return row


def trial_path(run_path: Path, number: int, way: int = 0) -> Path:
    """Where trial `number` (from 1) of a run lies; with `way` (from 1), a way in that was seen after it."""
    return run_path / "trials" / (f"{number:05d}-way{way}.npz" if way else f"{number:05d}.npz")


def save_trial(run_path: Path, trial: Trial, way: int = 0) -> None:
    """Writes a finished trial, or a way in that was seen after it, atomically.

    Raises:
        StorageError: the disk is full.
    """
    arrays = {FEATURE + name: values for name, values in trial.features.items()}
    arrays |= {name: np.asarray(getattr(trial, name)) for name in Trial.__dataclass_fields__ if name != "features"}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    path = trial_path(run_path, trial.number, way)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    atomic_write(path, file.getvalue())


def load_trial(run_path: Path, number: int, way: int = 0) -> Trial:
    """Reads a trial back, or a way in that was seen after it.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = trial_path(run_path, number, way)
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
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"trial {number} cannot be read from {path} ({error}): the run cannot be resumed, start a new one"
        ) from error
