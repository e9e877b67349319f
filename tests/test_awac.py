"""What AWAC promises beside the contract: its losses, weights in them, against an independent computation."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import At, losses
from lotj.agents.awac import AWACConfig
from lotj.errors import SettingsError
from small_agents import BOUNDED, PIXELS, learner_of, make_batch, noise_of, same, train, weights


def test_losses_are_those_of_an_independent_computation() -> None:
    changes = {"initial_std": 1.1e-6, "std_range": (1e-6, 1e-2)}  # the policy's action is its mean, as good as
    learner = learner_of("awac", PIXELS, seed=3, advantage_scale=2.0, **changes)
    train(learner, 3, rows=16)
    imitated = np.arange(16) % 3 > 0
    batch = make_batch(16, seed=9, imitate=imitated)
    action, done = torch.tensor(batch.action), torch.tensor(batch.terminated).float()
    algorithm, slow, chosen = cast(Any, learner.algorithm), learner.target["critic"], torch.tensor(imitated)
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))
    with torch.no_grad():
        mean, log_std = algorithm.policy(now)
        next_mean = algorithm.policy(then)[0]
        goal = torch.tensor(batch.reward) + learner.config.discount * (1 - done) * slow(then, next_mean).min(0).values
        q = algorithm.critic(now, action)
        advantage = (q.min(0).values - algorithm.critic(now, mean).min(0).values)[chosen]
        weight = torch.exp(2.0 * advantage)
        weight = weight / weight.mean()  # 1 on the mean
        expected_policy = -(weight * Normal(mean, log_std.exp()).log_prob(action).sum(1)[chosen]).mean()
        expected_q = ((q[0] - goal) ** 2).mean() + ((q[1] - goal) ** 2).mean()
    numbers = learner.update(batch, At(3))
    assert numbers["loss_q"] == pytest.approx(expected_q.item(), rel=1e-3)
    assert numbers["loss_policy"] == pytest.approx(expected_policy.item(), rel=1e-3)


def test_no_row_to_imitate_leaves_the_policy_alone() -> None:
    learner = learner_of("awac")
    before = weights(learner, "policy"), weights(learner, "critic")
    assert "loss_policy" not in learner.update(make_batch(imitate=np.zeros(8, bool)), At(0))
    assert same(before[0], weights(learner, "policy")) and not same(before[1], weights(learner, "critic"))


def test_weights_by_hand() -> None:
    """Of advantages 0, ln 2 and ln 4 the exponentials are 1, 2 and 4: as printed, with a clip of 3, over their mean."""
    advantage = torch.tensor([0.0, math.log(2), math.log(4)])
    made: dict[str, torch.Tensor] = {}
    kinds: tuple[Literal["paper", "batch"], ...] = ("paper", "batch")
    for kind in kinds:
        settings = {"weights": kind, "weight_clip": 3.0, "advantage_scale": 1.0}
        algorithm = cast(Any, learner_of("awac", **settings).algorithm)
        made[kind] = algorithm._weight(advantage, *[None] * 5)
    torch.testing.assert_close(made["paper"], torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(made["batch"], torch.tensor([3.0, 6.0, 12.0]) / 7)
    with pytest.raises(SettingsError, match="awac weights 'mean': must be one of batch, paper, state"):
        AWACConfig(weights=cast(Any, "mean"))


def test_z_is_the_mean_exponential_of_the_policys_own_actions_in_each_state() -> None:
    learner = learner_of("awac", BOUNDED, seed=3, weights="state", z_samples=4, advantage_scale=2.0, weight_clip=1e6)
    train(learner, 3, rows=16)
    batch, generator = make_batch(16, seed=9), noise_of(3, update=3)
    torch.empty(16, 3).normal_(generator=generator)  # of the next action
    noise = torch.empty(4, 16, 3).normal_(generator=generator)
    algorithm, now = cast(Any, learner.algorithm), learner.front.bring(batch.observation, "cpu")
    with torch.no_grad():
        mean, log_std = algorithm.policy(now)
        drawn = (mean + log_std.exp() * noise).clamp(-1, 1)
        z = torch.stack([(2.0 * algorithm.critic(now, action).amin(0)).exp() for action in drawn]).mean(0)
        action = torch.tensor(batch.action)
        weight = (2.0 * algorithm.critic(now, action).amin(0)).exp() / z  # V cancels
        expected = losses.policy_loss(losses.log_probability(mean, log_std, action), weight)
    assert learner.update(batch, At(3))["loss_policy"] == pytest.approx(expected.item(), rel=1e-3)
