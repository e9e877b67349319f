"""Jobs that each leave a result file: what is there is not done again, so an interrupted list goes on where it was.
They are done in this process, in several, or on a Ray cluster. And `actors`: objects that each live in a process of
their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from lotj.errors import DataError, LotjError, RobotError, SettingsError
from lotj.extras import library
from lotj.files import first_difference, storage_errors, write_json
from lotj.processes import shared_object, worker_pool
from lotj.runs.versions import versions

PLACES = ("here", "processes", "ray")

Start = Callable[..., Future]  # begins a call with these arguments


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique in its list, fit for a file's name.
        work: a function that other processes can import; called with `arguments`, returns what JSON can hold.
        arguments: JSON values, kept beside the result: one of other arguments is not taken for this job's.
        needs: names of jobs of the same list whose results must be there first.
        machine: further arguments, of how and not of what (threads, device): kept beside the result, for they change
            its roundings; but a result of others is taken all the same.
        leaves: a folder that the jobs which need this one read, besides its result.
    """

    name: str
    work: Callable[..., Mapping[str, Any]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    leaves: Path | None = None

    @classmethod
    def in_folder(
        cls, root: Path, name: str, work: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any],
        needs: Iterable[str] = (), machine: Mapping[str, Any] | None = None,
    ) -> Job:  # fmt: skip
        """One that leaves the folder of its name in `root`, which it is told as ``folder``."""
        given = {**arguments, "folder": str(root / name)}
        return cls(name, work, given, tuple(needs), machine or {}, root / name)


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    on: str = "here",
    workers: int = 1,
    report: Callable[[Job, str], None] = lambda job, state: None,
) -> dict[str, Any]:
    """Do what is not done yet: name -> result, of all jobs; a result's ``made`` says when and with what it was made.

    Args:
        jobs: in any order.
        folder: of the results, ``<name>.json`` each; made if missing.
        on: ``here``, one after the other in this process; ``processes``, `workers` of them; ``ray``, on the cluster of
            ``RAY_ADDRESS`` or else on `workers` of this machine. Every worker must see the same files.
        workers: how many at a time, where that is not the cluster's to say.
        report: told (job, ``skipped``, ``started`` or ``done``).

    Raises:
        ValueError: names that repeat, or are needed but not there; jobs that need each other in a circle.
        SettingsError: an unknown `on`; a result is there, but not what its job leaves, and a job needs that.
        DataError: a result file is no result, or of other arguments.
        LotjError: what a job raised, after its name; results that are done stay.
        KeyboardInterrupt: Ctrl-C; the running jobs are lost, results that are done stay.
    """
    names = TopologicalSorter({job.name: job.needs for job in jobs}).static_order()
    if sorted(names) != sorted(job.name for job in jobs):
        raise ValueError("jobs of one name, or a job that is needed and not in the list")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    results = read_results(jobs, folder)
    left = [job for job in jobs if job.name not in results]
    for job in jobs:
        if job.name in results:
            report(job, "skipped")
            _check_leavings(job, left, folder)
    if not left:
        return results
    running: dict[Future, Job] = {}
    with _workers(on, workers) as (size, start):
        while left or running:
            ready = [job for job in left if results.keys() >= set(job.needs)]
            for job in ready[: size - len(running)]:
                left.remove(job)
                report(job, "started")
                running[start(_work, job.work, {**job.arguments, **job.machine})] = job
            future = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
            job = running.pop(future)
            _write(job, future, folder)
            results[job.name] = _read(job, folder)
            report(job, "done")
    return results


def read_results(jobs: Sequence[Job], folder: Path) -> dict[str, Any]:
    """Name -> result, of the jobs that are done; DataError for a file that is no result, or of other arguments."""
    return {job.name: _read(job, folder) for job in jobs if _path(job, folder).exists()}


