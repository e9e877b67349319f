"""Phase 1: record prior data with scripted controllers, in parallel processes, whatever the task."""

from __future__ import annotations

import concurrent.futures as futures
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np

from lotj.data.inspect import write_quality
from lotj.data.layout import META, Schema, read_meta
from lotj.data.writer import EpisodeWriter
from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, folder_name, make_task
from lotj.errors import RobotError, SettingsError
from lotj.experience import SUCCESS, Episode, Recorder, Task
from lotj.patience import patiently
from lotj.processes import CONTEXT, shared_object, worker_pool
from lotj.ranges import COUNT, NOT_NEGATIVE, SEED, SHARE, Checked
from lotj.training.recipes import RECIPES

_log = logging.getLogger(__name__)

Record = Callable[[str, int], tuple[Episode, str]]
"""Kind and seed -> the episode, and why it is to be thrown away; empty where it is not."""


class Collection(Protocol):
    """What to collect: tasks, in a fixed order, and settings (JSON values), which fix how an episode of a kind and seed
    comes out. Workers get a copy of it."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def tasks(self) -> Sequence[Task]: ...

    def episodes(self) -> Sequence[tuple[str, int]]:
        """Kind and seed of each episode of a task."""
        ...

    def open(self, task: Task) -> AbstractContextManager[Record]:
        """Makes the task's environment, and records in it until it is closed."""
        ...


@dataclass(frozen=True)
class Progress:
    """What a worker reports after each episode: its task, and whether it was stored, or else why not."""

    task: str
    success: bool
    discarded: str = ""


Start = Callable[[Task, str, int], "futures.Future[tuple[Episode, str]]"]  # of a `Recording` elsewhere


def collect(
    root: Path,
    collection: Collection,
    workers: int = 2,
    report: Callable[[Progress], None] = lambda progress: None,
    elsewhere: Sequence[Start] = (),
) -> None:
    """Collect in parallel processes, one task at a time each. Resumes: finished episodes are not done again.

    Args:
        root: folder of the data set; made if missing.
        collection: what to collect.
        workers: processes.
        report: called in this process after each episode.
        elsewhere: who records instead, one task at a time each, on machines that need not see `root`. What is recorded
            is the same, byte for byte.

    Raises:
        DataError, StorageError: the folder holds something else, or the disk is full.
        RobotError: a served robot refuses, or was gone for half an hour; nobody is left elsewhere.
        KeyboardInterrupt: after the workers stopped; finished episodes are kept.
    """
    tasks = collection.tasks()
    if elsewhere:
        _collect_elsewhere(root, collection, elsewhere, report)
    elif workers <= 1:
        for task in tasks:
            for progress in collect_task(root, task, collection):
                report(progress)
    else:
        _collect_here(root, collection, workers, report)
    if isinstance(collection, TaskCollection):
        write_quality(root)


def _collect_here(root: Path, collection: Collection, workers: int, report: Callable[[Progress], None]) -> None:
    queue = CONTEXT.SimpleQueue()
    with worker_pool(workers, nice=5, shared=queue) as pool:
        jobs = {pool.submit(_collect_shared, root, task, collection) for task in collection.tasks()}
        while jobs:
            done, jobs = futures.wait(jobs, timeout=0.2, return_when=futures.FIRST_COMPLETED)
            while not queue.empty():
                report(queue.get())
            for job in done:
                job.result()


def _collect_shared(root: Path, task: Task, collection: Collection) -> None:
    for progress in collect_task(root, task, collection):
        shared_object().put(progress)


def _collect_elsewhere(
    root: Path, collection: Collection, elsewhere: Sequence[Start], report: Callable[[Progress], None]
) -> None:
    """Each records a task's episodes one after the other and they are written here; who dies is done without, and the
    next one goes on with its task."""
    left, idle = [partial(_Part, root, task, collection) for task in collection.tasks()], list(elsewhere)
    running: dict[futures.Future[tuple[Episode, str]], tuple[Start, _Part]] = {}
    try:
        while left or running:
            while left and idle:
                part = left.pop(0)()
                if part.missing:
                    start = idle.pop(0)
                    running[start(part.task, *part.missing[0])] = start, part
                else:
                    part.close()
            if not running:
                break
            future = next(iter(futures.wait(running, return_when=futures.FIRST_COMPLETED).done))
            start, part = running.pop(future)
            try:
                episode, discarded = future.result()
            except RobotError as error:
                part.close()
                left.insert(0, partial(_Part, root, part.task, collection))
                if not running and not idle:
                    raise
                _log.warning("a recorder: %s; %d go on without it", error, len(running) + len(idle))
                continue
            report(part.take(episode, discarded))
            if part.missing:
                running[start(part.task, *part.missing[0])] = start, part
            else:
                part.close()
                idle.append(start)
    finally:
        for _, part in running.values():
            part.close()


class Recording:
    """Records a collection's episodes where it is called, one task after the other."""

    def __init__(self, collection: Collection) -> None:
        self._collection, self._open, self._task = collection, ExitStack(), ""

    def __call__(self, task: Task, kind: str, seed: int) -> tuple[Episode, str]:
        if task.name != self._task:
            self._open.close()
            self._task, self._record = task.name, self._open.enter_context(self._collection.open(task))
        return patiently(lambda: self._record(kind, seed), f"{task.name}, {kind} {seed}")

    def close(self) -> None:
        """Closes what it records in."""
        self._open.close()


