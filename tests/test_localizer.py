"""What the localisation model promises: it learns where the plug is, goes on as it was, and serves State-IQL."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lotj.agents import AGENTS, At, Learner
from lotj.agents.localizer import Localizer, LocalizerConfig, Position
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.front import Vector
from lotj.spaces import Array, Spec
from small_agents import PIXELS, config_of, same, spec_of, through_a_file
from test_iql import seen_plugs

SMALL = LocalizerConfig(front=PIXELS, hidden=(16,), steps=80, batch=32, lr=5e-3, warmup=5)


def trained(updates: int, config: LocalizerConfig = SMALL) -> Localizer:
    localizer = Localizer(Position, spec_of(), config.front, config, 1, seed=1)
    for step in range(updates):
        localizer.update(seen_plugs(32, step), At(step, lr=config.learning_rate(step)))
    return localizer


@pytest.fixture(scope="module")
def able() -> Localizer:
    return trained(80)


def test_it_learns_where_the_plug_is(able: Localizer) -> None:
    localizer, seen = able, seen_plugs(40, 999)
    error = localizer.locate(seen.observation["image"]) - seen.columns["position"]
    assert np.linalg.norm(error[:, :2], axis=1).mean() < 1.2e-3  # plugs are 3.5 mm beside on the mean
    assert localizer.locate(seen.observation["image"][:0]).shape == (0, 3)


def test_a_restored_model_goes_on_bit_for_bit() -> None:
    augmented = replace(SMALL, front=replace(PIXELS, augment=AugmentConfig()))
    localizer = trained(3, augmented)
    twin, batch = Localizer.load(through_a_file(localizer.state()), kind=Position), seen_plugs(32, 7)
    for step in (3, 4):
        assert localizer.update(batch, At(step)) == twin.update(batch, At(step))
    assert same(localizer.state(), twin.state())
    np.testing.assert_array_equal(localizer.locate(batch.observation["image"]), twin.locate(batch.observation["image"]))
    with pytest.raises(SettingsError, match="localizer checkpoint: setting .* is not in both"):
        Localizer.load(localizer.state() | {"config": {}}, kind=Position)
    with pytest.raises(CheckpointError, match="an agent of agent 'iql', not 'localizer'"):
        Localizer.load(localizer.state() | {"agent": "iql"}, kind=Position)


def test_bad_input_is_refused_and_changes_nothing() -> None:
    localizer, batch = trained(1), seen_plugs(4, 0)
    batch.columns["position"][1, 0] = math.nan
    with pytest.raises(NumericsError, match="position: 1 of 12"):
        localizer.update(batch, At(1))
    assert localizer.updates == 1
    with pytest.raises(SettingsError, match="mirror"):
        LocalizerConfig(front=replace(PIXELS, augment=AugmentConfig(flip=0.5)))
    with pytest.raises(SettingsError, match="localizer steps 0: must be at least 1"):
        LocalizerConfig(steps=0)


def test_state_iql_is_iql_that_reads_positions(able: Localizer) -> None:
    """It learns offline from true positions and acts on those that the model sees."""
    place = Spec({"position": Array((3,), "float32", -0.01, 0.01)}, (2,), 10.0, 20)
    config = config_of(AGENTS["iql"], bottleneck=BottleneckConfig(variant="erm"), hidden=(32,))
    learner = Learner(AGENTS["iql"], place, Vector(("position",)), config, 1)
    for step in range(60):
        batch = seen_plugs(32, step)
        there = {"position": batch.columns["position"]}
        home = np.clip(-300.0 * there["position"][:, :2], -1, 1).astype(np.float32)  # back over the socket
        ends = np.ones(32, bool)
        learner.update(
            replace(batch, observation=there, next_observation=there, action=home, terminated=ends, columns={}),
            At(step, lr=1e-2),
        )
    seen = seen_plugs(100, 999)
    action = learner.act({"position": able.locate(seen.observation["image"])})
    beside = np.abs(seen.columns["position"][:, :2]) > 2e-3
    right = np.sign(action) == -np.sign(seen.columns["position"][:, :2])
    assert right[beside].mean() > 0.9
