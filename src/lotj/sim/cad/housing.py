"""What is around plug and socket: the mating face, the frame that follows from it, housing and body. Millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely

from lotj.errors import MeshError
from lotj.sim.cad.elements import cross_section, filled, is_round, parts
from lotj.sim.cad.seating import Seat
from lotj.sim.cad.solid import Solid


def mating_face(seat: Seat) -> float:
    """The highest level within the plug's reach at which the socket has half of its largest outline."""
    low, top = seat.plug.bounds[0, 2], seat.socket.bounds[1, 2]
    levels = [z for z in seat.socket.levels(0.05) if z > low - 1.0] + [top]

    def area(z: float) -> float:
        section = seat.socket.section(z - 0.02).buffer(1.2, join_style="mitre")  # a notch in a rim does not open it
        return sum(filled(p).area for p in parts(section))

    areas = np.array([area(z) for z in levels])
    return float(np.array(levels)[areas >= 0.5 * areas.max()].max())


def body_bottom(plug: Solid, top: float) -> float:
    """Lowest z, above what the socket has, from which the plug has half of its largest section there."""
    levels = np.unique([top, *(z for z in plug.levels(0.05) if z > top)])
    areas = np.array([plug.section(z + 0.02).area for z in levels])
    return float(levels[areas >= 0.5 * areas.max()].min())


def in_socket_frame(seat: Seat, level: float) -> tuple[Solid, Solid]:
    """Both with z = 0 at the mating face, the origin below the middle of the body, and sides along x and y; MeshError
    for a plug that is gone in its socket."""
    bottom = body_bottom(seat.plug, float(seat.socket.bounds[1, 2]))
    body: Any = seat.plug.section(0.7 * bottom + 0.3 * seat.plug.bounds[1, 2]).convex_hull
    if seat.plug.bounds[1, 2] < level or body.is_empty:
        raise MeshError(
            f"{seat.plug.name}: seated, its top is {level - seat.plug.bounds[1, 2]:.2f} mm below the face of "
            f"{seat.socket.name}: nothing is left to hold; add a body to it, or say where the face is (--face)"
        )
    block = seat.socket.section(level - 0.02).convex_hull
    sided = next((hull for hull in (body, block) if not is_round(hull)), None)
    turn = 0.0
    if sided is not None:
        (x0, y0), (x1, y1) = shapely.get_coordinates(sided.minimum_rotated_rectangle)[:2]
        angle = np.arctan2(y1 - y0, x1 - x0)
        turn = -((angle + np.pi / 4) % (np.pi / 2) - np.pi / 4)
        turn = 0.0 if abs(turn) < np.radians(0.05) else turn
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    middle = shapely.get_coordinates(body) @ rotation[:2, :2].T
    shift = np.append(-(middle.min(axis=0) + middle.max(axis=0)) / 2, -level)
    return seat.plug.moved(rotation, shift), seat.socket.moved(rotation, shift)


def socket_body(socket: Solid, z: float) -> shapely.Polygon:
    """The socket's body at a level: of its areas the one with the largest outline."""
    found = parts(socket.section(z))
    return found[0] if found else shapely.Polygon()


def outside(
    plug: Solid, socket: Solid, gap: float, features: list[dict[str, Any]], remarks: dict[str, list[str]]
) -> dict[str, Any]:
    """Housing and body: what is seen and held."""
    hull: Any = shapely.unary_union([socket_body(socket, z) for z in (-0.02, -1.0)]).convex_hull
    size = 2 * np.abs(np.array(hull.bounds)).reshape(2, 2).max(axis=0)
    if np.abs(size - np.ptp(np.array(hull.bounds).reshape(2, 2), axis=0)).max() > 0.05:
        remarks["housing_mm"] = ["wider than measured: its middle is not below the body's"]
    shape = {"housing_shape": "round"} if is_round(hull) else {}
    if shape:
        size = np.full(2, 2 * hull.exterior.distance(shapely.Point(0, 0)))
    for f in (f for f in features if f.get("cavity", True) and not f.get("visual")):
        _, outline, _ = cross_section(shapely.Polygon(f["points_mm"])) if "points_mm" in f else (0, _box(f), 0)
        need = 2 * np.abs(np.array(outline.bounds)).reshape(2, 2).max(axis=0)
        need += 2 * (f["clearance_mm"] + f.get("lead_in_mm", 0.0) + 0.31)
        if (need > size).any():
            remarks["housing_mm"] = ["wider than measured: a wall is needed around every cavity"]
        size = np.maximum(size, need)
    deepest = max([f["length_mm"] - f["base_mm"] for f in features if f.get("on") != "socket"])
    height = max(-float(socket.bounds[0, 2]), deepest)
    shown = plug.section(0.7 * gap + 0.3 * plug.bounds[1, 2]).convex_hull.bounds
    body = 2 * np.abs(np.array(shown)).reshape(2, 2).max(axis=0)
    remarks["body_mm"] = ["the box around it at 0.3 of its height, where it is held; y is the way the fingers close"]
    tall = float(plug.bounds[1, 2]) - gap
    limits = {"housing_height_mm": (height, 2.0, 80.0), "body_height_mm": (tall, 5.0, 80.0)}
    for key, (value, least, most) in limits.items():
        if not least <= value <= most:
            remarks[key] = [f"measured {value:.2f}: cut to what a file may say"]
    found = {key: float(np.clip(*limit)) for key, limit in limits.items()}
    return {"housing_mm": size, **found, **shape, "body_mm": body, "body_gap_mm": gap}


def _box(feature: Mapping[str, Any]) -> shapely.Polygon:
    size = np.broadcast_to(feature.get("size_mm", feature.get("diameter_mm", 0.0)), 2)
    box = shapely.box(*(-size / 2), *(size / 2))
    turned = shapely.affinity.rotate(box, feature.get("angle_deg", 0.0), origin=(0, 0))
    return shapely.affinity.translate(turned, *feature["centre_mm"])
