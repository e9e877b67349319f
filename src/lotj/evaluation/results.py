"""What an evaluation found, and `evaluation.json`, the list of evaluations in a run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.evaluation.statistics import wilson
from lotj.runs import atomic_write

LABELS = {
    "offline": "Before practice",
    "practice": "After practice",
    "straight-down": "Straight down",
    "random-search": "Random search",
    "spiral-search": "Spiral search",
    "expert": "Scripted expert",
    "policy-server": "Policy server",
    "localize": "Localize",
    "localize-straight-down": "Localize, then straight down",
    "localize-random-search": "Localize, then random search",
    "localize-spiral-search": "Localize, then spiral search",
}
"""Name and label of all that can be evaluated. The last three are the paper's way of searching from `far`."""

POLICIES = ("offline", "practice")
"""The learned policies; all others are hand-made."""

EXPERT = "expert"
"""The scripted expert: no baseline, for it knows what others have to find out, but a measure of speed."""

REMOTE = "policy-server"
"""A policy that is served elsewhere, see `lotj.robots.policy_server`."""

USUAL = (*POLICIES, "straight-down", "spiral-search")
"""Evaluated on a connector unless others are asked for, and the first rows of a table, in this order."""

_COLUMNS = {"seed": int, "success": bool, "steps": int, "seconds": float, "peak_force_n": float, "dislodged": bool}


@dataclass(frozen=True)
class EvaluationResult:
    """One controller on n start poses.

    Attributes:
        name: key in `evaluation.json`, e.g. of `LABELS`.
        seed: (n,) int64; the same seeds give the same start poses for every controller.
        success: (n,) bool, true success.
        steps, seconds: (n,) int64 environment steps; (n,) float64 time on the robot.
        peak_force_n: (n,) float64, greatest contact force [N].
        dislodged: (n,) bool.
        context: what else belongs to it (connector, scenario, domain): plain JSON values.
        reward: (n,) float64, sum of the rewards; None where that was not kept.
        film: (T+1, V, H, W, 3) uint8 frames of the first trial, if they were asked for; not stored in JSON.
    """

    name: str
    seed: np.ndarray
    success: np.ndarray
    steps: np.ndarray
    seconds: np.ndarray
    peak_force_n: np.ndarray
    dislodged: np.ndarray
    context: dict[str, Any] = field(default_factory=dict)
    reward: np.ndarray | None = None
    film: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        """Number of trials n."""
        return len(self.seed)

    @property
    def label(self) -> str:
        """For people."""
        return LABELS.get(self.name, self.name)

    @property
    def successes(self) -> int:
        """Trials that truly succeeded."""
        return int(self.success.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the success rate."""
        return wilson(self.successes, len(self))

    @property
    def success_seconds(self) -> float | None:
        """Mean time on the robot of the trials that succeeded; None without any."""
        return float(self.seconds[self.success].mean()) if self.successes else None

    def to_json(self) -> dict[str, Any]:
        """As one entry of `evaluation.json`."""
        columns = _COLUMNS if self.reward is None else {**_COLUMNS, "reward": float}
        results = [{k: kind(getattr(self, k)[trial]) for k, kind in columns.items()} for trial in range(len(self))]
        head = {"name": self.name, **self.context, "n": len(self), "successes": self.successes}
        return {**head, "results": results}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> EvaluationResult:
        """Reads one entry of `evaluation.json`; counts are made anew from the single trials.

        Raises:
            DataError: an entry without trials, or a trial with a missing or wrong value.
        """
        try:
            name, results = str(entry["name"]), list(entry["results"])
            columns: dict[str, Any] = {
                key: np.array([kind(result[key]) for result in results], dtype=np.dtype(kind))
                for key, kind in _COLUMNS.items()
            }
            if all("reward" in result for result in results):  # an earlier lotj did not keep it
                columns["reward"] = np.array([float(result["reward"]) for result in results])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"an evaluation has a missing or wrong entry ({error!r})") from error
        if not results:
            raise DataError(f"evaluation {name!r} has no trials")
        head = ("name", "n", "successes", "results", "label", "summary")  # the last two of an earlier lotj
        context = {key: value for key, value in entry.items() if key not in head}
        return cls(name=name, context=context, **columns)


AGAIN = "delete it and run `lotj evaluate` again"
"""What helps where a file of an evaluation is damaged: those to come are put into it."""


def read_evaluations(path: Path) -> list[EvaluationResult]:
    """Reads `evaluation.json`.

    Raises:
        DataError: missing, not JSON, or not a list of evaluations.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}): {AGAIN}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: must hold a list of evaluations: {AGAIN}")
    try:
        return [EvaluationResult.from_json(entry) for entry in entries]
    except DataError as error:
        raise DataError(f"{path}: {error}: {AGAIN}") from error


def add_evaluation(path: Path, result: EvaluationResult) -> None:
    """Puts `result` into `evaluation.json`, in place of an earlier one of the same name; whole file or nothing.

    Raises:
        DataError: the file that is there is not a list of evaluations.
        StorageError: it cannot be written.
    """
    kept = {other.name: other for other in read_evaluations(path)} if path.exists() else {}
    kept[result.name] = result  # a dictionary keeps the place
    text = json.dumps([entry.to_json() for entry in kept.values()], indent=1, allow_nan=False)
    atomic_write(path, text.encode())
