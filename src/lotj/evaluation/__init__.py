"""How well does a controller insert: trials from paired start poses, counted honestly, with intervals."""

from __future__ import annotations

from lotj.evaluation.filmstrip import FilmStrip, load_filmstrips, save_filmstrips
from lotj.evaluation.results import LABELS, EvaluationResult, Summary, add_evaluation, read_evaluations
from lotj.evaluation.rollout import evaluate
from lotj.evaluation.statistics import barnard, moving_rate, reliable_units, sign_flip, unit_interval, wilson

__all__ = [
    "LABELS",
    "EvaluationResult",
    "FilmStrip",
    "Summary",
    "add_evaluation",
    "barnard",
    "evaluate",
    "load_filmstrips",
    "moving_rate",
    "read_evaluations",
    "reliable_units",
    "save_filmstrips",
    "sign_flip",
    "unit_interval",
    "wilson",
]
