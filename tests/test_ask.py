"""Questions to a person, by notes worked out by hand: which trials are asked about, what an answer changes, and that
answers outlive the process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from lotj.data.replay import Source
from lotj.errors import CheckpointError, SettingsError
from lotj.experience import Episode, Task
from lotj.rewards.ask import EVERY, Ask
from lotj.rewards.calibration import Threshold
from lotj.rewards.judge import PUSH_MOVED, OnePose, Question, Score, Verdict
from lotj.training.trials import Trials
from test_judge import learnt, trial


def logits(*values: float) -> list[float]:
    """Scores of these logits."""
    return [float(expit(value)) for value in values]


def ask(folder: Path, count: int = 2, first: float = 0.5, poses: bool = False) -> Ask:
    parts = [Score(Threshold(first, 1.0, None)), *([OnePose()] if poses else [])]
    return Ask(*parts, count=count, answers=folder / "answers.jsonl")


def shown(judge: Ask, episodes: list[Episode]) -> Ask:
    for episode in episodes:
        judge.see(episode.seed, episode)
    return judge


# The threshold


@pytest.mark.parametrize(
    ("answers", "value", "floor"),
    [
        ({}, 0.0, -np.inf),  # the model's own
        ({1: (2.0, True)}, 2.0, -np.inf),  # the lowest success
        ({1: (-3.0, True), 2: (2.0, True)}, -3.0, -np.inf),
        ({1: (2.0, True), 2: (-1.0, False)}, 0.5, -np.inf),  # the middle between 2 and -1
        ({1: (2.0, True), 2: (5.0, False)}, 2.0, -np.inf),  # a failure above a success says nothing
        ({1: (3.0, False)}, 3.5, -np.inf),  # above all failures
        ({1: (-4.0, False)}, 0.0, -np.inf),
        # From three successes on, claims below the cut do not count: the middle between 2 and 1.
        ({1: (2.0, True), 2: (4.0, True), 3: (3.0, True), 4: (1.0, False), 5: (-2.0, False)}, 1.5, 1.5),
        ({1: (2.0, True), 2: (4.0, True), 3: (3.0, True), 4: (6.0, False)}, 2.0, -np.inf),
    ],
)
def test_a_threshold_by_answers_alone(answers: dict[int, tuple[float, bool]], value: float, floor: float) -> None:
    threshold = Threshold(0.5, 1.0, None)
    for number, (logit, said) in answers.items():
        threshold.taught(number, float(expit(logit)), said)
    assert threshold.value == pytest.approx(float(expit(value))) and threshold.floor == pytest.approx(floor)


def test_where_the_touch_verifies_answers_lower_the_threshold_alone() -> None:
    """Starts at -6 and the best at 4 give max(-6 + 4, 4 - 2.5) = 1.5."""
    threshold = Threshold(0.5, 1.0, 2.5)
    starts, best, failure, higher, lower = logits(-6, 4, 3, 2, -1)
    threshold.see(starts, np.array([best]))
    threshold.taught(1, failure, False)
    threshold.taught(2, higher, True)
    assert threshold.value == pytest.approx(float(expit(1.5)))
    threshold.taught(3, lower, True)
    assert threshold.value == pytest.approx(float(expit(-1)))
    threshold.taught(3, lower, None)  # taken back
    assert threshold.value == pytest.approx(float(expit(1.5)))


# The pose


def told(judge: OnePose, episode: Episode, said: bool | None, claimed: bool = True) -> None:
    hand = episode.observation["state"][-1, :3]
    judge.taught(Question(episode.seed, len(episode), 0.5, claimed, hand), said)


def test_a_person_says_which_pose_is_the_sockets() -> None:
    """By themselves the two here (0.95) reject the two there (0.6), and all that end there later. One success there,
    and it is the other way round, for the later one too."""
    judge = OnePose()
    there = [trial(number, [0, 0.6], claim=1, beside=0.009) for number in (1, 2, 5)]
    here = [trial(number, [0, 0.95], claim=1) for number in (3, 4)]
    for episode in [*there[:2], *here, there[2]]:
        judge.see(episode.seed, episode)
    assert [judge.verdict(e.seed, e).success for e in [*there, *here]] == [False, False, False, True, True]
    told(judge, there[0], True)
    assert [judge.verdict(e.seed, e).success for e in [*there, *here]] == [True, True, True, False, False]


def test_two_failures_reject_a_pose_and_one_does_not() -> None:
    judge, here = OnePose(), [trial(number, [0, 0.95], claim=1) for number in (1, 2, 3)]
    for episode in here:
        judge.see(episode.seed, episode)
    told(judge, here[0], False)
    told(judge, here[2], False, claimed=False)  # it was never claimed: the hand may have been on its way
    assert judge.verdict(3, here[2]).success
    told(judge, here[1], False)
    assert [judge.verdict(e.seed, e).success for e in here] == [False] * 3


@pytest.mark.parametrize("later", [None, False])
def test_a_yes_to_a_trial_without_a_claim_can_be_taken_back(later: bool | None) -> None:
    """The yes makes its pose the socket's and the other one wrong; without it the two claims there count again."""
    judge, there = OnePose(), [trial(number, [0, 0.95], claim=1, beside=0.009) for number in (1, 2)]
    here = trial(3, [0, 0.5])
    for episode in [*there, here]:
        judge.see(episode.seed, episode)
    told(judge, here, True, claimed=False)
    assert [judge.verdict(e.seed, e).success for e in there] == [False, False]
    told(judge, here, later, claimed=False)
    assert [judge.verdict(e.seed, e).success for e in there] == [True, True]


