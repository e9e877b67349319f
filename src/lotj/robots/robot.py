"""The boundary to a machine. A practising learner sees a robot through these calls only: images in, motions out."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Robot(Protocol):
    """What practice needs of a machine. Workspace, speed and force limits are enforced behind this boundary.

    Attributes:
        image_size: side of the square camera image [pixels].
        action_scale: metres of an action of 1.
        rate_hz: policy steps per second.
    """

    image_size: int
    action_scale: float
    rate_hz: float

    def reset(self, seed: int) -> np.ndarray:
        """Move to a start pose drawn from `seed`; returns the image (H, W, 3) uint8."""
        ...

    def observe(self) -> np.ndarray:
        """The current image (H, W, 3) uint8."""
        ...

    def move(self, delta: np.ndarray) -> np.ndarray:
        """Execute one step `delta` (3,) in [-1, 1]; returns the next image.

        Raises:
            DislodgedError: the part was lost, as far as the robot can tell; the next `reset` grasps it anew.
            RobotError: the robot refuses.
        """
        ...

    def relax(self) -> np.ndarray:
        """Press against nothing any more: hold still where the hand is measured to be; returns the next image.

        Raises:
            DislodgedError: as of `move`.
        """
        ...

    def close(self) -> None:
        """Release the machine."""
        ...
