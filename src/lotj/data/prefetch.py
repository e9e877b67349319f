"""Batches read from disk ahead of a training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
AHEAD = 3


class Prefetcher(Generic[T]):
    """Computes `load(step)` for the next `AHEAD` steps in one background thread, in the order of steps."""

    def __init__(self, load: Callable[[int], T]) -> None:
        self._load = load
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        self._executor = ThreadPoolExecutor(1, "batches")

    def get(self, step: int) -> T:
        """The result for `step`; steps are best asked for in order."""
        if not self._ahead or self._ahead[0][0] != step:
            for _, future in self._ahead:
                future.cancel()
            self._ahead.clear()
        first = step + len(self._ahead)
        for further in range(first, step + AHEAD + 1):
            self._ahead.append((further, self._executor.submit(self._load, further)))
        return self._ahead.popleft()[1].result()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)
