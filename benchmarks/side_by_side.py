"""What the benchmarks share: ways of doing a thing timed in turns, a process like the command's, and the report."""

from __future__ import annotations

import concurrent.futures as futures
import json
import multiprocessing as mp
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lotj.files import write_json
from lotj.runs.versions import versions

T = TypeVar("T")


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


def as_command(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own, with torch's threads set as the command does, see `lotj.cli.main`."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # read when torch is imported, thus too late here
    with futures.ProcessPoolExecutor(1, mp.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def report(figures: dict[str, Any], out: Path | None) -> None:
    """Print the figures and, given a path, `record` them there."""
    print(json.dumps(figures, indent=1))
    if out is not None:
        record(figures, out)


def record(figures: dict[str, Any], out: Path) -> None:
    """Write figures with the command, the commit, the processor and the versions that they are of."""
    content = {"command": " ".join(["python", *sys.argv]), "made": versions()} | figures
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, content)
