"""What is tried beside the policy's own action: numbers worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch

from lotj.errors import SettingsError
from lotj.experiments.presets import PAPER_PRACTICE
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_exploration import boldness, explore

MEAN = np.array([0.2, -0.3, 0.1], np.float32)


class Steady:
    """A policy whose mean action is always `MEAN`, and whose spread is one number more in x."""

    def act(self, observation: Any, explore: bool = False, generator: torch.Generator | None = None) -> np.ndarray:
        assert (generator is not None) or not explore
        return (MEAN + ([0.05, 0.0, 0.0] if explore else 0.0))[None].astype(np.float32)


def tried(bold: float, passed: float = 0.0, seed: int = 0, **settings: Any) -> np.ndarray:
    config = PracticeConfig(**({"exploration_noise": 0.0, "bold_noise": 0.0, "sample_policy": False} | settings))
    return explore(Steady(), None, config, passed, bold, np.random.default_rng(seed), torch.Generator())


@pytest.mark.parametrize(
    ("successes", "failures", "bold"),
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
def test_bold_where_trials_fail_and_until_ten_have_not(successes: int, failures: int, bold: float):
    config = PracticeConfig(bold_failures=3, bold_successes=10)
    assert boldness(config, successes, failures) == pytest.approx(bold)


def test_the_paper_is_never_bold():
    assert boldness(PracticeConfig(**PAPER_PRACTICE), 0, 100) == 0


@pytest.mark.parametrize(
    ("bold", "action"),
    [
        (0.0, [0.2, -0.3, 0.1]),
        (0.5, [0.4, -0.6, -0.05]),  # 2 x sideways, 0.15 down
        (1.0, [0.6, -0.9, -0.2]),  # 3 x sideways, 0.3 down
    ],
)
def test_bold_is_further_sideways_and_down(bold: float, action: list[float]):
    assert tried(bold, bold_sideways=3.0, bold_press=0.3) == pytest.approx(action)


def test_bold_multiplies_the_mean_and_not_the_spread():
    assert tried(1.0, sample_policy=True) == pytest.approx([0.65, -0.9, -0.2])
    assert tried(0.0, sample_policy=True) == pytest.approx([0.25, -0.3, 0.1])


def test_no_more_than_the_largest_action():
    assert tried(1.0, bold_sideways=9.0, bold_press=2.0).tolist() == [1.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("bold", "passed", "deviation"),
    [(1.0, 0.0, 0.3), (1.0, 1.0, 0.2), (0.5, 0.5, 0.15), (0.0, 0.0, 0.1), (0.0, 1.0, 0.0)],
)
def test_noise_falls_with_practice_and_rises_with_boldness(bold: float, passed: float, deviation: float):
    settings = {"exploration_noise": 0.1, "bold_noise": 0.2, "bold_sideways": 1.0, "bold_press": 0.0}
    noise = [tried(bold, passed, seed, **settings) - MEAN for seed in range(700)]
    assert np.std(noise) == pytest.approx(deviation, rel=0.06, abs=1e-6)  # 2100 draws: standard error 1.6 %


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bold_failures": -1}, "bold_failures -1: must not be negative"),
        ({"bold_successes": 0}, "bold_successes 0: must be at least 1"),
        ({"bold_press": -0.1}, "bold_press -0.1: must not be negative"),
        ({"bold_press": float("nan")}, "bold_press nan: must not be negative, nor infinite"),
        ({"bold_sideways": float("inf")}, "bold_sideways inf: must be at least 1"),
        ({"bold_noise": -0.1}, "bold_noise -0.1: must not be negative"),
        ({"bold_sideways": 0.5}, r"bold_sideways 0.5: must be at least 1 \(no more than usual\)"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=words):
        PracticeConfig(**settings)
