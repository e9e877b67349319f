"""Replay for practice: the online buffer, the offline side, and the mixed batch of LOTJ section V-C (NumPy only).

The paper keeps online and offline transitions in *separate* buffers, so that the share of online data in a batch is a
setting and does not start at nothing: 25 % online without augmentation, 75 % offline with augmentation.

With frozen convolutions an observation is not an image but the features the convolutions made of it (a mapping
name -> vector, float16). The agent makes and reads them; here they are only stored and gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lotj.data.dataset import Dataset
from lotj.experience import ACTION_DIM, Batch

PRACTISED = -1
"""`Batch.domain` of the transitions of the domain being practised: these are the ones that are not augmented."""

Observation = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """One practice trial of T steps, T+1 frames, labelled by the reward model alone.

    Attributes:
        number: counts from 1.
        frames: (T+1, H, W, 3) uint8. Kept so that the trial can be labelled again or looked at.
        features: name -> (T+1, ...) float16, the frozen convolutions' features of `frames`; empty when images are used.
        actions: (T, 3) float32 in [-1, 1].
        scores: (T,) float32, the reward model's probability for frames 1 to T.
        rewards: (T,) float32, 1 where the prediction counted as success, else 0.
        terminated: the trial ended because the prediction said success, were it in the wrong place, or because the plug
            was lost.
        truncated: the trial ended by its step limit (the last state still bootstraps).
    """

    number: int
    frames: np.ndarray
    features: dict[str, np.ndarray]
    actions: np.ndarray
    scores: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.actions)

    @property
    def lost(self) -> bool:
        """Whether its last step was an end without reward: the plug dislodged, or seated in the wrong place."""
        return self.terminated and not self.rewards.any()


def first_success(scores: np.ndarray, threshold: float, hold_frames: int = 1) -> int:
    """The step at which a trial was a success by the reward model's word.

    Args:
        scores: (T,) of the frames after each step.
        threshold: score from which a frame counts.
        hold_frames: how many frames in a row must count.

    Returns:
        Index of the last of the first `hold_frames` in a row that count; T if there are none.
    """
    held = 0
    for step, counts in enumerate(scores >= threshold):
        held = held + 1 if counts else 0
        if held >= hold_frames:
            return step
    return len(scores)


class TransitionSource(Protocol):
    """Anything that a mixed batch can draw transitions from."""

    def __len__(self) -> int: ...

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` transitions, drawn evenly with replacement."""
        ...


class _Rows:
    """An array that grows at its end at constant cost per row (the room doubles when it is used up)."""

    def __init__(self) -> None:
        self._room: np.ndarray | None = None
        self._count = 0

    def append(self, rows: np.ndarray) -> None:
        needed = self._count + len(rows)
        if self._room is None or needed > len(self._room):
            room = np.empty((max(2 * needed, 1024), *rows.shape[1:]), rows.dtype)
            if self._room is not None:
                room[: self._count] = self._room[: self._count]
            self._room = room
        self._room[self._count : needed] = rows
        self._count = needed

    def replace(self, rows: np.ndarray) -> None:
        """Overwrites all rows with as many others."""
        if self._room is not None:
            self._room[: self._count] = rows

    def take(self, index: np.ndarray) -> np.ndarray:
        if self._room is None:
            raise IndexError("take from rows that hold nothing")
        return self._room[index]


