"""lotj's bench, simulated or served, as a robot of LeRobot: ``--robot.type=lotj_bench``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

from lotj.envs.insertion import STATE
from lotj.errors import FaultError, LostError
from lotj.experience import Observation
from lotj.robots.client import RemoteRobot
from lotj.robots.robot import PRACTICE, Setup
from lotj.robots.safe import Limits, Safe
from lotj.robots.server import Benches
from lotj.sim.connector import connector_text, find_connector
from lotj.spaces import Array, Spec

try:
    from lerobot.utils.errors import DeviceNotConnectedError
except ImportError:  # where it lies differs between versions
    DeviceNotConnectedError = ConnectionError

_log = logging.getLogger(__name__)

ACTIONS = ("dx", "dy", "dz")
"""Motion of the hand along x, y, z of the bench, each from -1 to 1 (6 mm of the simulated robots)."""


def state_names(spec: Spec) -> list[str]:
    """Of the numbers of ``state``; none where the robot shows none."""
    if "state" not in spec.observation:
        return []
    (count,) = spec.observation["state"].shape
    return list(STATE) if count == len(STATE) else [f"state_{number}" for number in range(count)]


def camera_names(spec: Spec) -> list[str]:
    """Of the views, in their order in ``image``: wrist_0, wrist_1."""
    return [f"wrist_{number}" for number in range(spec.observation["image"].shape[0])]


def flat(seen: Observation, spec: Spec) -> dict[str, float | np.ndarray]:
    """An observation as LeRobot's robots give it: a float for each number, (H, W, 3) uint8 for each camera."""
    numbers = zip(state_names(spec), seen.get("state", ()), strict=True)
    pictures = zip(camera_names(spec), seen["image"], strict=True)
    return {name: float(value) for name, value in numbers} | {name: np.array(view) for name, view in pictures}


def vector(action: Mapping[str, float]) -> np.ndarray:
    """(3,) float32 within [-1, 1]; what lies outside is clipped. ValueError where one is missing or not finite."""
    missing = [name for name in ACTIONS if name not in action]
    values = np.array([float(action[name]) for name in ACTIONS if name in action], np.float32)
    if missing or not np.isfinite(values).all():
        raise ValueError(f"action {dict(action)}: must have finite {', '.join(ACTIONS)}")
    return np.clip(values, -1.0, 1.0)


@RobotConfig.register_subclass("lotj_bench")
@dataclass(kw_only=True)
class LotjBenchConfig(RobotConfig):
    """Which bench. With an `address` it is what `lotj robot serve` serves there, with limits of its own."""

    connector: str = "usb-b"
    arm: str = "duo"  # duo, trio or panda; of a served one nothing is chosen here
    address: str = ""  # host:port
    scenario: str = "far"
    domain_seed: int = 0
    seed: int = 0  # of the first start; each next trial has the next one
    image_size: int = 64
    max_steps: int = 20  # after so many actions the next one finds the robot at a new start


class LotjBench(Robot):
    """The robot. It tells no truth: it observes what a robot of lotj's does, and is held to `lotj.robots.safe.Limits`.

    A trial ends after `max_steps` actions, or when the robot has noticed that its part is lost; then it goes to its
    next start by itself, with the part in the gripper.
    """

    config_class = LotjBenchConfig
    name = "lotj_bench"

    def __init__(self, config: LotjBenchConfig) -> None:
        super().__init__(config)
        self.config = config
        find_connector(config.connector)
        self._robot: Any = None
        self._seen: dict[str, np.ndarray] = {}
        self._steps, self._trial, self._sent = 0, config.seed, np.zeros(3, np.float32)

    @property
    def _spec(self) -> Spec:
        if self._robot is not None:
            return self._robot.spec
        size = self.config.image_size  # unconnected: as the simulated robots are
        shown = {"image": Array((2, size // 2, size, 3), "uint8", 0, 255)}
        return Spec(shown | {"state": Array((9,), "float32", -np.inf, np.inf)}, (3,), 10.0, self.config.max_steps)

    @property
    def observation_features(self) -> dict[str, Any]:
        """Position [m], velocity [m/s] and contact force [N] of the hand; pictures of the cameras at its wrist."""
        shape = self._spec.observation["image"].shape[1:]
        return dict.fromkeys(state_names(self._spec), float) | dict.fromkeys(camera_names(self._spec), shape)

    @property
    def action_features(self) -> dict[str, type]:
        return dict.fromkeys(ACTIONS, float)

    @property
    def is_connected(self) -> bool:
        return self._robot is not None

    @property
    def is_calibrated(self) -> bool:
        return True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def connect(self, calibrate: bool = True) -> None:
        """Makes the bench, or connects to the served one, and goes to the first start."""
        of = self.config
        text = connector_text(of.connector).decode()
        setup = Setup(PRACTICE, text, of.domain_seed, of.scenario, of.image_size, of.max_steps, of.seed)
        if of.address:
            self._robot = RemoteRobot(of.address, setup)
        else:
            simulated, limits = Benches(of.arm)(setup), Limits(watchdog_s=1e9)  # nobody waits beside it
            self._robot = Safe(simulated, limits)
            move = simulated.move

            def sent(action: np.ndarray) -> Any:
                self._sent = action
                return move(action)

            simulated.move = sent  # what is left of an action when the limits have been applied
        self.restart()

    def restart(self) -> None:
        """Begin the next trial, at a new start."""
        self._seen, self._steps = self._connected().reset(self._trial), 0
        self._trial += 1

    def get_observation(self) -> dict[str, Any]:
        return flat(self._seen, self._connected().spec)

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Moves; returns what the limits have left of the action (of a served robot, what was sent there)."""
        robot = self._connected()
        if self._steps >= self.config.max_steps:
            robot.park()
            self.restart()
        self._sent = wanted = vector(action)
        self._steps += 1
        try:
            self._seen = robot.move(wanted)
        except (LostError, FaultError) as error:
            _log.warning("%s; the next trial begins", error)
            self.restart()
        return {name: float(value) for name, value in zip(ACTIONS, self._sent, strict=True)}

    def disconnect(self) -> None:
        self._connected().close()
        self._robot = None

    def _connected(self) -> Any:
        if self._robot is None:
            raise DeviceNotConnectedError(f"{self} is not connected: call connect() first")
        return self._robot
