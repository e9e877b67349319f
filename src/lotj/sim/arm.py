"""The robots of the bench: gripper, compliance, limits and cameras.

Values are of the order of a collaborative arm under Cartesian impedance control at low speed; no single product is
meant; they stand in arms.toml. `hand frame`: origin where a calibrated grasp puts the plug's mating plane, z up, x and
y as the bench.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources


@dataclass(frozen=True)
class Arm:
    """One robot."""

    fingers: int  # 2 or 3
    finger_size: Sequence[float]  # (width, thickness, height) [m]
    palm_size: Sequence[float]  # (x, y, z) [m]
    stiffness: float  # Cartesian [N/m]
    force_limit: float  # of the controller along each axis [N]
    grip_force: float  # axial force at which the plug starts to slip in the fingers [N]
    tilt_stiffness: float  # rotational, of the grip about each axis [N m/rad]
    # Of its cameras, in the hand frame, or from the socket if ``fixed`` [m]. The two at the wrist look from directions
    # a right angle apart: what is far or near for one, which it can hardly tell, is left or right for the other.
    camera_positions: Sequence[Sequence[float]]
    field_of_view: float  # horizontal [degrees]
    cameras: Sequence[str] = ("wrist-0", "wrist-1")  # what it sees through, in the order of the views
    camera_target: Sequence[float] = (0.0, 0.0, -0.013)  # point they look at, in the hand frame [m]
    # What follows is of a jointed arm alone; without `links` the hand slides on three axes.
    links: str = ""  # file of its model, see `lotj.sim.jointed`
    posture: Sequence[float] = ()  # its usual joint positions, the hand pointing down [rad]
    joint_speeds: Sequence[float] = ()  # largest of its joints [rad/s]
    felt_mass: float = 0.0  # what the hand and the arm behind it weigh against a push [kg]
    turn_stiffness: float = 0.0  # rotational, of the controller [N m/rad]
    turn_damping: float = 0.0  # likewise [N m s/rad]
    torque_limit: float = 0.0  # of the controller about each axis [N m]


with resources.files("lotj.sim").joinpath("arms.toml").open("rb") as _file:
    ARMS = {name: Arm(**table) for name, table in tomllib.load(_file).items()}
for _name in ("duo", "trio"):
    # The same with one camera: at the wrist; or fixed on the bench, aimed at the socket from 0.3 m away.
    _arm = ARMS[_name]
    ARMS[f"{_name}-one"] = replace(_arm, cameras=_arm.cameras[:1], camera_positions=_arm.camera_positions[:1])
    ARMS[f"{_name}-fixed"] = replace(_arm, cameras=("fixed",), camera_positions=((0.2, -0.2, 0.17),))
