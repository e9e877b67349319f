"""One socket, one place: successes that show the hand in two places cannot all be true.

The bench stands still while a part is practised, and the camera rides on the hand. So pictures of a seated plug are
alike, and a picture of one that rests elsewhere (beside the socket, a millimetre short) differs from them, however much
it looks like success. No label is needed to see that. Which place is the socket's, the plug's play says, where it has
been felt: in a socket the plug has less than where it is only held fast. Where places do not differ in it the reward
model is asked once more, for it ranks the pictures of one part far better than it places them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lotj.rewards.calibration import clipped_logit

SAME_PLACE = 0.32
"""Mean difference up to which a picture shows a place [standard deviations of a picture's channel]. On the validation
connectors pictures of seated plugs lie at most 0.22 from their mean; of 245 false successes on parts that have also
true ones all but one at least 0.36 (lab notes)."""

LEAST_TO_DENY = 2
"""Successes from which on a place can deny those that score less: a single picture may score well by accident."""

LEAST_IN_A_TIE = 3
"""Successes from which on a place is told from others that are as likely. What is denied is not counted any more: the
place that happens to be found first must not be taken for the most frequent one."""

TIE = 0.2
"""Places whose median scores lie up to this below the best one's [logits] are as likely: the most frequent is taken."""

SAME_PLAY = 0.15
"""Places whose median play lies up to this above the least one's [mm] are as tight: so much it varies in one socket."""

_FLAT = 1.0  # levels of 255 added to a channel's deviation: an evenly coloured picture has none


@dataclass(eq=False)
class _Place:
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


class Places:
    """Where the trials that ended in success have ended, and which of these places is the socket's."""

    def __init__(self) -> None:
        self._places: list[_Place] = []

    def see(self, trial: int, frame: np.ndarray, score: float, play: float = 0.0) -> None:
        """Take in a trial that ended in success: its number, last (V, H, W, 3) uint8 frame, that frame's score, and the
        plug's play [mm], 0 where it has not been felt."""
        picture = _picture(frame)
        place = self._find(picture)
        if place is None:
            place = _Place(np.zeros_like(picture))
            self._places.append(place)
        place.total = place.total + picture
        place.trials.append(trial)
        place.scores.append(clipped_logit(score))
        if play > 0:
            place.plays.append(play)
        self._merge(place)

    def elsewhere(self, frame: np.ndarray) -> bool:
        """Whether the (V, H, W, 3) uint8 frame shows a known place that is not the socket's."""
        place = self._find(_picture(frame))
        return place is not None and place in self._wrong()

    @property
    def denied(self) -> frozenset[int]:
        """Numbers of the trials that have ended in a place that is not the socket's."""
        return frozenset(trial for place in self._wrong() for trial in place.trials)

    def _wrong(self) -> list[_Place]:
        seen_again = [place for place in self._places if len(place.trials) >= LEAST_TO_DENY]
        if not seen_again:
            return []
        tightest = min((place.play for place in seen_again if place.plays), default=np.nan)
        if loose := [place for place in self._places if place.play > tightest + SAME_PLAY]:
            return loose
        least = max(place.score for place in seen_again) - TIE
        likely = [place for place in self._places if place.score >= least]
        known = [place for place in likely if len(place.trials) >= LEAST_IN_A_TIE]
        socket = max(known, key=lambda place: (len(place.trials), place.score), default=None)
        return [place for place in self._places if place.score < least or (place in known and place is not socket)]

    def _find(self, picture: np.ndarray) -> _Place | None:
        """The nearest place that the picture may show."""
        if not self._places:
            return None
        far = [float(np.abs(place.mean - picture).mean()) for place in self._places]
        nearest = int(np.argmin(far))
        return self._places[nearest] if far[nearest] <= SAME_PLACE else None

    def _merge(self, place: _Place) -> None:
        """Joins to a place all that have turned out to be the same: a place's first picture may be an odd one."""
        for other in list(self._places):
            if other is not place and np.abs(other.mean - place.mean).mean() <= SAME_PLACE:
                self._places.remove(other)
                place.total = place.total + other.total
                place.trials += other.trials
                place.scores += other.scores
                place.plays += other.plays


def _picture(frame: np.ndarray) -> np.ndarray:
    """The frame without what the lamp adds: mean 0 and deviation 1 in each channel of all views together."""
    picture = frame.astype(np.float32)
    axes = tuple(range(picture.ndim - 1))
    return (picture - picture.mean(axes)) / (picture.std(axes) + _FLAT)