def _work(work: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Done where the job runs: the machine is that one's, and so are the threads. Work that goes on with what was begun
    before tells itself when and with what."""
    begun, result = datetime.now().isoformat(timespec="seconds"), work(**arguments)
    return {**result, "made": {"begun": begun, **versions(), **result.get("made", {})}}


def _path(job: Job, folder: Path) -> Path:
    return folder / f"{job.name}.json"


def _write(job: Job, ended: Future, folder: Path) -> None:
    try:
        result = ended.result()
    except LotjError as error:
        own = _own(error)
        raise type(own)(f"job {job.name}: {own}") from error
    content = {"job": job.name, "arguments": dict(job.arguments), "machine": dict(job.machine), "result": result}
    write_json(_path(job, folder), content)


class _Found(dict):
    """An object in a result file. What it lacks, for an earlier lotj made it or somebody has changed it, is a
    `DataError` that names the file."""

    def __init__(self, found: Mapping[str, Any], path: Path) -> None:
        super().__init__(found)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self._path} has no {key!r}: remove it, and the job is done again")


def _read(job: Job, folder: Path) -> Any:
    path = _path(job, folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda found: _Found(found, path))
        arguments, result = content["arguments"], content["result"]
        if not isinstance(result, dict):
            raise TypeError(f"result {result!r}: must be an object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the result of a job ({error}): remove it, and the job is done again") from error
    wanted = json.loads(json.dumps(dict(job.arguments)))
    if arguments != wanted:
        other = first_difference(arguments, wanted, strictly=True)
        raise DataError(f"{path} is of {other}: give the flags that it was made with, or choose another folder")
    return result


def _check_leavings(done: Job, left: Sequence[Job], folder: Path) -> None:
    """Results travel, for instance with a repository; what their jobs have left beside them may not."""
    needing = [job.name for job in left if done.name in job.needs]
    if needing and done.leaves is not None and not done.leaves.exists():
        raise SettingsError(
            f"job {needing[-1]} needs {done.leaves}, which is not there, though {done.name} is done according to "
            f"{folder}: choose another folder for the results, and all is done anew"
        )


@contextmanager
def _workers(on: str, count: int) -> Iterator[tuple[int, Callable[..., Future]]]:
    """How many jobs a place takes at a time, and what begins a function with arguments there; leaving the context ends
    whatever still runs."""
    if on not in PLACES:
        raise SettingsError(f"on {on!r}: must be one of {', '.join(PLACES)}")
    if count < 1:
        raise SettingsError(f"workers {count}: must be at least 1")
    if on == "here":
        yield 1, _do
    elif on == "processes":
        with worker_pool(count) as pool:  # an error ends it; lost jobs are done again, nobody waits for them
            yield count, pool.submit
    else:
        with _ray(count) as (size, start):
            yield size, start


def _do(work: Callable[..., Any], *arguments: Any) -> Future:
    done = Future()
    try:
        done.set_result(work(*arguments))
    except Exception as error:
        done.set_exception(error)
    return done


@contextmanager
def actors(
    makes: Sequence[Callable[[], Any]], on: str = "processes", all_of_them: bool = True
) -> Iterator[list[Start]]:
    """Objects in processes of their own, here or on a Ray cluster as of `run_jobs`, each made there at its first call.

    Args:
        makes: functions without arguments that other processes can import, each of which makes an object.
        on: ``processes`` or ``ray``.
        all_of_them: else as many as a cluster has room for, one for each CPU.

    Yields what calls each object: its result or its error comes as a future, a RobotError where its process has died.
    Leaving the context ends the processes, and without an error calls each object's `close`.

    Raises:
        SettingsError: another `on`; Ray is not installed, or has no room for all.
    """
    if on not in PLACES[1:]:
        raise SettingsError(f"on {on!r}: must be one of {', '.join(PLACES[1:])}")
    with ExitStack() as stack:
        if on == "processes":
            pools = [stack.enter_context(worker_pool(1, shared=make)) for make in makes]
            starts = [_calling(pool.submit, _call_made) for pool in pools]
            yield starts
            wait([start(_CLOSE) for start in starts])
            return
        size, _ = stack.enter_context(_ray(len(makes)))
        ray = library("ray")
        if size < len(makes) and all_of_them:
            raise SettingsError(f"on ray: {len(makes)} robots need a CPU each, the cluster has {size}: take fewer")
        made = [ray.remote(num_cpus=1)(_Actor).remote(make) for make in makes[:size]]
        died = ray.exceptions.RayActorError
        starts = [_calling(lambda *given, actor=actor: actor.call.remote(*given).future(), died=died) for actor in made]
        yield starts
        wait([start(_CLOSE) for start in starts])


def _calling(submit: Callable[..., Future], *before: Any, died: type[Exception] = BrokenExecutor) -> Start:
    """Submits, and has the error that is the object's own come out, or a RobotError where its process has `died`."""

    def start(*arguments: Any) -> Future:
        told: Future = Future()

        def tell(ended: Future) -> None:
            error = ended.exception()
            if error is None:
                told.set_result(ended.result())
            else:
                told.set_exception(_death(error) if isinstance(error, died) else _own(error))

        try:
            submit(*before, *arguments).add_done_callback(tell)
        except died as error:
            told.set_exception(_death(error))
        return told

    return start


def _death(error: BaseException) -> RobotError:
    """Ray says at the end of many lines why."""
    why = "" if isinstance(error, BrokenExecutor) else f": {str(error).strip().splitlines()[-1].strip()}"
    return RobotError(f"its process has died{why}")


def _own(error: BaseException) -> BaseException:
    """Ray raises errors of classes that it makes, which hold the job's."""
    return getattr(error, "cause", None) or error


_CLOSE = "close"  # as the only argument of a call: the last one


class _Actor:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._made = make, None

    def call(self, *arguments: Any) -> Any:
        if arguments == (_CLOSE,):
            return self._made.close() if self._made is not None else None
        self._made = self._made or self._make()
        return self._made(*arguments)


_actor: _Actor | None = None


def _call_made(*arguments: Any) -> Any:
    global _actor
    _actor = _actor or _Actor(shared_object())
    return _actor.call(*arguments)


@contextmanager
def _ray(count: int) -> Iterator[tuple[int, Callable[..., Future]]]:
    """A Ray cluster: that of ``RAY_ADDRESS``, or else one of `count` workers on this machine. A job takes one CPU."""
    ray = library("ray")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))
    else:
        ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)

    def start(work: Callable[..., Any], *arguments: Any) -> Future:
        # One call a process: threads and GPU memory of a job end with it.
        return ray.remote(max_calls=1, max_retries=0)(work).remote(*arguments).future()

    try:
        yield count, start
    finally:
        ray.shutdown()  # the cluster ends what its driver has left running
