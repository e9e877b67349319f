"""What SAC promises: its squashed density by hand, where gradients go, exact states, and that it learns from images."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lotj.agents.iql_config import IQLConfig
from lotj.agents.sac import SAC, SACConfig
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import Batch
from lotj.nets.augment import AugmentConfig
from lotj.nets.encoder import EncoderConfig

SIZE = 16
TINY = SACConfig(
    encoder=EncoderConfig(image_size=SIZE, width=8, stages=1),
    augment=AugmentConfig(enabled=False),
    feature_channels=4,
    hidden=(16,),
    critic_projection=16,
    critic_hidden=16,
    half_precision=False,
)


def make_batch(rows: int = 8, seed: int = 0, terminated: float = 0.3) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, rows, SIZE, SIZE, 3), dtype=np.uint8)
    done = rng.random(rows) < terminated
    action = rng.uniform(-1, 1, (rows, 3)).astype(np.float32)
    none = np.zeros(rows, bool)
    return Batch(images[0], action, done.astype(np.float32), done, none, images[1], np.zeros(rows, np.int64))


def weights(agent: SAC, part: str) -> torch.Tensor:
    return torch.cat([value.flatten() for value in agent.state_dict()["modules"][part].values()]).clone()


def test_density_of_the_squashed_gaussian():
    agent = SAC(replace(TINY, log_std_range=(-1.0, 1.0)), domains=1)
    for parameter in agent.actor.head[-1].parameters():
        torch.nn.init.zeros_(parameter)  # mean 0, log std in the middle of its range: 0
    features = torch.ones(1, agent.actor.encoder.size)
    action, log_prob = agent.actor.draw(features, torch.tensor([[0.0, 0.0, 1.0]]))
    assert action[0].tolist() == pytest.approx([0.0, 0.0, 0.761594])  # tanh 1
    # Three times -log(2 pi) / 2, once -1/2; the squashing: minus log(1 - tanh(1)^2) = log 0.419974.
    assert log_prob.item() == pytest.approx(-1.5 * math.log(2 * math.pi) - 0.5 - math.log(0.419974), abs=1e-4)


def test_termination_cuts_the_bootstrap_and_truncation_does_not():
    def target(**changes) -> float:
        batch = replace(make_batch(terminated=0.0), **changes)
        return SAC(TINY, domains=1).update(batch)["target_mean"]

    assert target(terminated=np.ones(8, bool)) == 0.0  # no reward, nothing to come
    assert target() != 0.0
    assert target(truncated=np.ones(8, bool)) == target()


def test_the_policy_moves_neither_critics_nor_encoder():
    one, other = SAC(TINY, domains=1), SAC(TINY, domains=1)
    for parameter in other.actor.head.parameters():
        parameter.data += 0.3
    batch = make_batch(terminated=1.1)  # all end: the targets do not depend on the policy
    one.update(batch)
    other.update(batch)
    for part in ("encoder", "q", "target"):
        assert torch.equal(weights(one, part), weights(other, part)), part


def test_target_follows_and_temperature_seeks_its_entropy():
    agent = SAC(replace(TINY, ema=0.25), domains=1)
    before = weights(agent, "target")
    agent.update(make_batch())
    torch.testing.assert_close(weights(agent, "target"), 0.75 * before + 0.25 * weights(agent, "q"))
    # log std is -2 at first: about 3 (1.42 - 2) = -1.7 nats before the squashing.
    for wanted, rises in ((-6.0, False), (3.0, True)):
        agent = SAC(replace(TINY, target_entropy=wanted), domains=1)
        for seed in range(3):
            numbers = agent.update(make_batch(seed=seed))
        assert (numbers["temperature"] > 0.1) == rises


def test_frozen_features_are_as_good_as_images():
    images, cached = SAC(TINY, domains=1), SAC(TINY, domains=1)
    batch = make_batch()
    with pytest.raises(ValueError, match="freeze_convolutions first"):
        cached.update(replace(batch, observation=cached.encode(batch.observation)))
    for agent in (images, cached):
        agent.freeze_convolutions()
    before = weights(images, "encoder")
    features = {name: cached.encode(getattr(batch, name)) for name in ("observation", "next_observation")}
    one, other = images.update(batch), cached.update(replace(batch, **features))
    assert torch.equal(weights(images, "encoder"), before)
    assert one["loss_q"] == pytest.approx(other["loss_q"], rel=1e-2)  # cached in 16 bits
    np.testing.assert_array_equal(images.act(batch.observation), images.act(images.encode(batch.observation)))


def test_loaded_agent_continues_identically():
    agent = SAC(TINY, domains=2)
    agent.update(make_batch(seed=1))
    other = SAC.restore(copy.deepcopy(agent.state_dict()))
    assert agent.update(make_batch(seed=2)) == other.update(make_batch(seed=2))
    assert all(torch.equal(weights(agent, part), weights(other, part)) for part in ("encoder", "actor", "q", "target"))
    with pytest.raises(CheckpointError, match="other networks"):
        SAC.restore(agent.state_dict(), hidden=(8,))
    with pytest.raises(CheckpointError, match="format 9"):
        agent.load_state_dict(agent.state_dict() | {"format": 9})


def test_nan_leaves_the_agent_as_it_was():
    agent, batch = SAC(TINY, domains=1), make_batch()
    before = weights(agent, "q")
    bad = batch.reward.copy()
    bad[2] = np.nan
    with pytest.raises(NumericsError, match="reward: 1 of 8 values are not finite"):
        agent.update(replace(batch, reward=bad))
    assert torch.equal(weights(agent, "q"), before) and agent.updates == 0
    assert agent.update(batch) == SAC(TINY, domains=1).update(batch)


def test_settings_are_shared_with_iql_and_checked():
    iql = IQLConfig(discount=0.9, feature_channels=16)
    sac = SACConfig.of(iql)
    assert (sac.discount, sac.feature_channels, sac.encoder) == (0.9, 16, iql.encoder)
    for settings, words in (
        ({"lr": 0.0}, "lr 0.0: must be above 0"),
        ({"ema": 2.0}, "ema 2.0: must be in"),
        ({"log_std_range": (1.0, 1.0)}, "the first must be below the second"),
    ):
        with pytest.raises(SettingsError, match=words):
            replace(TINY, **settings)


def test_learns_which_way_to_go_from_images():
    """A bright picture wants +0.6 along x, a dark one -0.6; each step is an episode of its own."""
    agent = SAC(replace(TINY, lr=3e-3), domains=1)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def pictures(rows: int) -> tuple[np.ndarray, np.ndarray]:
        bright = rng.random(rows) < 0.5
        images = rng.integers(0, 60, (rows, SIZE, SIZE, 3), dtype=np.uint8)
        images[bright, :8] += 180
        return images, np.where(bright, 0.6, -0.6)

    def error() -> float:
        images, wanted = pictures(200)
        return float(np.abs(agent.act(images)[:, 0] - wanted).mean())

    untrained = error()
    for _ in range(250):
        images, wanted = pictures(64)
        action = agent.act(images, True, generator)
        reward = 1.0 - (action[:, 0] - wanted) ** 2
        ends, none = np.ones(64, bool), np.zeros(64, bool)
        agent.update(Batch(images, action, reward.astype(np.float32), ends, none, images, np.full(64, -1)))
    assert untrained > 0.5 and error() < 0.15
