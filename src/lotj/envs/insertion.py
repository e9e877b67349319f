"""Gymnasium environment: insert one connector on one simulated bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers.expert import Expert
from lotj.envs.base import Family, check_options, check_switch, check_view, check_whole, checked_action
from lotj.errors import SettingsError, find, unknown
from lotj.experience import INSERTION, Task
from lotj.geometry import mosaic
from lotj.sim.arm import ARMS
from lotj.sim.bench import RATE_HZ, STEP_LIMIT, WORKSPACE, Bench, Reading
from lotj.sim.connector import catalogue, find_connector
from lotj.sim.randomization import draw_randomization

NEAR_BOX = 10e-3  # `near`: each of x and y within this of the socket axis [m] (LOTJ section VI-A)
FAR_RING = (10e-3, 20e-3)  # `far`: the larger of |x| and |y| lies between these [m] (LOTJ section VI-A)
SCENARIOS = ("near", "far")

START_SPREAD = 3e-3
"""A trial starts within this of where the socket is estimated to be, along x and y [m]: the arm goes to the same pose
each time, and a little variation shows the policy more than one picture of it."""

HEIGHT_ERROR = 5e-3
"""The estimate is up to this much too high or too low [m]: a hand guided there by eye, or a part of unknown height."""

START_HEIGHT = (7e-3, 9e-3)
"""Gap between plug and socket at the start, if the estimate held [m]; in truth it is 2 to 14 mm, so that a plug never
starts inside, tilted by up to 3 degrees as it may be."""

STATE = ("x", "y", "z", "vx", "vy", "vz", "fx", "fy", "fz")
"""Entries of the observation ``state``, all measured by the robot: position [m], velocity [m/s] and contact force [N]
of the hand along the axes of the bench; see `lotj.sim.bench.Reading`. Nothing in it knows the true socket."""


def draw_start(
    rng: np.random.Generator, scenario: str, estimate_seed: int | None = None
) -> tuple[np.ndarray, float, np.ndarray]:
    """Draw a start in the area of `scenario` (evenly, where each episode has an estimate of its own) from the episode's
    generator, and how wrong the socket's position is estimated; see `InsertionEnv` for `estimate_seed`.

    Returns:
        (2,) of the plug from the socket axis, the gap between plug and socket, and (3,) the estimate's error [m].
    """
    spread, gap = rng.uniform(-START_SPREAD, START_SPREAD, 2), rng.uniform(*START_HEIGHT)
    if estimate_seed is None:
        beside = _draw_place(rng, scenario, 0.0) - spread
    else:
        rng = np.random.default_rng(estimate_seed)
        beside = _draw_place(rng, scenario, START_SPREAD)
    error = np.array([*beside, rng.uniform(-HEIGHT_ERROR, HEIGHT_ERROR)])
    return beside + spread, float(error[2] + gap), error


def _draw_place(rng: np.random.Generator, scenario: str, margin: float) -> np.ndarray:
    """(2,) evenly over the scenario's area, this far from its borders [m]."""
    low, high = (FAR_RING[0] + margin, FAR_RING[1] - margin) if scenario == "far" else (0.0, NEAR_BOX - margin)
    while True:
        place = rng.uniform(-high, high, 2)
        if np.max(np.abs(place)) >= low:
            return place


def insertion_task(connector: str, robot: str = "duo", seed: int = 0, laboratory: int | None = None) -> Task:
    """Describe the domain of a connector, robot and seed; in a `laboratory`, see `draw_randomization`.

    Raises:
        SettingsError, CatalogueError: unknown names or a bad connector file.
    """
    part = find_connector(connector)
    find("robot", robot, ARMS)
    about = {"connector": connector, "family": part.family, "robot": robot, "seed": seed}
    about |= {} if laboratory is None else {"laboratory": laboratory}
    return Task(f"{part.name}.{robot}.{seed}", INSERTION + part.name, part.split, about)


