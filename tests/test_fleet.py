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

from lotj import patience
from lotj.data.store import DiskStore
from lotj.distributed import actors
from lotj.errors import FaultError, NumericsError, RobotError, SettingsError
from lotj.runs import Run
from lotj.training.fleet import Asked, Elsewhere, Hand
from lotj.training.practice import finished_trials, trial_seed
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
    """Hands, all here, whose trials come in by an order of benches, the last ones as they were begun.

    What is asked and brought is pickled, as on its way to and from another process.
    """

    def __init__(self, hands: list[Hand], order: str, trials: int) -> None:
        self._hands, self._order, self._left = hands, list(order), trials
        self._made: dict[str, tuple[Future[Any], Any]] = {}

    def starts(self) -> list[Any]:
        return [partial(self._start, name, hand) for name, hand in zip("abc", self._hands, strict=False)]

    def _start(self, name: str, hand: Hand, asked: Asked) -> Future[Any]:
        future: Future[Any] = Future()
        self._made[name] = future, pickle.loads(pickle.dumps(hand(pickle.loads(pickle.dumps(asked)))))
        self._left -= 1
        waiting = [name for name, (made, _) in self._made.items() if not made.done()]
        if not self._left:
            coming = waiting
        elif len(waiting) == len(self._hands):  # all are at work: the next comes in
            coming = [self._order.pop(0)]
        else:
            coming = []
        for one in coming:
            self._made[one][0].set_result(self._made[one][1])
        return future