def collect_task(root: Path, task: Task, collection: Collection) -> Iterable[Progress]:
    """Collect one task's missing episodes, yielding after each."""
    with closing(_Part(root, task, collection)) as part, closing(Recording(collection)) as record:
        while part.missing:
            yield part.take(*record(task, *part.missing[0]))


class _Part:
    """A task of a data set, as it is recorded."""

    def __init__(self, root: Path, task: Task, collection: Collection) -> None:
        self.task, self._root, self._settings, self._writer = task, root, dict(collection.settings), None
        if (root / META).exists():
            self._writer = EpisodeWriter(root, task, read_meta(root).schema, self._settings)
        done = self._writer.finished if self._writer else set()
        self.missing = [name for name in collection.episodes() if name not in done]

    def take(self, episode: Episode, discarded: str) -> Progress:
        """Stores the first of the missing."""
        schema = Schema.of(episode)
        if self._writer is None:  # what a frame holds is known from the first episode on
            self._writer = EpisodeWriter(self._root, self.task, schema, self._settings)
        elif schema != self._writer.schema:
            raise SettingsError(
                f"{self.task.env} has {schema.words}, {self._root} holds {self._writer.schema.words}: collect into a "
                "new folder"
            )
        if discarded:
            self._writer.discard(*self.missing[0], discarded)
        else:
            self._writer.append(episode)
        del self.missing[0]
        return Progress(self.task.name, bool(episode.notes[SUCCESS].any()) and not discarded, discarded)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True)
class TaskCollection(Checked):
    """Episodes of registered tasks, made by one of `RECIPES`. All but those of `expert` hold the simulator's states,
    where an environment tells them, so that episodes can start from them."""

    names: tuple[str, ...]  # of the tasks, e.g. ``fetch/reach``
    count: Annotated[int, COUNT] = 200  # episodes of each
    noise: Annotated[float, SHARE] = 0.2  # probability of a random action instead of the expert's; of `expert` alone
    seed: Annotated[int, SEED] = 0  # shifts every episode's seed
    recipe: Literal["expert", "human", "stitched", "random", "play", "primitives", "policy"] = "expert"
    policy: str = ""  # folder of a run, whose policy plays; for `policy` alone
    demonstrations: Annotated[int, NOT_NEGATIVE] = 0  # episodes of each before these, of `human`
    demonstrator: str = ""  # folder of a run, whose policy plays these instead

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.recipe == "policy") != bool(self.policy):
            raise SettingsError(
                f"recipe {self.recipe!r} with policy {self.policy!r}: name a run for `policy` and no other"
            )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The noise of `expert`, or the recipe and the absolute paths of the runs that play."""
        if self.recipe == "expert":
            return {"noise": self.noise}
        runs = {"policy": self.policy, "demonstrator": self.demonstrator}
        return {"recipe": self.recipe, **{name: str(Path(run).resolve()) for name, run in runs.items() if run}}

    def tasks(self) -> Sequence[Task]:
        return [Task(folder_name(name), name) for name in self.names]

    def episodes(self) -> Sequence[tuple[str, int]]:
        """Demonstrations first; the n-th of a kind, from 0, has the seed 1 000 000 `seed` + n."""
        first = "demonstrator" if self.demonstrator else "human"
        kinds = ((first, self.demonstrations), (self.recipe, self.count))
        return [(kind, self.seed * 1_000_000 + number) for kind, count in kinds for number in range(count)]

    @contextmanager
    def open(self, task: Task) -> Iterator[Record]:
        """See `Collection`; to record raises SettingsError where the expert reads what is not observed."""
        policies = {"policy": self.policy, "demonstrator": self.demonstrator}
        scripted = {kind for kind, _ in self.episodes()} - {*policies, "random"}
        more = {"expert": (self.noise,), **{kind: (run,) for kind, run in policies.items()}}
        with closing(make_task(task.env)) as env:
            expert, max_steps = expert_of(task.env, env) if scripted else None, spec_of(env).max_steps
            truth = (lambda info: {}) if self.recipe == "expert" else getattr(env.unwrapped, "truth", lambda info: {})

            def record(kind: str, seed: int) -> tuple[Episode, str]:
                controller = RECIPES[kind](env, expert, np.random.default_rng([seed, 1]), *more.get(kind, ()))
                observation, info = env.reset(seed=seed, options=controller.options)
                controller.reset(seed)
                recorder = Recorder(observation, {SUCCESS: info["is_success"]}, truth(info))
                terminated = truncated = False
                while not (terminated or truncated):
                    try:
                        action = controller(observation, info)
                    except KeyError as missing:
                        rule = (
                            "which is not observed; add observation=image+state, of which an agent sees the image alone"
                        )
                        raise SettingsError(
                            f"recipe {kind} on {task.env}: the expert reads {missing}, {rule}"
                        ) from None
                    observation, reward, terminated, truncated, info = env.step(action)
                    recorder.add(action, float(reward), observation, {SUCCESS: info["is_success"]}, truth(info))
                    truncated = not terminated and (truncated or controller.over or len(recorder) >= max_steps)
                episode = recorder.finish(terminated, truncated, task.name, kind, seed)
                return episode, controller.fault(episode)

            yield record
