"""Balanced batches of labelled frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lotj.data.store import Store
from lotj.errors import DataError

NEAR_MISS_DEPTH_M = 0.004
"""A plug that is less than this from seated [m], but not seated, is a near miss, whatever the episode was for."""

HEIGHT = "position"
"""What a simulator knows of a frame, (3,) [m]; its last entry is the height above seated."""


def near_misses(store: Store, kinds: Sequence[str]) -> np.ndarray:
    """(F,) bool, frames that look like a success and are none: of episodes of these kinds, recorded as near misses, or
    of a plug that is almost seated, short of its seat in the socket or pushed down beside it."""
    almost = store.truth(HEIGHT)[:, -1] < NEAR_MISS_DEPTH_M if HEIGHT in store.schema.truth else False
    return ~store.success & (almost | store.of_frames(store.of_kind(kinds)))


class _Pools:
    """Frame numbers by task, from which to draw quickly."""

    def __init__(self, frames: np.ndarray, task: np.ndarray, tasks: int) -> None:
        order = np.argsort(task[frames], kind="stable")
        self.frames = frames[order]
        self.counts = np.bincount(task[frames], minlength=tasks)
        self.starts = np.cumsum(self.counts) - self.counts

    def draw(self, tasks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return self.frames[self.starts[tasks] + generator.integers(0, self.counts[tasks])]


class BalancedSampler:
    """Draws frames so that in every batch each task has as many successes as others (LOTJ, section VI-B).

    A task is drawn uniformly, then one success and one other frame of it. A share of the others are near misses: they
    are what a success is hardest to tell from.

    Args:
        store: the frames.
        near_miss_share: share of near misses among the frames that are no success; tasks that lack one sort give the
            other.
        kinds: of the episodes that were recorded as near misses.

    Attributes:
        usable: (D,) int64, the tasks that have both labels; the others are never drawn.

    Raises:
        DataError: no task has both labels.
    """

    def __init__(self, store: Store, near_miss_share: float, kinds: Sequence[str]) -> None:
        success, near = store.success, near_misses(store, kinds)
        task, tasks = store.frame_task, len(store.tasks)
        self._success, *self._others = (
            _Pools(np.flatnonzero(mask), task, tasks) for mask in (success, near, ~success & ~near)
        )
        self._near_miss_share = near_miss_share
        self.usable = np.flatnonzero((self._success.counts > 0) & (sum(p.counts for p in self._others) > 0))
        if not len(self.usable):
            raise DataError(f"none of {tasks} tasks has both successes and other frames; collect more episodes")

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """(count,) frame numbers: `count` / 2 successes, then as many others, the k-th of each from the same task."""
        half = count // 2
        task = generator.choice(self.usable, half)
        wanted = (np.arange(half) >= np.round(self._near_miss_share * half)).astype(int)
        has = np.stack([pool.counts[task] > 0 for pool in self._others])
        sort = np.where(has[wanted, np.arange(half)], wanted, 1 - wanted)
        others = np.empty(half, np.int64)
        for number, pool in enumerate(self._others):
            others[sort == number] = pool.draw(task[sort == number], generator)
        return np.concatenate([self._success.draw(task, generator), others])
