"""The table of `table.xml`: one model for all scenes, filled anew for each by writing into it, which takes a
millisecond, where compiling it and its pictures would take a tenth of a second.

Only NumPy arrays leave this module, so that a scripted hand can read them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from lotj.sim.table_shapes import DISTRACTORS, HANDLES, LARGE, OBJECTS, PARTS, Shape

RATE_HZ = 10.0
STEP, TURN = 0.05, np.radians(5.0)  # motion of an action of 1 along an axis [m], and about the vertical [rad]
BOX = np.array([(-0.26, -0.25, 0.016), (0.26, 0.24, 0.27)])  # corners of where the hand may be [m]
YAW = np.radians(120.0)  # and how far it may turn either way [rad]
LEASH = np.array([0.02, 0.02, 0.02, np.radians(5.0)])
"""The command never leads the measured hand by more than this before a step is added: a blocked hand does not wind up."""
OPEN = 0.04  # a finger's way from closed to open [m]
TRAVEL, POPPED = 0.11, 0.08  # of the drawers with the handle and with the button [m]
TOP, HALF, DEPTH = 0.082, 0.075, 0.13  # of the cabinet with the handle: height, half its width, depth [m]
PRESSED, LATCHED = 0.008, 0.006  # the button opens its drawer beyond this; pushed within this, it stays closed [m]
MASS = {"small": 0.08, "large": 0.8, "other": 0.08}  # [kg]
FRICTION = {"small": 0.8, "large": 0.4, "other": 0.6}  # sliding, on the table; the fingers' own is 1.2
AWAY = 2.0  # what is absent lies this far below the table [m]
TEXTURES = ("plain", "chequered", "speckled", "shaded", "gridded")
_FULL = sum(int(getattr(mujoco.mjtState, f"mjSTATE_{kind}")) for kind in ("FULLPHYSICS", "CTRL", "WARMSTART"))
SLOTS = ("small", "large", "other-0", "other-1", "other-2")
_SUBSTEPS = 20
_TYPES = {name.removeprefix("mjGEOM_").lower(): int(kind) for name, kind in mujoco.mjtGeom.__members__.items()}


@dataclass(frozen=True)
class Scene:
    """What is on the table, in JSON values. Poses are (x, y, yaw) [m, rad]; what is None or "" is absent."""

    cabinet: Sequence[float] | None = None  # the one with the handle
    handle: str = ""
    opening: float = 0.0  # of its drawer at the start [m]
    unit: Sequence[float] | None = None  # the one with the button
    popped: bool = False  # its drawer is open at the start
    tray: Sequence[float] | None = None
    small: str = ""
    small_at: Sequence[float] = (0.0, 0.0, 0.0, 0.0)  # x, y, z of its bottom, yaw
    large: str = ""
    large_at: Sequence[float] = (0.0, 0.0, 0.0)
    others: Sequence[Sequence[Any]] = ()  # distractors: name, x, y, yaw
    hand: Sequence[float] = (0.0, 0.0, 0.2, 0.0)  # x, y, z, yaw
    colours: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of table, cabinet, drawer, handle, ...
    texture: int = 0
    light: Sequence[float] = (0.0, 0.0, 0.5)  # direction over x and y, brightness

    def written(self) -> dict[str, Any]:
        """As strict JSON has it."""
        return asdict(self)


@cache
def _model() -> mujoco.MjModel:
    text = resources.files("lotj.sim").joinpath("table.xml").read_text(encoding="utf-8")
    return mujoco.MjModel.from_xml_string(text)


def turned(pose: Sequence[float], point: Sequence[float]) -> np.ndarray:
    """(3,) in the world: a point in the frame of a (x, y, yaw)."""
    x, y, yaw = pose
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([x + c * point[0] - s * point[1], y + s * point[0] + c * point[1], point[2]])


def inverse(pose: Sequence[float], point: Sequence[float]) -> np.ndarray:
    """(3,) in the frame of a (x, y, yaw): a point of the world."""
    x, y, yaw = pose
    c, s = np.cos(yaw), np.sin(yaw)
    dx, dy = point[0] - x, point[1] - y
    return np.array([c * dx + s * dy, c * dy - s * dx, point[2]])


def _yawed(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


class Table:
    """The simulated table, with one scene at a time."""

    def __init__(self) -> None:
        self.model = copy.copy(_model())
        self.data, self._scratch = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self.scene = Scene()
        self._hand = [self.model.joint(f"hand-{axis}").qposadr[0] for axis in ("x", "y", "z", "yaw")]
        self._geoms = {
            slot: [self.model.geom(f"{slot}-{number}").id for number in range(PARTS)] for slot in (*SLOTS, "handle")
        }
        self._bodies = {
            slot: np.flatnonzero(np.isin(self.model.geom_bodyid, [self.model.body(name).id for name in names]))
            for slot, names in {
                "cabinet": ("cabinet", "drawer"),
                "unit": ("unit", "pop", "button"),
                "tray": ("tray",),
            }.items()
        }
        self._command = np.zeros(4)

    # ---- a scene ----------------------------------------------------------------------------------------------------

    def load(self, scene: Scene) -> None:
        """Put a scene on the table, and let it come to rest."""
        self.scene, model, data = scene, self.model, self.data
        handle, _ = HANDLES[scene.handle] if scene.cabinet else (None, "")
        self._fill("handle", handle, 0.0)
        for slot, pose in (("cabinet", scene.cabinet), ("unit", scene.unit), ("tray", scene.tray)):
            place = model.body(slot)
            place.pos[:] = (*pose[:2], 0.0) if pose else (0.0, 0.0, -AWAY)
            place.quat[:] = _yawed(pose[2] if pose else 0.0)
            self._show(self._bodies[slot], pose is not None)
        others = [DISTRACTORS[other[0]] for other in scene.others] + [None] * 3
        shapes = [OBJECTS.get(scene.small), LARGE.get(scene.large), *others[:3]]
        for slot, shape in zip(SLOTS, shapes, strict=True):
            self._fill(slot, shape, MASS[slot.partition("-")[0]])
        self._paint()
        mujoco.mj_setConst(model, self._scratch)
        mujoco.mj_resetData(model, data)
        places = [scene.small_at, (*scene.large_at[:2], 0.0, scene.large_at[2])]
        places += [(other[1], other[2], 0.0, other[3]) for other in scene.others] + [(0.0, 0.0, 0.0, 0.0)] * 3
        for number, (slot, shape, at) in enumerate(zip(SLOTS, shapes, places, strict=False)):
            z = at[2] + 0.001 if shape else -AWAY - number
            data.joint(slot).qpos[:] = (at[0], at[1], z, *_yawed(at[3]))
        data.joint("drawer").qpos[0] = scene.opening
        data.joint("pop").qpos[0] = data.ctrl[6] = POPPED if scene.popped else 0.0
        data.qpos[self._hand] = self._command = np.array(scene.hand, float)
        data.ctrl[:4] = self._command
        for finger in ("left", "right"):
            data.joint(finger).qpos[0] = OPEN
        data.ctrl[4:6] = OPEN
        self._limit()
        mujoco.mj_step(model, data, 60)

    def _fill(self, slot: str, shape: Shape | None, mass: float) -> None:
        """Write a shape into a slot; without one the slot is empty."""
        model, geoms = self.model, self._geoms[slot]
        parts = shape.parts if shape else ()
        self._show(geoms[: len(parts)], True)
        self._show(geoms[len(parts) :], False)
        for geom, part in zip(geoms, parts, strict=False):
            size = np.zeros(3)
            size[: len(part.size)] = part.size
            model.geom_type[geom], model.geom_size[geom] = _TYPES[part.kind], size * 1e-3
            model.geom_pos[geom] = np.array(part.at) * 1e-3
            mujoco.mju_mat2Quat(model.geom_quat[geom], part.rotation().ravel())
            a, b, c = size * 1e-3
            around = {"box": np.hypot(np.hypot(a, b), c), "cylinder": np.hypot(a, b), "capsule": a + b, "sphere": a}
            model.geom_rbound[geom] = around.get(part.kind, max(a, b, c))
        if not mass:
            return
        body = model.body(slot)
        model.body_gravcomp[body.id] = shape is None
        if shape:
            weights = np.array([part.volume() for part in parts])
            weights *= mass / weights.sum()
            ats, halves = (np.array(values) * 1e-3 for values in ([p.at for p in parts], [p.reach() for p in parts]))
            centre = weights @ ats / mass
            spread = (ats - centre) ** 2 + halves**2 / 3
            body.ipos[:], body.iquat[:], body.mass[:] = centre, (1.0, 0.0, 0.0, 0.0), mass
            body.inertia[:] = weights @ (spread.sum(1, keepdims=True) - spread)

    def _show(self, geoms: Any, there: bool) -> None:
        geoms = list(geoms)
        self.model.geom_contype[geoms] = self.model.geom_conaffinity[geoms] = int(there)
        self.model.geom_group[geoms] = 0 if there else 5

    def _paint(self) -> None:
        model, scene = self.model, self.scene
        ids = {**self._geoms, "table": [model.geom("table").id], "tray": self._bodies["tray"]}
        for name in ("cabinet", "unit"):
            inner = {"cabinet": ("drawer",), "unit": ("pop", "button")}[name]
            ids[name] = self._bodies[name]
            for part in inner:
                body = model.body(part).id
                ids[part] = [geom for geom in ids[name] if model.geom_bodyid[geom] == body]
        for name, geoms in ids.items():
            if name in scene.colours:
                for number, geom in enumerate(geoms):
                    shade = 1.0 - 0.12 * (number % 3) * (name in SLOTS)
                    model.geom_rgba[geom, :3] = np.array(scene.colours[name]) * shade
        model.geom_matid[ids["table"]] = model.material(TEXTURES[scene.texture]).id
        x, y, level = scene.light
        model.light_dir[0] = np.array([x, y, -1.0]) / np.linalg.norm([x, y, -1.0])
        model.light_diffuse[0] = level

    # ---- motion -----------------------------------------------------------------------------------------------------

    def act(self, action: np.ndarray) -> None:
        """One step of 0.1 s: (5,) in [-1, 1], motion of the hand along x, y, z, about the vertical, and its fingers,
        1 open and -1 closed."""
        here = self.data.qpos[self._hand]
        start = np.clip(self._command, here - LEASH, here + LEASH)
        goal = start + action[:4] * [STEP, STEP, STEP, TURN]
        self._command = np.append(np.clip(goal[:3], *BOX), np.clip(goal[3], -YAW, YAW))
        self.data.ctrl[4:6] = OPEN * (action[4] + 1) / 2
        self._limit()
        for block in range(5):  # a ramp, which ends before the step does
            self.data.ctrl[:4] = start + (self._command - start) * min(1.0, (block + 1) / 4)
            mujoco.mj_step(self.model, self.data, _SUBSTEPS // 5)
            self._latch()

    def _latch(self) -> None:
        """The button's drawer comes out when the button is down, and stays in once it is pushed in."""
        if self.data.joint("button").qpos[0] > PRESSED:
            self.data.ctrl[6] = POPPED
        elif self.data.joint("pop").qpos[0] < LATCHED and self.data.joint("pop").qvel[0] <= 0.0:
            self.data.ctrl[6] = 0.0

    def _limit(self) -> None:
        """With the large object in its way the drawer opens no further, however hard it is pulled: as in PTP's own
        simulation, where it is given an infinite mass then."""
        most = self.data.joint("drawer").qpos[0] if self.blocked else TRAVEL
        self.model.joint("drawer").range[1] = np.clip(most, 1e-3, TRAVEL)

    @property
    def blocked(self) -> bool:
        """Whether the large object stands where the open drawer and its handle would be."""
        if not (self.scene.cabinet and self.scene.large):
            return False
        side, out, _ = inverse(self.scene.cabinet, self.data.joint("large").qpos[:3])
        radius = LARGE[self.scene.large].radius()
        return bool(abs(side) < HALF + 0.6 * radius and 0 < -out < TRAVEL + self._reach() + radius)

    def _reach(self) -> float:
        """How far the handle sticks out of the cabinet when the drawer is closed [m]."""
        return 0.008 - 1e-3 * float(HANDLES[self.scene.handle][0].bounds()[0, 1])

    # ---- what is so -------------------------------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """The truth: "hand" (4,) x, y, z [m] and yaw [rad], "gap" between the fingers [m], "small" (4,) its origin and
        yaw, "large" (3,), "opening" and "popped" of the drawers and "button", how far it is down [m]."""
        joint = self.data.joint
        w, x, y, z = joint("small").qpos[3:]
        return {
            "hand": self.data.qpos[self._hand].copy(),
            "gap": float(joint("left").qpos[0] + joint("right").qpos[0]),
            "small": np.append(joint("small").qpos[:3], np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
            "large": joint("large").qpos[:3].copy(),
            "opening": float(joint("drawer").qpos[0]),
            "popped": float(joint("pop").qpos[0]),
            "button": float(joint("button").qpos[0]),
        }

    def aims(self) -> dict[str, Any]:
        """Where a scripted hand aims now, of what is there: points (3,) and poses (4,) with a yaw, in the world."""
        scene, now = self.scene, self.look()
        aims: dict[str, Any] = {"widest": 2 * OPEN, "travel": TRAVEL}
        if scene.cabinet:
            grip = HANDLES[scene.handle][1]
            tip, along = -self._reach() - now["opening"], grip == "along"
            yaw = scene.cabinet[2]
            at = turned(scene.cabinet, (0.0, tip + (0.006 if along else 0.011), 0.044 + 0.008 * along))
            aims["handle"] = np.append(at, yaw + along * (np.pi / 2 if yaw < 0 else -np.pi / 2))
            aims["ready"] = -0.3 if along else 1.0
            aims["front"] = np.append(turned(scene.cabinet, (0.0, tip, 0.044)), yaw)
            aims["front-out"] = turned((0, 0, yaw), (0.0, -1.0, 0.0))
            aims["top"] = turned(scene.cabinet, (0.0, 0.06, TOP))
            aims["square"] = yaw
            aims["drawer"] = turned(scene.cabinet, (0.0, 0.052 - now["opening"], 0.008))
        if scene.unit:
            aims["pop"] = np.append(turned(scene.unit, (0.0, -0.008 - now["popped"], 0.036)), scene.unit[2])
            aims["pop-out"] = turned((0, 0, scene.unit[2]), (0.0, -1.0, 0.0))
            aims["button"] = turned(scene.unit, (0.0, 0.045, 0.1))
        if scene.tray:
            aims["tray"] = np.array([*scene.tray[:2], 0.006])
        if scene.small:
            shape = OBJECTS[scene.small]
            aims["grasp"], aims["width"] = 1e-3 * shape.grasp, 1e-3 * float(np.ptp(shape.bounds()[:, 0]))
        if scene.large:
            aims["radius"] = LARGE[scene.large].radius()
        return aims

    def place(self, at: Sequence[float], opening: float) -> str:
        """What the small object is in or on, its origin being at (3,): ``drawer``, ``tray``, ``top``, ``table``; or
        ``air``."""
        scene = self.scene
        if scene.cabinet:
            x, y, z = inverse(scene.cabinet, at)
            if abs(x) < 0.062 and 0.0 < y + opening < 0.112 and z < 0.05 and y < 0.02:
                return "drawer" if z < 0.03 else "air"
            if abs(x) < HALF and -0.01 < y < DEPTH and z > 0.06:
                return "top" if z < TOP + 0.02 else "air"
        if scene.tray:
            x, y, z = inverse(scene.tray, at)
            if max(abs(x), abs(y)) < 0.06:
                return "tray" if z < 0.03 else "air"
        return "table" if at[2] < 0.02 else "air"

    def state(self) -> np.ndarray:
        """(N,) the simulator's whole state, of this scene."""
        state = np.empty(mujoco.mj_stateSize(self.model, _FULL))
        mujoco.mj_getState(self.model, self.data, state, _FULL)
        return state

    def move_hand(self, by: np.ndarray) -> None:
        """Put the hand (4,) x, y, z [m] and yaw [rad] from where it is, within its box."""
        hand = self.data.qpos[self._hand] + by
        hand[:3] = np.clip(hand[:3], *BOX)
        self.data.qpos[self._hand] = self.data.ctrl[:4] = self._command = hand
        mujoco.mj_forward(self.model, self.data)

    def set_state(self, state: np.ndarray) -> None:
        """Back to what `state` said, of the same scene; all awake, whatever rested before."""
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, np.asarray(state, float), _FULL)
        self._command = self.data.ctrl[:4].copy()
        self._limit()
        mujoco.mj_forward(self.model, self.data)
