"""A policy that holds its plug fast is helped, by what the hand measures alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lotj.controllers import Memoryless
from lotj.controllers.recovery import LIFT, Recovery
from lotj.envs.insertion import InsertionEnv

SCALE = 0.006
"""Metres of an action of 1: less than 0.15 * 6 = 0.9 mm is no motion."""


class Asked(Memoryless):
    """Presses; counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        self.times += 1
        return np.array([0.0, 0.0, -1.0])


def lifts(heights_mm: Sequence[float], seed: int = 0) -> list[bool]:
    """Whether the action at each measured height is a lift."""
    recovery = Recovery(Asked(), SCALE)
    recovery.reset(seed)
    seen = [{"state": np.array([0.01, 0.02, 1e-3 * height, 9.0])} for height in heights_mm]
    return [bool(recovery(one, {})[2] == LIFT) for one in seen]


def test_it_lifts_after_two_steps_without_motion() -> None:
    assert lifts([20, 14, 8, 8, 8]) == [False, False, False, False, True]
    assert lifts([8, 7.2, 6.4]) == [False, False, True]  # 0.8 mm is none
    assert lifts([8, 7, 6, 5]) == [False] * 4  # 1 mm is some


def test_a_lift_begins_the_count_anew_and_motion_ends_it() -> None:
    assert lifts([8, 8, 8, 8, 8, 8]) == [False, False, True, False, True, False]
    assert lifts([8, 8, 11, 11, 8, 8, 8]) == [False] * 6 + [True]


def test_shifts_are_drawn_by_the_seed_and_lie_within_an_action() -> None:
    def shift(seed: int) -> np.ndarray:
        recovery = Recovery(Asked(), SCALE)
        recovery.reset(seed)
        return [recovery({"state": np.zeros(3)}, {}) for _ in range(3)][-1]

    drawn = np.array([shift(seed) for seed in range(200)])
    np.testing.assert_array_equal(drawn[:, 2], LIFT)
    assert np.abs(drawn[:, :2]).max() <= 1.0 and not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(shift(3), drawn[3])
    np.testing.assert_allclose(drawn[:, :2].mean(0), 0.0, atol=0.12)  # 3 * 0.577 / sqrt(200)


def test_the_policy_is_asked_at_every_step() -> None:
    policy = Asked()
    recovery = Recovery(policy, SCALE)
    recovery.reset(0)
    for _ in range(5):
        recovery({"state": np.zeros(3)}, {})
    assert policy.times == 5


class Beside:
    """Goes to 2 mm beside the socket while it goes down, and presses; on the rim friction holds the plug there."""

    def reset(self, seed: int) -> None:
        angle = 2 * np.pi * np.random.default_rng(seed).random()
        self.target = 2e-3 * np.array([np.cos(angle), np.sin(angle)])

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        aside = self.target - info["position"][:2]
        return np.clip([*(aside / SCALE), -0.8], -1.0, 1.0)


@pytest.mark.parametrize("connector", ["peg-round-12", "usb-b"])
def test_what_friction_holds_beside_its_socket_gets_in(connector: str) -> None:
    env = InsertionEnv(connector, "duo", 0, "near", observation=("state",))
    assert env.action_scale == SCALE
    won = []
    for controller in (Beside(), Recovery(Beside(), SCALE)):
        won.append(0)
        for seed in range(20):
            observation, info = env.reset(seed=seed)
            controller.reset(seed)
            for _ in range(20):
                observation, reward, terminated, truncated, info = env.step(controller(observation, info))
                won[-1] += reward > 0
                if terminated or truncated:
                    break
    env.close()
    assert won[0] <= 8 and won[1] >= 12, won
