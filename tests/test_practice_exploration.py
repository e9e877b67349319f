"""What is tried beside the policy's own action: numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lotj.training.exploration import NOISE, PRESS, SIDEWAYS, Exploration, boost

MEAN = np.array([0.2, -0.3, 0.1], np.float32)


def tried(boosted: float, noise: float = 0.0, seed: int = 0, mean: np.ndarray = MEAN, own: float = 0.05) -> np.ndarray:
    """For a policy whose mean action is always the same, and whose spread is one number more in x; without the boost's
    noise where there is none else."""

    def act(observation: object, spread: float, rng: np.random.Generator) -> np.ndarray:
        return mean + np.array([own * spread, 0.0, 0.0], np.float32)

    exploration = Exploration(act, noise, boosted, np.random.default_rng(seed))
    if boosted and not noise:
        exploration.noise = -boosted * NOISE
    return exploration({})


@pytest.mark.parametrize(
    ("successes", "failures", "boosted"),
    [
        (0, 0, 0.0),
        (0, 1, 1 / 3),
        (0, 3, 1.0),
        (0, 50, 1.0),
        (5, 3, 0.5),
        (8, 2, 0.2 * 2 / 3),
        (10, 3, 0.0),
        (99, 99, 0.0),
    ],
)
def test_boosted_where_trials_fail_and_until_ten_have_not(successes: int, failures: int, boosted: float) -> None:
    assert boost(successes, failures) == pytest.approx(boosted)


@pytest.mark.parametrize(
    ("boosted", "action"),
    [
        (0.0, [0.25, -0.3, 0.1]),
        (0.5, [0.45, -0.6, -0.05]),  # 2 x sideways, 0.15 down; the spread stays
        (1.0, [0.65, -0.9, -0.2]),  # 3 x sideways, 0.3 down
    ],
)
def test_the_boost_multiplies_the_mean_sideways_and_presses(boosted: float, action: list[float]) -> None:
    assert (SIDEWAYS, PRESS) == (3.0, 0.3)
    assert tried(boosted) == pytest.approx(action)


def test_no_more_than_the_largest_action() -> None:
    far = tried(1.0, mean=np.array([0.5, -0.6, -0.9], np.float32))
    assert far.tolist() == [1.0, -1.0, -1.0] and far.dtype == np.float32


@pytest.mark.parametrize(
    ("boosted", "noise", "deviation"), [(0.0, 0.1, 0.1), (1.0, 0.1, 0.3), (0.5, 0.05, 0.15), (1.0, 1e-9, 0.2)]
)
def test_noise_grows_with_the_boost(boosted: float, noise: float, deviation: float) -> None:
    zero = np.zeros(3, np.float32)
    made = np.array([tried(boosted, noise, seed, zero, own=0.0) for seed in range(700)])
    made[:, 2] += boosted * PRESS
    assert np.std(made) == pytest.approx(deviation, rel=0.06)  # 2100 draws: standard error 1.6 %
