"""One learner and several robots: what is learnt depends on the order in which trials come in and on nothing else, and
a robot that dies or fails costs its running trial."""

from __future__ import annotations

import os
import pickle
import re
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.data.store import DiskStore
from lotj.distributed import actors
from lotj.errors import FaultError, NumericsError, RobotError, SettingsError
from lotj.training import practice as practice_module
from lotj.training.fleet import Asked, Hand
from lotj.training.practice import finished_trials, trial_seed
from lotj.training.self_judged import SelfJudged
from test_practice import assert_same, lines, new_run
from toy_world import (
    ColourReward,
    DyingRobot,
    ToyRobot,
    collect,
    make_config,
    practise,
    practise_at_once,
    toy_hand,
    trials_of,
)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    return collect(tmp_path_factory.mktemp("prior") / "data")


class Desk:
    """Hands, all here, whose trials come in by an order of benches; one that is not in it brings none.

    What is asked and brought is pickled, as on its way to and from another process.
    """

    def __init__(self, hands: list[Hand], order: str) -> None:
        self._hands, self._order = hands, list(order)
        self._made: dict[str, tuple[Future[Any], Any]] = {}

    def starts(self) -> list[Any]:
        return [partial(self._start, name, hand) for name, hand in zip("abc", self._hands, strict=False)]

    def _start(self, name: str, hand: Hand, asked: Asked) -> Future[Any]:
        future: Future[Any] = Future()
        brought = pickle.loads(pickle.dumps(hand(pickle.loads(pickle.dumps(asked)))))
        self._made[name] = future, brought
        if not any(future.done() for future, _ in self._made.values()):
            self._bring()
        return future

    def _bring(self) -> None:
        for name in [name for name, (future, _) in self._made.items() if future.done()]:
            del self._made[name]
        if self._order and self._order[0] in self._made:
            future, brought = self._made[self._order.pop(0)]
            future.set_result(brought)


def test_one_robot_in_another_process_learns_what_it_learns_here(prior: DiskStore, tmp_path: Path) -> None:
    config = make_config(trials=4, boost=True, imitate="successes")
    here, there = new_run(tmp_path / "here"), new_run(tmp_path / "there")
    practise(ToyRobot(), ColourReward(), prior, config, here, task="a")
    with actors([partial(toy_hand, config)]) as starts:
        practise_at_once(starts, prior, config, there)
    assert_same(here, there)
