"""An arm that LeRobot drives, as a robot of lotj (integrations/lerobot_robot_lotj); LeRobot itself is not needed, but
its class is the arm's where it is installed."""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from lotj.errors import FaultError
from lotj.robots.client import RESET_S
from lotj.robots.safe import Limits, Safe
from lotj.sim.arm import ARMS
from lotj.sim.jointed import links_xml
from lotj.sim.kinematics import Kinematics

os.environ.setdefault("HF_HUB_OFFLINE", "1")
FILE = Path(__file__).parents[1] / "integrations" / "lerobot_robot_lotj" / "lerobot_robot_lotj" / "arm.py"
SEAT, DOWN = np.array([0.02, -0.03, 0.12]), np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def kind() -> Any:
    """`LeRobotArm`, whose package imports LeRobot where its own file does not."""
    pytest.importorskip("mink")
    spec = importlib.util.spec_from_file_location("lotj_lerobot_arm", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LeRobotArm


def base() -> Any:
    """What LeRobot's arms are, where it is installed."""
    try:
        from lerobot.robots import Robot
    except ImportError:
        return object
    return Robot


class Pretended(base()):
    """A LeRobot arm: a Panda whose servos go where they are told at once; degrees, and a camera that jitters."""

    config_class, name = object, "pretended"

    def __init__(self, joints: np.ndarray) -> None:
        self.id = None
        self.joints, self.told, self.connected = np.degrees(joints), dict[str, float](), False
        self.stuck, self.seconds, self.clock = False, 0.0, 0.0

    @property
    def observation_features(self) -> dict[str, Any]:
        return {f"j{n}.pos": float for n in range(7)} | {"cam": (48, 96, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"j{n}.pos": float for n in range(7)} | {"gripper.pos": float}

    is_connected = property(lambda self: self.connected)
    is_calibrated = property(lambda self: True)

    def connect(self, calibrate: bool = True) -> None:
        self.connected = True

    def calibrate(self) -> None: ...
    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        self.clock += self.seconds
        picture = np.random.default_rng().integers(40, 200, (48, 96, 3), np.uint8)
        return {f"j{n}.pos": float(value) for n, value in enumerate(self.joints)} | {"cam": picture}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.told = dict(action)
        if not self.stuck:
            self.joints = np.array([action[f"j{n}.pos"] for n in range(7)])
        return action

    def disconnect(self) -> None:
        self.connected = False


def behind(kind: Any, **settings: Any) -> tuple[Pretended, Any, Kinematics]:
    """The arm, 50 mm above its seat, as a robot of lotj; where its joints are is checked by MuJoCo alone."""
    model, panda = mujoco.MjModel.from_xml_string(links_xml(ARMS["panda"])), ARMS["panda"]
    kinematics = Kinematics(model, "flange", DOWN, np.array(panda.posture), np.array(panda.joint_speeds))
    arm = Pretended(kinematics.reach(SEAT + [0.0, 0.0, 0.05]))
    given = {"cameras": ["cam"], "wait": lambda seconds: None, "joints": [f"j{n}" for n in range(7)], **settings}
    return arm, kind(arm, kinematics, seat=SEAT, **given), kinematics


def test_an_arm_of_lerobots_stands_behind_the_boundary(kind: Any) -> None:
    """5 mm along an axis: 6 mm times 5/6."""
    arm, robot, _ = behind(kind, held={"gripper.pos": 3.0})
    safe = Safe(robot, Limits(watchdog_s=60.0))
    seen = safe.reset(0, np.array([4e-3, -2e-3]))
    np.testing.assert_allclose(seen["state"][:3], [4e-3, -2e-3, 15e-3], atol=6e-4)
    np.testing.assert_allclose(seen["state"][3:6], 0.0, atol=1e-9)  # it stands still at its start
    assert seen["image"].shape == (1, 32, 64, 3) and arm.told["gripper.pos"] == 3.0
    after = safe.move(np.array([5 / 6, 0.0, -5 / 6]))
    np.testing.assert_allclose(after["state"][:3] - seen["state"][:3], [5e-3, 0.0, -5e-3], atol=1e-4)
    model = mujoco.MjModel.from_xml_string(links_xml(ARMS["panda"]))
    data = mujoco.MjData(model)
    data.qpos[:] = np.radians(arm.joints)
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site("flange").xpos - SEAT, after["state"][:3], atol=1e-6)
    turn = data.site("flange").xmat.reshape(3, 3).T @ DOWN
    assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 1.0
    safe.relax()
    safe.park()
    safe.close()
    assert not arm.connected


def test_a_joint_that_the_arm_does_not_show_is_named(kind: Any) -> None:
    with pytest.raises(FaultError, match="does not show j7.pos: it shows j0.pos"):
        behind(kind, joints=[*(f"j{n}" for n in range(7)), "j7"])


def test_an_arm_that_does_not_get_on_fails_before_its_learner_gives_up(kind: Any) -> None:
    """Stuck 30 mm above its start: three stretches of 15 s are less than the minute that a learner waits."""
    waited: list[float] = []
    arm, robot, _ = behind(kind, wait=waited.append)
    arm.stuck = True
    with pytest.raises(FaultError, match="does not reach its start: 15.0 mm are left after 15 s"):
        robot.reset(0, np.zeros(2))
    assert 3 * sum(waited) == pytest.approx(45.0) and RESET_S > 45.0


def test_an_arm_whose_answers_are_slow_fails_in_time_too(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each answer: 15 steps, not the 150 of 0.1 s each."""
    arm, robot, _ = behind(kind)
    arm.stuck, arm.seconds = True, 1.0
    monkeypatch.setattr("time.monotonic", lambda: arm.clock)
    with pytest.raises(FaultError, match="does not reach its start"):
        robot.reset(0, np.zeros(2))
    assert arm.clock < 20.0
