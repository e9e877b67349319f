"""Gymnasium environments. Importing this package registers ``lotj/Insertion-v0``."""

import gymnasium

import lotj.sim  # noqa: F401  # chooses the renderer, before anything here loads mujoco
from lotj.envs.insertion import InsertionEnv, insertion_task

__all__ = ["InsertionEnv", "insertion_task"]

if "lotj/Insertion-v0" not in gymnasium.registry:
    # No max_episode_steps: the environment itself reports its time limit as `truncated`.
    gymnasium.register("lotj/Insertion-v0", entry_point="lotj.envs.insertion:InsertionEnv")
