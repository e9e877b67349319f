"""A hand at the flange of an arm with joints, which are driven by torques.

Differential inverse kinematics turns the commanded point into joint positions within the joints' ranges and speeds.
Where these have the hand, a spring pulls it, by joint torques J^T F, and another holds its orientation; force and
torque of both are limited (impedance control, Hogan 1985, as Franka's controllers do it), and what the arm's own motion
takes is added before (Khatib 1987). Weak springs keep what is left free, the elbow, as at those joint positions. What
each joint's motor is able to do limits all.
"""

from __future__ import annotations

import itertools
from importlib import resources
from xml.etree import ElementTree

import mujoco
import numpy as np

from lotj.errors import SettingsError
from lotj.sim.arm import Arm
from lotj.sim.hand import AXES
from lotj.sim.kinematics import Kinematics

_DOWN = np.diag([1.0, -1.0, -1.0])  # the flange's axes when it points down, in the world
_JOINT = (30.0, 3.0, 1.0)  # springs of the joints: [N m/rad], [N m s/rad], limit [N m]
_SMOOTH = 55.0
"""The point that the hand is pulled to follows the commanded one as a critically damped mass of this frequency does
[rad/s]: as the hands without arms do."""

_FAR = 0.5  # the friction of the seat acts towards a point so far below the socket [m]: along its axis


def links_xml(arm: Arm) -> str:
    """The model of the arm alone, MJCF; its tool is the site `flange`."""
    return resources.files("lotj.sim").joinpath(arm.links).read_text(encoding="utf-8")


def jointed_xml(bench: str, arm: Arm) -> str:
    """The bench's model with the hand on the arm's flange instead of on three sliding axes, MJCF.

    The drives `drive-x` to `drive-z` pull the hand along the axes of the world, `turn-x` to `turn-z` turn it.
    """
    root, links = ElementTree.fromstring(bench), ElementTree.fromstring(links_xml(arm))
    world, base = _found(root, "worldbody"), _found(links, "worldbody")
    joints = [joint.get("name", "") for joint in base.iter("joint")]
    hand, flange = _found(world, "body[@name='hand']"), _found(base, ".//body[@name='flange']")
    world.remove(hand)
    for joint in hand.findall("joint"):
        hand.remove(joint)
    ElementTree.SubElement(hand, "site", name="hand")
    hand.set("quat", "0 1 0 0")  # up is against the flange
    hand.set("childclass", "main")  # the arm's defaults end here
    flange.append(hand)
    for name in ("default", "asset"):
        _found(root, name).extend(_found(links, name))
    world.extend(base)
    ElementTree.SubElement(world, "site", name="world")
    ElementTree.SubElement(_found(world, "body[@name='socket']"), "site", name="below", pos=f"0 0 {-_FAR}")
    seat = _found(root, "tendon/fixed")
    seat.tag = "spatial"
    for joint in seat.findall("joint"):
        seat.remove(joint)
    for site in ("plug", "below"):
        ElementTree.SubElement(seat, "site", site=site)
    drives = _found(root, "actuator")
    drives.clear()
    turn, hold = _spring(arm.turn_stiffness, arm.turn_damping, arm.torque_limit), _spring(*_JOINT)
    for number, (kind, axis) in enumerate(itertools.product(("drive", "turn"), AXES)):
        gear = " ".join("1" if place == number else "0" for place in range(6))
        at = {"name": f"{kind}-{axis}", "site": "hand", "refsite": "world", "gear": gear}
        ElementTree.SubElement(drives, "position", at | (turn if kind == "turn" else {}))
    for name in joints:
        ElementTree.SubElement(drives, "position", {"name": f"hold-{name}", "joint": name} | hold)
    return ElementTree.tostring(root, encoding="unicode")


def _spring(stiffness: float, damping: float, limit: float) -> dict[str, str]:
    return {"kp": str(stiffness), "kv": str(damping), "forcerange": f"{-limit} {limit}"}


def _found(tree: ElementTree.Element, path: str) -> ElementTree.Element:
    found = tree.find(path)
    if found is None:
        raise SettingsError(f"model of the arm: there must be {path}")
    return found


