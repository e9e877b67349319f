"""The connector: a plug, its socket and the numbers that make them mate.

A connector is a list of *features*. Each feature is one male element (a blade, pin, shell, peg, stud, tongue, key),
borne by the plug or by the socket; the other side gets the matching cavity, larger by the clearance on every side.
So plug and socket mate by construction, with the clearance that the data sheet states.

Frames: the *socket frame* has its origin at the centre of the mating face, z out of the socket, towards the plug. The
*plug frame* coincides with it when the plug is fully seated. All attributes are SI (metres, newtons, radians); the
TOML files use millimetres and degrees, as data sheets do, and say so in each key.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from lotj import geometry
from lotj.errors import CatalogueError, SettingsError

SHAPES = ("rect", "round", "polygon")
SPLITS = ("train", "validation", "test", "blind")
_MM = 1e-3


@dataclass(frozen=True)
class Feature:
    """One male element and the cavity that receives it.

    Attributes:
        name: unique within the connector.
        shape: cross-section: ``rect`` (size = x, y widths), ``round`` (size = diameter twice), ``polygon`` (convex).
        on: ``plug`` or ``socket``: the side that bears the male element.
        centre: (x, y) of the cross-section [m].
        size: bounding widths (x, y) of the cross-section [m].
        points: corners of a convex polygon, counter-clockwise, relative to `centre` [m]; empty otherwise.
        length: extent along z [m].
        base: z of the element's root [m]. A plug element reaches from `base` down to `base - length`; a socket element
            from `base` up to `base + length`. 0 is the mating face.
        clearance: gap per side to the mating cavity [m].
        chamfer: taper of the male tip, per side and along z [m].
        lead_in: funnel of the cavity's mouth, per side and along z [m].
        wall: wall thickness if the element is a tube (shell), 0 if it is solid [m].
        cavity: whether the other side gets a cavity for it (false: it goes around or beside the other side).
        visual: seen but not collided with (pins that a shell guides first).
        angle: rotation of the cross-section about z [rad].
        source: where this feature's numbers come from; "" if that is the connector's source.
    """

    name: str
    shape: str
    on: str
    centre: tuple[float, float]
    size: tuple[float, float]
    points: tuple[tuple[float, float], ...]
    length: float
    base: float
    clearance: float
    chamfer: float
    lead_in: float
    wall: float
    cavity: bool
    visual: bool
    angle: float
    source: str


@dataclass(frozen=True)
class Connector:
    """A plug and its socket. See the module docstring for frames and units.

    Attributes:
        name: catalogue name, lower case with hyphens.
        title: what a person calls it.
        family: group of connectors that look and mate alike (``nema``, ``deutsch-dt``, ...).
        variant_of: name shared by close variants of one connector ("" if it has none). Whoever practises on a test
            connector must not have trained on anything with the same `variant_of`.
        split: ``train``, ``validation`` (tuning happens there), ``test``, or ``blind`` (opened by name alone, for one
            final run: docs/predictions.md).
        source: standard or data sheet that the dimensions come from; features may name their own.
        insertion_depth: travel from first engagement to fully seated [m].
        seating_force: Coulomb friction of the contacts against insertion and withdrawal [N].
        friction: sliding friction coefficient of the mating surfaces.
        housing_size: (x, y) widths of the socket block [m].
        housing_height: height of the socket block below the mating face [m].
        housing_shape: ``rect`` or ``round`` (looks only where no cavity touches the rim).
        body_size: (x, y) widths of the plug body above the mating face [m].
        body_height: height of the plug body [m].
        body_gap: gap between body and mating face when seated [m].
        plug_colour, socket_colour: usual colours, linear RGB in [0, 1]; a domain varies them.
        features: the mating elements.
    """

    name: str
    title: str
    family: str
    variant_of: str
    split: str
    source: str
    insertion_depth: float
    seating_force: float
    friction: float
    housing_size: tuple[float, float]
    housing_height: float
    housing_shape: str
    body_size: tuple[float, float]
    body_height: float
    body_gap: float
    plug_colour: tuple[float, float, float]
    socket_colour: tuple[float, float, float]
    features: tuple[Feature, ...]

    @property
    def clearance(self) -> float:
        """Tightest per-side clearance of the colliding features [m]."""
        return min(f.clearance for f in self.features if not f.visual)


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


class _Table:
    """One TOML table, read key by key so that an error can name file, field, value and rule."""

    def __init__(self, where: str, table: Mapping[str, Any]) -> None:
        self.where = where
        self.table = dict(table)
        self.read: set[str] = set()

    def fail(self, key: str, rule: str) -> CatalogueError:
        if key not in self.table:
            near = difflib.get_close_matches(key, set(self.table) - self.read, n=1)
            hint = f" (there is {near[0]!r}: is that it?)" if near else ""
            return CatalogueError(f"{self.where}: {key} is missing{hint}: {rule}")
        return CatalogueError(f"{self.where}: {key} = {self.table[key]!r}: {rule}")

    def text(self, key: str, default: str | None = None, among: tuple[str, ...] = ()) -> str:
        self.read.add(key)
        value = self.table.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.fail(key, "must be a text" + (f", one of {', '.join(among)}" if among else ""))
        if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in value):
            raise self.fail(key, "must be one line, without control characters")
        if among and value not in among:
            raise self.fail(key, f"must be one of {', '.join(among)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        self.read.add(key)
        value = self.table.get(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "must be true or false")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None, scale: float = 1.0) -> float:
        self.read.add(key)
        value = self.table.get(key, default)
        if not _within(value, low, high):
            raise self.fail(key, f"must be a number between {low:g} and {high:g}")
        return value * scale

    def pair(
        self,
        key: str,
        low: float,
        high: float,
        default: tuple[float, ...] | None = None,
        scale: float = _MM,
        n: int = 2,
    ) -> tuple[float, ...]:
        self.read.add(key)
        value = self.table.get(key, default)
        if not isinstance(value, (list, tuple)) or len(value) != n or not all(_within(v, low, high) for v in value):
            raise self.fail(key, f"must be {n} numbers between {low:g} and {high:g}")
        return tuple(v * scale for v in value)

    def close(self) -> None:
        unknown = sorted(set(self.table) - self.read)
        if unknown:
            raise CatalogueError(
                f"{self.where}: unknown entry {unknown[0]!r}; known are {', '.join(sorted(self.read))}"
            )


def _feature(where: str, table: Any) -> Feature:
    if not isinstance(table, Mapping):
        raise CatalogueError(f"{where} = {table!r}: must be a table, headed [[feature]]")
    t = _Table(where, table)
    name = t.text("name")
    t.where = f"{where} {name!r}"
    shape = t.text("shape", among=SHAPES)
    points: tuple[tuple[float, float], ...] = ()
    if shape == "rect":
        size = t.pair("size_mm", 0.2, 120)
    elif shape == "round":
        size = (t.number("diameter_mm", 0.2, 120, scale=_MM),) * 2
    else:
        points = _polygon(t)
        xs, ys = zip(*points, strict=True)
        size = (max(xs) - min(xs), max(ys) - min(ys))
    length = t.number("length_mm", 0.3, 80, scale=_MM)
    feature = Feature(
        name=name,
        shape=shape,
        on=t.text("on", "plug", among=("plug", "socket")),
        centre=t.pair("centre_mm", -80, 80, (0.0, 0.0)),  # type: ignore[arg-type]
        size=size,  # type: ignore[arg-type]
        points=points,
        length=length,
        base=t.number("base_mm", -80, 80, 0.0, scale=_MM),
        clearance=t.number("clearance_mm", 0.02, 5, scale=_MM),
        chamfer=t.number("chamfer_mm", 0, 10, 0.0, scale=_MM),
        lead_in=t.number("lead_in_mm", 0, 10, 0.0, scale=_MM),
        wall=t.number("wall_mm", 0, 20, 0.0, scale=_MM),
        cavity=t.flag("cavity", True),
        visual=t.flag("visual", False),
        angle=t.number("angle_deg", -180, 180, 0.0, scale=math.pi / 180),
        source=t.text("source", ""),
    )
    t.close()
    half = min([*feature.size, 2 * _largest_inset(points)]) / 2
    if feature.chamfer >= min(half, length):
        raise t.fail("chamfer_mm", f"must be below half the width and the length ({min(half, length) / _MM:g} mm)")
    if feature.wall >= half:
        raise t.fail("wall_mm", f"must be below half the width ({half / _MM:g} mm); 0 for a solid element")
    return feature


def _polygon(t: _Table) -> tuple[tuple[float, float], ...]:
    raw = t.table.get("points_mm")
    t.read.add("points_mm")
    rule = "must be at least 3 corners [x, y] within 80 mm, of a convex polygon, counter-clockwise"
    if not isinstance(raw, list) or len(raw) < 3:
        raise t.fail("points_mm", rule)
    if not all(isinstance(p, list) and len(p) == 2 and all(_within(v, -80, 80) for v in p) for p in raw):
        raise t.fail("points_mm", rule)
    points = [(x * _MM, y * _MM) for x, y in raw]
    edges = [(bx - ax, by - ay) for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True)]
    turned = 0.0
    for (ax, ay), (bx, by) in zip(edges, [*edges[1:], edges[0]], strict=True):
        turn = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
        if not 0 < turn < math.pi:
            raise t.fail("points_mm", rule)
        turned += turn
    if turned > 3 * math.pi:  # a star turns left at each corner, too, but more than once round
        raise t.fail("points_mm", rule)
    area = shapely.Polygon(points).area
    if area < 0.05 * _MM * sum(math.hypot(*edge) for edge in edges):  # a square's of 0.2 mm, or a strip's of 0.1 mm
        raise t.fail("points_mm", "must enclose more: at least 0.2 mm are to be wide")
    return tuple(points)


def _largest_inset(points: tuple[tuple[float, float], ...]) -> float:
    """How far the edges of a convex polygon can move inwards until one has no length [m]; infinite for no polygon."""
    if not points:
        return math.inf
    corners, step = np.array(points), 1e-6
    edge, moved = (np.roll(p, -1, axis=0) - p for p in (corners, geometry.offset(corners, -step)))
    length = np.linalg.norm(edge, axis=1)
    shorter = length - np.sum(edge * moved, axis=1) / length
    return float(step * np.min(length / np.maximum(shorter, 1e-12)))


def parse_connector(table: Mapping[str, Any], where: str) -> Connector:
    """Build a connector from a parsed TOML table.

    Args:
        table: the parsed file.
        where: name used in error messages, usually the file's path.

    Raises:
        CatalogueError: one line naming field, value and rule.
    """
    t = _Table(where, table)
    raw_features = t.table.get("feature", [])
    t.read.add("feature")
    if not isinstance(raw_features, list) or not raw_features:
        raise t.fail("feature", "at least one [[feature]] is needed: what goes into what?")
    features = tuple(_feature(f"{where}: feature {i + 1}", f) for i, f in enumerate(raw_features))
    name = t.text("name")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise t.fail("name", "must be small letters, digits, hyphens and dots only: it becomes a folder's name")
    connector = Connector(
        name=name,
        title=t.text("title"),
        family=t.text("family"),
        variant_of=t.text("variant_of", ""),
        split=t.text("split", "train", among=SPLITS),
        source=t.text("source"),
        insertion_depth=t.number("insertion_depth_mm", 1.0, 60, scale=_MM),
        seating_force=t.number("seating_force_n", 0, 25, 0.0),
        friction=t.number("friction", 0.05, 1.0, 0.25),
        housing_size=t.pair("housing_mm", 3, 120),  # type: ignore[arg-type]
        housing_height=t.number("housing_height_mm", 2, 80, scale=_MM),
        housing_shape=t.text("housing_shape", "rect", among=("rect", "round")),
        body_size=t.pair("body_mm", 2, 100),  # type: ignore[arg-type]
        body_height=t.number("body_height_mm", 5, 80, scale=_MM),
        body_gap=t.number("body_gap_mm", 0, 40, 0.0, scale=_MM),
        plug_colour=t.pair("plug_colour", 0, 1, (0.1, 0.1, 0.1), scale=1.0, n=3),  # type: ignore[arg-type]
        socket_colour=t.pair("socket_colour", 0, 1, (0.8, 0.8, 0.8), scale=1.0, n=3),  # type: ignore[arg-type]
        features=features,
    )
    t.close()
    _check_geometry(t, connector)
    return connector


def _check_geometry(t: _Table, c: Connector) -> None:
    names = [f.name for f in c.features]
    if len(set(names)) < len(names):
        raise t.fail("feature", f"names must differ, {sorted(names)} do not")
    solid = [f for f in c.features if not f.visual]
    if not solid:
        raise t.fail("feature", "at least one feature must collide (visual = false)")
    reach = max(f.length for f in solid)
    if c.insertion_depth > reach + 1e-9:
        raise t.fail("insertion_depth_mm", f"must not exceed the longest colliding feature ({reach / _MM:g} mm)")
    for f in c.features:
        if f.on == "plug" and f.cavity and f.base - f.length < -c.housing_height:
            raise CatalogueError(
                f"{t.where}: housing_height_mm = {c.housing_height / _MM:g}: must hold feature {f.name!r}, which "
                f"reaches {(f.length - f.base) / _MM:g} mm below the mating face"
            )
        if f.on == "plug" and f.cavity:
            for axis in (0, 1):
                rim = abs(f.centre[axis]) + f.size[axis] / 2 + f.clearance + f.lead_in
                if f.angle == 0 and rim > c.housing_size[axis] / 2 - 3e-4:
                    raise CatalogueError(
                        f"{t.where}: housing_mm = {[s / _MM for s in c.housing_size]}: the cavity of {f.name!r} with "
                        f"its clearance and lead-in leaves no wall; at least {2 * (rim + 3e-4) / _MM:.2f} mm along "
                        f"{'xy'[axis]} are needed"
                    )


def load_connector_file(path: Path) -> Connector:
    """Read one connector from a TOML file.

    Raises:
        CatalogueError: the file is missing, is not TOML, or breaks a rule; one line naming it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such file; give a catalogue name or the path of a connector TOML") from None
    except OSError as error:
        raise CatalogueError(f"{path}: cannot be read ({error.strerror}); give the path of a connector TOML") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of too many digits, nested too deep
        raise CatalogueError(f"{path}: not a valid TOML file: {error}") from None
    return parse_connector(table, str(path))


