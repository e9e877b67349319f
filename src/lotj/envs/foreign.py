"""Any environment that Gymnasium knows by an id: ``gym/HalfCheetah-v5``, or one that a package of yours registers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.envs.base import Family, check_options, check_whole, checked_action, scene_of_others
from lotj.errors import SettingsError

UNLIMITED = 1000
"""Time limit where theirs has none [steps]."""


class ForeignEnv(gym.Env[dict[str, Any], np.ndarray]):
    """An environment of Gymnasium as it is, wrappers that it is registered with included: its rewards, which may be
    dense, and its ends.

    Action: (A,), theirs, flattened and scaled so that its bounds are -1 and 1; of whole numbers the nearest.
    Observation: "state" (S,) float32, theirs, flattened. A step is a second where theirs tells no rate.
    `info["is_success"]`: what theirs says under that name or ``success``; False where it says nothing.

    Args:
        name: id, as `gymnasium.make` takes it; with ``module:`` before it that module is imported first.
        max_steps: time limit; theirs unless given.

    Raises:
        SettingsError: no such environment, or one whose observations are not numbers or actions not continuous; from
            reset and step, where theirs fails, or gives what is not finite or not of its space.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, name: str, max_steps: int | None = None) -> None:
        if max_steps is not None:
            check_whole("max_steps", max_steps, 1)
        self.name, self.inner = name, _made(name, max_steps)
        self.max_steps = max_steps or getattr(self.inner.spec, "max_episode_steps", None) or UNLIMITED
        self.metadata = {**self.metadata, "render_fps": self.inner.metadata.get("render_fps") or 1}
        theirs = self.inner.action_space
        self._low = theirs.low.astype(float).ravel()
        self._span = theirs.high.astype(float).ravel() - self._low
        self._flat = gym.spaces.flatten_space(self.inner.observation_space)
        self._steps: int | None = None  # none before the first reset
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._low.shape, np.float32)
        state = gym.spaces.Box(-np.inf, np.inf, self._flat.shape, np.float32)
        self.observation_space = gym.spaces.Dict({"state": state})

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; SettingsError for options, of which there are none."""
        check_options(options, ())
        super().reset(seed=seed)
        self._steps = 0
        with self._told("reset"):
            observation, info = self.inner.reset(seed=seed)
            return self._observe(observation, info)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act: (A,) in [-1, 1]; what lies outside is clipped."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        self._steps += 1
        scaled = self._low + (checked_action(action, self.action_space.shape) + 1.0) / 2.0 * self._span
        theirs = self.inner.action_space
        scaled = np.rint(scaled) if theirs.dtype.kind in "iu" else scaled
        with self._told("step"):
            observation, reward, ended, cut, info = self.inner.step(scaled.astype(theirs.dtype).reshape(theirs.shape))
            cut = not ended and (cut or self._steps >= self.max_steps)
            if not np.isfinite(earned := float(reward)):
                raise ValueError(f"a reward of {earned}, which must be finite")
            seen, info = self._observe(observation, info)
            return seen, earned, bool(ended), bool(cut), info

    def render(self) -> Any:
        """Theirs."""
        return self.inner.render()

    def close(self) -> None:
        """Theirs."""
        self.inner.close()

    def _observe(self, theirs: Any, info: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        state = np.asarray(gym.spaces.flatten(self.inner.observation_space, theirs), np.float32)
        if state.shape != self._flat.shape or not np.isfinite(state).all():
            raise ValueError(f"an observation {theirs!r}: must be finite numbers of {self.inner.observation_space}")
        success = bool(np.all(info.get("is_success", info.get("success", False))))
        return {"state": state}, {**info, "is_success": success, "lost": False}

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever theirs raises is theirs to mend."""
        try:
            yield
        except Exception as error:
            raise SettingsError(_fault(self.name, f"its {what}()", error)) from error


def _fault(name: str, what: str, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"gym/{name}: {what} fails ({reason}): mend the environment; LOTJ_DEBUG=1 shows where"


def _made(name: str, max_steps: int | None) -> Any:
    """Theirs, with the wrappers that it is registered with."""
    try:
        with scene_of_others():
            inner = gym.make(name, max_steps, disable_env_checker=True)
    except (gym.error.Error, ModuleNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"gym/{name}: Gymnasium makes no such environment ({reason})") from None
    except Exception as error:
        raise SettingsError(_fault(name, "to make it", error)) from error
    action, seen = inner.action_space, inner.observation_space
    if not isinstance(action, gym.spaces.Box) or not action.is_bounded() or not action.low.size:
        raise SettingsError(f"gym/{name}: actions {action}: must be a Box with bounds, for agents act in [-1, 1]")
    if not seen.is_np_flattenable or not gym.spaces.flatdim(seen):
        raise SettingsError(f"gym/{name}: observations {seen}: must be arrays of a fixed size")
    inner.unwrapped.render_mode = "rgb_array"  # whether or not it takes that when it is made
    return inner


FAMILY = Family(
    name="gym",
    title="any environment that Gymnasium knows by an id, with its own rewards",
    members={},
    make=ForeignEnv,
    others="ID",
)
