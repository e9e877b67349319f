"""Balanced batches of labelled frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotj.data.dataset import Dataset
from lotj.errors import DataError, SettingsError
from lotj.experience import NEAR_MISSES, STATE_NAMES, is_kind

NEAR_MISS_DEPTH_M = 0.004
"""A plug that is less than this from seated [m], but not seated, is a near miss, whatever the episode was for."""


def almost_seated(dataset: Dataset) -> np.ndarray:
    """Frames in which the plug is as low as `NEAR_MISS_DEPTH_M` above its seat or lower, but not seated: short of the
    seat in the socket, or pushed down beside it.

    Returns:
        (F,) bool.
    """
    depth = dataset.frame_state[:, STATE_NAMES.index("z")]
    return ~dataset.frame_success & np.isfinite(depth) & (depth < NEAR_MISS_DEPTH_M)


def near_misses(dataset: Dataset) -> np.ndarray:
    """Frames that look like a success and are none: of an episode recorded as a near miss, or almost seated.

    Returns:
        (F,) bool.
    """
    return almost_seated(dataset) | (~dataset.frame_success & is_kind(dataset.frame_kind, NEAR_MISSES))


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

    A domain is drawn uniformly, then one success and one other frame of it. A share of the others are near misses, and
    a share of these almost seated plugs: they are few, and they are what a success is hardest to tell from.

    Args:
        dataset: the frames.
        near_miss_share: share of near misses among the frames that are no success; domains that lack one sort give
            another.
        almost_share: share of almost seated plugs among the near misses; None draws the near misses evenly.

    Attributes:
        usable: (D,) int64, the domains that have both labels; the others are never drawn.

    Raises:
        DataError: if no domain has both labels.
    """

    def __init__(self, dataset: Dataset, near_miss_share: float, almost_share: float | None = None) -> None:
        for name, share in (("near-miss share", near_miss_share), ("almost-seated share", almost_share or 0.0)):
            if not 0.0 <= share <= 1.0:
                raise SettingsError(f"{name} {share}: must be between 0 and 1")
        success, near = dataset.frame_success, near_misses(dataset)
        almost = almost_seated(dataset) if almost_share is not None else np.zeros_like(near)
        size = len(dataset.domains)

        def pool(mask: np.ndarray) -> _Pools:
            return _Pools(np.flatnonzero(mask), dataset.frame_domain, size)

        self._success = pool(success)
        self._others = [pool(almost), pool(near & ~almost), pool(~success & ~near)]
        almost_rows = near_miss_share * (almost_share or 0.0)
        self._up_to = np.array([almost_rows, near_miss_share])  # shares of the others, added up
        self.usable = np.flatnonzero((self._success.counts > 0) & (sum(p.counts for p in self._others) > 0))
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
        ends = np.round(self._up_to * (count // 2))
        wanted = np.searchsorted(ends, np.arange(count // 2), side="right")
        has = np.stack([pool.counts[domain] > 0 for pool in self._others])
        # The sort that is wanted, else the nearest that the domain has: of an almost seated plug, another near miss.
        distance = np.where(has, np.abs(np.arange(len(has))[:, None] - wanted), len(has))
        sort = distance.argmin(0)
        others = np.empty(count // 2, np.int64)
        for number, pool in enumerate(self._others):
            others[sort == number] = pool.draw(domain[sort == number], generator)
        return np.concatenate([self._success.draw(domain, generator), others])
