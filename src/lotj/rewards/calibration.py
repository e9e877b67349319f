"""The threshold of the self-reward, calibrated to the practised part from its own frames, of which none is labelled."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

_EDGE = 1e-9

LOW, RISE = 0.1, 4.0
"""A success scores at least this much more [logits] than this quantile of the part's starts, which are none: the low
ones, for on some benches most starts look half like a success. In practice from the base on 15 validation benches it
was 5.4 or more (lab notes)."""

LEAST_TAUGHT = 3
"""Successes that a person must have seen before claims that score less than any of them are rejected: of one more
success it is then likely that it scores no less than the lowest (3 in 4)."""

ABOVE = 0.5
"""So far above the highest known failure [logits] a threshold lies where no success is known."""


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
        self._told: dict[int, tuple[float, bool]] = {}  # trial -> logit, and whether a person saw a success

    def see(self, start: float, scores: np.ndarray) -> None:
        """Take in a finished trial: its start's score, and the (T,) scores after each step."""
        self._starts.append(clipped_logit(start))
        self._best.append(clipped_logit(float(np.max(scores))))

    def taught(self, trial: int, score: float, success: bool | None) -> None:
        """Take in a person's word on a frame of that score in [0, 1]; None takes back what was said of the trial."""
        self._told.pop(trial, None)
        if success is not None:
            self._told[trial] = clipped_logit(score), success

    @property
    def value(self) -> float:
        """The threshold as of the trials and answers so far, in (0, 1). With a margin, which leaves it to the touch to
        find out failures, answers lower it alone, so that it lets through whatever a person has called a success.
        Without, it is the cut that they show, see `floor`; or above all failures, where none was a success."""
        right, wrong = ([logit for logit, said in self._told.values() if said == true] for true in (True, False))
        if self._margin is not None:
            own = self._first
            if self._best:
                reached = np.quantile(self._best, self._quantile) - self._margin
                own = float(expit(max(np.quantile(self._starts, LOW) + RISE, reached)))
            return min([own, *(float(expit(logit)) for logit in right)])
        if right:
            return float(expit(self._cut))
        return max([self._first, *(float(expit(logit + ABOVE)) for logit in wrong)])

    @property
    def floor(self) -> float:
        """What a claimed success must score at least [logits], where `LEAST_TAUGHT` successes and a failure that
        scored less are known: the middle between the lowest success and the highest failure below it. -inf before."""
        right = [logit for logit, said in self._told.values() if said]
        below = [logit for logit, said in self._told.values() if not said and right and logit < min(right)]
        return self._cut if len(right) >= LEAST_TAUGHT and below else -np.inf

    @property
    def _cut(self) -> float:
        lowest = min(logit for logit, said in self._told.values() if said)
        below = [logit for logit, said in self._told.values() if not said and logit < lowest]
        return (lowest + max(below, default=lowest)) / 2
