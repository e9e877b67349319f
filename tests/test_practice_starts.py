"""Where trials of practice start, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotj.envs.insertion import InsertionEnv
from lotj.errors import SettingsError
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.training.starts import choose_start
from toy_world import ListedReward, ToyRobot, collect, make_config, practise


def starts(seats: list[np.ndarray], trials: int, error: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = [choose_start(rng, seats, trials, error) for _ in range(500)]
    return np.array([start for start in drawn if start is not None])


def test_the_first_trial_and_those_of_a_robot_without_an_estimate_start_as_the_robot_does() -> None:
    assert starts([], 0).size == starts([], 5, error=0.0).size == starts([np.zeros(2)], 5, error=0.0).size == 0


@pytest.mark.parametrize("trials,width", [(1, 0.002), (5, 0.01), (10, 0.02), (50, 0.02)])
def test_starts_spread_about_the_estimate_until_a_success(trials: int, width: float) -> None:
    """Evenly, by a tenth of the area's half width of 20 mm with each of the first ten trials."""
    drawn = starts([], trials)
    assert 0.98 * width < np.abs(drawn).max() <= width
    assert np.abs(drawn).mean() == pytest.approx(width / 2, rel=0.1)


def test_after_successes_they_lie_all_around_the_middle_of_their_ends() -> None:
    """One end that is far from the others does not move the median. At a share of the way, evenly drawn, to a point
    evenly drawn over the area: the mean of either coordinate's size is a quarter of the half width."""
    middle = np.array([0.012, -0.007])
    from_middle = starts([middle - 1e-4, middle, middle + 1e-4, middle + 1e-4, np.array([-0.02, -0.007])], 5) - middle
    assert 0.017 < np.abs(from_middle).max() <= 0.02 and np.abs(from_middle.mean(0)).max() < 0.002
    assert np.abs(from_middle).mean() == pytest.approx(0.005, rel=0.1)


class AwareRobot(ToyRobot):
    """Measures its hand 3 mm and -4 mm from the estimate, which is off by 10 mm at most, and notes its starts."""

    told: list[np.ndarray | None]

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.told = [*getattr(self, "told", []), start]
        return super().reset(seed)

    def observe(self) -> dict[str, np.ndarray]:
        return {**super().observe(), "state": np.array([0.003, -0.004, *[0] * 7], np.float32)}


def practised(path: Path, trials: int, until: int | None = None, resume: bool = False) -> list[np.ndarray | None]:
    """Where the trials started, of which the fifth and all later ones are successes at their first step."""
    run = Run.open(path / "run") if resume else Run.create(path, "practice", {}, 0)
    if not resume:
        run.path.rename(path / "run")
        run = Run.open(path / "run")
    robot = AwareRobot(estimate_error=0.01)
    done = 3 if resume else 0
    words = [0.0] * 7 * (4 - done) + [0.0, 0.9] * trials
    prior = collect(path / f"data{done}", episodes=4)
    config = make_config(trials=trials, updates_per_step=0)
    practise(robot, ListedReward(*words), prior, config, run, resume=resume, until=until)
    return robot.told


def test_a_robot_starts_around_where_its_hand_was_when_it_succeeded(tmp_path: Path) -> None:
    told = practised(tmp_path, 25)
    assert told[0] is None and len(told) == 25
    before, after = np.array(told[1:5]), np.array(told[5:])
    assert (np.abs(before) <= 0.01 * np.arange(1, 5)[:, None] / 10).all()
    assert (np.abs(after - (0.003, -0.004)) <= 0.01 + 1e-9).all() and np.abs(after - (0.003, -0.004)).max() > 0.006


def test_a_false_seat_far_away_does_not_lead_starts_out_of_reach() -> None:
    """Of two that lie 35 and 45 mm beside the estimate, where the socket is within 20 mm: 40 mm at most, the bench's
    workspace."""
    seats, rng = [np.array([0.035, -0.045]), np.array([0.045, -0.035])], np.random.default_rng(0)
    drawn = np.array([choose_start(rng, seats, 5, 0.02) for _ in range(200)])
    assert np.abs(drawn).max() == 0.04 and (np.abs(drawn) < 0.04).any()
    env = InsertionEnv("usb-b", "duo", 1, "far", observation="state", end_on_success=False, estimate_seed=3)
    for start in drawn[np.abs(drawn).max(1) == 0.04][:20]:
        env.reset(seed=1, options={"start": start})
    with pytest.raises(SettingsError, match="within the workspace"):
        env.reset(seed=1, options={"start": np.array([0.041, 0.0])})
    env.close()


def test_practice_resumed_starts_where_it_would_have(tmp_path: Path) -> None:
    whole = practised(tmp_path / "whole", 8)
    practised(tmp_path / "parts", 8, until=3)
    rest = practised(tmp_path / "parts", 8, resume=True)
    np.testing.assert_array_equal(np.array(rest), np.array(whole[3:]))


def test_the_bench_starts_where_it_is_told_from_its_estimate() -> None:
    env = InsertionEnv("usb-b", "duo", 1, "far", observation=("image", "state"), end_on_success=False, estimate_seed=3)
    robot = SimulatedRobot(env)
    assert robot.estimate_error == 20e-3
    state = robot.reset(5, np.array([0.011, -0.02]))["state"]
    np.testing.assert_allclose(state[:2], [0.011, -0.02], atol=1e-6)
    robot.close()
