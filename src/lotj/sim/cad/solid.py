"""Triangle meshes of plug and socket: reading, checking, cutting, and how high they stand. Lengths in millimetres."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy.spatial import ConvexHull

from lotj.errors import MeshError
from lotj.extras import library
from lotj.files import atomic_write
from lotj.sim.solids import Piece

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
ENDINGS = (".stl", ".obj", ".ply", ".step", ".stp")
LIMITS = (4.0, 250.0)
"""Largest extent that a plug or a socket may have [mm]."""
_DIGITS = 5  # of the points of a section [mm]; STL has seven in all
_CRACK = 1e-3  # between abutting shells [mm]


@dataclass(frozen=True)
class Solid:
    """A closed surface of one or more shells, which may overlap or hold voids."""

    name: str  # the file's, for messages
    triangles: np.ndarray  # (F, 3, 3) corners [mm]

    @cached_property
    def bounds(self) -> np.ndarray:
        """(2, 3) least and largest x, y, z [mm]."""
        corners = self.triangles.reshape(-1, 3)
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> Solid:
        """Turned by a matrix (3, 3), then shifted by (3,) [mm]."""
        return replace(self, triangles=self.triangles @ np.asarray(rotation).T + shift)

    def between(self, low: float, high: float) -> Solid:
        """The facets that reach into a range of heights [mm]: no longer closed."""
        z = self.triangles[..., 2]
        return replace(self, triangles=self.triangles[(z.max(axis=1) >= low) & (z.min(axis=1) <= high)])

    def levels(self, apart: float = 0.02) -> np.ndarray:
        """Heights at which corners lie, ascending, at least `apart` from each other [mm]."""
        found: list[float] = []
        for z in np.unique(np.round(self.triangles[..., 2], 4)):
            if not found or z - found[-1] >= apart:
                found.append(float(z))
        return np.array(found)

    def section(self, z: float) -> Any:
        """What a level plane cuts: the points that the surface goes around, whatever the number of shells."""
        above = self.triangles[..., 2] >= z
        cut = self.triangles[above.any(axis=1) & ~above.all(axis=1)]
        if not len(cut):
            return shapely.MultiPolygon()
        above = cut[..., 2] >= z
        after = np.roll(above, -1, axis=1)
        rows = np.arange(len(cut))
        up, down = np.argmax(~above & after, axis=1), np.argmax(above & ~after, axis=1)
        # Always from the lower corner, so that both triangles of an edge find the same point to the last bit.
        start = np.round(_crossing(cut[rows, up], cut[rows, (up + 1) % 3], z), _DIGITS)
        end = np.round(_crossing(cut[rows, (down + 1) % 3], cut[rows, down], z), _DIGITS)
        lines = shapely.linestrings(np.stack([start, end], axis=1)[np.any(start != end, axis=1)])
        cells = shapely.get_parts(shapely.polygonize([shapely.unary_union(lines)]))
        if not len(cells):
            return shapely.MultiPolygon()
        inside = shapely.get_coordinates(shapely.point_on_surface(cells))
        solid = shapely.unary_union(cells[_winding(inside, start, end) != 0])
        closed = solid.buffer(_CRACK, join_style="mitre").buffer(-_CRACK, join_style="mitre")
        return shapely.simplify(closed, _CRACK)

    def heights(self, x: np.ndarray, y: np.ndarray, lowest: bool) -> np.ndarray:
        """(len(y), len(x)) lowest or highest z over points of an even grid [mm]; inf or -inf where there is nothing."""
        corners, out = self.triangles, np.full((len(y), len(x)), np.inf if lowest else -np.inf)
        a, b, c = (corners[:, i, :2] for i in range(3))
        area = _cross(b - a, c - a)
        corners = corners[np.abs(area) > 1e-9]
        low, high = corners[..., :2].min(axis=1), corners[..., :2].max(axis=1)
        i0, j0 = np.searchsorted(x, low[:, 0], "left"), np.searchsorted(y, low[:, 1], "left")
        i1, j1 = np.searchsorted(x, high[:, 0], "right"), np.searchsorted(y, high[:, 1], "right")
        count = (i1 - i0) * (j1 - j0)
        of = np.repeat(np.arange(len(corners)), count)
        rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        i, j = i0[of] + rank % (i1 - i0)[of], j0[of] + rank // (i1 - i0)[of]
        a, b, c = (corners[of, k] for k in range(3))
        point = np.stack([x[i], y[j]], axis=1)
        area = _cross(b[:, :2] - a[:, :2], c[:, :2] - a[:, :2])
        v = _cross(point - a[:, :2], c[:, :2] - a[:, :2]) / area
        w = _cross(b[:, :2] - a[:, :2], point - a[:, :2]) / area
        hit = (v >= -1e-9) & (w >= -1e-9) & (v + w <= 1 + 1e-9)
        z = a[:, 2] + v * (b[:, 2] - a[:, 2]) + w * (c[:, 2] - a[:, 2])
        (np.minimum if lowest else np.maximum).at(out, (j[hit], i[hit]), z[hit])
        return out


def _crossing(low: np.ndarray, high: np.ndarray, z: float) -> np.ndarray:
    part = (z - low[:, 2]) / (high[:, 2] - low[:, 2])
    return low[:, :2] + part[:, None] * (high[:, :2] - low[:, :2])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _winding(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """How often directed segments (N, 2) go around each point (K, 2)."""
    turns = np.zeros(len(points), int)
    for k, (x, y) in enumerate(points):
        side = _cross(end - start, np.array([x, y]) - start)
        rising = (start[:, 1] <= y) & (end[:, 1] > y) & (side > 0)
        falling = (start[:, 1] > y) & (end[:, 1] <= y) & (side < 0)
        turns[k] = rising.sum() - falling.sum()
    return turns


_EMPTY = "holds no triangles that can be read; export the solid body whole, not a sketch or a drawing"


def load_solid(path: Path, unit: str = "mm") -> Solid:
    """A closed mesh from an STL, OBJ, PLY or STEP file; `unit` is one of `UNITS` (STEP knows its own).

    Raises:
        MeshError: no such file, another ending, an open surface, or a size that no connector has; one line.
        SettingsError: the extra `cad` is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise MeshError(f"{path}: must end in one of {', '.join(ENDINGS)}; export it from CAD as STL, binary, in mm")
    if not path.is_file():
        raise MeshError(f"{path}: no such file")
    step = path.suffix.lower() in (".step", ".stp")
    if step:  # trimesh reads it by this
        library("cascadio", ", or export the part as STL")
    trimesh = library("trimesh")
    try:
        mesh = trimesh.load_mesh(path)
    except ModuleNotFoundError:  # what it reads text with, so the binary file is torn
        raise MeshError(f"{path}: {_EMPTY}") from None
    except Exception as error:  # its readers raise whatever they meet
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, FileNotFoundError):  # what its reader has made of a STEP file
            reason = "no solid body in it"
        raise MeshError(
            f"{path}: cannot be read as {path.suffix[1:].upper()}: {reason[:120]}; export it again"
        ) from None
    if not len(mesh.faces):
        raise MeshError(f"{path}: {_EMPTY}")
    scale = UNITS["m" if step else unit]
    solid = Solid(path.name, np.asarray(mesh.vertices, float)[np.asarray(mesh.faces)] * scale)
    _check_size(path, solid, "m" if step else unit)
    _check_closed(path, solid)
    return solid


