"""The two robots of the bench: gripper, compliance, limits and wrist cameras.

Values are of the order of a collaborative arm under Cartesian impedance control at low speed; no single product is
meant. `hand frame`: origin where a calibrated grasp puts the plug's mating plane, z up, x and y as the bench.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One robot."""

    name: str  # as in domain names
    fingers: int  # 2 or 3
    finger_size: tuple[float, float, float]  # (width, thickness, height) [m]
    palm_size: tuple[float, float, float]  # (x, y, z) [m]
    stiffness: float  # Cartesian [N/m]
    force_limit: float  # of the controller along each axis [N]
    grip_force: float  # axial force at which the plug starts to slip in the fingers [N]
    tilt_stiffness: float  # rotational, of the grip about each axis [N m/rad]
    # Of the two wrist cameras in the hand frame [m]. They look from directions a right angle apart: what is far or near
    # for one, which it can hardly tell, is left or right for the other.
    camera_positions: tuple[tuple[float, float, float], tuple[float, float, float]]
    field_of_view: float  # horizontal [degrees]
    camera_target: tuple[float, float, float] = (0.0, 0.0, -0.013)  # point they look at, in the hand frame [m]


ARMS = {
    "duo": Arm(
        name="duo",
        fingers=2,
        finger_size=(0.014, 0.006, 0.030),
        palm_size=(0.050, 0.070, 0.030),
        stiffness=3000.0,
        force_limit=30.0,
        grip_force=38.0,
        tilt_stiffness=3.0,
        camera_positions=((-0.072, -0.072, 0.072), (0.072, -0.072, 0.072)),
        field_of_view=22.0,
    ),
    "trio": Arm(
        name="trio",
        fingers=3,
        finger_size=(0.010, 0.007, 0.034),
        palm_size=(0.064, 0.064, 0.024),
        stiffness=2500.0,
        force_limit=30.0,
        grip_force=36.0,
        tilt_stiffness=2.5,
        camera_positions=((-0.026, -0.098, 0.072), (0.098, -0.026, 0.072)),
        field_of_view=21.0,
    ),
}
