"""What the environments with a scene of our own and a compliant hand share: the contract, the hand, the pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from lotj.envs.base import check_options, check_view, checked_action
from lotj.sim.drawing import Drawing
from lotj.sim.hand import RATE_HZ, Hand


class HandEnv(gym.Env[dict[str, Any], np.ndarray], ABC):
    """A hand that moves along x, y and z in a scene. Action: Box(-1, 1, (3,)), where 1 is 10 mm; 10 Hz.

    Observation: "state" (S,) float32, "image" (1, H, H, 3) uint8, as asked for.
    Reward: 1 in the first step of an episode that ends in success, else 0. `terminated` on success and when the task
    can no longer be done, `truncated` after `max_steps`. There are no options of a reset.

    Args:
        scene: a file of `lotj.sim`.
        box: (2, 3) corners of where the hand may move [m].
        camera: of the pictures.
        state: S.
        observation: names of what is observed: ``image``, ``state``, or both in a tuple.
        image_size: side of the image [pixels].
        max_steps: time limit.
        end_on_success: false lets an episode go on to the time limit.

    Raises:
        SettingsError: a name or number that is not allowed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": RATE_HZ}
    render_mode = "rgb_array"

    def __init__(
        self,
        scene: str,
        box: Sequence[Sequence[float]],
        camera: mujoco.MjvCamera,
        state: int,
        observation: str | Sequence[str],
        image_size: int,
        max_steps: int,
        end_on_success: bool,
    ) -> None:
        self._shown = check_view(observation, image_size, max_steps)
        self._image_size, self.max_steps, self.end_on_success = image_size, max_steps, end_on_success
        text = resources.files("lotj.sim").joinpath(scene).read_text(encoding="utf-8")
        self.model = mujoco.MjModel.from_xml_string(text)
        self.data = mujoco.MjData(self.model)
        self.hand = Hand(self.model, self.data, *box)
        self._camera, self._drawing = camera, Drawing(self.model)
        self._steps: int | None = None  # none before the first reset
        self._paid = False
        spaces = {
            "state": gym.spaces.Box(-np.inf, np.inf, (state,), np.float32),
            "image": gym.spaces.Box(0, 255, (1, image_size, image_size, 3), np.uint8),
        }
        self.observation_space = gym.spaces.Dict({name: spaces[name] for name in self._shown})
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; SettingsError for options, there are none."""
        check_options(options, ())
        super().reset(seed=seed)
        self._steps, self._paid = 0, False
        mujoco.mj_resetData(self.model, self.data)
        self.place()
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act: (3,) in [-1, 1]; what lies outside is clipped."""
        if self._steps is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        self._steps += 1
        self.hand.move(self.executed(checked_action(action, (3,))))
        info = self._info()
        reward = self.reward(info)
        self._paid = self._paid or info["is_success"]
        terminated = info["lost"] or (info["is_success"] and self.end_on_success)
        return self._observe(), reward, terminated, not terminated and self._steps >= self.max_steps, info

    @abstractmethod
    def place(self) -> None:
        """Draw a start from the episode's generator."""

    @abstractmethod
    def state(self) -> np.ndarray:
        """(S,) what is measured."""

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is accomplished, in truth."""

    def lost(self) -> bool:
        """Whether it can no longer be."""
        return False

    def executed(self, action: np.ndarray) -> np.ndarray:
        """(3,) what the hand carries out of an action within [-1, 1]."""
        return action

    def reward(self, info: Mapping[str, Any]) -> float:
        """Of the step that led to here."""
        return float(info["is_success"] and not self._paid)

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8."""
        return self._drawing(self.data, [self._camera], 256, 256)[0]

    def close(self) -> None:
        """Free the renderer."""
        self._drawing.close()

    def _info(self) -> dict[str, Any]:
        lost = self.lost()
        return {"is_success": not lost and self.success(), "lost": lost}

    def _observe(self) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        if "state" in self._shown:
            seen["state"] = self.state().astype(np.float32)
        if "image" in self._shown:
            size = self._image_size
            seen["image"] = self._drawing(self.data, [self._camera], size, size)
        return seen
