"""The threshold of the self-reward, calibrated to the practised part from its own frames, of which none is labelled."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

_EDGE = 1e-6


def clipped_logit(score: float) -> float:
    """The logit of a score in [0, 1], finite at its ends."""
    return float(logit(np.clip(score, _EDGE, 1.0 - _EDGE)))


class Threshold:
    """The score from which a frame counts as success.

    A reward model ranks the frames of a part it has never seen far better than it places them: one part's successes
    score what another's plugs score some millimetres short of the seat (lab notes). So the threshold rises with the
    best scores that the part's own trials have reached. It has a floor, chosen on other parts: where no trial has come
    close, the best frame so far is no success.

    Args:
        least: lowest value, in (0, 1).
        quantile: which of the trials' best scores is meant, as a share of the trials.
        margin: how far below that score the threshold lies [logits]; None leaves it at `least`.
    """

    def __init__(self, least: float, quantile: float, margin: float | None) -> None:
        self._least, self._quantile, self._margin = least, quantile, margin
        self._best: list[float] = []

    def see(self, scores: np.ndarray) -> None:
        """Take in the (T,) scores of a finished trial."""
        self._best.append(clipped_logit(float(np.max(scores))))

    @property
    def value(self) -> float:
        """The threshold as of the trials seen so far, in (0, 1)."""
        if self._margin is None or not self._best:
            return self._least
        return max(self._least, float(expit(np.quantile(self._best, self._quantile) - self._margin)))
