"""Whether a goal is reached, by the distance of codes: a reward of -1 until it is within eps, then 0 (VAL and PTP). Its
eps is chosen by data, for each encoder and family of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.ranges import POSITIVE


@dataclass(frozen=True)
class SparseReward:
    """-1[||z' - z_g|| > eps], see `lotj.goals.reward.GoalReward`; `eps` is above 0."""

    eps: float

    def __post_init__(self) -> None:
        POSITIVE.check("reward eps", self.eps)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `GoalReward`."""
        return ("code",)

    def __call__(self, seen: Mapping[str, np.ndarray], goal: np.ndarray) -> np.ndarray:
        """(B,) float32 of codes (B, D) that steps lead to and goals (B, D): 0 where the goal is reached, else -1."""
        return np.where(distance(seen["code"], goal) > self.eps, -1.0, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """How well an eps tells pairs of frames that show the same state from pairs that do not.

    Attributes:
        eps: the distance within which a goal counts as reached.
        precision: share of the pairs within eps that are the same state; NaN where none is within.
        recall: share of the pairs of the same state that are within.
        auc: of the distance, over all eps: the chance that a pair of the same state is nearer than one that is not.
        curve: (N, 3) eps, precision, recall, rising in eps.
    """

    eps: float
    precision: float
    recall: float
    auc: float
    curve: np.ndarray

    def to_json(self) -> Mapping[str, Any]:
        """Its numbers; of the curve at most 50 points."""
        points = self.curve[np.unique(np.linspace(0, len(self.curve) - 1, 50).round().astype(int))]
        whole = [[round(float(value), 4) for value in point] for point in points]
        return {"eps": self.eps, "precision": self.precision, "recall": self.recall, "auc": self.auc, "curve": whole}


def distance(codes: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """(B,) Euclidean distances of (B, D) and (B, D)."""
    return np.linalg.norm(np.asarray(codes, np.float32) - np.asarray(goals, np.float32), axis=-1)


def calibrate(same: np.ndarray, apart: np.ndarray) -> Calibration:
    """The eps that tells best: of all cuts the one at which recall minus false-positive rate is largest (Youden's J,
    which does not depend on how many pairs there are of each), in the middle between the distances on its two sides.

    Args:
        same: (N,) distances of other frames of the same state.
        apart: (M,) distances of frames just one threshold apart, or more: near misses.

    Raises:
        DataError: no pairs of one kind, or distances that are not finite.
    """
    same, apart = np.sort(np.asarray(same, float)), np.sort(np.asarray(apart, float))
    if not len(same) or not len(apart) or not np.isfinite([*same, *apart]).all():
        raise DataError(f"{len(same)} pairs of the same state, {len(apart)} of others: some of each, and finite")
    every = np.unique(np.concatenate([same, apart]))
    cuts = np.append((every[:-1] + every[1:]) / 2, every[-1])
    hits, false = (np.searchsorted(kind, cuts, "right") / len(kind) for kind in (same, apart))
    best = hits - false
    # Of equally good cuts the largest: a goal that is missed costs more steps than one that is reached a little early.
    return check(same, apart, float(max(cuts[np.flatnonzero(best >= best.max() - 1e-12)[-1]], 1e-6)))


def check(same: np.ndarray, apart: np.ndarray, eps: float) -> Calibration:
    """What an eps that was chosen elsewhere does on these pairs, see `calibrate`; in `precision` both kinds of pairs
    count as if there were as many of each."""
    same, apart = np.sort(np.asarray(same, float)), np.sort(np.asarray(apart, float))
    at = np.unique(np.concatenate([same, apart, [eps]]))
    hits, false = (np.searchsorted(kind, at, "right") / len(kind) for kind in (same, apart))
    with np.errstate(invalid="ignore"):
        precision = hits / (hits + false)
    place = int(np.searchsorted(at, eps))
    below, ties = (np.searchsorted(apart, same, side) for side in ("left", "right"))
    auc = 1.0 - float((below + ties).mean()) / (2 * len(apart))
    curve = np.stack([at, precision, hits], 1)
    return Calibration(eps, float(precision[place]), float(hits[place]), auc, curve)
