"""Stores of episodes: what learners draw from, in memory or mapped from disk (NumPy only).

All frames of a store are numbered through. Small columns are arrays with one row per frame; large observations of a
`DiskStore` stay on the disk until they are asked for.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lotj.data import layout
from lotj.errors import DataError
from lotj.experience import SUCCESS, Episode, Task

EPISODE = np.dtype(
    [("task", "<i4"), ("kind", "<i4"), ("seed", "<i8"), ("first_frame", "<i8"), ("n_frames", "<i4")]
    + [("terminated", "?"), ("truncated", "?")]
)
"""One episode of a `Store`. `task`, `kind`: index into `Store.tasks`, `Store.kinds`; `first_frame`: frame number."""

_RESIDENT = 256 * 2**20
"""Mapped bytes read [B] before the pages are given back, so that memory stays flat however large the data set is."""


class Store:
    """Episodes of some tasks, E episodes of F frames in all.

    Attributes:
        schema: what each frame holds.
        tasks: the tasks that `episodes["task"]` indexes.
        kinds: the kinds that `episodes["kind"]` indexes.
        episodes: (E,) of dtype `EPISODE`.
    """

    schema: layout.Schema
    tasks: tuple[Task, ...]
    kinds: tuple[str, ...]
    episodes: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """(F, ...) of ``action`` or ``reward`` (NaN on the last frame of an episode), a small observation, or a note
        with its prefix ``notes/``.

        Raises:
            KeyError: there is none of that name.
        """
        raise NotImplementedError

    def truth(self, name: str) -> np.ndarray:
        """(F, ...) of what only a simulator knows.

        Raises:
            DataError: this store holds no such thing.
        """
        raise NotImplementedError

    def observe(self, frames: np.ndarray, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Copies observations.

        Args:
            frames: (N,) whole numbers in [0, F), in any order, with or without repetition.
            names: which; default: all.

        Returns:
            name -> (N, ...), in the order of `frames`.

        Raises:
            IndexError: a number outside [0, F).
        """
        frames = np.asarray(frames)
        if frames.ndim != 1 or (len(frames) and not np.issubdtype(frames.dtype, np.integer)):
            raise IndexError(f"frame numbers must be (N,) whole numbers, not {frames.dtype} {frames.shape}")
        if len(frames) and (frames.min() < 0 or frames.max() >= self.n_frames):
            raise IndexError(f"frame numbers {frames.min()} to {frames.max()} are not all in [0, {self.n_frames})")
        return {name: self._gather(name, frames) for name in (self.schema.observation if names is None else names)}

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        return self.column(name)[frames]

    def episode(self, number: int) -> Episode:
        """An episode of the store, whole."""
        row = self.episodes[number]
        frames = np.arange(row["first_frame"], row["first_frame"] + row["n_frames"])
        return Episode(
            observation=self.observe(frames),
            action=self.column("action")[frames[:-1]],
            reward=self.column("reward")[frames[:-1]],
            terminated=bool(row["terminated"]),
            truncated=bool(row["truncated"]),
            task=self.tasks[row["task"]].name,
            kind=self.kinds[row["kind"]],
            seed=int(row["seed"]),
            notes={name: self.column(f"notes/{name}")[frames] for name in self.schema.notes},
            truth={name: self.truth(name)[frames] for name in self.schema.truth},
        )

    def __len__(self) -> int:
        """Number of episodes E."""
        return len(self.episodes)

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return int(self.episodes[-1]["first_frame"] + self.episodes[-1]["n_frames"]) if len(self) else 0

    def of_frames(self, values: np.ndarray) -> np.ndarray:
        """(F, ...) of what is known of each episode, (E, ...)."""
        return np.repeat(values, self.episodes["n_frames"], axis=0)

    @property
    def frame_episode(self) -> np.ndarray:
        """(F,) int64, index into `episodes`."""
        return self.of_frames(np.arange(len(self)))

    @property
    def frame_task(self) -> np.ndarray:
        """(F,) int64, index into `tasks`."""
        return self.of_frames(self.episodes["task"].astype(np.int64))

    @property
    def frame_step(self) -> np.ndarray:
        """(F,) int64, 0 for the first frame of an episode."""
        return np.arange(self.n_frames) - self.of_frames(self.episodes["first_frame"])

    @property
    def last_frames(self) -> np.ndarray:
        """(E,) int64, number of the last frame of each episode."""
        return self.episodes["first_frame"] + self.episodes["n_frames"] - 1

    @property
    def success(self) -> np.ndarray:
        """(F,) bool, the frames labelled as success; none where frames have no labels."""
        if SUCCESS in self.schema.notes:
            return self.column(f"notes/{SUCCESS}").astype(bool)
        return np.zeros(self.n_frames, bool)

    def of_kind(self, kinds: Sequence[str]) -> np.ndarray:
        """(E,) bool: which episodes are of one of these kinds."""
        return np.isin(self.episodes["kind"], [number for number, kind in enumerate(self.kinds) if kind in kinds])

    def starts(self) -> np.ndarray:
        """(M,) int64, the frames at which the transitions begin that may be learnt from: all but the last of an episode
        and those that are a success already."""
        usable = ~self.success
        usable[self.last_frames] = False
        return np.flatnonzero(usable).astype(np.int64)

    def terminated(self) -> np.ndarray:
        """(F,) bool: whether the step that begins at a frame ended the task, by success or as its episode says."""
        ended = np.zeros(self.n_frames, bool)
        ended[:-1] = self.success[1:]
        last = self.last_frames
        ended[last] = False
        ended[last - 1] |= self.episodes["terminated"]
        return ended


