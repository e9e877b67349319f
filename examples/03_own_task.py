"""A task of your own: the environment, its scripted expert, and an agent of lotj's that practises on it.

    python examples/03_own_task.py --trials 100

A hand, a point in a plane, is to be moved to a goal. A script registers its `FAMILY`; a module in src/lotj/envs/ is
found by all commands. There tests/test_tasks.py asks for pictures and an option `end_on_success` as well.

Takes 20 seconds. One line a trial (in a terminal a live view), then in how many of 20 trials the policy and the expert
reach the goal: 16 and 20 (one run).
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from lotj.controllers import Memoryless
from lotj.envs.base import Family, checked_action
from lotj.envs.registry import register
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practise_task_phase


class PlaneEnv(gym.Env):
    """Action (2,): 1 is 0.2. "goal" (2,); "state" and "achieved_goal" (2,): the hand, which is to come within 0.1."""

    metadata = {"render_modes": [], "render_fps": 10}
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation_space = gym.spaces.Dict(dict.fromkeys(("achieved_goal", "goal", "state"), action_space))

    def __init__(self, task: str = "reach", max_steps: int = 20) -> None:
        self.task, self.max_steps = task, max_steps

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, (self.hand, self.goal) = 0, self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        return self._observe()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.hand = np.clip(self.hand + 0.2 * checked_action(action, (2,)), -1, 1).astype(np.float32)
        observation, info = self._observe()
        success = info["is_success"]
        return observation, float(success), success, not success and self.steps >= self.max_steps, info

    def compute_reward(self, achieved_goal: np.ndarray, goal: np.ndarray, info: Any = None) -> np.ndarray:
        return (np.linalg.norm(achieved_goal - goal, axis=-1) <= 0.1).astype(np.float32)

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        success = bool(self.compute_reward(self.hand, self.goal))
        return {"achieved_goal": self.hand, "goal": self.goal, "state": self.hand}, {"is_success": success}


class Straight(Memoryless):
    """The scripted expert: the shortest way."""

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        return np.clip(5 * (observation["goal"] - observation["state"]), -1, 1)


FAMILY = Family("plane", "a hand in a plane", {"reach": "move it to a point"}, PlaneEnv, lambda env: Straight())


def main() -> None:
    """Practise, and count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100, help="trials of practice (100)")
    preset = find_preset("state")
    preset = replace(preset, practice=replace(preset.practice, trials=parser.parse_args().trials))
    register(FAMILY)
    run, _ = practise_task_phase(preset, "plane/reach", Path("runs"), agent="td3")
    print(*(f"{found.label}: {found.success.sum()} of {len(found)} reached" for found in evaluate_phase(run)), sep="\n")


if __name__ == "__main__":
    main()
