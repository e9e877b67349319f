"""What agents are pretrained on: batches of transitions of the prior data."""

from __future__ import annotations

from typing import Any

import numpy as np

from lotj.agents.state_iql import StateIQL
from lotj.data.dataset import Dataset
from lotj.errors import DataError
from lotj.experience import Batch, is_kind
from lotj.training.policy_report import ASIDE_M
from lotj.training.pretrain_config import PretrainConfig


class TransitionBatches:
    """Batches of images for the agent. Batch k is drawn from (seed, k), so that it is the same in a resumed run.

    Args:
        dataset: training domains.
        config: size of a batch, and which of its rows are for the policy.
        seed: of the run.

    Raises:
        DataError: no transition is of a kind that the policy learns from.
    """

    def __init__(self, dataset: Dataset, config: PretrainConfig, seed: int) -> None:
        self._dataset = dataset
        self._held = dataset.transitions()
        self._seed = seed
        self._for_policy = is_kind(self._held.kind, config.policy_kinds)
        if not self._for_policy.any():
            raise DataError(
                f"{dataset.root} holds no episode of kind {', '.join(config.policy_kinds)}: collect some, or set "
                "policy_kinds to kinds that it holds"
            )
        aside = np.linalg.norm(dataset.frame_state[self._held.frame, :2], axis=1) > ASIDE_M
        self._pools: list[tuple[np.ndarray, int]] = []  # row numbers, and how many of a batch are of them
        for rows, count in _parts(np.arange(len(self._held)), self._for_policy, config.policy_share, config.batch):
            share = config.aside_share if self._for_policy[rows].all() else None
            self._pools += _parts(rows, aside, share, count)

    def load(self, step: int) -> Batch:
        """Batch number `step`."""
        held, rng = self._held, np.random.default_rng([self._seed, step])
        index = np.concatenate([rows[rng.integers(len(rows), size=count)] for rows, count in self._pools])
        frame = held.frame[index]
        observation, next_observation = self._observe(frame)
        return Batch(
            observation=observation,
            action=held.action[index],
            reward=held.reward[index],
            terminated=held.terminated[index],
            truncated=held.truncated[index],
            next_observation=next_observation,
            domain=held.domain[index],
            policy=self._for_policy[index],
            position=self._dataset.frame_state[frame, :3],
        )

    def _observe(self, frame: np.ndarray) -> tuple[Any, Any]:
        """What the agent sees in the (B,) frames, and in the next ones."""
        images = self._dataset.images(np.concatenate([frame, frame + 1]))
        return images[: len(frame)], images[len(frame) :]


def _parts(rows: np.ndarray, chosen: np.ndarray, share: float | None, count: int) -> list[tuple[np.ndarray, int]]:
    """Divide `count` draws from `rows` between those that are `chosen` (by row number), which get `share` of them, and
    the others; undivided where the share is None or one part is empty."""
    first, second = rows[chosen[rows]], rows[~chosen[rows]]
    if share is None or not len(first) or not len(second):
        return [(rows, count)]
    of_first = max(1, round(share * count))
    return [(first, of_first), (second, count - of_first)]


class PositionBatches(TransitionBatches):
    """The same transitions for an agent that sees where the plug truly is."""

    def __init__(self, dataset: Dataset, config: PretrainConfig, seed: int, agent: StateIQL) -> None:
        super().__init__(dataset, config, seed)
        self._agent = agent

    def _observe(self, frame: np.ndarray) -> tuple[Any, Any]:
        position = self._dataset.frame_state[:, :3]
        return self._agent.features_of(position[frame]), self._agent.features_of(position[frame + 1])
