"""A hook opens a drawer (Nair et al. 2020, arXiv:2006.09359): it must be in the handle before it can pull."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lotj.controllers.drawer import Pull
from lotj.envs.base import Family
from lotj.envs.scene import HandEnv
from lotj.sim.drawing import free_camera

OPEN = 0.1  # the drawer is open beyond this [m]
START = ((-0.2, -0.1, -0.02), (-0.04, 0.1, 0.11))  # corners of where the hook's tip starts [m]


class DrawerEnv(HandEnv):
    """Hook the handle and pull the drawer open by more than 10 cm. Each episode starts with it closed.

    Observation: "state" (4,): tip of the hook (3) [m] from the middle of the closed drawer's front, x into the cabinet,
    z up; how far the drawer is open [m].

    Args:
        task: ``open``. For the others see `TaskEnv`.
    """

    def __init__(
        self,
        task: str = "open",
        observation: str | Sequence[str] = "state",
        image_size: int = 64,
        max_steps: int = 100,
        end_on_success: bool = True,
    ) -> None:
        camera = free_camera((-0.05, 0.0, 0.02), 0.55, azimuth=40.0, elevation=-30.0)
        box = ((-0.25, -0.12, -0.03), (0.0, 0.12, 0.13))
        super().__init__("drawer.xml", box, 4, camera, observation, image_size, max_steps, end_on_success)

    def draw_start(self) -> np.ndarray:
        return self.np_random.uniform(*START)

    def measure(self) -> dict[str, np.ndarray]:
        return {"state": np.append(self.hand, self.opening)}

    @property
    def opening(self) -> float:
        """How far the drawer is open [m]."""
        return float(self.data.joint("drawer").qpos[0])

    def judge(self, observation: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
        return self.opening > OPEN, False


FAMILY = Family(
    name="drawer",
    title="a hook opens a drawer by its handle",
    members={"open": "hook the handle, and pull by 10 cm"},
    make=DrawerEnv,
    expert=lambda env: Pull(),
)
