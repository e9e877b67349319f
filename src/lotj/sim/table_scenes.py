"""Scenes of the table by chance: what is there, where, in which shapes, colours and light.

The table has four cells, two columns by two rows. The cabinet with the handle stands in the back of one column and
opens to the front; the drawer of the button, the tray and the large object take other cells. The small object and the
distractors lie where nothing has to pass, and so does the hand, low, that it must rise before it can go anywhere.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lotj.sim.table import DEPTH, PAINTED, POPPED, TEXTURES, TRAVEL, Scene, inside, reach, turned
from lotj.sim.table_shapes import SHAPES, names

ROWS = {"front": -0.115, "back": 0.07}  # y of the middles of cells [m]
COLUMN = 0.12  # x of them, either way [m]
CLEAR = 0.05  # the hand needs this much room around the small object [m]
HAND, LOW = 0.05, (0.03, 0.1)  # room around the hand, and its height, at the start [m]
CHANCES = {"cabinet": 0.8, "unit": 0.5, "large": 0.5, "tray": 0.5, "small": 0.9}  # that it is there, unless needed

Discs = list[tuple[float, ...]]  # x, y, radius [m]


def draw_scene(
    rng: np.random.Generator, split: str, need: Mapping[str, str], looks: Sequence[int] = ()
) -> tuple[Scene, np.ndarray]:
    """A scene, and where its large object could slide to, (2,) [m].

    Args:
        rng: draws everything.
        split: of the shapes: ``train`` or ``test``.
        need: what must be there or ``absent``, and how; all else is chance. "cabinet" and "unit": ``open`` or
            ``closed``; "tray": ``there``; "small": where it starts, ``table``, ``tray``, ``top``, ``drawer``, ``any``;
            "large": ``blocking`` the drawer, ``beside`` it, from where it could block it, or ``free``.
        looks: seed of shapes, colours, texture and light, where these are not to come from `rng`.
    """
    while True:
        if drawn := _try(rng, split, need, np.random.default_rng(looks) if looks else rng):
            return drawn


def free_spot(rng: np.random.Generator, taken: Discs, room: float) -> np.ndarray | None:
    """(2,) a point with that much room around it; None if none of 300 has it."""
    discs, spots = np.reshape(taken, (-1, 3)), rng.uniform((-0.2, -0.19), (0.2, 0.16), (300, 2))
    apart = np.linalg.norm(spots[:, None] - discs[:, :2], axis=-1)
    free = np.flatnonzero((apart > discs[:, 2] + room).all(1))
    return spots[free[0]] if len(free) else None


def occupied(scene: Scene, goal: Sequence[float] | np.ndarray) -> Discs:
    """What covers all that stands there, the drawers' ways, and that of a large object to its goal."""
    discs: Discs = []
    for pose, half, depth, way in ((scene.cabinet, 0.045, DEPTH, TRAVEL + 0.045), (scene.unit, 0.03, 0.12, POPPED)):
        for v in np.linspace(-way, depth - 0.03, 6) if pose else ():
            discs += [(*turned(pose or (), (u, v, 0.0))[:2], half * 1.05) for u in (-half, half)]
    if scene.tray:
        discs.append((*scene.tray[:2], 0.085))
    discs += [(x, y, 0.03) for _, x, y, _ in scene.odd]
    if scene.large:
        start, way = np.array(scene.large_at[:2]), np.array(goal) - scene.large_at[:2]
        length = float(np.linalg.norm(way))
        discs += [(*(start + way / length * along), 0.065) for along in np.arange(-0.085, length + 0.01, 0.04)]
    return discs


