"""Reads a practice run folder, taking what is there and saying what is not.

The files (all but `config.json` may be missing; unknown keys are ignored):

- ``run.json`` and ``versions.json``: as `lotj.runs.Run` writes them (kind, seed, created; package -> version).
- ``config.json``: task, agent, rate_hz, preset, trials, pretrain_run, pretrain_seed, commands (list), and any settings;
  where a robot judges itself connector, connector_title, family, scenario, robot, domain, insertion_depth_mm.
- ``metrics.jsonl``: a line a trial: trial (from 1), seed (of the start pose), predicted_success, score, steps, moves
  (of the robot, up to the trial's end; later ones take the plug out), value, seconds, ``loss/*``.
- ``truth.jsonl``: a line a trial, or one a move: trial or seed, steps (moves so far), true_success, depth_mm (0 at the
  socket's mouth, positive inside), insertion_depth_mm, lateral_mm, peak_force_n, dislodged. For evaluation only.
- ``evaluation.json``: see `lotj.evaluation.results`. ``filmstrips.npz``: see `lotj.evaluation.filmstrip`.
- ``reward_report.json``: threshold; overall and connectors (by name): successes, others (frames), accuracy,
  near_miss_accuracy, auc, precision, false_positive_rate (by kind of episode).
- ``timings.json``: machine, seconds (phase -> seconds).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.evaluation import EvaluationResult, FilmStrip, Summary, load_filmstrips, read_evaluations
from lotj.evaluation.truth import last_by, match_truth, motions, number, readable_lines

METRICS, TRUTH, EVALUATION = "metrics.jsonl", "truth.jsonl", "evaluation.json"
FILMS, REWARD, TIMINGS, VERSIONS = "filmstrips.npz", "reward_report.json", "timings.json", "versions.json"


@dataclass(frozen=True)
class Trials:
    """Practice trials in order; entries are NaN where nothing was recorded.

    Attributes:
        trial: (n,) int64 trial numbers.
        predicted, true: (n,) 1 where the trial counted as a success in practice, and truly was one, else 0.
        series: name -> (n,): score, value, steps, seconds, alarm, ``loss/*``.
        state: name -> (n,): depth_mm, lateral_mm, peak_force_n, dislodged when the trial ended.
        judged: the robot judged itself; if not, the environment did, and what counted is true.
    """

    trial: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    series: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    judged: bool = True

    def __len__(self) -> int:
        return len(self.trial)

    def last(self, n: int) -> Trials:
        """Only the last n."""
        series, state = ({name: values[-n:] for name, values in of.items()} for of in (self.series, self.state))
        return Trials(self.trial[-n:], self.predicted[-n:], self.true[-n:], series, state, self.judged)


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds.

    Attributes:
        folder: of the run.
        config: `config.json` with kind, seed and created of `run.json`.
        trials: None without `metrics.jsonl`.
        moves: motions of the robot in practice, verification included, withdrawals where the truth counts them; NaN if
            not recorded.
        insertion_depth_mm: depth of a seated plug; NaN if not recorded.
        evaluations, films, reward, timings, versions: of their files, possibly empty.
        alike: this run and those beside it of the same settings and scenario: unit -> controller -> result. A unit is a
            pretraining on a bench; of several runs of one the latest counts.
        absent: file name -> why it is not here: ``missing`` or what is wrong with it.
    """

    folder: Path
    config: dict[str, Any]
    trials: Trials | None
    moves: float
    insertion_depth_mm: float
    evaluations: list[EvaluationResult]
    films: dict[str, FilmStrip]
    reward: dict[str, Any]
    timings: dict[str, Any]
    versions: dict[str, Any]
    alike: dict[str, dict[str, EvaluationResult]]
    absent: dict[str, str]

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Name of an evaluation -> its summary."""
        return {result.name: result.summary() for result in self.evaluations}

    @property
    def judged(self) -> bool:
        """Whether a robot judged itself, on a connector; if not, the environment rewarded."""
        return _judged(self.config)


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
            absent[name] = str(error).replace(f"{folder}/", "")  # the page may travel: no paths of this machine
            return empty

    metrics = last_by(optional(METRICS, readable_lines, []), "trial", "predicted_success")
    truth = optional(TRUTH, readable_lines, [])
    matched = match_truth(metrics, truth)
    if not _judged(config):
        matched = {trial: {"true_success": line["predicted_success"]} for trial, line in metrics.items()}
    if not metrics:
        absent.setdefault(METRICS, "it holds no trials yet")
    elif not matched:
        absent.setdefault(TRUTH, "its lines cannot be matched with the trials (they share no trial number and no seed)")
    depths = (number(line.get("insertion_depth_mm")) for line in [config, *truth])
    evaluations = optional(EVALUATION, read_evaluations, [])
    config = {**config, **optional("run.json", _read_object, {})}
    return RunFiles(
        folder=folder,
        config=config,
        trials=_align(metrics, matched, _judged(config)) if metrics else None,
        moves=float(np.sum(motions(metrics, truth))) if metrics else math.nan,
        insertion_depth_mm=next(filter(np.isfinite, depths), math.nan),
        evaluations=evaluations,
        films=optional(FILMS, load_filmstrips, {}),
        reward=optional(REWARD, _read_object, {}),
        timings=optional(TIMINGS, _read_object, {}),
        versions=optional(VERSIONS, _read_object, {}),
        alike={_unit(config): {result.name: result for result in evaluations}} | _alike(folder, config),
        absent=absent,
    )


def _judged(config: dict[str, Any]) -> bool:
    return str(config.get("task", "insertion/")).startswith("insertion/")


def _unit(config: dict[str, Any]) -> str:
    """A pretraining and a bench; where the environment rewards, a seed."""
    bench = config.get("domain", config.get("connector")) if _judged(config) else f"seed {config.get('seed')}"
    return f"{bench}, pretraining {config.get('pretrain_run')}"


def _alike(folder: Path, config: dict[str, Any]) -> dict[str, dict[str, EvaluationResult]]:
    """Evaluations of the other runs beside `folder` that differ from it in nothing but their unit and seed."""

    def settings(config: dict[str, Any]) -> list[Any]:
        practice = config.get("practice")
        practice = {k: v for k, v in practice.items() if k != "threads"} if isinstance(practice, dict) else practice
        task = None if _judged(config) else config["task"]
        return [practice, task, *map(config.get, ("scenario", "preset", "agent"))]

    found = {}
    for other in sorted(path.parent for path in folder.resolve().parent.glob(f"*/{EVALUATION}")):
        try:
            theirs = _read_object(other / "config.json")
            theirs |= {} if _judged(theirs) else _read_object(other / "run.json")
            if settings(theirs) == settings(config) and _unit(theirs) != _unit(config):
                found[_unit(theirs)] = {result.name: result for result in read_evaluations(other / EVALUATION)}
        except DataError:
            continue  # torn, or no run of practice
    return found


def entries(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A JSON object in another; empty if there is none."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def _align(metrics: dict[int, dict[str, Any]], truth: dict[int, dict[str, Any]], judged: bool) -> Trials:
    order = sorted(metrics)
    names = sorted({key for line in metrics.values() for key in line if key.startswith("loss/")})

    def column(lines: dict[int, dict[str, Any]], name: str) -> np.ndarray:
        return np.array([number(lines.get(trial, {}).get(name)) for trial in order])

    return Trials(
        trial=np.array(order, np.int64),
        predicted=column(metrics, "predicted_success"),
        true=column(truth, "true_success"),
        series={name: column(metrics, name) for name in ("score", "value", "steps", "seconds", "alarm", *names)},
        state={name: column(truth, name) for name in ("depth_mm", "lateral_mm", "peak_force_n", "dislodged")},
        judged=judged,
    )
