"""Episodes to look at: film strips and contact sheets as PNG, and recordings for the Rerun viewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lotj.data.layout import AGAIN, ROWS, Schema
from lotj.data.store import Store
from lotj.errors import DataError, SettingsError
from lotj.experience import SUCCESS
from lotj.files import storage_errors

_BACKGROUND, _INK = (24, 26, 30), (225, 228, 232)
_SUCCESS, _PLAIN = (46, 204, 113), (70, 74, 82)
_BORDER, _GAP, _CAPTION = 3, 4, 22  # pixels


def cameras(schema: Schema) -> list[str]:
    """Names of the observations that are pictures: (V, H, W, 3) uint8 of V views."""
    kinds = schema.observation.items()
    return [name for name, kind in kinds if kind.base == np.uint8 and len(kind.shape) == 4 and kind.shape[-1] == 3]


def film_strip(store: Store, episode: int, frames: int = 8, scale: int = 2) -> np.ndarray:
    """One episode of a store as a row of at most so many frames, evenly spaced, the first and the last among them: the
    views of each side by side, every pixel enlarged by `scale`; frames of success have a green border.

    Returns:
        (h, w, 3) uint8, h = H * scale + 6, w = frames shown * (V * W * scale + 10) - 4 pixels, V views of H x W pixels.

    Raises:
        DataError: nothing that is observed is a picture.
    """
    names = cameras(store.schema)
    if not names:
        raise DataError(f"no pictures among the observations {', '.join(store.schema.observation)}: nothing to show")
    entry = store.episodes[episode]
    shown = min(frames, int(entry["n_frames"]))
    index = entry["first_frame"] + np.linspace(0, entry["n_frames"] - 1, shown).round().astype(int)
    views = store.observe(index, names[:1])[names[0]].repeat(scale, axis=2).repeat(scale, axis=3)
    images = np.concatenate(list(views.swapaxes(0, 1)), axis=2)
    height, width = images.shape[1] + 2 * _BORDER, images.shape[2] + 2 * _BORDER
    cells = np.full((shown, height, width + _GAP, 3), _BACKGROUND, np.uint8)
    cells[:, :, :width] = np.where(store.success[index, None], _SUCCESS, _PLAIN)[:, None, None]
    cells[:, _BORDER:-_BORDER, _BORDER : width - _BORDER] = images
    return np.concatenate(list(cells), axis=1)[:, :-_GAP]


def contact_sheet(store: Store, episodes: Sequence[int]) -> np.ndarray:
    """Film strips of several episodes below each other, each with a caption: (h, w, 3) uint8."""
    strips = [film_strip(store, episode) for episode in episodes]
    captions = [caption(store, episode) for episode in episodes]
    font = ImageFont.load_default(13)
    width = max([strip.shape[1] for strip in strips] + [int(font.getlength(text)) for text in captions]) + 2 * _GAP
    height = sum(strip.shape[0] + _CAPTION + 2 * _GAP for strip in strips) + _GAP
    picture = Image.new("RGB", (width, height), _BACKGROUND)
    pen, top = ImageDraw.Draw(picture), _GAP
    for strip, text in zip(strips, captions, strict=True):
        pen.text((_GAP, top + 3), text, fill=_INK, font=font)
        picture.paste(Image.fromarray(strip), (_GAP, top + _CAPTION))
        top += _CAPTION + strip.shape[0] + 2 * _GAP
    return np.asarray(picture)


def caption(store: Store, episode: int) -> str:
    """One line: task, kind, seed, notes that hold at its start, steps, and how it ended."""
    entry, notes = store.episodes[episode], store.schema.notes.items()
    flags = [name for name, kind in notes if kind == np.dtype(bool) and name != SUCCESS]
    success = store.success[entry["first_frame"] + entry["n_frames"] - 1]
    parts = [
        store.tasks[entry["task"]].name,
        store.kinds[entry["kind"]],
        f"seed {entry['seed']}",
        *(name for name in flags if store.column(f"notes/{name}")[entry["first_frame"]]),
        f"{entry['n_frames'] - 1} steps",
        "success" if success else "time limit" if entry["truncated"] else "no success",
    ]
    return " | ".join(parts)


def choose(store: Store, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws up to `count` episodes, first one of each (task, kind), then a second of each, and so on: their numbers,
    sorted."""
    order, drawn, turn = generator.permutation(len(store)), Counter(), []
    for group in store.episodes[["task", "kind"]][order].tolist():
        turn.append(drawn[group])
        drawn[group] += 1
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def save_png(image: np.ndarray, path: Path) -> None:
    """Writes an (h, w, 3) uint8 image; StorageError if the disk is full or the folder cannot be written."""
    with storage_errors(path, AGAIN):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, format="PNG")


def record_rerun(store: Store, episodes: Sequence[int], path: Path) -> None:
    """Writes episodes as a recording (.rrd) that ``rerun <path>`` plays: by step, what each camera saw, and the numbers
    of the other observations, actions, rewards and notes.

    Raises:
        SettingsError: rerun-sdk is not installed.
        StorageError: the file cannot be made.
    """
    try:
        import rerun  # an extra, and a second to import: only who asks for it pays
    except ImportError as error:
        raise SettingsError(
            f"{path.name} needs rerun-sdk, which is not installed: pip install 'lotj[export]', or write a .png"
        ) from error

    with storage_errors(path, AGAIN):
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
