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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from lotj import geometry
from lotj.errors import CatalogueError, SettingsError

CATALOGUE = Path(__file__).parent / "catalogue"
SHAPES = ("rect", "round", "polygon")
SPLITS = ("train", "validation", "test", "blind", "challenge")
_MM = 1e-3
_UNITS = {"mm": _MM, "deg": math.pi / 180}


class _Entry(NamedTuple):
    key: str  # in the file; its end says the unit
    broken: Callable[[Any], str]  # value -> the rule that it breaks, "" if none
    default: Any = None  # None if it must be there
    convert: Callable[[Any], Any] = lambda value: value  # to SI units


def _entry(*entry: Any) -> Any:
    return field(metadata={"entry": _Entry(*entry)})


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _number(key: str, low: float, high: float, default: Any = None, n: int = 0) -> Any:
    """A number, or a list of n of them, in the unit that the end of the key says."""
    unit = _UNITS.get(key.rpartition("_")[2], 1.0)
    rule = f"must be {f'{n} numbers' if n else 'a number'} between {low:g} and {high:g}"

    def broken(value: Any) -> str:
        values = value if n else [value]
        fits = isinstance(values, (list, tuple)) and len(values) == (n or 1)
        return "" if fits and all(_within(v, low, high) for v in values) else rule

    return _entry(key, broken, default, lambda value: tuple(v * unit for v in value) if n else value * unit)


def _text(key: str, default: str | None = None, among: tuple[str, ...] = ()) -> Any:
    def broken(value: Any) -> str:
        if not isinstance(value, str) or (default is None and not value.strip()):
            return "must be a text" + (f", one of {', '.join(among)}" if among else "")
        if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in value):
            return "must be one line, without control characters"
        return f"must be one of {', '.join(among)}" if among and value not in among else ""

    return _entry(key, broken, default)


