"""The table of `table.xml`: one model for all scenes. A scene is written into it, which takes some milliseconds, where
compiling it and its pictures takes a tenth of a second. Only NumPy arrays leave, so that a scripted hand can read them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.sim.table_shapes import SHAPES, Shape

RATE_HZ = 10.0
STEP, TURN = 0.05, np.radians(5.0)  # motion of an action of 1 along an axis [m], and about the vertical [rad]
BOX = np.array([(-0.26, -0.25, 0.016, -2.1), (0.26, 0.24, 0.27, 2.1)])  # of the hand: x, y, z [m], yaw [rad]
LEASH = np.array([0.02, 0.02, 0.02, TURN])
"""The command never leads the measured hand by more before a step is added: a blocked hand does not wind up."""
OPEN = 0.04  # a finger's way from closed to open [m]
TRAVEL, POPPED = 0.11, 0.08  # of the drawers with the handle and with the button [m]
TOP, HALF, DEPTH = 0.082, 0.075, 0.13  # of the cabinet with the handle: height, half its width, depth [m]
PRESSED, LATCHED = 0.008, 0.006  # the button opens its drawer beyond this; pushed within this, it stays closed [m]
MASS = {"small": 0.08, "large": 0.8, "odd0": 0.08, "odd1": 0.08, "odd2": 0.08}  # of what is free [kg]
AWAY = 2.0  # what is absent lies this far below the table [m]
TEXTURES = ("plain", "chequered", "speckled", "shaded", "gridded")
_SUBSTEPS = 20
_STATE = sum(int(getattr(mujoco.mjtState, f"mjSTATE_{kind}")) for kind in ("FULLPHYSICS", "CTRL", "WARMSTART"))

Pose = Sequence[float]  # x, y [m], yaw [rad]


@dataclass(frozen=True)
class Scene:
    """What is on the table. What is None or "" is absent."""

    cabinet: Pose | None = None  # the one with the handle
    handle: str = ""
    opening: float = 0.0  # of its drawer at the start [m]
    unit: Pose | None = None  # the one with the button
    popped: bool = False  # its drawer is open at the start
    tray: Pose | None = None
    small: str = ""
    small_at: Sequence[float] = (0.0, 0.0, 0.0, 0.0)  # x, y, z of its bottom [m], yaw [rad]
    large: str = ""
    large_at: Pose = (0.0, 0.0, 0.0)
    odd: Sequence[Sequence[Any]] = ()  # distractors: name, x, y, yaw
    hand: Sequence[float] = (0.0, 0.0, 0.2, 0.0)  # x, y, z, yaw
    colours: Mapping[str, Sequence[float]] = field(default_factory=dict)  # red, green, blue of `PAINTED`
    texture: int = 0
    light: Sequence[float] = (0.0, 0.0, 0.5)  # direction over x and y, brightness


PAINTED = ("table", "cabinet", "drawer", "handle", "unit", "pop", "button", "tray", *MASS)


def turned(pose: Pose, point: Sequence[float] | np.ndarray) -> np.ndarray:
    """(3,) in the world: a point in the frame of a pose."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    return np.array([pose[0] + c * point[0] - s * point[1], pose[1] + s * point[0] + c * point[1], point[2]])


def within(pose: Pose, point: Sequence[float] | np.ndarray) -> np.ndarray:
    """(3,) in the frame of a pose: a point of the world."""
    return turned((0.0, 0.0, -pose[2]), (point[0] - pose[0], point[1] - pose[1], point[2]))


def reach(handle: str) -> float:
    """How far a handle sticks out of the cabinet when the drawer is closed [m]."""
    return 0.008 - 1e-3 * float(SHAPES["handle"][handle].bounds()[0, 1])


