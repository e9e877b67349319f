"""A new arm in one file: copy, fill in, and `lotj robot serve my_arm:MyArm` (docs/real-robot.md).

Here a SO-101, which LeRobot drives. Its model in MuJoCo is not part of lotj: name the file that you have.
"""

import mujoco
import numpy as np
from lerobot.cameras.opencv import OpenCVCameraConfig
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot_robot_lotj import LeRobotArm

from lotj.sim.kinematics import Kinematics

MODEL, TOOL = "so101.xml", "gripperframe"  # MJCF of the arm alone; the site between its fingers
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
USUAL = np.radians([0.0, -30.0, 60.0, 60.0, 0.0])  # above the socket, the part pointing down
SPEEDS = np.full(5, 1.5)  # [rad/s]
SEAT = (0.25, 0.0, 0.06)  # where the tool stood with the part in its socket, by the model's kinematics [m]


class MyArm(LeRobotArm):
    """See `LeRobotArm`, whose arguments these are."""

    def __init__(self) -> None:
        model = mujoco.MjModel.from_xml_path(MODEL)
        data = mujoco.MjData(model)
        data.qpos[:] = USUAL
        mujoco.mj_kinematics(model, data)
        turn = data.site(TOOL).xmat.reshape(3, 3)  # is kept; an arm of five joints keeps it as well as it can
        cameras = {
            name: OpenCVCameraConfig(n, width=640, height=480, fps=30) for n, name in enumerate(("left", "right"))
        }
        robot = SO101Follower(SO101FollowerConfig(port="/dev/ttyACM0", id="mine", cameras=cameras, use_degrees=True))
        kinematics = Kinematics(model, TOOL, turn, USUAL, SPEEDS)
        super().__init__(robot, kinematics, JOINTS, SEAT, tuple(cameras), held={"gripper.pos": 0.0})
