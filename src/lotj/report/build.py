"""`build_report`: a practice run folder in, one self-contained `report.html` out."""

from __future__ import annotations

import math
import shlex
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lotj.evaluation import LABELS, barnard
from lotj.evaluation.truth import number
from lotj.report import charts
from lotj.report.files import EVALUATION, FILMS, METRICS, REWARD, TIMINGS, TRUTH, RunFiles, entries, read_run
from lotj.report.findings import (
    ORDER,
    duration,
    interval_words,
    judge,
    p_words,
    pace_sentences,
    percent,
    place_words,
    summary_sentences,
)
from lotj.report.pictures import stills
from lotj.runs import atomic_write

SCENARIOS = {"near": "starts within ±10 mm of the socket’s axis", "far": "starts 10–20 mm off the socket’s axis"}

HELD_OUT = {
    "frames": ("Frames", "count"),
    "accuracy": ("Accuracy", "accuracy"),
    "near_miss_accuracy": ("Accuracy, near misses", "accuracy"),
    "accuracy_left_out": ("Accuracy, left out", "accuracy"),
    "auc": ("AUC", "auc"),
    "precision": ("Precision", "rate"),
    "expert": ("expert", "rate"),
    "press": ("pressed beside", "rate"),
    "withdraw": ("withdrawn", "rate"),
    "half": ("half in", "rate"),
    "recover": ("recovering", "rate"),
}
"""Columns of the reward's table: key in `reward_report.json` (of ``false_positive_rate`` for kinds) -> title, form."""

_NOT_SETTINGS = (
    *("task", "connector", "connector_title", "family", "scenario", "robot", "domain", "preset", "trials"),
    *("seed", "created", "commands", "kind", "format"),
)


def build_report(run_folder: Path) -> Path:
    """Makes `report.html` in a run folder from the files that are there (see `lotj.report.files`).

    Sections whose files are missing or damaged say so and name the command that makes them.

    Args:
        run_folder: of a practice run; a link such as ``runs/last`` will do.

    Returns:
        Path of the page: one file without references to anything outside it.

    Raises:
        DataError: no such folder, or it is no run.
        StorageError: the page cannot be written.
    """
    run = read_run(Path(run_folder))
    config, commands = run.config, run.config.get("commands") or []
    environment = Environment(loader=PackageLoader("lotj.report"), autoescape=True, undefined=StrictUndefined)
    style = resources.files("lotj.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html").render(
        run=run,
        style=style,
        title=str(
            config.get("connector_title") or config.get("connector") or config.get("task") or "Unknown connector"
        ),
        summary=summary_sentences(run),
        facts=_facts(run),
        remedies=_remedies(run),
        commands=[commands] if isinstance(commands, str) else list(map(str, commands)),
        settings=_settings(config),
        versions=[(name, value) for name, value in run.versions.items() if value is not None],
        percent=percent,
        p_words=p_words,
        place_words=place_words,
        interval_words=interval_words,
        **_result_part(run),
        **_practice_part(run),
        films=_films(run),
        **_reward_part(run),
        **_time_part(run),
    )
    path = run.folder / "report.html"
    atomic_write(path, page.encode("utf-8"))
    return path


def _facts(run: RunFiles) -> list[dict[str, str]]:
    config, pretrain = run.config, run.config.get("pretrain_seed")
    practised, planned = len(run.trials) if run.trials else 0, run.config.get("trials")

    def fact(label: str, name: str, note: object = "") -> dict[str, str]:
        return {"label": label, "value": str(config.get(name, "not recorded")), "note": str(note)}

    of_part = [
        fact("Connector", "connector", f"family {config['family']}" if "family" in config else ""),
        fact("Scenario", "scenario", SCENARIOS.get(str(config.get("scenario")), "")),
        fact("Robot", "robot", config.get("domain", "")),
    ]
    of_task = [
        fact("Task", "task"),
        fact("Agent", "agent", "from a pretraining" if config.get("pretrain_run") else "from nothing"),
    ]
    of_planned = f"of {planned} planned" if planned and planned != practised else ""
    return [
        *(of_part if run.judged else of_task),
        {"label": "Practice", "value": f"{practised} trials", "note": of_planned},
        fact("Seed", "seed", "" if pretrain is None else f"pretraining seed {pretrain}"),
        fact("Preset", "preset"),
        {"label": "Date", "value": _date(config.get("created")), "note": ""},
    ]


def _date(created: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(created))
    except ValueError:
        return "not recorded"
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _remedies(run: RunFiles) -> dict[str, tuple[str, str, str]]:
    """What makes a missing file, by file name: words, command, words."""
    name = "connector" if run.judged else "task"
    practise = f"lotj practice --{name} {shlex.quote(str(run.config.get(name, 'CONNECTOR')))}"
    evaluate = ("Make it with", f"lotj evaluate {shlex.quote(run.folder.name)}", "and build the report again.")
    return {
        **dict.fromkeys((EVALUATION, FILMS), evaluate),
        **dict.fromkeys((METRICS, TIMINGS), ("It is written by", practise, "")),
        TRUTH: ("The simulator’s robot writes it during", practise, "(on a real robot nobody knows the truth)."),
        REWARD: ("It is made by", "lotj pretrain", "and copied into the run of practice."),
    }


