"""What a format of other software is to `lotj.interop.exchange`: a module with `Writer`, `Source` and `KEYS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lotj.data.layout import Schema, checked_task
from lotj.errors import DataError, find
from lotj.experience import SUCCESS, Episode, Task
from lotj.extras import library
from lotj.spaces import is_picture

FORMATS = {"lerobot": ("pyarrow",), "robomimic": ("h5py",), "minari": ("minari", "h5py")}
"""Name of each format, which is that of its module -> the packages that it needs. A further one is a line here and a
file."""


class Keys(NamedTuple):
    """Where a format keeps what all episodes have: the keys of a `Trajectory`.

    Attributes:
        observation, notes, truth: beginnings of the keys of the columns of that group in an export of ours.
        image: key of a camera, with its name for ``{}``; empty where pictures are observations like others.
        action, reward: of each step.
        done: the episode ended with this step, in whatever way. terminated, truncated: it ended so.
        success: names under which a success may be found, of each step or of each frame.
    """

    observation: str
    notes: str
    truth: str
    image: str
    action: str
    reward: str
    done: str
    terminated: str
    truncated: str
    success: tuple[str, ...]

    def of(self, schema: Schema, group: str, name: str) -> list[str]:
        """Keys of a column of a group of our schema; of cameras one each, as of ``image`` with two ``image_0`` and
        ``image_1``."""
        kind = getattr(schema, group)[name]
        shape = kind.shape
        if group != "observation" or not self.image or not is_picture(kind.base.name, shape):
            return [getattr(self, group) + place(name)]
        cameras = [place(name)] if len(shape) == 3 else [f"{place(name)}_{view}" for view in range(shape[0])]
        return [self.image.format(camera) for camera in cameras]

    def columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """An episode by key: T rows of what each step has, T + 1 of what each frame has."""
        schema, found = Schema.of(episode), {self.action: episode.action, self.reward: episode.reward}
        for group in ("observation", "notes", "truth"):
            for name, values in getattr(episode, group).items():
                keys, picture = self.of(schema, group, name), is_picture(values.dtype.name, values.shape)
                split = group == "observation" and self.image and values.ndim == 5 and picture
                found |= {key: values[:, view] if split else values for view, key in enumerate(keys)}
        last = np.arange(len(episode)) == len(episode) - 1
        ended = {self.done: episode.terminated or episode.truncated}
        ended |= {self.terminated: episode.terminated, self.truncated: episode.truncated}
        found |= {key: last & end for key, end in ended.items() if key}
        if SUCCESS in episode.notes and self.success[0] not in found:
            found[self.success[0]] = episode.notes[SUCCESS][1:].astype(bool)
        return found


@dataclass(frozen=True)
class About:
    """What an export says of its data set beside what the format has names for; an import makes the same of it.

    Attributes:
        schema: the columns of a frame; truth only where it was asked for.
        tasks: in the order of the export.
        settings: what the data set was collected with.
        rate: frames a second [Hz].
        discarded: task name -> lines of its index about episodes thrown away.
    """

    schema: Schema
    tasks: Sequence[Task]
    settings: Mapping[str, Any]
    rate: float
    discarded: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        rest = {"settings": self.settings, "rate": self.rate, "discarded": self.discarded}
        return {"schema": self.schema.to_json(), "tasks": [asdict(task) for task in self.tasks], **rest}

    @classmethod
    def from_json(cls, content: Any, where: Path) -> About:
        """What `to_json` gave; DataError if it is not that."""
        try:
            schema = Schema.from_json(content["schema"])
            tasks = [checked_task(dict(task), where) for task in content["tasks"]]
            lines = {name: [dict(line) for line in of] for name, of in dict(content["discarded"]).items()}
            return cls(schema, tasks, dict(content["settings"]), float(content["rate"]), lines)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: not what lotj has written ({error!r}); export it again") from error

    @cached_property
    def task_number(self) -> Mapping[str, int]:
        """Name of a task -> its place in `tasks`."""
        return {task.name: number for number, task in enumerate(self.tasks)}


class Part(NamedTuple):
    """A run of episodes that is written as a whole or not at all, with what came before it."""

    number: int
    first_episode: int
    first_frame: int
    n_episodes: int


class Header(NamedTuple):
    """Which episode of a source: its number there, the task as the source calls it, and, where the source knows them,
    kind and seed."""

    number: int
    task: str
    kind: str | None = None
    seed: int | None = None


class Trajectory(NamedTuple):
    """One episode as a source has it: key -> T rows, one a step, or T + 1, one a frame."""

    header: Header
    columns: Mapping[str, np.ndarray]


class Writer(Protocol):
    """Writes a data set at ``work / "data"``, with its finished parts below `work`, which is its own.

    It is made with (work, about, name), of which the last is the data set's own.
    """

    def has(self, part: Part) -> bool:
        """Whether this part is written, whole."""
        ...

    def write(self, part: Part, episodes: Iterable[Episode]) -> None:
        """Writes a part; a kill leaves it whole or unwritten."""

    def finish(self, parts: Sequence[Part]) -> None:
        """Makes the data set of its parts; done anew after a kill."""


class Source(Protocol):
    """A data set of other software, opened with its path; DataError if it is none.

    Attributes:
        about: what an export of ours has kept beside it; None where others wrote it.
        rate: frames a second [Hz]; None where the format does not say.
        total: number of episodes.
        bounds: (low, high) of the actions, each (A,); None where the format does not say.
    """

    about: About | None
    rate: float | None
    total: int
    bounds: tuple[np.ndarray, np.ndarray] | None

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:
        """Episodes in the source's order, those that are wanted alone; DataError at one that is damaged."""
        ...


def find_format(name: str) -> Any:
    """The module of a format; SettingsError if there is none of that name, or a package that it needs is missing."""
    for package in find("format", name, FORMATS):
        library(package)
    return importlib.import_module(f"lotj.interop.{name}")


def place(name: str) -> str:
    """A column's name where a ``/`` would mean a folder or a group; different for different columns of a group."""
    return name.replace("/", "-")


@contextmanager
def foreign_file(path: Path, what: str) -> Iterator[None]:
    """Turns what a library says of a file that it cannot read into a DataError of one line."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
        raise DataError(f"{path}: not {what}, or damaged ({error!s:.200}); name another, or copy it again") from error
