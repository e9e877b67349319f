"""Practice where the environment rewards: reinforcement learning as usual, on the same trials, replay and loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lotj.experience import Episode, Observation, rollout
from lotj.training.exploration import Exploration
from lotj.training.practice import Attempted, trial_seed
from lotj.training.trials import PRACTICE, Trials


class Rewarded:
    """See `lotj.training.practice.Practitioner`.

    Args:
        env: a `gymnasium.Env` with a mapping as observation; its rewards and ends are taken for true.
        max_steps: of a trial.
        seed: of the run.
    """

    judge = None

    def __init__(self, env: Any, max_steps: int, seed: int) -> None:
        self._env, self._max_steps, self._seed = env, max_steps, seed

    def attempt(self, number: int, act: Exploration, trials: Trials) -> Attempted:
        """See `Practitioner`."""
        lost: list[bool] = []
        episode = rollout(
            self._env,
            _Acting(act),
            trial_seed(self._seed, number),
            task=trials.task.name,
            kind=PRACTICE,
            max_steps=self._max_steps,
            on_step=lambda info: lost.append(bool(info.get("lost", False))),
        )
        # The store names an episode of practice by its trial.
        named = Episode(
            episode.observation, episode.action, episode.reward, episode.terminated, episode.truncated,
            episode.task, episode.kind, number,
        )  # fmt: skip
        return Attempted([named], {"moves": len(episode), "score": float(episode.reward.sum())}, lost[-1])

    def see(self, episode: Episode) -> None:
        """See `Practitioner`."""

    def figures(self, row: Mapping[str, float], rows: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        """See `Practitioner`."""
        return {}


class _Acting:
    def __init__(self, act: Exploration) -> None:
        self._act = act

    def reset(self, seed: int) -> None:
        pass

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> Any:
        return self._act(observation)
