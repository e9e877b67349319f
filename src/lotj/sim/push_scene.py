"""A walled table with pucks and a hand that pushes them; what a puck is like changes from episode to episode.

Origin at the middle of the table's top, z up. A puck is a free body on dry friction, made of up to `PARTS` upright
boxes and cylinders. Its parts are changed in the model as it stands: nothing is compiled again. Metres, kilograms.
"""

from __future__ import annotations

import colorsys
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.errors import SettingsError

VARIED = ("none", "colour", "shape")
SPLITS = ("train", "held-out")
INSIDE = 0.17  # of the walls
REACH = 0.153  # of the hand's middle, both ways along x and y
HAND, HEIGHT = 0.015, 0.02  # radius of the hand; half the height of a puck
PARTS = 3
TRAINED, HELD_OUT = 24, 8  # shapes, by number
TEXTURES = 12  # of the table; the last three are held out
BLUES = (0.55, 0.72)  # hues that are held out
USUAL = ((0.8, 0.2, 0.15), (0.15, 0.3, 0.8))  # colours where none are drawn
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
_HIDDEN = 4  # a group of geoms that is not drawn


def push_scene(pucks: int) -> mujoco.MjModel:
    """The model, with joints ``hand-x``, ``hand-y`` and ``puck0``, ..."""
    spec = mujoco.MjSpec.from_string(resources.files("lotj.sim").joinpath("push.xml").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    kinds = [getattr(mujoco.mjtBuiltin, f"mjBUILTIN_{kind}") for kind in ("CHECKER", "GRADIENT", "FLAT")]
    for number in range(TEXTURES):
        first, second = rng.uniform(0.35, 0.75, (2, 3))
        spec.add_texture(
            name=f"table{number}", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=kinds[number % 3], rgb1=first,
            rgb2=second, markrgb=second, mark=mujoco.mjtMark.mjMARK_RANDOM, random=0.05 * (number % 3 == 2),
            width=64, height=64,
        )  # fmt: skip
        material = spec.add_material(name=f"table{number}", texrepeat=(2, 2))
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"table{number}"
    moved: dict[str, Any] = {"contype": 1, "conaffinity": 3, "friction": (0.5, 0.003, 0.0001), "condim": 4}
    for number in range(pucks):
        body = spec.worldbody.add_body(name=f"puck{number}", pos=(0.1 * number, 0, HEIGHT))
        body.add_freejoint(name=f"puck{number}")
        for part in range(PARTS):
            frame = {"pos": (0.001, 0.002, 0), "quat": (0.8, 0, 0, 0.6)}  # not the body's, or it could not be changed
            body.add_geom(name=f"puck{number}-{part}", type=_BOX, size=(0.02,) * 3, mass=0.03, **frame, **moved)
    return spec.compile()


def shape_of(number: int) -> np.ndarray:
    """(P, 6) parts of shape `number`: 1 for a box or 0 for a cylinder, half lengths along x and y (radius twice), place
    x, y, and angle [rad]; the middle of their areas is 0. Number -1 is the plain round puck."""
    if number < 0:
        return np.array([[0.0, 0.035, 0.035, 0.0, 0.0, 0.0]])
    rng = np.random.default_rng([21, number])
    parts = np.zeros((rng.integers(1, PARTS + 1), 6))
    parts[:, 0] = rng.random(len(parts)) < 0.6
    parts[:, 1:3] = rng.uniform(0.012, 0.03, (len(parts), 2))
    parts[parts[:, 0] == 0, 2] = parts[parts[:, 0] == 0, 1]
    parts[:, 3:5] = rng.uniform(-0.02, 0.02, (len(parts), 2))
    parts[:, 5] = rng.uniform(0, np.pi, len(parts))
    area = parts[:, 1] * parts[:, 2]
    parts[:, 3:5] -= area @ parts[:, 3:5] / area.sum()
    return parts


def colour_of(rng: np.random.Generator, split: str) -> np.ndarray:
    """(3,) a bright colour; those of hue `BLUES` are held out."""
    low, high = BLUES
    hue = rng.uniform(low, high) if split == "held-out" else (high + rng.uniform(0, 1 - high + low)) % 1.0
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 1.0), rng.uniform(0.55, 1.0)))