def _check_size(path: Path, solid: Solid, unit: str) -> None:
    size = np.ptp(solid.bounds, axis=0)
    if not LIMITS[0] <= size.max() <= LIMITS[1]:
        fits = [u for u, scale in UNITS.items() if LIMITS[0] <= size.max() / UNITS[unit] * scale <= LIMITS[1]]
        way = f"is it in {' or '.join(fits)}? (--unit {fits[0]})" if fits else "is it the right file?"
        x, y, z = size
        raise MeshError(
            f"{path}: {x:.3g} x {y:.3g} x {z:.3g} mm if its unit is {unit}: the largest must be {LIMITS[0]:g} to "
            f"{LIMITS[1]:g} mm; {way}"
        )


def _check_closed(path: Path, solid: Solid) -> None:
    """Every edge is gone along in both directions equally often: also where shells touch."""
    places, index = np.unique(np.round(solid.triangles.reshape(-1, 3), 4), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]  # of no area
    edges = np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)])
    pairs, of = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    odd = np.bincount(of.ravel()) % 2 == 1
    balance = np.bincount(of.ravel(), weights=np.where(edges[:, 0] < edges[:, 1], 1, -1))
    if odd.any():
        x, y, z = places[pairs[odd][0]].mean(axis=0)
        raise MeshError(
            f"{path}: is not closed: {odd.sum()} open edges, one at x {x:.2f}, y {y:.2f}, z {z:.2f} mm; export a solid "
            "body (not surfaces), or repair it in CAD or a mesh tool"
        )
    if balance.any():
        raise MeshError(
            f"{path}: {int((balance != 0).sum())} edges have facets that face opposite ways; export it again"
        )


def solid_of(name: str, pieces: Iterable[Piece]) -> Solid:
    """The pieces of plug or socket that collide, each a closed shell."""
    shells = []
    for piece in (p for p in pieces if p.collides):
        corners = 1e3 * piece.vertices()
        hull = ConvexHull(corners)
        shell = corners[hull.simplices]
        normal = np.cross(shell[:, 1] - shell[:, 0], shell[:, 2] - shell[:, 0])
        inwards = np.sum(normal * hull.equations[:, :3], axis=1) < 0
        shell[inwards] = shell[inwards][:, ::-1]
        shells.append(shell)
    return Solid(name, np.concatenate(shells))


def write_stl(path: Path, solid: Solid) -> None:
    """Binary STL in millimetres. StorageError if it cannot be written."""
    records = np.zeros(len(solid.triangles), [("numbers", "<f4", (4, 3)), ("attribute", "<u2")])
    start = solid.triangles[:, 0]
    normal = np.cross(solid.triangles[:, 1] - start, solid.triangles[:, 2] - start)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    records["numbers"][:, 0] = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    records["numbers"][:, 1:] = solid.triangles
    head = f"lotj {solid.name}, millimetres".encode()[:80].ljust(80)
    atomic_write(path, head + len(records).to_bytes(4, "little") + records.tobytes())


def file_name(path: Path) -> str:
    """A connector's name from that of a file: small letters, digits, hyphens and dots."""
    return re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-.") or "part"
