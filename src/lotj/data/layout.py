"""How a data set of episodes lies on disk (format 2, see docs/data-format.md), and how its small files are read.

The index decides: an episode exists when its line does, which is written after its records; what lies behind the last
line is torn, ignored by readers and cut off by the next writer, whenever a kill comes. A power cut may besides tear the
last `SYNC_EVERY` episodes of a task: the next writer holds them against their checksums and drops what is torn.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode, Task
from lotj.files import read_object, reading

FORMAT = "lotj-episodes"
VERSION = 2
META, TASKS = "meta.json", "tasks"
TASK, INDEX, ROWS, TRUTH = "task.json", "episodes.jsonl", "rows.tbl", "truth.tbl"

LARGE = 1024
"""An observation of at least this size [bytes per frame] has a file of its own, which readers map."""

EPISODE = np.dtype(
    [("task", "<i4"), ("kind", "<i4"), ("seed", "<i8"), ("first_frame", "<i8"), ("n_frames", "<i4")]
    + [("terminated", "?"), ("truncated", "?"), ("crc", "<u4")]
)
"""One finished episode of a store or an index. `task` and `kind` index its tasks and kinds, `first_frame` counts within
it; the checksum is 0 where the records are not on disk."""

SYNC_EVERY = 16
"""Records (episodes, discards) of a task after which they are forced down to the disk, as they are at the end."""

MAX_FRAMES = 2**15
"""Frames that one episode may have, so that its steps are counted in 16 bits."""

COPY_AGAIN = "copy the data set again, or delete this task's folder and collect it again"
COLLECT_AGAIN = "give the same `lotj collect` again, which drops episodes torn by a power cut and records them anew"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_NAMES = "1 to 200 of A-Z a-z 0-9 . _ + -, first a letter or digit"
_COLUMN = re.compile(r"[a-z0-9_/-]{1,60}")


_GROUPS = ("observation", "notes", "truth")


@dataclass(frozen=True)
class Schema:
    """What each frame of a data set holds; ValueError for what could not be written or read back.

    Attributes:
        action: A, number of action axes.
        observation, notes, truth: name -> dtype of one frame, e.g. ``np.dtype(("u1", (2, 32, 64, 3)))``; in the order
            of the names. The dtypes are of numbers or bools.
    """

    action: int
    observation: Mapping[str, np.dtype]
    notes: Mapping[str, np.dtype] = field(default_factory=dict)
    truth: Mapping[str, np.dtype] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.action) is not int or self.action < 1:
            raise ValueError(f"actions of {self.action!r} axes: must be a whole number, at least 1")
        for group in _GROUPS:
            columns = dict(sorted(getattr(self, group).items()))
            for name, kind in columns.items():
                named = _COLUMN.fullmatch(name) and name not in ("action", "reward")
                if not named or kind.base.kind not in "biuf" or not kind.itemsize:
                    raise ValueError(f"column {name!r} of {kind}: a name of a-z 0-9 _ / -, some numbers or bools")
            object.__setattr__(self, group, columns)
        places = [name.replace("/", "-") for name in self.observation]
        if len(set(places)) < len(places) or any(name.startswith("notes/") for name in self.observation):
            raise ValueError(f"observations {sorted(self.observation)}: two in one place")

    @classmethod
    def of(cls, episode: Episode) -> Self:
        """The schema of an episode and all others like it."""
        groups = (getattr(episode, group).items() for group in _GROUPS)
        columns = ({name: np.dtype((values.dtype, values.shape[1:])) for name, values in group} for group in groups)
        return cls(episode.action.shape[1], *columns)

    @property
    def words(self) -> str:
        """For a message, e.g. ``actions of 3 axes and state (9,) float32``."""
        columns = {**self.observation, **self.notes, **self.truth}
        shapes = [f"{name} {kind.shape} {kind.base.name}" for name, kind in columns.items()]
        return f"actions of {self.action} axes and {', '.join(shapes)}"

    @cached_property
    def files(self) -> dict[str, np.dtype]:
        """Name of each file of records -> dtype of a record, with fields ``action``, ``reward`` and names of columns;
        those of notes with the prefix ``notes/``."""
        large = {name: kind for name, kind in self.observation.items() if kind.itemsize >= LARGE}
        small = {name: kind for name, kind in self.observation.items() if name not in large}
        notes = {f"notes/{name}": kind for name, kind in self.notes.items()}
        rows = {"action": np.dtype(("<f4", (self.action,))), "reward": np.dtype("<f4"), **small, **notes}
        files = {ROWS: np.dtype(list(rows.items()))}
        if self.truth:
            files[TRUTH] = np.dtype(list(self.truth.items()))
        return files | {name.replace("/", "-") + ".raw": np.dtype([(name, kind)]) for name, kind in large.items()}

    def pack(self, episode: Episode) -> dict[str, np.ndarray]:
        """Name of each file -> (T+1,) records of an episode of this schema. The last action and reward are NaN."""
        seen = {**episode.observation, **{f"notes/{name}": values for name, values in episode.notes.items()}}
        packed = {}
        for name, kind in self.files.items():
            packed[name] = records = np.zeros(len(episode) + 1, kind)
            columns = episode.truth if name == TRUTH else seen  # the same name may be in both
            for column in kind.names or ():
                if name == ROWS and column in ("action", "reward"):
                    records[column][:-1], records[column][-1] = getattr(episode, column), np.nan
                else:
                    records[column] = columns[column]
        return packed

    def unpack(self, records: Mapping[str, np.ndarray], **about: Any) -> Episode:
        """The episode that `pack` was given, with the rest `about` it."""
        rows = records[ROWS]
        seen = {name: rows[name] for name in self.observation if name in (rows.dtype.names or ())}
        large = {name: records[name.replace("/", "-") + ".raw"][name] for name in self.observation.keys() - seen.keys()}
        return Episode(
            observation={name: {**seen, **large}[name] for name in self.observation},
            action=rows["action"][:-1],
            reward=rows["reward"][:-1],
            notes={name: rows[f"notes/{name}"] for name in self.notes},
            truth={name: records[TRUTH][name] for name in self.truth},
            **about,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        written: dict[str, Any] = {"action": self.action}
        for group in _GROUPS:
            columns = getattr(self, group).items()
            written[group] = {name: {"dtype": kind.base.str, "shape": list(kind.shape)} for name, kind in columns}
        return written

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """What `to_json` gave; ValueError, KeyError or TypeError if it is not that."""

        if not content["observation"]:
            raise ValueError("nothing is observed")
        groups = (content[group].items() for group in _GROUPS)
        columns = ({name: np.dtype((np.dtype(c["dtype"]), tuple(c["shape"]))) for name, c in group} for group in groups)
        return cls(content["action"], *columns)


class Meta(NamedTuple):
    """What `meta.json` says: the schema of every frame, and the settings that fixed how the episodes were made."""

    schema: Schema
    settings: dict[str, Any]


@dataclass(frozen=True)
class Index:
    """What one `episodes.jsonl` says.

    Attributes:
        entries: (E,) of dtype `EPISODE`, in the order of recording.
        kinds: names of the kinds that `entries` number, in the order in which they first come.
        discarded: reason -> number of episodes thrown away.
        finished: (kind, seed) of every episode, stored or discarded.
        n_frames: frames of all entries.
        lines: the finished lines; what follows them is torn.
    """

    entries: np.ndarray
    kinds: tuple[str, ...]
    discarded: Counter[str]
    finished: set[tuple[str, int]]
    n_frames: int
    lines: list[bytes]


def task_folder(root: Path, name: str) -> Path:
    """Folder of the task `name`; DataError if that cannot be one."""
    if not _NAME.fullmatch(name):
        raise DataError(f"task name {name!r} cannot be a folder: use {_NAMES}")
    return root / TASKS / name


def read_header(root: Path, version: int = VERSION) -> dict[str, Any]:
    """What `meta.json` says, whose settings are an object; DataError where there is none, it is of another kind or
    version, or it is damaged."""
    path = root / META
    if not path.is_file():
        raise DataError(f"no data set at {root}: it has no {META}; name the folder that `lotj collect` wrote")
    content = read_object(path)
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: format is {content.get('format')!r}, not {FORMAT!r}; name a folder of `lotj collect`")
    if content.get("version") != version:
        raise DataError(
            f"{path}: version is {content.get('version')!r}, not {version}; `lotj data upgrade` turns 1 into 2, for "
            "others use the lotj that wrote it"
        )
    if not isinstance(content.get("settings"), dict):
        raise DataError(f"{path}: settings are not an object; restore it from a copy")
    return content


def read_meta(root: Path) -> Meta:
    """Reads `meta.json`; DataError as of `read_header`."""
    content = read_header(root)
    try:
        return Meta(Schema.from_json(content["schema"]), content["settings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{root / META}: not the schema of a data set ({error}); restore it from a copy") from error


def task_names(root: Path) -> list[str]:
    """Names of the tasks, sorted, without hidden entries and those where a writer was stopped at the very beginning;
    DataError if something else is among them."""
    folder, names = root / TASKS, []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():  # a glob would pass over what it may not read
        if path.name.startswith("."):
            continue
        if (path / TASK).is_file():
            names.append(path.name)
        elif not path.is_dir() or any(file.stat().st_size for file in path.iterdir() if file.suffix != ".tmp"):
            raise DataError(f"{path} is not part of a data set: it has no {TASK}; move it elsewhere")
    return names


def read_task(folder: Path) -> Task:
    """Reads `task.json`; DataError for wrong entries, or another name than the folder's."""
    path = folder / TASK
    task = checked_task(read_object(path), path)
    if task.name != folder.name:
        rule = f"name is {task.name!r} but the folder is {folder.name!r}; rename the folder back"
        raise DataError(f"{path}: {rule}")
    return task


