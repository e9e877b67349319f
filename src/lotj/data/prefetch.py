"""Batches read from disk ahead of a training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Computes `load(step)` for the steps to come in one background thread.

    Args:
        load: what to compute; called in the order of steps.
        depth: how many steps to be ahead.
    """

    def __init__(self, load: Callable[[int], T], depth: int = 3) -> None:
        self._load, self._depth = load, depth
        self._ahead: deque[tuple[int, Future[T]]] = deque()
        self._executor = ThreadPoolExecutor(1, "batches")

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
