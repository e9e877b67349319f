"""Minari's data sets, written and read by Minari: HDF5, pictures exact (Minari's default, JPEG, is not)."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode
from lotj.files import read_object, sync_folder, write_json
from lotj.interop.contract import About, Header, Keys, Part, Trajectory, foreign_file, library, place
from lotj.interop.hdf5 import join, part_path

KEYS = Keys(
    observation="observations/",
    action="actions",
    reward="rewards",
    done="",
    terminated="terminations",
    truncated="truncations",
    success=("infos/success", "infos/is_success"),
    notes="infos/",
    truth="infos/truth/",
)
ABOUT = "lotj.json"
_MAIN = "main_data.hdf5"


def keys_of(about: About, group: str, name: str) -> list[str]:
    """The key of a column of our schema."""
    return [KEYS.of(group, name)]


class Writer:
    """See `lotj.interop.contract.Writer`: each part is a storage of Minari's, as is the whole."""

    def __init__(self, work: Path, about: About, name: str) -> None:
        self._work, self._about = work, about
        self._id = name if name.rpartition("-v")[2].isdecimal() else f"{name}-v0"
        library("minari")

    def has(self, part: Part) -> bool:  # noqa: D102
        return part_path(self._work, part).exists()

    def write(self, part: Part, episodes: Iterable[Episode]) -> None:  # noqa: D102
        path = part_path(self._work, part)
        half = path.with_name(path.name + ".tmp")
        shutil.rmtree(half, ignore_errors=True)
        storage, named = self._storage(half), []
        storage.update_episodes(self._buffers(episodes, named))
        with library("h5py").File(half / _MAIN, "a") as file:  # each group by the number that it gets at the end
            for number in reversed(range(len(named))):
                file.move(f"episode_{number}", f"episode_{part.first_episode + number}")
                file[f"episode_{part.first_episode + number}"].attrs.update(
                    {"id": part.first_episode + number, **named[number]}
                )
        half.rename(path)
        sync_folder(self._work)

    def finish(self, parts: Sequence[Part]) -> None:  # noqa: D102
        shutil.rmtree(self._work / "data", ignore_errors=True)
        folder = self._work / "data/data"
        folder.parent.mkdir()
        storage = self._storage(folder)
        with library("h5py").File(folder / _MAIN, "a", track_order=True) as file:
            join([part_path(self._work, part) / _MAIN for part in parts], file)
            steps = sum(int(group.attrs["total_steps"]) for group in file.values())
        minari = library("minari")
        about = {"dataset_id": f"lotj/{self._id}", "minari_version": minari.__version__, "algorithm_name": "lotj"}
        counts = {"total_episodes": sum(part.n_episodes for part in parts), "total_steps": steps}
        storage.update_metadata({**about, **counts, "dataset_size": storage.get_size()})
        write_json(folder / ABOUT, self._about.to_json())

    def _storage(self, folder: Path) -> Any:
        spaces = library("gymnasium").spaces
        seen = {place(name): _space(spaces, kind) for name, kind in self._about.schema.observation.items()}
        moved = spaces.Box(-1.0, 1.0, (self._about.schema.action,), np.float32)
        return library("minari.dataset.minari_storage").MinariStorage.new(
            folder, spaces.Dict(seen), moved, data_format="hdf5", jpeg_encoding=False
        )

    def _buffers(self, episodes: Iterable[Episode], named: list[dict[str, Any]]) -> Iterator[Any]:
        """Minari's form of each episode; what it has no place for, its metadata have, which go into `named`."""
        buffer = library("minari.data_collector").EpisodeBuffer
        for episode in episodes:
            ends = np.arange(len(episode)) == len(episode) - 1
            infos: dict[str, Any] = {place(name): values for name, values in episode.notes.items()}
            if episode.truth:
                infos["truth"] = {place(name): values for name, values in episode.truth.items()}
            named.append({"task": episode.task, "kind": episode.kind})
            yield buffer(
                seed=episode.seed,
                observations={place(name): values for name, values in episode.observation.items()},
                actions=episode.action,  # type: ignore[arg-type]
                rewards=episode.reward,  # type: ignore[arg-type]
                terminations=ends & episode.terminated,
                truncations=ends & episode.truncated,
                infos=infos,
            )


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

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:  # noqa: D102
        with foreign_file(self._path, "a data set of Minari"):
            headers = []
            for number, about in enumerate(self._storage.get_episode_metadata(range(self.total))):
                named = (about.get("kind"), about.get("seed")) if self.about else (None, None)
                header = Header(number, str(about.get("task", self._env)), *named)
                if wanted(header):
                    headers.append(header)
            found = self._storage.get_episodes([header.number for header in headers])
            for header, episode in zip(headers, found, strict=True):
                yield Trajectory(header, _flat({key: value for key, value in episode.items() if key != "id"}))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Path of each array -> it."""
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, tuple):
            found |= _flat(dict(enumerate(value)), f"{prefix}{name}/")  # type: ignore[arg-type]
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            found[f"{prefix}{name}"] = value
    return found


def _space(spaces: Any, kind: np.dtype) -> Any:
    """A space that holds whatever a column may."""
    if kind.base.kind == "b":
        return spaces.Box(0, 1, kind.shape, np.int8)
    low, high = (-np.inf, np.inf) if kind.base.kind == "f" else (np.iinfo(kind.base).min, np.iinfo(kind.base).max)
    return spaces.Box(low, high, kind.shape, kind.base.type)
