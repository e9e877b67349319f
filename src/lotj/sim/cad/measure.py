"""From two seated meshes to the text of a connector file: what was measured, and what was guessed. Millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from lotj.errors import MeshError
from lotj.sim.cad.elements import (
    Element,
    alike,
    convex_parts,
    cross_section,
    filled,
    find_elements,
    fused,
    is_round,
    narrowing,
    parts,
)
from lotj.sim.cad.housing import body_bottom, in_socket_frame, mating_face, outside, socket_body
from lotj.sim.cad.seating import Seat
from lotj.sim.cad.solid import Solid

_NEAR = 5.0  # elements of the socket farther from the plug than this cannot matter [mm]
_SHORTEST = 0.3  # length that a feature may have [mm]
_BESIDE = 0.5  # mouths of cavities are at least this far apart [mm]


@dataclass
class _Found:
    """One feature to be: its entries, and what the others need to know of it."""

    element: Element
    entries: dict[str, Any]
    outline: shapely.Polygon
    remarks: list[str] = field(default_factory=list)


@dataclass
class Measured:
    """What `measure` finds: both meshes in the socket frame, the entries of the file, and remarks on each."""

    plug: Solid
    socket: Solid
    entries: dict[str, Any]
    features: list[dict[str, Any]]
    remarks: dict[str, list[str]]  # key or feature's name -> remarks

    def text(self) -> str:
        """The TOML file."""
        lines = []
        for key, value in self.entries.items():
            why = "; ".join(self.remarks.get(key, ()))
            lines.append(f"{key} = {_toml(value)}" + (f"  # {why}" if why else ""))
        for feature in self.features:
            lines += ["", *(f"# {remark}." for remark in self.remarks.get(feature["name"], ())), "[[feature]]"]
            lines += [f"{key} = {_toml(value)}" for key, value in feature.items()]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (list, tuple, np.ndarray)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return f"{round(float(value), 3) + 0.0:g}" if abs(value) < 1e5 else str(value)


def measure(seat: Seat, name: str, face: float | None = None) -> Measured:
    """Read the connector from seated meshes; `face` is z of the mating face in the seat's frame where it is known.

    Raises:
        MeshError: nothing of the one goes into the other, the gap is none, or a form that features cannot express.
    """
    level = mating_face(seat) if face is None else face
    plug, socket = in_socket_frame(seat, level)
    low, top = float(plug.bounds[0, 2]), float(socket.bounds[1, 2])
    gap = body_bottom(plug, max(top, 0.0))
    ours = _plug_features(plug, socket, gap)
    theirs = _socket_features(plug, socket, ours)
    if not any("visual" not in f.entries for f in ours):
        raise MeshError(
            f"{plug.name}: nothing of it goes into {socket.name} or over it: is its face where it should be?"
        )
    remarks: dict[str, list[str]] = {}
    features = []
    for side, found in (("plug", ours), ("socket", theirs)):
        for number, feature in enumerate(sorted(found, key=lambda f: -f.outline.area), 1):
            title = f"{side}-{number}"
            features.append({"name": title} | feature.entries)
            remarks[title] = feature.remarks
    solid = [f for f in features if not f.get("visual")]
    tips = [f.element.tip for f in theirs if not f.entries.get("visual")]
    travel = max([0.0 if any(f.get("cavity", True) for f in solid) else -np.inf, *tips]) - low
    entries = {
        "name": name,
        "title": name,
        "family": name,
        "variant_of": "",
        "split": "test",
        "source": f"measured from {seat.plug.name} and {seat.socket.name} by lotj connectors from-mesh",
        "insertion_depth_mm": min(travel, max(f["length_mm"] for f in solid)),
        "seating_force_n": 5.0,
        "friction": 0.25,
        **outside(plug, socket, gap, features, remarks),
    }
    remarks["insertion_depth_mm"] = ["measured: from first engagement until the plug touches"]
    for key in ("seating_force_n", "friction"):
        remarks[key] = ["guessed: no mesh shows it"]
    remarks["split"] = ["so that prior data with a close variant of it are refused"]
    return Measured(plug, socket, entries, features, remarks)


def _plug_features(plug: Solid, socket: Solid, gap: float) -> list[_Found]:
    low = float(plug.bounds[0, 2])
    elements = [e for e in fused(find_elements(plug, gap, low, lambda z, areas: [])) if e.length >= _SHORTEST]
    found: list[_Found] = []
    for element in elements:
        found += _plug_element(element, socket)
    bearing = [f for f in found if f.entries.get("cavity", True)]
    for f in bearing:  # what a larger one holds, or ends in, needs no cavity
        above = [o for o in bearing if o is not f and o.outline.buffer(0.02).contains(f.outline)]
        above = [o for o in above if o.outline.area > f.outline.area]
        steps = [o for o in above if abs(o.element.tip - f.element.root) < 0.05]
        if steps and steps[0].element.length >= 0.5 * f.element.length:
            f.entries["visual"] = True
            f.remarks.append("a smaller step: the larger one guides, this one is only seen")
        elif steps:  # the other way round: it is as if the smaller one went all the way
            steps[0].entries["visual"] = True
            steps[0].remarks.append("a larger but shorter step: only seen, the smaller one guides")
            f.entries |= {"base_mm": steps[0].element.root, "length_mm": steps[0].element.root - f.element.tip}
        elif above:
            del f.entries["lead_in_mm"]
            f.entries["cavity"] = False
    return _kept_apart(found)


def _plug_element(element: Element, socket: Solid) -> list[_Found]:
    """One element of the plug as a feature, or several where its section is not convex and that matters."""
    area, z = _at(element), element.middle
    wide, high = element.chamfer
    sunk = element.tip < -0.2
    z = (min(0.0, element.root) + element.tip + high) / 2 if sunk else z
    block = socket_body(socket, z)
    hull: Any = area.convex_hull
    cavity = sunk and filled(block).convex_hull.buffer(0.01).contains(hull)
    inside = [
        socket.section(level).intersection(hull.buffer(-0.02)) for level in (z, element.tip + 0.25 * element.length)
    ]
    standing = shapely.unary_union(inside)
    entries, outline, remark = cross_section(hull)
    remarks = [remark] if remark else []
    common = {"length_mm": element.length, "base_mm": element.root}
    wall, rest = 0.0, []
    holes = [shapely.Polygon(r) for r in area.interiors]
    entered = [h for h in holes if h.intersection(standing).area > 0.02]
    notches = hull - filled(area)
    notched = notches.intersection(standing - block if cavity else standing).area > 0.02
    around = entered or holes
    if len(around) == 1 and not notched:
        wall, rest = _wall(area, hull, around[0], bool(entered))
    elif (entered or notched) and not cavity:
        return [_piece(element, p, common, socket) for p in convex_parts(area)]
    elif notched:
        x, y = standing.centroid.coords[0]
        raise MeshError(
            f"the plug's element at x {hull.centroid.x:.1f}, y {hull.centroid.y:.1f} mm has a notch in which the "
            f"socket stands (x {x:.1f}, y {y:.1f} mm): no feature has that form; write the part by hand"
        )
    elif entered:
        remarks.append(f"{len(entered)} bores for contacts of the socket are filled: the outside guides")
    elif hull.area - area.area > 0.05 * hull.area:
        remarks.append(f"its convex outline; the section fills {100 * area.area / hull.area:.0f} % of that")
    entries |= common
    if cavity:
        gap, lead, note = _gap(area, outline, entries, block, socket_body(socket, -0.012))
        entries |= {"clearance_mm": gap, "lead_in_mm": lead}
        remarks += note
    else:
        entries |= {"clearance_mm": _beside(area, socket, element), "cavity": False}
    if high > 0.02:
        bevelled = wall and wide > 0.75 * wall
        entries["chamfer_mm"] = high if bevelled else wide
        if abs(high - wide) > 0.1 and not bevelled:
            remarks.append(f"tip: {wide:.2f} mm inwards over {high:.2f} mm; a chamfer is as high as wide")
    if wall:
        entries["wall_mm"] = wall
    if element.draft > 0.03:
        remarks.append(f"draft of {element.draft:.2f} mm per side over its length; the section is that of its middle")
    inner = [_piece(element, piece, common, socket) for part in rest for piece in convex_parts(part)]
    return [_Found(element, entries, outline, remarks), *inner]


def _wall(
    area: shapely.Polygon, hull: shapely.Polygon, hole: shapely.Polygon, entered: bool
) -> tuple[float, list[shapely.Polygon]]:
    """Thickness of the wall around the hole of an element [mm], and what stands within it; 0 and nothing where the
    hole is left out, for nothing has `entered` it."""
    wall = float(hull.exterior.distance(hole.exterior))
    if is_round(hull) and is_round(hole):
        return wall, []
    tube = hull - hull.buffer(-wall, join_style="mitre")
    left = (area - tube).buffer(-0.03, join_style="mitre").buffer(0.03, join_style="mitre")
    rest = [p for p in parts(left) if p.area > 0.1]
    return (0.0, []) if rest and not entered else (wall, rest)


def _at(element: Element) -> shapely.Polygon:
    """The section in the middle of what is straight: between the sections around it."""
    pairs = zip(element.cuts[:-1], element.cuts[1:], strict=True)
    (z0, before), (z1, after) = min(pairs, key=lambda pair: sum(abs(z - element.middle) for z, _ in pair))
    inwards = narrowing(before, after) * min(abs(element.middle - z0) / abs(z1 - z0), 1.0)
    return before if abs(inwards) < 1e-3 else before.buffer(-inwards, join_style="mitre")


def _piece(element: Element, piece: shapely.Polygon, common: Mapping[str, Any], socket: Solid) -> _Found:
    entries, outline, _ = cross_section(piece)
    entries |= {**common, "clearance_mm": _beside(piece, socket, element), "cavity": False}
    return _Found(element, entries, outline, ["a convex piece of a section that is not convex"])


def _beside(area: Any, other: Solid, element: Element) -> float:
    """Least distance to the other part at the heights of an element, within what a file may say [mm]."""
    heights = element.tip + (element.root - element.tip) * np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    gaps = [area.distance(cut) for cut in (other.section(z) for z in heights) if not cut.is_empty]
    return float(np.clip(min(gaps, default=0.2), 0.02, 5.0))


def _gap(
    area: shapely.Polygon,
    outline: shapely.Polygon,
    entries: Mapping[str, Any],
    block: shapely.Polygon,
    mouth: shapely.Polygon,
) -> tuple[float, float, list[str]]:
    """(gap per side, lead-in, remarks) of an element in its cavity [mm]: the smallest over the sides."""
    if entries["shape"] == "round":
        centre, radius = shapely.Point(entries["centre_mm"]), entries["diameter_mm"] / 2
        gap = centre.distance(block) - radius
        lead = centre.distance(mouth) - radius - gap
    else:
        shape = outline if alike(outline, filled(area)) else filled(area)  # a notch is filled in both
        gap = shape.distance(block)
        lead = shape.buffer(gap, join_style="mitre").distance(mouth)
    if gap < 0.02:
        x, y = outline.centroid.coords[0]
        raise MeshError(
            f"the plug's element at x {x:.1f}, y {y:.1f} mm has a gap of {gap:.3f} mm to its hole: at least 0.02 mm "
            "are needed; export round parts finer (chord error 0.01 mm), or give the part its play in CAD"
        )
    around = shapely.unary_union([shapely.Polygon(r) for r in block.interiors if shapely.Polygon(r).contains(outline)])
    sides = np.abs(np.array(around.bounds) - np.array(outline.bounds)) if not around.is_empty else np.full(4, gap)
    uneven = sides.max() > gap + 0.1 and entries.get("angle_deg", 0.0) == 0.0
    note = ["gaps at -x, -y, +x, +y: " + ", ".join(f"{s:.2f}" for s in sides) + " mm; the smallest counts"]
    return gap, lead + 0.012 if lead > 0.02 else 0.0, note if uneven else []


def _kept_apart(found: list[_Found]) -> list[_Found]:
    """Elements whose cavities would meet become one, of their common convex outline."""
    bearing = [f for f in found if f.entries.get("cavity", True) and not f.entries.get("visual")]
    for i, one in enumerate(bearing):
        for two in bearing[i + 1 :]:
            cells = [
                shapely.box(*f.outline.bounds).buffer(
                    f.entries["clearance_mm"] + f.entries.get("lead_in_mm", 0.0) + _BESIDE / 2, join_style="mitre"
                )
                for f in (one, two)
            ]
            if cells[0].intersection(cells[1]).area > 1e-6:
                longer = max(one, two, key=lambda f: f.element.length)
                entries, outline, _ = cross_section(shapely.union(one.outline, two.outline).convex_hull)
                kept = {k: v for k, v in longer.entries.items() if k.endswith("_mm")}
                gone = {"size_mm", "diameter_mm", "points_mm", "centre_mm", "wall_mm"}
                kept = {k: v for k, v in kept.items() if k not in gone}
                for key in ("clearance_mm", "chamfer_mm", "lead_in_mm"):
                    kept[key] = min(f.entries.get(key, 0.0) for f in (one, two))
                note = "two elements in one pocket, or closer than cavities can be: their common outline"
                joined = _Found(longer.element, entries | kept, outline, [note])
                return _kept_apart([*(f for f in found if f is not one and f is not two), joined])
    return found


def _socket_features(plug: Solid, socket: Solid, ours: list[_Found]) -> list[_Found]:
    """What the socket bears within its cavities, and above its face."""
    low = float(plug.bounds[0, 2])
    reach = shapely.unary_union([f.outline for f in ours]).convex_hull.buffer(_NEAR)
    start, top = max(low - 2.0, float(socket.bounds[0, 2])), float(socket.bounds[1, 2])
    elements = find_elements(socket, start, top, lambda z, areas: areas[:1] if z < 0 else []) if top > start else []
    found = []
    for element in elements:
        area = _at(element)
        if element.length < _SHORTEST or element.tip < low or not reach.intersects(area):
            continue
        if element.tip <= 0 and socket_body(socket, element.middle).distance(area) < 0.2:  # a part of the wall
            continue
        within = [f for f in ours if f.outline.contains(area.representative_point())]
        filled_up = [f for f in within if not f.entries.get("wall_mm") and f.element.tip < element.tip]
        holes = [shapely.Polygon(r) for r in area.interiors]
        hull: Any = area.convex_hull
        wall = 0.0
        if holes and any(h.intersection(f.outline).area > 0.02 for h in holes for f in ours):
            wall = float(min(hull.exterior.distance(h.exterior) for h in holes))
        convex = wall or hull.area - filled(area).area < 0.05 * hull.area
        for piece in [hull] if convex or filled_up else convex_parts(filled(area)):
            entries, outline, remark = cross_section(piece)
            entries |= {"length_mm": element.length, "base_mm": element.root, "on": "socket"}
            entries |= {"clearance_mm": _beside(area, plug, element), "cavity": False}
            wide, high = element.chamfer
            if high > 0.02:
                entries["chamfer_mm"] = high if wall and wide > 0.75 * wall else wide
            entries |= {"wall_mm": wall} if wall else {}
            entries |= {"visual": True} if filled_up else {}
            found.append(_Found(element, entries, outline, [remark] if remark else []))
    return found
