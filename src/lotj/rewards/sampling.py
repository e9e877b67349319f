"""Balanced batches of labelled frames, read from disk ahead of the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from lotj.data.dataset import Dataset
from lotj.errors import DataError, SettingsError
from lotj.experience import NEAR_MISSES, STATE_NAMES, is_kind

NEAR_MISS_DEPTH_M = 0.004
"""A plug that is less than this from seated [m], but not seated, is a near miss, whatever the episode was for."""


def near_misses(dataset: Dataset) -> np.ndarray:
    """Frames that look like a success and are none: of an episode recorded as a near miss, or almost seated.

    Returns:
        (F,) bool.
    """
    depth = dataset.frame_state[:, STATE_NAMES.index("z")]
    almost = np.isfinite(depth) & (depth < NEAR_MISS_DEPTH_M)
    return ~dataset.frame_success & (is_kind(dataset.frame_kind, NEAR_MISSES) | almost)


T = TypeVar("T")


@dataclass(frozen=True)
class LabelledBatch:
    """B frames with labels, half of them successes.

    Attributes:
        images: (B, H, W, 3) uint8.
        success: (B,) bool.
        domain: (B,) int64, index into `Dataset.domains`.
    """

    images: np.ndarray
    success: np.ndarray
    domain: np.ndarray


class _Pools:
    """Frame numbers by domain, from which to draw quickly."""

    def __init__(self, frames: np.ndarray, domain: np.ndarray, domains: int) -> None:
        order = np.argsort(domain[frames], kind="stable")
        self.frames = frames[order]
        self.counts = np.bincount(domain[frames], minlength=domains)
        self.starts = np.cumsum(self.counts) - self.counts

    def draw(self, domains: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return self.frames[self.starts[domains] + generator.integers(0, self.counts[domains])]


class BalancedSampler:
    """Draws frames so that in every batch each domain has as many successes as others (LOTJ, section VI-B).

    A domain is drawn uniformly, then one success and one other frame of it. A share of the others are near misses.

    Args:
        dataset: the frames.
        near_miss_share: share of near misses among the frames that are no success; domains that lack one sort give
            the other.

    Attributes:
        usable: (D,) int64, the domains that have both labels; the others are never drawn.

    Raises:
        DataError: if no domain has both labels.
    """

    def __init__(self, dataset: Dataset, near_miss_share: float) -> None:
        if not 0.0 <= near_miss_share <= 1.0:
            raise SettingsError(f"near-miss share {near_miss_share}: must be between 0 and 1")
        self.near_miss_share = near_miss_share
        near, success = near_misses(dataset), dataset.frame_success
        size = len(dataset.domains)
        pools = [_Pools(np.flatnonzero(mask), dataset.frame_domain, size) for mask in (success, near, ~success & ~near)]
        self._success, self._near, self._ordinary = pools
        others = self._near.counts + self._ordinary.counts
        self.usable = np.flatnonzero((self._success.counts > 0) & (others > 0))
        if not len(self.usable):
            raise DataError(
                f"{dataset.root}: none of {size} domains has both successes and other frames; collect more episodes"
            )

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Frame numbers: `count` / 2 successes, then as many others, the k-th of each from the same domain.

        Args:
            count: batch size, even.
            generator: random numbers.

        Returns:
            (count,) int64.
        """
        domain = generator.choice(self.usable, count // 2)
        wants_near = np.arange(count // 2) < round(self.near_miss_share * (count // 2))
        has_near, has_ordinary = self._near.counts[domain] > 0, self._ordinary.counts[domain] > 0
        near = np.where(wants_near, has_near, ~has_ordinary)
        others = np.empty(count // 2, np.int64)
        others[near] = self._near.draw(domain[near], generator)
        others[~near] = self._ordinary.draw(domain[~near], generator)
        return np.concatenate([self._success.draw(domain, generator), others])


class Prefetcher(Generic[T]):
    """Computes `load(step)` for the steps to come in one background thread.

    Args:
        load: what to compute; called in the order of steps.
        depth: how many steps to be ahead.
    """

    def __init__(self, load: Callable[[int], T], depth: int = 3) -> None:
        self._load, self._depth = load, depth
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        self._executor = ThreadPoolExecutor(1, "reward-batches")

    def get(self, step: int) -> T:
        """The result for `step`; steps are best asked for in order."""
        if not self._ahead or self._ahead[0][0] != step:
            for _, future in self._ahead:
                future.cancel()
            self._ahead.clear()
        first = step + len(self._ahead)
        for further in range(first, step + self._depth + 1):
            self._ahead.append((further, self._executor.submit(self._load, further)))
        return self._ahead.popleft()[1].result()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)
