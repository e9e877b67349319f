"""How a data set of episodes lies on disk, and how its small files are read and checked (NumPy only).

A data set is one folder::

    <root>/meta.json                      format name, version, image size, settings it was collected with
    <root>/domains/<name>/domain.json     the `Domain`
    <root>/domains/<name>/frames.u8       raw uint8 images, H * W * 3 bytes each, every frame once
    <root>/domains/<name>/frames.tbl      one `ROW` per frame
    <root>/domains/<name>/episodes.jsonl  the index: one line per finished or discarded episode

The index decides: an episode exists when its line does. Its frames and rows are written before its line, so whatever
lies behind the last line (a torn episode, a torn line) is ignored by readers and cut off by the next writer. That holds
for a kill at any moment. A power cut may besides tear the last `SYNC_EVERY` episodes of a domain, which the system had
not yet been told to bring to the disk: the next writer compares these with their checksums and drops what is torn.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import ACTION_DIM, KINDS, SCENARIOS, STATE_DIM, Domain
from lotj.files import atomic_write, storage_errors

FORMAT = "lotj-episodes"
VERSION = 1
META, DOMAINS = "meta.json", "domains"
DOMAIN, FRAMES, TABLE, INDEX = "domain.json", "frames.u8", "frames.tbl", "episodes.jsonl"

ROW = np.dtype([("action", "<f4", (ACTION_DIM,)), ("state", "<f4", (STATE_DIM,)), ("success", "u1")])
"""One frame in `frames.tbl`, packed. The action leads from this frame to the next one and is NaN on the last frame."""

ENTRY = np.dtype(
    [("kind", "i1"), ("scenario", "i1"), ("seed", "<i8"), ("first_frame", "<i8"), ("n_frames", "<i4")]
    + [("terminated", "?"), ("truncated", "?"), ("success", "?"), ("crc", "<u4")]
)
"""One finished episode of the index. `first_frame` counts within the domain; `success` is that of the last frame."""

SYNC_EVERY = 16
"""Records (episodes, discards) of a domain after which they are forced down to the disk, as they are at the end."""

MAX_FRAMES = 2**15
"""Frames that one episode may have, so that its steps are counted in 16 bits."""

AGAIN = "free space and run again; finished episodes are kept"
COPY_AGAIN = "copy the data set again, or delete this domain's folder and collect it again"
COLLECT_AGAIN = "give the same `lotj collect` again, which drops episodes torn by a power cut and records them anew"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says.

    Attributes:
        image_size: height and width of every frame [pixels].
        settings: what fixed how the episodes were made; a writer with other settings is refused.
    """

    image_size: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Index:
    """What one `episodes.jsonl` says.

    Attributes:
        entries: (E,) of dtype `ENTRY`, in the order of recording.
        discarded: reason -> number of episodes thrown away.
        finished: (kind, seed) of every episode, stored or discarded.
        starts: (E,) int64, where the line of each entry begins [bytes].
        n_frames: frames of all entries.
        end: length of the finished lines [bytes]; what follows is torn.
    """

    entries: np.ndarray
    discarded: Counter[str]
    finished: set[tuple[str, int]]
    starts: np.ndarray
    n_frames: int
    end: int


def storage(path: Path) -> AbstractContextManager[None]:
    """Turns the operating system's refusal to write at `path` into a `StorageError`."""
    return storage_errors(path, AGAIN)


