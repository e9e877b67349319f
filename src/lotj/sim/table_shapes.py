"""What may lie on the table: shapes of `table_shapes.toml`, unions of convex primitives, some of them held out.

Shapes stand on z = 0 with their mass above the origin. An object is grasped from above with the fingers closing along
x; a handle sticks out of the drawer's front along -y from its origin.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

PARTS = 5  # primitives of a shape, at most


@dataclass(frozen=True)
class Part:
    """One convex primitive: its kind, sizes [mm], middle [mm], and Euler angles about x, y, z, in this order [deg]."""

    kind: str  # box, cylinder, capsule, ellipsoid or sphere
    size: tuple[float, ...]
    at: tuple[float, ...] = (0.0, 0.0, 0.0)
    turn: tuple[float, ...] = (0.0, 0.0, 0.0)

    def rotation(self) -> np.ndarray:
        """(3, 3)."""
        (a, b, c), (d, e, f) = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        about_x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
        about_y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
        return np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]]) @ about_y @ about_x

    def volume(self) -> float:
        """[mm3]."""
        a, b, c = (*self.size, 0.0, 0.0)[:3]
        ball, rod = 4 / 3 * np.pi * a**3, 2 * np.pi * a**2 * b
        kinds = {"box": 8 * a * b * c, "cylinder": rod, "capsule": rod + ball, "sphere": ball}
        return float(kinds.get(self.kind, 4 / 3 * np.pi * a * b * c))

    def reach(self) -> np.ndarray:
        """(3,) half extents along x, y, z [mm]."""
        (a, b, c), turn = (*self.size, 0.0, 0.0)[:3], np.abs(self.rotation())
        if self.kind == "box":
            return turn @ [a, b, c]
        if self.kind == "ellipsoid":
            return np.sqrt(turn**2 @ np.square([a, b, c]))
        axis = turn[:, 2]
        return a * np.sqrt(np.maximum(0.0, 1 - axis**2)) + b * axis if self.kind == "cylinder" else a + b * axis


@dataclass(frozen=True)
class Shape:
    """A union of parts; of an object also the height over its bottom at which fingers take it [mm], of a handle whether
    they close across the drawer or along its way; held out: in no training scene."""

    parts: tuple[Part, ...]
    grasp: float = 0.0
    grip: str = ""
    held_out: bool = False

    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner [mm]."""
        lows, highs = ([part.at + side * part.reach() for part in self.parts] for side in (-1, 1))
        return np.array([np.min(lows, 0), np.max(highs, 0)])

    def radius(self) -> float:
        """Of an upright cylinder about the origin that holds it [m]."""
        half = np.abs(self.bounds()[:, :2]).max(0)
        return 1e-3 * float(np.hypot(*half) if self.parts[0].kind == "box" else half.max())


def _read() -> dict[str, dict[str, Shape]]:
    text = resources.files("lotj.sim").joinpath("table_shapes.toml").read_text(encoding="utf-8")
    return {
        kind: {
            name: Shape(tuple(Part(part[0], *map(tuple, part[1:])) for part in entry.pop("parts")), **entry)
            for name, entry in shapes.items()
        }
        for kind, shapes in tomllib.loads(text).items()
    }


SHAPES: Mapping[str, Mapping[str, Shape]] = _read()
"""Kind, one of ``object``, ``handle``, ``large`` and ``distractor`` -> name -> shape."""


def names(kind: str, split: str) -> list[str]:
    """The shapes of a kind in a split: ``test`` has those held out, where there are any, ``train`` all others."""
    shapes = SHAPES[kind]
    held_out = split == "test" and any(shape.held_out for shape in shapes.values())
    return [name for name, shape in shapes.items() if shape.held_out == held_out]
