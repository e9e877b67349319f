"""What a practising robot does other than its policy says, so that something succeeds at all.

Until a part has been inserted, nothing tells the policy how it goes wrong there. A policy that was cloned from other
parts errs on the side of too little: where it cannot tell which way to go, its mean action is near the mean of all. On
unseen parts it inserts more often with its sideways action multiplied (lab notes). Bold exploration does that where
trials fail, with more pressure and noise, and fades as successes come.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from lotj.experience import ACTION_DIM
from lotj.training.practice_config import PracticeConfig


class Actor(Protocol):
    """What exploration asks of an agent."""

    def act(self, observation: Any, explore: bool = False, generator: torch.Generator | None = None) -> np.ndarray:
        """(B, 3) actions in [-1, 1] for (B, H, W, 3) uint8 images or their features."""
        ...


def boldness(config: PracticeConfig, successes: int, failures: int) -> float:
    """How bold to be, in [0, 1].

    Args:
        config: from when on and until when.
        successes: predicted so far, without those denied since.
        failures: last trials in a row that ended without one, lost ones included. Where the policy as it is inserts,
            it is to be left alone: bold it moves past the socket.
    """
    if not config.bold_failures:
        return 0.0
    return max(0.0, 1 - successes / config.bold_successes) * min(1.0, failures / config.bold_failures)


def explore(
    agent: Actor,
    observation: Any,
    config: PracticeConfig,
    passed: float,
    bold: float,
    rng: np.random.Generator,
    policy: torch.Generator,
) -> np.ndarray:
    """The (3,) action in [-1, 1] to be tried.

    Args:
        agent: its policy is followed.
        observation: a batch of one.
        config: how much is explored.
        passed: share of practice that is over, in [0, 1]: the noise depends on it.
        bold: see `boldness`.
        rng: for the noise.
        policy: for the policy's own spread.
    """
    action = agent.act(observation, config.sample_policy, policy)[0]
    noise = (1 - passed) * config.exploration_noise + passed * config.exploration_noise_end
    if bold:
        mean = agent.act(observation)[0]
        more = [*((config.bold_sideways - 1) * mean[:2]), -config.bold_press]
        action, noise = action + bold * np.array(more), noise + bold * config.bold_noise
    return np.clip(action + rng.normal(0.0, noise, ACTION_DIM), -1.0, 1.0).astype(np.float32)
