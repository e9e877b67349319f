"""Predicted successes in several poses: the socket stands in one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lotj.data.store import DiskStore
from lotj.rewards.poses import SAME_POSE, EndPoses
from lotj.runs import Run
from lotj.training.practice import finished_trials
from toy_world import AfterStart, ToyRobot, collect, make_config, practise, trials_of


def seen(*successes: tuple[np.ndarray, float]) -> EndPoses:
    """Trials 1, 2, ... that ended so."""
    poses = EndPoses()
    for number, (hand, score) in enumerate(successes, 1):
        poses.see(number, hand, score, 1.0)
    return poses


HERE, THERE = np.zeros(3), np.array([0.009, 0.0, 0.0])
"""9 mm apart."""


def at(millimetres: float) -> np.ndarray:
    """A position so far below `HERE`."""
    return np.array([0.0, 0.0, -1e-3 * millimetres])


def test_the_pose_that_scores_best_is_the_sockets() -> None:
    """Median odds 19 to 1 against 4 to 1: 2.94 and 1.39 logits."""
    poses = seen(*[(THERE, 0.8)] * 9, *[(HERE, 0.95)] * 3)
    assert poses.rejected == frozenset(range(1, 10))
    assert poses.elsewhere(THERE) and not poses.elsewhere(HERE)


def test_of_poses_that_score_alike_the_one_most_often_reached() -> None:
    """0.95 and 0.945 are 2.94 and 2.84 logits."""
    poses = seen(*[(THERE, 0.95)] * 3, *[(HERE, 0.945)] * 4)
    assert poses.rejected == {1, 2, 3}


def test_of_poses_that_score_alike_none_is_rejected_before_its_third_success() -> None:
    assert not seen((THERE, 0.95), *[(HERE, 0.945)] * 20).rejected
    assert not seen((THERE, 0.95), *[(HERE, 0.945)] * 20).elsewhere(HERE)
    assert seen(*[(THERE, 0.95)] * 3, *[(HERE, 0.945)] * 3).rejected == {4, 5, 6}  # as often: the better one


def test_a_pose_that_scores_less_is_rejected_from_its_first_success_on_by_one_seen_twice() -> None:
    assert not seen().elsewhere(HERE)
    assert not seen(*[(HERE, 0.95)] * 9).elsewhere(THERE)  # never seen before
    assert not seen(*[(THERE, 0.8)] * 9, (HERE, 0.95)).rejected  # one picture may score well by accident
    assert seen(*[(THERE, 0.8)] * 9, *[(HERE, 0.95)] * 2).rejected == frozenset(range(1, 10))
    assert seen(*[(HERE, 0.95)] * 2, (THERE, 0.8)).elsewhere(THERE)


def test_the_pose_with_the_least_play_is_the_sockets_whatever_it_scores_and_however_seldom() -> None:
    """A knob beside its post looked better, and was reached more often, than on it; but the hand could move it by 3.4
    mm after a pull, on the post by 0.7 to 1.0."""
    poses = EndPoses()
    for number, (hand, score, play) in enumerate([(THERE, 0.97, 3.41)] * 6 + [(HERE, 0.9, 0.73), (HERE, 0.9, 0.97)], 1):
        poses.see(number, hand, score, play)
    assert poses.rejected == frozenset(range(1, 7)) and poses.elsewhere(THERE) and not poses.elsewhere(HERE)
    alike = EndPoses()
    for number, (hand, score, play) in enumerate([(THERE, 0.97, 1.05)] * 6 + [(HERE, 0.9, 0.95)] * 2, 1):
        alike.see(number, hand, score, play)
    assert alike.rejected == {7, 8}  # a tenth of a millimetre tells nothing: the score does


def test_a_plug_that_has_slipped_in_the_hand_makes_no_pose() -> None:
    """It may slip by 3 mm. A false seat 5 mm deeper is one."""
    assert 3e-3 < SAME_POSE < 5e-3
    assert not seen(*[(at(3), 0.8)] * 3, *[(HERE, 0.95)] * 3).rejected
    assert seen(*[(at(5), 0.8)] * 3, *[(HERE, 0.95)] * 3).rejected == {1, 2, 3}


def test_an_odd_first_position_founds_no_second_pose() -> None:
    """5 mm below is another pose; the mean with six at 2 mm is 2.75 mm below, within 4 mm."""
    poses = seen((at(5), 0.8), (HERE, 0.95), (HERE, 0.95))
    assert poses.rejected == {1}
    for number in range(4, 7):
        poses.see(number, at(2.6), 0.95, 1.0)
    assert not poses.rejected


class TwoPoses(ToyRobot):
    """Stands here in odd trials and there in even ones."""

    def observe(self) -> dict[str, np.ndarray]:
        state = np.zeros(9, np.float32)
        state[:3] = HERE if self.resets % 2 else THERE
        return {**super().observe(), "state": state}


def practised(path: Path, trials: int, resume: Run | None = None, verify: str = "touch") -> Run:
    """Practice of so many trials, each a success after its first step, after which nothing moves: here of 0.95, there
    of 0.8."""
    run = resume or Run.create(path, "practice", {}, 0)
    robot = TwoPoses(resets=finished_trials(resume) if resume else 0, held_after=1)
    data = DiskStore.open(path / "data") if resume else collect(path / "data", episodes=4)
    config = make_config(updates_per_step=0, verify=verify, trials=trials, boost=True)
    practise(robot, AfterStart(robot, *[0.95, 0.8] * 3), data, config, run, resume=resume is not None)
    return run


def test_practice_rejects_the_second_pose_once_it_knows_both(tmp_path: Path) -> None:
    """Trial 3 is the second here, trial 2 the first there. The fourth ends like it, but is no success; a
    resumed run knows the poses, too."""
    whole = practised(tmp_path / "whole", trials=6)
    parts = practised(tmp_path / "parts", trials=6, resume=practised(tmp_path / "parts", trials=4))
    for run in (whole, parts):
        rows = run.metrics()
        assert [row["predicted_success"] for row in rows] == [1, 1, 1, 0, 1, 0]
        assert [row["rejected_pose"] for row in rows] == [0, 0, 0, 1, 0, 1]
        assert [row["boost"] > 0 for row in rows] == [False, False, False, False, True, False]
        assert [row["steps"] for row in rows] == [2] * 6  # the press is the second
    assert np.flatnonzero(trials_of(whole)["practice", 4].notes["claim"]).tolist() == [2]


def test_without_verification_no_pose_is_rejected(tmp_path: Path) -> None:
    rows = practised(tmp_path, trials=4, verify="score").metrics()
    assert [row["predicted_success"] for row in rows] == [1] * 4
