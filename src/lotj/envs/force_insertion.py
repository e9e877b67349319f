"""Insertion from what a robot knows without wrist cameras: pose about a taught goal, velocity, force and torque, or the
small picture of a camera on the bench; rewards that a real bench can measure (Schoettler et al. 2019, arXiv:1906.05841;
Zhao et al. 2022, arXiv:2110.04276)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers import Controller
from lotj.controllers.expert import Clumsy
from lotj.controllers.proportional import Proportional
from lotj.envs.base import Family, check_options
from lotj.envs.insertion import START_SPREAD, InsertionEnv, checked_start, draw_start
from lotj.errors import SettingsError, find
from lotj.sim.bench import STEP_LIMIT, Reading
from lotj.sim.connector import Connector, catalogue
from lotj.sim.drawing import free_camera

STATE = ("x", "y", "z", "vx", "vy", "vz", "fx", "fy", "fz", "tx", "ty", "tz")
"""Entries of ``state``: position of the hand from the nominal goal [m], its velocity [m/s], force [N] and torque about
the grip point [N m] of what touches it, zeroed at reset; all along the axes of the hand, which does not turn."""

STARTS = {
    "above": "50 mm over the goal, up to 3 mm beside it along x and y",
    "far": "2 to 14 mm over the goal's rim, 10 to 20 mm beside it (LOTJ section VI-A)",
}
DIGITS = 4
"""What the sensor resolves: 0.1 mN and 0.1 mN m. Any finer, rounding at 1e-20 would tell the hidden error."""

HEIGHT = 50e-3  # gap between plug and socket of a start above [m]
TEACHING = 6  # steps in which a plug that was put into its seat by hand comes to rest

MOST_ERROR = 10e-3  # that a goal may be off along an axis [m]

ALPHA, BETA, PHI = 100.0, 0.002, 0.1  # of the dense reward: 1/m, m, 1/N
EPSILON = 1e-4
"""Keeps the bonus of being near finite [m]: the dense reward ends at 20 a step."""

GREY = (0.299, 0.587, 0.114)  # share of red, green and blue in a grey level (ITU-R BT.601)


def goal_error_of(connector: Connector, given: float | str) -> float:
    """The setting ``goal_error`` in metres: a number is in mm; "1.5x" is 1.5 times the connector's `capture_range`.

    Raises:
        SettingsError: neither of them, or not from 0 to `MOST_ERROR`.
    """
    scale = connector.capture_range if isinstance(given, str) and given.endswith("x") else 1e-3
    try:
        error = float(given.removesuffix("x") if isinstance(given, str) else given) * scale
    except (TypeError, ValueError):
        error = float("nan")
    if isinstance(given, bool) or not 0.0 <= error <= MOST_ERROR:
        rule = (
            f"must be 0 to 10 [mm], or as '1.5x', times the capture range, {1e3 * connector.capture_range:.2f} mm here"
        )
        raise SettingsError(f"goal_error = {given!r}: {rule}")
    return error


class ForceInsertionEnv(InsertionEnv):
    """Plug one connector in, from state and force, or from the picture of a camera that stands on the bench.

    Before the first episode the goal is taught, once: the plug is put into its seat by hand, and the robot notes where
    its hand stands and what the camera sees. In each episode the socket stands elsewhere by a hidden error, so the goal
    is *nominal*.

    Action: Box(-1, 1, (3,)), relative motion of the hand along x, y, z; 1 is `step_mm` (10 Hz).
    Observation: ``state`` (12,) float32, see `STATE`; ``image`` (1, S, S, 3) uint8, grey.
    Info: as of `InsertionEnv`; ``goal_error`` (2,) [m] is true and hidden, too.
    A dislodged plug ends an episode only where `reward` is ``success``: where each step costs, to lose the plug would
    else be a way out.

    Args:
        connector, robot, domain_seed, end_on_success: see `InsertionEnv`.
        start: a name in `STARTS`.
        goal_error: e; the socket is off by U[-e, e] along x and y in each episode: see `goal_error_of`.
        reward: a name in `REWARDS`.
        step_mm: motion of an action of 1 along an axis, above 0 up to 6 [mm].
        observation: ``state``, ``image``, or both in a list or tuple.
        image_size: S [pixels], even.
        max_steps: time limit.

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    def __init__(
        self,
        connector: str = "usb-a",
        robot: str = "duo",
        domain_seed: int = 0,
        start: str = "above",
        goal_error: float | str = 0.0,
        reward: str = "success",
        step_mm: float = 1e3 * STEP_LIMIT,
        observation: str | Sequence[str] = "state",
        image_size: int = 32,
        max_steps: int = 50,
        end_on_success: bool = True,
        render_mode: str | None = "rgb_array",
    ) -> None:
        find("start", start, STARTS)
        self._reward, self.end_on_loss = find("reward", reward, REWARDS), reward == "success"
        self.returns = (0.0, 1.0) if reward == "success" else (-np.inf, np.inf)
        number = isinstance(step_mm, (int, float)) and not isinstance(step_mm, bool)
        if not number or not 0.0 < step_mm <= 1e3 * STEP_LIMIT:
            raise SettingsError(f"step_mm = {step_mm!r}: must be above 0, up to {1e3 * STEP_LIMIT:g} mm")
        super().__init__(
            connector, robot, domain_seed, "far", image_size, observation, max_steps, end_on_success, None, render_mode
        )
        self.goal_error = goal_error_of(self.bench.connector, goal_error)
        self.start, self.action_scale = start, 1e-3 * step_mm
        self.task = replace(self.task, env=f"{FAMILY.name}/{self.bench.connector.name}")
        boxes: dict[str, gym.Space] = {
            "state": gym.spaces.Box(-np.inf, np.inf, (len(STATE),), np.float32),
            "image": gym.spaces.Box(0, 255, (1, image_size, image_size, 3), np.uint8),
        }
        self.observation_space = gym.spaces.Dict({name: boxes[name] for name in self._observed})
        x, y, z = self.bench.drawn.clamp_shift
        self.camera = free_camera((x, y, z + 0.035), 0.17, azimuth=62.0, elevation=-12.0)
        self._pictures = "image" in self._observed or reward == "image"
        self._shift, self._tare = np.zeros(2), np.zeros(6)
        self._teach()

    def _teach(self) -> None:
        """Note the pose of the hand (3,) [m] and the picture (1, S, S, 3) of a plug that sits."""
        reading = self.bench.reset(np.zeros(2), -self.bench.contact_height)
        for _ in range(TEACHING):
            reading = self.bench.relax()
        self._taught = reading.hand
        if self._pictures:
            self.picture = self.goal_image = self._view()

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: fixes start and goal error, which are all that differs between episodes.
            options: ``offset`` (2,) from the nominal goal [m] and ``height``, the gap to the socket [m], instead of a
                drawn start; ``goal_error`` (2,) [m] instead of a drawn one.

        Raises:
            SettingsError: an option is unknown, or no start within the workspace.
        """
        options = check_options(options, ("offset", "height", "goal_error"))
        gym.Env.reset(self, seed=seed)
        rng = self.np_random
        start = (rng.uniform(-START_SPREAD, START_SPREAD, 2), HEIGHT)
        if self.start == "far":
            start = draw_start(rng, "far")[:2]
        offset, height = checked_start(options, *start, np.zeros(3))
        shift = rng.uniform(-self.goal_error, self.goal_error, 2)
        shift = _checked_shift(options["goal_error"]) if "goal_error" in options else shift
        self._shift = shift
        self.bench.move_socket(np.array([*shift, 0.0]))
        away = self._taught - [*shift, 0.0]  # of the nominal goal from where the hand truly must be
        reading = self.bench.reset(offset + away[:2], height, error=away)
        self._steps, self._paid, self._tare = 0, reading.success, self._wrench(reading)
        return self._observe(reading), self._info(reading)

    def _after(self, reading: Reading) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, once, terminated, truncated, info = super()._after(reading)
        return observation, self._reward(self, reading, once), terminated, truncated, info

    def person(self) -> Controller:
        """Who demonstrates: a person, who sees the socket."""
        return Clumsy(np.random.default_rng(0), self.action_scale, self.bench.contact_height)

    def render(self) -> np.ndarray:
        """What the camera on the bench sees, in colour, (256, 256, 3) uint8."""
        return self.bench.view(self.camera, 256)

    def tared_force(self, reading: Reading) -> np.ndarray:
        """(3,) [N] since the reset."""
        return reading.force - self._tare[:3]

    def _wrench(self, reading: Reading) -> np.ndarray:
        return np.round(np.concatenate([reading.force, self.bench.torque()]), DIGITS)

    def _view(self) -> np.ndarray:
        grey = np.round(self.bench.view(self.camera, self.bench.image_size) @ np.array(GREY)).astype(np.uint8)
        return np.repeat(grey[None, ..., None], 3, -1)

    def _observe(self, reading: Reading) -> dict[str, np.ndarray]:
        state = np.concatenate([reading.hand, reading.velocity, self._wrench(reading) - self._tare])
        if self._pictures:
            self.picture = self._view()
        return {name: self.picture if name == "image" else state.astype(np.float32) for name in self._observed}

    def _info(self, reading: Reading) -> dict[str, Any]:
        return {**super()._info(reading), "goal_error": self._shift.copy()}


def _checked_shift(given: Any) -> np.ndarray:
    try:
        shift = np.array(given, float)
    except (TypeError, ValueError):
        shift = np.full(2, np.nan)
    if shift.shape != (2,) or not (np.abs(shift) <= MOST_ERROR).all():
        raise SettingsError(f"reset option goal_error = {given!r}: must be 2 numbers [m], each up to {MOST_ERROR:g}")
    return shift


def dense_reward(beside: np.ndarray, force: float, inserted: bool) -> float:
    """Equation 26 of Nair 2022, with the sign of the authors' code: -100 |d|_1 + 0.002 / (|d|_2 + eps) -+ 0.1 f_z.

    It is printed with a minus before the second term, which would punish being near; their code adds it.

    Args:
        beside: d (3,), of the hand from the nominal goal [m].
        force: f_z, tared [N]; pressing is positive, and costs until `inserted`, then it pays.
    """
    bonus = BETA / (float(np.linalg.norm(beside)) + EPSILON)
    return float(-ALPHA * np.abs(beside).sum() + bonus + (PHI if inserted else -PHI) * force)


def _dense(env: ForceInsertionEnv, reading: Reading, once: float) -> float:
    inserted = reading.hand[2] < 0.5 * env.bench.connector.insertion_depth
    return dense_reward(reading.hand, float(env.tared_force(reading)[2]), bool(inserted))


def _image(env: ForceInsertionEnv, reading: Reading, once: float) -> float:
    return -float(np.abs(env.picture[..., 0] / 255.0 - env.goal_image[..., 0] / 255.0).sum())


REWARDS = {
    "success": lambda env, reading, once: once,  # 1 in the first step that ends seated
    "sparse": lambda env, reading, once: float(reading.success),  # 1 in each step that ends seated: connected
    "dense": _dense,
    "image": _image,  # minus the L1 distance to the goal's picture, levels in [0, 1]
}
"""Name -> reward of (environment, reading, what the house pays). Only `success` pays once."""

FAMILY = Family(
    name="force-insertion",
    title="a robot plugs a connector in, by state and force or a small picture, about a goal that is a little wrong",
    members={name: catalogue()[name].title for name in ("usb-a", "d-sub-de-9", "seven-eighths-5")},
    make=ForceInsertionEnv,
    expert=lambda env: Proportional(env.action_scale),
    others="FILE.toml",
)
