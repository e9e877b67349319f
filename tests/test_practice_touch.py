"""A success that must stand a press and pushes: what gives way to them does not sit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.controllers.verification import ELSEWHERE, PRESS, PULL, PUSHES, SHIFTS, elsewhere, sinks, slides
from lotj.errors import SettingsError
from lotj.experience import Episode
from lotj.rewards.judge import NONE, PRESS_MOVED, PUSH_MOVED, STOOD
from lotj.runs import Run
from toy_world import SIZE, SPEC, ListedReward, ToyRobot, collect, make_config, practise, trials_of

SAID = [0.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9]
"""What the reward model says: a success in the frame after step 3, so that the first touch follows it."""


class HeldRobot(ToyRobot):
    """From its fourth step on the dot is held fast."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return super().move(action * (self.steps < 3))


class SlottedRobot(ToyRobot):
    """From its fourth step on the dot gives way to the left alone."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return super().move(action if self.steps < 3 else action * (action[0] < 0) * (1, 1, 0))


class ShortRobot(ToyRobot):
    """Held fast from its fourth step on, but the first press brings it home."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        free = self.steps < 3 or (tuple(action.tolist()) == PRESS and not self.home)
        self.home = self.home or tuple(action.tolist()) == PRESS
        return super().move(action * free)

    home = False


def practised(
    robot: ToyRobot, tmp_path: Path, verify: str = "touch", said: Sequence[float] = SAID, retention: bool = True
) -> tuple[Episode, dict[str, Any]]:
    """The only trial, of at most six steps of the policy, and its line."""
    data = collect(tmp_path / "data", episodes=4)
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    config = make_config(trials=1, updates_per_step=0, verify=verify, retention=retention)
    result = practise(robot, ListedReward(*said), data, config, run)
    assert not result.alarm
    return trials_of(run)["practice", 1], run.metrics()[0]


def marks(trial: Episode) -> list[int]:
    return trial.notes["touch"].tolist()


def test_without_touch_the_word_of_the_reward_model_stands(tmp_path: Path) -> None:
    robot = ToyRobot()
    trial, row = practised(robot, tmp_path, "score")
    assert trial.terminated and len(trial) == robot.steps == row["steps"] == 3 and row["predicted_success"] == 1


class ShiftedRobot(HeldRobot):
    """Its hand is that far from where it would be if the plug sat and the estimate held [mm]."""

    place: tuple[float, ...] = (0.0, 0.0, 0.0)

    def observe(self) -> dict[str, np.ndarray]:
        return {**super().observe(), "state": np.array([*np.array(self.place) / 1000, *[0.0] * 6], np.float32)}


@pytest.mark.parametrize(
    ("place", "believed"),
    [((20, -20, -5), True), ((23.9, 0, 8.9), True), ((0, 24.1, 0), False), ((-24.1, 0, 0), False)]
    + [((0, 0, -9.1), False), ((0, 0, 9.1), False)],
)
def test_what_stands_where_the_socket_cannot_be_is_not_believed(
    tmp_path: Path, place: tuple[float, ...], believed: bool
) -> None:
    """The socket is within 20 mm of its estimate and 5 mm of its height, and the plug held a little otherwise."""
    robot = ShiftedRobot(estimate_error=20e-3, height_error=5e-3)
    robot.place = place
    trial, row = practised(robot, tmp_path)
    assert row["predicted_success"] == believed and trial.terminated == believed
    if not believed:
        assert marks(trial)[-1] == PUSH_MOVED and row["rejected_pushes"] == 1  # not verified again where it stands


def test_what_is_not_known_of_the_socket_is_anywhere(tmp_path: Path) -> None:
    robot = ShiftedRobot(estimate_error=20e-3)
    robot.place = (0, 0, -50)
    assert practised(robot, tmp_path)[1]["predicted_success"] == 1
    far, error = np.array([1.0, -1.0, 1.0]), np.array([0.02, 0.02, 0.005])
    assert not elsewhere(far, np.zeros(3)) and elsewhere(far * (0, 0, 1), error) and not elsewhere(0 * far, error)
    assert not elsewhere(error + 0.99 * ELSEWHERE, error) and elsewhere(error + 1.01 * ELSEWHERE, error)


