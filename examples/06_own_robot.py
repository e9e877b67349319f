"""A driver for an arm of your own: its maker's calls go where `Arm` pretends. `lotj robot serve 06_own_robot:MyRobot`
serves it, in this folder (`pip install 'lotj[robot]'`), to `lotj practice --connector usb-b --robot localhost:8750`.

    python examples/06_own_robot.py

takes two seconds and moves it through its own server. Prints what is felt, and what is refused."""

import threading

import numpy as np

from lotj.errors import LostError, RobotError
from lotj.robots.client import RemoteRobot
from lotj.robots.robot import PRACTICE, Setup
from lotj.robots.server import RobotServer
from lotj.spaces import Array, Spec


class Arm:
    """Pretends: goes where it is told, in impedance control, and a table at z = 0 holds it with 3 N a millimetre."""

    place, force, slipped = np.array([0.0, 0.0, 0.02]), np.zeros(3), False

    def go(self, place: np.ndarray) -> None:  # returns when the motion has ended
        self.place = np.maximum(place, [-1.0, -1.0, 0.0])
        self.force = 3000.0 * (self.place - place)

    def pictures(self) -> np.ndarray:  # (cameras, height, width, 3), as in the pretraining
        return np.random.default_rng().integers(40, 200, (2, 32, 64, 3), np.uint8)


class MyRobot:
    """See docs/real-robot.md. Positions are from where the part would sit if its estimate held [m]."""

    action_scale = 6e-3  # metres of an action of 1
    estimate_error, height_error = 10e-3, 5e-3  # how far the estimate may be off, along x and y, and along z [m]
    images, state = Array((2, 32, 64, 3), "uint8", 0, 255), Array((9,), "float32", -np.inf, np.inf)
    spec = Spec({"image": images, "state": state}, action=(3,), rate_hz=10.0, max_steps=20)

    arm = Arm()

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        beside = np.random.default_rng(seed).uniform(-0.01, 0.01, 2) if start is None else start
        self.arm.go(np.array([*self.arm.place[:2], 0.03]))  # straight up first: the plug may sit
        self.arm.go(np.array([*beside, 0.015]))
        return self.seen()

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        self.arm.go(self.arm.place + self.action_scale * action)
        if self.arm.slipped:
            raise LostError("the part has slipped from the fingers")
        return self.seen()

    def relax(self) -> dict[str, np.ndarray]:
        self.arm.go(self.arm.place)  # so that it presses no more
        return self.seen()

    def park(self) -> None: ...  # this arm holds its place by itself

    def close(self) -> None: ...  # brakes on; the gripper stays closed

    def seen(self) -> dict[str, np.ndarray]:
        state = np.concatenate([self.arm.place, np.zeros(3), self.arm.force]).astype(np.float32)  # at rest
        return {"image": self.arm.pictures(), "state": state}


if __name__ == "__main__":
    mine, token = MyRobot(), "only for this example"
    server = RobotServer(lambda setup: mine, token)
    threading.Thread(target=server.run, daemon=True).start()
    robot = RemoteRobot(server.address, Setup(PRACTICE, part=""), token)
    robot.reset(seed=0, start=np.zeros(2))
    pressed = [robot.move(np.array([0.0, 0.0, -1.0]))["state"] for _ in range(4)][-1]
    print(f"pressed with {pressed[8]:.0f} N at height {1e3 * pressed[2]:.0f} mm")
    try:
        robot.move(np.array([0.0, 0.0, np.nan]))
    except RobotError as error:
        print("refused:", error)
    robot.close()
    server.close()
