"""Make the shapes of the table: `python scripts/make_table_shapes.py src/lotj/sim/table_shapes.toml`.

Sixteen families of graspable objects in three proportions each, fifteen handles, six large objects, and forty odd ones
of two or three random primitives each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lotj.sim.table_shapes import Part, Shape

HELD_OUT = {
    "object": ("camera-0", "camera-1", "camera-2", "sofa-0", "sofa-1", "sofa-2", "mug-1", "hammer-2"),
    "handle": ("arch", "egg", "wide"),
    "distractor": tuple(f"odd-{number}" for number in range(30, 40)),
    "large": (),
}
"""Two families that no training scene shows, and single shapes of others."""


def standing(parts: list[Part], grasp: float | None = None) -> Shape:
    """On z = 0, its centre of mass above the origin; taken at 0.55 of its height, at most 30 mm, unless told."""
    weights = np.array([part.volume() for part in parts])
    shift = weights @ np.array([part.at for part in parts]) / weights.sum()
    shift[2] = Shape(tuple(parts)).bounds()[0, 2]
    moved = [Part(part.kind, part.size, tuple(np.round(np.array(part.at) - shift, 3)), part.turn) for part in parts]
    height = Shape(tuple(moved)).bounds()[1, 2]
    return Shape(tuple(moved), float(min(0.55 * height, 30.0) if grasp is None else grasp))


def box(x: float, y: float, z: float, at: tuple = (0, 0, 0), turn: tuple = (0, 0, 0)) -> Part:
    """Half sizes."""
    return Part("box", (x, y, z), at, turn)


def rod(r: float, half: float, at: tuple = (0, 0, 0), along: str = "z", kind: str = "cylinder") -> Part:
    """Radius and half length."""
    return Part(kind, (r, half), at, {"x": (0, 90, 0), "y": (90, 0, 0), "z": (0, 0, 0)}[along])


def ball(*size: float, at: tuple = (0, 0, 0)) -> Part:
    """One radius, or three."""
    return Part("ellipsoid" if len(size) == 3 else "sphere", size, at)


FAMILIES: Mapping[str, Callable[[float, float, float], list[Part]]] = {
    # of w (half width across the fingers), b (half length)(half length) and h (height), all in mm
    "brick": lambda w, b, h: [box(w, b, h / 3), box(0.6 * w, 0.35 * b, h / 6, (0, 0.3 * b, h / 2))],
    "mug": lambda w, b, h: [
        rod(w, h / 2),
        box(3, b / 4, 3, (0, w + b / 4 - 2, h / 4)),
        box(3, b / 4, 3, (0, w + b / 4 - 2, -h / 4)),
        box(3, 3, h / 4 + 3, (0, w + b / 2, 0)),
    ],
    "bottle": lambda w, b, h: [rod(w, h / 3), rod(w / 2, h / 6, (0, 0, h / 2)), rod(0.7 * w, 4, (0, 0, h / 1.5))],
    "hammer": lambda w, b, h: [box(w / 2, b, h / 3), box(w, 0.28 * b, h / 2, (0, b, h / 6))],
    "dumbbell": lambda w, b, h: [
        box(w, b / 4, h / 2, (0, 0.8 * b, 0)),
        box(w, b / 4, h / 2, (0, -0.8 * b, 0)),
        rod(w / 2, b, along="y"),
    ],
    "ell": lambda w, b, h: [box(w, b, h / 3), box(w, b / 3, h / 3, (0, b / 1.5, h / 2))],
    "tee": lambda w, b, h: [box(w / 2, b, h / 2), box(1.4 * w, b / 4, h / 2, (0, b, 0))],
    "cross": lambda w, b, h: [box(w / 2.5, b, h / 2), box(w, b / 3, h / 2)],
    "mushroom": lambda w, b, h: [
        rod(0.8 * w, h / 6),
        rod(0.45 * w, h / 2, (0, 0, h / 2)),
        ball(w, w, h / 3, at=(0, 0, h)),
    ],
    "house": lambda w, b, h: [
        box(w, b, h / 3),
        box(0.68 * w, 0.9 * b, 0.68 * w, (0, 0, h / 3), (0, 45, 0)),
        box(4, 4, h / 3, (0, b / 2, 0.7 * h)),
    ],
    "snowman": lambda w, b, h: [rod(0.9 * w, h / 8), ball(w, at=(0, 0, 0.8 * w)), ball(0.7 * w, at=(0, 0, 2 * w))],
    "chair": lambda w, b, h: [box(w, b, h / 4), box(w, b / 4, h / 3, (0, -0.75 * b, h / 2))],
    "boat": lambda w, b, h: [
        box(0.7 * w, 0.7 * b, 4),
        ball(w, b, h / 3, at=(0, 0, h / 4)),
        rod(4, h / 2, (0, 0, h / 1.6)),
    ],
    "plane": lambda w, b, h: [
        rod(0.7 * w, b, along="y", kind="capsule"),
        box(2.2 * w, b / 4, 3, (0, 0.62 * b, 0)),
        box(w, b / 7, 3, (0, -b, 0)),
        box(2, b / 6, h / 3, (0, -b, h / 3)),
        box(w / 2, b / 2, 3, (0, 0, -0.7 * w)),
    ],
    "camera": lambda w, b, h: [
        box(0.7 * w, b, h / 2),
        rod(h / 3, w / 2, (0.8 * w, 0, 0), "x"),
        box(w / 2, b / 4, h / 8, (0, b / 2, h / 1.7)),
    ],
    "sofa": lambda w, b, h: [
        box(w, b, h / 4),
        box(w / 3, b, h / 3, (-0.7 * w, 0, h / 2)),
        box(w, b / 6, h / 4, (0, b, h / 4)),
        box(w, b / 6, h / 4, (0, -b, h / 4)),
    ],
}
SIZES = ((20.0, 27.0, 46.0), (23.0, 32.0, 52.0), (17.0, 35.0, 40.0))  # w, b, h of the three of a family

OBJECTS: Mapping[str, Shape] = {
    f"{family}-{number}": standing(make(*size))
    for family, make in FAMILIES.items()
    for number, size in enumerate(SIZES)
}
"""48 graspable objects: 16 families, three of different sizes and proportions in each."""

HANDLES: Mapping[str, tuple[Shape, str]] = {
    name: (Shape(tuple(parts)), grip)
    for name, grip, *parts in (
        ("ball", "across", rod(6, 13, (0, -12, 0), "y"), ball(13, at=(0, -30, 0))),
        ("disc", "across", rod(7, 13, (0, -12, 0), "y"), rod(17, 6, (0, -30, 0), "y")),
        ("cube", "across", rod(6, 12, (0, -12, 0), "y"), box(13, 9, 13, (0, -30, 0))),
        ("fin", "across", box(5, 20, 16, (0, -20, 0))),
        ("post", "across", box(6, 13, 5, (0, -12, 0)), rod(8, 22, (0, -28, 0))),
        ("arch", "across", box(7, 13, 4, (0, -12, 17)), box(7, 13, 4, (0, -12, -17)), box(7, 5, 21, (0, -29, 0))),
        ("cone", "across", rod(7, 10, (0, -9, 0), "y"), rod(11, 6, (0, -22, 0), "y"), rod(16, 6, (0, -34, 0), "y")),
        ("lever", "across", rod(6, 14, (0, -13, 0), "y"), box(6, 6, 24, (0, -30, -4), (0, 20, 0))),
        ("egg", "across", rod(6, 12, (0, -12, 0), "y"), ball(15, 14, 20, at=(0, -32, 0))),
        ("star", "across", rod(6, 12, (0, -12, 0), "y"), box(14, 7, 6, (0, -30, 0)), box(6, 7, 16, (0, -30, 0))),
        ("bar", "along", box(4, 18, 4, (30, -18, 0)), box(4, 18, 4, (-30, -18, 0)), box(36, 4, 5, (0, -36, 0))),
        ("rail", "along", box(4, 18, 4, (20, -18, 0)), box(4, 18, 4, (-20, -18, 0)), rod(6, 26, (0, -36, 0), "x")),
        ("tee", "along", rod(7, 18, (0, -18, -12), "y"), box(24, 4, 7, (0, -36, -6)), box(24, 4, 5, (0, -36, 4))),
        ("wide", "along", box(4, 18, 8, (45, -18, 0)), box(4, 18, 8, (-45, -18, 0)), box(50, 5, 8, (0, -36, 0))),
        (
            "lumps",
            "along",
            box(4, 18, 4, (26, -18, 0)),
            box(4, 18, 4, (-26, -18, 0)),
            box(28, 4, 5, (0, -36, 0)),
            ball(9, at=(26, -36, 0)),
            ball(9, at=(-26, -36, 0)),
        ),
    )
}
"""15 handles, and how fingers take one: ``across`` the drawer on its sides, or ``along`` its way, one behind."""

LARGE: Mapping[str, Shape] = {
    "can": standing([rod(48, 55), rod(42, 5, (0, 0, 60))]),
    "box": standing([box(44, 44, 50), box(36, 36, 8, (0, 0, 56))]),
    "jar": standing([rod(46, 35), rod(34, 22, (0, 0, 52)), rod(40, 7, (0, 0, 78))]),
    "tower": standing([box(46, 46, 14), rod(34, 46, (0, 0, 50)), box(30, 30, 8, (0, 0, 100))]),
    "barrel": standing([rod(40, 55), rod(47, 38, (0, 0, -17)), rod(16, 8, (0, 0, 60))]),
    "kettle": standing([rod(47, 42), ball(44, 44, 22, at=(0, 0, 42)), rod(9, 12, (0, 0, 66))]),
}


def odd(number: int) -> Shape:
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
    return standing(parts)


DISTRACTORS: Mapping[str, Shape] = {f"odd-{number}": odd(number) for number in range(40)}


def main() -> None:
    """Write all."""
    lines = [
        "# Made by scripts/make_table_shapes.py. A part: kind, sizes as MuJoCo has them [mm], middle [mm], Euler",
        "# angles about x, y, z, in this order [deg]. `grasp`: height over the bottom at which fingers take it [mm].",
        "# `grip`: they close across the drawer on a handle's sides, or along its way, with one behind it. `held_out`:",
        "# in no training scene.",
    ]
    kinds = {"object": OBJECTS, "handle": {name: shape for name, (shape, _) in HANDLES.items()}, "large": LARGE}
    for kind, shapes in {**kinds, "distractor": DISTRACTORS}.items():
        for name, shape in shapes.items():
            lines += ["", f"[{kind}.{name}]"]
            lines += [f"grasp = {shape.grasp:.4g}"] * (kind == "object")
            lines += [f'grip = "{HANDLES[name][1]}"'] if kind == "handle" else []
            lines += ["held_out = true"] * (name in HELD_OUT[kind]) + ["parts = ["]
            for part in shape.parts:
                numbers = (", ".join(f"{x:.5g}" for x in values) for values in (part.size, part.at, part.turn))
                lines.append(f'  ["{part.kind}", ' + ", ".join(f"[{text}]" for text in numbers) + "],")
            lines.append("]")
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
