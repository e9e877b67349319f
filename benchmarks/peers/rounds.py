"""A benchmark's process: asked for rounds on stdin, it answers on stdout, one JSON object a line each.

Every way of a benchmark is a process of its own, some in a Python of their own. They stay alive and take turns, so that
a busy machine hits all alike. This module needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Round = Callable[[dict[str, Any]], dict[str, Any]]
"""Does what is asked; returns what it measured."""


def seconds(action: Callable[[], object], count: int) -> float:
    """Of one call, the mean of some."""
    started = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - started) / count


def episodes(step: Callable[[], object], reset: Callable[[], object], request: dict[str, Any]) -> dict[str, Any]:
    """The request's ``steps`` in episodes of ``episode``: seconds of steps and of resets, and how many of each."""
    resets, step_s, reset_s, episode = 0, 0.0, 0.0, request["episode"]
    for first in range(0, request["steps"], episode):
        reset_s += seconds(reset, 1)
        resets += 1
        count = min(episode, request["steps"] - first)
        step_s += count * seconds(step, count)
    return {"step_s": step_s, "reset_s": reset_s, "steps": request["steps"], "resets": resets}


def serve(begin: Callable[[], tuple[dict[str, Any], Round]]) -> None:
    """Begin, say what was begun, and do rounds until stdin ends.

    Args:
        begin: returns facts for the report (versions, settings), and what does a round.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print greetings to stdout
    about, play = begin()
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(play(json.loads(line))), file=answers, flush=True)
