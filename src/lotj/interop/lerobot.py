"""LeRobotDataset v3.0: Parquet tables of frames and of episodes, pictures as PNG within them or as video beside.

A frame is a row: what is observed, and the step that starts there. The last frame of an episode, which no step starts
from, has no row in this format; our exports keep it beside, in ``lotj/final/``, where LeRobot does not look.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lotj.data.pictures import png
from lotj.errors import DataError, SettingsError
from lotj.experience import Episode
from lotj.extras import library
from lotj.files import atomic_file, read_object, write_json
from lotj.interop.contract import About, Header, Keys, Part, Trajectory, foreign_file
from lotj.interop.video import PIXELS, Encoder, decode
from lotj.spaces import is_picture

VERSION = "v3.0"
KEYS = Keys(
    *("observation.", "complementary_info.", "complementary_info.truth.", "observation.images.{}", "action"),
    *("next.reward", "next.done", "", "next.truncated", ("next.success",)),
)
IMAGES = "observation.images."
ABOUT = "lotj/about.json"
_FILES = "{}/chunk-{{chunk_index:03d}}/file-{{file_index:03d}}.{}"
VIDEOS = _FILES.format("videos/{video_key}", "mp4")

_CHUNK = 1000  # files in a folder
_COUNTERS = ("frame_index", "episode_index", "index", "task_index")
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


class Writer:
    """See `lotj.interop.contract.Writer`: a part is a file of frames, one of last frames and one of episodes."""

    def __init__(self, work: Path, about: About, name: str, video: bool = False) -> None:
        self._root, self._about, self._video = work / "data", about, video
        if not about.rate.is_integer():
            raise SettingsError(f"rate {about.rate:g}: LeRobot counts whole frames a second; give another --rate")
        self._pa, self._parquet = library("pyarrow"), library("pyarrow.parquet")

    def has(self, part: Part) -> bool:
        return self._path("meta/episodes", part.number).exists()

    def write(self, part: Part, episodes: Iterable[Episode]) -> None:
        frame, rows = part.first_frame, []
        paths = [self._path(folder, part.number) for folder in ("data", "lotj/final", "meta/episodes")]
        with atomic_file(paths[0]) as data, atomic_file(paths[1]) as final, ExitStack() as films:
            tables: list[Any] = [None, None]
            films.callback(_close, tables)  # also of one that is stopped, before its file is
            encoders: dict[str, Encoder] = {}
            for number, episode in enumerate(episodes, part.first_episode):
                columns = self._columns(episode, number, frame)
                rows.append(self._episode_row(episode, number, frame, part.number, columns))
                self._film(rows[-1], columns, encoders, part, films)
                steps = {k: v[: len(episode)] for k, v in columns.items() if k not in encoders}
                last = {k: v[-1:] for k, v in columns.items() if len(v) > len(episode)}
                tables[0] = self._append(tables[0], data, steps)
                tables[1] = self._append(tables[1], final, {"episode_index": np.array([number]), **last})
                frame += len(episode)
            for encoder in encoders.values():
                encoder.close()
        with atomic_file(paths[2]) as file:  # last: now the part is there
            self._parquet.write_table(self._pa.Table.from_pylist(rows), file, compression="snappy")

    def finish(self, parts: Sequence[Part]) -> None:
        stats, frames, episodes = _Stats(), 0, 0
        for torn in self._root.rglob(".*.tmp"):  # of what was killed
            torn.unlink()
        for part in parts:
            table = self._parquet.ParquetFile(self._path("meta/episodes", part.number))
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    stats.add({key: value for key, value in row.items() if key.startswith("stats/")})
                    frames, episodes = frames + row["length"], episodes + 1
        tasks = {"task_index": range(len(self._about.tasks)), "task": [task.name for task in self._about.tasks]}
        kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}  # as pandas says which is the index
        named = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
            for name, (kind, numpy) in kinds.items()
        ]
        pandas = {"index_columns": ["task"], "column_indexes": [], "columns": named, "pandas_version": "2.0.0"}
        table = self._pa.table(tasks).replace_schema_metadata({"pandas": json.dumps(pandas)})
        with atomic_file(self._root / "meta/tasks.parquet") as file:
            self._parquet.write_table(table, file)
        write_json(self._root / "meta/stats.json", stats.total())
        (self._root / ABOUT).parent.mkdir(exist_ok=True)
        write_json(self._root / ABOUT, self._about.to_json())
        info = {"codebase_version": VERSION, "robot_type": None, "fps": int(self._about.rate), "chunks_size": _CHUNK}
        info |= {"total_episodes": episodes, "total_frames": frames, "total_tasks": len(self._about.tasks)}
        info |= {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "splits": {"train": f"0:{episodes}"}}
        info |= {"data_path": _FILES.format("data", "parquet"), "video_path": VIDEOS if self._video else None}
        write_json(self._root / "meta/info.json", info | {"features": self._features(stats.held)})

    def _path(self, folder: str, number: int, kind: str = "parquet") -> Path:
        path = self._root / _FILES.format(folder, kind).format(**_place(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _film(self, row: dict[str, Any], columns: dict[str, np.ndarray], encoders: dict[str, Encoder], part: Part,
              films: ExitStack) -> None:  # fmt: skip
        """Takes the pictures of an episode out of its columns into videos, and says in its row where they are."""
        for key in [key for key in columns if self._video and key.startswith(IMAGES)]:
            pictures, rate = columns[key][:-1], self._about.rate
            if key not in encoders:
                file = films.enter_context(atomic_file(self._path(f"videos/{key}", part.number, "mp4")))
                encoders[key] = Encoder(file, rate, *pictures.shape[1:3])
            first = encoders[key].count
            times = {"from_timestamp": first / rate, "to_timestamp": (first + len(pictures)) / rate}
            row |= {f"videos/{key}/{name}": value for name, value in (_place(part.number) | times).items()}
            encoders[key].add(pictures)

    def _columns(self, episode: Episode, number: int, frame: int) -> dict[str, np.ndarray]:
        """Key -> T rows, or T + 1 of what each frame has."""
        index, task = np.arange(len(episode)), self._about.task_number[episode.task]
        counters = index, np.full_like(index, number), frame + index, np.full_like(index, task)
        columns = KEYS.columns(episode) | dict(zip(_COUNTERS, counters, strict=True))
        return columns | {"timestamp": (index / self._about.rate).astype(np.float32)}

    def _append(self, table: Any, file: Any, columns: dict[str, np.ndarray]) -> Any:
        """Writes a row group; the table is made with the first."""
        arrays = {key: self._array(key, values) for key, values in columns.items()}
        rows = self._pa.table(arrays)
        table = table or self._parquet.ParquetWriter(file, rows.schema, compression="snappy")
        table.write_table(rows)
        return table

    def _array(self, key: str, values: np.ndarray) -> Any:
        """As LeRobot's features have it: pictures in a struct, a vector as a list of fixed length, a number alone."""
        if key.startswith(IMAGES):
            pictures = self._pa.array([png(picture) for picture in values], self._pa.binary())
            paths = self._pa.nulls(len(values), self._pa.string())
            return self._pa.StructArray.from_arrays([pictures, paths], ["bytes", "path"])
        values = values.reshape(len(values), -1) if values.ndim == 1 or values.shape[1:] == (1,) else values
        array = self._pa.array(np.ascontiguousarray(values).ravel())
        if values.ndim == 2:
            return array if values.shape[1] == 1 else self._pa.FixedSizeListArray.from_arrays(array, values.shape[1])
        for size in values.shape[:0:-1]:
            array = self._pa.ListArray.from_arrays(np.arange(0, len(array) + 1, size, dtype=np.int32), array)
        return array

    def _episode_row(
        self, episode: Episode, number: int, frame: int, part: int, columns: dict[str, np.ndarray]
    ) -> dict[str, Any]:
        """The episode's row of ``meta/episodes``."""
        steps = len(episode)
        row: dict[str, Any] = {"episode_index": number, "tasks": [episode.task], "length": steps}
        row |= {f"{folder}/{name}": at for folder in ("data", "meta/episodes") for name, at in _place(part).items()}
        row |= {"dataset_from_index": frame, "dataset_to_index": frame + steps}
        row |= {"lotj/kind": episode.kind, "lotj/seed": episode.seed}
        for key, values in columns.items():
            for stat, value in _stats(values[:steps], key.startswith(IMAGES)).items():
                row[f"stats/{key}/{stat}"] = value.tolist()
        return row

    def _features(self, known: Iterable[str]) -> dict[str, Any]:
        """What ``info.json`` says of each key that is `known`."""
        flags = {KEYS.done: "bool", KEYS.truncated: "bool", KEYS.success[0]: "bool", KEYS.reward: "float32"}
        flags |= {"timestamp": "float32", **dict.fromkeys(_COUNTERS, "int64")}
        features = {key: {"dtype": kind, "shape": [1], "names": None} for key, kind in flags.items() if key in known}
        schema = self._about.schema
        axes = [f"axis_{axis}" for axis in range(schema.action)]
        features[KEYS.action] = {"dtype": "float32", "shape": [schema.action], "names": axes}
        for group in ("observation", "notes", "truth"):
            for name, kind in getattr(schema, group).items():
                one = {"dtype": kind.base.name, "shape": list(kind.shape) or [1], "names": None}
                if group == "observation" and is_picture(kind.base.name, kind.shape):
                    one = {"dtype": "image", "shape": list(kind.shape[-3:]), "names": ["height", "width", "channels"]}
                    one |= {"dtype": "video", "info": self._video_info(*kind.shape[-3:])} if self._video else {}
                features |= dict.fromkeys(KEYS.of(schema, group, name), one)
        return features

    def _video_info(self, height: int, width: int, channels: int) -> dict[str, Any]:
        film = {"fps": int(self._about.rate), "height": height, "width": width, "channels": channels}
        film |= {"codec": "av1", "pix_fmt": PIXELS, "is_depth_map": False}
        return {f"video.{name}": value for name, value in film.items()} | {"has_audio": False}


