"""Feeling whether a plug sits: what sits in its socket gives way neither downwards nor sideways.

A reward model scores pictures, and some deceive: of a brick beside its stud, of a plug a millimetre short. Pressing and
pushing tells them apart, and needs no label, no force sensor and no picture: the robot measures how far its hand goes.
"""

from __future__ import annotations

import numpy as np

PRESS = (0.0, 0.0, -1.0)
"""The first motion: straight down."""

PUSHES = ((1.0, 0.0, -0.3), (-1.0, 0.0, -0.3), (0.0, 1.0, -0.3), (0.0, -1.0, -0.3))
"""Those that follow: sideways, lightly pressing. A plug that stands on a surface slides, one in a slot may along it."""

PRESS_LIMIT, PUSH_LIMIT = 0.5, 1.8
"""Farthest that the hand goes down, and sideways with a push, where the plug sits [mm]. On every third training
connector the second press of a seated plug moves it by 0.01 at most, that of one 1 to 4 mm short by 1.5 at least; the
largest of four pushes by 1.5 at most where it sits, and by more than 1.8 in 73 of 84 plugs pressed down beside their
socket (results/benchmarks/touch_limits.json)."""

PULL = (0.0, 0.0, 2 / 3)
"""After the pushes the hand lets go of what it presses against and rises by 4 mm: friction alone holds nothing then,
and a plug that was wedged beside its socket is freed more than one in it."""

HELD = 2.75
"""How far the hand rises at most on the pull where the seat holds the plug [mm]: 2.7 on the 68 training connectors that
have a seating force, 2.4 on those of more than 2 N; 2.8 to 3.4 in the seats of pegs, screws and spanners, which hold
nothing (results/benchmarks/play.json), and in false seats mostly (results/benchmarks/false_success.json)."""

SHIFTS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0))
"""Pushes after the pull. How far the hand itself then moves is the plug's *play* [mm]. On twelve validation parts and
two robots true and false seats of one bench never overlap in it, where they do in all that is seen and felt before
the pull (results/benchmarks/false_success.json: 1.1 to 1.9 mm against 1.5 to 5.2 mm)."""

HOME = (PRESS, PRESS)
"""Brings a plug home that the pull has raised by 1 to 4 mm: 80 of 80 on all validation and every third training
connector, one press only 29 (lab notes)."""

LOOSE = 2.5
"""Play from which on nothing holds the plug [mm]. In their true seats 80 of the 83 training connectors have 0.6 to 2.0
mm (results/benchmarks/play.json); the other three, 1.7 to 4.5 mm deep, are freed by the pull, and the robot will not
believe their success."""

ELSEWHERE = 4e-3
"""Farther than this outside of where the socket may be [m] no plug sits. It is held a little otherwise each time, and
gives way as it is pressed home: the hands of 2,603 true successes on validation connectors were within the area and 0.4
mm of the heights, those of 53 false ones 10 mm too low, on the floor of the workspace, where nothing can be pressed
down any more (docs/lab-notes/practice.md)."""


def elsewhere(hand: np.ndarray, error: np.ndarray) -> bool:
    """Whether a hand at (3,) from the estimate [m] is where the socket cannot be, of which the estimate is off by (3,)
    at most [m]; along an axis where that is 0 it is not known, and it may be anywhere."""
    return bool(((np.abs(hand) > error + ELSEWHERE) & (error > 0)).any())


def sinks(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the hand has gone down between two measured (3,) positions [m]: under a press or a push, the plug was not
    home and may be now."""
    return bool(1e3 * (before[2] - after[2]) > PRESS_LIMIT)


def slides(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the hand has gone sideways between two measured (3,) positions [m], whichever way: an arm that is late
    makes the push before only now."""
    return bool(1e3 * np.abs(after - before)[:2].max() > PUSH_LIMIT)