def test_what_slides_on_a_push_is_no_success_and_the_trial_goes_on(tmp_path: Path) -> None:
    trial, row = practised(SlottedRobot(), tmp_path)
    assert not trial.terminated and trial.truncated and len(trial) == 6
    np.testing.assert_allclose(trial.action[3:], [PRESS, *PUSHES[:2]])
    hand = trial.observation["state"]
    assert (hand[3] == hand[4]).all()  # it stood the press ...
    assert (hand[4] == hand[5]).all()  # ... and one push ...
    assert (hand[5] != hand[6]).any()  # ... and gave way to the next
    assert marks(trial) == [NONE] * 6 + [PUSH_MOVED] and not trial.notes["claim"].any()
    assert (row["predicted_success"], row["rejected_pushes"], row["alarm"]) == (0, 1, 0)


def test_what_the_model_does_not_see_is_verified_at_the_end_of_the_trial(tmp_path: Path) -> None:
    """No frame scores more than the start; after six steps the dot, held since the third, stands press and pushes."""
    robot = HeldRobot()
    trial, row = practised(robot, tmp_path, said=[0.0] * 20)
    assert trial.terminated and (row["steps"], row["moves"]) == (7, 6 + 1 + len(PUSHES)) and row["score"] == 0
    assert np.flatnonzero(trial.notes["claim"]).tolist() == [7] and row["predicted_success"] == 1


def test_what_the_model_does_not_see_and_is_free_is_no_success(tmp_path: Path) -> None:
    trial, row = practised(SlottedRobot(), tmp_path, said=[0.0] * 20)
    assert trial.truncated and row["rejected_pushes"] == 1 and row["predicted_success"] == 0
    np.testing.assert_allclose(trial.action[6:], [PRESS, *PUSHES[:2]])


def test_what_stands_press_and_pushes_is_one(tmp_path: Path) -> None:
    robot = HeldRobot()
    trial, row = practised(robot, tmp_path)
    assert trial.terminated and row["moves"] == 3 + 1 + len(PUSHES)
    assert len(trial) == robot.steps + 1 == row["moves"] + 2 + len(SHIFTS)  # one that lets go, which is no step of it
    assert row["steps"] == 4 and row["predicted_success"] == 1  # the press is its last step, the pushes are noted only
    np.testing.assert_allclose(trial.action[3:], [PRESS, *PUSHES, (0, 0, 0), PULL, *SHIFTS], rtol=1e-6)
    assert np.flatnonzero(trial.notes["claim"]).tolist() == [4] and marks(trial) == [NONE] * 4 + [STOOD] * 11
    np.testing.assert_allclose(trial.notes["score"][:5], SAID[:5])


class LeaningRobot(HeldRobot):
    """Held against press and pushes, but once it has let go nothing holds it back upwards."""

    let_go = False

    def relax(self) -> dict[str, np.ndarray]:
        self.let_go = True
        return super().relax()

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.height += float(action[2]) * self.let_go
        return super().move(action)


@pytest.mark.parametrize("retention", [True, False])
def test_what_comes_out_freely_is_no_success_where_a_seat_holds_its_part(tmp_path: Path, retention: bool) -> None:
    """The pull is one of 4 mm, and all that a seat lets it follow is 2.75 mm."""
    trial, row = practised(LeaningRobot(), tmp_path, retention=retention)
    pull = 3 + 1 + len(PUSHES) + 1
    np.testing.assert_allclose(trial.action[pull], PULL, rtol=1e-6)
    assert row["predicted_success"] == (not retention) and row["rejected_pushes"] == int(retention)


def test_a_press_that_brings_the_plug_home_is_a_step_towards_success(tmp_path: Path) -> None:
    """The press after step 3 moves it; one more step of the policy, and the next press it stands."""
    trial, row = practised(ShortRobot(), tmp_path)
    assert np.flatnonzero((trial.action == PRESS).all(1)).tolist() == [3, 5]
    assert row["steps"] == 6 and row["predicted_success"] == 1 and np.flatnonzero(trial.notes["claim"]).tolist() == [6]
    assert marks(trial)[:7] == [NONE] * 4 + [PRESS_MOVED, NONE, STOOD]


