"""The bench in motion: a compliant Cartesian controller with limits, ground truth for labels, and the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from lotj.sim.arm import Arm
from lotj.sim.connector import Connector
from lotj.sim.drawing import Drawing
from lotj.sim.hand import Carrier, Sliding
from lotj.sim.jointed import Jointed
from lotj.sim.randomization import Randomization
from lotj.sim.scene import TIMESTEP, build_scene, quaternion

RATE_HZ = 10.0  # of the policy
STEP_LIMIT = 6e-3  # largest commanded motion per policy step and axis [m]: 60 mm/s

LEASH = 4e-3
"""The commanded point never leads the measured hand by more than this before a new step is added [m]: pressing force
stays bounded by stiffness x (leash + step), and a blocked hand does not wind up."""

WORKSPACE = (0.040, 0.040, 0.060)
"""Half width in x and y, and height above first contact in z, of the box around the socket's estimated position in
which the hand may move [m]: 20 mm beyond a socket that is 20 mm off."""

FLOOR = 0.015
"""Depth of that box below the seat [m]: enough to press with full force where the seat is 5 mm lower than estimated."""

REGRASP = (0.5e-3, np.deg2rad(0.5))
"""A plug that is grasped anew sits up to this far [m] and this much turned [rad] from how the domain holds it, along
and about each axis: what is left after the same fixture has handed it over again."""

SLIP_LIMIT, TILT_LIMIT = 3e-3, np.deg2rad(9.0)
"""The plug counts as dislodged beyond this slip in the fingers [m], or this tilt [rad]."""

_BLOCKS = 5
"""Pieces of a policy step: the commanded point is a ramp, and contacts' friction is switched at this grain."""


@dataclass(frozen=True)
class Reading:
    """What is measured after one policy step, along the axes of the bench, and what is true (labels and evaluation; no
    learner sees that)."""

    hand: np.ndarray  # (3,) from where it stands with the plug seated if the estimate of the socket's pose holds [m]
    velocity: np.ndarray  # (3,) of the hand [m/s]
    force: np.ndarray  # (3,) of contacts on plug and fingers at the end of the step [N]
    slip: float  # of the plug in the fingers [m]; a gripper feels it blurred and late
    tilt: float  # likewise [rad]
    position: np.ndarray  # truth: (3,) plug origin in the socket frame [m]; z = 0 when seated
    peak_force: float  # truth: largest norm of the contact force during the step [N]
    dislodged: bool  # truth: the plug slipped or tilted beyond the limits
    success: bool  # truth: seated
    wrong_socket: bool = False  # truth: seated in the second socket, where there is one


