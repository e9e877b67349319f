"""What the benchmarks share: ways of doing a thing timed in turns in one run, and the file that the figures go to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def rates(ways: Mapping[str, Callable[[], object]], steps: int, repeats: int) -> dict[str, list[float]]:
    """Calls a second of each way, `repeats` times in turn, so that a busy machine hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(steps):
                way()
            found[name].append(steps / (time.perf_counter() - started))
    return found


def report(figures: dict[str, Any], out: Path | None) -> None:
    """Print the figures and, given a path, write them there."""
    text = json.dumps(figures, indent=1)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
