"""One socket, one pose: successes at the end of which the hand is in two poses cannot all be true.

The bench stands still while a part is practised, so the hand is where it was whenever the plug sits, but for what the
plug slips in it. No label is needed to see that. Which pose is the socket's, the plug's play says: in a socket the plug
has less than where it is only wedged. Where poses do not differ in it the reward model is asked once more, for it ranks
the pictures of one part far better than it levels them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lotj.rewards.calibration import clipped_logit

SAME_POSE = 4e-3
"""Distance up to which the hand is in the same pose [m]: a plug may slip by 3 mm in it before it is lost, and is held
up to half a millimetre otherwise after that. The false seats of the validation connectors are 9 to 20 mm away."""

LEAST_TO_REJECT = 2
"""Successes from which on a pose can reject those that score less: a single picture may score well by accident."""

LEAST_IN_A_TIE = 3
"""Successes from which on a pose is told from others that are as likely. What is rejected is not counted any more: the
pose that happens to be found first must not be taken for the most frequent one."""

TIE = 0.2
"""Poses whose median scores lie up to this below the best one's [logits] are as likely: the most frequent is taken."""

SAME_PLAY = 0.15
"""Poses whose median play lies up to this above the least one's [mm] are as tight: so much it varies in one socket."""


@dataclass(eq=False)
class _Pose:
    total: np.ndarray
    trials: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # logits
    plays: list[float] = field(default_factory=list)  # mm, of the trials in which it has been felt

    @property
    def mean(self) -> np.ndarray:
        return self.total / len(self.trials)

    @property
    def score(self) -> float:
        return float(np.median(self.scores))

    @property
    def play(self) -> float:
        """NaN, which is neither more nor less than any other's, where it has not been felt."""
        return float(np.median(self.plays)) if self.plays else np.nan


class EndPoses:
    """Where the trials that ended in success have ended, and which of these poses is the socket's."""

    def __init__(self) -> None:
        self._poses: list[_Pose] = []

    def see(self, trial: int, hand: np.ndarray, score: float, play: float = 0.0) -> None:
        """Take in a trial that ended in success: its number, where the hand was (3,) [m], its last frame's score, and
        the plug's play [mm], 0 where it has not been felt."""
        pose = self._find(hand)
        if pose is None:
            pose = _Pose(np.zeros(3))
            self._poses.append(pose)
        pose.total = pose.total + hand
        pose.trials.append(trial)
        pose.scores.append(clipped_logit(score))
        if play > 0:
            pose.plays.append(play)
        self._merge(pose)

    def elsewhere(self, hand: np.ndarray) -> bool:
        """Whether the (3,) position [m] is that of a known pose that is not the socket's."""
        pose = self._find(hand)
        return pose is not None and pose in self._wrong()

    @property
    def rejected(self) -> frozenset[int]:
        """Numbers of the trials that have ended in a pose that is not the socket's."""
        return frozenset(trial for pose in self._wrong() for trial in pose.trials)

    def _wrong(self) -> list[_Pose]:
        seen_again = [pose for pose in self._poses if len(pose.trials) >= LEAST_TO_REJECT]
        if not seen_again:
            return []
        tightest = min((pose.play for pose in seen_again if pose.plays), default=np.nan)
        if loose := [pose for pose in self._poses if pose.play > tightest + SAME_PLAY]:
            return loose
        least = max(pose.score for pose in seen_again) - TIE
        likely = [pose for pose in self._poses if pose.score >= least]
        known = [pose for pose in likely if len(pose.trials) >= LEAST_IN_A_TIE]
        socket = max(known, key=lambda pose: (len(pose.trials), pose.score), default=None)
        return [pose for pose in self._poses if pose.score < least or (pose in known and pose is not socket)]

    def _find(self, hand: np.ndarray) -> _Pose | None:
        """The nearest pose that the hand may be in."""
        if not self._poses:
            return None
        far = [float(np.linalg.norm(pose.mean - hand)) for pose in self._poses]
        nearest = int(np.argmin(far))
        return self._poses[nearest] if far[nearest] <= SAME_POSE else None

    def _merge(self, pose: _Pose) -> None:
        """Joins to a pose all that have turned out to be the same: a pose's first position may be an odd one."""
        for other in list(self._poses):
            if other is not pose and np.linalg.norm(other.mean - pose.mean) <= SAME_POSE:
                self._poses.remove(other)
                pose.total = pose.total + other.total
                pose.trials += other.trials
                pose.scores += other.scores
                pose.plays += other.plays
