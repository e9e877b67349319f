"""What behaviour cloning promises beside the contract: its loss is the density of what is to be imitated."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import At
from small_agents import PIXELS, learner_of, make_batch, same, train


def test_loss_is_that_of_an_independent_computation() -> None:
    learner, imitated = learner_of("bc", PIXELS, seed=3), np.arange(16) % 3 > 0
    train(learner, 2, rows=16)
    batch = make_batch(16, seed=9, imitate=imitated)
    policy, now = cast(Any, learner.algorithm).policy, learner.front.bring(batch.observation, "cpu")
    with torch.no_grad():
        mean = torch.tanh(policy.head.mean(policy.encoder(now)))
        std = torch.exp(math.log(0.05) + math.log(20.0) * torch.sigmoid(policy.head.spread))  # between 0.05 and 1
        likelihood = Normal(mean, std).log_prob(torch.tensor(batch.action)).sum(1)[torch.tensor(imitated)]
    assert learner.update(batch, At(2))["loss_policy"] == pytest.approx(-likelihood.mean().item(), rel=1e-4)


def test_nothing_to_imitate_teaches_nothing() -> None:
    learner = learner_of("bc")
    before = learner.state()["modules"]
    assert learner.update(make_batch(imitate=np.zeros(8, bool)), At(0)) == {}
    assert same(before, learner.state()["modules"])


def test_spread_is_learnt_from_how_far_actions_lie_apart() -> None:
    learner = learner_of("bc", std_range=(0.01, 1.0))
    narrow = make_batch(64)
    for values in narrow.observation.values():
        values[:] = 0  # nothing tells them apart
    narrow.action[:] = 0.3 + 0.05 * np.random.default_rng(0).normal(size=narrow.action.shape)
    for number in range(120):
        numbers = learner.update(narrow, At(number, lr=3e-2))
    assert numbers["policy_std"] == pytest.approx(0.05, abs=0.02)
