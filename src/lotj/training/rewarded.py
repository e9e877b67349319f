"""Practice where the environment rewards: reinforcement learning as usual, on the same trials, replay and loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lotj.experience import Episode, rollout
from lotj.training.exploration import Exploration
from lotj.training.practice import Attempted, trial_seed
from lotj.training.trials import PRACTICE, Trials


class Rewarded:
    """See `lotj.training.practice.Practitioner`.

    Args:
        env: a `gymnasium.Env` with a mapping as observation; its rewards and ends are taken for true, and a lost part
            is an end like any other.
        max_steps: of a trial.
        seed: of the run.
    """

    judge = None

    def __init__(self, env: Any, max_steps: int, seed: int) -> None:
        self._env, self._max_steps, self._seed = env, max_steps, seed

    def attempt(self, number: int, act: Exploration, trials: Trials) -> Attempted:
        seed, task = trial_seed(self._seed, number), trials.task.name
        episode = rollout(self._env, act, seed, task=task, kind=PRACTICE, max_steps=self._max_steps)
        trial = replace(episode, seed=number)  # the store names an episode of practice by its trial
        return Attempted([trial], {"moves": len(episode), "score": float(episode.reward.sum())}, lost=False)

    def see(self, episode: Episode) -> None:  # the learner reads it from the replay
        pass
