"""Reading a data set: the small tables in memory, the frames mapped from disk."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data import layout
from lotj.errors import DataError
from lotj.experience import ACTION_DIM, STATE_DIM, Domain

EPISODE = np.dtype(
    [("domain", "<i4"), ("kind", "i1"), ("scenario", "i1"), ("seed", "<i8"), ("first_frame", "<i8")]
    + [("n_frames", "<i4"), ("terminated", "?"), ("truncated", "?"), ("success", "?"), ("success_frames", "<i4")]
    + [("min_z", "<f4")]
)
"""One episode of a `Dataset`. `domain`, `kind`, `scenario`: index into `Dataset.domains`, `KINDS`, `SCENARIOS`;
`first_frame`: global frame number; `success`: the last frame is a true success; `success_frames`: how many frames are;
`min_z`: deepest plug position [m], 0 = seated."""

_RESIDENT = 256 * 2**20
"""Mapped bytes read [B] before the pages are given back, so that memory stays flat however large the data set is."""


@dataclass(frozen=True)
class Transitions:
    """The M transitions that reinforcement learning may use, ordered by frame.

    Attributes:
        frame: (M,) int64, global number of the starting frame; the next frame is ``frame + 1``.
        action: (M, 3) float32 in [-1, 1].
        reward: (M,) float32, 1 if the next frame is a true success, else 0.
        terminated: (M,) bool, ``reward > 0``: success is absorbing, also where a near miss was recorded beyond it.
        truncated: (M,) bool, the last transition of an episode that ran into the time limit without success there.
        domain: (M,) int64, index into `Dataset.domains`.
        kind: (M,) int8, index into `KINDS`.
    """

    frame: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    domain: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(eq=False)
class Dataset:
    """Episodes of some domains, E episodes of F frames in all, ordered by domain name and then by recording.

    It holds what was finished when it was opened; a writer may go on meanwhile. Open it with `Dataset.open`.

    Attributes:
        root: folder of the data set.
        image_size: height and width H of a frame [pixels].
        settings: what the data set was collected with.
        domains: the domains, which `episodes["domain"]` and `frame_domain` index.
        episodes: (E,) of dtype `EPISODE`.
        frame_domain: (F,) int32.
        frame_success: (F,) bool, true success.
        frame_kind: (F,) int8, index into `KINDS`.
        frame_action: (F, 3) float32, leads to the next frame; NaN on the last frame of an episode.
        frame_state: (F, 6) float32, see `lotj.experience.STATE_NAMES`.
        frame_episode: (F,) int32, index into `episodes`.
        frame_step: (F,) int16, 0 for the first frame of an episode.
        discarded: domain name -> reason -> number of episodes thrown away.
    """

    root: Path
    image_size: int
    settings: dict[str, Any]
    domains: tuple[Domain, ...]
    episodes: np.ndarray
    frame_domain: np.ndarray
    frame_success: np.ndarray
    frame_kind: np.ndarray
    frame_action: np.ndarray
    frame_state: np.ndarray
    frame_episode: np.ndarray
    frame_step: np.ndarray
    discarded: dict[str, Counter[str]]
    _frame_row: np.ndarray  # (F,) int64, row in its domain's frame file
    _maps: _FrameMaps

    @classmethod
    def open(cls, root: Path, domains: Callable[[Domain], bool] | None = None) -> Dataset:
        """Opens the data set at `root`.

        Args:
            root: its folder.
            domains: which domains to take; all by default.

        Raises:
            DataError: not a data set of this version, damaged, or without a finished episode in the chosen domains.
        """
        root = Path(root)
        meta = layout.read_meta(root)
        found = [layout.read_domain(layout.domain_folder(root, name)) for name in layout.domain_names(root)]
        chosen = tuple(domain for domain in found if domains is None or domains(domain))
        if found and not chosen:
            raise DataError(f"none of the {len(found)} domains of {root} was chosen: loosen the choice or collect more")
        folders = [layout.domain_folder(root, domain.name) for domain in chosen]
        indices = [layout.read_index(folder / layout.INDEX) for folder in folders]
        for folder, index in zip(folders, indices, strict=True):
            layout.check_sizes(folder, index, meta.image_size)
        if not sum(len(index.entries) for index in indices):
            raise DataError(f"{root} holds no finished episode in {len(chosen)} domains: run `lotj collect` first")
        rows = np.concatenate(
            [_read_rows(folder / layout.TABLE, index.n_frames) for folder, index in zip(folders, indices, strict=True)]
        )
        counts = [index.n_frames for index in indices]
        return cls(
            root=root,
            image_size=meta.image_size,
            settings=meta.settings,
            domains=chosen,
            discarded={domain.name: index.discarded for domain, index in zip(chosen, indices, strict=True)},
            _frame_row=np.concatenate([np.arange(count, dtype=np.int64) for count in counts]),
            _maps=_FrameMaps(folders, counts, meta.image_size),
            **_columns(indices, rows),
        )

    def __len__(self) -> int:
        """Number of episodes E."""
        return len(self.episodes)

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return len(self._frame_row)

    def images(self, index: np.ndarray) -> np.ndarray:
        """Copies frames from disk.

        Args:
            index: (N,) whole numbers in [0, F), in any order, with or without repetition.

        Returns:
            (N, H, W, 3) uint8 in the order of `index`.

        Raises:
            IndexError: a number outside [0, F).
        """
        index = np.asarray(index)
        if index.ndim != 1 or (len(index) and not np.issubdtype(index.dtype, np.integer)):
            raise IndexError(f"frame numbers must be (N,) whole numbers, not {index.dtype} {index.shape}")
        if len(index) and (index.min() < 0 or index.max() >= self.n_frames):
            raise IndexError(f"frame numbers {index.min()} to {index.max()} are not all in [0, {self.n_frames})")
        index = index.astype(np.int64)
        return self._maps.gather(self.frame_domain[index], self._frame_row[index])

    def subset(self, episodes: np.ndarray) -> Dataset:
        """The data set of some of the episodes. `domains` stay, so that domain numbers keep their meaning.

        Args:
            episodes: (E,) bool, which to keep, e.g. ``dataset.episodes["kind"] == KINDS.index("expert")``.

        Raises:
            DataError: none is kept.
            ValueError: not one bool per episode.
        """
        mask = np.asarray(episodes)
        if mask.shape != self.episodes.shape or mask.dtype != bool:
            raise ValueError(f"the choice must be bool ({len(self)},), not {mask.dtype} {mask.shape}")
        if not mask.any():
            raise DataError(f"none of {len(self)} episodes of {self.root} was chosen: loosen the choice")
        kept, frames = self.episodes[mask], mask[self.frame_episode]
        kept["first_frame"] = np.cumsum(kept["n_frames"]) - kept["n_frames"]
        return replace(
            self,
            episodes=kept,
            frame_domain=self.frame_domain[frames],
            frame_success=self.frame_success[frames],
            frame_kind=self.frame_kind[frames],
            frame_action=self.frame_action[frames],
            frame_state=self.frame_state[frames],
            frame_episode=np.repeat(np.arange(len(kept), dtype=np.int32), kept["n_frames"]),
            frame_step=self.frame_step[frames],
            _frame_row=self._frame_row[frames],
        )

    def transitions(self) -> Transitions:
        """The transitions for reinforcement learning: those that start at a frame which is not yet a success.

        Raises:
            DataError: there is none.
        """
        last = self.episodes["first_frame"] + self.episodes["n_frames"] - 1
        usable = ~self.frame_success
        usable[last] = False
        frame = np.flatnonzero(usable).astype(np.int64)
        if not len(frame):
            raise DataError(f"{self.root}: all {len(self)} episodes start and stay in success; collect others")
        limit = np.zeros(self.n_frames, dtype=bool)
        limit[last - 1] = self.episodes["truncated"]
        done = self.frame_success[frame + 1]
        return Transitions(
            frame=frame,
            action=self.frame_action[frame],
            reward=done.astype(np.float32),
            terminated=done,
            truncated=limit[frame] & ~done,
            domain=self.frame_domain[frame].astype(np.int64),
            kind=self.frame_kind[frame],
        )


class _FrameMaps:
    """The frame files of the domains, mapped read-only."""

    def __init__(self, folders: list[Path], counts: list[int], image_size: int) -> None:
        self._of = (folders, counts, image_size)
        self._shape = (image_size, image_size, 3)
        self._maps: list[mmap.mmap | None] = []
        self._frames: list[np.ndarray] = []
        self._read = 0  # bytes since the pages were last given back
        size = image_size * image_size * 3
        for folder, count in zip(folders, counts, strict=True):
            mapped, frames = None, np.empty((0, *self._shape), np.uint8)
            if count:
                with open(folder / layout.FRAMES, "rb") as file:
                    mapped = mmap.mmap(file.fileno(), count * size, access=mmap.ACCESS_READ)
                mapped.madvise(mmap.MADV_RANDOM)  # else each frame drags in its surroundings, megabytes at times
                frames = np.frombuffer(mapped, np.uint8).reshape(count, *self._shape)
            self._maps.append(mapped)
            self._frames.append(frames)

    def __reduce__(self) -> tuple[Any, ...]:  # in another process, or a copy: mapped anew
        return _FrameMaps, self._of

    def gather(self, domain: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(N,) domain numbers and rows in their files -> (N, H, W, 3) uint8, read in the order of the files."""
        out = np.empty((len(row), *self._shape), np.uint8)
        order = np.lexsort((row, domain))
        places, domains, rows = order.tolist(), domain[order].tolist(), row[order].tolist()
        size = out[:1].nbytes
        for d, r in zip(domains, rows, strict=True):  # the disk may fetch them all at once
            start = r * size // mmap.PAGESIZE * mmap.PAGESIZE
            self._maps[d].madvise(mmap.MADV_WILLNEED, start, (r + 1) * size - start)
        for place, d, r in zip(places, domains, rows, strict=True):
            out[place] = self._frames[d][r]
        self._read += out.nbytes
        if self._read > _RESIDENT:
            self._read = 0
            for mapped in filter(None, self._maps):
                mapped.madvise(mmap.MADV_DONTNEED)  # the file cache keeps them; this process no longer counts them
        return out