# What is asked


def test_trials_are_asked_about_in_turn_the_most_doubtful_first(tmp_path: Path) -> None:
    """Of the claims, the picture (from 0) contradicts 2 and, more strongly, 3. Of the others it speaks for 4 and, more
    strongly, for 5; 1 and 6 to 9 agree. A lost part is not asked about."""
    claims = [trial(1, logits(-9, 1), claim=1), trial(2, logits(-9, -1), claim=1), trial(3, logits(-9, -2), claim=1)]
    none = [trial(4, logits(-9, 1, -5)), trial(5, logits(-9, -5, 3), touch={2: PUSH_MOVED})]
    clear = [trial(number, logits(-9, -0.1 * number)) for number in (6, 7, 8, 9)] + [
        trial(10, logits(-9, 8), lost=True)
    ]
    judge = ask(tmp_path, count=3)
    shown(judge, [*claims, *none])
    assert [(q.trial, q.step, q.claimed) for q in judge.questions] == [(3, 1, True)]
    shown(judge, clear)
    assert [(q.trial, q.step, q.claimed) for q in judge.questions] == [(3, 1, True), (5, 2, False)]
    shown(judge, [trial(number, logits(-9, -0.05), claim=None) for number in range(11, 16)])
    assert [q.trial for q in judge.questions][2] == 2  # a claim again
    shown(judge, [trial(number, logits(-9, 5)) for number in range(16, 21)])
    assert len(judge.questions) == 3  # no more than three


def test_where_all_agree_the_nearest_to_the_threshold_is_asked_about(tmp_path: Path) -> None:
    judge = shown(ask(tmp_path), [trial(number, logits(-9, -abs(number - 3.2))) for number in range(1, 6)])
    assert [q.trial for q in judge.questions] == [3] and EVERY == 5


# What an answer changes


def fill(
    folder: Path, judge: Ask, episodes: list[Episode], answers: dict[int, tuple[int, str]]
) -> tuple[Trials, Source]:
    """Trials judged one after another, with answers given after trials: number -> (trial asked about, answer)."""
    trials = Trials(folder, [Task("t", "t")], ["feature/policy"], True)
    source = Source(trials.store, practised=True)
    for episode in episodes:
        trials.append([episode])
        judge.see(episode.seed, episode)
        trials.judge({"t": judge}, source)
        if episode.seed in answers:
            judge.answer(*answers[episode.seed])
    trials.close()
    return trials, source