def domain_folder(root: Path, name: str) -> Path:
    """Folder of the domain `name`.

    Raises:
        DataError: the name cannot be a folder name.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"domain name {name!r} cannot be a folder: use 1 to 200 of A-Z a-z 0-9 . _ + -, first a letter or digit"
        )
    return root / DOMAINS / name


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a small file so that it is there whole or not at all, also after a power cut.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    atomic_write(path, json.dumps(content, indent=1).encode() + b"\n", AGAIN)


def meta_content(meta: Meta) -> dict[str, Any]:
    """Content of `meta.json`."""
    return {"format": FORMAT, "version": VERSION, "image_size": meta.image_size, "settings": meta.settings}


def read_meta(root: Path) -> Meta:
    """Reads `meta.json`.

    Raises:
        DataError: there is no data set, it is of another kind or version, or the file is damaged.
    """
    path = root / META
    if not root.is_dir():
        raise DataError(f"no data set at {root}: name the folder of one, or make one with `lotj collect`")
    if not path.is_file():
        raise DataError(f"{root} is not a data set: it has no {META}; name the folder that `lotj collect` wrote")
    content = _read_object(path)
    if content.get("format") != FORMAT:
        raise DataError(f"{path}: format is {content.get('format')!r}, not {FORMAT!r}; name a folder of `lotj collect`")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path}: version is {content.get('version')!r}, this lotj reads {VERSION}; "
            "use the lotj that wrote it, or collect again into a new folder"
        )
    size, settings = content.get("image_size"), content.get("settings")
    if type(size) is not int or size < 1 or not isinstance(settings, dict):
        raise DataError(
            f"{path}: image_size is {size!r} and settings a {type(settings).__name__}; they must be a positive "
            "whole number and an object; restore the file from a copy"
        )
    return Meta(image_size=size, settings=settings)


def domain_names(root: Path) -> list[str]:
    """Names of the domains, sorted, without hidden entries and those where a writer was stopped at the very beginning.

    Raises:
        DataError: `domains/` holds something that is not a domain.
    """
    folder = root / DOMAINS
    if not folder.is_dir():
        return []
    names = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if (path / DOMAIN).is_file():
            names.append(entry.name)
        elif not entry.is_dir() or not _only_begun(path):
            raise DataError(f"{path} is not part of a data set: it has no {DOMAIN}; move it elsewhere")
    return names


def read_domain(folder: Path) -> Domain:
    """Reads `domain.json`.

    Raises:
        DataError: missing, unknown or wrongly typed entries, or another name than the folder's.
    """
    path = folder / DOMAIN
    content = _read_object(path)
    expected = {field.name: int if field.name == "seed" else str for field in fields(Domain)}
    types = {key: type(value) for key, value in content.items()}
    if types != expected:
        wrong = sorted(k for k in expected.keys() | types.keys() if expected.get(k) != types.get(k))
        raise DataError(f"{path}: {', '.join(wrong)} missing, unknown or of the wrong type; restore it from a copy")
    domain = Domain(**content)
    if domain.name != folder.name:
        raise DataError(f"{path}: name is {domain.name!r} but the folder is {folder.name!r}; rename the folder back")
    return domain


def domain_content(domain: Domain) -> dict[str, Any]:
    """Content of `domain.json`."""
    return asdict(domain)


def read_index(path: Path) -> Index:
    """Reads an `episodes.jsonl`; a missing file is an empty index, a torn last line is ignored.

    Raises:
        DataError: a line before the last that is not a finished or discarded episode.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from error
    lines = data.split(b"\n")
    last = len(lines) - 2  # behind the last newline is nothing, or a torn line
    entries, discarded, finished, starts = [], Counter(), set(), []
    n_frames = end = 0
    for number, line in enumerate(lines[:-1]):
        try:
            item = json.loads(line)
            name = _episode_name(item)
            if "discarded" in item:
                discarded[str(item["discarded"])] += 1
            else:
                entries.append(_entry(item, len(entries), n_frames))
                n_frames += item["n_frames"]
                starts.append(end)
            finished.add(name)
        except (ValueError, KeyError, TypeError) as error:
            if number == last:  # a power cut can leave the end of a line without its beginning
                break
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{path}, line {number + 1}: not a record of an episode ({reason}); restore the file from a copy, "
                "or delete this domain's folder and collect it again"
            ) from error
        end += len(line) + 1
    return Index(np.array(entries, ENTRY), discarded, finished, np.array(starts, np.int64), n_frames, end)


