"""Episodes to look at: pictures in labelled rows as one PNG, and recordings for the Rerun viewer."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lotj.data.layout import ROWS, Schema
from lotj.data.store import Store
from lotj.errors import DataError, counted
from lotj.experience import SUCCESS
from lotj.extras import library
from lotj.files import storage_errors
from lotj.geometry import mosaic
from lotj.spaces import is_picture

FRAMES = 8
"""Most frames shown of one episode."""

_SUCCESS, _PLAIN, _BORDER = (46, 204, 113), (70, 74, 82), 3  # colours; pixels


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of (count,) places, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def png(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def figure_png(figure: Figure, dpi: float) -> bytes:
    """A figure as a PNG file, the same on every machine that draws the same."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def figure_svg(figure: Figure) -> bytes:
    """A figure as an SVG file with its words as text, the same whenever the same is drawn."""
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "lotj", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def data_uri(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 as a PNG in the address of a picture on a page."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def draw_rows(blocks: Sequence[tuple[str, Sequence[str], Sequence[np.ndarray]]]) -> bytes:
    """A PNG of blocks below each other.

    Args:
        blocks: title, name of each row, and the pictures of each row, (K, V, H, W, 3) uint8 of V views.
    """
    columns = max((len(pictures[0]) for _, _, pictures in blocks), default=1)
    count = sum(len(names) for _, names, _ in blocks)
    figure = Figure(figsize=(1.0 + columns, 0.4 + 1.03 * max(count, 1)), dpi=120, layout="constrained")
    axes = figure.subplots(max(count, 1), columns, squeeze=False)
    for plot in axes.flat:
        plot.set_axis_off()
    line = 0
    for title, names, pictures in blocks:
        for name, row in zip(names, pictures, strict=True):
            label = f"{title}\n{name}" if name == names[0] else name
            axes[line][0].text(-0.1, 0.5, label, transform=axes[line][0].transAxes, ha="right", va="center", fontsize=8)
            for plot, picture in zip(axes[line], row, strict=False):
                plot.imshow(mosaic(picture))
            line += 1
    return figure_png(figure, figure.dpi)


def cameras(schema: Schema) -> list[str]:
    """Names of the observations that are pictures: (V, H, W, 3) uint8 of V views."""
    kinds = schema.observation.items()
    return [name for name, kind in kinds if len(kind.shape) == 4 and is_picture(kind.base.name, kind.shape)]


def film(store: Store, episode: int) -> np.ndarray:
    """At most `FRAMES` frames of an episode, evenly spaced, the first and the last among them, the views of each below
    each other; frames of success have a green border: (K, 1, h, w, 3) uint8.

    Raises:
        DataError: nothing that is observed is a picture.
    """
    names = cameras(store.schema)
    if not names:
        raise DataError(f"no pictures among the observations {', '.join(store.schema.observation)}: nothing to show")
    entry = store.episodes[episode]
    frames = entry["first_frame"] + spread(entry["n_frames"], FRAMES)
    seen = mosaic(store.observe(frames, names[:1])[names[0]])
    border = np.where(store.success[frames, None], _SUCCESS, _PLAIN).astype(np.uint8)
    height, width = (size + 2 * _BORDER for size in seen.shape[1:3])
    shown = np.broadcast_to(border[:, None, None], (len(frames), height, width, 3)).copy()
    shown[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = seen
    return shown[:, None]


def caption(store: Store, episode: int) -> str:
    """Lines: task, kind, seed, notes that hold at its start, steps, and how it ended."""
    entry, notes = store.episodes[episode], store.schema.notes.items()
    flags = [name for name, kind in notes if kind == np.dtype(bool) and name != SUCCESS]
    success = store.success[entry["first_frame"] + entry["n_frames"] - 1]
    parts = [
        store.tasks[entry["task"]].name,
        store.kinds[entry["kind"]],
        f"seed {entry['seed']}",
        *(name for name in flags if store.column(f"notes/{name}")[entry["first_frame"]]),
        counted(entry["n_frames"] - 1, "step"),
        "success" if success else "time limit" if entry["truncated"] else "no success",
    ]
    return "\n".join(parts)


def choose(store: Store, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws up to `count` episodes, first one of each (task, kind), then a second of each, and so on: their numbers,
    sorted."""
    order, drawn, turn = generator.permutation(len(store)), Counter(), []
    for group in store.episodes[["task", "kind"]][order].tolist():
        turn.append(drawn[group])
        drawn[group] += 1
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def record_rerun(store: Store, episodes: Sequence[int], path: Path) -> None:
    """Writes episodes as a recording (.rrd) that ``rerun <path>`` plays: by step, what each camera saw, and the numbers
    of the other observations, actions, rewards and notes.

    Raises:
        SettingsError: rerun-sdk is not installed.
        StorageError: the file cannot be made.
    """
    rerun = library("rerun", ", or write a .png")  # a second to import: only who asks for it pays
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        open(path, "wb").close()  # rerun itself fails with a traceback where it cannot
    recording = rerun.RecordingStream("lotj")
    recording.save(path)
    pictures, small = cameras(store.schema), store.schema.files[ROWS].names or ()
    for episode in map(store.episode, episodes):
        name = f"{episode.task}/{episode.kind}-{episode.seed}"
        numbers = {"action": episode.action, "reward": episode.reward}
        numbers |= {column: values for column, values in episode.observation.items() if column in small}
        numbers |= {f"notes/{note}": values for note, values in episode.notes.items()}
        for step in range(len(episode) + 1):
            recording.set_time("step", sequence=step)
            for camera in pictures:
                for view, image in enumerate(episode.observation[camera][step]):
                    recording.log(f"{name}/{camera}/{view}", rerun.Image(image))
            for column, values in numbers.items():
                for axis, value in enumerate(values[step : step + 1].ravel().tolist()):  # no action of the last frame
                    recording.log(f"{name}/{column}/{axis}", rerun.Scalars(float(value)))
    recording.flush()
    recording.disconnect()
