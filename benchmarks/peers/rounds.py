"""A benchmark's process: asked for rounds on stdin, it answers on stdout, one JSON object a line each.

Every way of a benchmark is a process of its own, some in a Python of their own. They stay alive and take turns, so that
a busy machine hits all alike. This module needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Round = Callable[[dict[str, Any]], dict[str, Any]]
"""Does what is asked; returns what it measured."""


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
