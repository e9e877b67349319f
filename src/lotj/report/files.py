"""Reads a practice run folder, taking what is there and saying what is not.

The files (all but `run.json` and `config.json` may be missing; unknown keys are ignored):

- ``run.json``, ``config.json`` and ``versions.json``: as `lotj.runs.Run` writes them. Settings are task, agent,
  rate_hz, preset, trials, pretrain_run, pretrain_seed, commands (list), and any others; where a robot judges itself
  connector, connector_title, family, scenario, robot, domain, insertion_depth_mm.
- ``metrics.jsonl``: a line a trial: trial (from 1), seed (of the start pose), predicted_success, score, steps, moves
  (of the robot, up to the trial's end; later ones take the plug out), value, seconds, ``loss/*``.
- ``truth.jsonl``: a line a move: seed, steps (moves so far), true_success, depth_mm (0 at the socket's mouth, positive
  inside), lateral_mm, peak_force_n, dislodged, wrong_socket. For evaluation only.
- ``evaluation.json``: see `lotj.evaluation.results`. ``filmstrips.npz``: see `lotj.evaluation.filmstrip`.
- ``reward_report.json``: see `lotj.rewards.held_out`.
- ``timings.json``: machine, seconds (phase -> seconds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from lotj.errors import LotjError
from lotj.evaluation.filmstrip import FilmStrip, load_filmstrips
from lotj.evaluation.results import EvaluationResult, read_evaluations
from lotj.evaluation.truth import match_truth, motions
from lotj.experience import INSERTION
from lotj.files import read_object
from lotj.runs import Run, read_timings
from lotj.runs.metrics import read_lines

METRICS, TRUTH, EVALUATION = "metrics.jsonl", "truth.jsonl", "evaluation.json"
FILMS, REWARD, TIMINGS, VERSIONS = "filmstrips.npz", "reward_report.json", "timings.json", "versions.json"

_PRACTISED, _TRUE = ("trial", "seed", "predicted_success", "moves"), ("seed", "steps")
_SERIES, _PLACES = ("score", "value", "steps", "seconds", "alarm"), ("depth_mm", "lateral_mm", "dislodged")


@dataclass(frozen=True)
class Trials:
    """Practice trials in order; entries are NaN where nothing was recorded."""

    trial: np.ndarray  # (n,) int64 trial numbers
    predicted: np.ndarray  # (n,) 1 where the trial counted as a success in practice, else 0
    true: np.ndarray  # (n,) 1 where it truly was one, else 0
    # name -> (n,): score, value, steps, seconds, alarm, ``loss/*``; depth_mm, lateral_mm, dislodged at the trial's end
    series: dict[str, np.ndarray]
    judged: bool = True  # the robot judged itself; if not, the environment did, and what counted is true

    def __len__(self) -> int:
        return len(self.trial)


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; empty, or None, without the file."""

    folder: Path  # of the run, no link
    config: dict[str, Any]  # the settings, with seed and time of creation
    trials: Trials | None
    moves: int  # motions of the robot in practice, verification included, withdrawals where the truth counts them
    evaluations: dict[str, EvaluationResult]  # by name
    films: dict[str, FilmStrip]
    # threshold, overall, and connectors, name -> figure -> value, kinds of episode among the figures
    reward: dict[str, Any] | None
    timings: dict[str, Any] | None
    versions: dict[str, Any]
    # This run and those beside it of the same settings and scenario: unit -> controller -> result. A unit is a
    # pretraining on a bench; of several runs of one the latest counts.
    alike: dict[str, dict[str, EvaluationResult]]
    absent: dict[str, str]  # file name -> why it is not here: ``missing`` or what is wrong with it

    @property
    def judged(self) -> bool:
        """Whether a robot judged itself, on a connector; if not, the environment rewarded."""
        return _judged(self.config)


