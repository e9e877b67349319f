"""State-IQL, a baseline of *Learning on the Job* (section VI-A): implicit Q-learning on where the plug is.

Offline it learns from the true positions, which prior data know; in practice a localisation model sees them in images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lotj.agents.localizer import Localizer
from lotj.data.store import DiskStore, Store
from lotj.experience import Observation
from lotj.nets.front import Vector

STATE_IQL = "state-iql"
"""Name of its checkpoint."""

FRONT = Vector(("position",))
"""Its perception."""


class Positions(Store):
    """The episodes of a data set, of which nothing is observed but where the plug truly is."""

    def __init__(self, data: DiskStore) -> None:
        self._data = data
        self.tasks, self.kinds, self.episodes = data.tasks, data.kinds, data.episodes
        self.schema = replace(data.schema, observation={"position": data.schema.truth["position"]})

    def column(self, name: str) -> np.ndarray:
        return self._data.truth(name) if name == "position" else self._data.column(name)

    def truth(self, name: str) -> np.ndarray:
        return self._data.truth(name)


class Located:
    """What stands before State-IQL in practice: where a localisation model says the plug is."""

    def __init__(self, localizer: Localizer) -> None:
        self._localizer, self.spec = localizer, localizer.spec

    def encode(
        self, observation: Observation, augment: bool = False, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """``position`` (B, 3) [m] of ``image`` (B, V, H, W, 3) uint8."""
        return {"position": self._localizer.locate(observation["image"])}
