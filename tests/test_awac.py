"""What AWAC promises beside the contract: its losses, weights in them, against an independent computation."""

from __future__ import annotations

from typing import Any, cast

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


def test_the_papers_weights_are_a_clipped_exponential() -> None:
    weighed = {}
    for weights_of, clip in (("paper", 1e6), ("paper", 1.5), ("batch", 1.5)):
        changes = {"advantage_scale": 5.0, "weights": weights_of, "weight_clip": clip}
        learner = learner_of("awac", BOUNDED, seed=3, **changes)
        batch = make_batch(16, seed=9)
        algorithm, now = cast(Any, learner.algorithm), learner.front.bring(batch.observation, "cpu")
        with torch.no_grad():
            mean, log_std = algorithm.policy(now)
            action = torch.tensor(batch.action)
            apart = algorithm.critic(now, action).amin(0) - algorithm.critic(now, mean).amin(0)
            weight = torch.exp(5.0 * apart)
            assert weight.max() > 1.5  # the clip has something to do
            weight = weight / weight.mean() if weights_of == "batch" else weight.clamp(max=clip)
            expected = -(weight * Normal(mean, log_std.exp()).log_prob(action).sum(1)).mean()
        weighed[weights_of, clip] = learner.update(batch, At(0))
        assert weighed[weights_of, clip]["loss_policy"] == pytest.approx(expected.item(), rel=1e-4)
    assert weighed["paper", 1.5]["weight_max"] == pytest.approx(1.5)
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