@cache
def catalogue() -> Mapping[str, Connector]:
    """All connectors that ship with lotj, by name, sorted."""
    found = {}
    folder = resources.files("lotj.sim") / "catalogue"
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            connector = parse_connector(tomllib.loads(entry.read_text(encoding="utf-8")), entry.name)
            if entry.name != f"{connector.name}.toml":
                raise CatalogueError(f"{entry.name}: name = {connector.name!r}: must equal the file's name")
            found[connector.name] = connector
    return found


def _own_file(name: str) -> Path | None:
    """The path that `name` is, if it ends in ``.toml`` or has a slash; None for a name of the catalogue."""
    return Path(name) if name.strip().lower().endswith(".toml") or "/" in name else None


def connector_text(name: str) -> bytes:
    """The TOML of a connector that `find_connector` has found."""
    return (_own_file(name) or resources.files("lotj.sim") / "catalogue" / f"{name}.toml").read_bytes()


def find_connector(name: str) -> Connector:
    """A connector by catalogue name, or from a file if `name` ends in ``.toml`` or has a slash.

    Raises:
        SettingsError: unknown name; the message lists the nearest ones.
        CatalogueError: the file breaks a rule.
    """
    path = _own_file(name)
    if path is not None:
        return load_connector_file(path)
    known = catalogue()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.3) or list(known)[:3]
        raise SettingsError(
            f"unknown connector {name!r}; nearest: {', '.join(near)} (`lotj connectors list` shows all {len(known)}, "
            "a .toml file adds your own)"
        )
    return known[name]


def training_connectors(*left_out: Connector) -> tuple[Connector, ...]:
    """The training split, without close variants of any test or validation connector nor of those left out."""
    known = catalogue().values()
    held = {c.variant_of or c.name for c in known if c.split != "train"}
    held |= {c.variant_of or c.name for c in left_out}
    return tuple(c for c in known if c.split == "train" and (c.variant_of or c.name) not in held)
