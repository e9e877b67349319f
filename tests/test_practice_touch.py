"""A success that must stand a press and pushes: what gives way to them does not sit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.controllers.verification import PRESS, PUSHES, FreeMotion, gives_way, picture_change
from lotj.experience import Episode
from lotj.rewards.judge import NONE, PRESS_MOVED, PUSH_MOVED, STOOD
from lotj.runs import Run
from lotj.training.practice import doubted
from toy_world import SIZE, ListedReward, ToyRobot, collect, make_config, practise, steady_agent, trials_of

SAID = [0.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9]
"""What the reward model says: a success in the frame after step 3, so that the first touch follows it."""


class HeldRobot(ToyRobot):
    """From its fourth step on the dot is held fast."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return super().move(action * (self.steps < 3))


class SlottedRobot(ToyRobot):
    """From its fourth step on the dot gives way to the left alone."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return super().move(action if self.steps < 3 else action * (action[0] < 0))


class ShortRobot(HeldRobot):
    """Held fast sideways, but the first press brings it home: the picture's lower quarter lights up."""

    home = False

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.home = self.home or tuple(action.tolist()) == PRESS
        return super().move(action)

    def picture(self) -> np.ndarray:
        image = super().picture()
        image[3 * SIZE // 4 :, :, 2] = 200 * self.home
        return image


def practised(
    robot: ToyRobot, tmp_path: Path, verify: str = "touch", agent: Any = None, said: Sequence[float] = SAID
) -> tuple[Episode, dict[str, Any]]:
    """The only trial, of at most six steps of the policy, and its line."""
    data = collect(tmp_path / "data", episodes=4)
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(trials=1, updates_per_step=0, verify=verify)
    result = practise(robot, ListedReward(*said), data, config, run, agent)
    assert not result.alarm
    return trials_of(run)["practice", 1], run.metrics()[0]


def marks(trial: Episode) -> list[int]:
    return trial.notes["touch"].tolist()


def test_without_touch_the_word_of_the_reward_model_stands(tmp_path: Path) -> None:
    robot = ToyRobot()
    trial, row = practised(robot, tmp_path, "score")
    assert trial.terminated and len(trial) == robot.steps == row["steps"] == 3 and row["predicted_success"] == 1


def test_what_slides_on_a_push_is_no_success_and_the_trial_goes_on(tmp_path: Path) -> None:
    trial, row = practised(SlottedRobot(), tmp_path)
    assert not trial.terminated and trial.truncated and len(trial) == 6
    np.testing.assert_allclose(trial.action[3:], [PRESS, *PUSHES[:2]])
    image = trial.observation["image"]
    assert (image[3] == image[4]).all()  # it stood the press ...
    assert (image[4] == image[5]).all()  # ... and one push ...
    assert (image[5] != image[6]).any()  # ... and gave way to the next
    assert marks(trial) == [NONE] * 6 + [PUSH_MOVED] and not trial.notes["claim"].any()
    assert (row["predicted_success"], row["rejected_pushes"], row["alarm"]) == (0, 1, 0)


def test_what_stands_press_and_pushes_is_one(tmp_path: Path) -> None:
    robot = HeldRobot()
    trial, row = practised(robot, tmp_path)
    assert trial.terminated and len(trial) == robot.steps == row["moves"] == 3 + 1 + len(PUSHES)
    assert row["steps"] == 4 and row["predicted_success"] == 1  # the press is its last step, the pushes are noted only
    np.testing.assert_allclose(trial.action[3:], [PRESS, *PUSHES])
    assert np.flatnonzero(trial.notes["claim"]).tolist() == [4] and marks(trial) == [NONE] * 4 + [STOOD] * 5
    np.testing.assert_allclose(trial.notes["score"][:5], SAID[:5])


def test_a_press_that_brings_the_plug_home_is_a_step_towards_success(tmp_path: Path) -> None:
    """The press after step 3 moves it; one more step of the policy, and the next press it stands."""
    trial, row = practised(ShortRobot(), tmp_path)
    assert np.flatnonzero((trial.action == PRESS).all(1)).tolist() == [3, 5] and len(trial) == 6 + len(PUSHES)
    assert row["steps"] == 6 and row["predicted_success"] == 1 and np.flatnonzero(trial.notes["claim"]).tolist() == [6]
    assert marks(trial)[:7] == [NONE] * 4 + [PRESS_MOVED, NONE, STOOD]


def test_before_any_free_motion_the_word_of_the_reward_model_stands(tmp_path: Path) -> None:
    """Straight down: no step sideways has been seen, with which a touch could be compared."""
    trial, _ = practised(robot := ToyRobot(), tmp_path, agent=steady_agent(0.0, 0.0, -1.0), said=[0.0, 0.9])
    assert robot.steps == len(trial) == 1
    assert trial.notes["claim"].tolist() == [False, True] and not trial.notes["touch"].any()


class SlackRobot(ToyRobot):
    """Half of its picture changes in the first step of a trial and nothing after it; but the first push of the second
    trial changes an eighth."""

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.lit = 0
        return super().reset(seed)

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.steps += 1
        self.lit += 8 * (self.steps == 1) + 2 * (self.steps == 3 and self.resets == 2)
        return self.observe()

    def picture(self) -> np.ndarray:
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[: self.lit] = 200
        return image


def test_a_push_that_a_seated_plug_stands_is_no_free_motion(tmp_path: Path) -> None:
    """Steps of about 1 sideways, success after the first: a push may change 0.4 of a half, which is more than an
    eighth. Were the push of the first trial, without any change, counted as free, it would be less."""
    run, agent = Run.create(tmp_path / "runs", "practice", {}, 0), steady_agent(2.0, 0.0, 0.0)
    config = make_config(trials=2, updates_per_step=0, verify="touch")
    practise(
        SlackRobot(),
        ListedReward(0, *[0.9] * 6, 0, then=0.9),
        collect(tmp_path / "data", episodes=4),
        config,
        run,
        agent,
    )
    assert [(row["predicted_success"], row["rejected_pushes"]) for row in run.metrics()] == [(1, 0)] * 2


@pytest.mark.parametrize(("verify", "second"), [("touch", 9 * math.exp(-2.5)), ("score", 1.0)])
def test_the_threshold_adapts_where_a_touch_verifies(tmp_path: Path, verify: str, second: float) -> None:
    """The best score of the first trial is 0.9, at odds of 9 to 1: the threshold lies 2.5 logits below."""
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    data = collect(tmp_path / "data", episodes=4)
    practise(HeldRobot(), ListedReward(*SAID), data, make_config(trials=2, updates_per_step=0, verify=verify), run)
    assert [row["threshold"] for row in run.metrics()] == pytest.approx([0.5, second / (1.0 + second)], rel=1e-4)


def lines(count: int, value: float | None, success: int = 1) -> list[dict[str, Any]]:
    return [{"predicted_success": success, "value_before": value}] * count


@pytest.mark.parametrize(
    ("rows", "given"),
    [
        (lines(5, 0.79), True),  # of little value to the critic as it was
        (lines(5, 0.81), False),
        (lines(4, 0.3), False),
        (lines(4, 0.3) + lines(9, math.nan, success=0), False),  # failures say nothing
        (lines(50, 0.3) + lines(20, 0.9), False),  # long ago
        (lines(9, 0.3) + lines(11, 0.9), False),  # the median of twenty
        (lines(30, math.nan), False),  # an agent without values; in a file of a stopped run None
        (lines(30, None), False),
    ],
)
def test_successes_are_doubted_that_the_critic_of_before_values_little(rows: list[dict[str, Any]], given: bool) -> None:
    assert doubted(rows) is given


def test_typical_change_is_that_of_a_free_step_sideways() -> None:
    pictures = [np.zeros((10, 10, 3), np.uint8) for _ in range(4)]
    pictures[1][:2] = 30  # 20 of 100 pixels, by more than 24 levels; at ten pixels there is hardly any blur
    pictures[2][:] = 100  # all of them
    pictures[3][:] = 120  # by less
    assert [picture_change(*pair) for pair in zip(pictures, pictures[1:], strict=False)] == [0.2, 1.0, 0.0]
    motion = FreeMotion()
    assert motion.typical is None
    motion.see(pictures, [np.array([0.8, 0.0, 0.1]), np.array([0.8, 0.0, -0.9]), np.array([0.1, 0.1, 0.0])])
    assert motion.typical == pytest.approx(0.25)  # 0.2 for 0.8; one step goes mostly down, one hardly sideways


def test_a_cameras_noise_is_no_motion_and_hides_none() -> None:
    """Pixels that stray by 8 levels; a stripe of a quarter of the picture moves on by half its width."""
    rng, still = np.random.default_rng(0), np.full((2, 64, 64, 3), 100.0)
    still[:, :, 16:32] = 200.0
    moved = np.roll(still, 8, axis=2)
    noisy = [
        np.round(picture + rng.normal(0.0, 8.0, still.shape)).astype(np.uint8) for picture in (still, still, moved)
    ]
    assert picture_change(noisy[0], noisy[1]) < 0.01
    assert picture_change(noisy[1], noisy[2]) == pytest.approx(0.25, abs=0.01)  # eight columns appear and eight go


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
