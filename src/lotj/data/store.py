"""Recording episodes so that a kill at any moment costs at most the one being written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from lotj.data import layout
from lotj.errors import DataError, NumericsError
from lotj.experience import ACTION_DIM, KINDS, SCENARIOS, STATE_DIM, Domain, Episode
from lotj.files import storage_error, sync_folder

_log = logging.getLogger(__name__)


class _Held(NamedTuple):
    """How much of a domain is acknowledged: episodes, frames, and bytes of the index."""

    episodes: int
    frames: int
    end: int


class EpisodeWriter:
    """Appends the episodes of one domain to a data set: makes the data set, or goes on where an earlier writer stopped.

    An episode is *acknowledged* when `append` returns. From then on it survives a kill: the order (frames, rows, index
    line) makes every torn state look like "the episode is not there". A power cut costs at most the last
    `layout.SYNC_EVERY` records of a domain: so often, and at the end, all is forced down to the disk (each time would
    be slower by up to 40 % on a busy disk). Several processes may write one data set, each its own domain.

    Args:
        root: folder of the data set; made if it is missing.
        domain: the domain that this writer records.
        image_size: height and width of the frames [pixels].
        settings: what fixes how an episode of a given kind and seed comes out (JSON values). Stored when the data set
            is made; a later writer with others is refused, so that no data set is a mixture. None: not compared.

    Attributes:
        finished: (kind, seed) of the episodes that are stored or discarded already: skip these to resume.

    Raises:
        DataError: `root` is something else than a data set of this version, image size, settings and domain, it is
            damaged, or another writer has this domain open.
        StorageError: the folder cannot be written.
    """

    finished: set[tuple[str, int]]

    def __init__(self, root: Path, domain: Domain, image_size: int, settings: dict[str, Any] | None = None) -> None:
        self.root, self.domain, self.image_size = Path(root), domain, image_size
        self.folder = layout.domain_folder(self.root, domain.name)
        self._handles: dict[str, int] = {}
        try:
            with layout.storage(self.folder):
                _open_root(self.root, image_size, settings)
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock()
                self._open()
        except BaseException:
            self.close()
            raise

    def append(self, episode: Episode) -> None:
        """Stores one finished episode of at least one step.

        Raises:
            NumericsError: an action or state that is not finite.
            ValueError: the episode is of another domain or image size, or is stored already.
            StorageError: the disk is full or failing; the data set holds what it held before.
        """
        self._admit(episode)
        frames = np.ascontiguousarray(episode.frames)
        rows = np.zeros(len(frames), dtype=layout.ROW)
        rows["action"][:-1], rows["action"][-1] = episode.actions, np.nan
        rows["state"], rows["success"] = episode.state, episode.success
        line = {
            "id": self._held.episodes,
            "kind": episode.kind,
            "scenario": episode.scenario,
            "seed": int(episode.seed),
            "first_frame": self._held.frames,
            "n_frames": len(frames),
            "terminated": bool(episode.terminated),
            "truncated": bool(episode.truncated),
            "success": bool(episode.success[-1]),
            "crc": layout.payload_crc(frames, rows),
        }
        self._commit(line, frames, rows)

    def discard(self, kind: str, scenario: str, seed: int, reason: str) -> None:
        """Notes that an episode was thrown away (e.g. ``dislodged``), so that it is counted and not tried again.

        Raises:
            ValueError: unknown kind or scenario, or the episode is stored already.
            StorageError: see `append`.
        """
        self._admit_name(kind, scenario, seed)
        self._commit({"discarded": reason, "kind": kind, "scenario": scenario, "seed": int(seed)})

    def close(self) -> None:
        """Brings everything down to the disk and lets go of the domain. Safe to call twice.

        Raises:
            StorageError: the disk is full or failing.
        """
        try:
            with layout.storage(self.folder):
                if self._torn:
                    self._cut()
                if self._unsynced:
                    self._sync()
        finally:
            self._torn, self._unsynced = False, 0
            while self._handles:
                os.close(self._handles.popitem()[1])

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Opening

    _torn = False  # whether bytes behind the acknowledged ones may have been written
    _unsynced = 0  # records since the last fsync

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
        """Reads what is there, cuts a torn tail, and opens frames and rows for appending."""
        if (self.folder / layout.DOMAIN).exists():
            found = layout.read_domain(self.folder)
            if found != self.domain:
                raise DataError(
                    f"{self.folder / layout.DOMAIN} describes {found}, not {self.domain}: collect into another folder"
                )
        index = layout.read_index(self.folder / layout.INDEX)
        layout.check_sizes(self.folder, index, self.image_size, settled=True)
        for name in (layout.FRAMES, layout.TABLE):
            self._handles[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        index = self._without_torn(index)
        self.finished = index.finished
        self._held = _Held(len(index.entries), index.n_frames, index.end)
        self._cut()
        if not (self.folder / layout.DOMAIN).exists():  # last: from now on readers see the domain
            layout.write_json(self.folder / layout.DOMAIN, layout.domain_content(self.domain))
            for folder in (self.folder.parent, self.root):
                sync_folder(folder)

    def _without_torn(self, index: layout.Index) -> layout.Index:
        """The index up to the first of the last episodes that a power cut has torn."""
        handles = self._handles[layout.FRAMES], self._handles[layout.TABLE]
        for number in range(max(0, len(index.entries) - layout.SYNC_EVERY), len(index.entries)):
            if layout.episode_fault(index.entries[number], *handles, self.image_size):
                lost = len(index.entries) - number
                _log.warning("%s: dropped the last %d episodes, torn by a power cut", self.folder, lost)
                os.ftruncate(self._handles[layout.INDEX], int(index.starts[number]))
                return layout.read_index(self.folder / layout.INDEX)
        return index

    # Writing

    def _admit(self, episode: Episode) -> None:
        size = (self.image_size, self.image_size, 3)
        if episode.domain != self.domain.name:
            raise ValueError(f"episode of domain {episode.domain!r} given to the writer of {self.domain.name!r}")
        if episode.frames.shape[1:] != size:
            raise ValueError(f"frames are {episode.frames.shape[1:]}, this data set holds {size}")
        if not 2 <= len(episode.frames) <= layout.MAX_FRAMES:
            raise ValueError(f"an episode has 2 to {layout.MAX_FRAMES} frames, not {len(episode.frames)}")
        if episode.actions.shape[1:] != (ACTION_DIM,) or episode.state.shape[1:] != (STATE_DIM,):
            raise ValueError(f"actions {episode.actions.shape}, states {episode.state.shape}: not (T, 3), (T+1, 6)")
        self._admit_name(episode.kind, episode.scenario, episode.seed)
        for name, values in (("actions", episode.actions), ("state", episode.state)):
            if not np.isfinite(values).all():
                raise NumericsError(
                    f"{name} of {episode.kind} episode {episode.seed} of {episode.domain} are not all finite: "
                    "nothing was stored; report the connector and the seed"
                )

    def _admit_name(self, kind: str, scenario: str, seed: int) -> None:
        if layout.INDEX not in self._handles:
            raise ValueError(f"the writer of {self.domain.name} is closed")
        if kind not in KINDS or scenario not in SCENARIOS or not 0 <= seed < 2**63:
            raise ValueError(f"{kind!r}, {scenario!r}, seed {seed}: not in {KINDS}, {SCENARIOS}, [0, 2^63)")
        if (kind, seed) in self.finished:
            raise ValueError(f"{kind} episode {seed} of {self.domain.name} is stored or discarded already")

    def _commit(self, line: dict[str, Any], frames: np.ndarray | None = None, rows: np.ndarray | None = None) -> None:
        """Writes payload, then the index line. The one place where bytes are written."""
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        held, added = self._held, _Held(0, 0, len(text))
        path = self.folder / layout.FRAMES
        try:
            if self._torn:  # an earlier append was interrupted (Ctrl-C, full disk)
                self._cut()
            self._torn = True
            if frames is not None and rows is not None:
                added = _Held(1, len(frames), len(text))
                _write(self._handles[layout.FRAMES], frames.reshape(-1).data, held.frames * frames[0].nbytes)
                path = self.folder / layout.TABLE
                _write(self._handles[layout.TABLE], rows.view(np.uint8).data, held.frames * rows.itemsize)
            path = self.folder / layout.INDEX
            _write(self._handles[layout.INDEX], memoryview(text), held.end)
            if self._unsynced + 1 == layout.SYNC_EVERY:
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next append, or the next writer, cuts it
                self._cut()
            raise storage_error(path, error, layout.AGAIN) from error
        # One assignment: a Ctrl-C leaves the writer either before this episode or behind it.
        self._held = _Held(held.episodes + added.episodes, held.frames + added.frames, held.end + added.end)
        self._torn = False
        self._unsynced = (self._unsynced + 1) % layout.SYNC_EVERY
        self.finished.add((line["kind"], line["seed"]))

    def _sync(self) -> None:
        for name in (layout.FRAMES, layout.TABLE, layout.INDEX):
            os.fsync(self._handles[name])

    def _cut(self) -> None:
        """Cuts everything behind the acknowledged episodes, the index first: it decides what exists."""
        os.ftruncate(self._handles[layout.INDEX], self._held.end)
        os.ftruncate(self._handles[layout.FRAMES], self._held.frames * self.image_size**2 * 3)
        os.ftruncate(self._handles[layout.TABLE], self._held.frames * layout.ROW.itemsize)
        self._torn = False


def _write(handle: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(handle, data, offset)
        data, offset = data[done:], offset + done


def _open_root(root: Path, image_size: int, settings: dict[str, Any] | None) -> None:
    """Makes the data set, or checks that the one at `root` is the one meant. Parallel writers take turns here."""
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        wanted = json.loads(json.dumps(settings))
        if not (root / layout.META).exists():
            others = sorted(entry.name for entry in os.scandir(root) if entry.name != layout.META + ".tmp")
            if others:
                raise DataError(f"{root} is not a data set but holds {others[0]!r}: name a new or empty folder")
            layout.write_json(root / layout.META, layout.meta_content(layout.Meta(image_size, wanted or {})))
        meta = layout.read_meta(root)
    finally:
        os.close(handle)
    if meta.image_size != image_size:
        raise DataError(
            f"{root} holds images of {meta.image_size} pixels, not {image_size}: "
            "set the image size to match, or collect into a new folder"
        )
    if wanted is not None and wanted != meta.settings:
        key = next(k for k in sorted(wanted.keys() | meta.settings.keys()) if wanted.get(k) != meta.settings.get(k))
        raise DataError(
            f"{root} was collected with {key} = {meta.settings.get(key)!r}, not {wanted.get(key)!r}: "
            "use the same settings, or collect into a new folder"
        )
