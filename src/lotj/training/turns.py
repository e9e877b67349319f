"""Robots that take turns with one learner: all make trials at once, and each is taken as it comes in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from lotj import patience
from lotj.errors import FaultError, RobotError
from lotj.training.live_view import LiveView

T = TypeVar("T")


@dataclass
class _Robot:
    """One of those that make trials."""

    bench: str
    name: str  # in what is said
    begun: int = 0  # the number of the trial that it makes
    failed: int = 0  # how often it has in that one
    since: float = 0.0  # when it failed first
    again: float = 0.0  # when it is tried next

    def paused(self, now: float) -> float:
        """For how long it has failed [s]."""
        return now - self.since if self.failed else 0.0


class Turns(Generic[T]):
    """Makes all robots try, and gives trials out as they come in.

    A robot that fails begins its trial anew, once it is back: nothing of it was kept, and its random numbers are its
    own, so that it comes out as if nothing had been. One of several that refuses, or whose process has died, is left
    out until practice is resumed.

    Args:
        benches: of the robots.
        begin: begins a trial on a bench, of a number that `number` has given.
        view: told of faults; stops practice.
    """

    def __init__(
        self, benches: Sequence[str], begin: Callable[[str, int], Future[T]], number: Callable[[], int], view: LiveView
    ) -> None:
        self._begin_trial, self._number, self._view = begin, number, view
        alone = len(benches) == 1
        self._left = [_Robot(name, "" if alone else f"robot {k}, ") for k, name in enumerate(benches, 1)]
        self._running: dict[Future[T], _Robot] = {}

    def next(self, wanted: int) -> tuple[str, int, T] | None:
        """Bench, the number that it was begun with, and what came of it, of the trial that is finished next; so many
        are `wanted` with it. None: stopped while a robot was away. RobotError if no robot is left, or all have failed
        for `patience.PATIENCE_S`."""
        while not self._paused() or self._view.ready():
            self._begin(wanted)
            ended = wait(self._running, patience.RETRY_S if self._paused() else None, FIRST_COMPLETED).done
            if not self._running:
                time.sleep(patience.RETRY_S)
            first = next((future for future in self._running if future in ended), None)  # in the order of beginning
            if first is None:
                continue
            robot = self._running.pop(first)
            if attempted := self._taken(robot, first):
                number, robot.begun, robot.failed = robot.begun, 0, 0
                return robot.bench, number, attempted
        return None

    def _begin(self, wanted: int) -> None:
        """Lets all robots that stand still begin, or try again, as far as trials are still wanted."""
        now, busy = time.monotonic(), list(self._running.values())
        for robot in self._left:
            if robot in busy or robot.again > now or len(self._running) >= wanted:
                continue
            robot.begun = robot.begun or self._number()
            self._running[self._begin_trial(robot.bench, robot.begun)] = robot

    def _paused(self) -> bool:
        return any(robot.failed for robot in self._left)

    def _taken(self, robot: _Robot, ended: Future[T]) -> T | None:
        """What a robot has brought; None where it has failed."""
        where, now = f"{robot.name}trial {robot.begun}", time.monotonic()
        try:
            attempted = ended.result()
        except FaultError as error:
            if not robot.failed:
                robot.since = now
                self._view.note(patience.paused(where, error))
            robot.failed, robot.again = robot.failed + 1, now + patience.RETRY_S
            if min(other.paused(now) for other in self._left) > patience.PATIENCE_S:
                raise patience.gone(error, "--resume") from None
            return None
        except RobotError as error:
            if len(self._left) == 1:
                raise
            self._left.remove(robot)
            self._view.note(f"{where}: discarded: {error}; {len(self._left)} go on without it, until --resume")
            return None
        if robot.failed:
            self._view.note(patience.back(where, robot.paused(now), robot.failed + 1))
        return attempted
