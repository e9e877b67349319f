"""The threshold of the self-reward, calibrated to the practised part from its own frames, of which none is labelled."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

_EDGE = 1e-9

LOW, RISE = 0.1, 4.0
"""A success scores at least this much more [logits] than this quantile of the part's starts, which are none: the low
ones, for on some benches most starts look half like a success. In practice from the base on 15 validation benches it
was 5.4 or more (lab notes)."""


def clipped_logit(score: float) -> float:
    """The logit of a score in [0, 1], finite at its ends."""
    return float(logit(np.clip(np.float64(score), _EDGE, 1.0 - _EDGE)))


class Threshold:
    """The score from which a frame counts as success.

    A reward model ranks the frames of a part it has never seen far better than it levels them: one part's successes
    score what another's plugs score some millimetres short of the seat, or on their way (lab notes). So nothing here
    depends on the scores of other parts, once a trial has been seen: the threshold lies above what the part's own
    starts score, and rises with the best scores that its trials have reached. A model that gives all frames of a part
    a constant more or less (in logits) makes no difference.

    Args:
        first: value before any trial has been seen, in (0, 1), and for good without a margin.
        quantile: which of the trials' best scores is meant, as a share of the trials.
        margin: how far below that score the threshold lies [logits]; None leaves it at `first`.
    """

    def __init__(self, first: float, quantile: float, margin: float | None) -> None:
        self._first, self._quantile, self._margin = first, quantile, margin
        self._starts: list[float] = []
        self._best: list[float] = []

    def see(self, start: float, scores: np.ndarray) -> None:
        """Take in a finished trial: its start's score, and the (T,) scores after each step."""
        self._starts.append(clipped_logit(start))
        self._best.append(clipped_logit(float(np.max(scores))))

    @property
    def value(self) -> float:
        """The threshold as of the trials seen so far, in (0, 1)."""
        if self._margin is None or not self._best:
            return self._first
        reached = np.quantile(self._best, self._quantile) - self._margin
        return float(expit(max(np.quantile(self._starts, LOW) + RISE, reached)))