class OnlineBuffer:
    """Transitions of the finished practice trials. A trial enters whole, at its end, or never.

    Args:
        keep_images: hold frames instead of features, for an agent whose convolutions go on learning.
        imitate_successes: the policy is to learn from trials that ended in success alone.
    """

    def __init__(self, keep_images: bool, imitate_successes: bool = False) -> None:
        self._keep_images = keep_images
        self._imitate_successes = imitate_successes
        self._observations: dict[str, _Rows] = {}
        self._frame = _Rows()
        self._action = _Rows()
        self._outcome = _Rows()
        self._numbers: list[int] = []
        self._denied: frozenset[int] = frozenset()  # numbers of trials whose success was denied afterwards
        self._scores: list[np.ndarray] = []
        self._way_in: list[bool] = []  # of each, whether it is no trial of its own but a way in seen after the last one
        self._ended: list[bool] = []  # of each trial, whether it ended in success
        self._lost: list[bool] = []  # of each trial, whether it ended without reward
        self._won = np.zeros(0, bool)  # of each transition, whether its trial ended in success
        self._drawn = np.zeros(0, np.int64)  # transitions that may be drawn
        self._frames = 0
        self._transitions = 0
        self.trials = 0

    def __len__(self) -> int:
        """Number of transitions that may be drawn."""
        return len(self._drawn)

    @property
    def successes(self) -> int:
        """How many trials ended in success when they were made, but for those denied since."""
        trials = zip(self._numbers, self._ended, self._way_in, strict=True)
        return sum(ended and not way_in and number not in self._denied for number, ended, way_in in trials)

    def append(self, trial: Trial, way_in: bool = False) -> None:
        """Adds a finished trial.

        Args:
            trial: to add.
            way_in: it is no trial of its own but a way in that was seen after the success of the last trial added, and
                counts as long as that success does.

        Raises:
            ValueError: its arrays disagree in length, or its observations have other names than those held.
        """
        steps = len(trial)
        rows = {"image": trial.frames} if self._keep_images else trial.features
        lengths = {len(values) for values in rows.values()}
        if not steps or lengths != {steps + 1} or {len(trial.scores), len(trial.rewards)} != {steps}:
            raise ValueError(f"trial {trial.number}: {steps} actions do not fit {sorted(lengths)} observations")
        if self._observations and set(rows) != set(self._observations):
            raise ValueError(f"observations {sorted(rows)} where {sorted(self._observations)} are held")
        for name, values in rows.items():
            self._observations.setdefault(name, _Rows()).append(values)
        self._frame.append(self._frames + np.arange(steps))
        self._action.append(trial.actions.reshape(steps, ACTION_DIM).astype(np.float32))
        last = np.arange(steps) == steps - 1
        outcome = np.stack([trial.rewards, last & trial.terminated, last & trial.truncated], axis=1)
        self._outcome.append(outcome.astype(np.float32))
        self._way_in.append(way_in)
        self._numbers.append(trial.number)
        self._scores.append(trial.scores)
        self._ended.append(trial.terminated and not trial.lost)
        self._lost.append(trial.lost)
        self._won = np.append(self._won, np.full(steps, way_in or bool(trial.rewards.max() > 0)))
        self._drawn = np.append(self._drawn, self._transitions + np.arange(steps))
        self._frames += steps + 1
        self._transitions += steps
        self.trials += not way_in

    def relabel(
        self, threshold: float, hold_frames: int, ended_only: bool = False, denied: frozenset[int] = frozenset()
    ) -> None:
        """Judge all trials anew by their scores: reward and end at the first success, and nothing after it is drawn.
        What was lost stays the end that it was, and so does what was found to be a success by more than its score.

        Args:
            threshold, hold_frames: see `first_success`.
            ended_only: a trial that did not end in success when it was made is none now, and one that did ends where it
                ended or is none.
            denied: numbers of trials that are none, whatever their scores: their end is one without reward.
        """
        self._denied = denied
        outcome = np.zeros((self._transitions, 3), np.float32)
        drawn, start, won = [], 0, False
        trials = zip(self._numbers, self._scores, self._way_in, self._ended, self._lost, strict=True)
        for number, scores, way_in, ended, lost in trials:
            steps = len(scores)
            if way_in:  # it counts as long as the trial before it is won, and ends as it ended
                self._won[start : start + steps] = won
                outcome[start + steps - 1] = [1.0, 1.0, 0.0] if ended else [0.0, 0.0, 1.0]
                drawn.append(np.arange(start, start + steps * won))
                start += steps
                continue
            lost = lost or number in denied
            judged = not lost and (ended or not ended_only)
            success = first_success(scores, threshold, hold_frames) if judged else steps
            won = success < steps
            last = start + (success if won and not ended_only else steps - 1)
            self._won[start : start + steps] = won
            outcome[last] = [1.0, 1.0, 0.0] if won else [0.0, lost, not lost]
            drawn.append(np.arange(start, last + 1))
            start += steps
        self._outcome.replace(outcome)
        self._drawn = np.concatenate([np.zeros(0, np.int64), *drawn])

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` transitions of the practised domain, drawn evenly with replacement."""
        index = self._drawn[rng.integers(len(self._drawn), size=count)]
        frame, outcome = self._frame.take(index), self._outcome.take(index)
        return Batch(
            observation=self._observe(frame),
            action=self._action.take(index),
            reward=outcome[:, 0],
            terminated=outcome[:, 1] > 0,
            truncated=outcome[:, 2] > 0,
            next_observation=self._observe(frame + 1),
            domain=np.full(count, PRACTISED, np.int64),
            policy=self._won[index] if self._imitate_successes else None,
        )

    def _observe(self, frame: np.ndarray) -> Observation:
        if self._keep_images:
            return self._observations["image"].take(frame)
        return {name: rows.take(frame) for name, rows in self._observations.items()}


@dataclass(frozen=True)
class OfflineFeatures:
    """Frozen-convolution features of M offline transitions, K augmented views of each of their U frames.

    Attributes:
        features: name -> (U, K, ...) float16.
        frame: (M,) row of the frame before the step; `next_frame`: (M,) row of the frame after it.
        action, reward, terminated, truncated, domain: as in `Batch`, M rows each.
    """

    features: dict[str, np.ndarray]
    frame: np.ndarray
    next_frame: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    domain: np.ndarray

    def __len__(self) -> int:
        """Number of transitions M."""
        return len(self.action)

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` transitions, drawn evenly; the view of each frame is drawn anew, for both frames on their own."""
        index = rng.integers(len(self), size=count)
        return Batch(
            observation=self._observe(self.frame[index], rng),
            action=self.action[index],
            reward=self.reward[index],
            terminated=self.terminated[index],
            truncated=self.truncated[index],
            next_observation=self._observe(self.next_frame[index], rng),
            domain=self.domain[index],
        )

    def _observe(self, frame: np.ndarray, rng: np.random.Generator) -> Observation:
        views = next(iter(self.features.values())).shape[1]
        view = rng.integers(views, size=len(frame))
        return {name: values[frame, view] for name, values in self.features.items()}


class OfflineImages:
    """Offline transitions as raw images, read from the data set's memory maps when they are drawn.

    Args:
        dataset: an open data set.

    Raises:
        DataError: the data set holds no transition.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._transitions = dataset.transitions()

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self._transitions)

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """`count` transitions, drawn evenly with replacement."""
        index = rng.integers(len(self), size=count)
        held = self._transitions
        return Batch(
            observation=self._dataset.images(held.frame[index]),
            action=held.action[index],
            reward=held.reward[index],
            terminated=held.terminated[index],
            truncated=held.truncated[index],
            next_observation=self._dataset.images(held.frame[index] + 1),
            domain=held.domain[index],
        )


