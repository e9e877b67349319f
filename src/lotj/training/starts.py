"""Where a robot that practises starts from: it chooses so itself, so that its policy will do from all around.

Where the socket is it knows roughly, and always off in the same direction. A policy that fails from there fails so each
time, and one that succeeds has seen one way in. So starts spread while nothing succeeds, and the first success says
where the socket is: from then on they lie all around it, as in the paper, whose trials start anywhere (LOTJ VI-A), but
more of them near: what is learnt there serves those from far away, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDE_AFTER = 10
"""Trials without a success after which starts lie all over the area in which the socket may be."""


def choose_start(rng: np.random.Generator, seats: Sequence[np.ndarray], trials: int, error: float) -> np.ndarray | None:
    """Where the next trial starts.

    Args:
        rng: draws it.
        seats: (2,) of the hand from the socket's estimated position, at the end of each success that counts [m].
        trials: finished so far.
        error: the socket lies within this of its estimate along x and y [m]; 0 where that is not known.

    Returns:
        (2,) from the socket's estimated position [m], at most twice the error, as from a true seat: a false one may lie
        anywhere, but a robot cannot start there; None: as the robot does by itself.
    """
    if not error or not trials:
        return None
    if len(seats):
        start = np.median(seats, axis=0) + rng.uniform() * rng.uniform(-error, error, 2)
        return np.clip(start, -2.0 * error, 2.0 * error)
    return rng.uniform(-error, error, 2) * min(1.0, trials / WIDE_AFTER)
