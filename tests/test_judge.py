"""Judges by notes worked out by hand, and what is learnt from the trials that they judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lotj.data.replay import Source
from lotj.experience import Episode, Task
from lotj.rewards.calibration import Threshold
from lotj.rewards.judge import (
    NONE,
    PRESS_MOVED,
    PUSH_MOVED,
    STOOD,
    All,
    Judge,
    OnePose,
    Score,
    Verdict,
    claimed_step,
    valid_scores,
)
from lotj.training.trials import PRACTICE, Trials

FIXED = Threshold(0.5, 1.0, None)


def trial(
    number: int,
    scores: list[float],
    claim: int | None = None,
    touch: dict[int, int] | None = None,
    lost: bool = False,
    beside: float = 0.0,
    kind: str = PRACTICE,
    reward: float = 0.0,
) -> Episode:
    """A trial with these scores of its frames, the start's first; its hand is so far beside the origin [m]."""
    frames = len(scores)
    marks = np.zeros(frames, np.uint8)
    for frame, mark in (touch or {}).items():
        marks[frame] = mark
    image = np.zeros((frames, 1, 8, 8, 3), np.uint8)
    state = np.tile(np.array([beside, *[0.0] * 8], np.float32), (frames, 1))
    earned = np.zeros(frames - 1, np.float32)
    earned[-1] = reward
    ended = lost or claim is not None or reward > 0
    notes = {"score": np.array(scores, np.float32), "claim": np.arange(frames) == (-1 if claim is None else claim)}
    notes |= {"touch": marks, "lost": np.arange(frames) == (frames - 1 if lost else -1), "play": np.zeros(frames)}
    seen = {"state": state, "image": image, "feature/policy": np.arange(frames, dtype=np.float16)[:, None]}
    action = np.zeros((frames - 1, 3), np.float32)
    return Episode(seen, action, earned, ended, not ended, "t", kind, number, notes)