class DiskStore(Store):
    """A data set on disk: small columns in memory, large observations mapped. Open it with `DiskStore.open`.

    It holds what was finished when it was opened; a writer may go on meanwhile. When it is pickled or copied, the copy
    maps the same episodes anew.

    Attributes:
        root: folder of the data set.
        settings: what the data set was collected with.
        discarded: task name -> reason -> number of episodes thrown away.
    """

    def __init__(self, root: Path, tasks: tuple[Task, ...], held: Sequence[int] | None = None) -> None:
        meta = layout.read_meta(root)
        self.root, self.tasks, self.schema, self.settings = root, tasks, meta.schema, meta.settings
        folders = [layout.task_folder(root, task.name) for task in tasks]
        indices = [layout.read_index(folder / layout.INDEX) for folder in folders]
        for folder, index in zip(folders, indices, strict=True):
            layout.check_sizes(folder, index, meta.schema)
        self._held = [len(index.entries) for index in indices] if held is None else held
        self._mask: np.ndarray | None = None
        self.discarded = {task.name: index.discarded for task, index in zip(tasks, indices, strict=True)}
        parts = [self._entries(task, index, n) for task, index, n in zip(tasks, indices, self._held, strict=True)]
        kinds = [index.kinds[: part["kind"].max(initial=-1) + 1] for index, part in zip(indices, parts, strict=True)]
        self.kinds = tuple(dict.fromkeys(kind for names in kinds for kind in names))
        self.episodes = np.zeros(sum(self._held), EPISODE)
        for name in ("seed", "n_frames", "terminated", "truncated"):
            self.episodes[name] = np.concatenate([part[name] for part in parts])
        self.episodes["task"] = np.repeat(np.arange(len(tasks)), self._held)
        numbers = [np.array([self.kinds.index(kind) for kind in names], int) for names in kinds]
        self.episodes["kind"] = np.concatenate([n[part["kind"]] for n, part in zip(numbers, parts, strict=True)])
        self.episodes = _numbered(self.episodes)
        counts = np.bincount(self.episodes["task"], self.episodes["n_frames"], len(tasks)).astype(int).tolist()
        small = (layout.ROWS, layout.TRUTH)
        self._tables = {
            name: np.concatenate([_read(folder / name, kind, n) for folder, n in zip(folders, counts, strict=True)])
            for name, kind in meta.schema.files.items()
            if name in small
        }
        self._maps = {
            (kind.names or ("",))[0]: _Maps([folder / name for folder in folders], counts, kind)
            for name, kind in meta.schema.files.items()
            if name not in small
        }
        self._place: tuple[np.ndarray, np.ndarray] = (  # task and row in its file of each frame
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([np.arange(count) for count in counts]),
        )

    @classmethod
    def open(cls, root: Path | str, tasks: Callable[[Task], bool] | None = None, split: str | None = None) -> Self:
        """Opens the data set at `root`.

        Args:
            root: its folder.
            tasks: which tasks to take; all by default.
            split: take tasks of this split alone: ``train``, ``validation`` or ``test``.

        Raises:
            DataError: not a data set of this version, not to be read, damaged, or without a finished episode in the
                chosen tasks.
        """
        root = Path(root)
        with layout.reading(root):
            layout.read_meta(root)
            found = [layout.read_task(layout.task_folder(root, name)) for name in layout.task_names(root)]
            chosen = tuple(t for t in found if split in (None, t.split) and (tasks is None or tasks(t)))
            if found and not chosen:
                splits = ", ".join(f"{n} {name}" for name, n in Counter(task.split for task in found).items())
                raise DataError(
                    f"{root} holds no {split or 'such'} tasks, of {splits}: choose others, or let `lotj collect` "
                    "record more into it"
                )
            store = cls(root, chosen) if chosen else None
        if store is None or not len(store):
            raise DataError(f"{root} holds no finished episode in {len(chosen)} tasks: run `lotj collect` first")
        return store

    def subset(self, episodes: np.ndarray) -> Self:
        """The store of some of the episodes. `tasks` and `kinds` stay, so that their numbers keep their meaning.

        Args:
            episodes: (E,) bool, which to keep, e.g. ``store.of_kind(["expert"])``.

        Raises:
            DataError: none is kept.
            ValueError: not one bool per episode.
        """
        mask = np.asarray(episodes)
        if mask.shape != self.episodes.shape or mask.dtype != bool:
            raise ValueError(f"the choice must be bool ({len(self)},), not {mask.dtype} {mask.shape}")
        if not mask.any():
            raise DataError(f"none of {len(self)} episodes of {self.root} was chosen: loosen the choice")
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._keep(mask)
        return part

    def column(self, name: str) -> np.ndarray:  # noqa: D102
        return self._tables[layout.ROWS][name]

    def truth(self, name: str) -> np.ndarray:  # noqa: D102
        if name not in self.schema.truth:
            known = ", ".join(self.schema.truth) or "nothing"
            raise DataError(f"{self.root} has no true {name!r} (it has {known}): choose another setting, or collect it")
        return self._tables[layout.TRUTH][name]

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        if name not in self._maps:
            return super()._gather(name, frames)
        task, row = self._place
        return self._maps[name].gather(task[frames], row[frames])

    def _entries(self, task: Task, index: layout.Index, held: int) -> np.ndarray:
        if held > len(index.entries):
            raise DataError(
                f"{self.root}: {task.name} holds {len(index.entries)} episodes, no longer {held}: it was cut back "
                "since it was opened; open it again"
            )
        return index.entries[:held]

    def _keep(self, mask: np.ndarray) -> None:
        frames = self.of_frames(mask)
        whole = np.ones(len(mask), bool) if self._mask is None else self._mask.copy()
        whole[whole] = mask
        self._mask = whole
        self.episodes = _numbered(self.episodes[mask])
        self._tables = {name: table[frames] for name, table in self._tables.items()}
        self._place = (self._place[0][frames], self._place[1][frames])

    def __getstate__(self) -> tuple[Any, ...]:
        return self.root, self.tasks, self._held, self._mask

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        root, tasks, held, mask = state
        with layout.reading(root):
            self.__init__(root, tasks, held)
        if mask is not None:
            self._keep(mask)


