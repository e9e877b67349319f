"""What stands around an environment, for any agent: a controller to correct, memory, a goal of one's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers import Controller
from lotj.errors import SettingsError

Observation = dict[str, Any]


class ResidualAction(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """The agent corrects the controller `base`: what is carried out is base + scale x action, within [-1, 1].

    The agent's own action is what an episode keeps; the controller is part of the environment (Johannink et al. 2018,
    arXiv:1812.03201; Silver et al. 2018, arXiv:1812.06298).
    """

    def __init__(self, env: gym.Env[Observation, np.ndarray], base: Controller, scale: float = 1.0) -> None:
        if scale <= 0:
            raise SettingsError(f"scale = {scale}: must be above 0, or the agent's action does nothing")
        super().__init__(env)
        self.base, self.scale = base, scale

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, and the controller with the same seed."""
        self._seen = self.env.reset(seed=seed, options=options)
        self.base.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._seen

    def step(self, action: np.ndarray) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Carry out the sum."""
        total = np.clip(self.base(*self._seen) + self.scale * np.asarray(action), -1.0, 1.0)
        observation, reward, terminated, truncated, info = self.env.step(total)
        self._seen = observation, info
        return observation, reward, terminated, truncated, info


class History(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """The arrays `names` of the last `n` steps one after the other along their first axis, the oldest first.

    A state (S,) becomes (n x S,), images (V, H, W, 3) of V cameras (n x V, H, W, 3); the other arrays, such as a goal,
    stay as they are. An episode starts with n times its first observation.
    """

    def __init__(self, env: gym.Env[Observation, np.ndarray], n: int, names: Collection[str] = ("state",)) -> None:
        super().__init__(env)
        boxes = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
        if n < 1:
            raise SettingsError(f"n = {n}: a history needs at least 1 step")
        for name in names:
            if name not in boxes:
                raise SettingsError(f"{name!r} is not observed; known are {', '.join(boxes)}")
            low, high = (np.concatenate([bound] * n) for bound in (boxes[name].low, boxes[name].high))
            boxes[name] = gym.spaces.Box(low, high, dtype=boxes[name].dtype)
        self.observation_space = gym.spaces.Dict(boxes)
        self._past = {name: deque[np.ndarray](maxlen=n) for name in names}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        for name, past in self._past.items():
            past.extend([observation[name]] * (past.maxlen or 1))
        return self._remember(observation), info

    def step(self, action: np.ndarray) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Act, and forget the oldest."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._remember(observation), reward, terminated, truncated, info

    def _remember(self, observation: Observation) -> Observation:
        for name, past in self._past.items():
            past.append(observation[name])
        return {**observation, **{name: np.concatenate(past) for name, past in self._past.items()}}


class GoalReward(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """A goal of one's own for each episode, observed as "goal", and the reward that it gives instead of the
    environment's; a goal ends no task.

    Args:
        env: observes a ``Dict``.
        propose: (first observation, the environment's generator after its start) -> goal, in `space`.
        reward: (observation, goal) -> reward.
        space: of goals.
    """

    def __init__(
        self,
        env: gym.Env[Observation, np.ndarray],
        propose: Callable[[Observation, np.random.Generator], np.ndarray],
        reward: Callable[[Observation, np.ndarray], float],
        space: gym.spaces.Box,
    ) -> None:
        super().__init__(env)
        self._propose, self._reward = propose, reward
        spaces = env.observation_space.spaces  # type: ignore[attr-defined]
        self.observation_space = gym.spaces.Dict({**spaces, "goal": space})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._goal = self._propose(observation, self.np_random)
        return {**observation, "goal": self._goal}, info

    def step(self, action: np.ndarray) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Act."""
        observation, _, terminated, truncated, info = self.env.step(action)
        observation = {**observation, "goal": self._goal}
        return observation, float(self._reward(observation, self._goal)), terminated, truncated, info
