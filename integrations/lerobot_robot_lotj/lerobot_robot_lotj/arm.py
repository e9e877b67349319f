"""Any arm that LeRobot drives, as a robot of lotj: `lotj robot serve my_arm:MyArm` with one file, see the template."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lotj.errors import FaultError
from lotj.experience import Observation
from lotj.sim.kinematics import Kinematics
from lotj.spaces import Array, Spec

LEASH = 4e-3
"""The commanded point never leads the measured tool by more than this before a new step is added [m]."""

STRETCH_S = 15.0
"""One of the three stretches of the way to a start fails where it takes longer: a learner waits a minute for all
(`lotj.robots.client.RESET_S`)."""


class LeRobotArm:
    """See `lotj.robots.robot.Robot`. The arm takes joint positions, ``<joint>.pos``, and shows them and its cameras.

    Its tool keeps one orientation. A position-controlled arm presses as hard as its servos can within leash and step:
    choose both small, and limit the servos' torque.

    Args:
        robot: LeRobot's; it is connected here.
        kinematics: of its model, from `lotj.sim.kinematics`.
        joints: names of the joints, in the model's order.
        seat: (3,) where the tool stands in the model's world if the part sat where its socket is estimated to be [m].
        cameras: LeRobot's names of the cameras, in the order of those that the pretraining was made with.
        size: (H, W) that their pictures are scaled to.
        degrees: the arm counts in degrees, not in radians.
        held: what else it is told each time, e.g. ``{"gripper.pos": 0.0}``.
        above: height of a start above `seat` [m].
        action_scale, estimate_error, height_error, rate_hz, max_steps: see `Robot` and `Spec`.
        wait: until the next step is due (seconds).
        force: (3,) contact force at the tool [N], where it is measured.
    """

    def __init__(
        self,
        robot: Any,
        kinematics: Kinematics,
        joints: Sequence[str],
        seat: Sequence[float],
        cameras: Sequence[str],
        size: tuple[int, int] = (32, 64),
        degrees: bool = True,
        held: Mapping[str, float] | None = None,
        above: float = 0.015,
        action_scale: float = 6e-3,
        estimate_error: float = 10e-3,
        height_error: float = 0.0,
        rate_hz: float = 10.0,
        max_steps: int = 20,
        wait: Callable[[float], None] = time.sleep,
        force: Callable[[], np.ndarray] = lambda: np.zeros(3),
    ) -> None:
        self._arm, self._kinematics, self._joints = robot, kinematics, [f"{name}.pos" for name in joints]
        self._seat, self._above, self._cameras, self._size = np.array(seat, float), above, list(cameras), size
        self._unit, self._held = (np.pi / 180.0 if degrees else 1.0), dict(held or {})
        self._wait, self._measured_force, self._seconds = wait, force, 1.0 / rate_hz
        self.action_scale, self.estimate_error, self.height_error = action_scale, estimate_error, height_error
        image = Array((len(cameras), *size, 3), "uint8", 0, 255)
        state = Array((9,), "float32", -np.inf, np.inf)
        self.spec = Spec({"image": image, "state": state}, (3,), rate_hz, max_steps)
        robot.connect()
        self._command = self._place(robot.get_observation())
        self._before = self._command

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """See `Robot.reset`: straight up first, for the plug may sit; then beside the seat."""
        rng, reach = np.random.default_rng(seed), self.estimate_error
        beside = rng.uniform(-reach, reach, 2) if start is None else np.asarray(start, float)
        high = self._above + 0.02
        for goal in ([*self._now()[:2], high], [*beside, high], [*beside, self._above]):
            self._go(self._seat + goal)
        self._before = self._seat + self._now()  # it stands still, however far it has come
        return self._seen()

    def move(self, action: np.ndarray) -> Observation:
        measured = self._seat + self._now()
        start = np.clip(self._command, measured - LEASH, measured + LEASH)
        self._send(start + self.action_scale * np.clip(np.asarray(action, float), -1.0, 1.0))
        return self._seen()

    def relax(self) -> Observation:
        self._send(self._seat + self._now())
        return self._seen()

    def park(self) -> None: ...  # it holds the last position

    def close(self) -> None:
        self._arm.disconnect()

    def _go(self, goal: np.ndarray) -> None:
        """To (3,) [m], in steps of the policy's size; FaultError where the arm does not get on in time."""
        late = time.monotonic() + STRETCH_S
        for _ in range(round(STRETCH_S / self._seconds)):
            if time.monotonic() > late:  # the arm's own answers take longer than a step
                break
            left = goal - (self._seat + self._now())
            if np.linalg.norm(left) < 5e-4:
                return
            start = self._command if np.linalg.norm(self._command - (goal - left)) < LEASH else goal - left
            ahead = goal - start
            self._send(start + ahead * min(1.0, self.action_scale / max(float(np.linalg.norm(ahead)), 1e-9)))
        far = float(np.linalg.norm(goal - (self._seat + self._now())))
        raise FaultError(f"the arm does not reach its start: {1e3 * far:.1f} mm are left after {STRETCH_S:g} s")

    def _send(self, place: np.ndarray) -> None:
        joints = self._kinematics.follow(place, self._seconds)
        self._command = place
        action = {name: float(value) for name, value in zip(self._joints, joints / self._unit, strict=True)}
        self._arm.send_action({**action, **self._held})
        self._wait(self._seconds)

    def _now(self) -> np.ndarray:
        """(3,) where the tool is measured to be, from the seat [m]."""
        return self._place(self._arm.get_observation()) - self._seat

    def _place(self, seen: Mapping[str, Any]) -> np.ndarray:
        missing = [name for name in (*self._joints, *self._cameras) if name not in seen]
        if missing:
            raise FaultError(f"the arm does not show {', '.join(missing)}: it shows {', '.join(seen)}")
        self._kinematics.start(self._unit * np.array([float(seen[name]) for name in self._joints]))
        return self._kinematics.tool()

    def _seen(self) -> Observation:
        seen = self._arm.get_observation()
        place = self._place(seen)
        velocity, self._before = (place - self._before) / self._seconds, place
        height, width = self._size
        pictures = [
            np.asarray(Image.fromarray(np.asarray(seen[name])).resize((width, height))) for name in self._cameras
        ]
        state = np.concatenate([place - self._seat, velocity, self._measured_force()]).astype(np.float32)
        return {"image": np.stack([np.asarray(picture) for picture in pictures]), "state": state}
