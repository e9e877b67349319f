"""From seated meshes to elements: straight stretches of plug or socket, and what is measured of each.

Sections just beside every height at which a mesh has corners: what stays alike from one to the next is one element,
what gets narrower at more than 11 degrees towards its end is its chamfer. Millimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from lotj.sim.cad.solid import Solid

ALIKE = 0.06
"""Sections of which less than this is different per length of rim [mm] belong to one element."""
_STEEP = 0.2  # taper per height from which it is a chamfer; below, draft
_CRUMB = 0.02  # [mm2]


@dataclass
class Element:
    """A stretch of a part whose section stays alike."""

    root: float  # z [mm]
    tip: float
    cuts: list[tuple[float, shapely.Polygon]] = field(default_factory=list)  # (z, section), from root to tip

    @property
    def length(self) -> float:
        """Along z [mm]."""
        return abs(self.root - self.tip)

    @property
    def chamfer(self) -> tuple[float, float]:
        """(inwards, along z) of the taper of the tip [mm]; the steeper part of a rounding."""
        (z0, before), (z1, after) = self.cuts[-2:]
        high = abs(self.tip - z1)  # the last section lies a little before the tip
        wide = high * narrowing(before, after) / abs(z0 - z1)
        if wide < _STEEP * high:
            return 0.0, 0.0
        for (z0, before), (z1, after) in zip(self.cuts[-2::-1], self.cuts[:0:-1], strict=True):
            inwards, height = narrowing(before, after), abs(z0 - z1)
            if height > 1e-9 and inwards < _STEEP * height:
                break
            wide, high = wide + inwards, high + height
        return (wide, high) if high < self.length else (0.0, 0.0)

    @property
    def draft(self) -> float:
        """Per side, over the whole length without the chamfer [mm]."""
        end = self.tip + np.sign(self.root - self.tip) * (self.chamfer[1] - 1e-6)
        straight = [cut for z, cut in self.cuts if abs(z - self.root) <= abs(end - self.root)]
        return narrowing(straight[0], straight[-1])

    @property
    def middle(self) -> float:
        """z of the middle of what is straight."""
        return (self.root + self.tip + np.sign(self.root - self.tip) * self.chamfer[1]) / 2


def filled(polygon: shapely.Polygon) -> shapely.Polygon:
    """Without holes."""
    return shapely.Polygon(polygon.exterior)


def narrowing(outer: shapely.Polygon, inner: shapely.Polygon) -> float:
    """How far inwards the rim of a section has moved [mm]."""
    rims = outer.exterior.length + inner.exterior.length
    return 2 * (filled(outer).area - filled(inner).area) / rims


def parts(section: Any) -> list[shapely.Polygon]:
    """Separate areas, largest outline first."""
    found = [p for p in shapely.get_parts(section) if p.geom_type == "Polygon" and p.area > _CRUMB]
    return sorted(found, key=lambda p: -filled(p).area)


def alike(one: shapely.Polygon, other: shapely.Polygon) -> bool:
    """Whether two sections are of one element."""
    return one.symmetric_difference(other).area < ALIKE * max(one.length, other.length)


def find_elements(
    solid: Solid, root: float, tip: float, block: Callable[[float, list[shapely.Polygon]], list[shapely.Polygon]]
) -> list[Element]:
    """Elements of a solid from z = `root` to z = `tip`, both ways; `block` says which areas at a height are none."""
    low, high = sorted((root, tip))
    apart = 0.02
    while len(levels := solid.levels(apart)) > 400:
        apart *= 1.5
    levels = np.unique([low, *levels[(levels > low + apart) & (levels < high - apart)], high])
    if root > tip:
        levels = levels[::-1]
    finished: list[Element] = []
    active: list[Element] = []
    for start, end in zip(levels[:-1], levels[1:], strict=True):
        inset = np.sign(end - start) * min(0.6 * apart, abs(end - start) / 3)
        near, far = (parts(solid.section(z)) for z in (start + inset, end - inset))
        omitted = block(start + inset, near)
        going = []
        for area in (a for a in near if all(a is not b for b in omitted)):
            before = next((e for e in active if alike(e.cuts[-1][1], area)), None)
            element = Element(float(start), float(end)) if before is None else before
            after = [a for a in far if a.intersection(area).area > 0.5 * min(a.area, area.area)]
            last = after[0] if len(after) == 1 else area  # else it ends in a point or an edge, or parts
            element.tip = float(end)
            element.cuts += [(float(start + inset), area), (float(end - inset), last)]
            going.append(element)
        finished += [e for e in active if all(e is not other for other in going)]
        active = list({id(e): e for e in going}.values())
    return [e for e in finished + active if e.length > 1e-6]


def convex_parts(area: Any) -> list[shapely.Polygon]:
    """Convex polygons that make up an area: triangles, joined where they stay convex (Hertel and Mehlhorn 1983)."""
    pieces = [t for t in shapely.get_parts(shapely.constrained_delaunay_triangles(area)) if t.area > 1e-6]
    joined = True
    while joined:
        joined = False
        for i, one in enumerate(pieces):
            for j in range(i + 1, len(pieces)):
                both = shapely.unary_union([one, pieces[j]], grid_size=1e-6)
                if both.geom_type == "Polygon" and both.convex_hull.area - both.area < 1e-3 * both.area:
                    pieces[i], joined = both.convex_hull, True
                    del pieces[j]
                    break
            if joined:
                break
    return [p for p in pieces if p.area > _CRUMB]


def cross_section(outline: Any) -> tuple[dict, shapely.Polygon, str]:
    """A convex outline as entries of a feature's file, the outline that these mean, and a remark (or "")."""
    hull = shapely.simplify(outline.convex_hull, 0.004)
    corners = shapely.get_coordinates(hull)[:-1]
    fit = np.linalg.lstsq(np.column_stack([2 * corners, np.ones(len(corners))]), (corners**2).sum(axis=1), rcond=None)[
        0
    ]
    centre, radius = fit[:2], float(np.sqrt(max(fit[2] + fit[:2] @ fit[:2], 0.0)))
    off = np.abs(np.linalg.norm(corners - centre, axis=1) - radius).max()
    flat = hull.exterior.distance(shapely.Point(centre)) / radius if radius > 0 else 0.0
    if off < 0.02 and flat > 0.97:
        entries = {"shape": "round", "centre_mm": centre, "diameter_mm": 2 * radius}
        return entries, shapely.Point(centre).buffer(radius, quad_segs=32), ""
    box = hull.minimum_rotated_rectangle
    if shapely.hausdorff_distance(box, hull) < 0.15:
        corners = shapely.get_coordinates(shapely.orient_polygons(box))[:4]
        edges = np.roll(corners, -1, axis=0) - corners
        angles = np.degrees(np.arctan2(edges[:, 1], edges[:, 0]))
        k = int(np.argmin(np.abs((angles + 180) % 360 - 180)))
        size = np.linalg.norm(edges[[k, (k + 1) % 4]], axis=1)
        entries = {"shape": "rect", "centre_mm": corners.mean(axis=0), "size_mm": size}
        angle = float((angles[k] + 180) % 360 - 180)
        # Below what moves a corner by 0.01 mm it is noise.
        if abs(np.radians(angle)) * np.hypot(*size) / 2 > 0.01:
            entries["angle_deg"] = angle
        remark = "rounded corners are drawn sharp" if shapely.hausdorff_distance(box, hull) > 0.02 else ""
        return entries, box, remark
    for coarse in (0.01, 0.02, 0.04, 0.06):  # a rounding of 0.6 mm has two edges at last
        points = np.round(shapely.get_coordinates(shapely.simplify(hull, coarse)), 3)
        outer = shapely.orient_polygons(shapely.MultiPoint(points).convex_hull)
        if len(shapely.get_coordinates(outer)) <= 17:
            break
    points = shapely.get_coordinates(outer)[:-1]
    remark = f"a rounded outline, drawn with {len(points)} corners" if coarse > 0.01 else ""
    return {"shape": "polygon", "points_mm": points}, shapely.Polygon(points), remark


def is_round(outline: Any) -> bool:
    """Whether a convex outline is that of a round part."""
    return cross_section(outline)[0]["shape"] == "round"


def fused(elements: list[Element]) -> list[Element]:
    """Elements that go on with the same outline, one with bores and one without, as one."""
    for one in elements:
        for two in elements:
            if (
                one is not two
                and abs(one.tip - two.root) < 0.05
                and alike(filled(one.cuts[-1][1]), filled(two.cuts[0][1]))
            ):
                both = Element(one.root, two.tip, one.cuts + two.cuts)
                return fused([*(e for e in elements if e is not one and e is not two), both])
    return elements