def checked_task(content: Mapping[str, Any], path: Path) -> Task:
    """The task of these JSON values, which are in `path`; DataError for wrong entries."""
    expected = {"name": str, "env": str, "split": str, "attributes": dict}
    types = {key: type(value) for key, value in content.items()}
    if types != expected:
        wrong = sorted(k for k in expected.keys() | types.keys() if expected.get(k) != types.get(k))
        raise DataError(f"{path}: {', '.join(wrong)} missing, unknown or of the wrong type; restore it from a copy")
    return Task(**content)


def read_index(path: Path) -> Index:
    """Reads an `episodes.jsonl`; a missing file is an empty index, a torn last line is ignored; DataError for a line
    before it that is not a finished or discarded episode."""
    with reading(path):
        data = path.read_bytes() if path.exists() else b""
    lines = [line + b"\n" for line in data.split(b"\n")[:-1]]  # behind the last newline is nothing, or a torn line
    entries, discarded, finished = [], Counter(), set()
    kinds: dict[str, int] = {}
    n_frames = 0
    for number, line in enumerate(lines):
        try:
            item = json.loads(line)
            name = item["kind"], item["seed"]
            check_name(*name)
            if "discarded" in item:
                discarded[str(item["discarded"])] += 1
            else:
                entries.append(_entry(item, kinds.get(name[0], len(kinds)), len(entries), n_frames))
                kinds.setdefault(name[0], len(kinds))
                n_frames += item["n_frames"]
            finished.add(name)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) - 1:  # a power cut can leave the end of a line without its beginning
                lines.pop()
                break
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{path}, line {number + 1}: not a record of an episode ({reason}); restore the file from a copy, "
                "or delete this task's folder and collect it again"
            ) from error
    return Index(np.array(entries, EPISODE), tuple(kinds), discarded, finished, n_frames, lines)


