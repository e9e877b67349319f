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
from lotj.data.layout import EPISODE
from lotj.errors import DataError
from lotj.experience import SUCCESS, Episode, Task
from lotj.files import reading

_RESIDENT = 256 * 2**20
"""Mapped bytes read [B] before the pages are given back, so that memory stays flat however large the data set is."""


class Store:
    """Episodes of some tasks, E episodes of F frames in all.

    Attributes:
        schema: what each frame holds.
        tasks, kinds: what ``episodes["task"]`` and ``episodes["kind"]`` index.
        episodes: (E,) of dtype `EPISODE`.
        whole: they are episodes as they were lived through, not single transitions of them.
    """

    whole = True
    schema: layout.Schema
    tasks: tuple[Task, ...]
    kinds: tuple[str, ...]
    episodes: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """(F, ...) of ``action`` or ``reward`` (NaN on the last frame of an episode), a small observation, or a note
        with its prefix ``notes/``; KeyError if there is none of that name."""
        files = self.schema.files.items()
        file = next((file for file, kind in files if file != layout.TRUTH and name in (kind.names or ())), "")
        return self._records(file)[name]

    def truth(self, name: str) -> np.ndarray:
        """(F, ...) of what only a simulator knows; DataError if this store holds no such thing."""
        if name not in self.schema.truth:
            known = ", ".join(self.schema.truth) or "nothing"
            raise DataError(f"episodes with no true {name!r} (they have {known}): choose another setting, or others")
        return self._records(layout.TRUTH)[name]

    def _records(self, file: str) -> np.ndarray:
        """(F,) what a file of the schema holds, or would."""
        raise NotImplementedError

    def observe(self, frames: np.ndarray, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Copies observations, all or those named, of (N,) frames in [0, F), in any order, with or without repetition:
        name -> (N, ...); IndexError for other frames."""
        frames = np.asarray(frames)
        if frames.ndim != 1 or frames.dtype.kind not in "iu" or np.any((frames < 0) | (frames >= self.n_frames)):
            raise IndexError(f"frame numbers {frames}: must be (N,) of [0, {self.n_frames})")
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

    @property
    def _absorbing(self) -> np.ndarray:
        """(F,) bool, the frames of success where that ends what counts of an episode, see `Task.self_judged`."""
        return self.success & all(task.self_judged for task in self.tasks)

    def starts(self) -> np.ndarray:
        """(M,) int64, the frames at which the transitions begin that may be learnt from: all but the last of an episode
        and, where the robot judges itself, those of a success."""
        usable = ~self._absorbing
        usable[self.last_frames] = False
        return np.flatnonzero(usable).astype(np.int64)

    def terminated(self) -> np.ndarray:
        """(F,) bool: whether the step that begins at a frame ended the task, as its episode says or, where the robot
        judges itself, by success."""
        ended, last = np.zeros(self.n_frames, bool), self.last_frames
        ended[:-1] = self._absorbing[1:]
        ended[last] = False
        ended[last - 1] |= self.episodes["terminated"]
        return ended


class DiskStore(Store):
    """A data set on disk: small columns in memory, large observations mapped. Open it with `DiskStore.open`.

    It holds what was finished when it was opened; a writer may go on meanwhile.

    Attributes:
        root, settings: folder of the data set, and what it was collected with.
        discarded: task name -> reason -> number of episodes thrown away.
    """

    def __init__(self, root: Path, tasks: tuple[Task, ...]) -> None:
        meta = layout.read_meta(root)
        self.root, self.tasks, self.schema, self.settings = root, tasks, meta.schema, meta.settings
        folders = [layout.task_folder(root, task.name) for task in tasks]
        indices = [layout.read_index(folder / layout.INDEX) for folder in folders]
        for folder, index in zip(folders, indices, strict=True):
            layout.check_sizes(folder, index, meta.schema)
        self.discarded = {task.name: index.discarded for task, index in zip(tasks, indices, strict=True)}
        named = [index.kinds[kind] for index in indices for kind in index.entries["kind"]]
        self.kinds = tuple(dict.fromkeys(named))
        self.episodes = np.concatenate([index.entries for index in indices])
        self.episodes["task"] = np.repeat(np.arange(len(tasks)), [len(index.entries) for index in indices])
        self.episodes["kind"] = [self.kinds.index(kind) for kind in named]
        lengths = self.episodes["n_frames"].astype(np.int64)
        self.episodes["first_frame"] = np.cumsum(lengths) - lengths
        self._tables: dict[str, np.ndarray] = {}
        self._maps: dict[str, _Maps] = {}
        for name, kind in meta.schema.files.items():
            files = [(f / name, index.n_frames) for f, index in zip(folders, indices, strict=True) if index.n_frames]
            if name in (layout.ROWS, layout.TRUTH):
                whole = [np.fromfile(path, kind, count) for path, count in files]
                self._tables[name] = np.concatenate([np.empty(0, kind), *whole])
            else:
                self._maps[(kind.names or ("",))[0]] = _Maps(files, kind)

    @classmethod
    def open(cls, root: Path | str, tasks: Callable[[Task], bool] | None = None, split: str | None = None) -> Self:
        """Opens the data set at `root`, or those of its `tasks` that are of a `split` (``train``, ``validation`` or
        ``test``).

        Raises:
            DataError: not a data set of this version, not to be read, damaged, or without a finished episode in the
                chosen tasks.
        """
        root = Path(root)
        with reading(root):
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

    def _records(self, file: str) -> np.ndarray:
        return self._tables[file]

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        if name not in self._maps:
            return super()._gather(name, frames)
        return self._maps[name].gather(frames)


class MemoryStore(Store):
    """A store that grows, in memory: episodes of some tasks, of practice, or features of another store's frames."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tuple(tasks)
        self.kinds = ()
        self._files: dict[str, _Rows] = {}
        self._rows, self._count = _Rows(EPISODE), 0
        self.schema = layout.Schema(1, {})

    def append(self, episode: Episode) -> None:
        """Adds an episode; ValueError if it holds other columns than those before it, or is of a task that the store
        does not have."""
        schema, task = layout.Schema.of(episode), [task.name for task in self.tasks].index(episode.task)
        if not len(self):
            self.schema, self._files = schema, {name: _Rows(kind) for name, kind in schema.files.items()}
        elif schema != self.schema:
            raise ValueError(f"an episode with {schema} where {self.schema} is held")
        if episode.kind not in self.kinds:
            self.kinds = (*self.kinds, episode.kind)
        start = self.n_frames
        for name, records in schema.pack(episode).items():
            self._files[name].write(start, records)
        row = task, self.kinds.index(episode.kind), episode.seed, start, len(episode) + 1
        self._rows.write(self._count, np.array([(*row, episode.terminated, episode.truncated, 0)], EPISODE))
        self._count += 1  # last: an append that is interrupted leaves no episode behind

    @property
    def episodes(self) -> np.ndarray:  # type: ignore[override]
        return self._rows.room[: self._count]

    def _records(self, file: str) -> np.ndarray:
        return self._files[file].room[: self.n_frames]


class _Rows:
    """Records that grow at their end at constant cost each (the room doubles when it is used up)."""

    def __init__(self, kind: np.dtype) -> None:
        self.room = np.empty(0, kind)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Puts rows behind the first `start`."""
        needed = start + len(rows)
        if needed > len(self.room):
            room = np.empty(max(2 * needed, 64), self.room.dtype)
            room[:start] = self.room[:start]
            self.room = room
        self.room[start:needed] = rows


class _Maps:
    """The files of one large observation, each (path, rows), mapped read-only; a copy maps the same rows anew."""

    def __init__(self, files: Sequence[tuple[Path, int]], kind: np.dtype) -> None:
        self._made_of, self._kind = (files, kind), kind[0]
        self._starts = np.cumsum([0, *(count for _, count in files)])  # of their rows
        self._maps: list[tuple[mmap.mmap, np.ndarray]] = []  # of each file, and the rows in it
        self._read = 0  # bytes since the pages were last given back
        for path, count in files:
            with open(path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), count * kind.itemsize, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_RANDOM)  # else each row drags in its surroundings, megabytes at times
            self._maps.append((mapped, np.frombuffer(mapped, self._kind.base).reshape(count, *self._kind.shape)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Maps, self._made_of

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(N,) rows, counted through all files -> (N, ...), read in the order of the files."""
        out = np.empty((len(rows), *self._kind.shape), self._kind.base)
        order = np.argsort(rows, kind="stable")
        file = np.searchsorted(self._starts, rows[order], "right") - 1
        wanted = list(zip(file.tolist(), (rows[order] - self._starts[file]).tolist(), strict=True))
        size = self._kind.itemsize
        for f, row in wanted:  # the disk may fetch them all at once
            start = row * size // mmap.PAGESIZE * mmap.PAGESIZE
            self._maps[f][0].madvise(mmap.MADV_WILLNEED, start, (row + 1) * size - start)
        for place, (f, row) in zip(order.tolist(), wanted, strict=True):
            out[place] = self._maps[f][1][row]
        self._read += out.nbytes
        if self._read > _RESIDENT:
            self._read = 0
            for mapped, _ in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)  # the file cache keeps them; this process no longer counts them
        return out
