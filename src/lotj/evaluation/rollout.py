"""Trials of one controller in one environment, from start poses fixed by seeds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import gymnasium
import numpy as np

from lotj.controllers import Controller
from lotj.errors import NumericsError, SettingsError
from lotj.evaluation.results import EvaluationResult
from lotj.geometry import mosaic


def evaluate(
    env: gymnasium.Env,
    controller: Controller,
    seeds: Sequence[int],
    *,
    name: str,
    label: str,
    options: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    max_steps: int = 20,
    rate_hz: float = 10.0,
    film_seeds: Collection[int] = (),
    on_trial: Callable[[int, bool], None] | None = None,
) -> EvaluationResult:
    """Counts true successes of `controller`, one trial a seed.

    Paired comparison: give every controller the same seeds and it starts from the same poses.

    Args:
        env: ``reset(seed=, options=)``; `info` of each step has ``is_success``, ``peak_force`` [N] and ``dislodged``.
            Its frames are its observation, or ``observation["image"]``; views are joined. Controllers see those.
        controller: called once a step.
        seeds: at least one, all different.
        name: key in `evaluation.json`.
        label: the same for people.
        options: passed to every reset.
        context: kept with the result (connector, scenario, domain).
        max_steps: a trial ends here at the latest.
        rate_hz: steps a second on the robot.
        film_seeds: trials whose frames are kept.
        on_trial: called with (trial, success) after each trial, for a progress bar.

    Raises:
        SettingsError: no seeds or repeated ones.
        NumericsError: the controller gave an action that is not finite.
    """
    if len(seeds) == 0 or len(set(seeds)) != len(seeds):
        raise SettingsError(f"{len(seeds)} evaluation seeds, {len(set(seeds))} different: need at least 1, none twice")
    rows: list[tuple[bool, int, float, bool]] = []
    films: dict[int, np.ndarray] = {}
    for trial, seed in enumerate(seeds):
        frames: list[np.ndarray] | None = [] if seed in film_seeds else None
        rows.append(_trial(env, controller, int(seed), options, max_steps, frames))
        if frames is not None:
            films[int(seed)] = np.stack(frames)
        if on_trial is not None:
            on_trial(trial, rows[-1][0])
    success, steps, peak_force, dislodged = (np.array(column) for column in zip(*rows, strict=True))
    return EvaluationResult(
        name=name,
        label=label,
        seed=np.array(seeds, np.int64),
        success=success,
        steps=steps,
        seconds=steps / rate_hz,
        peak_force_n=peak_force,
        dislodged=dislodged,
        context=dict(context or {}),
        films=films,
    )


def _trial(
    env: gymnasium.Env,
    controller: Controller,
    seed: int,
    options: dict[str, Any] | None,
    max_steps: int,
    frames: list[np.ndarray] | None,
) -> tuple[bool, int, float, bool]:
    """One trial: (true success, steps, peak force [N], dislodged). Appends its frames to `frames` if given."""
    observation, info = env.reset(seed=seed, options=options)
    picture = _image(observation)
    controller.reset(seed)
    peak_force, success, dislodged, step = 0.0, False, False, 0
    if frames is not None:
        frames.append(picture)
    while step < max_steps:
        action = np.asarray(controller(picture, info), np.float32)
        if not np.isfinite(action).all():
            raise NumericsError(f"action {action.tolist()} in evaluation (seed {seed}, step {step}): must be finite")
        observation, _, terminated, truncated, info = env.step(action)
        picture = _image(observation)
        step += 1
        peak_force = max(peak_force, float(info["peak_force"]))
        success = success or bool(info["is_success"])
        dislodged = dislodged or bool(info["dislodged"])
        if frames is not None:
            frames.append(picture)
        if terminated or truncated:
            break
    return success, step, peak_force, dislodged


def _image(observation: Any) -> np.ndarray:
    """Camera frame (H, W, 3) uint8 of an observation, copied: environments may reuse their buffer."""
    image = np.array(observation["image"] if isinstance(observation, dict) else observation, np.uint8)
    return mosaic(image) if image.ndim == 4 else image