def check_sizes(folder: Path, index: Index, schema: Schema, settled: bool = False) -> None:
    """Checks that the records that a task's index speaks of are there; DataError if a file is missing or short.

    `settled` lets the last `SYNC_EVERY` episodes be short: for the writer, which repairs them.
    """
    n_frames = index.n_frames
    if settled:
        n_frames = int(index.entries["first_frame"][-SYNC_EVERY]) if len(index.entries) > SYNC_EVERY else 0
    for name, kind in schema.files.items() if index.n_frames else ():
        path, need = folder / name, n_frames * kind.itemsize
        if not path.is_file():
            raise DataError(f"{path} is missing: {index.n_frames} frames need it; {COPY_AGAIN}")
        held = path.stat().st_size
        if held < need:
            raise DataError(
                f"{path} holds {held} bytes, but {n_frames} frames of {kind.itemsize} bytes need {need}; "
                f"{COLLECT_AGAIN}; if that does not help, {COPY_AGAIN}"
            )


def payload_crc(records: Sequence[np.ndarray]) -> int:
    """CRC-32 of an episode: the bytes of its records, file by file. They must be contiguous."""
    crc = 0
    for part in records:
        crc = zlib.crc32(part.view(np.uint8).data, crc)
    return crc


def read_records(folder: Path, entry: Any, files: Mapping[str, np.dtype]) -> dict[str, np.ndarray] | None:
    """The records of one episode, an entry of its task's index, by name of `files` (`Schema.files`); None where they
    are missing or do not match their checksum."""
    first, count = int(entry["first_frame"]), int(entry["n_frames"])
    records = {n: np.fromfile(folder / n, kind, count, offset=first * kind.itemsize) for n, kind in files.items()}
    whole = all(len(part) == count for part in records.values())
    return records if whole and payload_crc(list(records.values())) == entry["crc"] else None


def check_name(kind: Any, seed: Any) -> None:
    """Raises ValueError if the kind of an episode is no name, or its seed is negative or too large."""
    if type(kind) is not str or not _NAME.fullmatch(kind):
        raise ValueError(f"kind {kind!r}: must be {_NAMES}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}, not a whole number in [0, 2^63)")


def _entry(item: dict[str, Any], kind: int, number: int, first_frame: int) -> tuple[Any, ...]:
    """One line of the index in the order of `EPISODE`; ValueError, KeyError or TypeError if it is not one."""
    if item["id"] != number or item["first_frame"] != first_frame:
        found = f"id {item['id']} at frame {item['first_frame']}"
        raise ValueError(f"{found} where id {number} at frame {first_frame} must follow")
    if type(item["n_frames"]) is not int or not 2 <= item["n_frames"] <= MAX_FRAMES:
        raise ValueError(f"n_frames is {item['n_frames']!r}, not a whole number in [2, {MAX_FRAMES}]")
    if type(item["crc"]) is not int or not 0 <= item["crc"] < 2**32:
        raise ValueError(f"crc is {item['crc']!r}, not a whole number in [0, 2^32)")
    ends = item["terminated"], item["truncated"]
    if {*map(type, ends)} != {bool}:
        raise ValueError("terminated and truncated must be true or false")
    return (0, kind, item["seed"], first_frame, item["n_frames"], *ends, item["crc"])
