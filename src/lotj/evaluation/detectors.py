"""An open benchmark of success detectors: frames of insertions and of near misses, what is true of them, and figures.

A detector gives each frame a number, the larger the more likely the plug sits. Anything that has such numbers can be
measured: a classifier, a distance to a picture, a height (NumPy only).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data.store import DiskStore, Store
from lotj.errors import DataError
from lotj.rewards.threshold import area_under_curve

SEATED, HALF_IN, BESIDE, FREE = PLACES = ("seated", "half in", "beside", "free")
"""Where a plug is: in its socket to the end; in it, but not to the end; pressed on something else; or none of these."""

INSIDE = 2e-3
"""A plug is in its socket where it is below the mouth and nearer than this to its axis [m]: play is less, and what is
pressed beside it stands above the mouth."""

TOUCHES = 1.0
"""Force of a contact [N]."""

RECALL = 0.9
"""Share of the true successes that a threshold lets through, on the connectors that it is chosen on."""

CHUNK = 512
"""Frames read at once."""


@dataclass(frozen=True)
class Frames:
    """Frames of recorded insertions. Goal pictures, one of the seated plug on each bench, are no frames to be judged,
    nor is the episode that they are from.

    Attributes:
        store: the data set.
        rows: (N,) numbers of the frames in it.
        place: (N,) index into `PLACES`.
        connector: (N,) names.
        bench: (N,) index into `Store.tasks`.
        goal: bench -> number of the frame that shows the plug seated.
    """

    store: Store
    rows: np.ndarray
    place: np.ndarray
    connector: np.ndarray
    bench: np.ndarray
    goal: Mapping[int, int]

    @classmethod
    def open(cls, data: Path | str, depths: Mapping[str, float]) -> Frames:
        """Of a data set that was recorded with near misses.

        Args:
            depths: connector -> how far its plug goes in [m].

        Raises:
            DataError: a bench without an episode of the expert that ends in success.
        """
        store = DiskStore.open(data)
        task = store.frame_task
        connector = np.array([one.attributes["connector"] for one in store.tasks])[task]
        place = places(store, np.array([depths[name] for name in connector]))
        expert = store.of_kind(["expert"])
        goal, kept = {}, np.ones(store.n_frames, bool)
        for bench, of in enumerate(store.tasks):
            mine = expert & (store.episodes["task"] == bench) & store.success[store.last_frames]
            if not mine.any():
                raise DataError(f"{of.name}: no episode of the expert that ends in success; record more")
            first = int(np.flatnonzero(mine)[0])
            goal[bench] = int(store.last_frames[first])
            kept[store.frame_episode == first] = False
        rows = np.flatnonzero(kept)
        return cls(store, rows, place[rows], connector[rows], task[rows], goal)

    def parts(self, *names: str) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
        """Some frames at a time, and what is observed: ``image`` (B, V, H, W, 3) uint8 or ``state``."""
        for first in range(0, len(self.rows), CHUNK):
            part = slice(first, first + CHUNK)
            yield part, self.store.observe(self.rows[part], list(names or ("image",)))

    def goals(self, *names: str) -> Mapping[str, np.ndarray]:
        """The same of the goal pictures, one a bench, in the order of the tasks."""
        return self.store.observe(np.array([self.goal[k] for k in range(len(self.store.tasks))]), [*names] or ["image"])


def places(store: Store, depth: np.ndarray) -> np.ndarray:
    """(F,) index into `PLACES` of all frames of a store, by the truth that was recorded; (F,) depths [m]."""
    position, force = store.truth("position"), np.asarray(store.truth("force"))
    within = (position[:, 2] < depth) & (np.linalg.norm(position[:, :2], axis=1) < INSIDE)
    touching = np.linalg.norm(force.reshape(len(force), -1), axis=1) > TOUCHES
    found = np.where(within, 1, np.where(touching, 2, 3))
    return np.where(store.success, 0, found)


def figures(frames: Frames, scores: np.ndarray) -> dict[str, Any]:
    """What (N,) scores tell, by connector: ``auc``, that a seated plug scores higher than any other frame, and
    ``near_auc``, than one half in or beside. A new part brings no threshold along: at the mean of those that let
    through `RECALL` of the seated plugs of each *other* connector, ``recall``, ``half in`` and ``beside`` are the
    shares of such frames that pass, and ``precision`` what seated ones are of them, were they as frequent as near
    misses of both kinds; ``own_precision`` is that at `RECALL` of each bench's own seated plugs, as a robot knows them
    that has been told of some, mean over benches. None where a connector has no such frame.

    Raises:
        DataError: scores of another number, or that are not finite.
    """
    scores = np.asarray(scores, float)
    if scores.shape != frames.rows.shape or not np.isfinite(scores).all():
        raise DataError(f"scores of shape {scores.shape}: must be {frames.rows.shape} finite numbers, one a frame")
    seated = frames.place == 0
    near = (frames.place == 1) | (frames.place == 2)
    names, found = np.unique(frames.connector), {}
    quantiles = {
        name: float(np.quantile(scores[seated & (frames.connector == name)], 1.0 - RECALL)) for name in names.tolist()
    }
    for name in names.tolist():
        own = frames.connector == name
        cut = np.mean([value for other, value in quantiles.items() if other != name or len(names) == 1])
        passed = scores >= cut
        shares = {place: _mean(passed[own & (frames.place == k)]) for k, place in enumerate(PLACES)}
        benches = [_at_own_recall(frames, scores, bench) for bench in np.unique(frames.bench[own]).tolist()]
        found[name] = {
            "auc": area_under_curve(scores[own], seated[own]),
            "near_auc": area_under_curve(scores[own & (seated | near)], seated[own & (seated | near)]),
            "recall": shares[SEATED],
            HALF_IN: shares[HALF_IN],
            BESIDE: shares[BESIDE],
            "precision": _precision(shares[SEATED], shares[HALF_IN], shares[BESIDE]),
            "own_precision": _mean(np.array([value for value in benches if value is not None])),
        }
    return found


def _at_own_recall(frames: Frames, scores: np.ndarray, bench: int) -> float | None:
    """Precision where as many of a bench's seated plugs pass as `RECALL` says."""
    own = frames.bench == bench
    if not (own & (frames.place == 0)).any():
        return None
    passed = scores >= np.quantile(scores[own & (frames.place == 0)], 1.0 - RECALL)
    return _precision(*(_mean(passed[own & (frames.place == k)]) for k in range(3)))


def _precision(seated: float | None, *misses: float | None) -> float | None:
    """Of shares that pass, were seated plugs as frequent as near misses of all kinds that there are."""
    wrong = [share for share in misses if share is not None]
    return seated / (seated + float(np.mean(wrong))) if seated and wrong else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
