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


class LotjEnv(gym.ObservationWrapper):
    """`lotj.envs.insertion.InsertionEnv`, with observations named as LeRobot's environments have them."""

    def __init__(self, connector: str = "usb-b", render_mode: str | None = "rgb_array", **options: Any) -> None:
        env = InsertionEnv(connector, observation=("image", "state"), render_mode=render_mode, **options)
        super().__init__(env)
        self._max_episode_steps = env.max_steps
        self.task, self.task_description = connector, f"insert the {env.part.title}"
        image, state = (env.observation_space[name] for name in ("image", "state"))
        view = gym.spaces.Box(0, 255, image.shape[1:], np.uint8)
        pixels = gym.spaces.Dict(dict.fromkeys(VIEWS, view))
        self.observation_space = gym.spaces.Dict({"pixels": pixels, "agent_pos": state})

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, Any]:
        """Pictures by camera."""
        pixels = dict(zip(VIEWS, observation["image"], strict=True))
        return {"pixels": pixels, "agent_pos": observation["state"]}


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
        return ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        of = {name: getattr(self, name) for name in ("domain_seed", "scenario", "image_size", "max_steps")}
        return {"connector": self.task, "robot": self.arm, **of}