def _read_rows(path: Path, count: int) -> np.ndarray:
    return np.fromfile(path, layout.ROW, count) if count else np.empty(0, layout.ROW)


def _columns(indices: list[layout.Index], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a `Dataset` from the indices of its domains and the rows of all their frames."""
    episodes = np.zeros(sum(len(index.entries) for index in indices), EPISODE)
    entries = np.concatenate([index.entries for index in indices])
    for name in ("kind", "scenario", "seed", "n_frames", "terminated", "truncated", "success"):
        episodes[name] = entries[name]
    lengths = episodes["n_frames"]
    episodes["domain"] = np.repeat(np.arange(len(indices)), [len(index.entries) for index in indices])
    episodes["first_frame"] = first = np.cumsum(lengths, dtype=np.int64) - lengths
    success = rows["success"].astype(bool)
    episodes["success_frames"] = np.add.reduceat(success, first, dtype=np.int32)
    episodes["min_z"] = np.minimum.reduceat(rows["state"][:, 2], first)
    return {
        "episodes": episodes,
        "frame_domain": np.repeat(episodes["domain"], lengths),
        "frame_success": success,
        "frame_kind": np.repeat(episodes["kind"], lengths),
        "frame_action": np.ascontiguousarray(rows["action"]).reshape(-1, ACTION_DIM),
        "frame_state": np.ascontiguousarray(rows["state"]).reshape(-1, STATE_DIM),
        "frame_episode": np.repeat(np.arange(len(episodes), dtype=np.int32), lengths),
        "frame_step": (np.arange(len(rows)) - np.repeat(first, lengths)).astype(np.int16),
    }
