"""Phase 1: record prior data with scripted controllers, in parallel processes, whatever the task."""

from __future__ import annotations

import concurrent.futures as futures
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np

from lotj.data.inspect import write_quality
from lotj.data.layout import META, Schema, read_meta
from lotj.data.writer import EpisodeWriter
from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, folder_name, make_task
from lotj.errors import SettingsError
from lotj.experience import SUCCESS, Episode, Recorder, Task
from lotj.processes import CONTEXT, shared_object, worker_pool
from lotj.ranges import COUNT, NOT_NEGATIVE, SEED, SHARE, Checked
from lotj.training.recipes import RECIPES

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


def collect(
    root: Path,
    collection: Collection,
    workers: int = 2,
    report: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Collect in parallel processes, one task at a time each. Resumes: finished episodes are not done again.

    Args:
        root: folder of the data set; made if missing.
        collection: what to collect.
        workers: processes.
        report: called in this process after each episode.

    Raises:
        DataError, StorageError: the folder holds something else, or the disk is full.
        KeyboardInterrupt: after the workers stopped; finished episodes are kept.
    """
    tasks = collection.tasks()
    if workers <= 1:
        for task in tasks:
            for progress in collect_task(root, task, collection):
                report(progress)
        return _judge(root, collection)
    queue = CONTEXT.SimpleQueue()
    with worker_pool(workers, nice=5, shared=queue) as pool:
        jobs = {pool.submit(_collect_shared, root, task, collection) for task in tasks}
        while jobs:
            done, jobs = futures.wait(jobs, timeout=0.2, return_when=futures.FIRST_COMPLETED)
            while not queue.empty():
                report(queue.get())
            for job in done:
                job.result()
    _judge(root, collection)


def _judge(root: Path, collection: Collection) -> None:
    if isinstance(collection, TaskCollection):
        write_quality(root)


def _collect_shared(root: Path, task: Task, collection: Collection) -> None:
    for progress in collect_task(root, task, collection):
        shared_object().put(progress)


def collect_task(root: Path, task: Task, collection: Collection) -> Iterable[Progress]:
    """Collect one task's missing episodes, yielding after each."""
    settings, writer = dict(collection.settings), None
    if (root / META).exists():
        writer = EpisodeWriter(root, task, read_meta(root).schema, settings)
    try:
        missing = [name for name in collection.episodes() if writer is None or name not in writer.finished]
        if not missing:
            return
        with collection.open(task) as record:
            for kind, seed in missing:
                episode, discarded = record(kind, seed)
                if writer is None:  # what a frame holds is known from the first episode on
                    writer = EpisodeWriter(root, task, Schema.of(episode), settings)
                elif (schema := Schema.of(episode)) != writer.schema:
                    raise SettingsError(
                        f"{task.env} has {schema.words}, {root} holds {writer.schema.words}: collect into a new folder"
                    )
                if discarded:
                    writer.discard(kind, seed, discarded)
                else:
                    writer.append(episode)
                success = bool(episode.notes[SUCCESS].any())
                yield Progress(task.name, success and not discarded, discarded)
    finally:
        if writer is not None:
            writer.close()


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
        if self.recipe == "expert":
            return {"noise": self.noise}
        runs = {"policy": self.policy, "demonstrator": self.demonstrator}
        return {"recipe": self.recipe, **{name: str(Path(run).resolve()) for name, run in runs.items() if run}}

    def tasks(self) -> Sequence[Task]:
        return [Task(folder_name(name), name) for name in self.names]

    def episodes(self) -> Sequence[tuple[str, int]]:
        first = "demonstrator" if self.demonstrator else "human"
        kinds = ((first, self.demonstrations), (self.recipe, self.count))
        return [(kind, self.seed * 1_000_000 + number) for kind, count in kinds for number in range(count)]

    @contextmanager
    def open(self, task: Task) -> Iterator[Record]:
        env = make_task(task.env)
        policies = {"policy": self.policy, "demonstrator": self.demonstrator}
        scripted = {kind for kind, _ in self.episodes()} - {*policies, "random"}
        expert, max_steps = expert_of(task.env, env) if scripted else None, spec_of(env).max_steps
        more = {"expert": (self.noise,), **{kind: (run,) for kind, run in policies.items()}}
        truth = (lambda info: {}) if self.recipe == "expert" else getattr(env.unwrapped, "truth", lambda info: {})

        def record(kind: str, seed: int) -> tuple[Episode, str]:
            controller = RECIPES[kind](env, expert, np.random.default_rng([seed, 1]), *more.get(kind, ()))
            observation, info = env.reset(seed=seed, options=controller.options)
            controller.reset(seed)
            recorder = Recorder(observation, {SUCCESS: info["is_success"]}, truth(info))
            terminated = truncated = False
            while not (terminated or truncated):
                action = controller(observation, info)
                observation, reward, terminated, truncated, info = env.step(action)
                recorder.add(action, float(reward), observation, {SUCCESS: info["is_success"]}, truth(info))
                truncated = not terminated and (truncated or controller.over or len(recorder) >= max_steps)
            episode = recorder.finish(terminated, truncated, task.name, kind, seed)
            return episode, controller.fault(episode)

        try:
            yield record
        finally:
            env.close()
