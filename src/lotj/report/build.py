"""`build_report`: a practice run folder in, one self-contained `report.html` out."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lotj.data.pictures import FRAMES, data_uri, spread
from lotj.errors import counted
from lotj.evaluation.filmstrip import FilmStrip
from lotj.evaluation.results import LABELS, USUAL
from lotj.evaluation.statistics import barnard
from lotj.geometry import mosaic
from lotj.report import charts, findings
from lotj.report.files import RunFiles, read_run
from lotj.runs import atomic_write
from lotj.saliency.overlay import overlay

_NOT_SETTINGS = (
    *("task", "connector", "connector_title", "family", "scenario", "robot", "domain", "preset", "trials"),
    *("seed", "created", "commands"),
)


def build_report(run_folder: Path) -> Path:
    """Makes `report.html` in a practice run's folder, or a link to one, from the files that are there (see
    `lotj.report.files`); gives the path of that page, one file without references to anything outside it.

    Sections whose files are missing or damaged say so and name the command that makes them.

    Raises:
        SettingsError: no such folder, or it is no run.
        StorageError: the page cannot be written.
    """
    run = read_run(Path(run_folder))
    environment = Environment(loader=PackageLoader("lotj.report"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        run=run,
        config=run.config,
        path=shlex.quote(os.path.relpath(run.folder)),
        created=_date(run.config["created"]),
        quote=shlex.quote,
        settings=_settings(run.config),
        findings=findings,
        counted=counted,
        stills=stills,
        **_result_part(run),
        **_practice_part(run),
    )
    path = run.folder / "report.html"
    atomic_write(path, page.encode("utf-8"))
    return path


def _date(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return "not recorded"
    return f"{moment.day} {moment:%B %Y, %H:%M}"


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
    rank = {name: place for place, name in enumerate(USUAL)}
    results = sorted(run.evaluations.values(), key=lambda result: rank.get(result.name, len(USUAL)))
    after, rows = run.evaluations.get("practice"), []
    for result in results:
        ours = result.name == "practice"
        p = None if ours or after is None else barnard(after.successes, len(after), result.successes, len(result))
        rows.append({"ours": ours, "p": p, "result": result})
    wanted = USUAL if run.judged else USUAL[not run.config.get("pretrain_run") : 2]
    missing = [name for name in wanted if name not in run.evaluations] if rows else []
    paired = len({tuple(result.seed) for result in results}) == 1
    forces = any(result.peak_force_n.any() for result in results)
    return {"rows": rows, "unevaluated": missing, "labels": LABELS, "paired": paired, "forces": forces}


def _practice_part(run: RunFiles) -> dict[str, Any]:
    """Learning curve, and the self-reward against the truth."""
    trials = run.trials
    if trials is None:
        return {"curve": None, "judgement": None}
    offline, practised = map(run.evaluations.get, ("offline", "practice"))
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
        "judgement": findings.judge(trials),
        "late": findings.judge(trials, len(trials) - len(trials) // 4) if len(trials) >= 40 else None,
        "map": charts.claim_map(trials, run.config["insertion_depth_mm"]) if trials.judged else None,
    }


def stills(strip: FilmStrip) -> list[dict[str, Any]]:
    """At most `FRAMES` frames, evenly spread, with the first and the last.

    Returns:
        Of each ``step`` (0 at the start pose), ``score``, and as data URIs ``camera`` and, with the heat map over it,
        ``reward`` and ``policy``; None of what there is not.
    """
    frames = spread(len(strip.frames), FRAMES)
    pictures: dict[str, np.ndarray | None] = {"camera": strip.frames[frames]}
    for name, heat in (("reward", strip.reward_heat), ("policy", strip.policy_heat)):
        pictures[name] = None if heat is None else overlay(strip.frames[frames], heat[frames])
    return [
        {"step": strip.step(frame), "score": None if strip.scores is None else float(strip.scores[frame])}
        | {name: None if shown is None else data_uri(mosaic(shown[k])) for name, shown in pictures.items()}
        for k, frame in enumerate(frames)
    ]
