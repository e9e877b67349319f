"""Robots that practise at once for one learner: each in a process of its own, where it makes trials with a copy of the
policy; what it remembers and what its trials are worth is kept where the learner is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lotj.agents import Learner
from lotj.experience import Episode
from lotj.training.exploration import Exploration, acting
from lotj.training.practice import Attempted
from lotj.training.self_judged import Memory, SelfJudged
from lotj.training.trials import Past


@dataclass(frozen=True)
class Asked:
    """What a trial in another process is made with."""

    number: int
    weights: dict[str, np.ndarray]  # of the policy as it is now
    act: Exploration  # how it explores
    past: Past
    memory: Memory


class Hand:
    """In the process of a robot: makes trials.

    Args:
        robot, learner: who makes them, and whose weights are those asked for.
        close: releases the machine.
    """

    def __init__(self, robot: SelfJudged, learner: Learner, close: Callable[[], None]) -> None:
        self._robot, self._learner, self.close = robot, learner, close

    def __call__(self, asked: Asked) -> Attempted:
        state = {name: torch.from_numpy(values) for name, values in asked.weights.items()}
        self._learner.algorithm.load_state_dict(state)
        self._robot.memory = asked.memory
        return self._robot.attempt(asked.number, replace(asked.act, act=acting(self._learner)), asked.past)


class Elsewhere:
    """Where the learner is: a robot in another process, see `lotj.training.practice.Practitioner`.

    Args:
        start: calls the `Hand` there.
        learner: practises.
        memory: before its first trial.
    """

    def __init__(self, start: Callable[[Asked], Future[Any]], learner: Learner, memory: Memory) -> None:
        self._start, self._learner, self._memory, self.judge = start, learner, memory, memory.judge()

    def attempt(self, number: int, act: Exploration, past: Past) -> Future[Attempted]:
        """The promise of a trial, with the policy and the memory as they are now."""
        # Copies: it may be some time until they are sent, and the learner learns on.
        state = self._learner.algorithm.state_dict()
        weights = {name: values.detach().cpu().numpy().copy() for name, values in state.items()}
        how: Any = replace(act, act=None)
        return self._start(Asked(number, weights, how, past, copy.deepcopy(self._memory)))

    def see(self, episode: Episode) -> None:
        self._memory.see(episode, self.judge)