class InsertionEnv(gym.Env):
    """Plug one connector in, from the images of two wrist cameras, or of another one.

    Action: Box(-1, 1, (3,)), relative motion of the hand along x, y, z; 1 is 6 mm (60 mm/s at 10 Hz). The robot
    enforces step, workspace and force limits itself.
    Observation: a dict of what is asked for: ``image``, (V, S/2, S, 3) uint8, a view for each of V cameras;
    ``state``, (9,) float32, see `STATE`.
    Reward: 1 on the first step of an episode that ends seated, else 0. `terminated` on true success, or when the plug
    is dislodged from the fingers; `truncated` after `max_steps`.
    Info: what a robot knows: ``force`` (3,) [N]; ``grip`` (2,), slip [m] and tilt [rad] of the plug in the fingers,
    which a robot feels blurred and late, see `lotj.robots.simulated`. What only a simulator knows: ``is_success``;
    ``wrong_socket``, seated in another one (`lotj.envs.disturbances`); ``dislodged``, also as ``lost``, as every task
    calls it; ``position`` (3,) of the plug in the socket frame, ``depth``, ``lateral`` [m]; ``peak_force`` [N].

    Args:
        connector: catalogue name or path of a TOML file.
        robot: ``duo`` or ``trio``, or ``panda``, an arm of seven joints, for which RobotError is raised without mink;
            ``duo-one``, ``trio-one`` with one wrist camera, ``duo-fixed``, ``trio-fixed`` with one beside the bench.
        domain_seed: fixes clamp and grasp pose, camera, lights, materials, background and clutter.
        scenario: ``near`` or ``far``.
        image_size: S [pixels], even.
        observation: names of what is observed: ``image``, ``state``, or both in a list or tuple.
        max_steps: time limit.
        estimate_seed: where the socket is believed to be, off by up to 23 mm along x and y and 5 mm in height;
            workspace, starts and ``state`` are centred on it. A number draws it once (a robot that practises), None
            anew for each episode, from the episode's seed (collection, evaluation: starts all around).
        end_on_success: false lets an episode go on after success (near-miss collection, and practice, which must not
            learn the truth from the end of an episode).
        laboratory: number of a bench whose background, light and cameras many connectors share; None: all its own.

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(RATE_HZ)}
    action_scale = STEP_LIMIT
    end_on_loss = True
    """Whether an episode ends where the plug is dislodged."""

    def __init__(
        self,
        connector: str = "nema-5-15",
        robot: str = "duo",
        domain_seed: int = 0,
        scenario: str = "far",
        image_size: int = 64,
        observation: str | Sequence[str] = "image",
        max_steps: int = 20,
        end_on_success: bool = True,
        estimate_seed: int | None = None,
        render_mode: str | None = "rgb_array",
        laboratory: int | None = None,
    ) -> None:
        names = check_view(observation, image_size, max_steps)
        for name, text in (("connector", connector), ("robot", robot), ("scenario", scenario)):
            if not isinstance(text, str):
                raise SettingsError(f"{name} = {text!r}: must be a text")
        check_switch("end_on_success", end_on_success)
        check_whole("domain_seed", domain_seed, 0)
        for name, number in (("estimate_seed", estimate_seed), ("laboratory", laboratory)):
            if number is not None:
                check_whole(name, number, 0)
        if scenario not in SCENARIOS:
            raise unknown("scenario", scenario, SCENARIOS)
        if image_size % 2:
            raise SettingsError(f"image_size = {image_size}: must be even, for two views share it")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise SettingsError(f"render_mode = {render_mode!r}: must be rgb_array or None; there is no window")
        self.part = part = find_connector(connector)
        self.task = insertion_task(connector, robot, domain_seed, laboratory)
        self.scenario, self.max_steps, self.end_on_success = scenario, max_steps, end_on_success
        self.estimate_seed, self.render_mode = estimate_seed, render_mode
        self.estimate_error, self.height_error = NEAR_BOX if scenario == "near" else FAR_RING[1], HEIGHT_ERROR
        self.bench = Bench(part, ARMS[robot], draw_randomization(part, domain_seed, laboratory), image_size)
        spaces = {
            "image": gym.spaces.Box(0, 255, (len(self.bench.arm.cameras), image_size // 2, image_size, 3), np.uint8),
            "state": gym.spaces.Box(-np.inf, np.inf, (len(STATE),), np.float32),
        }
        self.observation_space = gym.spaces.Dict({name: spaces[name] for name in names})
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self._observed, self._paid = names, False
        self._steps: int | None = None  # none before the first reset

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: fixes estimate, start and light; those are all that differs between episodes.
            options: ``offset`` (2,) from the socket axis [m] and ``height``, the gap to the socket [m], instead of a
                drawn start; ``start`` (2,) [m] likewise, but from where the socket is estimated to be; ``regrasp``:
                hold the plug otherwise from now on, as a robot that has lost it does.

        Raises:
            SettingsError: an option is unknown, or no start within the workspace.
        """
        options = check_options(options, ("offset", "height", "start", "regrasp"))
        super().reset(seed=seed)
        offset, height, error = draw_start(self.np_random, self.scenario, self.estimate_seed)
        offset, height = checked_start(options, offset, height, error)
        if options.get("regrasp"):
            self.bench.regrasp(self.np_random)
        reading = self.bench.reset(offset, height, self.np_random, error)
        self._steps, self._paid = 0, reading.success
        return self._observe(reading), self._info(reading)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the hand by `action` (3,) in [-1, 1] and observe."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        return self._after(self.bench.move(checked_action(action, (3,)) * self.action_scale))

    def relax(self) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """A step of no motion, in which the hand lets go of what it presses against; see `lotj.robots.robot.Robot`."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before relax()")
        return self._after(self.bench.relax())

    def _after(self, reading: Reading) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self._steps is not None
        self._steps += 1
        reward = float(reading.success and not self._paid)
        self._paid = self._paid or reading.success
        terminated = (reading.dislodged and self.end_on_loss) or (reading.success and self.end_on_success)
        truncated = not terminated and self._steps >= self.max_steps
        return self._observe(reading), reward, terminated, truncated, self._info(reading)

    def render(self) -> np.ndarray:
        """The views of its V cameras at 256 pixels, (128 V, 256, 3) uint8."""
        return mosaic(self.bench.render(size=256))

    def close(self) -> None:
        """Free the renderer."""
        self.bench.close()

    def _observe(self, reading: Reading) -> dict[str, np.ndarray]:
        state = np.concatenate([reading.hand, reading.velocity, reading.force]).astype(np.float32)
        return {name: self.bench.render() if name == "image" else state for name in self._observed}

    def _info(self, reading: Reading) -> dict[str, Any]:
        return {
            "force": reading.force.copy(),
            "grip": np.array([reading.slip, reading.tilt]),
            "is_success": reading.success,
            "wrong_socket": reading.wrong_socket,
            "dislodged": reading.dislodged,
            "lost": reading.dislodged,
            "position": reading.position.copy(),
            "depth": float(self.bench.connector.insertion_depth - reading.position[2]),
            "lateral": float(np.linalg.norm(reading.position[:2])),
            "peak_force": reading.peak_force,
        }


def checked_start(
    options: Mapping[str, Any], offset: np.ndarray, height: float, error: np.ndarray
) -> tuple[np.ndarray, float]:
    """The start that the options of a reset ask for, else the drawn one."""
    if type(options.get("regrasp", False)) is not bool:
        raise SettingsError(f"reset option regrasp = {options['regrasp']!r}: must be True or False")
    try:
        if "start" in options:
            offset = error[:2] + np.array(options["start"], float)
        offset = np.array(options.get("offset", offset), float)
        height = float(options.get("height", height))
    except (TypeError, ValueError):
        raise SettingsError(f"reset options {dict(options)}: offset must be 2 numbers, height one") from None
    reach = np.array(WORKSPACE[:2]) + 1e-9
    if offset.shape != (2,) or not (np.abs(offset - error[:2]) <= reach).all():  # NaN is refused, too
        raise SettingsError(
            f"reset option offset = {offset.tolist()}: must be 2 numbers [m] within the workspace, "
            f"{1e3 * WORKSPACE[0]:g} mm about the estimated position {np.round(error[:2], 4).tolist()}"
        )
    if not 0.0 <= height <= WORKSPACE[2] - HEIGHT_ERROR:
        rule = f"must be a gap from 0 to {WORKSPACE[2] - HEIGHT_ERROR:g} m"
        raise SettingsError(f"reset option height = {height:g}: {rule}")
    return offset, height


FAMILY = Family(
    name="insertion",
    title="a robot plugs a connector in, seen by two wrist cameras; `lotj connectors list` has their dimensions",
    members={part.name: part.title for part in catalogue().values()},
    make=InsertionEnv,
    expert=lambda env: Expert(np.random.default_rng(0), env.action_scale, env.part.contact_height, noise=0.0),
    others="FILE.toml",
)
