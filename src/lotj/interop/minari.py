"""Data sets of Minari: its HDF5, with pictures as they are (Minari's default, JPEG, is not exact)."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode
from lotj.extras import library
from lotj.files import read_object, write_json
from lotj.interop.contract import About, Header, Keys, Part, Trajectory, foreign_file, place
from lotj.interop.hdf5 import Parts, leaves

KEYS = Keys(
    *("observations/", "infos/", "infos/truth/", "", "actions", "rewards"),
    *("", "terminations", "truncations", ("infos/success", "infos/is_success")),
)
ABOUT = "lotj.json"


class Writer(Parts):
    """See `lotj.interop.contract.Writer`. What Minari has no place for, the metadata of an episode have."""

    prefix = "episode_"

    def columns(self, episode: Episode) -> dict[str, np.ndarray]:
        return KEYS.columns(episode)

    def attributes(self, number: int, episode: Episode) -> dict[str, Any]:
        return {"id": number, "total_steps": len(episode)}

    def finish(self, parts: Sequence[Part]) -> None:
        from gymnasium import spaces

        folder, schema = self._work.resolve() / "data/data", self._about.schema
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.parent.mkdir()
        seen = {place(name): _space(spaces, kind) for name, kind in schema.observation.items()}
        moved = spaces.Box(-1.0, 1.0, (schema.action,), np.float32)
        storage = library("minari.dataset.minari_storage").MinariStorage.new(
            folder, spaces.Dict(seen), moved, data_format="hdf5", jpeg_encoding=False
        )
        with self._h5py.File(folder / "main_data.hdf5", "a") as file:
            self.join(parts, file)
            steps = sum(int(group.attrs["total_steps"]) for group in file.values())
        name = self._name if self._name.rpartition("-v")[2].isdecimal() else f"{self._name}-v0"
        about = {"dataset_id": f"lotj/{name}", "minari_version": library("minari").__version__}
        counts = {"total_episodes": sum(part.n_episodes for part in parts), "total_steps": steps}
        storage.update_metadata({**about, **counts, "dataset_size": storage.get_size()})
        write_json(folder / ABOUT, self._about.to_json())


class Source:
    """See `lotj.interop.contract.Source`: the folder of a data set, or ``data`` within it."""

    rate = None

    def __init__(self, path: Path) -> None:
        self._path = path if (path / "metadata.json").is_file() else path / "data"
        if not (self._path / "metadata.json").is_file():
            raise DataError(f"no data set of Minari at {path}: name its folder, in which data/metadata.json lies")
        storage = library("minari.dataset.minari_storage").MinariStorage
        with foreign_file(self._path, "a data set of Minari"), warnings.catch_warnings(action="ignore"):
            self._storage = storage.read(self._path)
            self.total = int(self._storage.total_episodes)
        metadata, space = read_object(self._path / "metadata.json"), self._storage.action_space
        spec = metadata.get("env_spec")
        self._env = json.loads(spec)["id"] if spec else metadata.get("dataset_id", "task")
        finite = hasattr(space, "low") and np.isfinite(space.low).all() and np.isfinite(space.high).all()
        self.bounds = (space.low.ravel(), space.high.ravel()) if finite else None
        about = self._path / ABOUT
        self.about = About.from_json(read_object(about), about) if about.exists() else None
        if self.about:
            self.rate = self.about.rate

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:
        with foreign_file(self._path, "a data set of Minari"):
            headers = []
            for number, about in enumerate(self._storage.get_episode_metadata(range(self.total))):
                named = (about.get("kind"), about.get("seed")) if self.about else (None, None)
                header = Header(number, str(about.get("task", self._env)), *named)
                if wanted(header):
                    headers.append(header)
            found = self._storage.get_episodes([header.number for header in headers])
            for header, episode in zip(headers, found, strict=True):
                arrays = {key: item for key, item in leaves(episode).items() if isinstance(item, np.ndarray)}
                yield Trajectory(header, {key: item for key, item in arrays.items() if item.dtype.kind in "biuf"})


def _space(spaces: Any, kind: np.dtype) -> Any:
    """A space that holds whatever a column may."""
    if kind.base.kind == "b":
        return spaces.Box(0, 1, kind.shape, np.int8)
    low, high = (-np.inf, np.inf) if kind.base.kind == "f" else (np.iinfo(kind.base).min, np.iinfo(kind.base).max)
    return spaces.Box(low, high, kind.shape, kind.base.type)
