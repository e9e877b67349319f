"""The self-reward: judges that together decide whether a trial was a success. None of them knows the truth.

A trial is recorded as it was, motions of the verification included. From its notes the judges decide afterwards, and
again after every further trial, how many of its steps are learnt from and whether the last of them is rewarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from lotj.experience import Episode
from lotj.rewards.calibration import Threshold, clipped_logit
from lotj.rewards.poses import EndPoses

SCORE, CLAIM, TOUCH, LOST, PLAY = "score", "claim", "touch", "lost", "play"
"""Notes of a practised episode, frame by frame: the reward model's score; whether the robot claimed a success here; the
outcome of a verification (see below); whether the part was lost in the step to it; and of a verified success the plug's
play [mm], 0 where it has not been felt."""

NONE, PRESS_MOVED, PUSH_MOVED, STOOD = 0, 1, 2, 3
"""`TOUCH`: no verification; the part moved under the press, or under the push, that led to this frame; it did not."""


class RewardModel(Protocol):
    """What is asked of a reward model."""

    threshold: float

    def score(self, images: np.ndarray) -> np.ndarray:
        """(N,) probability of success of (N, V, H, W, 3) uint8 images."""
        ...


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on an episode.

    Attributes:
        steps: how many of its steps are learnt from, from the first on.
        success: the last of these is rewarded and ended the task.
        rejected: why a claimed success does not count; empty otherwise.
    """

    steps: int
    success: bool
    rejected: str = ""


@dataclass(frozen=True)
class Question:
    """What a person is asked: whether the part is in its seat after a step of a trial."""

    trial: int
    step: int  # the one that the robot claimed; of a trial without a claim the one whose frame scores best
    score: float  # of that frame, in [0, 1]
    claimed: bool
    hand: np.ndarray | None  # (3,) where the hand was measured [m]; None: it is not


class Judge(Protocol):
    """A part of the self-reward. Episodes are known by the number of their trial."""

    def see(self, number: int, episode: Episode) -> None:
        """Takes in a finished trial."""
        ...

    def verdict(self, number: int, episode: Episode) -> Verdict:
        """Its verdict on a trial that it has seen, given all trials seen by now. The episode has its notes, but not its
        images any more: what a judge needs of these it keeps in `see`."""
        ...


@runtime_checkable
class Taught(Protocol):
    """A judge that learns from a person's answers, see `lotj.rewards.ask`."""

    def taught(self, question: Question, success: bool | None) -> None:
        """Takes in an answer, in place of an earlier one to this question; None takes that back."""


class All:
    """A trial is a success if every judge accepts it; it ends at the earliest step that one of them names."""

    def __init__(self, *parts: Judge) -> None:
        self.parts = parts

    def see(self, number: int, episode: Episode) -> None:
        for part in self.parts:
            part.see(number, episode)

    def verdict(self, number: int, episode: Episode) -> Verdict:
        verdicts = [part.verdict(number, episode) for part in self.parts]
        rejected = next((verdict.rejected for verdict in verdicts if verdict.rejected), "")
        success = all(verdict.success for verdict in verdicts)
        return Verdict(min(verdict.steps for verdict in verdicts), success, rejected)


class Score:
    """What the robot claimed counts, unless a person's answers show that no success scores so low. Which frames are
    likely successes, so that a claim is worth verifying, the scores say.

    Args:
        threshold: adapts to the scores that it has seen.
    """

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold

    def likely(self, scores: Sequence[float] | np.ndarray) -> bool:
        """Whether the last of the (T+1,) valid scores of a running trial says success; its start's never does."""
        return len(scores) > 1 and bool(scores[-1] >= self.threshold.value)

    def see(self, number: int, episode: Episode) -> None:
        """Its scores move the threshold, but for those of a lost part."""
        if not episode.notes[LOST][-1]:  # what was lost tells nothing of scores
            self.threshold.see(float(episode.notes[SCORE][0]), valid_scores(episode.notes)[1:])

    def verdict(self, number: int, episode: Episode) -> Verdict:
        """What the robot claimed; rejected, ``score``, where that frame scores below the threshold's `floor`."""
        end, claimed = claimed_step(episode), bool(episode.notes[CLAIM].any() and not episode.notes[LOST][-1])
        if claimed and clipped_logit(float(episode.notes[SCORE][end])) < self.threshold.floor:
            return Verdict(end, False, "score")
        return Verdict(end, claimed)

    def taught(self, question: Question, success: bool | None) -> None:
        self.threshold.taught(question.trial, question.score, success)


