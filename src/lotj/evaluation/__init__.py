"""How well does a controller insert: trials from paired start poses, counted honestly, with intervals."""

from __future__ import annotations

from lotj.evaluation.filmstrip import FilmStrip, load_filmstrips, save_filmstrips
from lotj.evaluation.results import LABELS, EvaluationResult, Summary, add_evaluation, read_evaluations
from lotj.evaluation.rollout import Controller, evaluate
from lotj.evaluation.statistics import Aggregate, aggregate, barnard, moving_rate, wilson

__all__ = [
    "LABELS",
    "Aggregate",
    "Controller",
    "EvaluationResult",
    "FilmStrip",
    "Summary",
    "add_evaluation",
    "aggregate",
    "barnard",
    "evaluate",
    "load_filmstrips",
    "moving_rate",
    "read_evaluations",
    "save_filmstrips",
    "wilson",
]