class Jointed:
    """A hand on an arm with joints; see `Carrier`.

    Args:
        model, data: of the bench, made of `jointed_xml`.
        arm: which.

    Raises:
        RobotError: mink is missing.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm: Arm) -> None:
        self._model, self._data = model, data
        alone = mujoco.MjModel.from_xml_string(links_xml(arm))
        names = [alone.joint(joint).name for joint in range(alone.njnt)]
        self._at = [model.joint(name).qposadr[0] for name in names]
        self._dof = [model.joint(name).dofadr[0] for name in names]
        self._hand, self._drives = model.site("hand").id, [model.actuator(f"drive-{axis}").id for axis in AXES]
        self._turns = [model.actuator(f"turn-{axis}").id for axis in AXES]
        self._holds = [model.actuator(f"hold-{name}").id for name in names]
        self._kinematics = Kinematics(alone, "flange", _DOWN, np.array(arm.posture), np.array(arm.joint_speeds))
        self._flange = _DOWN @ model.body("hand").pos  # of the hand from the flange, along the axes of the world
        self._jacobian, self._inertia = np.zeros((6, model.nv)), np.zeros((model.nv, model.nv))
        self._reference, self._speed = np.zeros(3), np.zeros(3)

    def put(self, place: np.ndarray) -> None:
        """See `Carrier.put`; RobotError where the arm does not reach."""
        joints = self._kinematics.reach(place - self._flange)
        self._data.qpos[self._at] = self._data.ctrl[self._holds] = joints
        self._data.ctrl[self._turns] = 0.0
        self._reference, self._speed = self._kinematics.tool() + self._flange, np.zeros(3)
        self._data.ctrl[self._drives] = self._reference

    def drive(self, point: np.ndarray, substeps: int) -> None:
        """See `Carrier.drive`."""
        model, data, timestep = self._model, self._data, self._model.opt.timestep
        measured, (jacobian, inertia) = data.qpos[self._at], self._dynamics()
        usual = self._kinematics.follow(point - self._flange, substeps * timestep) - measured
        moving = np.linalg.pinv(jacobian)  # (J, 6) joint velocities of a motion and turn of the hand
        held = measured + usual - moving @ (jacobian @ usual)  # what does not move the hand goes on
        goal, drives = self._kinematics.tool() + self._flange, [*self._drives, *self._turns]
        stiffness, damping = model.actuator_gainprm[:, 0], -model.actuator_biasprm[:, 2]
        brakes = (damping[self._holds] + model.dof_damping[self._dof]) / stiffness[self._holds]
        for _ in range(substeps):
            push = _SMOOTH**2 * (goal - self._reference) - 2.0 * _SMOOTH * self._speed
            self._speed = self._speed + timestep * push
            self._reference = self._reference + timestep * self._speed
            ahead = inertia[:, :3] @ push + damping[drives] * [*self._speed, 0, 0, 0]
            data.ctrl[drives] = [*self._reference, 0, 0, 0] + ahead / stiffness[drives]
            data.ctrl[self._holds] = held = held + timestep * (step := moving[:, :3] @ self._speed)
            data.ctrl[self._holds] += brakes * step
            mujoco.mj_step(model, data)

    def place(self) -> np.ndarray:
        """See `Carrier.place`: from the joints."""
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._hand].copy()

    def velocity(self) -> np.ndarray:
        """See `Carrier.velocity`."""
        return self._measured_jacobian()[:3] @ self._data.qvel[self._dof]

    def force(self) -> np.ndarray:
        """See `Carrier.force`: what the joints' torques are beyond those of the arm's own motion, as Franka's
        controller estimates it."""
        torque = self._data.qfrc_constraint[self._dof]
        return np.linalg.lstsq(self._measured_jacobian().T, torque, rcond=None)[0][:3]

    def _measured_jacobian(self) -> np.ndarray:
        """(6, J) of the hand's motion and turn by the joints."""
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._hand)
        return self._jacobian[:, self._dof]

    def _dynamics(self) -> tuple[np.ndarray, np.ndarray]:
        """The Jacobian, and what the arm weighs at the hand, (6, 6) of force and torque by acceleration."""
        jacobian = self._measured_jacobian()
        mujoco.mj_fullM(self._model, self._data, self._inertia)
        mass = self._inertia[np.ix_(self._dof, self._dof)]
        return jacobian, np.linalg.inv(jacobian @ np.linalg.solve(mass, jacobian.T))
