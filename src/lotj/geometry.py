"""Plane polygons and views (NumPy and shapely). Lengths in metres, angles in radians."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

Polygon = np.ndarray
"""(N, 2) corners of a convex polygon, counter-clockwise."""

LEAST = 1e-12
"""Area below which a polygon counts as nothing [m2]: a square of a thousandth of a millimetre."""


def rectangle(centre: Sequence[float] | np.ndarray, size: Sequence[float] | np.ndarray) -> Polygon:
    """Axis-aligned rectangle as a polygon, counter-clockwise from the lower left corner."""
    (x, y), (w, h) = centre, (size[0] / 2, size[1] / 2)
    return np.array([[x - w, y - h], [x + w, y - h], [x + w, y + h], [x - w, y + h]])


def spanned(box: np.ndarray) -> Polygon:
    """The rectangle of `bounds` x0, y0, x1, y1."""
    return rectangle((box[:2] + box[2:]) / 2, box[2:] - box[:2])


def regular_polygon(centre: tuple[float, float], apothem: float, sides: int) -> Polygon:
    """Regular polygon whose edges touch the circle of radius `apothem` from outside."""
    angle = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    radius = apothem / np.cos(np.pi / sides)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def rotate(polygon: Polygon, angle: float, about: tuple[float, float]) -> Polygon:
    """Rotate a polygon counter-clockwise about a point."""
    c, s = np.cos(angle), np.sin(angle)
    pivot = np.asarray(about)
    return (polygon - pivot) @ np.array([[c, s], [-s, c]]) + pivot


def offset(polygon: Polygon, distance: float) -> Polygon:
    """Move every edge of a convex polygon outwards by `distance` (inwards if negative), with mitred corners."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1, keepdims=True)
    before = np.roll(normal, 1, axis=0)
    mitre = (before + normal) / (1.0 + np.sum(before * normal, axis=1, keepdims=True))
    return polygon + distance * mitre


def intersect(polygon: Polygon, other: Polygon) -> Polygon:
    """Intersection of two convex polygons; (0, 2) if there is none, or less than `LEAST`."""
    common = shapely.Polygon(polygon).intersection(shapely.Polygon(other))
    if common.area < LEAST:
        return np.zeros((0, 2))
    return shapely.get_coordinates(shapely.orient_polygons(common))[:-1]


def clip(polygon: Polygon, point: np.ndarray, normal: np.ndarray) -> Polygon:
    """What of a convex polygon lies behind the line through `point`, seen along `normal`; as of `intersect`."""
    out = normal / np.linalg.norm(normal)
    along = np.array([-out[1], out[0]])  # a metre each way: connectors are far smaller
    return intersect(polygon, np.array([point - along, point + along, point + along - out, point - along - out]))


def outwards(polygon: Polygon, edge: int) -> np.ndarray:
    """(2,) along the outer normal of an edge, as long as the edge."""
    x, y = polygon[(edge + 1) % len(polygon)] - polygon[edge]
    return np.array([y, -x])


def around(outer: Polygon, hole: Polygon) -> list[tuple[Polygon, int]]:
    """Cut `outer` without the convex `hole` into convex pieces, one for each edge of the hole: (piece, edge) pairs,
    where the piece lies outside this edge and inside all earlier ones."""
    pieces = []
    for i in range(len(hole)):
        normal = outwards(hole, i)
        pieces.append((clip(outer, hole[i], -normal), i))
        outer = clip(outer, hole[i], normal)
    return [(piece, i) for piece, i in pieces if len(piece)]


def without_rectangles(outer: np.ndarray, holes: list[np.ndarray]) -> list[np.ndarray]:
    """Cut a rectangle (x0, y0, x1, y1) without others, which may overlap, into rectangles that do not overlap."""
    free = [outer]
    for hole in holes:
        cut: list[np.ndarray] = []
        for x0, y0, x1, y1 in free:
            hx0, hy0, hx1, hy1 = max(hole[0], x0), max(hole[1], y0), min(hole[2], x1), min(hole[3], y1)
            if hx0 >= hx1 or hy0 >= hy1:
                cut.append(np.array([x0, y0, x1, y1]))
                continue
            strips = ((x0, y0, hx0, y1), (hx1, y0, x1, y1), (hx0, y0, hx1, hy0), (hx0, hy1, hx1, y1))
            cut += [np.array(s) for s in strips if s[2] - s[0] > 1e-9 and s[3] - s[1] > 1e-9]
        free = cut
    return free


def bounds(polygon: Polygon) -> np.ndarray:
    """(4,) x0, y0, x1, y1 of a polygon."""
    return np.concatenate([polygon.min(axis=0), polygon.max(axis=0)])


def mosaic(views: np.ndarray) -> np.ndarray:
    """Views (..., V, H, W, 3), one below the other in one picture (..., V * H, W, 3); no copy is made."""
    *leading, count, height, width, channels = views.shape
    return views.reshape(*leading, count * height, width, channels)
