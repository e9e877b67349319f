"""Gymnasium environment: insert one connector on one simulated bench."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers.expert import Expert
from lotj.envs.base import Family
from lotj.errors import SettingsError
from lotj.experience import SCENARIOS, STATE_DIM, Domain
from lotj.sim.arm import find_arm
from lotj.sim.bench import RATE_HZ, STEP_LIMIT, Bench, Reading, mosaic
from lotj.sim.connector import catalogue, find_connector
from lotj.sim.look import draw_look

NEAR_BOX = 10e-3
"""`near`: each of x and y within this of the socket axis [m] (LOTJ section VI-A)."""

FAR_RING = (10e-3, 20e-3)
"""`far`: the larger of |x| and |y| lies between these [m] (LOTJ section VI-A)."""

START_HEIGHT = (4e-3, 10e-3)
"""Gap between plug and socket at the start [m]."""

OBSERVATIONS = ("image", "state", "both")


def start_offset(rng: np.random.Generator, scenario: str) -> np.ndarray:
    """Draw a start (x, y) from the socket axis, uniform over the scenario's area [m]."""
    if scenario == "near":
        return rng.uniform(-NEAR_BOX, NEAR_BOX, 2)
    while True:
        offset = rng.uniform(-FAR_RING[1], FAR_RING[1], 2)
        if np.max(np.abs(offset)) >= FAR_RING[0]:
            return offset


def make_domain(connector: str, robot: str = "duo", seed: int = 0) -> Domain:
    """Describe the domain of a connector, robot and seed.

    Raises:
        SettingsError, CatalogueError: unknown names or a bad connector file.
    """
    part = find_connector(connector)
    find_arm(robot)
    return Domain(f"{part.name}.{robot}.{seed}", connector, part.family, robot, seed, part.split)


class InsertionEnv(gym.Env):
    """Plug one connector in, from the images of two wrist cameras, one view above the other.

    Action: Box(-1, 1, (3,)), relative motion of the hand along x, y, z; 1 is 6 mm (60 mm/s at 10 Hz). The robot
    enforces step, workspace and force limits itself.
    Observation: uint8 image (S, S, 3); or `state` float32 (6,), see `experience.STATE_NAMES`; or a dict of both.
    Reward: 1 when seated, else 0. `terminated` on true success; `truncated` after `max_steps`, or at once when the plug
    is dislodged from the fingers (`info["dislodged"]`).

    Args:
        connector: catalogue name or path of a TOML file.
        robot: ``duo`` or ``trio``.
        domain_seed: fixes clamp and grasp pose, camera, lights, materials, background and clutter.
        scenario: ``near`` or ``far``.
        image_size: side of the image [pixels].
        observation: ``image``, ``state`` or ``both``.
        max_steps: time limit.
        end_on_success: false lets an episode go on after success (near-miss collection, and practice, which must not
            learn the truth from the end of an episode).

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(RATE_HZ)}
    action_scale = STEP_LIMIT

    def __init__(
        self,
        connector: str = "nema-5-15",
        robot: str = "duo",
        domain_seed: int = 0,
        scenario: str = "far",
        image_size: int = 64,
        observation: str = "image",
        max_steps: int = 20,
        end_on_success: bool = True,
        render_mode: str | None = "rgb_array",
    ) -> None:
        _check_settings(scenario, image_size, observation, max_steps, domain_seed)
        part = find_connector(connector)
        self.domain = make_domain(connector, robot, domain_seed)
        self.scenario = scenario
        self.observation = observation
        self.max_steps = max_steps
        self.end_on_success = end_on_success
        self.render_mode = render_mode
        self.bench = Bench(part, find_arm(robot), draw_look(part, domain_seed), image_size)
        image = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        state = gym.spaces.Box(-np.inf, np.inf, (STATE_DIM,), np.float32)
        spaces = {"image": image, "state": state, "both": gym.spaces.Dict({"image": image, "state": state})}
        self.observation_space = spaces[observation]
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self._steps = 0
        self._reading: Reading | None = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. `options` may hold ``offset`` (2,) [m] and ``height`` [m] instead of a drawn start."""
        super().reset(seed=seed)
        options = options or {}
        offset = start_offset(self.np_random, self.scenario)
        height = self.np_random.uniform(*START_HEIGHT)
        offset, height = np.asarray(options.get("offset", offset)), float(options.get("height", height))
        self._steps = 0
        self._reading = self.bench.reset(offset, height, self.np_random)
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the hand by `action` (3,) in [-1, 1] and look."""
        if self._reading is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        action = np.asarray(action, float)
        if action.shape != (3,) or not np.isfinite(action).all():
            raise SettingsError(f"action {action!r} must be 3 finite numbers in [-1, 1]")
        return self._after(self.bench.move(np.clip(action, -1.0, 1.0) * self.action_scale))

    def relax(self) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """A step of no motion, in which the hand lets go of what it presses against; see `lotj.robots.robot.Robot`."""
        if self._reading is None:
            raise gym.error.ResetNeeded("call reset() before relax()")
        return self._after(self.bench.relax())

    def _after(self, reading: Reading) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._reading = reading
        self._steps += 1
        terminated = self._reading.success and self.end_on_success
        truncated = not terminated and (self._steps >= self.max_steps or self._reading.dislodged)
        return self._observe(), float(self._reading.success), terminated, truncated, self._info()

    def render(self) -> np.ndarray:
        """The wrist cameras' two views at 256 pixels, (256, 256, 3) uint8."""
        return mosaic(self.bench.render(size=256))

    def close(self) -> None:
        """Free the renderer."""
        self.bench.close()

    def state(self) -> np.ndarray:
        """(6,) float32: position in the socket frame [m] and contact force [N]."""
        assert self._reading is not None
        return np.concatenate([self._reading.position, self._reading.force]).astype(np.float32)

    def _observe(self) -> Any:
        if self.observation == "state":
            return self.state()
        image = mosaic(self.bench.render())
        return image if self.observation == "image" else {"image": image, "state": self.state()}

    def _info(self) -> dict[str, Any]:
        reading = self._reading
        assert reading is not None
        return {
            "is_success": reading.success,
            "depth": float(self.bench.connector.insertion_depth - reading.position[2]),
            "lateral": float(np.linalg.norm(reading.position[:2])),
            "position": reading.position.copy(),
            "wrench": reading.force.copy(),
            "peak_force": reading.peak_force,
            "dislodged": reading.dislodged,
        }


def _check_settings(scenario: str, image_size: int, observation: str, max_steps: int, seed: int) -> None:
    if scenario not in SCENARIOS:
        raise SettingsError(f"unknown scenario {scenario!r}; known are {', '.join(SCENARIOS)}")
    if observation not in OBSERVATIONS:
        raise SettingsError(f"unknown observation {observation!r}; known are {', '.join(OBSERVATIONS)}")
    if not 16 <= image_size <= 1024 or image_size % 2:
        raise SettingsError(f"image_size = {image_size}: must be even (two views share it), 16 to 1024 pixels")
    if max_steps < 1:
        raise SettingsError(f"max_steps = {max_steps}: must be at least 1")
    if seed < 0:
        raise SettingsError(f"domain_seed = {seed}: must not be negative")


FAMILY = Family(
    name="insertion",
    title="a robot plugs a connector in, seen by two wrist cameras; `lotj connectors list` has their dimensions",
    members={part.name: part.title for part in catalogue().values()},
    make=InsertionEnv,
    expert=lambda env: Expert(np.random.default_rng(0), env.action_scale, env.bench.contact_height, noise=0.0),
    others="FILE.toml",
)