class MemoryStore(Store):
    """A store that grows, in memory: episodes of practice, or features made of another store's frames.

    Args:
        tasks: those that its episodes name.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self.kinds = ()
        self._numbers = {task.name: number for number, task in enumerate(self.tasks)}
        self._columns: dict[str, _Rows] = {}
        self._truth: dict[str, _Rows] = {}
        self._rows = _Rows()
        self.schema = layout.Schema(1, {})

    def append(self, episode: Episode) -> None:
        """Adds an episode.

        Raises:
            ValueError: it holds other columns than those before it.
            KeyError: of a task that the store does not have.
        """
        schema, task = layout.Schema.of(episode), self._numbers[episode.task]
        if not len(self):
            self.schema, self._columns, self._truth = schema, {}, {}
        elif schema != self.schema:
            raise ValueError(f"an episode with {schema} where {self.schema} is held")
        if episode.kind not in self.kinds:
            self.kinds = (*self.kinds, episode.kind)
        start = self.n_frames
        last = np.full((1, schema.action), np.nan, np.float32)
        columns = {"action": np.concatenate([episode.action, last]), "reward": np.append(episode.reward, last[:, :1])}
        columns |= dict(episode.observation) | {f"notes/{name}": values for name, values in episode.notes.items()}
        for rows, values in ((self._columns, columns), (self._truth, episode.truth)):
            for name, part in values.items():
                rows.setdefault(name, _Rows()).write(start, part)
        row = np.zeros(1, EPISODE)
        row["task"], row["kind"] = task, self.kinds.index(episode.kind)
        row["seed"], row["n_frames"], row["first_frame"] = episode.seed, len(episode) + 1, start
        row["terminated"], row["truncated"] = episode.terminated, episode.truncated
        self._rows.write(len(self), row)  # last: an append that is interrupted leaves no episode behind

    @property
    def episodes(self) -> np.ndarray:  # type: ignore[override]  # noqa: D102
        return self._rows.upto(self._rows.count) if self._rows.count else np.zeros(0, EPISODE)

    def column(self, name: str) -> np.ndarray:  # noqa: D102
        return self._columns[name].upto(self.n_frames)

    def truth(self, name: str) -> np.ndarray:  # noqa: D102
        if name not in self._truth:
            raise DataError(f"these episodes have no true {name!r}: a robot does not tell it")
        return self._truth[name].upto(self.n_frames)


class _Rows:
    """An array that grows at its end at constant cost per row (the room doubles when it is used up)."""

    def __init__(self) -> None:
        self._room = np.empty(0)
        self.count = 0

    def upto(self, count: int) -> np.ndarray:
        return self._room[:count]

    def write(self, start: int, rows: np.ndarray) -> None:
        """Puts rows behind the first `start`."""
        needed = start + len(rows)
        if needed > len(self._room):
            room = np.empty((max(2 * needed, 64), *rows.shape[1:]), rows.dtype)
            if start:
                room[:start] = self._room[:start]
            self._room = room
        self._room[start:needed] = rows
        self.count = needed


class _Maps:
    """The files of one large observation, mapped read-only, one file a task."""

    def __init__(self, files: Sequence[Path], counts: Sequence[int], kind: np.dtype) -> None:
        self._kind = kind[0]
        self._maps: list[mmap.mmap | None] = []
        self._frames: list[np.ndarray] = []
        self._read = 0  # bytes since the pages were last given back
        for path, count in zip(files, counts, strict=True):
            mapped, frames = None, np.empty((0, *self._kind.shape), self._kind.base)
            if count:
                with layout.reading(path), open(path, "rb") as file:
                    mapped = mmap.mmap(file.fileno(), count * kind.itemsize, access=mmap.ACCESS_READ)
                mapped.madvise(mmap.MADV_RANDOM)  # else each frame drags in its surroundings, megabytes at times
                frames = np.frombuffer(mapped, self._kind.base).reshape(count, *self._kind.shape)
            self._maps.append(mapped)
            self._frames.append(frames)

    def gather(self, task: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(N,) numbers of tasks and rows in their files -> (N, ...), read in the order of the files."""
        out = np.empty((len(row), *self._kind.shape), self._kind.base)
        order = np.lexsort((row, task))
        places, tasks, rows = order.tolist(), task[order].tolist(), row[order].tolist()
        size = self._kind.itemsize
        for t, r in zip(tasks, rows, strict=True):  # the disk may fetch them all at once
            start = r * size // mmap.PAGESIZE * mmap.PAGESIZE
            self._maps[t].madvise(mmap.MADV_WILLNEED, start, (r + 1) * size - start)  # type: ignore[union-attr]
        for place, t, r in zip(places, tasks, rows, strict=True):
            out[place] = self._frames[t][r]
        self._read += out.nbytes
        if self._read > _RESIDENT:
            self._read = 0
            for mapped in filter(None, self._maps):
                mapped.madvise(mmap.MADV_DONTNEED)  # the file cache keeps them; this process no longer counts them
        return out


def _read(path: Path, kind: np.dtype, count: int) -> np.ndarray:
    with layout.reading(path):
        return np.fromfile(path, kind, count) if count else np.empty(0, kind)


def _numbered(episodes: np.ndarray) -> np.ndarray:
    """The episodes with their frames numbered through."""
    lengths = episodes["n_frames"].astype(np.int64)
    episodes["first_frame"] = np.cumsum(lengths) - lengths
    return episodes
