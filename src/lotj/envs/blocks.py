"""A held block goes in between two that stand freely, and must not topple or shift them (Johannink et al. 2018,
arXiv:1812.03201)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lotj.controllers.blocks import StraightDown
from lotj.envs.base import Family, check_switch
from lotj.envs.scene import HandEnv
from lotj.errors import SettingsError
from lotj.sim.drawing import free_camera

WIDTH, FLOOR = 0.03, 0.01  # of each block, along x; height of the goal over the tray [m]
CLEARANCE = 3e-3  # on each side of the held block, if the standing ones are not turned [m]
MASS, FRICTION = (0.05, 0.15), (0.3, 0.5)  # of a standing block [kg]; of all that touches
NEAR = 5e-3  # the held block is in place within this of the goal's height [m]
ASIDE = 10e-3  # and within this of it along x and y; a standing block stands where it stood within this [m]
UPRIGHT, TOPPLED = np.radians(5.0), np.radians(30.0)
OTHER = {"friction": 0.6, "mass": 1.6, "stiffness": 0.5}
"""What another simulation has so many times; besides, half of each motion of the hand comes with the next one (of all
of it proportional controllers swing about the goal)."""
LEAN_WEIGHT = 0.2  # of the standing blocks' lean, in the dense reward [m/rad]
TAG = np.array([1e-3, 1e-3, 1e-3, np.radians(1.0), np.radians(1.0)])  # noise of a pose that is read from a tag
BLOCKS = ("held", "left", "right")
REWARDS = ("sparse", "dense")


class BlocksEnv(HandEnv):
    """Insert the held block between the standing ones.

    Each standing block (3 x 6 x 10 cm, 50 to 150 g, friction .3 to .5) is a free body with a chamfer of 0.5 mm on its
    upper inner edge (one of 2 mm turns the blocks straight, whatever comes down); a tray with a lip holds both. The
    held block tilts in the grip against springs; orientation of the hand is fixed. A corner of a standing block that is
    turned by 0.15 rad protrudes by 4.3 mm, beyond the clearance.
    Observation: "state" (27,): hand (3) [m], where the middle of the held block's bottom is in an unbent grip; contact
    force (3) [N] and torque about the grip (3) [N m] of what hand and held block touch; pose of the held, left and
    right block (3 x 5), of the middle of its bottom [m], lean about y and yaw [rad]; goal of the hand (3) [m].
    Success: the held block within 5 mm of the goal's height and 10 mm of its place, both standing blocks within 5
    degrees of upright and 10 mm of where they stood. `info["lost"]`: one leans by more than 30 degrees.

    Args:
        task: ``assembly``.
        yaw: each standing block is turned evenly within this, both ways [rad].
        noise, bias: standard deviation and mean of what is added to the executed action, along each axis.
        other: the same task as another simulation has it, or reality after one: see `OTHER`.
        tags: poses of blocks are read from tags, with errors of 1 mm and 1 degree.
        reward: ``sparse``, 1 for a success, once; ``dense``, in every step minus the distance of the held block from
            its goal [m] and minus 0.2 times the lean of both standing ones [rad]; who topples one pays at once what the
            rest of the episode would cost, or toppling would be a way out.
        For the others see `TaskEnv`.
    """

    def __init__(
        self,
        task: str = "assembly",
        yaw: float = 0.0,
        noise: float = 0.0,
        bias: float = 0.0,
        other: bool = False,
        tags: bool = False,
        reward: str = "sparse",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 50,
        end_on_success: bool = True,
    ) -> None:
        for name, value, low, high in (("yaw", yaw, 0.0, 0.5), ("noise", noise, 0.0, 1.0), ("bias", bias, -1.0, 1.0)):
            if not isinstance(value, (int, float)) or not low <= value <= high:
                raise SettingsError(f"{name} = {value!r}: must be a number from {low:g} to {high:g}")
        for name, value in (("other", other), ("tags", tags)):
            check_switch(name, value)
        if reward not in REWARDS:
            raise SettingsError(f"reward = {reward!r}: must be one of {', '.join(REWARDS)}")
        camera = free_camera((0.0, 0.0, 0.09), 0.55, azimuth=70.0, elevation=-20.0)
        box = ((-0.06, -0.12, 0.0), (0.06, 0.12, 0.16))
        super().__init__("blocks.xml", box, 27, camera, observation, image_size, max_steps, end_on_success)
        self._yaw, self._noise, self._bias, self._tags, self._dense = yaw, noise, bias, tags, reward == "dense"
        self._other = dict.fromkeys(OTHER, 1.0) | (OTHER if other else {})
        self._late = other
        self.model.actuator_gainprm[:, 0] *= self._other["stiffness"]
        self.model.actuator_biasprm[:, 1:3] *= self._other["stiffness"]
        self.returns = (-np.inf, 0.0) if self._dense else self.returns
        self._ids = [self.model.body(name).id for name in BLOCKS]
        self._felt = [self.model.joint(f"{what}-{axis}").dofadr[0] for what in ("hand", "tilt") for axis in "xyz"]
        self._weight = self.model.body("left").mass[0], self.model.body("left").inertia.copy()

    def draw_start(self) -> np.ndarray:
        draw = self.np_random.uniform
        self.model.geom_friction[:, 0] = self._other["friction"] * draw(*FRICTION)
        self._waiting = np.zeros(3)
        middle = draw(-5e-3, 5e-3, 2)
        self._goal = np.array([*middle, FLOOR])
        for name, side in (("left", -1.0), ("right", 1.0)):
            ratio = self._other["mass"] * draw(*MASS) / self._weight[0]
            body = self.model.body(name)
            body.mass[:], body.inertia[:] = ratio * self._weight[0], ratio * self._weight[1]
            angle = draw(-self._yaw, self._yaw) / 2
            at = middle + [side * (WIDTH + CLEARANCE), 0.0]
            self.data.joint(name).qpos[:] = *at, 0.0, np.cos(angle), 0.0, 0.0, np.sin(angle)
        self._stood = np.array([self.data.joint(name).qpos[:2] for name in BLOCKS[1:]])
        return self._goal + [*draw(-15e-3, 15e-3, 2), draw(0.11, 0.13)]

    def act(self, action: np.ndarray) -> None:
        if self._late:
            self._waiting, action = action, (self._waiting + action) / 2
        super().act(action + self.np_random.normal(self._bias, self._noise, 3))

    def poses(self) -> np.ndarray:
        """(3, 5) of the held, left and right block, in truth: middle of the bottom [m], lean about y and yaw [rad]."""
        turn = self.data.xmat[self._ids].reshape(3, 3, 3)
        lean, yaw = np.arctan2(turn[:, 0, 2], turn[:, 2, 2]), np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
        return np.column_stack([self.data.xpos[self._ids], lean, yaw])

    def measure(self) -> dict[str, np.ndarray]:
        poses = self.poses()
        if self._tags:
            poses += TAG * self.np_random.standard_normal(poses.shape)
        felt = self.data.qfrc_constraint[self._felt]
        return {"state": np.concatenate([self.hand, felt, poses.ravel(), self._goal])}

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        held, *standing = self.poses()
        lean = np.arccos(np.clip(self.data.xmat[self._ids[1:], 8], -1.0, 1.0)).max()
        moved = np.linalg.norm(np.array(standing)[:, :2] - self._stood, axis=1).max()
        beside = np.abs(held[:2] - self._goal[:2]).max()
        there = beside < ASIDE and abs(held[2] - FLOOR) < NEAR
        return bool(there and lean < UPRIGHT and moved < ASIDE), bool(lean > TOPPLED)

    def reward(self, info: Mapping[str, Any]) -> float:
        if not self._dense:
            return super().reward(info)
        held, left, right = self.poses()
        cost = np.linalg.norm(self._goal - held[:3]) + LEAN_WEIGHT * (abs(left[3]) + abs(right[3]))
        assert self._steps is not None
        return -float(cost) * (1 + info["lost"] * max(0, self.max_steps - self._steps))


FAMILY = Family(
    name="blocks",
    title="a hand that holds a block puts it in between two that stand freely",
    members={"assembly": "in between, without toppling or shifting them"},
    make=BlocksEnv,
    expert=lambda env: StraightDown(),
)
