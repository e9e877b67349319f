"""What a data set holds, and whether it is whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lotj.data import layout
from lotj.data.store import DiskStore
from lotj.errors import DataError, SettingsError
from lotj.experience import Task

LEGEND = """
3/4: of 4 episodes, 3 ended in success; success: share of all episodes
steps: mean length of an episode; lost: thrown away while recording"""
"""What the words of `describe` mean, in lines that fit a terminal of 80 columns."""


@dataclass(frozen=True)
class Summary:
    """Figures of the tasks that share one name, environment, split or attribute.

    Attributes:
        name: what they share.
        episodes: number of finished episodes, in the order of the store's kinds.
        successes: how many of them ended in success, in the order of the store's kinds.
        frames: number of frames.
        success_frames: how many of them show a success.
        mean_steps: mean length of an episode [steps]; NaN without episodes.
        discarded: number of episodes thrown away.
    """

    name: str
    episodes: tuple[int, ...]
    successes: tuple[int, ...]
    frames: int
    success_frames: int
    mean_steps: float
    discarded: int

    @property
    def success_rate(self) -> float:
        """Share of all episodes that ended in success, in [0, 1]; NaN without episodes."""
        return sum(self.successes) / sum(self.episodes) if sum(self.episodes) else float("nan")


def summarise(store: DiskStore, by: str = "env") -> list[Summary]:
    """Figures of the tasks of a store, in the order in which they first show what they share.

    Args:
        store: whose tasks.
        by: what tasks of a row share: ``task``, ``env``, ``split``, or an attribute.

    Raises:
        SettingsError: no task has such an attribute.
    """
    of_task = [_shared(store, task, by) for task in store.tasks]
    names = list(dict.fromkeys(of_task))
    group = np.array([names.index(name) for name in of_task])
    shape = (len(names), len(store.kinds))
    episodes, successes = np.zeros(shape, int), np.zeros(shape, int)
    frames, success_frames, discarded = (np.zeros(shape[0], int) for _ in range(3))
    table, success = store.episodes, store.success
    groups = group[table["task"]]
    np.add.at(episodes, (groups, table["kind"]), 1)
    np.add.at(successes, (groups, table["kind"]), success[store.last_frames])
    np.add.at(frames, groups, table["n_frames"])
    np.add.at(success_frames, group[store.frame_task], success)
    np.add.at(discarded, group, [store.discarded[task.name].total() for task in store.tasks])
    return [
        Summary(
            name=name,
            episodes=tuple(episodes[i].tolist()),
            successes=tuple(successes[i].tolist()),
            frames=int(frames[i]),
            success_frames=int(success_frames[i]),
            mean_steps=float(frames[i] / episodes[i].sum() - 1) if episodes[i].any() else float("nan"),
            discarded=int(discarded[i]),
        )
        for i, name in enumerate(names)
    ]


def describe(root: Path, by: str = "env") -> RenderableType:
    """What the data set at `root` holds, for the terminal: overall figures and a table with a row per `by`.

    Raises:
        DataError: see `DiskStore.open`.
        SettingsError: see `summarise`.
    """
    store = DiskStore.open(root)
    summaries = summarise(store, by)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(by, overflow="fold", vertical="bottom")
    for title in (*store.kinds, "success", "frames", "steps", "lost"):
        half = (len(title) + 1) // 2
        short = f"{title[:half]}-\n{title[half:]}" if title in store.kinds and len(title) > 6 else title
        table.add_column(short, justify="right", no_wrap=True)
    for summary in summaries:
        table.add_row(summary.name, *_cells(summary))
    schema = store.schema
    size = store.n_frames * sum(kind.itemsize for kind in schema.files.values())
    seen = ", ".join(
        " ".join([name, " x ".join(map(str, kind.shape))]).strip() for name, kind in schema.observation.items()
    )
    lines = [
        f"{store.root}: {size / 1e9:.2f} GB",
        f"actions of {schema.action} axes; observed: {seen}",
        f"{len(store.tasks)} tasks: " + _counts(Counter(task.split for task in store.tasks)),
        f"{len(store):,} episodes, {store.n_frames:,} frames: {store.success.mean():.1%} show a success",
        f"ended in success: {_by_kind(store.kinds, summaries)}",
    ]
    reasons = sum(store.discarded.values(), start=Counter[str]())
    if reasons:
        lines.append(f"discarded episodes: {_counts(reasons)}")
    return Group(*(Text(line) for line in lines), Text(), table, Text(LEGEND, style="dim"))


def check(root: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Reads every byte of the data set and compares it with the checksums.

    Args:
        root: folder of the data set.
        progress: is told (episodes checked, episodes in all) after each episode.

    Returns:
        One line per problem; empty when the data set is whole. A torn tail is no problem: it is no episode yet.

    Raises:
        DataError: there is no data set of this version at `root`, or it may not be read.
    """
    root = Path(root)
    with layout.reading(root):
        meta, names = layout.read_meta(root), layout.task_names(root)
    problems: list[str] = []
    sound: list[tuple[Path, layout.Index]] = []
    for name in names:
        folder = layout.task_folder(root, name)
        try:
            with layout.reading(folder):
                layout.read_task(folder)
                index = layout.read_index(folder / layout.INDEX)
                layout.check_sizes(folder, index, meta.schema)
            sound.append((folder, index))
        except DataError as error:
            problems.append(str(error))
    done, total = 0, sum(len(index.entries) for _, index in sound)
    for folder, index in sound:
        try:
            for number, entry, whole in _read_episodes(folder, index, meta.schema):
                if not whole:
                    recent = number >= len(index.entries) - layout.SYNC_EVERY
                    problems.append(
                        f"{folder}, episode {number} ({index.kinds[entry['kind']]}, seed {entry['seed']}): its records "
                        f"do not match their checksum; {layout.COLLECT_AGAIN if recent else layout.COPY_AGAIN}"
                    )
                done += 1
                if progress:
                    progress(done, total)
        except DataError as error:
            problems.append(str(error))
    return problems