class Source:
    """See `lotj.interop.contract.Source`."""

    bounds = None

    def __init__(self, path: Path) -> None:
        self._parquet = library("pyarrow.parquet")
        self._root, info = path, read_info(path)
        with foreign_file(path / "meta/info.json", f"a LeRobotDataset {VERSION}"):
            self.rate, self.total = float(info["fps"]), int(info["total_episodes"])
            self._features = {key: feature for key, feature in info["features"].items() if key not in _COUNTERS}
            self._videos = [key for key, feature in self._features.items() if feature["dtype"] == "video"]
            if odd := [key for key, feature in self._features.items() if not isinstance(feature["shape"], list)]:
                raise ValueError(f"{odd[0]} has no shape")
            if not 0 < self.rate < math.inf:
                raise ValueError(f"fps is {self.rate:g}")
            self._video_path = info.get("video_path") or VIDEOS
        about = path / ABOUT
        self.about = About.from_json(read_object(about), about) if about.exists() else None
        wanted = ["episode_index", "tasks", "length", "lotj/kind", "lotj/seed"]
        wanted += [f"videos/{key}/{n}" for key in self._videos for n in ("chunk_index", "file_index", "from_timestamp")]
        self._episodes: dict[int, dict[str, Any]] = {}
        for file in sorted(path.glob("meta/episodes/*/*.parquet")):
            with foreign_file(file, "a table of episodes"):
                table = self._parquet.ParquetFile(file)
                columns = [name for name in wanted if name in table.schema_arrow.names]
                for row in table.read(columns).to_pylist():
                    self._episodes[row["episode_index"]] = row
        if len(self._episodes) != self.total:
            raise DataError(
                f"{path}: {len(self._episodes)} episodes in meta/episodes, {self.total} in info.json; copy it again"
            )

    def read(self, wanted: Callable[[Header], bool]) -> Iterator[Trajectory]:
        seen = 0
        for file in sorted(self._root.glob("data/*/*.parquet")):
            final = self._root / "lotj/final" / file.relative_to(self._root / "data")
            last = self._last(final) if self.about else {}
            for number, rows in self._rows(file):
                seen += 1
                about = self._episodes.get(number)
                if about is None or len(rows) != about["length"]:
                    rule = f"{len(rows)} frames, its table of episodes says {about['length'] if about else 'nothing'}"
                    raise DataError(f"{file}: episode {number}, key episode_index: {rule}; copy it again")
                task = (about["tasks"] or ["task"])[0]
                header = Header(number, task, about.get("lotj/kind"), about.get("lotj/seed"))
                if wanted(header):
                    where = f"{file}: episode {number}"
                    films = {key: self._film(key, about, where) for key in self._videos}
                    yield Trajectory(header, self._columns(rows, films, last.get(number), where))
        if seen != self.total:
            raise DataError(f"{self._root}: frames of {seen} episodes, not of {self.total}; copy it again")

    def _rows(self, file: Path) -> Iterator[tuple[int, Any]]:
        """Episodes of a file, each (its number, its rows), whole though a batch of rows may end within one."""
        pa, held, current = library("pyarrow"), [], None
        with foreign_file(file, "a table of frames"):
            table = self._parquet.ParquetFile(file)
            columns = [name for name in table.schema_arrow.names if name in {*self._features, *_COUNTERS}]
            for batch in table.iter_batches(batch_size=64, columns=columns):
                number = np.asarray(batch.column("episode_index"))
                cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
                for start, end in zip(cuts, cuts[1:], strict=False):
                    if held and number[start] != current:
                        yield int(current), pa.Table.from_batches(held)  # type: ignore[arg-type]
                        held = []
                    current = number[start]
                    held.append(batch.slice(start, end - start))
            if held:
                yield int(current), pa.Table.from_batches(held)  # type: ignore[arg-type]

    def _last(self, file: Path) -> dict[int, Any]:
        """Number of an episode -> its last frame, a table of one row."""
        with foreign_file(file, "a table of last frames"):
            table = self._parquet.read_table(file)
            return {number: table.slice(row, 1) for row, number in enumerate(table["episode_index"].to_pylist())}

    def _film(self, key: str, about: dict[str, Any], where: str) -> np.ndarray:
        """(T, H, W, 3) of a video."""
        try:
            chunk, file, start = (about[f"videos/{key}/{n}"] for n in ("chunk_index", "file_index", "from_timestamp"))
        except KeyError as error:
            raise DataError(f"{where}, key {key}: no {error.args[0]} in meta/episodes; copy it again") from error
        path = self._root / self._video_path.format(video_key=key, chunk_index=chunk, file_index=file)
        return decode(path, start, about["length"], self.rate, f"{where}, key {key}")

    def _columns(self, rows: Any, films: dict[str, np.ndarray], last: Any, where: str) -> dict[str, np.ndarray]:
        """Key -> T rows, or T + 1 of what the last frame has too."""
        time = rows["timestamp"].to_numpy() if "timestamp" in rows.column_names else np.zeros(0)
        off = ~(np.abs(time - np.arange(len(time)) / self.rate) < 0.1 / self.rate)
        if off.any():
            rule = f"frame {off.argmax()} is at {time[off.argmax()]:g} s, not at its number / {self.rate:g} Hz"
            raise DataError(f"{where}, key timestamp: {rule}; record at one rate, or divide the data set by rate")
        columns = {}
        for key, feature in self._features.items():
            if (key in rows.column_names or key in films) and feature["dtype"] != "string":
                try:
                    columns[key] = films[key] if key in films else _values(rows[key], feature)
                    if last is not None and key in last.column_names:
                        columns[key] = np.concatenate([columns[key], _values(last[key], feature)])
                except (ValueError, OSError, TypeError) as error:
                    rule = f"not {feature['dtype']} of shape {feature['shape']} ({error})"
                    raise DataError(f"{where}, key {key}: {rule}; record it again without this episode") from error
        return columns


