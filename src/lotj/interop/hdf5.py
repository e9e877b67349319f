"""Parts in HDF5, joined into one file: a kill while HDF5 writes may leave a file that nothing opens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lotj.errors import DataError
from lotj.files import sync_folder
from lotj.interop.contract import Part, library


def part_path(work: Path, part: Part) -> Path:
    """Where a finished part lies; of robomimic a file, of Minari a folder."""
    return work / f"part-{part.number:05d}"


@contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """An HDF5 file that appears under `path`, whole, when the block ends without an error."""
    temporary = path.with_name(path.name + ".tmp")
    with library("h5py").File(temporary, "w") as file:
        yield file
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def join(parts: Sequence[Path], into: Any) -> None:
    """Copies all groups of the parts' files into an open group."""
    for path in parts:
        with library("h5py").File(path, "r") as part:
            for name in part:
                part.copy(name, into)


def leaves(group: Any, prefix: str = "") -> dict[str, Any]:
    """Path of each data set below a group -> it."""
    found = {}
    for name, item in group.items():
        path = f"{prefix}/{name}" if prefix else name
        found |= leaves(item, path) if hasattr(item, "items") else {path: item}
    return found


def numbered(names: Sequence[str], prefix: str, where: Path) -> list[str]:
    """Names of the form ``<prefix><number>`` by their number; DataError for others, or none."""
    odd = [name for name in names if not name.removeprefix(prefix).isdecimal() or not name.startswith(prefix)]
    if odd or not names:
        raise DataError(f"{where}: holds {odd[0] if odd else 'nothing'!r} where {prefix}N must be; name another file")
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))