def dress(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, vary: str, split: str
) -> dict[str, Any]:
    """Gives pucks their colour and, where `vary` is ``shape``, shape, size, mass and friction, and the scene its
    texture, light and up to two distractors in its corners. `data` is of no use before its next reset.

    Returns:
        ``shape`` of the first puck (-1 for the round one) and its ``colour`` (3,).
    """
    if vary not in VARIED or split not in SPLITS:
        raise SettingsError(
            f"vary {vary!r}, split {split!r}: must be of {', '.join(VARIED)} and of {', '.join(SPLITS)}"
        )
    told: dict[str, Any] = {}
    for puck in range(model.nbody - 2):
        colour, number, size, mass, friction = np.array(USUAL[puck]), -1, 1.0, 0.1, 0.5
        if vary != "none":
            colour = colour_of(rng, split)
        if vary == "shape":
            number = int(rng.integers(TRAINED) if split == "train" else TRAINED + rng.integers(HELD_OUT))
            size, mass, friction = rng.uniform(0.9, 1.25), rng.uniform(0.05, 0.2), rng.uniform(0.3, 0.7)
        parts = shape_of(number) * (1.0, size, size, size, size, 1.0)
        _mould(model, puck, parts, mass, friction)
        model.geom_rgba[[model.geom(f"puck{puck}-{part}").id for part in range(PARTS)], :3] = colour
        told = told or {"shape": number, "colour": colour}
    if vary == "shape":
        _furnish(model, rng, split)
    mujoco.mj_setConst(model, data)
    return told


def _mould(model: mujoco.MjModel, puck: int, parts: np.ndarray, mass: float, friction: float) -> None:
    """Makes a puck of parts (P, 6), of even density; what is not needed neither shows nor touches."""
    area = parts[:, 1] * parts[:, 2]
    share = area / area.sum()
    spread = share @ ((parts[:, 1:3] ** 2).sum(1) / 3 + (parts[:, 3:5] ** 2).sum(1))  # about z, per mass
    body = model.body(f"puck{puck}").id
    model.body_mass[body], model.body_ipos[body], model.body_iquat[body] = mass, 0.0, (1, 0, 0, 0)
    model.body_inertia[body] = mass * np.array([spread / 2 + HEIGHT**2 / 3, spread / 2 + HEIGHT**2 / 3, spread])
    for number in range(PARTS):
        geom, used = model.geom(f"puck{puck}-{number}").id, number < len(parts)
        box, a, b, x, y, angle = parts[number] if used else parts[0]
        model.geom_contype[geom], model.geom_conaffinity[geom] = (1, 3) if used else (0, 0)
        model.geom_group[geom] = 0 if used else _HIDDEN
        model.geom_type[geom] = _BOX if box else _CYLINDER
        model.geom_size[geom] = (a, b, HEIGHT) if box else (a, HEIGHT, 0.0)
        model.geom_pos[geom], model.geom_quat[geom] = (x, y, 0.0), (np.cos(angle / 2), 0, 0, np.sin(angle / 2))
        model.geom_rbound[geom] = np.sqrt(a * a + b * b * bool(box) + HEIGHT**2)
        model.geom_aabb[geom] = (0, 0, 0, a, b, HEIGHT)
        model.geom_friction[geom, 0] = friction
    table = model.geom("table").id  # of two that touch the rougher counts
    model.geom_friction[table, 0] = min(0.3, friction)


def _furnish(model: mujoco.MjModel, rng: np.random.Generator, split: str) -> None:
    """Texture, light and distractors."""
    trained = TEXTURES - 3
    number = rng.integers(trained) if split == "train" else trained + rng.integers(3)
    model.geom_matid[model.geom("table").id] = model.material(f"table{number}").id
    model.light_diffuse[0] = rng.uniform(0.35, 0.65)
    towards = np.array([*rng.uniform(-0.6, 0.6, 2), -1.0])
    model.light_dir[0] = towards / np.linalg.norm(towards)
    corners = rng.permutation([(x, y) for x in (-1, 1) for y in (-1, 1)])
    shown = rng.integers(3)
    for place, corner in enumerate(corners[:2]):
        geom = model.geom(f"distractor{place}").id
        model.geom_group[geom] = 0 if place < shown else _HIDDEN
        half = rng.uniform(0.008, 0.014, 3)
        model.geom_size[geom], model.geom_rbound[geom], model.geom_aabb[geom, 3:] = half, np.linalg.norm(half), half
        model.geom_pos[geom] = (*(corner * (INSIDE - half[:2])), half[2] if place < shown else -1.0)
        model.geom_rgba[geom, :3] = rng.uniform(0.1, 0.9, 3)
