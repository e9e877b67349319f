"""Feeling whether a plug sits: what sits in its socket gives way neither downwards nor sideways.

A reward model scores pictures, and some deceive: of a brick beside its stud, of a plug a millimetre short. Pressing and
pushing tells them apart, and needs no label and no force sensor. The camera rides on the hand: while the hand is
blocked the picture stands still, and when it moves the picture changes about as much as it does in free motion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

PRESS = (0.0, 0.0, -1.0)
"""The first motion: straight down."""

PUSHES = ((1.0, 0.0, -0.3), (-1.0, 0.0, -0.3), (0.0, 1.0, -0.3), (0.0, -1.0, -0.3))
"""Those that follow: sideways, lightly pressing. A plug that stands on a surface slides, one in a slot may along it."""

PRESS_LIMIT, PUSH_LIMIT = 0.1, 0.4
"""Largest change of the picture on a press and a push of a plug that sits, as shares of `FreeMotion.typical`. On
every third training connector a seated plug shows at most 0.01 on a press, one 1 to 4 mm short at least 0.24; on a push
3 of 84 seated ones show more than 0.40, and 74 of 84 pressed beside (results/benchmarks/touch_limits.json)."""

PULL = (0.0, 0.0, 2 / 3)
"""After the pushes the hand lets go of what it presses against and rises by 4 mm: friction alone holds nothing then,
and a plug that was wedged beside its socket is freed more than one in it."""

SHIFTS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0))
"""Pushes after the pull. How far the hand itself then moves is the plug's *play* [mm]. On twelve validation parts and
two robots true and false seats of one bench never overlap in it, where they do in all that is seen and felt before
the pull (results/benchmarks/false_success.json: 1.1 to 1.9 mm against 1.6 to 5.4 mm)."""

HOME = (PRESS, PRESS)
"""Brings a plug home that the pull has raised by 1 to 4 mm: 80 of 80 on all validation and every third training
connector, one press only 29 (lab notes)."""

LOOSE = 2.5
"""Play from which on nothing holds the plug [mm]. In their true seats 80 of the 83 training connectors have 0.6 to 2.0
mm (results/benchmarks/play.json); the other three, 1.7 to 4.5 mm deep, are freed by the pull, and the robot will not
believe their success."""

_BLUR, _LEVELS = 1 / 128, 24
"""A pixel counts that changes by more than so many levels of 255, once a normal kernel of this share of the picture's
width has smoothed it: 3.4 standard deviations of a difference where pixels have noise of 8 levels."""

_FREE_STEPS = 3
"""Steps from the start of a trial that may count as free motion. Later the plug may be held, in ever more of the trials
as they succeed: the typical change would sink, and with it the limits, until nothing passed."""

_SIDEWAYS = (0.4, 0.5)
"""Such a step counts from this much motion sideways on, and up to this much of it downwards."""


def picture_change(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the pixels of two (..., H, W, 3) uint8 pictures that differ visibly."""
    difference = after.astype(np.float32) - before  # a blur is linear: one of the difference is enough
    smooth = gaussian_filter(difference, _BLUR * difference.shape[-2], axes=(-3, -2), mode="nearest")
    return float((np.abs(smooth).max(-1) > _LEVELS).mean())


class FreeMotion:
    """How much the picture changes while the hand moves freely, from the first steps of the trials."""

    def __init__(self) -> None:
        self._changes: list[float] = []

    def see(self, frames: Sequence[np.ndarray] | np.ndarray, actions: Sequence[np.ndarray] | np.ndarray) -> None:
        """Take in the T+1 pictures and T actions of a trial."""
        least, most = _SIDEWAYS
        for before, after, action in zip(frames, frames[1:], actions[:_FREE_STEPS], strict=False):
            sideways = float(np.linalg.norm(action[:2]))
            if sideways >= least and action[2] > -most:
                self._changes.append(picture_change(before, after) / sideways)

    @property
    def typical(self) -> float | None:
        """Median change for a step of size 1 sideways; None before any was seen."""
        return float(np.median(self._changes)) if self._changes else None


def gives_way(change: float, motion: Sequence[float], typical: float) -> bool:
    """Whether the hand has moved in answer to one of the motions above, as the change of the picture tells."""
    return change > typical * (PRESS_LIMIT if tuple(motion) == PRESS else PUSH_LIMIT)
