"""What of a foreign data set becomes what of ours: a small TOML file (docs/interoperability.md), or what is guessed."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lotj.errors import DataError, SettingsError, find, unknown
from lotj.experience import SUCCESS, Episode, Task
from lotj.files import reading
from lotj.interop.contract import About, Header, Keys, Trajectory

SPLITS = ("train", "validation", "test")
_SIDE = 4096  # of a picture at most [px]

_JOINS = {
    "sum": lambda values, starts: np.add.reduceat(values, starts, axis=0),
    "mean": lambda values, starts: (
        np.add.reduceat(values, starts, axis=0) / np.diff([*starts, len(values)])[:, None].astype(values.dtype)
    ),
    "last": lambda values, starts: values[[*(starts[1:] - 1), len(values) - 1]],
}
"""How the actions of several steps become that of one."""


@dataclass(frozen=True)
class Column:
    """How one column of ours is made of theirs.

    Attributes:
        keys: theirs. Pictures of several become the cameras of one, others one vector, in this order.
        axes: entries of that vector that are kept, in this order; all by default.
        scale, offset: what each kept entry is multiplied by, and what is added then.
        size: height and width [pixels] that pictures get.
        join: of an action, how those of several steps become one where the rate is divided: sum, mean or last.
    """

    keys: tuple[str, ...]
    axes: tuple[int, ...] | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    size: tuple[int, ...] | None = None
    join: str | None = None

    def take(self, columns: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        """(N, ...): pictures (N, V, H, W, 3) uint8, numbers (N, A) float32, flags (N, ...) bool."""
        parts = [self._theirs(key, columns, where) for key in self.keys]
        if _are_pictures(parts[0]):
            if any(entry is not None for entry in (self.axes, self.scale, self.offset)):
                raise DataError(
                    f"{where}, key {self.keys[0]}: axes, scale and offset are not for pictures; see the map"
                )
            return self._pictures(parts, where)
        if self.size is not None:
            raise DataError(f"{where}, key {self.keys[0]}: size is for pictures (..., 3) uint8; see the map")
        try:
            values = np.concatenate([part.reshape(len(part), math.prod(part.shape[1:])) for part in parts], axis=1)
        except ValueError as error:
            raise DataError(f"{where}, keys {', '.join(self.keys)}: of different lengths ({error})") from error
        if self.axes is not None:
            if min(self.axes) < 0 or max(self.axes) >= values.shape[1]:
                raise DataError(
                    f"{where}, key {self.keys[0]}: axes {list(self.axes)} of {values.shape[1]}; see the map"
                )
            values = values[:, list(self.axes)]
        values = values if values.dtype == bool else values.astype(np.float32)
        for name in ("scale", "offset"):
            given = getattr(self, name)
            if given is not None:
                if len(given) not in (1, values.shape[1]):
                    rule = f"{name} of {len(given)} numbers for {values.shape[1]} axes"
                    raise DataError(f"{where}, key {self.keys[0]}: {rule}; give one, or one for each")
                by = np.array(given, np.float32)
                values = values * by if name == "scale" else values + by
        if not (fine := np.isfinite(values)).all():
            row = int(fine.all(axis=1).argmin())
            raise DataError(f"{where}, key {self.keys[0]}: not finite in row {row}; take the episode out, or mend it")
        return values

    def _theirs(self, key: str, columns: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        if key not in columns:
            known = ", ".join(columns)
            raise DataError(f"{where}, key {key}: is missing; it has {known}; mend the map, or the data set")
        column = np.asarray(columns[key])
        if column.dtype.kind not in "biuf" or not column.ndim:
            rule = "must be numbers, a row for each step; give the map an [observation] without it"
            raise DataError(f"{where}, key {key}: {column.dtype} of shape {column.shape}, {rule}")
        return column

    def _pictures(self, parts: list[np.ndarray], where: str) -> np.ndarray:
        cameras: list[np.ndarray] = []
        for key, part in zip(self.keys, parts, strict=True):
            if part.dtype != np.uint8 or part.shape[-1] != 3 or part.ndim not in (4, 5):
                raise DataError(f"{where}, key {key}: {part.shape[1:]} {part.dtype} among pictures; see the map")
            part = part[:, None] if part.ndim == 4 else part
            cameras += [_resized(part[:, view], self.size) for view in range(part.shape[1])]
        sizes = {camera.shape for camera in cameras}
        if len(sizes) > 1:
            shown = ", ".join(" x ".join(map(str, shape[1:3])) for shape in sorted(sizes))
            raise DataError(f"{where}, key {self.keys[-1]}: pictures of {shown} in one column; give `size` in the map")
        return np.stack(cameras, axis=1)


@dataclass(frozen=True)
class Map:
    """How foreign episodes become ours.

    Attributes:
        observation: name -> how it is made. action, reward, success: likewise; None: the format's own.
        task: name of the environment, e.g. ``fetch/reach``; by default what the source says. tasks: the same for each
            name that the source has.
        kind, split: of all episodes, and of all tasks.
        rate: frames a second that are kept [Hz]; all by default. source_rate: theirs, where the format does not say.
    """

    observation: Mapping[str, Column] = field(default_factory=dict)
    action: Column | None = None
    reward: Column | None = None
    success: Column | None = None
    task: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    kind: str = "expert"
    split: str = "train"
    rate: float | None = None
    source_rate: float | None = None

    def task_of(self, header: Header) -> Task:
        """The task of an episode."""
        env = self.task or self.tasks.get(header.task)
        name = re.sub(r"[^A-Za-z0-9._+-]+", ".", env or header.task).strip(".-+_")[:200] or "task"
        return Task(name, env or f"foreign/{name}", self.split, {} if env else {"foreign": header.task})

    def every(self, rate: float | None) -> int:
        """How many frames of the source one of ours is; DataError where they do not divide."""
        if self.rate is None:
            return 1
        theirs = self.source_rate or rate
        if theirs is None:
            raise DataError(f"rate {self.rate:g} Hz: the source does not say its own; give source_rate in the map")
        times = round(theirs / self.rate)
        if times < 1 or abs(times * self.rate - theirs) > 1e-6 * theirs:
            raise DataError(f"rate {self.rate:g} Hz: frames at {theirs:g} Hz cannot be divided so; give a whole share")
        if times > 1 and (self.action is None or self.action.join is None):
            raise DataError(
                f"rate {self.rate:g} of {theirs:g} Hz: one action stands for {times}; say in the map whether it is "
                "their sum (of motions), mean (of velocities) or last (of targets), e.g. action.join = 'sum'"
            )
        return times

    def completed(self, columns: Mapping[str, np.ndarray], keys: Keys, bounds: Any) -> Map:
        """With what the map does not say: all pictures as ``image``, other observations by their own names, actions
        from the range of their space to [-1, 1]."""
        seen = dict(self.observation)
        if not seen:
            theirs = [key for key in columns if key.startswith(keys.observation)]
            theirs = theirs or [key for key in columns if key == keys.observation.rstrip("./")]
            pictures = [key for key in theirs if _are_pictures(np.asarray(columns[key]))]
            if pictures:
                seen["image"] = Column(tuple(sorted(pictures)))
            for key in theirs:
                if key not in pictures:
                    name = re.sub(r"[^a-z0-9_/-]+", "_", key.removeprefix(keys.observation).lower()).strip("_/-")
                    name = "state" if key + "/" == keys.observation or not name else name[:60]
                    if name in seen:
                        both = f"keys {seen[name].keys[0]} and {key} would both be {name}"
                        raise DataError(f"{both}; give the map an [observation]")
                    seen[name] = Column((key,))
        action = self.action or Column((keys.action,))
        if bounds is not None and action.scale is None and action.axes is None and action.offset is None:
            low, high = (bound.astype(np.float64) for bound in bounds)
            if (low == high).any():
                where = f"axis {int((low == high).argmax())} of the actions' space is a point"
                raise DataError(f"key {keys.action}: {where}; give `action.axes` in the map, without it")
            if action.join == "sum" and (low != -high).any():
                rule = "its sum over steps would add their middle once a step; give action.scale and action.offset"
                raise DataError(f"key {keys.action}: the actions' space is not centred on 0: {rule} in the map")
            if (low != -1).any() or (high != 1).any():
                scale = 2 / (high - low)
                action = replace(action, scale=tuple(scale.tolist()), offset=tuple((-1 - low * scale).tolist()))
        found = next((key for key in keys.success if key in columns), None)
        success = self.success or (Column((found,)) if found else None)
        return replace(self, observation=seen, action=action, success=success)


def read_map(path: Path) -> Map:
    """Reads a map; DataError or SettingsError of one line for what is no map."""
    with reading(path):
        text = path.read_bytes()
    try:
        content = tomllib.loads(text.decode())
    except ValueError as error:
        raise DataError(f"{path}: not TOML ({error})") from error
    known = {entry.name for entry in fields(Map)}
    if odd := content.keys() - known:
        raise unknown(f"entry of {path}", min(odd), sorted(known))
    texts, numbers, tables = ("task", "kind", "split"), ("rate", "source_rate"), ("observation", "tasks")
    for name in content.keys() & {*texts, *numbers, *tables}:
        right = str if name in texts else dict if name in tables else (int, float)
        value: Any = content[name]
        fine = isinstance(value, right) and not isinstance(value, bool) and value != ""
        if not fine or (name in numbers and not 0 < value < math.inf):
            raise SettingsError(f"{path}: {name} is {value!r}, not what docs/interoperability.md says")
    find(f"split in {path}:", content.get("split", "train"), dict.fromkeys(SPLITS))
    for name, env in content.get("tasks", {}).items():
        if not isinstance(env, str) or not env:
            raise SettingsError(f"{path}: tasks.{name} is {env!r}, must be the name of a task of ours")
    for name in {"action", "reward", "success"} & content.keys():
        content[name] = _column(content[name], f"{path}: {name}")
    seen = content.get("observation", {}).items()
    content["observation"] = {name: _column(entry, f"{path}: observation.{name}") for name, entry in seen}
    return Map(**content)


def _column(entry: Any, where: str) -> Column:
    """A key, several, or a table with ``from`` and what is done to it."""
    table = dict(entry) if isinstance(entry, dict) else {"from": entry}
    keys = table.pop("from", None)
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise SettingsError(f"{where}: from = {keys!r} must be a key of the source, or a list of them")
    known = [field.name for field in fields(Column) if field.name != "keys"]
    for name, value in table.items():
        if name not in known:
            raise unknown(f"entry of {where}", name, known)
        if name == "join":
            if not where.endswith(": action"):
                raise SettingsError(f"{where}: join is for the action alone; leave it out")
            if value not in _JOINS:
                raise SettingsError(f"{where}: join is {value!r}, not {', '.join(_JOINS)}")
            continue
        value = value if isinstance(value, list) else [value]
        whole = name in ("axes", "size")
        right = all(type(number) is int or (not whole and type(number) is float) for number in value)
        if (
            not value
            or not right
            or (name == "size" and (len(value) != 2 or not 1 <= min(value) <= max(value) <= _SIDE))
        ):
            wanted = f"height and width, of 1 to {_SIDE}" if name == "size" else f"{'whole ' if whole else ''}numbers"
            raise SettingsError(f"{where}: {name} is {value!r}, must be {wanted}")
        table[name] = tuple(value)
    return Column(tuple(keys), **table)


def foreign_episode(trajectory: Trajectory, how: Map, keys: Keys, every: int, where: str) -> Episode:
    """An episode of a source that others wrote; DataError naming episode and key for what does not fit.

    A source with T frames of T steps does not have what the last step led to: the last frame stands for it, as in
    LeRobot's own buffer.
    """
    header, columns = trajectory
    assert how.action is not None
    action = how.action.take(columns, where).astype(np.float32)
    steps = len(action)
    if not steps:
        raise DataError(f"{where}, key {how.action.keys[0]}: has no steps; take the episode out")
    seen = {
        name: _frames(made.take(columns, where), steps, made.keys[0], where) for name, made in how.observation.items()
    }
    if not seen:
        raise DataError(f"{where}: nothing is observed below {keys.observation}; give [observation] in the map")
    earned = (
        (how.reward or Column((keys.reward,))).take(columns, where) if how.reward or keys.reward in columns else None
    )
    reward = np.zeros(steps, np.float32) if earned is None else _steps(earned, steps, keys.reward, where)
    won = None
    if how.success is not None:
        values = how.success.take(columns, where).reshape(-1) > 0
        won = (
            values if len(values) == steps + 1 else np.append(False, _steps(values, steps, how.success.keys[0], where))
        )
    terminated, truncated = _ends(columns, keys, won)
    starts, frames = np.arange(0, steps, every), np.append(np.arange(0, steps, every), steps)
    if every > 1:
        action = _JOINS[how.action.join or ""](action, starts)
        reward = np.add.reduceat(reward, starts)
        won = None if won is None else np.append(won[0], np.logical_or.reduceat(won[1:], starts))
    if not (np.abs(action) <= 1 + 1e-5).all():
        axis = int(np.argmax(np.abs(action).max(0)))
        reached = f"reaches {np.abs(action).max(0)[axis]:g} on axis {axis}"
        rule = f"{reached}, must be in [-1, 1]; give `action.scale` in the map"
        raise DataError(f"{where}, key {how.action.keys[0]}: {rule}")
    return Episode(
        observation={name: values[frames] for name, values in seen.items()},
        action=np.clip(action, -1, 1),
        reward=reward.astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        task=how.task_of(header).name,
        kind=header.kind or how.kind,
        seed=header.number if header.seed is None else header.seed,
        notes={} if won is None else {SUCCESS: won},
    )


def own_episode(trajectory: Trajectory, about: About, keys: Keys, where: str) -> Episode:
    """An episode of an export of ours, bit for bit; DataError for what is missing."""
    header, columns = trajectory
    groups: dict[str, dict[str, np.ndarray]] = {}
    try:
        action = columns[keys.action].astype(np.float32, copy=False).reshape(-1, about.schema.action)
        for group in ("observation", "notes", "truth"):
            groups[group] = {}
            for name, kind in getattr(about.schema, group).items():
                theirs = [columns[key] for key in keys.of(about.schema, group, name)]
                values = np.stack(theirs, axis=1) if len(theirs) > 1 else theirs[0]
                groups[group][name] = values.astype(kind.base, copy=False).reshape(len(action) + 1, *kind.shape)
        terminated, truncated = _ends(columns, keys, None)
        reward = columns[keys.reward].astype(np.float32, copy=False).reshape(len(action))
        assert header.kind is not None and header.seed is not None
        return Episode(**groups, action=action, reward=reward, terminated=terminated, truncated=truncated,
                       task=header.task, kind=header.kind, seed=header.seed)  # fmt: skip
    except KeyError as error:
        rule = f"key {error.args[0]}: is missing; it was changed after lotj wrote it: give a --map"
        raise DataError(f"{where}, {rule}") from error
    except (ValueError, AssertionError) as error:
        raise DataError(f"{where} was changed after lotj wrote it ({error})") from error


def _ends(columns: Mapping[str, np.ndarray], keys: Keys, won: np.ndarray | None) -> tuple[bool, bool]:
    """Whether the last step terminated, and whether it truncated, the episode. An end of which a source does not say
    how is by success where it labels successes; an episode that just stops is cut off."""
    last = {
        key: bool(columns[key].reshape(-1)[-1])
        for key in (keys.done, keys.terminated, keys.truncated)
        if key in columns and len(columns[key])
    }
    truncated = last.get(keys.truncated, False)
    if keys.terminated in last:
        return last[keys.terminated], truncated and not last[keys.terminated]
    if keys.truncated in last:
        return last.get(keys.done, False) and not truncated, truncated
    by_success = bool(won[-1]) if won is not None else last.get(keys.done, False)
    return by_success, not by_success


def _frames(values: np.ndarray, steps: int, key: str, where: str) -> np.ndarray:
    """(T + 1, ...) of T or T + 1 rows."""
    if len(values) == steps:
        return np.concatenate([values, values[-1:]])
    return values if len(values) == steps + 1 else _steps(values, steps, key, where)


def _steps(values: np.ndarray, steps: int, key: str, where: str) -> np.ndarray:
    """(T,) of T rows."""
    if len(values) != steps:
        raise DataError(f"{where}, key {key}: {len(values)} rows for {steps} actions; mend or take out the episode")
    if values.size != steps:
        rule = f"{values.size // steps} numbers a row, must be one; name its axis in the map"
        raise DataError(f"{where}, key {key}: {rule}")
    return values.reshape(steps)


def _are_pictures(values: np.ndarray) -> bool:
    return values.dtype == np.uint8 and values.ndim >= 4 and values.shape[-1] == 3


def _resized(pictures: np.ndarray, size: tuple[int, ...] | None) -> np.ndarray:
    """(N, H, W, 3) of that height and width."""
    if size is None or pictures.shape[1:3] == size:
        return pictures
    height, width = size
    resized = [Image.fromarray(picture).resize((width, height), Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in resized])
