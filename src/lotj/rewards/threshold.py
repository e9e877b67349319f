"""How good scores separate successes, and where to cut: pure functions over arrays.

Everything is weighted so that each domain counts the same, and so that in each domain successes are as frequent as
other frames (LOTJ, section VI-B, rebalances its data in this way); of the other frames near misses are half where there
are any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit

from lotj.errors import DataError

_EDGE = 1e-7

LEAST_RECALL = 0.85
"""A cut that finds fewer of the successes than this is of no use, however precise. What is missing is not spread
evenly: on some domains practice would see no reward at all."""


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a random success scores higher than a random other frame, ties counting half (ROC AUC), of (N,)
    scores and (N,) bool labels; NaN if one label is missing or a score is NaN."""
    labels = np.asarray(labels, bool)
    found, others = scores[labels], np.sort(scores[~labels])
    if not len(found) or not len(others) or np.isnan(scores).any():
        return float("nan")
    twice = sum(np.searchsorted(others, found, side).sum() for side in ("left", "right"))  # below, and below or equal
    return float(twice / (2 * len(found) * len(others)))


def curve(scores: np.ndarray, labels: np.ndarray, near: np.ndarray, domains: np.ndarray) -> Any:
    """What each possible cut between distinct scores gives, from the highest to the lowest; see `choose_threshold`.

    Returns:
        (T,) with fields

        - ``threshold``: a score is a predicted success when it is at least this; the middle (in logits) of a gap;
        - ``gap``: width of that gap [logits];
        - ``recall``: share of successes found, mean over domains;
        - ``false_positives``: share of other frames taken for a success, mean over domains, near misses being half;
        - ``near_false_positives``: share of near misses taken for a success, mean over the domains that have them;
        - ``accuracy``: balanced;
        - ``precision``: share of predicted successes that is true, as frequent as others or as near misses: the lower.
    """
    labels, near = np.asarray(labels, bool), np.asarray(near, bool) & ~np.asarray(labels, bool)
    if not labels.any() or labels.all():
        raise DataError(
            f"a threshold needs successes and other frames, not {int(labels.sum())} successes of {len(labels)} frames: "
            "collect validation episodes of both"
        )
    clear = ~labels & ~near
    (per_near, has_near), (per_clear, has_clear) = (_domain_weights(sort, domains) for sort in (near, clear))
    share = np.where(near, np.where(has_clear, 0.5, 1.0), np.where(has_near, 0.5, 1.0))
    others = (per_near + per_clear) * share
    others /= others.sum()
    weights = np.stack([_domain_weights(labels, domains)[0], others, per_near])
    weights /= np.maximum(weights.sum(1, keepdims=True), _EDGE)

    logits = logit(np.clip(np.asarray(scores, np.float64), _EDGE, 1.0 - _EDGE))
    order = np.argsort(-logits, kind="stable")
    logits = logits[order]
    cut = np.append(np.flatnonzero(np.diff(logits)), len(logits) - 1)  # last of each run of equal scores
    below = np.append(logits[cut[:-1] + 1], logits[-1] - 1.0)
    recall, wrong, near_wrong = np.cumsum(weights[:, order], axis=1)[:, cut]
    found = recall + np.maximum(wrong, near_wrong)
    precision = np.divide(recall, found, out=np.ones_like(found), where=found > 0)
    columns = expit((logits[cut] + below) / 2.0), logits[cut] - below, recall, wrong, near_wrong
    names = "threshold, gap, recall, false_positives, near_false_positives, accuracy, precision"
    return np.rec.fromarrays([*columns, (recall + 1.0 - wrong) / 2.0, precision], names=names)  # type: ignore[call-overload]


def choose_threshold(
    scores: np.ndarray, labels: np.ndarray, near: np.ndarray, domains: np.ndarray, min_precision: float = 0.98
) -> float:
    """The cut with the highest balanced accuracy among those that are precise enough.

    False positives are what practice exploits, so precision comes first: at least `min_precision` of the predicted
    successes must be true when successes are as frequent as near misses (and as other frames). If no cut is that
    precise, the most accurate one is taken. Of equally good cuts, the widest gap.

    Args:
        scores: (N,) in [0, 1].
        labels, near: (N,) bool, true successes and near misses.
        domains: (N,) integer.

    Raises:
        DataError: there is no success or no other frame.
    """
    cuts = curve(scores, labels, near, domains)
    goal = cuts.accuracy
    allowed = (cuts.precision >= min_precision) & (cuts.recall >= LEAST_RECALL)
    if not allowed.any():
        allowed = np.ones_like(allowed)
    best = allowed & (goal >= goal[allowed].max() - 1e-9)
    return float(cuts.threshold[best][np.argmax(cuts.gap[best])])


def _domain_weights(mask: np.ndarray, domains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) weights that sum to 1 in each domain over the entries of `mask`, and are 0 elsewhere; and (N,) bool, whether
    the domain of each entry has any in `mask`."""
    counts = np.bincount(domains[mask], minlength=int(domains.max()) + 1)[domains]
    return np.where(mask, 1.0 / np.maximum(counts, 1), 0.0), counts > 0
