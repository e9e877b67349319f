"""Recording episodes so that a kill at any moment costs at most the one being written."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data import layout
from lotj.errors import DataError, NumericsError
from lotj.experience import Episode, Task
from lotj.files import first_difference, storage_errors, sync_folder, write_json

_log = logging.getLogger(__name__)


class EpisodeWriter:
    """Appends the episodes of one task to a data set: makes the data set, or goes on where an earlier writer stopped.

    An episode is *acknowledged* when `append` returns: from then on it survives a kill. A power cut costs at most the
    last `sync_every` records of a task: so often, and at the end, all is forced down to the disk (each time would be
    slower by up to 40 % on a busy disk). Several processes may write one data set, each its own task.

    Args:
        root: folder of the data set; made if it is missing.
        task, schema: what this writer records, and what each frame holds.
        settings: what fixes how an episode of a given kind and seed comes out (JSON values). Stored when the data set
            is made; a later writer with others is refused, so that no data set is a mixture. None: not compared.
        sync_every: records after which all is forced down to the disk, at most `layout.SYNC_EVERY`.

    Attributes:
        finished: (kind, seed) of the episodes that are stored or discarded already: skip these to resume.

    Raises:
        DataError: `root` is something else than a data set of this version, schema, settings and task, it is damaged,
            or another writer has this task open.
        StorageError: the folder cannot be written.
    """

    finished: set[tuple[str, int]]

    def __init__(
        self,
        root: Path,
        task: Task,
        schema: layout.Schema,
        settings: dict[str, Any] | None = None,
        sync_every: int = layout.SYNC_EVERY,
    ) -> None:
        if not 1 <= sync_every <= layout.SYNC_EVERY:
            raise ValueError(f"sync_every {sync_every}: must be in [1, {layout.SYNC_EVERY}], which readers rely on")
        self.root, self.task, self.schema, self._sync_every = Path(root), task, schema, sync_every
        self.folder = layout.task_folder(self.root, task.name)
        self._handles: dict[str, int] = {}
        self._held = 0, 0, 0  # what is acknowledged: episodes, frames, bytes of the index
        self._unsynced = 0  # records since the last fsync
        try:
            with storage_errors(self.folder):
                _open_root(self.root, schema, settings)
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock()
                self._open()
        except BaseException:
            self.close()
            raise

    def append(self, episode: Episode) -> None:
        """Stores one finished episode.

        Raises:
            NumericsError: a number that is not finite.
            ValueError: the episode is of another task or schema, its kind or seed cannot be, or it is stored already.
            StorageError: the disk is full or failing; the data set holds what it held before.
        """
        if episode.task != self.task.name:
            raise ValueError(f"episode of task {episode.task!r} given to the writer of {self.task.name!r}")
        schema = layout.Schema.of(episode)
        if schema != self.schema:
            raise ValueError(f"an episode with {schema}, this data set holds {self.schema}")
        if len(episode) >= layout.MAX_FRAMES:
            raise ValueError(f"an episode has 2 to {layout.MAX_FRAMES} frames, not {len(episode) + 1}")
        self._admit_name(episode.kind, episode.seed)
        own = {"action": episode.action, "reward": episode.reward}
        groups = (own, episode.observation, episode.notes, episode.truth)
        for name, values in (item for group in groups for item in group.items()):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise NumericsError(
                    f"{name} of {episode.kind} episode {episode.seed} of {episode.task} is not finite everywhere: "
                    "nothing was stored; report the task and the seed"
                )
        records = self.schema.pack(episode)
        self._commit(
            {
                "id": self._held[0],
                "kind": episode.kind,
                "seed": int(episode.seed),
                "first_frame": self._held[1],
                "n_frames": len(episode) + 1,
                "terminated": bool(episode.terminated),
                "truncated": bool(episode.truncated),
                "crc": layout.payload_crc(list(records.values())),
            },
            records,
        )

    def discard(self, kind: str, seed: int, reason: str) -> None:
        """Notes that an episode was thrown away (e.g. ``lost``), so that it is counted and not tried again; errors as
        of `append`."""
        self._admit_name(kind, seed)
        self._commit({"discarded": reason, "kind": kind, "seed": int(seed)})

    def rewind(self, seed: int) -> None:
        """Forgets the first episode or discard whose seed is larger, and all that was recorded after it: where seeds
        number trials, those that a killed sitting has recorded but not learnt from; StorageError as of `append`."""
        self._admit_open()
        with storage_errors(self.folder):
            self._take_up(lambda line: line["seed"] <= seed)
            self._sync()

    def close(self) -> None:
        """Brings everything down to the disk and lets go of the task; StorageError if the disk is full or failing."""
        try:
            with storage_errors(self.folder):
                if self._unsynced:
                    self._sync()
        finally:
            self._unsynced = 0
            while self._handles:
                os.close(self._handles.popitem()[1])

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        """Opens the index and locks it: the lock goes with the process, however it ends."""
        handle = os.open(self.folder / layout.INDEX, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise DataError(
                f"{self.folder} is being written by another process: wait for it, stop it, or use another folder"
            ) from error
        self._handles[layout.INDEX] = handle

    def _open(self) -> None:
        """Reads what is there, cuts a torn tail, and opens the files of records for appending."""
        path = self.folder / layout.TASK
        if path.exists():
            found = layout.read_task(self.folder)
            if asdict(found) != json.loads(json.dumps(asdict(self.task))):
                raise DataError(f"{path} describes {found}, not {self.task}: collect into another folder")
        index = layout.read_index(self.folder / layout.INDEX)
        layout.check_sizes(self.folder, index, self.schema, settled=True)
        for name in self.schema.files:
            self._handles[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        entries = index.entries
        recent = range(max(0, len(entries) - layout.SYNC_EVERY), len(entries))
        torn = [n for n in recent if layout.read_records(self.folder, entries[n], self.schema.files) is None]
        if torn:
            _log.warning("%s: dropped the last %d episodes, torn by a power cut", self.folder, len(entries) - torn[0])
        self._take_up(lambda line: not torn or line.get("id", -1) < torn[0])
        if not path.exists():  # last: from now on readers see the task
            write_json(path, asdict(self.task))
            for folder in (self.folder.parent, self.root):
                sync_folder(folder)

    def _take_up(self, kept: Callable[[dict[str, Any]], bool]) -> None:
        """Goes on behind the lines of the index that come before one that is not `kept`, and cuts what follows."""
        path, handle = self.folder / layout.INDEX, self._handles[layout.INDEX]
        lines = takewhile(lambda line: kept(json.loads(line)), layout.read_index(path).lines)
        os.ftruncate(handle, sum(map(len, lines)))
        index = layout.read_index(path)
        self.finished = index.finished
        self._held = len(index.entries), index.n_frames, sum(map(len, index.lines))
        self._cut()

    def _admit_open(self) -> None:
        if layout.INDEX not in self._handles:
            raise ValueError(f"the writer of {self.task.name} is closed")

    def _admit_name(self, kind: str, seed: int) -> None:
        self._admit_open()
        layout.check_name(kind, int(seed))
        if (kind, seed) in self.finished:
            raise ValueError(f"{kind} episode {seed} of {self.task.name} is stored or discarded already")

    def _commit(self, line: dict[str, Any], records: dict[str, np.ndarray] | None = None) -> None:
        """Writes payload, then the index line. The one place where bytes are written."""
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        episodes, frames, end = self._held
        try:
            with storage_errors(self.folder):
                self._cut()
                for name, part in (records or {}).items():
                    self._write(name, part.view(np.uint8).data, frames * part.itemsize)
                self._write(layout.INDEX, memoryview(text), end)
                if self._unsynced + 1 == self._sync_every:
                    self._sync()
        except BaseException:
            with suppress(OSError):  # else the next append, or the next writer, cuts it
                self._cut()
            raise
        # One assignment: a Ctrl-C leaves the writer either before this episode or behind it.
        self._held = episodes + bool(records), frames + line.get("n_frames", 0), end + len(text)
        self._unsynced = (self._unsynced + 1) % self._sync_every
        self.finished.add((line["kind"], line["seed"]))

    def _write(self, name: str, data: memoryview, offset: int) -> None:
        with storage_errors(self.folder / name):
            while data:
                done = os.pwrite(self._handles[name], data, offset)
                data, offset = data[done:], offset + done

    def _sync(self) -> None:
        for handle in self._handles.values():
            os.fsync(handle)

    def _cut(self) -> None:
        """Cuts what an append that was interrupted (Ctrl-C, full disk) has left behind the acknowledged episodes, the
        index first: it decides what exists."""
        _, frames, end = self._held
        os.ftruncate(self._handles[layout.INDEX], end)
        for name, kind in self.schema.files.items():
            os.ftruncate(self._handles[name], frames * kind.itemsize)


def _open_root(root: Path, schema: layout.Schema, settings: dict[str, Any] | None) -> None:
    """Makes the data set, or checks that the one at `root` is the one meant. Parallel writers take turns here."""
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        wanted = json.loads(json.dumps(settings))
        if not (root / layout.META).exists():
            others = sorted(name for name in os.listdir(root) if not name.endswith(".tmp"))
            if others:
                raise DataError(f"{root} is not a data set but holds {others[0]!r}: name a new or empty folder")
            meta = {"format": layout.FORMAT, "version": layout.VERSION, "schema": schema.to_json()}
            write_json(root / layout.META, meta | {"settings": wanted or {}})
        meta = layout.read_meta(root)
    finally:
        os.close(handle)
    if meta.schema != schema:
        other = first_difference(meta.schema.to_json(), schema.to_json(), strictly=True)
        raise DataError(f"{root} holds frames with {other}: observe the same, or collect into a new folder")
    if wanted is not None and wanted != meta.settings:
        other = first_difference(meta.settings, wanted, strictly=True)
        raise DataError(f"{root} was collected with {other}: use the same settings, or collect into a new folder")