def _try(
    rng: np.random.Generator, split: str, need: Mapping[str, str], looks: np.random.Generator
) -> tuple[Scene, np.ndarray] | None:
    side, draw = float(rng.choice([-1.0, 1.0])), rng.uniform
    there = {name: need[name] != "absent" if name in need else rng.random() < share for name, share in CHANCES.items()}
    scene, shapes = _look(looks, split)
    taken: set[tuple[float, str]] = set()
    if there["cabinet"]:
        opened = {"open": 1.0, "closed": 0.0}.get(need.get("cabinet", ""), float(rng.random() < 0.4))
        stands = (side * COLUMN + draw(-0.015, 0.015), draw(0.055, 0.08), draw(-0.2, 0.2))
        scene = replace(scene, cabinet=stands, handle=shapes["handle"][0], opening=opened * draw(0.1, TRAVEL))
        taken = {(side, "back")}
    if there["unit"]:
        popped = need["unit"] == "open" if "unit" in need else bool(rng.random() < 0.3)
        stands = (-side * COLUMN + draw(-0.02, 0.02), draw(0.06, 0.085), draw(-0.2, 0.2))
        scene, taken = replace(scene, unit=stands, popped=popped), taken | {(-side, "back")}
        taken |= {(-side, "front")} if popped else set()  # the hand must fit in before it to push it shut
    goal = np.zeros(2)
    if there["large"]:
        found = _large(rng, replace(scene, large=shapes["large"][0]), side, taken, need.get("large", "free"))
        if found is None:
            return None
        scene, goal, cells = found
        taken |= cells
    rooms = (
        {(-side, "front"), (-side, "back"), (side, "front")} - taken - ({(side, "front")} if scene.cabinet else set())
    )
    if there["tray"] and rooms:
        where = _cell(*sorted(rooms)[int(rng.integers(len(rooms)))]) + draw(-0.015, 0.015, 2)
        scene = replace(scene, tray=(*where, draw(-0.3, 0.3)))
    if there["small"]:
        put = _small(rng, scene, goal, need.get("small", "any"))
        if put is None:
            return None
        scene = replace(scene, small=shapes["object"][0], small_at=put)
    put_at = [(*scene.small_at[:2], CLEAR * bool(scene.small))]
    for name in shapes["distractor"]:
        spot = free_spot(rng, [*occupied(scene, goal), *put_at], 0.035)
        if spot is not None:
            scene = replace(scene, odd=(*scene.odd, (name, *spot, draw(-3.1, 3.1))))
    spot = free_spot(rng, [*occupied(scene, goal), *put_at], HAND)
    if spot is None or (need.get("tray") == "there" and not scene.tray):
        return None
    return replace(scene, hand=(*spot, draw(*LOW), draw(-1.2, 1.2))), goal


def _look(looks: np.random.Generator, split: str) -> tuple[Scene, dict[str, list[str]]]:
    """An empty scene with its colours, texture and light, and names of shapes for what may be there, by kind."""
    draw, odd = looks.uniform, int(looks.integers(4))
    counts = {"handle": (split, 1), "large": ("train", 1), "object": (split, 1), "distractor": (split, odd)}
    shapes = {
        kind: [str(name) for name in looks.choice(names(kind, of), count, replace=False)]
        for kind, (of, count) in counts.items()
    }
    bright = {name: colorsys.hsv_to_rgb(looks.random(), draw(0.4, 1.0), draw(0.45, 1.0)) for name in PAINTED}
    pale = colorsys.hsv_to_rgb(looks.random(), draw(0.0, 0.4), draw(0.55, 0.95))
    light, texture = (*draw(-0.6, 0.6, 2), draw(0.35, 0.65)), int(looks.integers(len(TEXTURES)))
    return Scene(colours={**bright, "table": pale}, light=light, texture=texture), shapes


def _cell(side: float, row: str) -> np.ndarray:
    """(2,) middle of a cell, of the left (-1) or right (1) column [m]."""
    return np.array([side * COLUMN, ROWS[row]])


def _large(rng: np.random.Generator, scene: Scene, side: float, taken: set[Any], wanted: str) -> Any:
    """The scene with its large object, where it could slide to, and the cells that it needs; None if there are none."""
    before, beside, behind = (side, "front"), (-side, "front"), (-side, "back")
    if wanted == "blocking" and scene.cabinet:
        gap = scene.opening + reach(scene.handle) + SHAPES["large"][scene.large].radius() + rng.uniform(0.012, 0.018)
        start, end, at = before, beside, turned(scene.cabinet, (rng.uniform(-0.015, 0.015), -gap, 0.0))[:2]
    else:
        ways = [(beside, before), (beside, behind), (behind, beside)]
        ways = [way for way in ways if not taken & {*way} and not (scene.opening and before in way)]
        ways = [(beside, before)] if wanted == "beside" else ways
        if not ways:
            return None
        start, end = ways[int(rng.integers(len(ways)))]
        at = _cell(*start) + rng.uniform(-0.012, 0.012, 2)
    return replace(scene, large_at=(*at, rng.uniform(-3.1, 3.1))), _cell(*end), {start, end}


def _small(rng: np.random.Generator, scene: Scene, goal: np.ndarray, where: str) -> tuple[float, ...] | None:
    """(4,) x, y, z and yaw of the small object; None where there is no room."""
    yaw = float(rng.uniform(-np.pi / 2, np.pi / 2))
    places = (
        ["table"] * 3 + ["tray"] * bool(scene.tray) + ["top"] * bool(scene.cabinet) + ["drawer"] * (scene.opening > 0)
    )
    where = places[int(rng.integers(len(places)))] if where == "any" else where
    if where == "table":
        spot = free_spot(rng, occupied(scene, goal), CLEAR)
        return None if spot is None else (*spot, 0.0, yaw)
    spot = inside(scene, where, scene.opening)
    if where == "drawer" and scene.cabinet:  # the fingers must fit in beside it
        yaw = scene.cabinet[2] + rng.uniform(-0.2, 0.2)
    return None if spot is None else (*(spot[:2] + rng.uniform(-0.007, 0.007, 2)), spot[2], yaw)