def _yawed(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


@cache
def _model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(resources.files("lotj.sim").joinpath("table.xml").read_text(encoding="utf-8"))


class Table:
    """The simulated table, with one scene at a time."""

    def __init__(self) -> None:
        self.model = copy.copy(_model())
        self.data, self._scratch = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._hand = [self.model.joint(f"hand-{axis}").qposadr[0] for axis in ("x", "y", "z", "yaw")]
        named = [self.model.geom(number).name.partition("-")[0] for number in range(self.model.ngeom)]
        self._geoms = {name: [number for number, of in enumerate(named) if of == name] for name in PAINTED}
        self.load(Scene())

    def load(self, scene: Scene) -> None:
        """Put a scene on the table, and let it come to rest."""
        self.scene, model, data = scene, self.model, self.data
        self._fill("handle", SHAPES["handle"].get(scene.handle) if scene.cabinet else None)
        for pose, *names in (
            (scene.cabinet, "cabinet", "drawer"),
            (scene.unit, "unit", "pop", "button"),
            (scene.tray, "tray"),
        ):
            body = model.body(names[0])
            body.pos[:] = (*pose[:2], 0.0) if pose else (0.0, 0.0, -AWAY)
            body.quat[:] = _yawed(pose[2] if pose else 0.0)
            for name in names:
                self._show(self._geoms[name], pose is not None)
        free = [
            ("object", scene.small, *scene.small_at),
            ("large", scene.large, *scene.large_at[:2], 0.0, scene.large_at[2]),
        ]
        free += [("distractor", name, x, y, 0.0, yaw) for name, x, y, yaw in scene.odd]
        free += [("object", "", 0.0, 0.0, 0.0, 0.0)] * (len(MASS) - len(free))
        found = [SHAPES[kind].get(name) for kind, name, *_ in free]
        for slot, shape in zip(MASS, found, strict=True):
            self._fill(slot, shape)
        self._paint()
        mujoco.mj_setConst(model, self._scratch)
        mujoco.mj_resetData(model, data)
        for number, (slot, shape, (_, _, x, y, z, yaw)) in enumerate(zip(MASS, found, free, strict=True)):
            data.joint(slot).qpos[:] = (x, y, z + 0.001 if shape else -AWAY - number, *_yawed(yaw))
        data.joint("drawer").qpos[0] = scene.opening
        data.joint("pop").qpos[0] = data.ctrl[6] = POPPED * scene.popped
        data.joint("left").qpos[0] = data.joint("right").qpos[0] = data.ctrl[4:6] = OPEN
        self.data.qpos[self._hand] = data.ctrl[:4] = self._command = np.array(scene.hand)
        model.joint("drawer").range[1] = TRAVEL
        self._limit()
        mujoco.mj_step(model, data, 60)

    def _fill(self, slot: str, shape: Shape | None) -> None:
        """Write a shape into a slot; without one the slot is empty."""
        model, geoms = self.model, self._geoms[slot]
        parts = shape.parts if shape else ()
        self._show(geoms[: len(parts)], True)
        self._show(geoms[len(parts) :], False)
        for geom, part in zip(geoms, parts, strict=False):
            model.geom_type[geom] = int(mujoco.mjtGeom.__members__[f"mjGEOM_{part.kind.upper()}"])
            a, b, c = model.geom_size[geom] = 1e-3 * np.array([*part.size, 0.0, 0.0][:3])
            model.geom_pos[geom] = 1e-3 * np.array(part.at)
            mujoco.mju_mat2Quat(model.geom_quat[geom], part.rotation().ravel())
            around = {"box": np.hypot(np.hypot(a, b), c), "cylinder": np.hypot(a, b), "capsule": a + b}
            model.geom_rbound[geom] = around.get(part.kind, max(a, b, c))
        if slot not in MASS:
            return
        body = model.body(slot)
        model.body_gravcomp[body.id] = shape is None
        if shape:
            weights = np.array([part.volume() for part in parts])
            weights *= MASS[slot] / weights.sum()
            ats, halves = 1e-3 * np.array([p.at for p in parts]), 1e-3 * np.array([p.reach() for p in parts])
            centre = weights @ ats / MASS[slot]
            spread = (ats - centre) ** 2 + halves**2 / 3  # of each part, as a box about it
            body.ipos[:], body.iquat[:], body.mass[:] = centre, (1.0, 0.0, 0.0, 0.0), MASS[slot]
            body.inertia[:] = weights @ (spread.sum(1, keepdims=True) - spread)

    def _show(self, geoms: Sequence[int], there: bool) -> None:
        self.model.geom_contype[geoms] = self.model.geom_conaffinity[geoms] = int(there)
        self.model.geom_group[geoms] = 0 if there else 5

    def _paint(self) -> None:
        for name, colour in self.scene.colours.items():
            for number, geom in enumerate(self._geoms[name]):
                shade = 1.0 - 0.12 * (number % 3) * (name in MASS)  # so that parts can be told apart
                self.model.geom_rgba[geom, :3] = shade * np.array(colour)
        [table], light = self._geoms["table"], np.array([*self.scene.light[:2], -1.0])
        self.model.geom_matid[table] = self.model.material(TEXTURES[self.scene.texture]).id
        self.model.geom_contype[table] = self.model.geom_conaffinity[table] = 0  # what is stood on is "ground"
        self.model.light_dir[0], self.model.light_diffuse[0] = light / np.linalg.norm(light), self.scene.light[2]

    def act(self, action: np.ndarray) -> None:
        """One step of 0.1 s: (5,) in [-1, 1], motion of the hand along x, y, z, about the vertical, and its fingers,
        1 open and -1 closed."""
        here = self.data.qpos[self._hand]
        start = np.clip(self._command, here - LEASH, here + LEASH)
        self._command = np.clip(start + action[:4] * [STEP, STEP, STEP, TURN], *BOX)
        self.data.ctrl[4:6] = OPEN * (action[4] + 1) / 2
        self._limit()
        for block in range(5):  # a ramp, which ends before the step does
            self.data.ctrl[:4] = start + (self._command - start) * min(1.0, (block + 1) / 4)
            mujoco.mj_step(self.model, self.data, _SUBSTEPS // 5)
            if self.data.joint("button").qpos[0] > PRESSED:  # out comes its drawer, and stays in once it is pushed in
                self.data.ctrl[6] = POPPED
            elif self.data.joint("pop").qpos[0] < LATCHED and self.data.joint("pop").qvel[0] <= 0.0:
                self.data.ctrl[6] = 0.0

    def _limit(self) -> None:
        """With the large object in its way the drawer opens no further, however hard it is pulled: as in PTP's own
        simulation, where it is given an infinite mass then."""
        limit = self.model.joint("drawer").range
        least = min(limit[1], self.data.joint("drawer").qpos[0])  # a hard pull does not creep
        limit[1] = max(least, 1e-3) if self.blocked else TRAVEL

    @property
    def blocked(self) -> bool:
        """Whether the large object stands where the open drawer and its handle would be."""
        if not (self.scene.cabinet and self.scene.large):
            return False
        side, out, _ = within(self.scene.cabinet, self.data.joint("large").qpos[:3])
        radius = SHAPES["large"][self.scene.large].radius()
        return bool(abs(side) < HALF + 0.6 * radius and 0 < -out < TRAVEL + reach(self.scene.handle) + radius)

    def look(self) -> dict[str, Any]:
        """The truth: "hand" (4,) x, y, z [m] and yaw [rad], "gap" between the fingers [m], "small" (4,) its origin and
        yaw, "large" (3,), "opening" and "popped" of the drawers and "button", how far it is down [m]."""
        joint = self.data.joint
        w, x, y, z = joint("small").qpos[3:]
        return {
            "hand": self.data.qpos[self._hand],
            "gap": float(joint("left").qpos[0] + joint("right").qpos[0]),
            "small": np.append(joint("small").qpos[:3], np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
            "large": joint("large").qpos[:3].copy(),
            **{
                name: float(joint(of).qpos[0])
                for name, of in (("opening", "drawer"), ("popped", "pop"), ("button",) * 2)
            },
        }

    def aims(self) -> dict[str, Any]:
        """Where a scripted hand aims now, of what is there: points (3,) and poses (4,) with a yaw, in the world."""
        scene, now = self.scene, self.look()
        aims: dict[str, Any] = {"widest": 2 * OPEN, "travel": TRAVEL}
        if scene.cabinet:
            along, yaw = SHAPES["handle"][scene.handle].grip == "along", scene.cabinet[2]
            tip = -reach(scene.handle) - now["opening"]
            at = turned(scene.cabinet, (0.0, tip + (0.006 if along else 0.011), 0.044 + 0.008 * along))
            aims["handle"] = np.append(at, yaw + along * (np.pi / 2 if yaw < 0 else -np.pi / 2))
            aims["ready"], aims["square"] = -0.3 if along else 1.0, yaw
            aims["front"] = np.append(turned(scene.cabinet, (0.0, tip, 0.044)), yaw)
            aims["top"], aims["drawer"] = self.inside("top"), self.inside("drawer")
        if scene.unit:
            aims["pop"] = np.append(turned(scene.unit, (0.0, -0.008 - now["popped"], 0.036)), scene.unit[2])
            aims["button"] = turned(scene.unit, (0.0, 0.045, 0.1))
        if scene.tray:
            aims["tray"] = self.inside("tray")
        if scene.small:
            shape = SHAPES["object"][scene.small]
            aims["grasp"], aims["width"] = 1e-3 * shape.grasp, 1e-3 * float(np.ptp(shape.bounds()[:, 0]))
        if scene.large:
            aims["radius"] = SHAPES["large"][scene.large].radius()
        return aims

    def inside(self, where: str) -> np.ndarray | None:
        """(3,) where something is put into the drawer as it is open, on the cabinet's top or into the tray."""
        return inside(self.scene, where, self.data.joint("drawer").qpos[0])

    def place(self) -> str:
        """What the small object is in or on: ``drawer``, ``tray``, ``top``, ``table``; or ``air``."""
        at, opening, scene = self.data.joint("small").qpos[:3], self.data.joint("drawer").qpos[0], self.scene
        if scene.cabinet:
            x, y, z = within(scene.cabinet, at)
            if abs(x) < 0.062 and 0.0 < y + opening < 0.112 and z < 0.05 and y < 0.02:
                return "drawer" if z < 0.03 else "air"
            if abs(x) < HALF and -0.01 < y < DEPTH and z > 0.06:
                return "top" if z < TOP + 0.02 else "air"
        if scene.tray and np.abs(within(scene.tray, at)[:2]).max() < 0.06:
            return "tray" if at[2] < 0.03 else "air"
        return "table" if at[2] < 0.02 else "air"

    def state(self) -> np.ndarray:
        """(N,) the simulator's whole state, of this scene."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return state

    def set_state(self, state: np.ndarray, shift: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0, 0.0)) -> None:
        """Back to what `state` said, of the same scene, with the hand shifted by x, y, z [m] and yaw [rad]."""
        mujoco.mj_resetData(self.model, self.data)  # all awake, whatever was at rest before
        mujoco.mj_setState(self.model, self.data, state, _STATE)
        self._command = np.clip(self.data.qpos[self._hand] + shift, *BOX)
        self.data.qpos[self._hand] = self.data.ctrl[:4] = self._command
        self.model.joint("drawer").range[1] = TRAVEL
        self._limit()
        mujoco.mj_forward(self.model, self.data)


def inside(scene: Scene, where: str, opening: float) -> np.ndarray | None:
    """(3,) where something is put into the drawer, open so far [m], on the top or into the tray; None if absent."""
    if where == "tray":
        return np.array([*scene.tray[:2], 0.006]) if scene.tray else None
    at = (0.0, 0.052 - opening, 0.008) if where == "drawer" else (0.0, 0.06, TOP)
    return turned(scene.cabinet, at) if scene.cabinet else None
