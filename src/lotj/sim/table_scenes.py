"""Scenes of the table by chance: what is there, where, in which shapes, colours and light.

The table has four cells, two columns by two rows. A cabinet with a handle stands in the back of one column and opens to
the front; the drawer of the button, the tray and the large object take other cells. The small object and the
distractors lie where nothing has to pass.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lotj.sim.table import DEPTH, POPPED, TEXTURES, TOP, TRAVEL, Scene, turned
from lotj.sim.table_shapes import HANDLES, LARGE, OBJECTS, names

ROWS = {"front": -0.115, "back": 0.07}  # y of the middles of cells [m]
COLUMN = 0.12  # x of them, either way [m]
CLEAR = 0.05  # the hand needs this much room around the small object [m]
SLIDE_ROOM, BEHIND = 0.065, 0.085  # around and behind a large object that is to slide [m]
PAINTED = ("cabinet", "drawer", "handle", "unit", "pop", "button", "tray", "small", "large", "other-0", "other-1")


@dataclass(frozen=True)
class Need:
    """What a task needs of a scene; None leaves it to chance."""

    cabinet: str | None = None  # open, closed or absent
    unit: str | None = None  # likewise, of the drawer with the button
    tray: bool | None = None
    small: str | None = None  # where it starts: table, tray, top, drawer or absent
    large: str | None = None  # blocking the drawer, beside it (its target is before the drawer), somewhere or absent


def draw_scene(rng: np.random.Generator, split: str, need: Need, target: str = "") -> tuple[Scene, np.ndarray]:
    """A scene, and where its large object could slide to, (2,) [m].

    Args:
        rng: draws everything.
        split: of the objects, handles and distractors: ``train`` or ``test``.
        need: what must be there.
        target: where the small object is to go; for that, too, there is room.
    """
    while True:
        drawn = _try(rng, split, need, target)
        if drawn:
            return drawn


def cell(side: float, row: str) -> np.ndarray:
    """(2,) middle of a cell, of the left (-1) or right (1) column [m]."""
    return np.array([side * COLUMN, ROWS[row]])


def free_spot(rng: np.random.Generator, taken: Sequence[Sequence[float]], room: float) -> np.ndarray | None:
    """(2,) a point with room around it beside discs (x, y, radius) [m]; None if 300 tries find none."""
    discs = np.reshape(np.array(taken, float), (-1, 3))
    for _ in range(300):
        spot = rng.uniform((-0.2, -0.19), (0.2, 0.16))
        if (np.linalg.norm(discs[:, :2] - spot, axis=1) > discs[:, 2] + room).all():
            return spot
    return None


def occupied(scene: Scene, goal: Sequence[float] | None = None) -> list[tuple[float, float, float]]:
    """Discs (x, y, radius) that cover what stands there, the drawers' ways, and the large object's way to its goal."""
    discs = []
    for pose, half, depth, way in ((scene.cabinet, 0.045, DEPTH, TRAVEL + 0.045), (scene.unit, 0.03, 0.12, POPPED)):
        if pose:
            for v in np.linspace(-way, depth - 0.03, 6):
                discs += [(*turned(pose, (u, v, 0))[:2], 0.045 if half > 0.04 else 0.035) for u in (-half, half)]
    if scene.tray:
        discs.append((*scene.tray[:2], 0.085))
    discs += [(other[1], other[2], 0.03) for other in scene.others]
    if scene.large:
        start = np.array(scene.large_at[:2])
        discs.append((*start, SLIDE_ROOM))
        if goal is not None:
            way = np.array(goal) - start
            ahead = way / np.linalg.norm(way)
            discs += [
                (*(start + ahead * along), 0.06) for along in np.arange(-BEHIND, np.linalg.norm(way) + 0.01, 0.04)
            ]
    return discs


def _try(rng: np.random.Generator, split: str, need: Need, target: str) -> tuple[Scene, np.ndarray] | None:
    side = float(rng.choice([-1.0, 1.0]))

    def has(wanted: Any, chance: float) -> bool:
        return bool(rng.random() < chance) if wanted is None else wanted not in (False, "absent")

    cabinet, unit = has(need.cabinet, 0.8), has(need.unit, 0.5)
    large, tray, small = has(need.large, 0.5), has(need.tray, 0.5), has(need.small, 0.9)
    scene = Scene(texture=int(rng.integers(len(TEXTURES))), light=(*rng.uniform(-0.6, 0.6, 2), rng.uniform(0.35, 0.65)))
    if cabinet:
        stands = (side * COLUMN + rng.uniform(-0.015, 0.015), rng.uniform(0.055, 0.08), rng.uniform(-0.2, 0.2))
        opened = {"open": 1.0, "closed": 0.0, None: float(rng.random() < 0.4)}[need.cabinet]
        if need.small == "drawer" or target == "drawer":
            opened = 1.0 if need.cabinet is None else opened
        opening = opened * rng.uniform(0.1, TRAVEL)
        scene = replace(scene, cabinet=stands, handle=str(rng.choice(names("handle", split))), opening=opening)
    taken = {(side, "back")} if cabinet else set()
    if unit:
        stands = (-side * COLUMN + rng.uniform(-0.02, 0.02), rng.uniform(0.06, 0.085), rng.uniform(-0.2, 0.2))
        popped = bool(rng.random() < 0.3) if need.unit is None else need.unit == "open"
        scene, taken = replace(scene, unit=stands, popped=popped), taken | {(-side, "back")}
    goal = np.zeros(2)
    if large:
        found = _large(rng, scene, side, taken, need.large)
        if found is None:
            return None
        scene, goal, cells = found
        taken |= cells
    rooms = [at for at in ((-side, "front"), (-side, "back"), (side, "front")) if at not in taken]
    rooms = [at for at in rooms if not (at == (side, "front") and cabinet)]
    if tray and rooms:
        where = cell(*rooms[int(rng.integers(len(rooms)))]) + rng.uniform(-0.015, 0.015, 2)
        scene = replace(scene, tray=(*where, rng.uniform(-0.3, 0.3)))
    if need.tray and not scene.tray:
        return None
    others = [str(name) for name in rng.choice(names("distractor", split), int(rng.integers(4)), replace=False)]
    if small:
        put = _small(rng, scene, goal if large else None, need.small)
        if put is None:
            return None
        scene = replace(scene, small=str(rng.choice(names("object", split))), small_at=put)
    scene = _scatter(rng, scene, goal if large else None, others)
    hand = (*rng.uniform((-0.15, -0.15, 0.16), (0.15, 0.1, 0.24)), rng.uniform(-0.5, 0.5))
    return replace(scene, hand=hand, colours=_colours(rng)), goal


def _large(
    rng: np.random.Generator, scene: Scene, side: float, taken: set, wanted: str | None
) -> tuple[Scene, np.ndarray, set] | None:
    """The scene with a large object, where it could slide to, and the cells that it needs."""
    name = str(rng.choice(list(LARGE)))
    radius = LARGE[name].radius()
    before, beside, behind = (side, "front"), (-side, "front"), (-side, "back")
    if wanted == "blocking":
        assert scene.cabinet
        reach = -1e-3 * HANDLES[scene.handle][0].bounds()[0, 1] + 0.008
        gap = rng.uniform(0.012, 0.018)
        place = turned(scene.cabinet, (rng.uniform(-0.015, 0.015), -scene.opening - reach - gap - radius, 0))
        start, end = before, beside
        at = place[:2]
    else:
        ways = [(beside, before), (beside, behind), (behind, beside)]
        ways = ways[:1] if wanted == "beside" else [way for way in ways if not taken & {*way}]
        if wanted != "beside" and scene.opening:
            ways = [way for way in ways if before not in way]
        if not ways:
            return None
        start, end = ways[int(rng.integers(len(ways)))]
        at = cell(*start) + rng.uniform(-0.012, 0.012, 2)
    scene = replace(scene, large=name, large_at=(*at, rng.uniform(-3.1, 3.1)))
    return scene, cell(*end), {start, end}


def _small(
    rng: np.random.Generator, scene: Scene, goal: np.ndarray | None, where: str | None
) -> tuple[float, ...] | None:
    """(4,) x, y, z and yaw of the small object; None where there is no room."""
    yaw = float(rng.uniform(-np.pi / 2, np.pi / 2))
    places = ["table"] * 3 + ["tray"] * bool(scene.tray)
    places += ["top", "drawer"] if scene.cabinet and scene.opening else ["top"] * bool(scene.cabinet)
    where = places[int(rng.integers(len(places)))] if where is None else where
    if where == "table":
        spot = free_spot(rng, occupied(scene, goal), CLEAR)
        return None if spot is None else (*spot, 0.0, yaw)
    spot = inside(scene, where)
    if where == "drawer" and scene.cabinet:  # the fingers must fit in beside it
        yaw = scene.cabinet[2] + rng.uniform(-0.2, 0.2)
    return None if spot is None else (*(spot[:2] + rng.uniform(-0.007, 0.007, 2)), spot[2], yaw)


def inside(scene: Scene, where: str, opening: float | None = None) -> np.ndarray | None:
    """(3,) the middle of the drawer's floor, of the cabinet's top or of the tray [m]; None if that is not there."""
    if where == "tray":
        return np.array([*scene.tray[:2], 0.006]) if scene.tray else None
    if not scene.cabinet:
        return None
    opening = scene.opening if opening is None else opening
    # The front half of an open drawer, which is well before the cabinet, and of its top.
    return turned(scene.cabinet, (0.0, 0.052 - opening, 0.008) if where == "drawer" else (0.0, 0.06, TOP))


def _scatter(rng: np.random.Generator, scene: Scene, goal: np.ndarray | None, others: Sequence[str]) -> Scene:
    """With those of the distractors for which there is room."""
    for name in others:
        discs = occupied(scene, goal)
        if scene.small:
            discs.append((*scene.small_at[:2], CLEAR))
        spot = free_spot(rng, discs, 0.035)
        if spot is not None:
            scene = replace(scene, others=(*scene.others, (name, *spot, rng.uniform(-3.1, 3.1))))
    return scene


def _colours(rng: np.random.Generator) -> Mapping[str, Sequence[float]]:
    """Any hue for things, a paler one for the table."""
    colours = {
        name: colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 1.0), rng.uniform(0.45, 1.0))
        for name in (*PAINTED, "other-2")
    }
    return {**colours, "table": colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.4), rng.uniform(0.55, 0.95))}


def grasp(scene: Scene) -> float:
    """Height of the fingers over the small object's bottom [m]."""
    return 1e-3 * OBJECTS[scene.small].grasp
