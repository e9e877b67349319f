"""Parts in HDF5, joined into one file: a kill while HDF5 writes may leave a file that nothing opens."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode
from lotj.extras import library
from lotj.files import atomic_write
from lotj.interop.contract import About, Part


class Parts:
    """What writers of HDF5 share (see `lotj.interop.contract.Writer`): a part is a file of some episodes' groups.

    It is made in memory, for HDF5 takes the process with it where a disk is full.
    """

    prefix: str
    """Beginning of the groups' names, before the number of the episode."""

    def __init__(self, work: Path, about: About, name: str) -> None:
        self._work, self._about, self._name = work, about, name
        self._h5py = library("h5py")

    def has(self, part: Part) -> bool:
        return self._path(part).exists()

    def write(self, part: Part, episodes: Iterable[Episode]) -> None:
        with self._h5py.File("part", "w", driver="core", backing_store=False, block_size=2**20) as file:
            for number, episode in enumerate(episodes, part.first_episode):
                group = file.create_group(f"{self.prefix}{number}")
                for key, values in self.columns(episode).items():
                    group.create_dataset(key, data=values, compression="gzip" if values.ndim >= 4 else None)
                named = {"task": episode.task, "kind": episode.kind, "seed": episode.seed}
                group.attrs.update(named | self.attributes(number, episode))
            file.flush()
            atomic_write(self._path(part), file.id.get_file_image())

    def columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """Path within the group of an episode -> array."""
        raise NotImplementedError

    def attributes(self, number: int, episode: Episode) -> dict[str, Any]:
        """What the format wants to be said of the group of an episode."""
        raise NotImplementedError

    def join(self, parts: Sequence[Part], into: Any) -> None:
        """Copies the groups of all parts into an open group; the OSError of a full disk where they have no room."""
        need = sum(self._path(part).stat().st_size for part in parts) + 2**16
        disk = os.statvfs(self._work)
        if disk.f_bavail * disk.f_frsize < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for part in parts:
            with self._h5py.File(self._path(part), "r") as file:
                for name in file:
                    file.copy(name, into)

    def _path(self, part: Part) -> Path:
        return self._work / f"part-{part.number:05d}"


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Path of each thing in groups, mappings and tuples that lie in one another -> it."""
    found = {}
    for name, item in enumerate(tree) if isinstance(tree, tuple) else tree.items():
        path = f"{prefix}/{name}" if prefix else str(name)
        found |= leaves(item, path) if isinstance(item, tuple) or hasattr(item, "items") else {path: item}
    return found


def numbered(names: Sequence[str], prefix: str, where: Path) -> list[str]:
    """Names of the form ``<prefix><number>`` by their number; DataError for others, or none."""
    odd = [name for name in names if not name.removeprefix(prefix).isdecimal() or not name.startswith(prefix)]
    if odd or not names:
        raise DataError(f"{where}: holds {odd[0] if odd else 'nothing'!r} where {prefix}N must be; name another file")
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))