class Bench:
    """One domain's bench.

    Args:
        connector: what is plugged into what.
        arm: the robot.
        drawn: everything else.
        image_size: side of the square image that the two views make [pixels], even.
    """

    def __init__(self, connector: Connector, arm: Arm, drawn: Randomization, image_size: int) -> None:
        self.connector, self.arm, self.drawn, self.image_size = connector, arm, drawn, image_size
        self.model = model = build_scene(connector, arm, drawn)
        self.data = mujoco.MjData(model)
        self._hand: Carrier = Jointed(model, self.data, arm) if arm.links else Sliding(model, self.data)
        self._slip = model.joint("slip").qposadr[0]
        self._tilt = [model.joint(f"tilt-{a}").qposadr[0] for a in "xyz"]
        self._tilt_dof = [model.joint(f"tilt-{a}").dofadr[0] for a in "xyz"]
        self._plug = model.body("plug").id
        names = ("socket",) if drawn.second_socket is None else ("socket", "second")
        self._sites = [model.site(name).id for name in ("plug", *names)]
        self._retention = model.tendon("retention").id
        self._lamp = model.light("lamp").id
        self.base_light = {
            name: getattr(model, name)[self._lamp].copy() for name in ("light_diffuse", "light_ambient", "light_dir")
        }
        self._command = np.zeros(3)
        self._origin = np.asarray(drawn.clamp_shift, float)
        self._estimate = self._origin
        self._drawing = Drawing(model)
        self.seated_within = float(np.clip(0.1 * connector.insertion_depth, 0.4e-3, 1.0e-3))
        """Remaining travel that still counts as seated [m]."""
        self.lateral_within = max(f.clearance for f in connector.features if not f.visual) + 1.0e-3
        """Lateral error up to which a seated plug counts as inserted [m]; a guard, the geometry decides."""
        self.contact_height = connector.contact_height

    def reset(
        self,
        offset: np.ndarray,
        height: float,
        light: np.random.Generator | None = None,
        error: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    ) -> Reading:
        """Put the plug above the socket, at rest.

        Args:
            offset: (2,) of the plug origin from the socket axis [m].
            height: of the lowest point of the plug above the highest point of the socket [m].
            light: if given, varies the lamp a little, as daylight does between episodes.
            error: (3,) by which the socket's position is estimated wrong [m]; the workspace is centred on the estimate.
        """
        mujoco.mj_resetData(self.model, self.data)
        self.model.tendon_frictionloss[self._retention] = 0.0
        if light is not None:
            self._vary_light(light)
        grasp = np.asarray(self.drawn.grasp_shift)
        start = self._origin + np.array([offset[0], offset[1], self.contact_height + height]) - grasp
        self._estimate = self._origin - grasp + np.asarray(error, float)
        self._command = start
        self._hand.put(start)
        mujoco.mj_forward(self.model, self.data)
        return self._read(0.0)

    def move_socket(self, shift: np.ndarray) -> None:
        """From the next reset on, socket and clamp stand `shift` (3,) [m] from where the domain has them."""
        self._origin = np.asarray(self.drawn.clamp_shift) + shift
        self.model.body("socket").pos[:] = self._origin

    def regrasp(self, rng: np.random.Generator, scale: float = 1.0) -> None:
        """Hold the plug a little otherwise from now on; `scale` multiplies `REGRASP`."""
        shift, turn = (scale * most * rng.uniform(-1.0, 1.0, 3) for most in REGRASP)
        self.model.body_pos[self._plug] = np.asarray(self.drawn.grasp_shift) + shift
        self.model.body_quat[self._plug] = quaternion(np.asarray(self.drawn.grasp_tilt) + turn)

    def hold_as(self, other: Bench) -> None:
        """Hold the plug as another bench of this connector does."""
        self.model.body_pos[self._plug] = other.model.body_pos[other._plug]
        self.model.body_quat[self._plug] = other.model.body_quat[other._plug]

    def _vary_light(self, rng: np.random.Generator) -> None:
        level = rng.uniform(0.88, 1.12)
        self.model.light_diffuse[self._lamp] = self.base_light["light_diffuse"] * level
        self.model.light_ambient[self._lamp] = self.base_light["light_ambient"] * rng.uniform(0.92, 1.08)
        direction = self.base_light["light_dir"] + rng.uniform(-0.06, 0.06, 3)
        self.model.light_dir[self._lamp] = direction / np.linalg.norm(direction)

    def move(self, delta: np.ndarray) -> Reading:
        """Execute one policy step: move the commanded point by `delta` (3,) [m] and let the physics follow.

        The robot's own limits hold whatever is asked: step length, leash, workspace and force.
        """
        delta = np.clip(np.asarray(delta, float), -STEP_LIMIT, STEP_LIMIT)
        hand = self._hand.place()
        start = np.clip(self._command, hand - LEASH, hand + LEASH)
        low, high = self._estimate - np.array([*WORKSPACE[:2], FLOOR]), self._estimate + np.array(WORKSPACE)
        high[2] += self.contact_height
        goal = np.clip(start + delta, low, high)
        peak, substeps = 0.0, round(1.0 / RATE_HZ / TIMESTEP / _BLOCKS)
        for block in range(_BLOCKS):
            inside = any(self._within(place, self.connector.insertion_depth * 0.9) for place in self._positions())
            self.model.tendon_frictionloss[self._retention] = self.connector.seating_force if inside else 0.0
            self._hand.drive(start + (goal - start) * min(1.0, (block + 1) / (_BLOCKS - 1)), substeps)
            peak = max(peak, float(np.linalg.norm(self._hand.force())))
        self._command = goal
        return self._read(peak)

    def relax(self) -> Reading:
        """Take the commanded point to where the hand is, and let the physics follow for a policy step."""
        self._command = self._hand.place()
        return self.move(np.zeros(3))

    def _positions(self) -> list[np.ndarray]:
        """(3,) plug origin [m] in the frame of the socket, and of the second one, where there is one."""
        plug, *sockets = self._sites
        turns = [self.data.site_xmat[socket].reshape(3, 3).T for socket in sockets]
        place = self.data.site_xpos
        return [turn @ (place[plug] - place[socket]) for turn, socket in zip(turns, sockets, strict=True)]

    def _within(self, position: np.ndarray, height: float) -> bool:
        """Whether the plug is in a socket, less than this above its seat [m]."""
        return bool(position[2] < height and np.linalg.norm(position[:2]) < self.lateral_within)

    def sensors(self) -> dict[str, np.ndarray]:
        """What the arm measures now: ``position`` [m] from where it stands with the plug seated if the estimate holds,
        ``velocity`` [m/s], ``force`` [N] and ``torque`` [N m], each (3,)."""
        hand = self._hand
        moved = {"position": hand.place() - self._estimate, "velocity": hand.velocity()}
        return {**moved, "force": hand.force(), "torque": self.torque()}

    def torque(self) -> np.ndarray:
        """Torque of contacts about the grip point [N m] (3,), along the axes of the hand, as a sensor between fingers
        and plug feels it: what the grip's springs and dampers hold against."""
        return -(self.data.qfrc_spring + self.data.qfrc_damper)[self._tilt_dof]

    def _read(self, peak: float) -> Reading:
        positions, force = self._positions(), self._hand.force()
        slip = float(abs(self.data.qpos[self._slip]))
        tilt = float(np.max(np.abs(self.data.qpos[self._tilt])))
        dislodged = bool(slip > SLIP_LIMIT or tilt > TILT_LIMIT)
        seated, *elsewhere = [self._within(position, self.seated_within) for position in positions]
        return Reading(
            hand=self._hand.place() - self._estimate,
            velocity=self._hand.velocity(),
            force=force,
            slip=slip,
            tilt=tilt,
            position=positions[0],
            peak_force=max(peak, float(np.linalg.norm(force))),
            dislodged=dislodged,
            success=seated and not dislodged,
            wrong_socket=any(elsewhere) and not dislodged,
        )

    def render(self, size: int | None = None) -> np.ndarray:
        """What the V cameras of its arm see, (V, S/2, S, 3) uint8.

        Args:
            size: S [pixels], even; None for `image_size`.

        Raises:
            RendererError: there is no renderer.
        """
        size = size or self.image_size
        return self._drawing(self.data, self.arm.cameras, size, size // 2)

    def view(self, camera: str | mujoco.MjvCamera, size: int) -> np.ndarray:
        """What a camera sees that no policy learns from, (size, size, 3) uint8; a jointed arm has one called beside."""
        return self._drawing(self.data, [camera], size, size)[0]

    def parts_mask(self) -> np.ndarray:
        """Which pixels of `render` show plug or socket, (V, S/2, S) bool; ground truth."""
        names = [self.model.geom(geom).name.split("-")[0] for geom in range(self.model.ngeom)]
        shown = np.array([*(name in ("plug", "socket") for name in names), False])  # the last: no geom, -1
        return shown[self._drawing.geoms(self.data, self.arm.cameras, self.image_size, self.image_size // 2)]

    def close(self) -> None:
        """Free what pictures are drawn into."""
        self._drawing.close()