CLAIMED = [trial(number, logits(-9, 2 - number), claim=1) for number in range(1, 6)]  # 1, 0, -1, -2, -3
NOT = [trial(number, logits(-9, -7, 5, -7), touch={3: PUSH_MOVED}) for number in range(6, 11)]
AFTER = [trial(11, logits(-9, -9))]


def test_a_no_denies_a_claim_and_a_yes_finds_a_success_and_both_relabel_the_buffer(tmp_path: Path) -> None:
    """Asked are trial 5 (claimed, scored -3) and then 6 (not claimed; its second step scored 5)."""
    judge = ask(tmp_path)
    trials, source = fill(tmp_path / "t", judge, [*CLAIMED, *NOT, *AFTER], {5: (5, "no"), 10: (6, "yes")})
    assert trials.verdict(5) == Verdict(1, False, "denied") and trials.verdict(6) == Verdict(2, True)
    assert trials.successes == 5  # 1 to 4 and 6
    rows = learnt(source)
    assert rows[4:7] == [(8, 0, True, False), (10, 0, False, True), (11, 1, True, True)]
    # The threshold: a success at 5 and a failure at -3, so 1.
    assert judge.threshold.value == pytest.approx(float(expit(1)))


def test_an_answer_counts_from_the_next_trial_and_can_be_undone(tmp_path: Path) -> None:
    judge = shown(ask(tmp_path), CLAIMED)
    judge.answer(5, "no")
    assert judge.verdict(5, CLAIMED[4]).success and judge.questions == [] and judge.answered == {5: "no"}
    judge.see(6, NOT[0])
    assert not judge.verdict(5, CLAIMED[4]).success
    judge.answer(5, "undo")
    assert [q.trial for q in judge.questions] == [5] and judge.answered == {}
    judge.answer(5, "skip")
    judge.see(7, NOT[1])
    assert judge.verdict(5, CLAIMED[4]).success and judge.threshold.value == 0.5


@pytest.mark.parametrize(("number", "answer"), [(4, "yes"), (5, "perhaps"), (5, "undo"), (99, "no"), (5, "")])
def test_what_is_no_answer_to_an_open_question_changes_nothing(tmp_path: Path, number: int, answer: str) -> None:
    judge = shown(ask(tmp_path), CLAIMED)
    with pytest.raises(SettingsError, match="nothing is changed"):
        judge.answer(number, answer)
    assert [q.trial for q in judge.questions] == [5] and not (tmp_path / "answers.jsonl").exists()


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    """Practice resumed comes to the same questions, verdicts and threshold; what was answered just before the kill
    counts from the trial that it would have counted from, and what was open is open."""
    judge = ask(tmp_path, count=3)
    for episode in [*CLAIMED, *NOT]:
        judge.see(episode.seed, episode)
        if episode.seed == 6:
            judge.answer(5, "no")
    assert [q.trial for q in judge.questions] == [6]
    judge.answer(6, "yes")
    again = shown(ask(tmp_path, count=3), [*CLAIMED, *NOT])
    assert again.answered == {5: "no", 6: "yes"} and again.questions == []
    assert again.threshold.value == judge.threshold.value
    assert not again.verdict(6, NOT[0]).success
    for one in (judge, again):
        one.see(11, AFTER[0])
        assert one.verdict(6, NOT[0]) == Verdict(2, True) and one.threshold.value == pytest.approx(expit(1))
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["counts_from"] for line in lines] == [7, 11]


@pytest.mark.parametrize("line", ['{"trial": 1}', '{"trial": "1", "answer": "yes", "counts_from": 2}', "[]", "yes"])
def test_a_damaged_file_of_answers_is_told_of(tmp_path: Path, line: str) -> None:
    (tmp_path / "answers.jsonl").write_text(line + "\n")
    with pytest.raises(CheckpointError, match=r"answers.jsonl, line 1: .*restore the file from a copy"):
        ask(tmp_path)
