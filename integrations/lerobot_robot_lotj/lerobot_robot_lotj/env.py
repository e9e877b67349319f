"""lotj's insertion as an environment of LeRobot: ``--env.type=lotj --env.task=usb-b``, true successes told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from lotj.envs.insertion import STATE, InsertionEnv

ID = "lotj/LeRobot-v0"
VIEWS = ("wrist_0", "wrist_1")


class LotjEnv(gym.Env):
    """`lotj.envs.insertion.InsertionEnv`, with observations named as LeRobot's environments have them."""

    metadata = InsertionEnv.metadata

    def __init__(self, connector: str = "usb-b", render_mode: str | None = "rgb_array", **options: Any) -> None:
        self._env = InsertionEnv(connector, observation=("image", "state"), render_mode=render_mode, **options)
        self.render_mode, self._max_episode_steps = render_mode, self._env.max_steps
        self.task, self.task_description = connector, f"insert the {self._env.part.title}"
        image = self._env.observation_space["image"]
        view = gym.spaces.Box(0, 255, image.shape[1:], np.uint8)
        state = self._env.observation_space["state"]
        self.observation_space = gym.spaces.Dict(
            {"pixels": gym.spaces.Dict(dict.fromkeys(VIEWS, view)), "agent_pos": state}
        )
        self.action_space = self._env.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """See `InsertionEnv.reset`."""
        super().reset(seed=seed)
        seen, info = self._env.reset(seed=seed, options=options)
        return self._named(seen), info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `InsertionEnv.step`."""
        seen, *came = self._env.step(action)
        return self._named(seen), *came

    def render(self) -> np.ndarray:
        """(256, 256, 3) uint8."""
        return self._env.render()

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()

    def _named(self, seen: dict[str, np.ndarray]) -> dict[str, Any]:
        return {"pixels": dict(zip(VIEWS, seen["image"], strict=True)), "agent_pos": seen["state"]}


gym.register(ID, LotjEnv)


@EnvConfig.register_subclass("lotj")
@dataclass
class LotjEnvConfig(EnvConfig):
    """Which part on which bench; see `InsertionEnv`."""

    task: str | None = "usb-b"  # the connector
    fps: int = 10
    arm: str = "duo"
    domain_seed: int = 0
    scenario: str = "far"
    image_size: int = 64
    max_steps: int = 20
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.image_size // 2, self.image_size, 3)
        self.features = {f"pixels/{name}": PolicyFeature(FeatureType.VISUAL, shape) for name in VIEWS}
        self.features_map = {f"pixels/{name}": f"observation.images.{name}" for name in VIEWS}
        self.features |= {
            "agent_pos": PolicyFeature(FeatureType.STATE, (len(STATE),)),
            "action": PolicyFeature(FeatureType.ACTION, (3,)),
        }
        self.features_map |= {"agent_pos": "observation.state", "action": "action"}

    @property
    def gym_id(self) -> str:
        """What LeRobot makes."""
        return ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Of `LotjEnv`."""
        of = {name: getattr(self, name) for name in ("domain_seed", "scenario", "image_size", "max_steps")}
        return {"connector": self.task, "robot": self.arm, **of}
