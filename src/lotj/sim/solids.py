"""From a `Connector` to solid pieces: convex prisms that make up plug and socket.

A piece is a stack of convex rings (polygons at rising z): straight walls, a tapered tip or a funnelled mouth are all
one convex body. Boxes are recognised, since box-box contact is MuJoCo's most robust.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lotj import geometry as geo
from lotj.sim.connector import Connector, Feature

SIDES = 16
"""Corners of the polygon that stands for a circle of up to 10 mm, twice as many for larger ones. A male element's
corners lie on its circle, a cavity's edges touch its circle from outside, so the true clearance is the smallest gap; it
grows by 2 % (0.5 %) of the radius where corners do not meet edges."""

LARGE_CIRCLE = 10e-3  # diameter from which circles have twice the corners [m]
FLOOR_GAP = 0.5e-3  # cavities are this much deeper than the element is long [m], so that the faces seat first
RIM = 0.25e-3  # cells around a cavity are this much wider than its mouth [m]


@dataclass(frozen=True)
class Piece:
    """One convex body."""

    name: str  # unique within plug or socket
    rings: tuple[tuple[np.ndarray, float], ...]  # (polygon (N, 2), z) from bottom to top, in plug or socket frame [m]
    collides: bool = True  # false for what is only seen
    dark: bool = False  # drawn in the dark colour of an opening
    metal: bool = False  # drawn in the contacts' colour

    def vertices(self) -> np.ndarray:
        """(M, 3) corners of the convex hull [m]."""
        return np.concatenate([np.column_stack([p, np.full(len(p), z)]) for p, z in self.rings])

    def box(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(centre (3,), half sizes (3,)) if the piece is an axis-aligned box, else None."""
        (low, z0), (high, z1) = self.rings[0], self.rings[-1]
        if len(self.rings) != 2 or low.shape != (4, 2) or high.shape != (4, 2) or not np.allclose(low, high, atol=1e-9):
            return None
        box = geo.bounds(low)
        if not np.isclose(geo.spanned(box), low[:, None], atol=1e-9).all(-1).any(-1).all():
            return None
        least, most = np.append(box[:2], z0), np.append(box[2:], z1)
        return (least + most) / 2, (most - least) / 2


def outline(feature: Feature, grow: float = 0.0, cavity: bool = False) -> np.ndarray:
    """Cross-section of a feature, grown by `grow` per side [m], as a convex polygon (N, 2)."""
    if feature.shape == "round":
        sides = SIDES if feature.size[0] < LARGE_CIRCLE else 2 * SIDES
        apothem = feature.size[0] / 2 + grow
        polygon = geo.regular_polygon(feature.centre, apothem if cavity else apothem * np.cos(np.pi / sides), sides)
    elif feature.shape == "rect":
        polygon = geo.rectangle(feature.centre, np.array(feature.size) + 2 * grow)
    else:
        polygon = geo.offset(np.asarray(feature.points) + np.asarray(feature.centre), grow)
    return geo.rotate(polygon, feature.angle, feature.centre)


def _male(feature: Feature) -> list[Piece]:
    """The male element, in the frame of the side that bears it: a shaft with a tip, or the walls of a tube."""
    direction = -1.0 if feature.on == "plug" else 1.0
    tip = feature.base + direction * feature.length
    levels = [feature.base, tip - direction * feature.chamfer, *([tip] if feature.chamfer > 0 else [])]
    full = outline(feature)
    if feature.wall > 0:
        # One mitred piece per edge; the tip is bevelled on the outside by at most 80 % of the wall.
        inner, bevel = geo.offset(full, -feature.wall), geo.offset(full, -min(feature.chamfer, 0.8 * feature.wall))
        stacks = {}
        for i in range(len(full)):
            j = (i + 1) % len(full)
            wall, end = (np.array([outer[i], outer[j], inner[j], inner[i]]) for outer in (full, bevel))
            stacks[f"{feature.name}-wall-{i}"] = list(zip((wall, wall, end), levels, strict=False))
    else:
        rings = list(zip((full, full, outline(feature, -feature.chamfer)), levels, strict=False))
        split = feature.shape == "rect" and feature.chamfer > 0
        parts = {"-shaft": rings[:2], "-tip": rings[1:]} if split else {"": rings}
        stacks = {feature.name + part: stack for part, stack in parts.items()}
    metal = feature.visual or min(feature.size) < 7e-3
    return [
        Piece(name, tuple(sorted(stack, key=lambda ring: ring[1])), collides=not feature.visual, metal=metal)
        for name, stack in stacks.items()
    ]