def _flag(key: str, default: bool) -> Any:
    return _entry(key, lambda value: "" if isinstance(value, bool) else "must be true or false", default)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One male element and the cavity that receives it; lengths in metres, each with its entry and range in a file.

    A plug element reaches from `base` down to `base - length`; a socket element from `base` up to `base + length`.
    """

    name: str = _text("name")  # unique within the connector
    shape: str = _text("shape", among=SHAPES)  # cross-section; a polygon is convex
    size: tuple[float, float]  # bounding widths (x, y) of the cross-section; of `round` the diameter twice
    points: tuple[tuple[float, float], ...]  # of a polygon: corners, counter-clockwise, relative to `centre`
    length: float = _number("length_mm", 0.3, 80)  # along z
    on: str = _text("on", "plug", among=("plug", "socket"))  # the side that bears the male element
    centre: tuple[float, float] = _number("centre_mm", -80, 80, (0.0, 0.0), n=2)  # (x, y) of the cross-section
    base: float = _number("base_mm", -80, 80, 0.0)  # z of the element's root; 0 is the mating face
    clearance: float = _number("clearance_mm", 0.02, 5)  # gap per side to the mating cavity
    chamfer: float = _number("chamfer_mm", 0, 10, 0.0)  # taper of the male tip, per side and along z
    lead_in: float = _number("lead_in_mm", 0, 10, 0.0)  # funnel of the cavity's mouth, per side and along z
    wall: float = _number("wall_mm", 0, 20, 0.0)  # thickness if the element is a tube (shell), 0 if it is solid
    cavity: bool = _flag("cavity", True)  # on the other side; false: the element goes around or beside that
    visual: bool = _flag("visual", False)  # seen but not collided with (pins that a shell guides first)
    angle: float = _number("angle_deg", -180, 180, 0.0)  # of the cross-section about z [rad]
    source: str = _text("source", "")  # of this feature's numbers; "" if that is the connector's


@dataclass(frozen=True, kw_only=True)
class Connector:
    """A plug and its socket; lengths in metres, each with its entry and range in a file.

    Whoever practises on a test connector must not have trained on anything with the same `variant_of`. Tuning happens
    on the split ``validation``; ``blind`` is opened by name alone, for one final run (docs/predictions.md);
    ``challenge`` is unlike anything trained on, for fine-tuning (Zhao et al. 2022).
    """

    name: str = _text("name")  # lower case with hyphens
    title: str = _text("title")  # what a person calls it
    family: str = _text("family")  # connectors that look and mate alike (``nema``, ``deutsch-dt``, ...)
    variant_of: str = _text("variant_of", "")  # shared by close variants of one connector
    split: str = _text("split", "train", among=SPLITS)
    source: str = _text("source")  # standard or data sheet of the dimensions
    insertion_depth: float = _number("insertion_depth_mm", 1.0, 60)  # from first engagement to fully seated
    seating_force: float = _number("seating_force_n", 0, 25, 0.0)  # Coulomb friction of the contacts, both ways [N]
    friction: float = _number("friction", 0.05, 1.0, 0.25)  # sliding, of the mating surfaces
    housing_size: tuple[float, float] = _number("housing_mm", 3, 140, n=2)  # (x, y) of the socket block
    housing_height: float = _number("housing_height_mm", 2, 80)  # below the mating face
    housing_shape: str = _text("housing_shape", "rect", among=("rect", "round"))  # seen where no cavity is near the rim
    body_size: tuple[float, float] = _number("body_mm", 2, 140, n=2)  # (x, y) of the plug body above the mating face
    body_height: float = _number("body_height_mm", 5, 80)
    body_gap: float = _number("body_gap_mm", 0, 40, 0.0)  # between body and mating face when seated
    # Usual colours, linear RGB; a domain varies them.
    plug_colour: tuple[float, float, float] = _number("plug_colour", 0, 1, (0.1, 0.1, 0.1), n=3)
    socket_colour: tuple[float, float, float] = _number("socket_colour", 0, 1, (0.8, 0.8, 0.8), n=3)
    features: tuple[Feature, ...]

    def is_variant_of(self, other: Connector) -> bool:
        """Whether both are variants of one connector: named so, or of the same elements."""
        named = {self.name, self.variant_of} & {other.name, other.variant_of} - {""}
        return bool(named) or self.features == other.features

    @property
    def clearance(self) -> float:
        """Tightest per-side clearance of the colliding features [m]."""
        return min(f.clearance for f in self.features if not f.visual)

    @property
    def contact_height(self) -> float:
        """z of the plug origin at which the first surfaces of plug and socket are level [m]."""
        on_plug = [f.length - f.base for f in self.features if f.on == "plug"]
        on_socket = [f.base + f.length for f in self.features if f.on == "socket"]
        return max([0.0, *on_plug]) + max([0.0, *on_socket])

    @property
    def capture_range(self) -> float:
        """Lateral error up to which the slopes of every colliding feature lead it in: the least clearance + chamfer +
        lead-in [m]."""
        return min(f.clearance + f.chamfer + f.lead_in for f in self.features if not f.visual)


def _broken_polygon(corners: Any) -> str:
    rule = "must be at least 3 corners [x, y] within 80 mm, of a convex polygon, counter-clockwise"
    if not isinstance(corners, list) or len(corners) < 3:
        return rule
    if not all(isinstance(p, list) and len(p) == 2 and all(_within(v, -80, 80) for v in p) for p in corners):
        return rule
    if shapely.get_num_coordinates(shapely.MultiPoint(corners).convex_hull) != len(corners) + 1:
        return rule
    ring = shapely.LinearRing(corners)
    if not (ring.is_ccw and ring.is_simple):  # a star has all corners on its hull, too
        return rule
    thick = shapely.Polygon(ring).area >= 0.05 * ring.length  # a square's of 0.2 mm, or a strip's of 0.1 mm
    return "" if thick else "must enclose more: at least 0.2 mm are to be wide"


_SIZES = {
    "rect": {"size": _number("size_mm", 0.2, 120, n=2)},
    "round": {"size": _number("diameter_mm", 0.2, 120)},
    "polygon": {
        "points": _entry("points_mm", _broken_polygon, None, lambda ps: tuple((x * _MM, y * _MM) for x, y in ps))
    },
}


def _fault(where: str, table: Mapping[str, Any], key: str, rule: str, known: Collection[str] = ()) -> CatalogueError:
    if key in table:
        return CatalogueError(f"{where}: {key} = {table[key]!r}: {rule}")
    near = difflib.get_close_matches(key, set(table).difference(known), n=1)
    hint = f" (there is {near[0]!r}: is that it?)" if near else ""
    return CatalogueError(f"{where}: {key} is missing{hint}: {rule}")


def _read(where: str, table: Mapping[str, Any], attributes: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Attribute -> value, of those that a file has; `others` are keys that are read elsewhere."""
    entries: dict[str, _Entry] = {a: f.metadata["entry"] for a, f in attributes.items() if "entry" in f.metadata}
    known, values = {*others, *(entry.key for entry in entries.values())}, {}
    for attribute, (key, broken, default, convert) in entries.items():
        value = table.get(key, default)
        rule = broken(value)
        if rule:
            raise _fault(where, table, key, rule, known)
        values[attribute] = convert(value)
    unknown = sorted(set(table) - known)
    if unknown:
        raise CatalogueError(f"{where}: unknown entry {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return values


def _feature(where: str, table: Any) -> Feature:
    if not isinstance(table, Mapping):
        raise CatalogueError(f"{where} = {table!r}: must be a table, headed [[feature]]")
    name, shape = table.get("name"), table.get("shape")
    where = f"{where} {name!r}" if name and isinstance(name, str) else where
    size = _SIZES[shape if shape in SHAPES else "rect"]
    values = _read(where, table, {f.name: f for f in fields(Feature)} | size)
    points = np.array(values.setdefault("points", ()))
    if shape == "round":
        values["size"] = (values["size"],) * 2
    elif shape == "polygon":
        values["size"] = tuple(np.ptp(points, axis=0).tolist())
    feature = Feature(**values)
    half = min(*feature.size, 2 * _largest_inset(points) if shape == "polygon" else math.inf) / 2
    limit = min(half, feature.length)
    if feature.chamfer >= limit:
        rule = f"must be below half the width and the length ({limit / _MM:g} mm)"
        raise _fault(where, table, "chamfer_mm", rule)
    if feature.wall >= half:
        rule = f"must be below half the width ({half / _MM:g} mm); 0 for a solid element"
        raise _fault(where, table, "wall_mm", rule)
    return feature


def _largest_inset(corners: np.ndarray) -> float:
    """How far the edges of a convex polygon can move inwards until one has no length [m]."""
    step = 1e-6
    edge, moved = (np.roll(p, -1, axis=0) - p for p in (corners, geometry.offset(corners, -step)))
    length = np.linalg.norm(edge, axis=1)
    shorter = length - np.sum(edge * moved, axis=1) / length
    return float(step * np.min(length / np.maximum(shorter, 1e-12)))


def parse_connector(table: Mapping[str, Any], where: str) -> Connector:
    """Build a connector from a parsed TOML table; `where` names it in errors, usually by the file's path.

    Raises:
        CatalogueError: one line naming field, value and rule.
    """
    features = table.get("feature")
    if not isinstance(features, list) or not features:
        raise _fault(where, table, "feature", "at least one [[feature]] is needed: what goes into what?")
    parsed = tuple(_feature(f"{where}: feature {i + 1}", f) for i, f in enumerate(features))
    connector = Connector(**_read(where, table, {f.name: f for f in fields(Connector)}, "feature"), features=parsed)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", connector.name):
        rule = "must be small letters, digits, hyphens and dots only: it becomes a folder's name"
        raise _fault(where, table, "name", rule)
    _check_geometry(where, table, connector)
    return connector


def _check_geometry(where: str, table: Mapping[str, Any], c: Connector) -> None:
    names = [f.name for f in c.features]
    if len(set(names)) < len(names):
        raise _fault(where, table, "feature", f"names must differ, {sorted(names)} do not")
    solid = [f for f in c.features if not f.visual]
    if not solid:
        raise _fault(where, table, "feature", "at least one feature must collide (visual = false)")
    reach = max(f.length for f in solid)
    if c.insertion_depth > reach + 1e-9:
        rule = f"must not exceed the longest colliding feature ({reach / _MM:g} mm)"
        raise _fault(where, table, "insertion_depth_mm", rule)
    for f in (f for f in c.features if f.on == "plug" and f.cavity):
        if f.base - f.length < -c.housing_height:
            depth = (f.length - f.base) / _MM
            rule = f"must hold feature {f.name!r}, which reaches {depth:g} mm below the mating face"
            raise _fault(where, table, "housing_height_mm", rule)
        for axis in (0, 1):
            rim = abs(f.centre[axis]) + f.size[axis] / 2 + f.clearance + f.lead_in + 3e-4
            if f.angle == 0 and rim > c.housing_size[axis] / 2:
                rule = (
                    f"the cavity of {f.name!r} with its clearance and lead-in leaves no wall; at least "
                    f"{2 * rim / _MM:.2f} mm along {'xy'[axis]} are needed"
                )
                raise _fault(where, table, "housing_mm", rule)


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
    found = {path.name: load_connector_file(path) for path in sorted(CATALOGUE.glob("*.toml"))}
    for file, connector in found.items():
        if file != f"{connector.name}.toml":
            raise CatalogueError(f"{file}: name = {connector.name!r}: must equal the file's name")
    return {connector.name: connector for connector in found.values()}


def _own_file(name: str) -> Path | None:
    """The path that `name` is, if it ends in ``.toml`` or has a slash; None for a name of the catalogue."""
    return Path(name) if name.strip().lower().endswith(".toml") or "/" in name else None


def connector_text(name: str) -> bytes:
    """The TOML of a connector that `find_connector` has found."""
    return (_own_file(name) or CATALOGUE / f"{name}.toml").read_bytes()


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
    held = (*(c for c in known if c.split != "train"), *left_out)
    return tuple(c for c in known if c.split == "train" and not any(c.is_variant_of(other) for other in held))
