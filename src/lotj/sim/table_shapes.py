"""What may lie on the table: procedural shapes, each a union of convex primitives, and which of them are held out.

A `Part` is one primitive, sizes as MuJoCo has them. Shapes stand on z = 0 with their mass above the origin. An object is
grasped from above with the fingers closing along x, where it is at most 50 mm wide; a handle sticks out of the drawer's
front along -y from its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

PARTS = 5  # primitives of a shape, at most


@dataclass(frozen=True)
class Part:
    """One convex primitive: its kind, sizes [mm], middle [mm], and Euler angles about x, y, z, in this order [deg]."""

    kind: str  # box, cylinder, capsule, ellipsoid or sphere
    size: tuple[float, ...]
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def rotation(self) -> np.ndarray:
        """(3, 3)."""
        (a, b, c), (d, e, f) = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
        about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
        about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
        return about_z @ about_y @ about_x

    def volume(self) -> float:
        """[mm3]."""
        a, b, c = (*self.size, 0.0, 0.0)[:3]
        kinds = {
            "box": 8 * a * b * c,
            "cylinder": 2 * np.pi * a**2 * b,
            "capsule": 2 * np.pi * a**2 * b + 4 / 3 * np.pi * a**3,
            "ellipsoid": 4 / 3 * np.pi * a * b * c,
            "sphere": 4 / 3 * np.pi * a**3,
        }
        return float(kinds[self.kind])

    def reach(self) -> np.ndarray:
        """(3,) half extents along x, y, z [mm]."""
        a, b, c = (*self.size, 0.0, 0.0)[:3]
        turn = np.abs(self.rotation())
        if self.kind == "box":
            return turn @ [a, b, c]
        if self.kind == "ellipsoid":
            return np.sqrt(turn**2 @ np.square([a, b, c]))
        axis = turn[:, 2]
        if self.kind == "cylinder":
            return a * np.sqrt(np.maximum(0.0, 1 - axis**2)) + b * axis
        return a + b * axis  # a capsule; of a sphere b is 0


@dataclass(frozen=True)
class Shape:
    """A union of parts, and the height over what it stands on at which fingers take it [mm]."""

    parts: tuple[Part, ...]
    grasp: float = 0.0

    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner [mm]."""
        lows = np.array([part.at - part.reach() for part in self.parts])
        highs = np.array([part.at + part.reach() for part in self.parts])
        return np.array([lows.min(0), highs.max(0)])

    def radius(self) -> float:
        """Of a cylinder about the vertical through the origin that holds it, about [m]."""
        return 1e-3 * float(np.hypot(*np.abs(self.bounds()[:, :2]).max(0))) if self.parts[0].kind == "box" else 1e-3 * float(np.abs(self.bounds()[:, :2]).max())


def _standing(parts: list[Part], grasp: float | None = None) -> Shape:
    """On z = 0, its centre of mass above the origin; taken at 0.55 of its height, at most 30 mm, unless told."""
    weights = np.array([part.volume() for part in parts])
    shift = weights @ np.array([part.at for part in parts]) / weights.sum()
    shift[2] = Shape(tuple(parts)).bounds()[0, 2]
    moved = [Part(part.kind, part.size, tuple(np.round(np.array(part.at) - shift, 3)), part.turn) for part in parts]
    height = Shape(tuple(moved)).bounds()[1, 2]
    return Shape(tuple(moved), float(min(0.55 * height, 30.0) if grasp is None else grasp))


def _box(x: float, y: float, z: float, at: tuple = (0, 0, 0), turn: tuple = (0, 0, 0)) -> Part:
    return Part("box", (x, y, z), at, turn)


def _rod(r: float, half: float, at: tuple = (0, 0, 0), along: str = "z", kind: str = "cylinder") -> Part:
    return Part(kind, (r, half), at, {"x": (0, 90, 0), "y": (90, 0, 0), "z": (0, 0, 0)}[along])


def _ball(*size: float, at: tuple = (0, 0, 0)) -> Part:
    return Part("ellipsoid" if len(size) == 3 else "sphere", size, at)


