"""Trials of one controller in one environment, from start poses fixed by seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lotj.errors import SettingsError
from lotj.evaluation.results import EvaluationResult
from lotj.experience import Controller, Episode, rollout
from lotj.patience import patiently

if TYPE_CHECKING:
    import gymnasium  # the report counts without it


def evaluate(
    env: gymnasium.Env,
    controller: Controller,
    seeds: Sequence[int],
    *,
    name: str,
    context: dict[str, Any] | None = None,
    max_steps: int = 20,
    rate_hz: float = 10.0,
    film: bool = False,
    on_trial: Callable[[int, bool], None] | None = None,
) -> EvaluationResult:
    """Counts true successes of `controller`, one trial a seed.

    Paired comparison: give every controller the same seeds and it starts from the same poses.

    Args:
        env: observes a mapping; `info` of each step has ``is_success`` and may have ``peak_force`` [N], ``lost``.
        controller: called once a step.
        seeds: at least one, all different.
        name, context: of the result.
        max_steps: a trial ends here at the latest.
        rate_hz: steps a second on the robot.
        film: keep the images of the first trial.
        on_trial: called with (trial, success) after each trial, for a progress bar.

    Raises:
        SettingsError: no seeds or repeated ones.
        NumericsError: the controller gave an action that is not finite.
        RobotError: the robot refuses, or was gone for half an hour; a fault that passes costs the running trial, which
            is made again.
    """
    if len(seeds) == 0 or len(set(seeds)) != len(seeds):
        raise SettingsError(f"{len(seeds)} evaluation seeds, {len(set(seeds))} different: need at least 1, none twice")
    rows: list[dict[str, Any]] = []
    images: np.ndarray | None = None

    def play(seed: int) -> tuple[Episode, list[Mapping[str, Any]]]:
        infos: list[Mapping[str, Any]] = []
        how: dict[str, Any] = {"task": name, "kind": "evaluation", "max_steps": max_steps}
        return rollout(env, controller, seed, **how, on_step=infos.append), infos

    for trial, seed in enumerate(seeds):
        episode, infos = patiently(partial(play, int(seed)), f"{name}, trial {trial + 1}")
        rows.append(_measured(episode, infos[1:]))
        if film and trial == 0:
            images = episode.observation["image"]
        if on_trial is not None:
            on_trial(trial, rows[-1]["success"])
    columns: dict[str, Any] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    columns |= {"seed": np.array(seeds, np.int64), "seconds": columns["steps"] / rate_hz}
    return EvaluationResult(name=name, context=dict(context or {}), film=images, **columns)


def _measured(episode: Episode, infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A trial's entries of the columns of `EvaluationResult`, of what each of its steps has told."""
    success, lost = (any(info.get(key, False) for info in infos) for key in ("is_success", "lost"))
    force = max(float(info.get("peak_force", 0.0)) for info in infos)
    measured = {"success": success, "steps": len(episode), "peak_force_n": force, "dislodged": lost}
    return measured | {"reward": float(episode.reward.sum())}