class OnePose:
    """The socket does not move, so successes that end at another position than the most plausible one do not count. The
    hand's position is the first three numbers of the observed ``state`` [m]."""

    def __init__(self) -> None:
        self._poses = EndPoses()
        # Trials that ended in a pose then known to be another -> hand, score and play at their end.
        self._elsewhere: dict[int, tuple[np.ndarray, float, float]] = {}

    def see(self, number: int, episode: Episode) -> None:
        """Keeps where a claimed success has ended; one at another pose is kept aside, for the case that it is none."""
        if episode.notes[CLAIM].any():
            end = claimed_step(episode)
            hand = episode.observation["state"][end, :3]
            success = hand, float(episode.notes[SCORE][end]), float(episode.notes[PLAY][end])
            if self._poses.elsewhere(hand):
                self._elsewhere[number] = success
            else:
                self._poses.see(number, *success)

    def elsewhere(self, observation: Mapping[str, np.ndarray]) -> bool:
        """Whether an observation shows a known position that is not the most plausible one."""
        return self._poses.elsewhere(observation["state"][:3])

    def verdict(self, number: int, episode: Episode) -> Verdict:
        """Rejected, ``another pose``, where it ended at one; all else is accepted, claimed or not."""
        end = claimed_step(episode)
        if self.rejects(number):
            return Verdict(end, False, "another pose")
        return Verdict(end, True)

    def rejects(self, number: int) -> bool:
        """Whether a trial has ended at another pose, by what is known now."""
        return number in self._poses.rejected | self._elsewhere.keys()

    def denies(self, number: int) -> bool:
        """See `EndPoses.denies`."""
        return self._poses.denies(number)

    def taught(self, question: Question, success: bool | None) -> None:
        """See `EndPoses.taught`. That a trial without a claim was no success says nothing of where it ended: it may
        have been anywhere on its way. It takes an earlier yes back."""
        if question.hand is None:
            return
        self._poses.taught(question.trial, question.hand, success if question.claimed or success else None)
        for number in [n for n, (hand, *_) in self._elsewhere.items() if not self._poses.elsewhere(hand)]:
            self._poses.see(number, *self._elsewhere.pop(number))


class GoalPictures:
    """What looks like this bench's own seated plug, as the touch has verified it several times, is a success, too.

    Frames are compared by mean squared difference of the policy's features, to the nearest of those kept. What counts
    is no farther from it than any of these is from its nearest other; and nearer than all that the touch has refuted.

    Args:
        pose: successes that it rejects, or a person denies, are none.
    """

    FEATURES = "feature/policy"
    LEAST = 5
    """Verified successes from which on pictures are asked."""

    def __init__(self, pose: OnePose) -> None:
        self._pose = pose
        self._seats: dict[int, tuple[np.ndarray, float]] = {}  # trial -> features and play of its verified success
        self._refuted: list[np.ndarray] = []

    def see(self, number: int, episode: Episode) -> None:
        """Keeps what a trial shows that was verified, or refuted, by the touch."""
        features, touch = np.asarray(episode.observation[self.FEATURES], np.float32), episode.notes[TOUCH]
        # A press may have brought the plug home: then it is the frame before that was none.
        self._refuted += [*features[touch == PUSH_MOVED], *features[:-1][touch[1:] == PRESS_MOVED]]
        end = claimed_step(episode)
        if episode.notes[CLAIM].any() and touch[end] == STOOD:
            self._seats[number] = features[end], float(episode.notes[PLAY][end])

    def _kept(self) -> list[tuple[np.ndarray, float]]:
        pose = self._pose
        return [seat for number, seat in self._seats.items() if not (pose.rejects(number) or pose.denies(number))]

    @property
    def ready(self) -> bool:
        """Whether there are successes enough."""
        return len(self._kept()) >= self.LEAST

    @property
    def play(self) -> float:
        """What the plug's play is taken to be where it looks like the verified ones and is not felt [mm]."""
        return float(np.median([play for _, play in self._kept()]))

    def shows(self, features: np.ndarray) -> bool:
        """Whether (D,) features are of a seated plug."""
        kept = np.stack([seated for seated, _ in self._kept()])

        def nearest(one: np.ndarray, others: np.ndarray) -> float:
            return float(np.square(others - one).mean(1).min())

        limit = max(nearest(one, np.delete(kept, k, 0)) for k, one in enumerate(kept))
        below = min((nearest(one, kept) for one in self._refuted), default=np.inf)
        apart = nearest(np.asarray(features, np.float32), kept)
        return apart <= limit and apart < below


def claimed_step(episode: Episode) -> int:
    """How many steps a trial has up to the success that the robot claimed; all of them where it claimed none."""
    claim = episode.notes[CLAIM]
    return int(np.argmax(claim)) if claim.any() else len(episode)


def valid_scores(notes: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T+1,) scores, 0 where a later verification has refuted them: no frame before a press or push that moved the part
    was a success; after a press it may be one, after a push it is not."""
    scores, touch = np.array(notes[SCORE], np.float32), notes[TOUCH]
    pressed, pushed = np.flatnonzero(touch == PRESS_MOVED), np.flatnonzero(touch == PUSH_MOVED)
    if len(pressed):
        scores[: pressed[-1]] = 0.0
    if len(pushed):
        scores[: pushed[-1] + 1] = 0.0
    return scores
