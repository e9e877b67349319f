"""One socket, one pose: successes at the end of which the hand is in two poses cannot all be true.

The bench stands still while a part is practised, so the hand is where it was whenever the plug sits, but for what the
plug slips in it. No label is needed to see that. Which pose is the socket's, the plug's play says: in a socket the plug
has less than where it is only wedged. Where poses do not differ in it the reward model is asked once more, for it ranks
the pictures of one part far better than it levels them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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


class _Success(NamedTuple):
    trial: int
    hand: np.ndarray  # (3,) [m]
    score: float  # logit
    play: float  # [mm]


@dataclass(eq=False)
class _Pose:
    successes: list[_Success]

    def __len__(self) -> int:
        return len(self.successes)

    def median(self, name: str) -> float:
        return float(np.median([getattr(success, name) for success in self.successes]))

    def distance(self, hand: np.ndarray) -> float:
        """Of its mean from a (3,) position [m]."""
        return float(np.linalg.norm(self.mean - hand))

    @property
    def mean(self) -> np.ndarray:
        return np.mean([success.hand for success in self.successes], axis=0)


class EndPoses:
    """Where the trials that ended in success have ended, and which of these poses is the socket's."""

    def __init__(self) -> None:
        self._poses: list[_Pose] = []
        self._told: dict[int, tuple[np.ndarray, bool]] = {}  # trial -> its hand, and whether a person saw a success

    def taught(self, trial: int, hand: np.ndarray, success: bool | None) -> None:
        """Take in a person's word on a trial that ended with the hand there (3,) [m]: the pose of a success is the
        socket's; one of `LEAST_TO_REJECT` failures is not, nor is one that has no other trials. None takes it back."""
        self._told.pop(trial, None)
        if success is not None:
            self._told[trial] = hand, success

    def denies(self, trial: int) -> bool:
        """Whether a person has said that a trial was no success."""
        return trial in self._told and not self._told[trial][1]

    def see(self, trial: int, hand: np.ndarray, score: float, play: float) -> None:
        """Take in a trial that ended in success: its number, where the hand was (3,) [m], its last frame's score, and
        the plug's play [mm]."""
        pose = self._find(hand) or _Pose([])
        pose.successes.append(_Success(trial, hand, clipped_logit(score), play))
        # A pose's first position may be an odd one: all that have turned out to be the same are one.
        others = [other for other in self._poses if other is not pose]
        same = [other for other in others if pose.distance(other.mean) <= SAME_POSE]
        pose.successes += [success for other in same for success in other.successes]
        self._poses = [pose, *(other for other in others if other not in same)]

    def elsewhere(self, hand: np.ndarray) -> bool:
        """Whether the (3,) position [m] is that of a known pose that is not the socket's."""
        pose = self._find(hand)
        return pose is not None and pose in self._wrong()

    @property
    def rejected(self) -> frozenset[int]:
        """Numbers of the trials that have ended in a pose that is not the socket's."""
        return frozenset(success.trial for pose in self._wrong() for success in pose.successes)

    def _wrong(self) -> list[_Pose]:
        def told(pose: _Pose, success: bool) -> int:
            """How often a person has said that of a trial that ended there."""
            return sum(pose.distance(hand) <= SAME_POSE for hand, said in self._told.values() if said == success)

        if any(said for _, said in self._told.values()):
            return [pose for pose in self._poses if not told(pose, True)]
        refuted = [pose for pose in self._poses if told(pose, False) >= min(LEAST_TO_REJECT, len(pose))]
        return refuted + self._unlikely([pose for pose in self._poses if pose not in refuted])

    def _unlikely(self, poses: list[_Pose]) -> list[_Pose]:
        """Those of some poses that are not the socket's, where nobody says which is."""
        seen_again = [pose for pose in poses if len(pose) >= LEAST_TO_REJECT]
        if not seen_again:
            return []
        tightest = min(pose.median("play") for pose in seen_again)
        if loose := [pose for pose in poses if pose.median("play") > tightest + SAME_PLAY]:
            return loose
        least = max(pose.median("score") for pose in seen_again) - TIE
        known = [pose for pose in poses if pose.median("score") >= least and len(pose) >= LEAST_IN_A_TIE]
        socket = max(known, key=lambda pose: (len(pose), pose.median("score")), default=None)
        unlikely = [pose for pose in poses if pose.median("score") < least]
        return unlikely + [pose for pose in known if pose is not socket]

    def _find(self, hand: np.ndarray) -> _Pose | None:
        """The nearest pose that the hand may be in."""
        nearest = min(self._poses, key=lambda pose: pose.distance(hand), default=None)
        return nearest if nearest is not None and nearest.distance(hand) <= SAME_POSE else None
