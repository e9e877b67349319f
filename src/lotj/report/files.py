"""Reads a practice run folder, taking what is there and saying what is not.

The files (all but `config.json` may be missing; unknown keys are ignored):

- ``run.json`` and ``versions.json``: as `lotj.runs.Run` writes them (kind, seed, created; package -> version).
- ``config.json``: connector, connector_title, family, scenario, robot, domain, preset, trials, pretrain_run,
  pretrain_seed, insertion_depth_mm, commands (list), and any settings.
- ``metrics.jsonl``: a line a trial: trial (from 1), predicted_success (0/1), score, steps, value, seconds, ``loss/*``.
- ``truth.jsonl``: a line a trial: trial, true_success (0/1), depth_mm (0 at the socket's mouth, positive inside),
  lateral_mm, peak_force_n, dislodged: the state when the trial ended. For evaluation only.
- ``evaluation.json``: see `lotj.evaluation.results`. ``filmstrips.npz``: see `lotj.evaluation.filmstrip`.
- ``reward_report.json``: threshold; overall and connectors: n, positives, accuracy, auc, precision,
  false_positive_rate.
- ``timings.json``: machine, seconds (phase -> seconds).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.evaluation import EvaluationResult, FilmStrip, load_filmstrips, read_evaluations

METRICS, TRUTH, EVALUATION = "metrics.jsonl", "truth.jsonl", "evaluation.json"
FILMS, REWARD, TIMINGS, VERSIONS = "filmstrips.npz", "reward_report.json", "timings.json", "versions.json"


@dataclass(frozen=True)
class Trials:
    """Practice trials in order; entries are NaN where nothing was recorded.

    Attributes:
        trial: (n,) int64 trial numbers.
        predicted: (n,) 1 where the reward model called the end a success, else 0.
        true: (n,) 1 where it truly was one.
        series: name -> (n,): score, value, steps, seconds, ``loss/*``.
        state: name -> (n,): depth_mm, lateral_mm, peak_force_n, dislodged when the trial ended.
    """

    trial: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    series: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.trial)


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds.

    Attributes:
        folder: of the run.
        config: `config.json` with kind, seed and created of `run.json`.
        trials: None without `metrics.jsonl`.
        evaluations: possibly empty.
        films: name -> strip, possibly empty.
        reward: held-out figures, possibly empty.
        timings: possibly empty.
        versions: possibly empty.
        absent: file name -> why it is not here: ``missing`` or what is wrong with it.
    """

    folder: Path
    config: dict[str, Any]
    trials: Trials | None
    evaluations: list[EvaluationResult]
    films: dict[str, FilmStrip]
    reward: dict[str, Any]
    timings: dict[str, Any]
    versions: dict[str, Any]
    absent: dict[str, str] = field(default_factory=dict)


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder.

    Raises:
        DataError: no such folder, or no readable `config.json` in it (then it is not a run).
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder: give the folder that `lotj practice` printed")
    try:
        config = _read_object(folder / "config.json")
    except DataError as error:
        raise DataError(f"{error}: not a run folder; give the one that `lotj practice` printed") from error
    absent: dict[str, str] = {}

    def optional(name: str, read: Callable[[Path], Any], empty: Any) -> Any:
        if not (folder / name).exists():
            absent[name] = "missing"
            return empty
        try:
            return read(folder / name)
        except (DataError, OSError) as error:
            absent[name] = str(error)
            return empty

    metrics = optional(METRICS, lambda path: _read_lines(path, "predicted_success"), {})
    truth = optional(TRUTH, lambda path: _read_lines(path, "true_success"), {})
    for name, lines in ((METRICS, metrics), (TRUTH, truth)):
        if not lines:
            absent.setdefault(name, "it holds no trials yet")
    return RunFiles(
        folder=folder,
        config={**config, **optional("run.json", _read_object, {})},
        trials=_align(metrics, truth) if metrics else None,
        evaluations=optional(EVALUATION, read_evaluations, []),
        films=optional(FILMS, load_filmstrips, {}),
        reward=optional(REWARD, _read_object, {}),
        timings=optional(TIMINGS, _read_object, {}),
        versions=optional(VERSIONS, _read_object, {}),
        absent=absent,
    )


def number(value: Any) -> float:
    """A JSON value as a float; NaN if it is none."""
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def _read_lines(path: Path, needed: str) -> dict[int, dict[str, Any]]:
    """Lines by trial. The last line of a trial counts (a resumed run repeats it); a torn line is left out."""
    lines: dict[int, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and np.isfinite(number(line.get("trial"))) and needed in line:
            lines[int(line["trial"])] = line
    return lines


def _align(metrics: dict[int, dict[str, Any]], truth: dict[int, dict[str, Any]]) -> Trials:
    order = sorted(metrics)
    names = sorted({key for line in metrics.values() for key in line if key.startswith("loss/")})

    def column(lines: dict[int, dict[str, Any]], name: str) -> np.ndarray:
        return np.array([number(lines.get(trial, {}).get(name)) for trial in order])

    return Trials(
        trial=np.array(order, np.int64),
        predicted=column(metrics, "predicted_success"),
        true=column(truth, "true_success"),
        series={name: column(metrics, name) for name in ("score", "value", "steps", "seconds", *names)},
        state={name: column(truth, name) for name in ("depth_mm", "lateral_mm", "peak_force_n", "dislodged")},
    )