@pytest.mark.parametrize(
    ("touch", "valid"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({2: PRESS_MOVED}, [0.0, 0.0, 0.3, 0.4, 0.5]),  # the press may have brought it home: its frame counts
        ({2: PUSH_MOVED}, [0.0, 0.0, 0.0, 0.4, 0.5]),  # a push has not
        ({1: PUSH_MOVED, 3: PRESS_MOVED}, [0.0, 0.0, 0.0, 0.4, 0.5]),
        ({3: STOOD, 4: STOOD}, [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_scores_before_a_part_gave_way_mean_nothing(touch: dict[int, int], valid: list[float]) -> None:
    notes = trial(1, [0.1, 0.2, 0.3, 0.4, 0.5], touch=touch).notes
    np.testing.assert_allclose(valid_scores(notes), valid, rtol=1e-6)
    assert notes["score"][0] == np.float32(0.1)  # what was noted stays


def test_a_trial_ends_where_a_success_was_claimed() -> None:
    assert claimed_step(trial(1, [0, 0, 0, 0], claim=2)) == 2 and claimed_step(trial(1, [0, 0, 0, 0])) == 3


@pytest.mark.parametrize(
    ("scores", "likely"),
    [
        ([0.9], False),  # the start is the end of no step
        ([0.9, 0.9], True),
        ([0.0, 0.9, 0.4], False),
        ([0.0, 0.5], True),  # the threshold itself counts
    ],
)
def test_what_looks_like_success_in_a_running_trial(scores: list[float], likely: bool) -> None:
    assert Score(FIXED).likely(scores) is likely


SCORES = [0.9, 0.1, 0.9, 0.9, 0.9, 0.2]


@pytest.mark.parametrize(
    ("judge", "episode", "verdict"),
    [
        (Score(FIXED), trial(1, SCORES), Verdict(5, False)),  # not claimed, so none, though it scores
        (Score(FIXED), trial(1, SCORES, claim=4), Verdict(4, True)),
        (Score(FIXED), trial(1, [0, 0, 0.1], claim=2), Verdict(2, True)),  # a claim stands whatever the model says
        (Score(FIXED), trial(1, SCORES, claim=4, lost=True), Verdict(4, False)),
        # The earliest end of all that are asked, and a success where all say so.
        (All(Score(FIXED), OnePose()), trial(1, SCORES, claim=3), Verdict(3, True)),
    ],
)
def test_verdicts_by_hand(judge: Judge, episode: Episode, verdict: Verdict) -> None:
    judge.see(1, episode)
    assert judge.verdict(1, episode) == verdict


def test_another_place_is_rejected_where_it_was_found_and_from_then_on() -> None:
    """Two there (score 0.6), two here (0.95): then those there are rejected, and who ends there is, too."""
    judge = OnePose()
    there = [trial(number, [0, 0.6, 0.6, 0.6], claim=2, beside=0.009) for number in (1, 2, 5)]
    here = [trial(number, [0, 0.95, 0.95], claim=2) for number in (3, 4)]
    for episode in there[:2]:
        judge.see(episode.seed, episode)
    assert judge.verdict(1, there[0]) == Verdict(2, True)
    for episode in here:
        judge.see(episode.seed, episode)
    judge.see(5, there[2])
    assert [judge.verdict(e.seed, e) for e in there] == [Verdict(2, False, "another pose")] * 3
    assert [judge.verdict(e.seed, e) for e in here] == [Verdict(2, True)] * 2
    assert judge.elsewhere({"state": there[0].observation["state"][0]})
    assert not judge.elsewhere({"state": here[0].observation["state"][0]})


# What is learnt from


def judged(folder: Path, episodes: list[Episode], judge: Judge | None, successes: bool = True) -> tuple[Trials, Source]:
    trials = Trials(folder, [Task("t", "t")], ["feature/policy"], successes)
    for episode in episodes:
        trials.append([episode])
        if judge is not None and episode.kind == PRACTICE:
            judge.see(episode.seed, episode)
    source = Source(trials.store, practised=True)
    trials.judge({"t": judge} if judge else {}, source)
    trials.close()
    return trials, source


def learnt(source: Source) -> list[tuple[int, float, bool, bool]]:
    """Of the rows that may be drawn: frame, reward, whether the task ended, whether it is imitated."""
    assert source.rows is not None
    columns = [source.columns[name] for name in ("reward", "terminated", "imitate")]
    return [(int(row), *(values[row].item() for values in columns)) for row in source.rows]


def test_a_verdict_changes_with_what_comes_after_it(tmp_path: Path) -> None:
    """The first two trials, claimed 9 mm beside, are successes at first. Two more score higher here, so that the socket
    is here: the first two have then ended without reward, and nothing of them is imitated."""
    there = [trial(number, [0, 0.6, 0.6], claim=2, beside=0.009) for number in (1, 2)]
    here = [trial(number, [0, 0.95], claim=1) for number in (3, 4)]
    first, before = judged(tmp_path / "1", there, OnePose())
    assert first.successes == 2 and first.verdict(1) == Verdict(2, True)
    assert learnt(before) == [(0, 0, False, True), (1, 1, True, True), (3, 0, False, True), (4, 1, True, True)]
    all_four, after = judged(tmp_path / "2", [*there, *here], OnePose())
    assert all_four.successes == 2 and all_four.verdict(1) == Verdict(2, False, "another pose")
    assert learnt(after)[:4] == [(0, 0, False, False), (1, 0, True, False), (3, 0, False, False), (4, 0, True, False)]
    assert learnt(after)[4:] == [(6, 1, True, True), (8, 1, True, True)]


def test_what_comes_after_a_success_is_not_learnt_from(tmp_path: Path) -> None:
    """The pushes after a press that was stood, frames 4 and 5."""
    touch = {3: STOOD, 4: STOOD, 5: STOOD}
    _, source = judged(tmp_path, [trial(1, [0, 0.9, 0.9, 0.9, 0.9, 0.9], claim=3, touch=touch)], Score(FIXED))
    assert learnt(source) == [(0, 0, False, True), (1, 0, False, True), (2, 1, True, True)]


def test_a_loss_is_an_end_without_reward_but_that_of_a_verification_is_none_of_the_policys(tmp_path: Path) -> None:
    """The second loses its part in the push, two motions after its third step: that is cut off after these three."""
    touch = {2: PUSH_MOVED, 4: STOOD, 5: STOOD}
    episodes = [trial(1, [0, 0.9, 0], lost=True), trial(2, [0, 0.9, 0.9, 0.9, 0.9, 0], touch=touch, lost=True)]
    trials, source = judged(tmp_path, episodes, Score(FIXED))
    assert learnt(source) == [
        (0, 0, False, False), (1, 0, True, False), (3, 0, False, False), (4, 0, False, False), (5, 0, False, False),
    ]  # fmt: skip
    assert trials.verdict(2) == Verdict(3, False)


def test_a_rejected_place_is_an_end_without_reward(tmp_path: Path) -> None:
    judge = All(Score(FIXED), OnePose())
    episodes = [trial(number, [0, 0.9], claim=1) for number in (1, 2)] + [trial(3, [0, 0.6], claim=1, beside=0.009)]
    trials, source = judged(tmp_path, episodes, judge)
    assert learnt(source) == [(0, 1, True, True), (2, 1, True, True), (4, 0, True, False)]
    assert trials.verdict(3).rejected == "another pose" and trials.successes == 2


def test_extractions_seen_backwards_count_as_long_as_the_success_before_them(tmp_path: Path) -> None:
    def extractions(number: int) -> list[Episode]:
        return [trial(number, [0, 0], kind=f"reversed-{k}", reward=reward) for k, reward in ((1, 1.0), (2, 0.0))]

    episodes = [trial(1, [0, 0.9], claim=1), *extractions(1), trial(2, [0, 0.2], claim=1, lost=True), *extractions(2)]
    trials, source = judged(tmp_path, episodes, Score(FIXED))
    assert len(trials) == 2 and len(trials.episodes) == 6
    # To the seat it is a success, to over it cut off; those of the second trial are not drawn.
    assert learnt(source) == [(0, 1, True, True), (2, 1, True, True), (4, 0, False, True), (6, 0, True, False)]


@pytest.mark.parametrize("successes", [True, False])
def test_where_the_environment_rewards_its_word_stands(tmp_path: Path, successes: bool) -> None:
    episodes = [trial(1, [0, 0, 0], reward=1.0), trial(2, [0, 0, 0], reward=-1.0), trial(3, [0, 0], lost=True)]
    trials, source = judged(tmp_path, episodes, None, successes)
    assert [(reward, ended) for _, reward, ended, _ in learnt(source)] == [
        (0, False), (1, True), (0, False), (-1, False), (0, True),
    ]  # fmt: skip
    assert [imitate for *_, imitate in learnt(source)] == [True, True, *[not successes] * 3]
    assert trials.successes == 1


def test_trials_come_back_up_to_the_one_asked_for(tmp_path: Path) -> None:
    episodes = [trial(1, [0, 0.9], claim=1), trial(1, [0, 0], kind="reversed-1"), trial(2, [0, 0.3, 0.4])]
    judged(tmp_path, episodes, Score(FIXED))
    again = Trials(tmp_path, [Task("t", "t")], ["feature/policy"], True)
    back = list(again.restore(1))
    again.close()
    assert [(e.kind, e.seed) for e in back] == [(PRACTICE, 1), ("reversed-1", 1)] and len(again) == 1
    np.testing.assert_array_equal(back[0].observation["image"], episodes[0].observation["image"])
    assert [set(e.observation) for e in again.episodes] == [{"feature/policy"}] * 2  # images stay on the disk
    assert back[0].notes["touch"].max() == NONE