@dataclass(frozen=True)
class MixedReplay:
    """Batches of online and offline transitions in a set proportion (LOTJ section V-C).

    The number of online rows in a batch is ``batch_size * online_fraction``; where that is not whole, it is rounded
    up with the probability of its fractional part, so the share is exact in expectation and off by less than one row
    in any batch. Online rows come first.

    Attributes:
        batch_size: rows of a batch.
        online_fraction: share of online rows, in [0, 1].
    """

    online: TransitionSource
    offline: TransitionSource
    batch_size: int
    online_fraction: float

    def sample(self, rng: np.random.Generator) -> Batch:
        """One batch."""
        wanted = self.batch_size * self.online_fraction
        count = int(wanted) + int(rng.random() < wanted % 1)
        parts = [(self.online, count), (self.offline, self.batch_size - count)]
        return _join([source.sample(rows, rng) for source, rows in parts if rows])


def _join(batches: list[Batch]) -> Batch:
    """One batch of several, without positions: what practice learns from has none."""
    if len(batches) == 1:
        return batches[0]
    fields = {name: [getattr(batch, name) for batch in batches] for name in Batch.__dataclass_fields__}
    del fields["position"]
    if any(rows is not None for rows in fields["policy"]):
        fields["policy"] = [np.ones(len(b), bool) if b.policy is None else b.policy for b in batches]
    else:
        del fields["policy"]
    return Batch(**{name: _join_values(values) for name, values in fields.items()})


def _join_values(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: np.concatenate([value[name] for value in values]) for name in values[0]}
    return np.concatenate(values)


def choose_transitions(
    domain: np.ndarray, reward: np.ndarray, count: int, success_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws a subset of transitions, balanced over domains, with a set share of successes.

    Args:
        domain: (M,) domain of each transition.
        reward: (M,) 1 for success, else 0.
        count: how many to draw; every domain gives the same number (one with too few gives all it has).
        success_share: share of each domain's draw that leads to success, as far as it has them.
        rng: source of randomness.

    Returns:
        Sorted indices into the M transitions, at most `count`.
    """
    chosen = []
    domains = np.unique(domain)
    quotas = np.full(len(domains), count // len(domains))
    quotas[rng.permutation(len(domains))[: count % len(domains)]] += 1
    for name, quota in zip(domains, quotas, strict=True):
        mine = domain == name
        success = rng.permutation(np.flatnonzero(mine & (reward > 0)))
        other = rng.permutation(np.flatnonzero(mine & (reward <= 0)))
        successes = min(len(success), round(quota * success_share))
        others = min(len(other), quota - successes)
        successes = min(len(success), quota - others)
        chosen += [success[:successes], other[:others]]
    return np.sort(np.concatenate(chosen))
