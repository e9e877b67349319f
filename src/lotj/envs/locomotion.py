"""Locomotion of Gymnasium's MuJoCo suite, as D4RL's data are of: rewards are dense and there is no success."""

from __future__ import annotations

from lotj.envs.base import Family
from lotj.envs.foreign import ForeignEnv

IDS = {"half-cheetah": "HalfCheetah-v5", "hopper": "Hopper-v5"}
"""Member -> id in Gymnasium. Physics and rewards of v5 differ from the papers' v2: returns cannot be compared."""


class LocomotionEnv(ForeignEnv):
    """A planar robot is to run forward; it earns its speed, less what its actions cost, and a hopper that it stands.

    Action: (6,) or (3,) torques. Observation: "state" (17,) or (11,), heights, angles and velocities. A hopper that has
    fallen ends the episode.

    Args:
        member: a name in `IDS`.
        max_steps: time limit.
    """

    def __init__(self, member: str, max_steps: int | None = None) -> None:
        super().__init__(IDS[member], max_steps)


FAMILY = Family(
    name="locomotion",
    title="a planar robot runs forward (Gymnasium); dense rewards, no success",
    members={"half-cheetah": "a cheetah of two legs, which cannot fall", "hopper": "one leg, which must not fall"},
    make=LocomotionEnv,
)