_FAMILIES: Mapping[str, Callable[[float, float, float], list[Part]]] = {
    # of w (half width across the fingers), l (half length) and h (height), all in mm
    "brick": lambda w, l, h: [_box(w, l, h / 3), _box(0.6 * w, 0.35 * l, h / 6, (0, 0.3 * l, h / 2))],
    "mug": lambda w, l, h: [
        _rod(w, h / 2),
        _box(3, l / 4, 3, (0, w + l / 4 - 2, h / 4)),
        _box(3, l / 4, 3, (0, w + l / 4 - 2, -h / 4)),
        _box(3, 3, h / 4 + 3, (0, w + l / 2, 0)),
    ],
    "bottle": lambda w, l, h: [_rod(w, h / 3), _rod(w / 2, h / 6, (0, 0, h / 2)), _rod(0.7 * w, 4, (0, 0, h / 1.5))],
    "hammer": lambda w, l, h: [_box(w / 2, l, h / 3), _box(w, 0.28 * l, h / 2, (0, l, h / 6))],
    "dumbbell": lambda w, l, h: [_box(w, l / 4, h / 2, (0, 0.8 * l, 0)), _box(w, l / 4, h / 2, (0, -0.8 * l, 0)), _rod(w / 2, l, along="y")],
    "ell": lambda w, l, h: [_box(w, l, h / 3), _box(w, l / 3, h / 3, (0, l / 1.5, h / 2))],
    "tee": lambda w, l, h: [_box(w / 2, l, h / 2), _box(1.4 * w, l / 4, h / 2, (0, l, 0))],
    "cross": lambda w, l, h: [_box(w / 2.5, l, h / 2), _box(w, l / 3, h / 2)],
    "mushroom": lambda w, l, h: [
        _rod(0.8 * w, h / 6), _rod(0.45 * w, h / 2, (0, 0, h / 2)), _ball(w, w, h / 3, at=(0, 0, h))
    ],
    "house": lambda w, l, h: [_box(w, l, h / 3), _box(0.68 * w, 0.9 * l, 0.68 * w, (0, 0, h / 3), (0, 45, 0)), _box(4, 4, h / 3, (0, l / 2, 0.7 * h))],
    "snowman": lambda w, l, h: [_rod(0.9 * w, h / 8), _ball(w, at=(0, 0, 0.8 * w)), _ball(0.7 * w, at=(0, 0, 2 * w))],
    "chair": lambda w, l, h: [_box(w, l, h / 4), _box(w, l / 4, h / 3, (0, -0.75 * l, h / 2))],
    "boat": lambda w, l, h: [_box(0.7 * w, 0.7 * l, 4), _ball(w, l, h / 3, at=(0, 0, h / 4)), _rod(4, h / 2, (0, 0, h / 1.6))],
    "plane": lambda w, l, h: [
        _rod(0.7 * w, l, along="y", kind="capsule"),
        _box(2.2 * w, l / 4, 3, (0, 0.62 * l, 0)),
        _box(w, l / 7, 3, (0, -l, 0)),
        _box(2, l / 6, h / 3, (0, -l, h / 3)),
        _box(w / 2, l / 2, 3, (0, 0, -0.7 * w)),
    ],
    "camera": lambda w, l, h: [_box(0.7 * w, l, h / 2), _rod(h / 3, w / 2, (0.8 * w, 0, 0), "x"), _box(w / 2, l / 4, h / 8, (0, l / 2, h / 1.7))],
    "sofa": lambda w, l, h: [
        _box(w, l, h / 4),
        _box(w / 3, l, h / 3, (-0.7 * w, 0, h / 2)),
        _box(w, l / 6, h / 4, (0, l, h / 4)),
        _box(w, l / 6, h / 4, (0, -l, h / 4)),
    ],
}  # fmt: skip
_SIZES = ((20.0, 27.0, 46.0), (23.0, 32.0, 52.0), (17.0, 35.0, 40.0))  # w, l, h of the three of a family

OBJECTS: Mapping[str, Shape] = {
    f"{family}-{number}": _standing(make(*size))
    for family, make in _FAMILIES.items()
    for number, size in enumerate(_SIZES)
}
"""48 graspable objects: 16 families, three of different sizes and proportions in each."""

