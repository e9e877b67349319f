"""Ground truth of the real bench reaches no learner: practice gives the same weights whatever the simulator claims."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.agents import Learner
from lotj.agents.iql import IQL, IQLConfig
from lotj.data.store import DiskStore
from lotj.envs.disturbances import disturbed
from lotj.envs.insertion import InsertionEnv
from lotj.envs.settled import Settled
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.sim.bench import Bench, Reading
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from small_agents import same
from toy_world import make_config, practise, trials_of

SIZE = 32
FELT = {"hand", "velocity", "slip", "tilt"}
"""What a robot measures of itself; the rest of a reading is falsified."""


class Arbitrary:
    """A reward model that calls one picture in three a success, whatever it shows."""

    threshold = 0.5

    def score(self, images: np.ndarray) -> np.ndarray:
        return (images.reshape(len(images), -1).sum(1) % 3 == 0).astype(np.float32)


def practised(data: DiskStore, folder: Path, verify: str, late: str = "") -> tuple[Any, list[dict], list[Any]]:
    """The weights after a few trials on the bench, pressing hard, what was noted of each trial, and all that was
    recorded; on a bench that is `late`, which is waited for."""
    bottleneck = BottleneckConfig(invariant_dim=16, specific_dim=4, domain_hidden=(8,))
    front = Pixels(EncoderConfig(width=8, stages=1), feature_channels=4, half_precision=False)
    run = Run.create(folder, "practice", {}, seed=0)
    env = InsertionEnv("usb-b", image_size=SIZE, scenario="near", end_on_success=False, observation=("image", "state"))
    model = env.bench.model
    model.dof_frictionloss[model.joint("slip").dofadr[0]] = 8.0  # a weak grip: some plugs are lost
    robot = SimulatedRobot(Settled(lambda: disturbed(env, late, 0), int(bool(late))), run.path / "truth.jsonl")
    spec = dataclasses.replace(robot.spec, observation={"image": robot.spec.observation["image"]})
    agent = Learner(IQL, spec, front, IQLConfig(bottleneck=bottleneck), len(data.tasks))
    agent.algorithm.get_parameter("policy.head.mean.2.bias").data[2] = -1.5  # it presses
    settings = {"boost": True, "withdrawals": 2}
    config = make_config(trials=6, max_steps=8, verify=verify, **settings)
    practise(robot, Arbitrary(), data, config, run, agent)
    robot.close()
    run.close()
    timed = ("second", "time")
    rows = [{name: v for name, v in row.items() if not any(word in name for word in timed)} for row in run.metrics()]
    recorded = [
        (name, episode.action, *episode.observation["image"], *episode.notes.values())
        for name, episode in trials_of(run).items()
    ]
    return agent.state()["modules"], rows, recorded


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    folder = tmp_path_factory.mktemp("data")
    settings = CollectConfig(image_size=SIZE, expert_episodes=2, near_miss_share=0.5)
    collect(folder, InsertionCollection(("usb-a", "duplo-2x2", "peg-round-8"), settings), workers=1)
    return DiskStore.open(folder, split="train")


@pytest.fixture(scope="module")
def honest(
    data: DiskStore, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Any, list[dict], list[Any]]]:
    """What `practised` gives where the simulator tells the truth."""
    return functools.cache(lambda *how: practised(data, tmp_path_factory.mktemp("honest"), *how))


@pytest.mark.parametrize("verify,late", [("touch", ""), ("score", ""), ("touch", "late-frame")])
def test_nothing_changes_whatever_the_simulator_claims(
    data: DiskStore, honest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: str, late: str
) -> None:
    weights, rows, recorded = honest(verify, late)
    read, rng = Bench._read, np.random.default_rng(0)

    def lie(bench: Bench, peak: float) -> Reading:
        true = read(bench, peak)
        lies: dict[str, Any] = {"position": rng.normal(0, 1, 3), "force": rng.normal(0, 50, 3)}
        lies |= {"peak_force": float(rng.uniform(0, 99)), "success": not true.success}
        lies |= {"wrong_socket": not true.wrong_socket, "dislodged": not true.dislodged}
        assert lies.keys() | FELT == {field.name for field in dataclasses.fields(Reading)}
        return dataclasses.replace(true, **lies)

    monkeypatch.setattr(Bench, "_read", lie)
    falsified, told, again = practised(data, tmp_path / "falsified", verify, late)
    assert same(weights, falsified) and rows == told
    np.testing.assert_equal(recorded, again)
    assert sum(row["updates"] for row in rows) > 0
    if verify == "touch":
        assert any(row["lost"] for row in rows)  # what is pressed and pushed is lost now and then
    else:
        assert {kind.split("-")[0] for (kind, _), *_ in recorded} == {"practice", "reversed"}


def test_what_the_gripper_feels_does_reach_it(
    data: DiskStore, honest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above could not see a leak if nothing at all of a reading mattered."""
    weights, *_ = honest("touch", "")
    read = Bench._read
    monkeypatch.setattr(Bench, "_read", lambda bench, peak: dataclasses.replace(read(bench, peak), slip=0.0, tilt=0.0))
    numb, *_ = practised(data, tmp_path / "numb", "touch")
    assert not same(weights, numb)
