"""Exploration: noise on the policy's actions, and a boost while nothing succeeds.

Until a part has been inserted, practice has no reward to learn from. A policy cloned from other parts moves too little
on it: where it cannot tell which way to go, its mean action is near the mean of all. On unseen parts it inserts more
often with its sideways action multiplied (lab notes). The boost does that after failures, with more pressure and noise,
and fades as successes come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.controllers import Memoryless
from lotj.experience import Observation, batch_of_one

BOOST_FAILURES, BOOST_SUCCESSES = 3, 10
"""Failures in a row at which the boost is full, and successes in all at which it is gone; in between in proportion. A
policy that inserts already would be driven past the socket by it."""

SIDEWAYS, PRESS, NOISE = 3.0, 0.3, 0.2
"""Of the full boost: factor of the mean action sideways, what is added downwards, and to the noise's deviation."""


@dataclass
class Exploration(Memoryless):
    """Noise around the policy's own spread, and the boost. There is one for each trial."""

    # (A,) action for an observation, of a spread in standard deviations of the policy
    act: Callable[[Observation, float, np.random.Generator], np.ndarray]
    noise: float  # standard deviation of Gaussian noise added to an action
    boost: float  # in [0, 1]
    rng: np.random.Generator  # of the trial

    def __call__(self, observation: Observation, info: Mapping[str, Any] | None = None) -> np.ndarray:
        """The (A,) action in [-1, 1] to be tried."""
        action, noise = self.act(observation, 1.0, self.rng), self.noise
        if self.boost:
            mean = self.act(observation, 0.0, self.rng)
            more = np.array([*((SIDEWAYS - 1) * mean[:2]), -PRESS])
            action, noise = action + self.boost * more, noise + self.boost * NOISE
        return np.clip(action + self.rng.normal(0.0, noise, action.shape), -1.0, 1.0).astype(np.float32)


def acting(learner: Any) -> Callable[[Observation, float, np.random.Generator], np.ndarray]:
    """How a `Learner` acts on what is observed at a time, for an `Exploration`."""
    return lambda observation, spread, rng: learner.act(batch_of_one(observation), spread, rng)[0]


def boost(successes: int, failures: int) -> float:
    """Strength of the boost, in [0, 1], after so many predicted successes in all (those that still count) and so many
    last trials in a row without one, lost ones included."""
    return max(0.0, 1 - successes / BOOST_SUCCESSES) * min(1.0, failures / BOOST_FAILURES)
