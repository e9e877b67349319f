"""What AWAC promises beside the contract: its losses, weights in them, against an independent computation."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import At
from small_agents import PIXELS, learner_of, make_batch, same, train, weights


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
