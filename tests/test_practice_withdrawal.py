"""Taking a plug out after a success shows ways in: plan, reversal, and what practice makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotj.errors import DislodgedError
from lotj.runs import Run
from lotj.training.practice import practice
from lotj.training.practice_trials import RunningTrial, load_trial, trial_path
from lotj.training.practice_withdrawal import REACH, backwards, ways_out
from toy_world import SIZE, STEP, ToyRobot, collect, make_agent, make_config


def test_a_way_out_undoes_the_descent_and_ends_around_the_socket() -> None:
    """Down by 1 + 0.7 - 0.2 = 1.5 steps: up by a half and a whole one. 20 mm are 3 1/3 steps of 6 mm."""
    actions = [np.array([0.3, 0.1, -1.0]), np.array([0.0, 0.0, 0.2]), np.array([0.5, -1.0, -0.7])]
    ways = ways_out(actions, 200, 6e-3, np.random.default_rng(0))
    np.testing.assert_allclose(ways.up, [[0.0, 0.0, 0.5], [0.0, 0.0, 1.0]], atol=1e-6)
    ends = 6e-3 * np.array([aside.sum(0) for aside in ways.aside])
    assert len(ends) == 200 and np.abs(ends).max() <= REACH + 1e-8
    assert (ends[:, 2] == 0).all() and (np.abs(ends[:, :2]).max(0) > 0.95 * REACH).all()
    assert (np.abs(ends.mean(0)[:2]) < 3e-3).all()  # its standard error is 20 / sqrt(3 * 200) = 0.8 mm
    for aside in ways.aside:
        assert np.abs(aside).max() <= 1 and len(aside) == np.ceil(np.abs(aside.sum(0)).max())
        assert np.abs(aside[1:]).max(1) == pytest.approx(1.0)  # the rest is the first step: backwards the last


def test_a_trial_that_never_went_down_is_left_sideways() -> None:
    ways = ways_out([np.array([0.0, 0.0, 0.4])], 1, 6e-3, np.random.default_rng(0))
    assert ways.up.shape == (0, 3) and len(ways.aside[0]) > 0


@pytest.mark.parametrize("to_seat", [True, False])
def test_backwards(to_seat: bool) -> None:
    out = RunningTrial()
    frames = [np.full((2, 2, 3), value, np.uint8) for value in (10, 20, 30)]
    out.begin((frames[0], {"map": np.array([1.0], np.float16)}))
    out.add(np.array([0.0, 0.0, 1.0], np.float32), 0.0, (frames[1], {"map": np.array([2.0], np.float16)}))
    out.add(np.array([0.5, 0.0, 0.0], np.float32), 0.0, (frames[2], {"map": np.array([3.0], np.float16)}))
    trial = backwards(7, out, to_seat)
    assert trial.number == 7 and trial.frames[:, 0, 0, 0].tolist() == [30, 20, 10]
    assert trial.features["map"][:, 0].tolist() == [3.0, 2.0, 1.0]
    np.testing.assert_array_equal(trial.actions, [[-0.5, 0.0, 0.0], [0.0, 0.0, -1.0]])
    assert trial.rewards.tolist() == [0.0, float(to_seat)]
    assert (trial.terminated, trial.truncated) == (to_seat, not to_seat)


class SaysSuccess:
    """A reward model to which every frame is a success."""

    image_size, threshold = SIZE, 0.5

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.full(len(images), 0.9, np.float32)


class BoundlessRobot(ToyRobot):
    """Its dot may leave the picture: no motion is cut short at an edge."""

    moved = 0

    def move(self, delta: np.ndarray) -> np.ndarray:
        self.dot = self.dot + STEP * delta[:2]
        self.moved += 1
        return self.observe()


class FallsOnTheWay(ToyRobot):
    """Loses its part in the third motion after it has let go."""

    since: int | None = None

    def relax(self) -> np.ndarray:
        self.since = 0
        return super().relax()

    def reset(self, seed: int) -> np.ndarray:
        self.since = None
        return super().reset(seed)

    def move(self, delta: np.ndarray) -> np.ndarray:
        if self.since is not None:
            self.since += 1
            if self.since == 3:
                raise DislodgedError("dislodged: the dot fell off")
        return super().move(delta)


def practised(robot: ToyRobot, tmp_path: Path, **settings: object) -> Run:
    """Four trials that all end in predicted success at their second step."""
    data = collect(tmp_path / "data", episodes=4)
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(None, trials=4, hold_frames=2, calibrate=False, **settings)
    practice(robot, make_agent(), SaysSuccess(), data, config, run, live=False)
    return run


def test_the_first_successes_are_followed_by_ways_in(tmp_path: Path) -> None:
    robot = BoundlessRobot()
    run = practised(robot, tmp_path, withdrawals=2, ways=3)
    assert [row["steps"] for row in run.metrics()] == [2] * 4
    assert [row["moves"] for row in run.metrics()] == [2] * 4  # those on the way out are not the trial's
    assert sorted(path.stem for path in (run.path / "trials").glob("*-way*")) == [
        f"{trial:05d}-way{way}" for trial in (1, 2) for way in (1, 2, 3)
    ]
    trial, ways = load_trial(run.path, 1), [load_trial(run.path, 1, way) for way in (1, 2, 3)]
    np.testing.assert_array_equal(ways[0].frames[-1], trial.frames[-1])  # it ends where the trial did
    assert [way.terminated for way in ways] == [True, False, False]
    for way in ways[1:]:  # and the others over that place: the third number moves nothing here
        np.testing.assert_array_equal(way.frames[-1], trial.frames[-1])
    back = sum(int((load_trial(run.path, n, way).actions[:, :2] != 0).any(1).sum()) for n in (1, 2) for way in (1, 2))
    out = sum(len(load_trial(run.path, n, way)) for n in (1, 2) for way in (1, 2, 3))
    assert robot.moved == 4 * 2 + out + back  # after the last way the robot stays out


def test_none_where_none_are_asked_for(tmp_path: Path) -> None:
    run = practised(ToyRobot(), tmp_path, withdrawals=0)
    assert not list((run.path / "trials").glob("*-way*"))


def test_a_plug_lost_on_the_way_out_leaves_the_success(tmp_path: Path) -> None:
    run = practised(FallsOnTheWay(), tmp_path, withdrawals=4, ways=3)
    rows = run.metrics()
    assert [row["predicted_success"] for row in rows] == [1] * 4 and not any(row["discarded"] for row in rows)
    assert not trial_path(run.path, 1, 3).exists()


def test_a_resumed_run_learns_from_the_same_ways(tmp_path: Path) -> None:
    data = collect(tmp_path / "data", episodes=4)
    config = make_config(None, trials=4, hold_frames=2, calibrate=False, withdrawals=3, ways=2)
    whole, halves = (Run.create(tmp_path / name, "practice", {}, 0) for name in ("whole", "halves"))
    practice(ToyRobot(), make_agent(), SaysSuccess(), data, config, whole, live=False)
    practice(ToyRobot(), make_agent(), SaysSuccess(), data, config, halves, live=False, until=2)
    practice(ToyRobot(), make_agent(), SaysSuccess(), data, config, halves, live=False, resume=True)
    assert trial_path(whole.path, 3, 2).exists() and not trial_path(whole.path, 4, 1).exists()
    for number in (1, 2, 3):
        one, other = (load_trial(run.path, number, 2) for run in (whole, halves))
        np.testing.assert_array_equal(one.frames, other.frames)
    losses = [[{k: v for k, v in row.items() if k.startswith("loss/")} for row in r.metrics()] for r in (whole, halves)]
    assert losses[0] == losses[1] and losses[0][3]