HANDLES: Mapping[str, tuple[Shape, str]] = {
    name: (Shape(tuple(parts)), grip)
    for name, grip, *parts in (
        ("ball", "across", _rod(6, 13, (0, -12, 0), "y"), _ball(13, at=(0, -30, 0))),
        ("disc", "across", _rod(7, 13, (0, -12, 0), "y"), _rod(17, 6, (0, -30, 0), "y")),
        ("cube", "across", _rod(6, 12, (0, -12, 0), "y"), _box(13, 9, 13, (0, -30, 0))),
        ("fin", "across", _box(5, 20, 16, (0, -20, 0))),
        ("post", "across", _box(6, 13, 5, (0, -12, 0)), _rod(8, 22, (0, -28, 0))),
        ("arch", "across", _box(7, 13, 4, (0, -12, 17)), _box(7, 13, 4, (0, -12, -17)), _box(7, 5, 21, (0, -29, 0))),
        ("cone", "across", _rod(7, 10, (0, -9, 0), "y"), _rod(11, 6, (0, -22, 0), "y"), _rod(16, 6, (0, -34, 0), "y")),
        ("lever", "across", _rod(6, 14, (0, -13, 0), "y"), _box(6, 6, 24, (0, -30, -4), (0, 20, 0))),
        ("egg", "across", _rod(6, 12, (0, -12, 0), "y"), _ball(15, 14, 20, at=(0, -32, 0))),
        ("star", "across", _rod(6, 12, (0, -12, 0), "y"), _box(14, 7, 6, (0, -30, 0)), _box(6, 7, 16, (0, -30, 0))),
        ("bar", "along", _box(4, 18, 4, (30, -18, 0)), _box(4, 18, 4, (-30, -18, 0)), _box(36, 4, 5, (0, -36, 0))),
        ("rail", "along", _box(4, 18, 4, (20, -18, 0)), _box(4, 18, 4, (-20, -18, 0)), _rod(6, 26, (0, -36, 0), "x")),
        ("tee", "along", _rod(7, 18, (0, -18, -12), "y"), _box(24, 4, 7, (0, -36, -6)), _box(24, 4, 5, (0, -36, 4))),
        ("wide", "along", _box(4, 18, 8, (45, -18, 0)), _box(4, 18, 8, (-45, -18, 0)), _box(50, 5, 8, (0, -36, 0))),
        ("lumps", "along", _box(4, 18, 4, (26, -18, 0)), _box(4, 18, 4, (-26, -18, 0)), _box(28, 4, 5, (0, -36, 0)),
         _ball(9, at=(26, -36, 0)), _ball(9, at=(-26, -36, 0))),
    )
}  # fmt: skip
"""15 handles, with how fingers take one: ``across`` the drawer on its sides, or ``along`` its way, one finger behind."""

LARGE: Mapping[str, Shape] = {
    "can": _standing([_rod(48, 55), _rod(42, 5, (0, 0, 60))]),
    "box": _standing([_box(44, 44, 50), _box(36, 36, 8, (0, 0, 56))]),
    "jar": _standing([_rod(46, 35), _rod(34, 22, (0, 0, 52)), _rod(40, 7, (0, 0, 78))]),
    "tower": _standing([_box(46, 46, 14), _rod(34, 46, (0, 0, 50)), _box(30, 30, 8, (0, 0, 100))]),
    "barrel": _standing([_rod(40, 55), _rod(47, 38, (0, 0, -17)), _rod(16, 8, (0, 0, 60))]),
    "kettle": _standing([_rod(47, 42), _ball(44, 44, 22, at=(0, 0, 42)), _rod(9, 12, (0, 0, 66))]),
}


def _odd(number: int) -> Shape:
    """A small shape of two or three random primitives."""
    rng = np.random.default_rng([number, 77])
    parts, top = [], 0.0
    for _ in range(int(rng.integers(2, 4))):
        a, b, c = (float(size) for size in rng.uniform(9, 22, 3))
        x, y = (float(place) for place in rng.uniform(-9, 9, 2) * bool(parts))
        kind = str(rng.choice(["box", "cylinder", "ellipsoid"] if parts else ["box", "cylinder"]))
        size, half = {"box": ((a, b, c), c), "cylinder": ((a, c), c), "ellipsoid": ((a, b, c), 0.8 * c)}[kind]
        parts.append(Part(kind, size, (x, y, top + half), (0.0, 0.0, float(rng.uniform(0, 90)))))
        top += 1.1 * half
    return _standing(parts)


DISTRACTORS: Mapping[str, Shape] = {f"odd-{number}": _odd(number) for number in range(40)}

HELD_OUT = {
    "object": ("camera-0", "camera-1", "camera-2", "sofa-0", "sofa-1", "sofa-2", "mug-1", "hammer-2"),
    "handle": ("arch", "egg", "wide"),
    "distractor": tuple(f"odd-{number}" for number in range(30, 40)),
}
"""Never in a scene of the training split; the test split has no others."""


def names(what: str, split: str) -> list[str]:
    """The objects, handles or distractors of a split, ``train`` or ``test``."""
    every = {"object": OBJECTS, "handle": HANDLES, "distractor": DISTRACTORS}[what]
    return [name for name in every if (name in HELD_OUT[what]) == (split == "test")]