def test_a_robot_that_does_not_measure_its_hand_is_told_so(tmp_path: Path) -> None:
    """Without that a touch would say nothing."""
    with pytest.raises(SettingsError, match="verify touch.*`state`.*verify score"):
        practised(ToyRobot(spec=SPEC), tmp_path)
    assert practised(ToyRobot(spec=SPEC), tmp_path / "score", "score")[1]["predicted_success"] == 1


@pytest.mark.parametrize(("verify", "second"), [("touch", 9 * math.exp(-2.5)), ("score", 1.0)])
def test_the_threshold_adapts_where_a_touch_verifies(tmp_path: Path, verify: str, second: float) -> None:
    """The best score of the first trial is 0.9, at odds of 9 to 1: the threshold lies 2.5 logits below."""
    run = Run.create(tmp_path / "runs", "practice", {}, 0)
    data = collect(tmp_path / "data", episodes=4)
    practise(HeldRobot(), ListedReward(*SAID), data, make_config(trials=2, updates_per_step=0, verify=verify), run)
    assert [row["threshold"] for row in run.metrics()] == pytest.approx([0.5, second / (1.0 + second)], rel=1e-4)


def test_limits_by_hand() -> None:
    """Half a millimetre down; 1.8 mm along either axis sideways."""
    start = np.array([0.01, -0.02, 0.03])
    assert not sinks(start, start - (0.004, 0.0, 0.00049)) and not sinks(start, start + (0.0, 0.0, 0.004))
    assert sinks(start, start - (0.0, 0.0, 0.00051))
    assert not slides(start, start + (-0.00179, 0.00179, -0.004))
    for far in ((-0.00181, 0.0, 0.0), (0.00181, 0.0, 0.0), (0.0, 0.00181, 0.0)):
        assert slides(start, start + far)


class SinkingRobot(HeldRobot):
    """Stands on its socket until the first push makes it drop in by 3 mm, where it is held."""

    sunk = False

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        drops = np.allclose(action, PUSHES[0]) and not self.sunk
        self.height -= 0.5 * drops
        self.sunk = self.sunk or drops
        return super().move(action)


def test_what_drops_in_under_a_push_was_not_home_before_it(tmp_path: Path) -> None:
    """Else the picture of a plug that stands on its socket would be rewarded. The trial goes on from where it is now,
    and the next verification is stood."""
    trial, row = practised(SinkingRobot(), tmp_path)
    assert row["predicted_success"] == 1 and np.flatnonzero(trial.notes["claim"]).tolist() == [7]
    assert marks(trial)[:8] == [NONE] * 5 + [PRESS_MOVED, NONE, STOOD]


class RestlessReward:
    """Success wherever the dot is, from the first step on."""

    threshold = 0.5

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.full(len(images), 0.9, np.float32)


def test_where_a_push_has_moved_the_plug_no_success_is_looked_for_again(tmp_path: Path) -> None:
    """Held after the first step but to the left: each verification ends at the second push, which moves it by an action
    to the left, 6 mm. So each begins elsewhere, and the steps of the policy, which move nothing, begin none."""
    run, robot = Run.create(tmp_path / "runs", "practice", {}, 0), SlottedRobot()
    config = make_config(trials=1, max_steps=30, updates_per_step=0, verify="touch")
    practise(robot, RestlessReward(), collect(tmp_path / "data", episodes=4), config, run)
    trial = trials_of(run)["practice", 1]
    refuted = [trial.observation["state"][end - 3, :3] for end in np.flatnonzero(trial.notes["touch"] == PUSH_MOVED)]
    gaps = [np.linalg.norm(a - b) for number, a in enumerate(refuted) for b in refuted[:number]]
    assert len(refuted) > 1 and min(gaps) >= 2e-3


def test_nothing_that_the_camera_does_is_motion(tmp_path: Path) -> None:
    """Every picture is another, as under noise; the hand is held."""

    class Flickering(HeldRobot):
        def picture(self) -> np.ndarray:
            return np.random.default_rng(self.steps).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)

    assert practised(Flickering(), tmp_path)[1]["predicted_success"] == 1
