"""Practice beside the truth: lines of ``metrics.jsonl`` and ``truth.jsonl`` (see `lotj.report.files`) by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
