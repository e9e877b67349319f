"""Practice beside the truth: lines of ``metrics.jsonl`` and ``truth.jsonl`` (see `lotj.report.files`) by trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np


def readable_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON-lines file; a torn line is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def number(value: Any) -> float:
    """A JSON value as a float; NaN if it is none."""
    return float(value) if isinstance(value, (int, float)) else float("nan")


def last_by(lines: Sequence[dict[str, Any]], key: str, needed: str) -> dict[int, dict[str, Any]]:
    """Lines that have `needed`, by their whole number `key`; the last of each counts (a resumed run repeats some)."""
    known = [line for line in lines if np.isfinite(number(line.get(key))) and line.get(needed) is not None]
    return {int(line[key]): line for line in known}


def match_truth(metrics: Mapping[int, dict[str, Any]], truth: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Truth by trial: by its number where it is written, else by the seed of the start pose. What the robot did after
    the trial's last motion is not the trial's: then its plug is taken out."""
    ends = {line["seed"]: line["moves"] for line in metrics.values() if {"seed", "moves"} <= set(line)}
    within = [line for line in truth if not number(line.get("steps")) > ends.get(line.get("seed"), math.inf)]
    by_seed = last_by(within, "seed", "true_success")
    from_seed = {trial: by_seed.get(line.get("seed", -1)) for trial, line in metrics.items()}
    by_trial = last_by(truth, "trial", "true_success")
    return {**{trial: line for trial, line in from_seed.items() if line}, **by_trial}


def motions(metrics: Mapping[int, dict[str, Any]], truth: Sequence[dict[str, Any]]) -> np.ndarray:
    """Motions of the robot in each trial, (n,) float64, NaN where nothing counts them: with the verification and, where
    the truth counts them, with all that follows until the next start, for its count of a start pose goes on then."""
    counted = {line.get("seed"): number(line.get("steps")) for line in truth}
    each = [np.fmax(number(line.get("moves")), counted.get(line.get("seed"), math.nan)) for line in metrics.values()]
    return np.array(each, np.float64)