def read_run(folder: Path) -> RunFiles:
    """Reads a run folder.

    Raises:
        SettingsError: it is no run, or its settings lack what the page needs, as those of an older version may.
    """
    run, absent = Run.open(folder), {}
    folder, judged = run.path, run.self_judged
    for name, kind in {"commands": list, **({"connector": str, "insertion_depth_mm": float} if judged else {})}.items():
        run.setting(name, kind)

    def optional(name: str, read: Callable[[Path], Any], empty: Any) -> Any:
        if not (folder / name).exists():
            absent[name] = "missing"
            return empty
        try:
            return read(folder / name)
        except (LotjError, OSError) as error:
            absent[name] = str(error).replace(f"{folder}/", "")  # the page may travel: no paths of this machine
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            absent[name] = f"{name}: an entry is missing or damaged ({type(error).__name__}: {error})"
        return empty

    metrics = {line["trial"]: line for line in optional(METRICS, partial(_read_numbers, _PRACTISED), [])}
    truth = optional(TRUTH, partial(_read_numbers, _TRUE), [])
    matched = match_truth(metrics, truth)
    if not judged:
        matched = {trial: {"true_success": line["predicted_success"]} for trial, line in metrics.items()}
    if not metrics:
        absent.setdefault(METRICS, "it holds no trials yet")
    elif not matched:
        absent.setdefault(TRUTH, "its lines cannot be matched with the trials (they share no seed)")
    evaluations = {result.name: result for result in optional(EVALUATION, read_evaluations, [])}
    return RunFiles(
        folder=folder,
        config=run.config | {"seed": run.seed, "created": run.created},
        trials=aligned(metrics, matched, judged) if metrics else None,
        moves=int(motions(metrics, truth).sum()),
        evaluations=evaluations,
        films=optional(FILMS, load_filmstrips, {}),
        reward=optional(REWARD, _read_reward, None),
        timings=optional(TIMINGS, read_timings, None),
        versions=optional(VERSIONS, read_object, {}),
        alike={_unit(run): evaluations} | _alike(run),
        absent=absent,
    )


def _judged(config: dict[str, Any]) -> bool:
    return str(config.get("task", INSERTION)).startswith(INSERTION)


def _unit(run: Run) -> str:
    """A pretraining and a bench; where the environment rewards, a seed."""
    config = run.config
    bench = config.get("domain", config.get("connector")) if _judged(config) else f"seed {run.seed}"
    return f"{bench}, pretraining {config.get('pretrain_run')}"


def _alike(run: Run) -> dict[str, dict[str, EvaluationResult]]:
    """Evaluations of the other runs beside `run` that differ from it in nothing but their unit and seed."""

    def settings(run: Run) -> list[Any]:
        practice = {name: value for name, value in run.setting("practice", dict).items() if name != "threads"}
        task = None if _judged(run.config) else run.setting("task")
        return [practice, task, *map(run.config.get, ("scenario", "preset", "agent"))]

    found = {}
    for path in sorted(run.path.parent.glob(f"*/{EVALUATION}")):
        try:
            other = Run.open(path.parent)
            if settings(other) == settings(run) and _unit(other) != _unit(run):
                found[_unit(other)] = {result.name: result for result in read_evaluations(path)}
        except LotjError:
            continue  # torn, or no run
    return found


def _read_numbers(needed: tuple[str, ...], path: Path) -> list[dict[str, Any]]:
    """JSON lines, each with whole numbers of these names, and with numbers, or null, where others are drawn."""
    lines = read_lines(path)
    for line in lines:
        drawn = {name for name in line if name in (*_SERIES, *_PLACES, "true_success") or name.startswith("loss/")}
        for name in (*needed, *drawn.difference(needed)):
            kinds = int if name in needed else (int, float, NoneType)
            if not isinstance(line[name], kinds):
                raise TypeError(f"{name} is {line[name]!r}")
    return lines


def _read_reward(path: Path) -> dict[str, Any]:
    report = read_object(path)
    named = {**report["connectors"], "": report["overall"]}
    rows = {name: {**entry, **entry["false_positive_rate"]} for name, entry in named.items()}
    return {"threshold": float(report["threshold"]), "overall": rows.pop(""), "connectors": rows}


def aligned(metrics: dict[int, dict[str, Any]], truth: dict[int, dict[str, Any]], judged: bool) -> Trials:
    """Lines of ``metrics.jsonl`` and, as far as there are some, of ``truth.jsonl``, by trial, as arrays."""
    order = sorted(metrics)
    names = sorted({key for line in metrics.values() for key in line if key.startswith("loss/")})

    def column(lines: dict[int, dict[str, Any]], name: str) -> np.ndarray:
        """NaN where nothing was recorded, or what JSON cannot say (null)."""
        return np.array([lines.get(trial, {}).get(name) for trial in order], float)

    return Trials(
        trial=np.array(order, np.int64),
        predicted=column(metrics, "predicted_success"),
        true=column(truth, "true_success"),
        series={name: column(metrics, name) for name in (*_SERIES, *names)}
        | {name: column(truth, name) for name in _PLACES},
        judged=judged,
    )
