"""Episodes to look at: film strips and contact sheets as PNG, and recordings for the Rerun viewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lotj.data.dataset import Dataset
from lotj.data.layout import storage
from lotj.errors import DataError, SettingsError
from lotj.experience import KINDS, SCENARIOS, STATE_NAMES, Domain, is_kind

_BACKGROUND, _INK = (24, 26, 30), (225, 228, 232)
_SUCCESS, _PLAIN = (46, 204, 113), (70, 74, 82)
_BORDER, _GAP, _CAPTION = 3, 4, 22  # pixels


def film_strip(dataset: Dataset, episode: int, frames: int = 11, scale: int = 2) -> np.ndarray:
    """One episode as a row of frames, left to right; frames of true success have a green border.

    Args:
        dataset: where it is from.
        episode: its number in `dataset.episodes`.
        frames: at most so many, evenly spaced, the first and the last among them.
        scale: each pixel becomes scale x scale.

    Returns:
        (h, w, 3) uint8, h = H * scale + 6, w = frames shown * (H * scale + 10) - 4 pixels.
    """
    entry = dataset.episodes[episode]
    shown = min(frames, int(entry["n_frames"]))
    steps = np.linspace(0, entry["n_frames"] - 1, shown).round().astype(int)
    index = entry["first_frame"] + steps
    side = dataset.image_size * scale + 2 * _BORDER
    strip = np.full((side, shown * (side + _GAP) - _GAP, 3), _BACKGROUND, np.uint8)
    for place, (image, success) in enumerate(zip(dataset.images(index), dataset.frame_success[index], strict=True)):
        cell = strip[:, place * (side + _GAP) : place * (side + _GAP) + side]
        cell[:] = _SUCCESS if success else _PLAIN
        cell[_BORDER:-_BORDER, _BORDER:-_BORDER] = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return strip


def sheet(dataset: Dataset, episodes: Sequence[int], frames: int = 11, scale: int = 2) -> np.ndarray:
    """Film strips of several episodes below each other, each with a caption.

    Returns:
        (h, w, 3) uint8.
    """
    strips = [film_strip(dataset, episode, frames, scale) for episode in episodes]
    captions = [caption(dataset, episode) for episode in episodes]
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


def caption(dataset: Dataset, episode: int) -> str:
    """One line: domain, kind, scenario, seed, steps, how it ended, deepest plug position."""
    entry = dataset.episodes[episode]
    end = "success" if entry["success"] else "time limit" if entry["truncated"] else "no success"
    return (
        f"{dataset.domains[entry['domain']].name} | {KINDS[entry['kind']]} | {SCENARIOS[entry['scenario']]} | "
        f"seed {entry['seed']} | {entry['n_frames'] - 1} steps | {end} | {entry['min_z'] * 1e3:.1f} mm from seated"
    )


def contact_sheet(
    root: Path,
    generator: np.random.Generator,
    rows: int = 12,
    frames: int = 11,
    scale: int = 2,
    domains: Callable[[Domain], bool] | None = None,
    kinds: Sequence[str] = KINDS,
) -> np.ndarray:
    """Film strips of randomly chosen episodes, of as many domains and kinds as the rows allow.

    Args:
        root: folder of the data set.
        generator: draws the episodes.
        rows: number of episodes.
        frames: most frames a row.
        scale: each pixel becomes scale x scale.
        domains: which domains to take; all by default.
        kinds: which kinds to take, of `KINDS`.

    Returns:
        (h, w, 3) uint8.

    Raises:
        DataError: see `Dataset.open`; or no episode of these kinds.
    """
    dataset = Dataset.open(root, domains)
    chosen = choose(dataset, rows, generator, kinds)
    if not len(chosen):
        raise DataError(f"{root} holds no episode of kind {', '.join(kinds)}: choose others of {', '.join(KINDS)}")
    return sheet(dataset, chosen.tolist(), frames, scale)


def choose(dataset: Dataset, count: int, generator: np.random.Generator, kinds: Sequence[str] = KINDS) -> np.ndarray:
    """Draws up to `count` episodes: first one of each (domain, kind), then a second of each, and so on.

    Returns:
        (at most count,) int, sorted numbers of episodes.
    """
    table = dataset.episodes
    order = generator.permutation(np.flatnonzero(is_kind(table["kind"], kinds)))
    group = table["domain"][order].astype(int) * len(KINDS) + table["kind"][order]
    by_group = np.argsort(group, kind="stable")
    _, first = np.unique(group[by_group], return_index=True)
    turn = np.empty(len(order), int)  # how many of its group were drawn before
    turn[by_group] = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def save_png(image: np.ndarray, path: Path) -> None:
    """Writes an (h, w, 3) uint8 image.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, format="PNG")


def record_rerun(dataset: Dataset, episodes: Sequence[int], path: Path) -> None:
    """Writes episodes as a recording (.rrd) that ``rerun <path>`` plays: image, action, state and success by step.

    Args:
        dataset: where they are from.
        episodes: numbers in `dataset.episodes`.
        path: file to write.

    Raises:
        SettingsError: rerun-sdk is not installed.
        StorageError: the folder cannot be made.
    """
    try:
        import rerun  # an extra, and a second to import: only who asks for it pays
    except ImportError as error:
        raise SettingsError(
            f"{path.name} needs rerun-sdk, which is not installed: pip install 'lotj[export]', or write a .png"
        ) from error

    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    recording = rerun.RecordingStream("lotj")
    recording.save(path)
    for episode in episodes:
        entry = dataset.episodes[episode]
        name = f"{dataset.domains[entry['domain']].name}/{KINDS[entry['kind']]}-{entry['seed']}"
        index = np.arange(entry["first_frame"], entry["first_frame"] + entry["n_frames"])
        for step, (frame, image) in enumerate(zip(index, dataset.images(index), strict=True)):
            recording.set_time("step", sequence=step)
            recording.log(f"{name}/image", rerun.Image(image))
            recording.log(f"{name}/success", rerun.Scalars(float(dataset.frame_success[frame])))
            for column, value in zip(STATE_NAMES, dataset.frame_state[frame], strict=True):
                recording.log(f"{name}/state/{column}", rerun.Scalars(float(value)))
            if step < len(index) - 1:
                for axis, value in zip("xyz", dataset.frame_action[frame], strict=True):
                    recording.log(f"{name}/action/{axis}", rerun.Scalars(float(value)))
    recording.flush()
    recording.disconnect()
