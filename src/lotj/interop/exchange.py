"""The loops of `lotj data export` and `lotj data import`: they stream, show progress, and go on after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data import layout
from lotj.data.layout import Schema
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError, NumericsError, SettingsError
from lotj.experience import Episode, Task
from lotj.files import first_difference, growing, reading
from lotj.interop.contract import About, Header, Part, Source, find_format, foreign_file
from lotj.interop.mapping import Map, foreign_episode, own_episode, read_map
from lotj.interop.video import check_encoder

PART_BYTES = 32 * 2**20
"""Frames [B] of a part: what an export that is killed does again, at most."""

RATE = 10.0
"""Frames a second [Hz] of data sets whose settings name no ``rate``: the robot's."""

_OPEN = 32  # tasks that an import has open at a time

Progress = Callable[[int, int], None]


def export(
    root: Path,
    to: str,
    out: Path,
    truth: bool = False,
    rate: float | None = None,
    video: bool = False,
    progress: Progress = lambda done, total: None,
) -> None:
    """Writes the data set at `root` to `out` in another format. Killed, it goes on when it is called again.

    Args:
        to: a name of `contract.FORMATS`.
        truth: write what only a simulator knows, too.
        rate: frames a second [Hz]; by default what an import has noted, else `RATE`.
        video: pictures as MP4, smaller and not exact; of LeRobot alone.
        progress: told (episodes done, episodes in all).

    Raises:
        DataError: `root` is no data set or is damaged; `out` exists; another export was begun there.
        SettingsError: no such format, or its library is not installed.
        StorageError: the disk is full or the folder cannot be written.
    """
    root, out, form = Path(root), Path(out), find_format(to)
    with reading(root):
        house = _House(root, truth)
    hertz = rate or house.settings.get("rate")
    about = replace(house.about, rate=float(hertz if isinstance(hertz, int | float) else RATE))
    wanted = {"export": str(root.resolve()), "to": to, "truth": truth, "rate": about.rate}
    if video and to != "lerobot":
        raise SettingsError(f"video: {to} keeps pictures as arrays; leave it out, or export to lerobot")
    if video:
        check_encoder()
    wanted |= {"video": video, "episodes": len(house), "crc": house.crc, "part_bytes": PART_BYTES}
    with growing(out, wanted) as work:
        writer, parts = form.Writer(work, about, out.name, *([video] if video else [])), house.parts()
        for part in parts:
            if not writer.has(part):
                writer.write(part, house.episodes(part, progress))
            progress(part.first_episode + part.n_episodes, len(house))
        writer.finish(parts)


