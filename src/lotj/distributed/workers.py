"""Where jobs run: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import concurrent.futures as futures
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from lotj.errors import LotjError, SettingsError
from lotj.processes import worker_pool

PLACES = ("here", "processes", "ray")

Work = Callable[..., Mapping[str, Any]]


class Workers(Protocol):
    """What `run_jobs` asks of a place to work; leaving its context ends whatever still runs."""

    size: int
    """Jobs that it takes at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def start(self, name: str, work: Work, arguments: Mapping[str, Any]) -> None:
        """Begin a job."""

    def wait(self) -> tuple[str, Any]:
        """Name and result of a job that has ended.

        Raises:
            LotjError: what the job raised, its name before the message.
        """
        ...


def find_workers(on: str, count: int) -> Workers:
    """The workers of a place.

    Raises:
        SettingsError: no such place, no worker, or Ray is not installed.
    """
    if on not in PLACES:
        raise SettingsError(f"on {on!r}: must be one of {', '.join(PLACES)}")
    if count < 1:
        raise SettingsError(f"workers {count}: must be at least 1")
    if on == "here":
        return Here()
    return Processes(count) if on == "processes" else Ray(count)


class Here:
    """One job after the other in this process."""

    size = 1

    def __init__(self) -> None:
        self._next: tuple[str, Work, Mapping[str, Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, name: str, work: Work, arguments: Mapping[str, Any]) -> None:
        """Keep the job for `wait`."""
        self._next = (name, work, arguments)

    def wait(self) -> tuple[str, Any]:
        """Do the job."""
        assert self._next is not None
        name, work, arguments = self._next
        with _Named(name):
            return name, work(**arguments)


class Processes:
    """Several processes on this machine, which take one job after the other."""

    def __init__(self, count: int) -> None:
        self.size = count
        self._context = worker_pool(count)
        self._running: dict[futures.Future[Any], str] = {}

    def __enter__(self) -> Self:
        self._pool = self._context.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._context.__exit__(*raised)  # lost jobs are done again; nobody waits for them

    def start(self, name: str, work: Work, arguments: Mapping[str, Any]) -> None:
        """Hand the job to a process."""
        self._running[self._pool.submit(work, **arguments)] = name

    def wait(self) -> tuple[str, Any]:
        """The first that ends."""
        done, _ = futures.wait(self._running, return_when=futures.FIRST_COMPLETED)
        future = next(iter(done))
        name = self._running.pop(future)
        with _Named(name):
            return name, future.result()


class Ray:
    """A Ray cluster: that of ``RAY_ADDRESS``, or else one of `count` workers on this machine. A job takes one CPU."""

    def __init__(self, count: int) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
            import ray.exceptions  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise SettingsError("on ray: Ray is not installed; install lotj with the extra 'cluster'") from None
        self._ray: Any = ray
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
            self.size = max(1, int(ray.cluster_resources().get("CPU", 1)))
        else:
            ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
            self.size = count
        self._running: dict[Any, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def start(self, name: str, work: Work, arguments: Mapping[str, Any]) -> None:
        """Hand the job to the cluster."""
        # One call a process: threads and GPU memory of a job end with it.
        remote = self._ray.remote(max_calls=1, max_retries=0)(work)
        self._running[remote.remote(**arguments)] = name

    def wait(self) -> tuple[str, Any]:
        """The first that ends."""
        (reference,), _ = self._ray.wait(list(self._running), num_returns=1)
        name = self._running.pop(reference)
        with _Named(name):
            try:
                return name, self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error


class _Named:
    """Puts the job's name before the message of what it raised."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, LotjError):
            raise type(error)(f"job {self._name}: {error}") from error
