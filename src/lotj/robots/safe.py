"""Limits that hold whatever is asked, on the robot's side of the boundary. They are a second line behind those of the
robot's own controller, and no safety function in the sense of a standard (docs/real-robot.md)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any

import numpy as np

from lotj.errors import FaultError, LostError, RobotError
from lotj.experience import Observation
from lotj.ranges import FINITE, POSITIVE, Checked
from lotj.robots.cameras import Cameras
from lotj.robots.robot import Robot
from lotj.spaces import Spec

_log = logging.getLogger(__name__)

TOLERANCE = 1e-6
"""By which an element of an action may be beyond 1: a float's rounding."""

SENSORS = ("position", "force", "peak_force", "torque", "slip")
"""Of `Safe`; the first two are needed."""


@dataclass(frozen=True)
class Limits(Checked):
    """Of what a robot does, measured as `Safe` says. The defaults lie around what the simulated bench limits itself."""

    low: Annotated[tuple[float, float, float], FINITE] = (-0.055, -0.055, -0.035)
    """Lower corner of the box that the hand stays in, from where the part would sit if its estimate held [m]."""
    high: Annotated[tuple[float, float, float], FINITE] = (0.055, 0.055, 0.25)
    """Its upper corner [m]."""
    margin_m: Annotated[float, POSITIVE] = 8e-3
    """A motion ends so far before the border, or before the force limit [m]: what the arm overshoots by."""
    speed_m_s: Annotated[float, POSITIVE] = 0.15
    """Greatest speed of the hand that is asked for [m/s]."""
    force_n: Annotated[float, POSITIVE] = 120.0
    """Greatest contact force [N]; a motion ends where it would be reached, and beyond it the robot lets go."""
    stiffness_n_m: Annotated[float, POSITIVE] = 3000.0
    """Of the robot's controller [N/m]: by how much a blocked motion presses harder."""
    torque_nm: Annotated[float, POSITIVE] = 8.0
    """Greatest torque about the grip [N m], where it is measured; beyond it the robot lets go."""
    slip_m: Annotated[float, POSITIVE] = 5e-3
    """Greatest slip of the part in the fingers [m], where it is measured; beyond it the part counts as lost."""
    watchdog_s: Annotated[float, POSITIVE] = 0.3
    """In a trial the robot lets go and stops when no command has come for so long [s]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.array(self.low) + self.margin_m < np.array(self.high) - self.margin_m).all():
            self._refuse("low", f"must lie below high, {self.high}, by more than two margins")


def check_driver(robot: Robot) -> None:
    """Raises RobotError where what a driver says of itself cannot be, or it shows neither position nor force, so that
    the limits would measure nothing."""
    spec = robot.spec
    if not isinstance(spec, Spec):
        raise RobotError(f"the robot's driver: spec is a {type(spec).__name__}, must be a lotj.spaces.Spec")
    for name, value, zero in (
        ("action_scale", robot.action_scale, False),
        ("spec.rate_hz", spec.rate_hz, False),
        ("spec.max_steps", spec.max_steps, False),
        ("estimate_error", robot.estimate_error, True),
        ("height_error", robot.height_error, True),
    ):
        fine = isinstance(value, Real) and math.isfinite(value) and (value > 0 or (zero and value == 0))
        if not fine:
            rule = f"must be a finite number {'of at least' if zero else 'above'} 0"
            raise RobotError(f"the robot's driver: {name} is {value!r:.40}, {rule} (docs/real-robot.md)")
    if not hasattr(robot, "sensors") and math.prod(getattr(spec.observation.get("state"), "shape", (0,))) < 9:
        rule = "has no sensors(), and no state of 9 numbers: position, velocity and force"
        raise RobotError(f"the robot's driver {rule}; give it one of them, for its limits (docs/real-robot.md)")


class EmergencyStop:
    """From `press` on, which any thread may call, a robot is refused everything, until `release`."""

    def __init__(self) -> None:
        self.why, self.presses = "", 0

    def press(self, why: str) -> None:
        """Stop, and say why."""
        self.why = why or "pressed"
        self.presses += 1
        _log.warning("emergency stop: %s", self.why)

    def release(self) -> None:
        """The next `reset` goes on."""
        self.why = ""
        _log.warning("the emergency stop is released")


class Safe:
    """A robot with limits. It measures by the robot's ``sensors()``: ``position`` of the hand [m] as `Limits.low` has
    it, ``force`` (3,) of contacts [N], and where there are such ``peak_force`` of the last motion [N], ``torque`` (3,)
    [N m], ``slip`` [m]; without that method by the first three and the seventh to ninth number of its ``state``.

    A refused command moves nothing and raises RobotError; what ends a trial makes the robot let go and raises LostError
    (force, torque, slip), FaultError, or what the driver has raised; then all motions are refused until the next
    `reset`. Each is logged. A driver that says itself that the part is lost is taken to have let go.

    Args:
        robot: moves.
        limits: of it.
        clock: seconds.
        stop: ends the trial that runs, and refuses all after it.

    Raises:
        RobotError: see `check_driver`.
    """

    def __init__(
        self,
        robot: Robot,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        stop: EmergencyStop | None = None,
    ) -> None:
        check_driver(robot)
        self._robot, self._limits, self._clock, self._stop = robot, limits, clock, stop or EmergencyStop()
        self.spec, self.action_scale = robot.spec, robot.action_scale
        self.estimate_error, self.height_error = robot.estimate_error, robot.height_error
        self._cameras, self._feels = Cameras(robot.spec), hasattr(robot, "sensors")
        self._low, self._high = np.array(limits.low) + limits.margin_m, np.array(limits.high) - limits.margin_m
        self._over = "no trial: reset first"  # why nothing moves; empty in a trial
        self._since: float | None = None  # the last motion of the trial that runs; None: the watchdog sleeps
        self._presses = 0  # of the emergency stop before this trial
        self._hand = self._force = np.zeros(3)
        self._started = False
        self.limited = 0  # motions that were cut short
        if hasattr(robot, "outcome"):
            self.outcome: Callable[[], Mapping[str, Any]] = robot.outcome  # type: ignore[attr-defined]

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """See `Robot.reset`."""
        self._check_stop()
        if start is not None:
            start = self._numbers("start", start, (2,))
            if not ((self._low[:2] <= start) & (start <= self._high[:2])).all():
                raise self._refused(f"start {start.tolist()}: must be within the box of the robot's limits")
        if not 0 <= seed < 2**63:
            raise self._refused(f"seed {seed}: must be from 0 to 2**63")
        self._since, self._presses = None, self._stop.presses
        try:
            seen = self._robot.reset(seed, start)
        except Exception as error:
            self._halt(f"the robot has not reached its start: {error}")
            raise
        self._started, self._over = True, ""
        try:
            return self._checked(seen)
        except LostError as error:
            raise FaultError(f"at the start of a trial: {error}") from None

    def move(self, action: np.ndarray) -> Observation:
        """See `Robot.move`."""
        self._check_stop()
        if self._over:
            raise FaultError(self._over)
        action = self._numbers("action", action, self.spec.action)
        if np.abs(action).max(initial=0.0) > 1.0 + TOLERANCE:
            raise self._refused(f"action {action.tolist()}: must be within -1 and 1")
        allowed = self._allowed(np.clip(action, -1.0, 1.0)).astype(np.float32)
        self._since = None  # a motion takes what it takes
        try:
            seen = self._robot.move(allowed)
        except LostError as error:
            self._over = f"{error}; reset first"
            raise
        except Exception as error:
            self._halt(f"the driver has failed: {error}")
            raise
        self._since = self._clock()
        return self._checked(seen)

    def relax(self) -> Observation:
        """See `Robot.relax`; it is never refused once there was a trial."""
        if not self._started:
            raise FaultError(self._over)
        self._since = None
        try:
            seen = self._robot.relax()
        except Exception as error:
            self._over = f"{error}; reset first"
            raise
        return self._checked(seen)

    def park(self) -> None:
        """See `Robot.park`. The watchdog sleeps until the first motion of the next trial."""
        self._since, self._over = None, "the trial is over: reset first"
        self._robot.park()

    def leave(self) -> None:
        """Nobody will say any more: lets go, where a trial runs, and parks."""
        if not self._over:
            self._halt("the learner is gone")
        self.park()

    def close(self) -> None:
        """See `Robot.close`."""
        self._robot.close()

    def check_time(self) -> None:
        """Whoever waits for commands calls this all the time: lets go where none has come for too long."""
        if not self._over and (self._stop.why or self._stop.presses != self._presses):
            self._halt(f"emergency stop: {self._stop.why or 'pressed and released'}")
        elif self._since is not None and self._clock() - self._since > self._limits.watchdog_s:
            self._halt(f"watchdog: no command for {1e3 * self._limits.watchdog_s:.0f} ms in a trial")

    def _check_stop(self) -> None:
        self.check_time()
        if self._stop.why:
            raise FaultError(f"emergency stop: {self._stop.why}; release it where the robot is")

    def _numbers(self, what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        """(...) float64; RobotError if it is not of this shape, not of numbers or not finite."""
        try:
            array = np.asarray(value)
        except ValueError:  # lists of several lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "fiu" or array.shape != shape or not np.isfinite(array).all():
            raise self._refused(f"{what} of shape {array.shape} {array.dtype}: must be {shape}, finite numbers")
        return array.astype(np.float64)

    def _refused(self, why: str) -> RobotError:
        _log.warning("refused: %s", why)
        return RobotError(f"{why}; the robot has not moved")

    def _allowed(self, action: np.ndarray) -> np.ndarray:
        """What of an action is carried out: as fast as may be, not out of the box, not harder against a contact. Axes
        beyond the first three are turned likewise, by the driver."""
        limits, scale = self._limits, self.action_scale
        wanted = allowed = action[:3]  # and so to the last bit where nothing is too much
        axes, speed = len(wanted), float(np.linalg.norm(wanted)) * scale * self.spec.rate_hz
        if speed > limits.speed_m_s:
            allowed = wanted * limits.speed_m_s / speed
        room = [np.clip((border - self._hand) / scale, -1.0, 1.0)[:axes] for border in (self._low, self._high)]
        allowed = np.clip(allowed, *room)
        force = self._force[:axes]
        size = float(np.linalg.norm(force))
        relief = max(0.0, float(allowed @ force)) * force / size**2 if size else 0.0 * force  # a contact pushes back
        left = max(0.0, (limits.force_n - size) / limits.stiffness_n_m - limits.margin_m) / scale
        if (reach := float(np.linalg.norm(allowed - relief))) > left:
            allowed = relief + (allowed - relief) * left / reach
        if not np.array_equal(allowed, wanted):
            self.limited += 1
            _log.info("limited: %s to %s", wanted.tolist(), allowed.tolist())
        return np.concatenate([allowed, action[3:]])

    def _checked(self, seen: Observation) -> Observation:
        """What was observed, once it and the sensors are as they must be."""
        before = self._hand
        try:
            sensed = self._sensed(seen)
            self._hand, self._force = sensed["position"], sensed["force"]
            if not ((self._hand >= self._limits.low) & (self._hand <= self._limits.high)).all():
                raise FaultError(f"the hand is outside its box, at {np.round(self._hand, 4).tolist()} m")
            self._cameras.check(seen, float(np.linalg.norm(self._hand - before)))
            limits = self._limits
            force = max(float(np.linalg.norm(self._force)), float(sensed.get("peak_force", 0.0)))
            torque, slip = float(np.linalg.norm(sensed.get("torque", 0.0))), float(sensed.get("slip", 0.0))
            for what, value, most, unit in (
                ("force", force, limits.force_n, "N"),
                ("torque", torque, limits.torque_nm, "N m"),
                ("slip", slip, limits.slip_m, "m"),
            ):
                if not value <= most:
                    raise LostError(f"{what} {value:.3g} {unit}: above {most:g} {unit}, the robot has let go")
        except RobotError as error:
            self._halt(str(error))
            raise
        return seen

    def _sensed(self, seen: Observation) -> dict[str, np.ndarray]:
        """What is measured, finite; FaultError if it is not, or what the driver raises."""
        try:
            if self._feels:
                sensed: Mapping[str, Any] = self._robot.sensors()  # type: ignore[attr-defined]
            else:
                state = np.asarray(seen["state"], float).ravel()
                sensed = {"position": state[:3], "force": state[6:9]}
            found = {name: np.asarray(sensed[name], float) for name in SENSORS if name in sensed}
            whole = found["position"].shape == found["force"].shape == (3,)
        except RobotError:
            raise
        except Exception as error:  # a driver's
            raise FaultError(f"the robot's sensors have failed ({type(error).__name__}: {error})") from error
        if not whole or not all(np.isfinite(values).all() for values in found.values()):
            raise FaultError("the robot's sensors are not finite, position and force three numbers each")
        return found

    def _halt(self, why: str) -> None:
        """Lets go and ends the trial."""
        self._since, self._over = None, f"{why}; reset first"
        _log.warning("stopped: %s", why)
        with suppress(Exception):  # a machine that fails is not to hide why it was stopped
            self._robot.relax()
