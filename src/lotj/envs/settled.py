"""An arm or a camera that is late is waited for: after each motion the robot stands still until that can be seen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np

LONGEST, TRIED = 3, 3
"""Steps that a delay may take at most; episodes in which it is measured, for a picture may be lost by accident."""

_MOTION = (1.0, 0.0, 1.0)  # up and aside: seen well, and nothing is touched


def measured_delay(env: Any) -> int:
    """How many steps after a motion it begins to be seen: until then pictures are as far from what comes of it as the
    first one, but for noise. The median of `TRIED` episodes."""
    delays = []
    for seed in range(TRIED):
        seen = [env.reset(seed=seed)[0]["image"]]
        for action in (_MOTION, *[(0.0, 0.0, 0.0)] * (LONGEST + 1)):
            seen.append(env.step(np.array(action, np.float32))[0]["image"])
        pictures = [picture / picture.mean() for picture in seen]  # a lamp or an exposure that drifts is no motion
        left = [float(np.abs(picture - pictures[-1]).mean()) for picture in pictures]
        begun = 0.75 * left[0] + 0.25 * left[-2]  # between all of the change, and noise alone
        delays.append(next((k for k in range(LONGEST) if left[k + 1] < begun), LONGEST))
    return int(np.median(delays))


class Settled(gym.Wrapper):
    """Each step is followed by so many of no motion, which its time limit does not count, and shows what is seen then.

    Args:
        make: makes the environment.
        delay: steps to wait; None: `measured_delay` of another one that is made alike.
    """

    def __init__(self, make: Callable[[], gym.Env], delay: int | None = None) -> None:
        if delay is None:
            with closing(make()) as tried:
                delay = measured_delay(tried)
        super().__init__(make())
        self.delay = delay
        if delay:
            inner: Any = self.unwrapped
            inner.max_steps *= 1 + delay

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move, and wait."""
        return self._settle(self.env.step(action))

    def relax(self) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See `InsertionEnv.relax`."""
        inner: Any = self.env
        return self._settle(inner.relax())

    def _settle(self, came: tuple[Any, ...]) -> Any:
        paid, ends = came[1], getattr(self.unwrapped, "end_on_success", True)
        for _ in range(self.delay):
            # A bench that goes on after success says `terminated` of a true loss: how long it waits must not tell.
            if not (came[2] and ends):
                came = self.env.step(np.zeros(3, np.float32))
                paid += came[1]
        return came[0], paid, *came[2:]
