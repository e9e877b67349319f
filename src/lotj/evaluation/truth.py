"""Practice beside the truth: lines of ``metrics.jsonl`` and ``truth.jsonl`` (see `lotj.report.files`) by trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TRUTH = "truth"
"""Stands in a run's settings and in results for what the robot was rewarded with, where it was told the truth."""


class ToldTruth:
    """In place of a reward model: the simulator's word, which no robot has. For studies that separate policy from
    reward, and for nothing else.

    Args:
        file: of the robot, see `lotj.robots.simulated.SimulatedRobot`; it has a line more after each motion.
    """

    threshold = 0.5

    def __init__(self, file: Path) -> None:
        self._file, self._read = file, 0  # bytes
        self._new()

    def _new(self) -> list[bytes]:
        """Lines that have come since the last call: the file grows all through practice, and is read once."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as lines:
            lines.seek(self._read)
            new = lines.read()
        self._read += len(new)
        return new.splitlines()

    def score(self, images: np.ndarray) -> np.ndarray:
        """(1,) whether the plug sits after the last motion; 0 where none came since the last call, as at a start."""
        new = self._new()
        return np.array([float(bool(new) and json.loads(new[-1])["true_success"])])


def match_truth(metrics: Mapping[int, dict[str, Any]], truth: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Truth by trial, found by the seed of its start pose. What the robot did after the trial's last motion is not the
    trial's: then its plug is taken out."""
    ends = {line["seed"]: line["moves"] for line in metrics.values()}
    last = {line["seed"]: line for line in truth if line["steps"] <= ends.get(line["seed"], -1)}
    return {trial: last[line["seed"]] for trial, line in metrics.items() if line["seed"] in last}


def motions(metrics: Mapping[int, dict[str, Any]], truth: Sequence[dict[str, Any]]) -> np.ndarray:
    """Motions of the robot in each trial, (n,) float64, with all that follows until the next start: the truth's count
    of a start pose goes on while the plug is taken out."""
    counted = {line["seed"]: line["steps"] for line in truth}
    each = [max(line["moves"], counted.get(line["seed"], 0)) for line in metrics.values()]
    return np.array(each, np.float64)
