"""Starts from within demonstrations, for tasks too long to find by chance (Nair et al. 2018, arXiv:1709.10089)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.data.store import Store
from lotj.envs.base import STATE
from lotj.errors import SettingsError
from lotj.ranges import SHARE


class DemonstratedStarts(gym.Wrapper):
    """Begins a share of the episodes in a frame of a demonstration, each drawn uniformly, with what that demonstration
    had achieved at its end as the goal. For training; who evaluates leaves it out.

    Args:
        env: takes the options of a reset that `GoalEnv` describes.
        demonstrations: of the same task, with the truth "simulator": `lotj collect --recipe human` records it.
        share: of the episodes, in [0, 1].

    Raises:
        SettingsError: another share, or an environment that cannot do it.
        DataError: the demonstrations lack the states.
    """

    def __init__(self, env: gym.Env, demonstrations: Store, share: float) -> None:
        super().__init__(env)
        SHARE.check("share of starts from demonstrations", share)
        if not hasattr(env.unwrapped, "truth"):
            raise SettingsError(
                f"starts from demonstrations in {env.unwrapped}: its state cannot be set; leave them out"
            )
        self._share, self._demonstrations = share, demonstrations
        self._states = demonstrations.truth(STATE[0])
        self._rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the draws come from the seed, or go on from the last one."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 2])
        if self._rng.random() < self._share:
            row = self._demonstrations.episodes[self._rng.integers(len(self._demonstrations))]
            frame = row["first_frame"] + self._rng.integers(row["n_frames"] - 1)
            last = np.array([row["first_frame"] + row["n_frames"] - 1])
            goal = self._demonstrations.observe(last, ["achieved_goal"])["achieved_goal"][0]
            options = {**(options or {}), **dict(zip(STATE, (self._states[frame], goal), strict=True))}
        return self.env.reset(seed=seed, options=None if options is None else dict(options))
