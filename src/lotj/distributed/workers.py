"""Where jobs run: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from lotj.errors import SettingsError
from lotj.processes import worker_pool

PLACES = ("here", "processes", "ray")

Start = Callable[[Callable[..., Any], Mapping[str, Any]], Future]
"""Begins a job: (function, its arguments) -> what becomes of it."""


@contextmanager
def find_workers(on: str, count: int) -> Iterator[tuple[int, Start]]:
    """How many jobs a place takes at a time, and what begins one; leaving the context ends whatever still runs.

    Raises:
        SettingsError: no such place, no worker, or Ray is not installed.
    """
    if on not in PLACES:
        raise SettingsError(f"on {on!r}: must be one of {', '.join(PLACES)}")
    if count < 1:
        raise SettingsError(f"workers {count}: must be at least 1")
    if on == "here":
        yield 1, _do
    elif on == "processes":
        with worker_pool(count) as pool:  # an error ends it; lost jobs are done again, nobody waits for them
            yield count, lambda work, arguments: pool.submit(work, **arguments)
    else:
        with _ray(count) as (size, start):
            yield size, start


def _do(work: Callable[..., Any], arguments: Mapping[str, Any]) -> Future:
    done = Future()
    try:
        done.set_result(work(**arguments))
    except Exception as error:
        done.set_exception(error)
    return done


@contextmanager
def _ray(count: int) -> Iterator[tuple[int, Start]]:
    """A Ray cluster: that of ``RAY_ADDRESS``, or else one of `count` workers on this machine. A job takes one CPU."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SettingsError("on ray: Ray is not installed; install lotj with the extra 'cluster'") from None
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))
    else:
        ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
    begun: dict[Future, Any] = {}

    def start(work: Callable[..., Any], arguments: Mapping[str, Any]) -> Future:
        # One call a process: threads and GPU memory of a job end with it.
        reference = ray.remote(max_calls=1, max_retries=0)(work).remote(**arguments)
        future = reference.future()
        begun[future] = reference
        return future

    try:
        yield count, start
    finally:
        for future, reference in begun.items():
            if not future.done():
                ray.cancel(reference, force=True)
        ray.shutdown()
