"""A learnt correction of a hand-made controller (Johannink et al. 2018, arXiv:1812.03201; Silver et al. 2018,
arXiv:1812.06298): ``make_task("blocks/assembly", residual=0.3)``, or the name ``blocks/assembly,residual=0.3``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers import Controller, Memoryless
from lotj.envs.base import checked_action
from lotj.errors import SettingsError

Observation = dict[str, Any]


class ResidualAction(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Carried out is controller(observation) + scale x action, within [-1, 1].

    The agent's action is what an episode keeps, however much of the sum is cut off; the controller is part of the
    environment. It sees what the agent sees and nothing else, so that the agent's task is no less observed than before.

    Args:
        env: observes a ``Dict``.
        controller: acts on the observation alone; its `info` is empty.
        scale: above 0, up to 2, with which the agent can undo all that the controller does.

    Raises:
        SettingsError: another scale; at the first step, a controller that reads what is not observed.
    """

    def __init__(self, env: gym.Env[Observation, np.ndarray], controller: Controller, scale: float) -> None:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale <= 2:
            raise SettingsError(f"residual = {scale!r}: must be a number above 0, up to 2")
        super().__init__(env)
        self.controller, self.scale = controller, scale
        self._seen: Observation | None = None  # none before the first reset

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, and the controller with the same seed."""
        self._seen, info = self.env.reset(seed=seed, options=options)
        self.controller.reset(seed or 0)
        return self._seen, info

    def step(self, action: np.ndarray) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Carry out the sum."""
        if self._seen is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        correction = self.scale * checked_action(action, self.action_space.shape)
        try:
            total = self.controller(self._seen, {}) + correction
        except KeyError as missing:
            name, shown = type(self.controller).__name__, ", ".join(self._seen)
            raise SettingsError(f"a residual of {name}: it reads {missing}, and what is observed is {shown}") from None
        came = self.env.step(np.clip(total, -1.0, 1.0))
        self._seen = came[0]
        return came


class Uncorrected(Memoryless):
    """Leaves the controller of a residual environment, whose actions are of this shape, alone."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._action = np.zeros(shape)

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """Zeros."""
        return self._action.copy()