def plug_pieces(connector: Connector) -> list[Piece]:
    """Everything that moves with the plug, in the plug frame; the body is the last piece."""
    pieces = [p for f in connector.features if f.on == "plug" for p in _male(f)]
    body, low = geo.rectangle((0.0, 0.0), connector.body_size), connector.body_gap
    pieces.append(Piece("body", ((body, low), (body, low + connector.body_height))))
    return pieces


def socket_pieces(connector: Connector) -> list[Piece]:
    """The socket block with its cavities, and the elements that it bears, in the socket frame."""
    pieces = [p for f in connector.features if f.on == "socket" for p in _male(f)]
    cavities = [f for f in connector.features if f.on == "plug" and f.cavity and not f.visual]
    if connector.housing_shape == "round":
        shell = geo.regular_polygon((0.0, 0.0), min(connector.housing_size) / 2, SIDES)
    else:
        shell = geo.rectangle((0.0, 0.0), connector.housing_size)
    bottom = -connector.housing_height
    cells = []
    for feature in _outermost(cavities):
        mouth = outline(feature, feature.clearance + feature.lead_in, cavity=True)
        cell = geo.bounds(mouth) + np.array([-RIM, -RIM, RIM, RIM])
        cells.append(cell)
        pieces += _cavity(feature, cell, shell, bottom)
    for i, rectangle in enumerate(geo.without_rectangles(geo.bounds(shell), cells)):
        block = geo.intersect(geo.spanned(rectangle), shell)
        if len(block):
            pieces.append(Piece(f"block-{i}", ((block, bottom), (block, 0.0))))
    for feature in connector.features:
        if feature.visual and feature.on == "plug" and feature.cavity:
            hole = outline(feature, feature.clearance)
            pieces.append(Piece(f"{feature.name}-mouth", ((hole, 0.0), (hole, 0.05e-3)), collides=False, dark=True))
    return pieces


def _outermost(cavities: list[Feature]) -> list[Feature]:
    """Cavities that do not lie within another one (a shell's cavity swallows what the shell holds)."""
    kept = []
    for f in cavities:
        inner = geo.bounds(outline(f, f.clearance + f.lead_in, cavity=True))
        others = (geo.bounds(outline(o, o.clearance, cavity=True)) for o in cavities if o is not f)
        if not any((inner[:2] >= o[:2]).all() and (inner[2:] <= o[2:]).all() for o in others):
            kept.append(f)
    return kept


def _cavity(feature: Feature, cell: np.ndarray, shell: np.ndarray, bottom: float) -> list[Piece]:
    """Walls around one cavity (with a funnelled mouth) and its floor, within a rectangular cell of the block."""
    outer = geo.intersect(geo.spanned(cell), shell)
    hole = outline(feature, feature.clearance, cavity=True)
    mouth = outline(feature, feature.clearance + feature.lead_in, cavity=True)
    floor = max(bottom, feature.base - feature.length - FLOOR_GAP)
    pieces = []
    for wall, edge in geo.around(outer, hole):
        name = f"{feature.name}-cavity-{edge}"
        pieces.append(Piece(name, ((wall, floor), (wall, -feature.lead_in))))
        if feature.lead_in > 0:
            rim = geo.clip(wall, mouth[edge], -geo.outwards(hole, edge))
            if len(rim):
                pieces.append(Piece(f"{name}-mouth", ((wall, -feature.lead_in), (rim, 0.0))))
    if floor - bottom > 1e-5:
        pieces.append(Piece(f"{feature.name}-floor", ((outer, bottom), (outer, floor)), dark=True))
    return pieces
