"""Data sets of format 1, which knew connectors and one picture of two views, turned into format 2.

Format 1: ``meta.json`` with ``image_size`` S; ``domains/<name>/`` with ``domain.json``, ``frames.u8`` (S, S, 3), one
view above the other, ``frames.tbl`` of `ROW`, and the index ``episodes.jsonl``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data import layout
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError
from lotj.experience import INSERTION, SUCCESS, Episode, Task
from lotj.files import growing, read_object, reading

ROW = np.dtype([("action", "<f4", (3,)), ("state", "<f4", (6,)), ("success", "u1")])
"""One frame of ``frames.tbl``: state is x, y, z of the plug [m] and the contact force on it [N]; the action is NaN on
the last frame of an episode."""


def upgrade(old: Path, new: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Makes a data set of format 2 at `new` of one of format 1.

    One that was stopped goes on, see `growing`. `progress` is told (records done, records in all).

    Raises:
        DataError: `old` is no data set of format 1 or is damaged; `new` exists, or another upgrade was begun there.
        StorageError: the disk is full or the folder cannot be written.
    """
    old, new = Path(old), Path(new)
    with reading(old):
        meta = layout.read_header(old, 1)
        size = meta.get("image_size")
        if type(size) is not int or size < 2 or size % 2:
            raise DataError(f"{old / layout.META}: image_size {size!r} must be even; restore it from a copy")
        folders = sorted(path.parent for path in (old / "domains").glob("[!.]*/domain.json"))
        indices = [layout.read_index(folder / layout.INDEX) for folder in folders]  # as of format 2, with more entries
        tasks = [(f, _read_task(f), [*map(json.loads, index.lines)]) for f, index in zip(folders, indices, strict=True)]
        if not tasks:
            raise DataError(f"{old} holds no domains: there is nothing to upgrade")
        flag, vector = np.dtype(bool), np.dtype(("<f4", (3,)))
        image, truth = np.dtype(("u1", (2, size // 2, size, 3))), {"force": vector, "position": vector}
        files = {"frames.u8": np.dtype([("image", image)]), "frames.tbl": ROW}
        schema = layout.Schema(3, {"image": image}, {"far": flag, SUCCESS: flag}, truth)
        done, total = 0, sum(len(lines) for _, _, lines in tasks)
        crc = zlib.crc32(b"".join(line for index in indices for line in index.lines))
        with growing(new, {"upgrade": str(old.resolve()), "crc": crc}) as work:
            for folder, task, lines in tasks:
                with EpisodeWriter(work / "data", task, schema, meta["settings"]) as writer:
                    for line in lines:
                        if (line["kind"], line["seed"]) in writer.finished:
                            continue
                        if "discarded" in line:
                            writer.discard(line["kind"], line["seed"], line["discarded"])
                        else:
                            writer.append(_read_episode(folder, task, line, files))
                        progress(done + len(writer.finished), total)
                    done += len(writer.finished)


def _read_task(folder: Path) -> Task:
    path = folder / "domain.json"
    about = read_object(path)
    try:
        name, split = about.pop("name"), about.pop("split")
        task = Task(name, f"{INSERTION}{about['connector']}", split, about)
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]} is missing; restore it from a copy") from error
    if name != folder.name or about.keys() != {"connector", "family", "robot", "seed"}:
        raise DataError(f"{path}: not the domain {folder.name!r}; restore it from a copy")
    return task


def _read_episode(folder: Path, task: Task, line: dict[str, Any], files: dict[str, np.dtype]) -> Episode:
    with reading(folder):
        records = layout.read_records(folder, line, files)
    if records is None:
        which = f"{folder}, episode {line['id']} ({line['kind']}, seed {line['seed']})"
        rule = "frames or rows are missing or do not match their checksum; copy the data set again"
        raise DataError(f"{which}: {rule}")
    rows = records["frames.tbl"]
    success = rows["success"].astype(bool)
    return Episode(
        observation={"image": records["frames.u8"]["image"]},
        action=rows["action"][:-1],
        reward=(success[1:] & ~success[:-1]).astype(np.float32),
        terminated=line["terminated"],
        truncated=line["truncated"],
        task=task.name,
        kind=line["kind"],
        seed=line["seed"],
        notes={"far": np.full(len(rows), line["scenario"] == "far"), SUCCESS: success},
        truth={"position": rows["state"][:, :3], "force": rows["state"][:, 3:]},
    )