def import_(
    source: Path, of: str, out: Path, mapped: Path | None = None, progress: Progress = lambda done, total: None
) -> None:
    """Makes a data set at `out` of one in another format. Killed, it goes on when it is called again.

    Args:
        source: file or folder, as the format's users name it.
        of: a name of `contract.FORMATS`.
        mapped: TOML file of a `mapping.Map`; without, an export of ours comes back as it was, others are guessed.
        progress: told (episodes done, episodes in all).

    Raises:
        DataError: no such data set, an episode that does not fit, `out` exists, another import was begun there.
        SettingsError: no such format, its library is not installed, or a map that says what cannot be.
        NumericsError: a number that is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    source, out, form = Path(source), Path(out), find_format(of)
    how = read_map(mapped) if mapped else Map()
    with foreign_file(source, f"a data set of {of}"):
        foreign: Source = form.Source(source)
    own = foreign.about if mapped is None else None
    every, theirs = (1, None) if own else (how.every(foreign.rate), how.source_rate or foreign.rate)
    said = json.loads(json.dumps({"from": of, "map": asdict(how)}))
    settings = own.settings if own else {"imported": said, **({"rate": theirs / every} if theirs else {})}
    wanted = {"import": str(source.resolve()), **said, "own": own is not None, "episodes": foreign.total}
    with growing(out, wanted) as work, _Into(work / "data", settings, own.schema if own else None) as into:

        def task_of(header: Header) -> Task:
            if own and header.task not in own.task_number:
                raise DataError(f"{source}: task {header.task!r} is none of those that lotj exported; give a --map")
            return own.tasks[own.task_number[header.task]] if own else how.task_of(header)

        def unfinished(header: Header) -> bool:
            named = header.kind or how.kind, header.number if header.seed is None else header.seed
            return not into.has(task_of(header), named)

        plan = None
        for trajectory in foreign.read(unfinished):
            where = f"{source}: episode {trajectory.header.number}"
            if own:
                episode = own_episode(trajectory, own, form.KEYS, where)
            else:
                plan = plan or how.completed(trajectory.columns, form.KEYS, foreign.bounds)
                episode = foreign_episode(trajectory, plan, form.KEYS, every, where)
            into.append(task_of(trajectory.header), episode, where)
            progress(into.count, foreign.total)
        if not into.count:
            raise DataError(f"{source} holds no episode: name another")
        if own:
            into.discard(own)


class _House:
    """A data set of ours, read episode by episode: of all of it only the indices are held."""

    def __init__(self, root: Path, truth: bool) -> None:
        meta = layout.read_meta(root)
        self._root, self._schema = root, meta.schema
        self._tasks = [layout.read_task(layout.task_folder(root, name)) for name in layout.task_names(root)]
        entries, self._kinds, discarded = [], [], {}
        for number, task in enumerate(self._tasks):
            folder = layout.task_folder(root, task.name)
            index = layout.read_index(folder / layout.INDEX)
            layout.check_sizes(folder, index, meta.schema)
            lines = [json.loads(line) for line in index.lines if b'"discarded"' in line] if index.discarded else []
            discarded |= {task.name: [line for line in lines if "discarded" in line]} if lines else {}
            index.entries["task"] = number
            entries.append(index.entries)
            self._kinds.append(index.kinds)
        self._entries = np.concatenate([np.empty(0, layout.EPISODE), *entries])
        if not len(self._entries):
            raise DataError(f"{root} holds no finished episode: there is nothing to export")
        schema = meta.schema if truth else Schema(meta.schema.action, meta.schema.observation, meta.schema.notes)
        self._truth, self.settings = truth, meta.settings
        self.about = About(schema, self._tasks, meta.settings, RATE, discarded)
        self.crc = layout.payload_crc([np.ascontiguousarray(self._entries["crc"])])

    def __len__(self) -> int:
        return len(self._entries)

    def parts(self) -> list[Part]:
        """All episodes, in parts of about `PART_BYTES`."""
        frames = self._entries["n_frames"].astype(np.int64)
        size = sum(kind.itemsize for kind in self._schema.files.values())
        starts = np.flatnonzero(np.diff((np.cumsum(frames) - frames) * size // PART_BYTES, prepend=-1))
        steps = np.append(0, np.cumsum(frames - 1))
        return [
            Part(number, int(start), int(steps[start]), int(end - start))
            for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(self)], strict=True))
        ]

    def episodes(self, part: Part, progress: Progress) -> Iterator[Episode]:
        """Those of a part; DataError for one that does not match its checksum."""
        for number in range(part.first_episode, part.first_episode + part.n_episodes):
            entry = self._entries[number]
            task = self._tasks[entry["task"]]
            folder, kind = layout.task_folder(self._root, task.name), self._kinds[entry["task"]][entry["kind"]]
            with reading(folder):
                records = layout.read_records(folder, entry, self._schema.files)
            if records is None:
                which = f"{folder}: the {kind} episode of seed {entry['seed']}"
                raise DataError(f"{which} does not match its checksum; `lotj data check` says what to do")
            episode = self._schema.unpack(
                records,
                terminated=bool(entry["terminated"]),
                truncated=bool(entry["truncated"]),
                task=task.name,
                kind=kind,
                seed=int(entry["seed"]),
            )
            yield episode if self._truth else replace(episode, truth={})
            progress(number + 1, len(self))


class _Into:
    """A data set of ours as it grows, with the writers of the tasks that were last written to."""

    def __init__(self, root: Path, settings: Mapping[str, Any], schema: Schema | None) -> None:
        self._root, self._settings = root, dict(settings)
        self._schema = layout.read_meta(root).schema if (root / layout.META).exists() else schema
        self._writers: dict[str, EpisodeWriter] = {}
        self.count = 0

    def has(self, task: Task, named: tuple[str, int]) -> bool:
        """Whether an episode is stored, and counts it."""
        if self._schema is None or named not in self._writer(task).finished:
            return False
        self.count += 1
        return True

    def append(self, task: Task, episode: Episode, where: str) -> None:
        """Stores an episode; DataError if it is not like the first."""
        try:
            schema = Schema.of(episode)
        except ValueError as error:
            raise DataError(f"{where}: {error}; mend the map") from error
        self._schema = self._schema or schema
        other = first_difference(self._schema.to_json(), schema.to_json(), strictly=True)
        if other:
            raise DataError(f"{where}, key {other} as in this one: all must be alike; take it out, or mend the map")
        try:
            self._writer(task).append(episode)
        except NumericsError as error:
            raise NumericsError(f"{where}: {error}") from error
        except ValueError as error:
            raise DataError(f"{where}: {error}; take it out") from error
        self.count += 1

    def discard(self, about: About) -> None:
        """Makes all tasks, those without episodes too, and notes what was thrown away."""
        for task in about.tasks:
            writer = self._writer(task)
            for line in about.discarded.get(task.name, ()):
                if (line["kind"], line["seed"]) not in writer.finished:
                    writer.discard(line["kind"], line["seed"], line["discarded"])

    def _writer(self, task: Task) -> EpisodeWriter:
        assert self._schema is not None
        writer = self._writers.pop(task.name, None)
        if writer is None:
            if len(self._writers) >= _OPEN:
                self._writers.pop(next(iter(self._writers))).close()
            writer = EpisodeWriter(self._root, task, self._schema, self._settings)
        elif writer.task != task:
            theirs = [of.attributes.get("foreign", of.env) for of in (writer.task, task)]
            self._writers[task.name] = writer
            raise DataError(
                f"tasks {theirs[0]!r} and {theirs[1]!r} would both be {task.name}: name them in [tasks] of a map"
            )
        self._writers[task.name] = writer  # the last one used comes last
        return writer

    def __enter__(self) -> _Into:
        return self

    def __exit__(self, *_: object) -> None:
        while self._writers:
            self._writers.popitem()[1].close()
        if not any(path.stat().st_size for path in (self._root / layout.TASKS).glob(f"*/{layout.INDEX}")):
            shutil.rmtree(self._root, ignore_errors=True)  # nothing to go on with
