"""A person's corrections while a robot practises, by keyboard or gamepad: motions in place of the policy's.

They go to the robot as the policy's do, through the same boundary and within the same limits, and are noted as
interventions, which the agent learns from as demonstrations.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from lotj.errors import RobotError
from lotj.experience import Observation

HELD_S = 0.3
"""What a person holds counts for so long after it was last said [s]: who lets go, or is cut off, moves nothing."""

PRESENT_S = 1.0
"""A person is there for so long after the last word [s]. As long, trials go at the robot's own rate: a simulated one
would be too fast for a hand."""


class Corrections:
    """What a person wants the robot to do; said in one thread (`hold`), done in that of practice (`choose`).

    Args:
        axes, rate_hz: A, of an action; steps a second while a person is there, at most.
        clock: seconds.
    """

    def __init__(self, axes: int, rate_hz: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.axes, self._period, self._clock = axes, 1.0 / rate_hz, clock
        self.seen: Observation | None = None  # what the robot observed last
        self._lock = threading.Lock()
        self._held: tuple[float, np.ndarray | None] = (-math.inf, None)  # since when, and what
        self._last = -math.inf  # when the last motion was chosen

    def hold(self, action: Sequence[float]) -> None:
        """A person is there and holds this, (A,) in [-1, 1]; with no numbers nothing, so that the policy moves on.

        Raises:
            RobotError: another number of axes, or out of range; what was held before is let go.
        """
        right = len(action) in (0, self.axes) and all(-1 <= value <= 1 for value in action)  # no NaN either
        with self._lock:
            self._held = self._clock(), np.array(action, np.float32) if right and len(action) else None
        if not right:
            raise RobotError(f"correction {[*action]!r:.60}: must be {self.axes} numbers in [-1, 1]; nothing moves")

    def choose(self, observation: Observation, act: Callable[[Observation], np.ndarray]) -> tuple[np.ndarray, bool]:
        """The (A,) action for what is observed, and whether it is the person's; else `act` gives it."""
        self.seen = observation
        if self._since() < PRESENT_S:
            time.sleep(max(0.0, min(self._period, self._last + self._period - self._clock())))
        self._last = self._clock()
        with self._lock:
            held = self._held[1] if self._since() < HELD_S else None
        return (act(observation), False) if held is None else (held, True)

    def _since(self) -> float:
        return self._clock() - self._held[0]
