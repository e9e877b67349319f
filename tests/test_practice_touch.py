"""A predicted success that must be confirmed by touch: what gives way to a press or a push does not sit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotj.data.dataset import Dataset
from lotj.data.replay import Trial
from lotj.runs import Run
from lotj.training.practice import practice
from lotj.training.practice_touch import PRESS, PUSHES, FreeMotion, alarming, gives_way, picture_change
from lotj.training.practice_trials import load_trial
from toy_world import SIZE, ToyRobot, collect, make_agent, make_config

SAID = [0.0, 0.9, 0.9, 0.9, 0.9, 0.9]
"""What the reward model says: a success in the second and third frame, so that the first touch follows step 3."""


class SaysSuccess:
    """A reward model that says `SAID`, then 0."""

    image_size, threshold = SIZE, 0.5

    def __init__(self) -> None:
        self._said = iter(SAID)

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.array([next(self._said, 0.0) for _ in images], np.float32)


class HeldRobot(ToyRobot):
    """From its third step on the dot is held fast."""

    def move(self, delta: np.ndarray) -> np.ndarray:
        return super().move(delta * (self.steps < 3))


class ShortRobot(HeldRobot):
    """Held fast sideways, but the first press brings it home: the picture's lower quarter lights up."""

    home = False

    def move(self, delta: np.ndarray) -> np.ndarray:
        self.home = self.home or tuple(delta.tolist()) == PRESS
        return super().move(delta)

    def observe(self) -> np.ndarray:
        image = super().observe()
        image[3 * SIZE // 4 :, :, 2] = 200 * self.home
        return image


def practised(robot: ToyRobot, tmp_path: Path, confirm: str, **settings: bool) -> Trial:
    """The only trial, of at most six steps."""
    data: Dataset = collect(tmp_path / "data", episodes=4)
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(None, trials=1, updates_per_step=0, calibrate=False, confirm=confirm, **settings)
    practice(robot, make_agent(), SaysSuccess(), data, config, run, live=False)
    return load_trial(run.path, 1)


def test_without_touch_the_word_of_the_reward_model_stands(tmp_path: Path) -> None:
    robot = ToyRobot()
    trial = practised(robot, tmp_path, "look")
    assert trial.terminated and len(trial) == 3 and robot.steps == 3


def test_what_slides_on_a_push_is_no_success_and_the_trial_goes_on(tmp_path: Path) -> None:
    trial = practised(ToyRobot(), tmp_path, "touch")
    assert not trial.terminated and trial.truncated and len(trial) == 6
    np.testing.assert_allclose(trial.actions[3:], [PRESS, *PUSHES[:2]])
    assert (trial.frames[3] == trial.frames[4]).all()  # it stood the press ...
    assert (trial.frames[4] == trial.frames[5]).all()  # ... and one push, for it is at the picture's edge ...
    assert (trial.frames[5] != trial.frames[6]).any()  # ... and gave way to the next
    assert trial.scores.max() == 0 and trial.rewards.max() == 0


def test_what_stands_press_and_pushes_is_one(tmp_path: Path) -> None:
    robot = HeldRobot()
    trial = practised(robot, tmp_path, "touch")
    assert trial.terminated and len(trial) == 4  # the press is its last step, the pushes are no part of it
    assert robot.steps == 3 + 1 + len(PUSHES)
    assert trial.actions[3].tolist() == list(PRESS)
    np.testing.assert_allclose(trial.scores, [0.0, 0.9, 0.9, 0.9])
    assert trial.rewards.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_the_press_may_be_left_out_of_the_trial(tmp_path: Path) -> None:
    robot = HeldRobot()
    trial = practised(robot, tmp_path, "touch", keep_press=False)
    assert trial.terminated and len(trial) == 3 and robot.steps == 3 + 1 + len(PUSHES)
    assert trial.rewards.tolist() == [0.0, 0.0, 1.0]


def test_a_press_that_brings_the_plug_home_is_a_step_towards_success(tmp_path: Path) -> None:
    trial = practised(ShortRobot(), tmp_path, "touch")
    assert trial.terminated and len(trial) == 6
    assert [trial.actions[step].tolist() for step in (3, 5)] == [list(PRESS)] * 2
    np.testing.assert_allclose(trial.scores, [0.0, 0.0, 0.0, 0.9, 0.9, 0.9])  # short: no success after all


@pytest.mark.parametrize(("confirm", "margin"), [("touch", 2.5), ("look", 1.0)])
def test_touch_allows_for_a_wider_margin(tmp_path: Path, confirm: str, margin: float) -> None:
    """The best score of all trials is 0.9, at odds of 9 to 1: the threshold lies `margin` logits below."""
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    data = collect(tmp_path / "data", episodes=4)
    config = make_config(None, trials=2, updates_per_step=0, confirm=confirm, calibration_quantile=1.0)
    practice(HeldRobot(), make_agent(), SaysSuccess(), data, config, run, live=False)
    odds = 9.0 * np.exp(-margin)
    assert [row["threshold"] for row in run.metrics()] == pytest.approx([0.1, odds / (1.0 + odds)], rel=1e-4)


def test_alarm_where_much_that_looks_seated_slides() -> None:
    """More than 12 % of the last 50 trials, of at least 25: 7 of 50, 4 of 25."""
    assert not alarming([0] * 50 + [1] * 6 + [0] * 44) and alarming([0] * 50 + [2] * 7 + [0] * 43)
    assert not alarming([1] * 24) and alarming([1] * 4 + [0] * 21) and not alarming([3] * 3 + [0] * 22)
    assert not alarming([1] * 50 + [0] * 50)  # long ago


def test_a_denied_push_is_counted_in_the_trials_line(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    data = collect(tmp_path / "data", episodes=4)
    config = make_config(None, trials=1, updates_per_step=0, confirm="touch")
    result = practice(ToyRobot(), make_agent(), SaysSuccess(), data, config, run, live=False)
    assert run.metrics()[0]["denied_pushes"] == 1 and run.metrics()[0]["alarm"] == 0
    assert not result.alarm


def test_typical_change_is_that_of_a_free_step_sideways() -> None:
    pictures = [np.zeros((10, 10, 3), np.uint8) for _ in range(4)]
    pictures[1][:2] = 11  # 20 of 100 pixels, by more than ten levels
    pictures[2][:] = 100  # all of them
    pictures[3][:] = 105  # by less: a camera's noise
    assert [picture_change(*pair) for pair in zip(pictures, pictures[1:], strict=False)] == [0.2, 1.0, 0.0]
    motion = FreeMotion()
    assert motion.typical is None
    motion.see(pictures, [np.array([0.8, 0.0, 0.1]), np.array([0.8, 0.0, -0.9]), np.array([0.1, 0.1, 0.0])])
    assert motion.typical == pytest.approx(0.25)  # 0.2 for 0.8; one step goes mostly down, one hardly sideways


def test_a_plug_held_at_the_end_of_most_trials_leaves_the_typical_change_alone() -> None:
    """Three free steps, each of a fifth of the pixels, then sideways commands without any answer."""
    pictures = [np.zeros((10, 10, 3), np.uint8) for _ in range(21)]
    for step, picture in enumerate(pictures):
        picture[: 2 * min(step, 3)] = 255
    motion = FreeMotion()
    for _ in range(50):
        motion.see(pictures, [np.array([1.0, 0.0, 0.0])] * 20)
    assert motion.typical == pytest.approx(0.2)


def test_limits_by_hand() -> None:
    """A tenth of the typical change on a press, four tenths on a push."""
    assert not gives_way(0.024, PRESS, 0.25) and gives_way(0.026, PRESS, 0.25)
    assert not gives_way(0.099, PUSHES[1], 0.25) and gives_way(0.101, PUSHES[1], 0.25)
