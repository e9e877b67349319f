"""Batches read from disk ahead of a training."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
AHEAD = 3


class Prefetcher(Generic[T]):
    """Computes `load(step)` for the next `AHEAD` steps in one background thread, in the order of steps."""

    def __init__(self, load: Callable[[int], T]) -> None:
        self._load = load
        self._ahead: dict[int, Future[T]] = {}
        self._executor = ThreadPoolExecutor(1, "batches")

    def get(self, step: int) -> T:
        """The result for `step`; steps are best asked for in order."""
        steps, known = range(step, step + AHEAD + 1), self._ahead
        self._ahead = {n: known[n] if n in known else self._executor.submit(self._load, n) for n in steps}
        return self._ahead[step].result()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)