def read_info(path: Path) -> dict[str, Any]:
    """What ``meta/info.json`` says; DataError if `path` is no LeRobotDataset of the version that is read here."""
    file = path / "meta/info.json"
    if not file.is_file():
        raise DataError(f"no LeRobotDataset at {path}: it has no meta/info.json; name its folder")
    info = read_object(file)
    if info.get("codebase_version") != VERSION:
        version = info.get("codebase_version")
        raise DataError(f"{file}: version {version!r}, not {VERSION!r}; LeRobot converts it (lerobot.datasets.v30)")
    return info


def _values(column: Any, feature: dict[str, Any]) -> np.ndarray:
    """Rows of a column -> (T, ...)."""
    shape = tuple(feature["shape"])
    if feature["dtype"] in ("image", "video"):
        pictures = [np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in column.to_pylist()]
        return np.stack(pictures)
    array = column.combine_chunks()
    length = len(array)
    while hasattr(array, "flatten") and hasattr(array, "values"):
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    return values.reshape(length, *shape) if shape != (1,) else values.reshape(length)


def _place(part: int) -> dict[str, int]:
    """Which file a part is."""
    return {"chunk_index": part // _CHUNK, "file_index": part % _CHUNK}


def _stats(values: np.ndarray, picture: bool) -> dict[str, np.ndarray]:
    """Figures of (T, ...): pictures by channel, in 0 to 1 and of shape (3, 1, 1), others by entry."""
    shares = list(_QUANTILES.values())
    if picture:  # of 256 levels: how often each comes says it all
        channels = np.moveaxis(values, -1, 0).reshape(3, -1)
        levels, often = np.arange(256) / 255, np.stack([np.bincount(channel, minlength=256) for channel in channels])
        share, there = often / channels.shape[1], often > 0
        mean, shape = share @ levels, (3, 1, 1)
        std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
        least, most = levels[there.argmax(1)], levels[255 - there[:, ::-1].argmax(1)]
        found = {"min": least, "max": most, "mean": mean, "std": std}
        quantiles = [levels[(share.cumsum(1) < at - 1e-9).sum(1)] for at in shares]
    else:
        flat, shape = values.reshape(len(values), -1).astype(np.float64), values.shape[1:] or (1,)
        found = {"min": flat.min(0), "max": flat.max(0), "mean": flat.mean(0), "std": flat.std(0)}
        quantiles = list(np.quantile(flat, shares, axis=0))
    found |= dict(zip(_QUANTILES, quantiles, strict=True))
    return {name: value.reshape(shape) for name, value in found.items()} | {"count": np.array([len(values)])}


def _close(tables: Iterable[Any]) -> None:
    for table in filter(None, tables):
        table.close()


class _Stats:
    """Figures of all episodes, from those of each: as LeRobot adds them up, quantiles as means of quantiles."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, np.ndarray]] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Takes in an episode: ``stats/<key>/<figure>`` -> nested lists."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, value in row.items():
            key, _, stat = name.removeprefix("stats/").rpartition("/")
            found.setdefault(key, {})[stat] = np.array(value, np.float64)
        for key, one in found.items():
            held = self.held.setdefault(key, {**one, "count": np.zeros(1), "square": np.zeros_like(one["std"])})
            count, before = one["count"][0], held["count"][0]
            share, apart = count / (before + count), one["mean"] - held["mean"]
            held["square"] = held["square"] + one["std"] ** 2 * count + apart**2 * before * share
            held["min"], held["max"] = np.minimum(held["min"], one["min"]), np.maximum(held["max"], one["max"])
            for stat in ("mean", *_QUANTILES):
                held[stat] = held[stat] + share * (one[stat] - held[stat])
            held["count"] = before + one["count"]

    def total(self) -> dict[str, dict[str, Any]]:
        """Key -> figure -> nested lists."""
        total = {}
        for key, held in self.held.items():
            std = np.sqrt(held["square"] / held["count"][0])
            figures = {stat: held[stat].tolist() for stat in ("min", "max", "mean", *_QUANTILES)}
            total[key] = figures | {"std": std.tolist(), "count": [int(held["count"][0])]}
        return total
