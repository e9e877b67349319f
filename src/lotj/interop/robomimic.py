"""robomimic's HDF5: a group ``data/demo_N`` an episode, with what is seen before and after each step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode
from lotj.interop.contract import About, Header, Keys, Part, Trajectory, foreign_file, library, split_views, success_of
from lotj.interop.hdf5 import join, leaves, new_file, numbered, part_path

KEYS = Keys(
    observation="obs/",
    action="actions",
    reward="rewards",
    done="dones",
    terminated="",
    truncated="truncated",
    success=("success",),
    notes="notes/",
    truth="truth/",
)
ABOUT = "lotj"
_MASKS = {"train": "train", "validation": "valid", "test": "test"}
_GYM = 2  # robomimic's number of environments of Gym


def keys_of(about: About, group: str, name: str) -> list[str]:
    """Keys of a column of our schema, several for several cameras."""
    cameras = split_views(name, getattr(about.schema, group)[name]) if group == "observation" else []
    return [f"{KEYS.observation}{camera}_image" for camera in cameras] or [KEYS.of(group, name)]


class Writer:
    """See `lotj.interop.contract.Writer`."""

    def __init__(self, work: Path, about: About, name: str) -> None:
        self._work, self._about = work, about
        library("h5py")

    def has(self, part: Part) -> bool:  # noqa: D102
        return part_path(self._work, part).exists()

    def write(self, part: Part, episodes: Iterable[Episode]) -> None:  # noqa: D102
        with new_file(part_path(self._work, part)) as file:
            for number, episode in enumerate(episodes, part.first_episode):
                self._write(file.create_group(f"demo_{number}"), episode)

    def finish(self, parts: Sequence[Part]) -> None:  # noqa: D102
        split = {task.name: _MASKS.get(task.split, task.split) for task in self._about.tasks}
        masks: dict[str, list[str]] = {}
        total = 0
        with new_file(self._work / "data") as file:
            data = file.create_group("data")
            join([part_path(self._work, part) for part in parts], data)
            for name in numbered(list(data), "demo_", self._work):
                total += int(data[name].attrs["num_samples"])
                masks.setdefault(split[data[name].attrs["task"]], []).append(name)
            data.attrs["total"] = total
            name = self._about.tasks[0].env
            data.attrs["env_args"] = json.dumps({"env_name": name, "type": _GYM, "env_kwargs": {}})
            for name, demos in masks.items():
                file[f"mask/{name}"] = np.array(demos, "S")
            file[ABOUT] = json.dumps(self._about.to_json())  # an attribute holds 64 KB at most

    def _write(self, demo: Any, episode: Episode) -> None:
        """Fills the group of an episode."""
        columns: dict[str, np.ndarray] = {}
        for name, kind in self._about.schema.observation.items():
            keys, values = keys_of(self._about, "observation", name), episode.observation[name]
            split = bool(split_views(name, kind)) and len(kind.shape) == 4
            for view, key in enumerate(keys):
                seen = values[:, view] if split else values
                columns |= {key: seen[:-1], "next_" + key: seen[1:]}
        for group in ("notes", "truth"):
            columns |= {
                KEYS.of(group, name): getattr(episode, group)[name] for name in getattr(self._about.schema, group)
            }
        ends = np.arange(len(episode)) == len(episode) - 1
        columns |= {KEYS.action: episode.action, KEYS.reward: episode.reward}
        columns |= {KEYS.done: (ends & (episode.terminated or episode.truncated)).astype(np.int64)}
        columns |= {KEYS.truncated: ends & episode.truncated}
        won = success_of(episode)
        columns |= {} if won is None else {KEYS.success[0]: won}
        for key, values in columns.items():
            demo.create_dataset(key, data=values, compression="gzip" if values.ndim == 4 else None)
        named = {"task": episode.task, "kind": episode.kind, "seed": episode.seed}
        demo.attrs.update({"num_samples": len(episode), **named})


class Source:
    """See `lotj.interop.contract.Source`. What is seen last is the last of ``next_obs``, where there is one."""

    bounds = None

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise DataError(f"no file of robomimic at {path}: name the .hdf5 itself")
        with self._open() as file, foreign_file(path, "a file of robomimic"):
            data, text = file["data"], file[ABOUT][()] if ABOUT in file else None
            environment = json.loads(data.attrs.get("env_args", "{}"))
            self._demos = numbered(list(data), "demo_", path)
            self._env = str(environment.get("env_name", "task"))
            rate = environment.get("env_kwargs", {}).get("control_freq")
        self.rate, self.total = float(rate) if rate else None, len(self._demos)
        self.about = None if text is None else About.from_json(json.loads(text), path)
        if self.about:
            self.rate = self.about.rate

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:  # noqa: D102
        with self._open() as file:
            for name in self._demos:
                with foreign_file(self._path, f"a file of robomimic in {name}"):
                    demo = file["data"][name]
                    seed, kind = (demo.attrs.get(key) if self.about else None for key in ("seed", "kind"))
                    number = int(name.removeprefix("demo_"))
                    task = str(demo.attrs.get("task", self._env))
                    header = Header(number, task, kind, None if seed is None else int(seed))
                    trajectory = Trajectory(header, self._columns(demo)) if wanted(header) else None
                if trajectory:
                    yield trajectory

    def _columns(self, demo: Any) -> dict[str, np.ndarray]:
        found = {key: item[()] for key, item in leaves(demo).items() if not key.startswith("next_obs/")}
        for key in [key for key in found if "next_" + key in demo]:
            found[key] = np.concatenate([found[key], demo["next_" + key][-1:]])
        return found

    def _open(self) -> Any:
        h5py = library("h5py")
        with foreign_file(self._path, "an HDF5 file"):
            return h5py.File(self._path, "r")