@pytest.mark.parametrize("on", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_one_robot_in_another_process_learns_what_it_learns_here(
    prior: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    if on == "ray":
        pytest.importorskip("ray", reason="pip install 'lotj[cluster]'")
        here = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(here))  # where the workers find these modules
    config = make_config(trials=4, boost=True, imitate="successes")
    here, there = new_run(tmp_path / "here"), new_run(tmp_path / "there")
    practise(ToyRobot(), ColourReward(), prior, config, here, task="a")
    with actors([partial(toy_hand, config)], on) as starts:
        practise_at_once(starts, prior, config, there)
    assert_same(here, there)


def test_the_order_of_arrivals_decides_what_is_learnt_and_nothing_else(prior: DiskStore, tmp_path: Path) -> None:
    config, runs = make_config(trials=9, imitate="successes"), []
    for number, order in enumerate(("aabcba", "aabcba", "cbaabc")):
        desk = Desk([toy_hand(config) for _ in "abc"], order, 9)
        runs.append(new_run(tmp_path / str(number)))
        result = practise_at_once(desk.starts(), prior, config, runs[-1])
        assert result.trials == 9 and finished_trials(runs[-1]) == 9
    assert_same(runs[0], runs[1])
    brought = [[row["robot"] for row in run.metrics()] for run in runs]
    assert brought[0][:6] == [1, 1, 2, 3, 2, 1] and brought[2][:6] == [3, 2, 1, 1, 2, 3]
    assert sorted(row["seed"] for row in runs[2].metrics()) == sorted(trial_seed(0, k) for k in range(1, 10))
    assert lines(runs[0])[-1]["loss/q"] != lines(runs[2])[-1]["loss/q"]
    # Robot a made its second trial with the weights after its first, which is the first of all.
    assert [row["seed"] for row in runs[0].metrics()][:3] == [trial_seed(0, k) for k in (1, 4, 2)]
    kept = {number: episode.task for (_, number), episode in trials_of(runs[0]).items()}
    assert [kept[row["trial"]] for row in runs[0].metrics()] == ["abc"[row["robot"] - 1] for row in runs[0].metrics()]


def test_a_stopped_fleet_goes_on_with_new_numbers_and_what_its_judges_knew(prior: DiskStore, tmp_path: Path) -> None:
    config, run = make_config(trials=10, verify="touch"), new_run(tmp_path)

    class Stop(BaseException):
        pass

    class Stopping(ToyRobot):
        def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
            if self.resets == 2:
                raise Stop
            return super().reset(seed, start)

    desk = Desk([toy_hand(config, Stopping), toy_hand(config), toy_hand(config)], "bcabacbc", 10)
    with pytest.raises(Stop):
        practise_at_once(desk.starts(), prior, config, run)
    assert finished_trials(run) == 5  # b, c, a, b, a: the third of a is begun then, and those of b and c are under way
    began = {row["seed"] for row in run.metrics()}
    desk = Desk([toy_hand(config) for _ in "abc"], "cccc", 5)
    thresholds = {row["robot"]: row["threshold"] for row in run.metrics()}
    result = practise_at_once(desk.starts(), prior, config, run, resume=True)
    rows = run.metrics()
    assert result.trials == 10 and len({row["seed"] for row in rows}) == 10 and began <= {row["seed"] for row in rows}
    assert [row["robot"] for row in rows[5:]] == [3, 3, 1, 2, 3] and set(thresholds) == {1, 2, 3}
    # Numbers 1 to 7 were taken when the fifth was saved; 8 was not yet.
    assert {row["seed"] for row in rows[5:]} <= {trial_seed(0, k) for k in range(8, 14)}


@pytest.mark.slow
def test_a_robot_whose_process_dies_costs_its_running_trial(
    prior: DiskStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = make_config(trials=6), new_run(tmp_path)
    with actors([partial(toy_hand, config, DyingRobot), partial(toy_hand, config)]) as starts:
        result = practise_at_once(starts, prior, config, run, live=True)
    said = capsys.readouterr().out
    assert result.trials == 6 and [row["robot"] for row in run.metrics()].count(1) == 1
    assert re.search(r"robot 1, trial \d: discarded: its process has died; 1 go on without it, until --resume", said)
    with actors([partial(toy_hand, config, DyingRobot)]) as starts, pytest.raises(RobotError, match="process has died"):
        practise_at_once(starts, prior, config, new_run(tmp_path / "alone"))


class FailingAtFirst(Hand):
    """Fails twice in its second trial, and in its fourth for good."""

    tries = 0

    def __call__(self, asked: Asked) -> Any:
        self.tries += 1
        if self.tries in (2, 3):
            raise FaultError("the arm has lost its power")
        if self.tries == 6:
            raise RobotError("protective stop")
        return super().__call__(asked)


def test_the_rest_goes_on_while_one_has_failed_and_it_comes_back(
    prior: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "RETRY_S", 0.05)
    config, run = make_config(trials=12, updates_per_step=2), new_run(tmp_path)
    good, bad = toy_hand(config), toy_hand(config)
    bad.__class__ = FailingAtFirst

    def start(hand: Hand, asked: Asked) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(hand(asked))
        except RobotError as error:
            future.set_exception(error)
        return future

    practise_at_once([partial(start, bad), partial(start, good)], prior, config, run, live=True)
    said, rows = capsys.readouterr().out, run.metrics()
    mine = [row["robot"] for row in rows]
    assert len(rows) == 12 and mine.count(1) == 3 and len({row["seed"] for row in rows}) == 12
    assert said.count("robot 1, trial 3: paused, its trial is discarded: the arm has lost its power") == 1
    assert re.search(r"robot 1, trial 3: the robot is back after \d+ s, at attempt 3", said)
    assert "discarded: protective stop; 1 go on without it, until --resume" in said
    assert trial_seed(0, 3) in {row["seed"] for row in rows}  # the void trial is made after all


class Stops:
    """Looks on, see `lotj.training.live_view.Watcher`, and stops after so many trials, or once a robot is away."""

    def __init__(self, after: int) -> None:
        self.left, self.notes = after, list[str]()

    def begin(self, run: Run, practitioner: Any, trials: int) -> None:
        self.begun = practitioner, trials

    def ready(self) -> bool:
        return self.left > 0 and not self.notes

    def trial(self, row: dict[str, Any]) -> None:
        self.left -= 1

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_watcher_stops_a_fleet_between_trials_that_come_in(prior: DiskStore, tmp_path: Path) -> None:
    config, run, watcher = make_config(trials=6), new_run(tmp_path), Stops(after=3)
    desk = Desk([toy_hand(config) for _ in "abc"], "bcaabc", 9)
    assert practise_at_once(desk.starts(), prior, config, run, watcher=watcher).trials == finished_trials(run) == 3
    assert isinstance(watcher.begun[0], Elsewhere) and watcher.begun[1] == 6
    desk = Desk([toy_hand(config) for _ in "abc"], "abc", 3)
    result = practise_at_once(desk.starts(), prior, config, run, watcher=Stops(after=9), resume=True)
    # b and c had begun anew, with 4 and 5, when the third trial came in: these two are lost, and their numbers taken.
    assert result.trials == 6
    assert {row["seed"] for row in run.metrics()[3:]} == {trial_seed(0, number) for number in (6, 7, 8)}


def test_a_watcher_stops_practice_while_the_robots_are_away(
    prior: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RETRY_S", 0.05)
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)  # then there would be an error

    def start(asked: Asked) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(FaultError("the arm has lost its power"))
        return future

    for robots in (1, 2):
        watcher, run = Stops(after=9), new_run(tmp_path / str(robots))
        assert practise_at_once([start] * robots, prior, make_config(), run, watcher=watcher).trials == 0
        assert "trial 1: paused" in watcher.notes[0]


def test_errors_of_others_stop_all_and_say_what_they_are(prior: DiskStore, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="on 'mars': must be one of processes, ray"), actors([], "mars"):
        pass

    class Broken(Hand):
        def __call__(self, asked: Asked) -> Any:
            raise NumericsError("reward score nan")

    config = make_config()
    hands = [toy_hand(config), toy_hand(config)]
    hands[1].__class__ = Broken
    with pytest.raises(NumericsError, match="score nan"):
        practise_at_once(Desk(hands, "a", 5).starts(), prior, config, new_run(tmp_path))