def _read_episodes(folder: Path, index: layout.Index, schema: layout.Schema) -> Iterator[tuple[int, np.void, bool]]:
    """Number and entry of each episode of a task, and whether its records match their checksum."""
    with layout.reading(folder), ExitStack() as files:
        if len(index.entries):
            handles = {name: os.open(folder / name, os.O_RDONLY) for name in schema.files}
            for handle in handles.values():
                files.callback(os.close, handle)
            for number, entry in enumerate(index.entries):
                yield number, entry, layout.read_records(entry, handles, schema) is not None


def _shared(store: DiskStore, task: Task, by: str) -> str:
    own = {"task": task.name, "env": task.env, "split": task.split}
    if by not in own and not any(by in other.attributes for other in store.tasks):
        known = dict.fromkeys([*own, *(name for other in store.tasks for name in other.attributes)])
        raise SettingsError(f"rows by {by!r}: no task of {store.root} has it; choose of {', '.join(known)}")
    return str({**task.attributes, **own}.get(by, "-"))


def _cells(summary: Summary) -> list[str]:
    kinds = [f"{s}/{n}" if n else "-" for s, n in zip(summary.successes, summary.episodes, strict=True)]
    rate, steps = (f"{summary.success_rate:.0%}", f"{summary.mean_steps:.1f}") if summary.frames else ("-", "-")
    return [*kinds, rate, f"{summary.frames:,}", steps, str(summary.discarded)]


def _by_kind(kinds: tuple[str, ...], summaries: list[Summary]) -> str:
    """Successes of episodes of each kind, over all rows."""
    episodes = np.sum([summary.episodes for summary in summaries], axis=0)
    successes = np.sum([summary.successes for summary in summaries], axis=0)
    return ", ".join(f"{kind} {of:,} of {n:,}" for kind, of, n in zip(kinds, successes, episodes, strict=True))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())