def check_sizes(folder: Path, index: Index, image_size: int, settled: bool = False) -> None:
    """Checks that the frames and rows that the index speaks of are there.

    Args:
        folder: of the domain.
        index: of the domain.
        image_size: height and width of the frames [pixels].
        settled: lets the last `SYNC_EVERY` episodes be short: for the writer, which repairs them.

    Raises:
        DataError: `frames.u8` or `frames.tbl` is missing or short.
    """
    if index.n_frames == 0:
        return
    n_frames = index.n_frames
    if settled:
        n_frames = int(index.entries["first_frame"][-SYNC_EVERY]) if len(index.entries) > SYNC_EVERY else 0
    for name, unit in ((FRAMES, image_size * image_size * 3), (TABLE, ROW.itemsize)):
        path, need = folder / name, n_frames * unit
        if not path.is_file():
            raise DataError(f"{path} is missing: {index.n_frames} frames need it; {COPY_AGAIN}")
        held = path.stat().st_size
        if held < need:
            raise DataError(
                f"{path} holds {held} bytes, but {n_frames} frames of {unit} bytes need {need}; "
                f"{COLLECT_AGAIN}; if that does not help, {COPY_AGAIN}"
            )


def payload_crc(frames: np.ndarray, rows: np.ndarray) -> int:
    """CRC-32 of an episode: the bytes of its uint8 frames, then those of its rows. Both must be contiguous."""
    return zlib.crc32(rows.view(np.uint8).data, zlib.crc32(frames.reshape(-1).data))


def episode_fault(entry: np.void, frames: int, table: int, image_size: int) -> str:
    """Reads one episode and says what is wrong with it; empty if nothing is.

    Args:
        entry: of dtype `ENTRY`.
        frames: the open `frames.u8`.
        table: the open `frames.tbl`.
        image_size: height and width of the frames [pixels].
    """
    first, count, unit = int(entry["first_frame"]), int(entry["n_frames"]), image_size * image_size * 3
    pixels = os.pread(frames, count * unit, first * unit)
    rows = os.pread(table, count * ROW.itemsize, first * ROW.itemsize)
    if len(pixels) < count * unit or len(rows) < count * ROW.itemsize:
        return "frames or rows are missing"
    labels = np.frombuffer(rows, ROW)
    if payload_crc(np.frombuffer(pixels, np.uint8), labels) != entry["crc"]:
        return "frames or rows do not match their checksum"
    if bool(labels["success"][-1]) != entry["success"]:
        return "the index and the last row disagree about success"
    return ""


def _episode_name(item: dict[str, Any]) -> tuple[str, int]:
    """Kind and seed of a line of the index; ValueError, KeyError or TypeError if they are not valid."""
    kind, seed = item["kind"], item["seed"]
    if kind not in KINDS or item["scenario"] not in SCENARIOS:
        raise ValueError(f"kind {kind!r}, scenario {item['scenario']!r}: not in {KINDS}, {SCENARIOS}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}, not a whole number in [0, 2^63)")
    return kind, seed


def _entry(item: dict[str, Any], number: int, first_frame: int) -> tuple[Any, ...]:
    """One line of the index as a tuple in the order of `ENTRY`; ValueError, KeyError or TypeError if it is not one."""
    if item["id"] != number or item["first_frame"] != first_frame:
        raise ValueError(
            f"id {item['id']} at frame {item['first_frame']} where id {number} at frame {first_frame} must follow"
        )
    if type(item["n_frames"]) is not int or not 2 <= item["n_frames"] <= MAX_FRAMES:
        raise ValueError(f"n_frames is {item['n_frames']!r}, not a whole number in [2, {MAX_FRAMES}]")
    if type(item["crc"]) is not int or not 0 <= item["crc"] < 2**32:
        raise ValueError(f"crc is {item['crc']!r}, not a whole number in [0, 2^32)")
    if not all(type(item[key]) is bool for key in ("terminated", "truncated", "success")):
        raise ValueError("terminated, truncated and success must be true or false")
    return (
        KINDS.index(item["kind"]),
        SCENARIOS.index(item["scenario"]),
        item["seed"],
        first_frame,
        item["n_frames"],
        item["terminated"],
        item["truncated"],
        item["success"],
        item["crc"],
    )


def _only_begun(folder: Path) -> bool:
    """Whether a writer was stopped in `folder` before it had written `domain.json`: there is nothing to be lost."""
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    sizes.pop(DOMAIN + ".tmp", None)
    return sizes.keys() <= {INDEX, FRAMES, TABLE} and not any(sizes.values())


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); restore it from a copy") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not an object; restore it from a copy")
    return content
