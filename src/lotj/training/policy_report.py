"""What a pretrained agent is worth before it moves a robot: its values against returns, its actions against the truth.

Prior data come with ground truth, so this is allowed there; practice has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lotj.data.store import Store
from lotj.runs import plain
from lotj.training.prior import ASIDE_M

FEWEST = 12
"""Frames of a domain below which nothing is said about it."""


def returns(data: Store, discount: float) -> np.ndarray:
    """(F,) float32 discounted return of each frame along its own episode, for a reward of 1 on reaching success.

    It is discount^(n-1) where n > 0 steps remain until the first success frame; NaN on and after it, and in episodes
    without (their time limit cut the return off).
    """
    number, episode = np.arange(data.n_frames), data.frame_episode
    first = np.full(len(data), np.iinfo(np.int64).max)
    success = np.flatnonzero(data.success)
    np.minimum.at(first, episode[success], success)
    first = first[episode]
    known = (first < np.iinfo(np.int64).max) & (number < first)
    out = np.full(data.n_frames, np.nan, np.float32)
    out[known] = discount ** (first[known] - number[known] - 1.0)
    return out


def policy_report(
    agent: Any, data: Store, discount: float, frames_per_task: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Figures of an agent (its ``act`` and ``value``) on a data set, ready for JSON; what cannot be said is None.

    ``tasks`` maps each environment to its figures and ``overall`` to their mean over these:

    - ``value_error``, ``value_bias``: mean of |V - G| and of V - G over the expert's frames before a success, G its
      discounted return; ``value_correlation`` of the two. V is an upper expectile, so a small positive bias is right.
    - ``value_press``: mean V on frames of the near misses that press beside.
    - ``angle_deg``: median angle between the mean action's sideways motion and the way to the socket axis, where the
      plug is more than `ASIDE_M` off; 90 is chance.
    - ``lateral_error_mm``: where one action could then reach the axis: mean distance from it after the mean action.

    At most `frames_per_task` frames of the expert, and of the pressing ones, are looked at; `rng` draws them.
    """
    target, usable = returns(data, discount), ~np.isnan(data.column("action")[:, 0]) & ~data.success
    expert_frames, pressed = (data.of_frames(data.of_kind([kind])) for kind in ("expert", "press"))
    rows: dict[str, list[dict[str, float]]] = {}
    for number, task in enumerate(data.tasks):
        here = usable & (data.frame_task == number)
        expert, press = np.flatnonzero(here & expert_frames), np.flatnonzero(here & pressed)
        if len(expert) >= FEWEST:
            drawn = [np.sort(rng.permutation(index)[:frames_per_task]) for index in (expert, press)]
            row = _values(agent, data, target, *drawn)
            if "position" in data.schema.truth:
                row |= _directions(agent, data, expert, drawn[0])
            rows.setdefault(task.env, []).append(row)
    tasks = {name: _means(found) for name, found in sorted(rows.items())}
    return plain({"overall": _means([*tasks.values()]), "tasks": tasks})


def _values(agent: Any, data: Store, target: np.ndarray, expert: np.ndarray, press: np.ndarray) -> dict[str, float]:
    known = expert[~np.isnan(target[expert])]
    value = agent.value(data.observe(known))
    error = value - target[known]
    varied = len(known) >= FEWEST and value.std() > 0 and target[known].std() > 0
    return {
        "value_error": _mean(abs(error)),
        "value_bias": _mean(error),
        "value_correlation": float(np.corrcoef(value, target[known])[0, 1]) if varied else np.nan,
        "value_press": _mean(agent.value(data.observe(press))),
    }


def _directions(agent: Any, data: Store, expert: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    place = data.truth("position")[:, :2].astype(np.float64)
    free = expert[np.linalg.norm(place[expert], axis=1) > ASIDE_M]
    if len(free) < FEWEST:
        return {"angle_deg": np.nan, "lateral_error_mm": np.nan}
    # How far an action takes the plug, (A, 2) [m per action of 1]: the frame of the socket is turned.
    action = data.column("action")[free].astype(np.float64)
    motion = np.linalg.lstsq(action, place[free + 1] - place[free], rcond=None)[0]
    step = agent.act(data.observe(drawn)) @ motion
    off = np.linalg.norm(place[drawn], axis=1)
    aside = (off > ASIDE_M) & (np.linalg.norm(step, axis=1) > 0)
    cosine = -(step * place[drawn]).sum(1)[aside] / (np.linalg.norm(step[aside], axis=1) * off[aside])
    close = aside & (off < np.linalg.svd(motion, compute_uv=False)[-1])
    return {
        "angle_deg": float(np.median(np.degrees(np.arccos(cosine.clip(-1, 1))))) if aside.any() else np.nan,
        "lateral_error_mm": 1e3 * _mean(np.linalg.norm(place[drawn] + step, axis=1)[close]),
    }


def _mean(values: np.ndarray | Sequence[float]) -> float:
    """Of those that are known; NaN without any."""
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: _mean([row[name] for row in rows]) for name in (rows[0] if rows else ())}
