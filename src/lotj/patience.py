"""Waiting for a robot that has failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from lotj.errors import FaultError, RobotError

T = TypeVar("T")

RETRY_S, PATIENCE_S = 1.0, 1800.0
"""A robot that has failed is tried again so often [s], and so long, before the work stops."""

_log = logging.getLogger(__name__)


def patiently(trial: Callable[[], T], name: str) -> T:
    """What a trial returns, begun anew as often as the robot fails in it, once the robot is back. Both is said in a
    line that begins with `name`. RobotError where it was gone for `PATIENCE_S`."""
    failed, since = 0, time.monotonic()
    while True:
        try:
            done = trial()
            break
        except FaultError as error:
            if not failed:
                since = time.monotonic()
                _log.warning("%s", paused(name, error))
            failed += 1
            if time.monotonic() - since > PATIENCE_S:
                raise gone(error, "run the same command again") from None
            time.sleep(RETRY_S)
    if failed:
        _log.warning("%s", back(name, time.monotonic() - since, failed + 1))
    return done


def paused(name: str, error: FaultError) -> str:
    """What is said when a trial is void."""
    return f"{name}: paused, its trial is discarded: {error}; goes on when the robot is back"


def back(name: str, seconds: float, attempt: int) -> str:
    """What is said when the robot is back."""
    return f"{name}: the robot is back after {seconds:.0f} s, at attempt {attempt}"


def gone(error: FaultError, way_out: str) -> RobotError:
    """What is raised when it does not come back."""
    return RobotError(f"{error}; for {PATIENCE_S / 60:.0f} minutes: mend it, then {way_out}")
