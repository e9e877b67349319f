"""Practice where the environment rewards: reinforcement learning as usual, on the same trials, replay and loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lotj.experience import SUCCESS, Episode, rollout
from lotj.training.exploration import Exploration
from lotj.training.practice import Attempted, trial_seed
from lotj.training.trials import PRACTICE, Past


class Rewarded:
    """See `lotj.training.practice.Practitioner`.

    Args:
        env: a `gymnasium.Env` with a mapping as observation; its rewards and ends are taken for true, and a lost part
            is an end like any other. Where its info does not tell ``is_success``, a trial is one that has earned.
        max_steps: of a trial.
        seed: of the run.
    """

    judge = None

    def __init__(self, env: Any, max_steps: int, seed: int) -> None:
        self._env, self._max_steps, self._seed = env, max_steps, seed

    def attempt(self, number: int, act: Exploration, past: Past) -> Attempted:
        """The trial, over when this returns; its row has ``moves`` and ``score``, the sum of the rewards."""
        seed, task = trial_seed(self._seed, number), past.task.name
        infos: list[Mapping[str, Any]] = []
        how: dict[str, Any] = {"task": task, "kind": PRACTICE, "max_steps": self._max_steps}
        episode = rollout(self._env, act, seed, **how, on_step=infos.append)
        said = "is_success" in infos[-1]
        notes = {SUCCESS: np.array([bool(info["is_success"]) for info in infos])} if said else {}
        trial = replace(episode, seed=number, notes=notes)  # the store names an episode of practice by its trial
        return Attempted([trial], {"moves": len(episode), "score": float(episode.reward.sum())}, lost=False)

    def see(self, episode: Episode) -> None:  # the learner reads it from the replay
        pass
