"""Ground truth of the real bench reaches no learner: practice gives the same weights whatever the simulator claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lotj.agents.iql import IQL
from lotj.agents.iql_config import IQLConfig
from lotj.envs.insertion import InsertionEnv
from lotj.experiments.stages import open_split
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.sim.bench import Bench, Reading
from lotj.training.collect import CollectConfig, collect
from lotj.training.practice import practice
from toy_world import make_config

SIZE = 32


class Arbitrary:
    """A reward model that calls one picture in five a success, whatever it shows."""

    image_size, threshold = SIZE, 0.5

    def score(self, images: np.ndarray) -> np.ndarray:
        return (images.reshape(len(images), -1).sum(1) % 5 == 0).astype(np.float32)


def practised(data: Path, folder: Path) -> tuple[torch.Tensor, list[dict]]:
    """The weights after a few trials on the bench, pressing hard, and what was noted of each trial."""
    encoder = EncoderConfig(image_size=SIZE, width=8, stages=1)
    bottleneck = BottleneckConfig(invariant_dim=16, specific_dim=4, domain_hidden=(8,))
    agent = IQL(IQLConfig(encoder=encoder, bottleneck=bottleneck, half_precision=False), domains=3, seed=0)
    run = Run.create(folder, "practice", {}, seed=0)
    env = InsertionEnv("usb-b", image_size=SIZE, scenario="near", end_on_success=False, observation=("image", "state"))
    model = env.bench.model
    model.dof_frictionloss[model.joint("slip").dofadr[0]] = 8.0  # a weak grip: some plugs are lost
    robot = SimulatedRobot(env, run.path / "truth.jsonl")
    config = make_config(None, trials=6, max_steps=8, bold_failures=1, bold_press=1.0, withdrawals=2, one_place=True)
    practice(robot, agent, Arbitrary(), open_split(data, "train"), config, run, live=False)
    robot.close()
    run.close()
    weights = [values.detach().flatten() for module in (agent.actor, agent.critic) for values in module.parameters()]
    return torch.cat(weights), run.metrics()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    settings = CollectConfig(image_size=SIZE, expert_episodes=2, near_miss_share=0.5)
    collect(folder, ("usb-a", "duplo-2x2", "peg-round-8"), settings, workers=1)
    return folder


def test_weights_are_the_same_whatever_the_simulator_claims(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, rows = practised(data, tmp_path / "honest")
    read, rng = Bench._read, np.random.default_rng(0)

    def lie(bench: Bench, peak: float) -> Reading:
        true = read(bench, peak)
        return dataclasses.replace(
            true,
            position=rng.normal(0, 1, 3),
            force=rng.normal(0, 50, 3),
            peak_force=float(rng.uniform(0, 99)),
            success=not true.success,
            dislodged=not true.dislodged,
        )

    monkeypatch.setattr(Bench, "_read", lie)
    falsified, told = practised(data, tmp_path / "falsified")
    assert torch.equal(honest, falsified)
    timed = ("second", "time")
    for row, other in zip(rows, told, strict=True):
        kept = {name for name in row if not any(word in name for word in timed)}
        assert {name: row[name] for name in kept} == {name: other[name] for name in kept}
    assert sum(row["updates"] for row in rows) > 0


def test_what_the_gripper_feels_does_reach_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above could not see a leak if nothing at all of a reading mattered."""
    honest, _ = practised(data, tmp_path / "honest")
    read = Bench._read
    monkeypatch.setattr(Bench, "_read", lambda bench, peak: dataclasses.replace(read(bench, peak), slip=0.0, tilt=0.0))
    numb, _ = practised(data, tmp_path / "numb")
    assert not torch.equal(honest, numb)
