"""robomimic's HDF5: a group ``data/demo_N`` an episode, with what is seen before and after each step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import DataError
from lotj.experience import Episode
from lotj.extras import library
from lotj.interop.contract import About, Header, Keys, Part, Trajectory, foreign_file
from lotj.interop.hdf5 import Parts, leaves, numbered

KEYS = Keys(
    *("obs/", "notes/", "truth/", "obs/{}_image", "actions", "rewards"), *("dones", "", "truncated", ("success",))
)
ABOUT = "lotj"
_MASKS = {"train": "train", "validation": "valid", "test": "test"}
_GYM = 2  # robomimic's number of environments of Gym


class Writer(Parts):
    """See `lotj.interop.contract.Writer`."""

    prefix = "demo_"

    def columns(self, episode: Episode) -> dict[str, np.ndarray]:
        columns = KEYS.columns(episode)
        columns[KEYS.done] = columns[KEYS.done].astype(np.int64)
        for key in [key for key in columns if key.startswith(KEYS.observation)]:
            columns |= {key: columns[key][:-1], "next_" + key: columns[key][1:]}
        return columns

    def attributes(self, number: int, episode: Episode) -> dict[str, Any]:
        return {"num_samples": len(episode)}

    def finish(self, parts: Sequence[Part]) -> None:
        split = {task.name: _MASKS.get(task.split, task.split) for task in self._about.tasks}
        masks: dict[str, list[str]] = {}
        with self._h5py.File(self._work / "data.tmp", "w") as file:
            data = file.create_group("data")
            self.join(parts, data)
            demos = numbered(list(data), self.prefix, self._work)
            for name in demos:
                masks.setdefault(split[data[name].attrs["task"]], []).append(name)
            data.attrs["total"] = sum(int(data[name].attrs["num_samples"]) for name in demos)
            about = {"env_name": self._about.tasks[0].env, "type": _GYM, "env_kwargs": {}}
            data.attrs["env_args"] = json.dumps(about)
            for name, chosen in masks.items():
                file[f"mask/{name}"] = np.array(chosen, "S")
            file[ABOUT] = json.dumps(self._about.to_json())  # an attribute holds 64 KB at most
        os.replace(self._work / "data.tmp", self._work / "data")


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

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:
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