def _settings(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names."""
    rows = []
    for name, value in config.items():
        if isinstance(value, dict):
            rows += _settings(value, f"{prefix}{name}.")
        elif prefix or name not in _NOT_SETTINGS:
            rows.append((prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows


def _result_part(run: RunFiles) -> dict[str, Any]:
    """Rows of the result table."""
    rank = {name: place for place, name in enumerate(ORDER)}
    results = sorted(run.evaluations, key=lambda result: rank.get(result.name, len(ORDER)))
    summaries, after, rows = run.summaries, run.summaries.get("practice"), []
    for result in results:
        summary, ours = summaries[result.name], result.name == "practice"
        p = None if ours or after is None else barnard(after.successes, after.n, summary.successes, summary.n)
        rows.append({"label": result.label, "ours": ours, "p": p, "summary": summary})
    wanted = ORDER if run.judged else ORDER[not run.config.get("pretrain_run") : 2]
    missing = [name for name in wanted if name not in summaries] if rows else []
    paired = len({tuple(result.seed) for result in results}) == 1
    forces = any(summary.max_peak_force_n for summary in summaries.values())
    return {"rows": rows, "unevaluated": missing, "labels": LABELS, "paired": paired, "forces": forces}


def _practice_part(run: RunFiles) -> dict[str, Any]:
    """Learning curve, and the self-reward against the truth."""
    trials = run.trials
    if trials is None:
        empty = {"curve": None, "series": [], "judgement": None, "late": None, "map": None}
        return {**empty, "truth_known": False, "window": charts.WINDOW, "most": charts.MOST}
    offline, practised = map(run.summaries.get, ("offline", "practice"))
    score = "Reward score at the end" if trials.judged else "Return"
    titles = {"value": "Value", "score": score, "steps": "Steps", "seconds": "Seconds (wall clock)"}
    names = [name for name in trials.series if name.startswith("loss/")]
    titles = {**{name: f"Loss: {name.removeprefix('loss/')}" for name in names}, **titles}
    drawn = [charts.small_series(trials, name, title) for name, title in titles.items()]
    return {
        "curve": {
            name: charts.learning_curve(trials, offline, practised, width)
            for name, width in (("wide", charts.WIDE), ("narrow", charts.NARROW))
        },
        "series": [chart for chart in drawn if chart],
        "truth_known": bool(np.isfinite(trials.true).any()),
        "window": charts.window(trials),
        "most": charts.MOST,
        "judgement": judge(trials),
        "late": judge(trials.last(len(trials) // 4)) if len(trials) >= 40 else None,
        "map": charts.claim_map(trials, run.insertion_depth_mm) if trials.judged else None,
    }


def _films(run: RunFiles) -> list[dict[str, Any]]:
    films = []
    titles = {"before": "Before practice", "after": "After practice"}
    for name in sorted(run.films, key=lambda name: [*titles, name].index(name)):
        strip = run.films[name]
        words = [] if strip.success is None else ["inserted" if strip.success else "not inserted"]
        words += [f"{len(strip.frames) - 1} steps", *([] if strip.seed is None else [f"start pose {strip.seed}"])]
        films.append({"title": titles.get(name, name), "state": ", ".join(words), "stills": stills(strip)})
    return films


def _reward_part(run: RunFiles) -> dict[str, Any]:
    """Table of the reward's held-out figures."""
    report = run.reward
    connectors, overall = entries(report, "connectors"), entries(report, "overall")
    named = [(name, entries(connectors, name), False) for name in connectors]
    named += [("All connectors", overall, True)] if overall else []
    known = [number(entry.get("accuracy")) for _, entry, overall in named if not overall]
    known = [value for value in known if math.isfinite(value)]
    threshold, target = number(report.get("threshold")), number(report.get("target_accuracy"))
    return {
        "held_out": [
            {"name": name, "overall": overall, "cells": [_held_cell(entry, key) for key in HELD_OUT]}
            for name, entry, overall in named
        ],
        "held_columns": [title for title, _ in HELD_OUT.values()],
        "threshold": threshold if math.isfinite(threshold) else None,
        "target": target if math.isfinite(target) else 0.9,
        "accuracy_range": (min(known), max(known)) if known else None,
    }


def _held_cell(entry: dict[str, Any], key: str) -> dict[str, Any]:
    value, form = number(entry.get(key, entries(entry, "false_positive_rate").get(key))), HELD_OUT[key][1]
    if key == "frames":
        value = number(entry.get("successes")) + number(entry.get("others"))
    words = f"{int(value):,}" if form == "count" and math.isfinite(value) else value
    return {"kind": form, "value": words if math.isfinite(value) else None}


def _time_part(run: RunFiles) -> dict[str, Any]:
    """Phases with their share of the longest."""
    times = {name: number(value) for name, value in entries(run.timings, "seconds").items()}
    times = {name: value for name, value in times.items() if math.isfinite(value) and value >= 0}
    longest = max(times.values(), default=0.0) or 1.0
    phases = [{"name": name, "share": 100 * value / longest, "words": duration(value)} for name, value in times.items()]
    total, machine = duration(sum(times.values())), run.timings.get("machine")
    return {"pace": pace_sentences(run), "phases": phases, "total": total, "machine": machine}
