"""Taking a plug out after a success, seen backwards, is an insertion: the motions, and what practice makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.controllers.verification import HOME, PULL, SHIFTS
from lotj.controllers.withdrawal import POINTS, REACH, backwards, withdraw
from lotj.errors import LostError
from lotj.experience import Episode
from lotj.robots.robot import RobotEnv
from lotj.runs import Run
from toy_world import (
    STEP,
    AfterStart,
    ListedReward,
    ToyRobot,
    collect,
    make_config,
    practise,
    steady_agent,
    trials_of,
)


class BoundlessRobot(ToyRobot):
    """Its dot may leave the picture: no motion is cut short at an edge. It keeps what it is told after `relax`."""

    out: list[np.ndarray] | None = None
    fails_at: int | None = None  # this motion after `relax` (from 1) loses the part

    def __init__(self) -> None:
        super().__init__(action_scale=6e-3)

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.out = None
        return super().reset(seed)

    def relax(self) -> dict[str, np.ndarray]:
        self.out = []
        return self.observe()

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        assert np.abs(action).max() <= 1
        self.steps += 1
        self.dot = self.dot + STEP * action[:2]
        if self.out is not None:
            self.out.append(action)
            if len(self.out) == self.fails_at:
                raise LostError("the dot fell off")
        return self.observe()


def withdrawn(descent: float, seed: int = 0, fails_at: int | None = None) -> tuple[list[Episode], np.ndarray]:
    """The insertions that are shown, and all motions."""
    robot = BoundlessRobot()
    robot.fails_at = fails_at
    env, rng = RobotEnv(robot), np.random.default_rng(seed)
    env.reset(seed=0)
    shown = withdraw(env, descent, rng, dict, lambda seen: {}, lambda k: {"task": "t", "kind": f"k-{k}", "seed": 7})
    assert robot.out is not None
    return shown, np.array(robot.out)


def test_out_it_goes_up_as_far_as_it_came_down_then_to_points_around_and_back_between() -> None:
    """Down by 1.5 steps: up by a half and a whole one. 20 mm are 3 1/3 steps of 6 mm."""
    ends = []
    for seed in range(40):
        shown, out = withdrawn(1.5, seed)
        assert [e.kind for e in shown] == [f"k-{k}" for k in range(1, POINTS + 1)] and {e.seed for e in shown} == {7}
        ways = [-episode.action[::-1] for episode in shown]  # as they were gone
        np.testing.assert_allclose(ways[0][:2], [[0, 0, 0.5], [0, 0, 1]], atol=1e-6)
        ways[0] = ways[0][2:]
        gone = [out[:2], ways[0]]
        for before, way in zip(ways, ways[1:], strict=False):
            gone += [-before[::-1], way]
        np.testing.assert_allclose(out, np.concatenate(gone), atol=1e-6)
        for way in ways:
            assert (way[:, 2] == 0).all() and len(way) == np.ceil(np.abs(way.sum(0)).max())
            assert np.abs(way[1:]).max(1) == pytest.approx(1.0)  # the rest is the first step: backwards the last
        ends += [6e-3 * way.sum(0)[:2] for way in ways]
    assert np.abs(ends).max() <= REACH + 1e-8 and (np.abs(ends).max(0) > 0.95 * REACH).all()
    assert (np.abs(np.mean(ends, 0)) < 3e-3).all()  # its standard error is 20 / sqrt(3 * 160) = 0.9 mm


def test_what_never_went_down_is_left_sideways() -> None:
    shown, out = withdrawn(0.0)
    assert len(shown) == POINTS and (out[:, 2] == 0).all()


@pytest.mark.parametrize("fails_at", [1, 2, 3, 8, None])
def test_a_part_lost_on_the_way_out_leaves_what_was_shown_until_then(fails_at: int | None) -> None:
    whole, out = withdrawn(1.5)
    shown, gone = withdrawn(1.5, fails_at=fails_at)
    assert len(gone) == (fails_at or len(out))
    ends = np.cumsum([len(whole[0]), *(len(b.action) + len(a.action) for a, b in zip(whole, whole[1:], strict=False))])
    ends[1:] -= 2  # the way back from the first point is without the two steps up
    assert len(shown) == (POINTS if fails_at is None else (ends < fails_at).sum())


@pytest.mark.parametrize("to_seat", [True, False])
def test_backwards(to_seat: bool) -> None:
    image = np.stack([np.full((1, 2, 2, 3), value, np.uint8) for value in (10, 20, 30)])
    seen = {"image": image, "feature/map": np.array([[1], [2], [3]], np.float16)}
    action = np.array([[0.0, 0.0, 1.0], [0.5, 0.0, 0.0]], np.float32)
    notes = {"score": np.array([0.1, 0.2, 0.3], np.float32)}
    back = backwards(Episode(seen, action, np.zeros(2, np.float32), False, True, "t", "k", 7, notes), to_seat)
    assert (back.task, back.kind, back.seed) == ("t", "k", 7)
    assert back.observation["image"][:, 0, 0, 0, 0].tolist() == [30, 20, 10]
    assert back.observation["feature/map"][:, 0].tolist() == [3.0, 2.0, 1.0]
    np.testing.assert_allclose(back.notes["score"], [0.3, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(back.action, [[-0.5, 0.0, 0.0], [0.0, 0.0, -1.0]])
    assert back.reward.tolist() == [0.0, float(to_seat)]
    assert (back.terminated, back.truncated) == (to_seat, not to_seat)


def practised(robot: ToyRobot, tmp_path: Path, agent: Any = None, **settings: Any) -> Run:
    """Four trials that all end in success at their first step."""
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(trials=4, **settings)
    practise(robot, ListedReward(then=0.9), collect(tmp_path / "data", episodes=4), config, run, agent)
    return run


def test_the_first_successes_are_followed_by_insertions(tmp_path: Path) -> None:
    run = practised(BoundlessRobot(), tmp_path, withdrawals=2)
    assert [row["steps"] for row in run.metrics()] == [1] * 4
    assert [row["moves"] for row in run.metrics()] == [1] * 4  # the report finds the trial's end by them
    made = trials_of(run)
    kinds = [f"reversed-{k}" for k in range(1, POINTS + 1)]
    assert list(made) == [
        *(("practice", 1), *((kind, 1) for kind in kinds), ("practice", 2), *((kind, 2) for kind in kinds)),
        *(("practice", 3), ("practice", 4)),
    ]
    last = made["practice", 1].observation["image"][-1]
    for kind in kinds:  # they end where the trial did, or over that place: the third number moves nothing here
        np.testing.assert_array_equal(made[kind, 1].observation["image"][-1], last)
    assert [made[kind, 1].terminated for kind in kinds] == [True, False, False, False]
    assert made[kinds[0], 1].observation.keys() == made["practice", 1].observation.keys()


class FeelingRobot(BoundlessRobot):
    """It measures where its hand is. From its fourth step on its part is held fast."""

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.told: list[tuple[float, ...]] = []
        return super().reset(seed)

    def observe(self) -> dict[str, np.ndarray]:
        moved = 1e-3 * (self.steps % 2)  # a play of 1 mm
        return {**super().observe(), "state": np.array([moved, moved, *[0.0] * 7], np.float32)}

    def relax(self) -> dict[str, np.ndarray]:
        self.told.append(())
        return super().relax()

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.told.append(tuple(action.tolist()))
        return super().move(action * (self.steps < 3))


def test_a_plug_whose_play_was_felt_is_pressed_home_before_it_is_taken_out(tmp_path: Path) -> None:
    """Otherwise the insertion that the withdrawal shows would end, and be rewarded, millimetres above the seat."""
    robot, run = FeelingRobot(), Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(trials=1, withdrawals=1, verify="touch", updates_per_step=0)
    said = ListedReward(0.0, 0.0, 0.9, then=0.9)
    practise(robot, said, collect(tmp_path / "data", episodes=4), config, run)
    assert run.metrics()[0]["predicted_success"] == 1
    first, second = (number for number, motion in enumerate(robot.told) if not motion)  # it lets go: play, withdrawal
    np.testing.assert_allclose(robot.told[first + 1 : second], [PULL, *SHIFTS, *HOME], rtol=1e-6)


def test_none_where_none_are_asked_for_or_the_trial_ended_elsewhere(tmp_path: Path) -> None:
    """The first two end in one pose, which the third and fourth are 9 mm away from."""

    class EndPoses(BoundlessRobot):
        def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
            return super().move(action * (self.steps < 1))  # held after its first step

        def observe(self) -> dict[str, np.ndarray]:
            state = np.zeros(9, np.float32)
            state[0] = 0.009 * (self.resets in (3, 4))
            return {**super().observe(), "state": state}

    assert not any(kind != "practice" for kind, _ in trials_of(practised(BoundlessRobot(), tmp_path, withdrawals=0)))
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(trials=4, withdrawals=9, verify="touch", updates_per_step=0)
    robot = EndPoses()
    practise(robot, AfterStart(robot, 0.95, 0.95, 0.8), collect(tmp_path / "more", episodes=4), config, run)
    withdrawn = {number for kind, number in trials_of(run) if kind != "practice"}
    assert withdrawn == {1, 2, 3}  # what the third ended in was no pose known as yet; the fourth ended there, too


def test_it_goes_up_as_far_as_it_came_down_to_the_frame_that_looked_seated(tmp_path: Path) -> None:
    """Seen in the third frame."""
    run, agent = Run.create(tmp_path / "runs", "practice", {}, 0), steady_agent(0.0, 0.0, -0.5)
    config = make_config(trials=4, withdrawals=4, updates_per_step=0)
    practise(BoundlessRobot(), ThirdFrame(), collect(tmp_path / "data", episodes=4), config, run, agent)
    made, ups = trials_of(run), []
    for number in range(1, 5):
        trial, first = made["practice", number], made["reversed-1", number]
        assert len(trial) == 3
        ups.append(max(0.0, -float(trial.action[:3, 2].sum())))
        assert -first.action[:, 2].sum() == pytest.approx(ups[-1], abs=1e-5)
    assert min(ups) > 0.5


class ThirdFrame:
    """Says success of the frames 3, ... of each trial, whose start is the first frame that it is asked for."""

    threshold = 0.5

    asked = 0

    def score(self, images: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.array([0.9 if self.asked % 4 == 0 else 0.0], np.float32)


def test_a_resumed_run_learns_from_the_same_extractions(tmp_path: Path) -> None:
    data, settings = collect(tmp_path / "data", episodes=4), {"withdrawals": 3}
    whole, halves = (Run.create(tmp_path / name, "practice", {}, 0) for name in ("whole", "halves"))
    config = make_config(trials=4, **settings)
    practise(ToyRobot(), ListedReward(then=0.9), data, config, whole)
    practise(ToyRobot(), ListedReward(then=0.9), data, config, halves, until=2)
    practise(ToyRobot(), ListedReward(then=0.9), data, config, halves, resume=True)
    one, other = trials_of(whole), trials_of(halves)
    assert one.keys() == other.keys() and ("reversed-4", 3) in one and ("reversed-1", 4) not in one
    losses = [[{k: v for k, v in row.items() if k.startswith("loss/")} for row in r.metrics()] for r in (whole, halves)]
    assert losses[0] == losses[1] and losses[0][3]
