"""What BRAC promises beside the contract: its penalty by hand, a behaviour model that fits, and what it says of data
that it has not seen (claim d of the thesis' chapter 7)."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lotj.agents import At, losses
from lotj.agents.brac import EDGE, log_likelihood
from small_agents import BOUNDED, PIXELS, learner_of, make_batch, same, train, weights


def test_kl_divergence_by_hand() -> None:
    """Of N(0, 1) from N(1, 1) on one axis 1/2, of N(0, 1) from N(0, e^2) on the other 1 - 1/2 + 1/(2 e^2)."""
    mean, log_std = torch.zeros(1, 2), torch.zeros(1, 2)
    kl = losses.kl_divergence(mean, log_std, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert kl.item() == pytest.approx(0.5 + 1.0 - 0.5 + 0.5 / math.e**2)
    given = [torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    torchs = kl_divergence(Normal(given[0], given[1].exp()), Normal(given[2], given[3].exp())).sum(1)
    torch.testing.assert_close(losses.kl_divergence(*given), torchs)


def test_losses_are_those_of_an_independent_computation() -> None:
    learner = learner_of("brac", BOUNDED, seed=3, kl_weight=0.3)
    train(learner, 3, rows=16)
    batch = make_batch(16, seed=9)
    algorithm, now = cast(Any, learner.algorithm), learner.front.bring(batch.observation, "cpu")
    raw = torch.atanh(torch.tensor(batch.action).clamp(-EDGE, EDGE))
    with torch.no_grad():
        mean, log_std = algorithm.behaviour(now)
        density = Normal(mean, log_std.exp()).log_prob(raw) - (1 - torch.tanh(raw) ** 2).log()
        own, own_log_std = algorithm.policy(algorithm.critic.encoder(now))
        kl = kl_divergence(Normal(own, own_log_std.exp()), Normal(mean, log_std.exp())).sum(1).mean()
    told = log_likelihood(learner, batch.observation, batch.action)
    np.testing.assert_allclose(told, density.sum(1), rtol=1e-4, atol=1e-4)
    numbers = learner.update(batch, At(3))
    assert numbers["loss_behaviour"] == pytest.approx(-told.mean(), rel=1e-4)
    assert numbers["loss_kl"] == pytest.approx(0.3 * kl.item(), rel=1e-4)


def test_the_penalty_moves_the_policy_and_not_the_behaviour() -> None:
    learner = learner_of("brac", PIXELS)
    before = weights(learner, "behaviour"), weights(learner, "policy")
    others = {term: 0.0 for term in learner.terms if term != "kl"}
    learner.update(make_batch(), At(0, weights=others))
    assert same(before[0], weights(learner, "behaviour")) and not same(before[1], weights(learner, "policy"))


def test_the_policy_stays_near_the_behaviour_the_more_the_penalty_weighs() -> None:
    """Prior data do 0.3 and pay for 0.9, which they have never seen."""
    told = []
    for kl_weight in (0.0, 10.0):
        learner, rng = learner_of("brac", BOUNDED, axes=1, lr=1e-2, kl_weight=kl_weight), np.random.default_rng(0)
        for number in range(100):
            batch = make_batch(32, seed=number, axes=1)
            batch.action[:] = np.clip(0.3 + 0.1 * rng.normal(size=(32, 1)), -1, 1)
            batch.reward[:], batch.terminated[:] = batch.action[:, 0], True
            learner.update(batch, At(number))
        seen = make_batch(64, seed=999, axes=1).observation
        told.append((float(np.abs(learner.act(seen) - 0.3).mean()), learner, seen))
    (free, _, _), (held, learner, seen) = told
    assert held < 0.1 < 0.3 < free
    like, other = (log_likelihood(learner, seen, np.full((64, 1), a, np.float32)).mean() for a in (0.3, -0.6))
    assert like > 0.5 and other < like - 5  # the density at its mode, 1.4 nats with a spread of 0.1; and far away


def test_actions_at_the_edge_have_a_density() -> None:
    learner = learner_of("brac", BOUNDED)
    batch = make_batch()
    batch.action[:] = np.sign(batch.action)
    assert np.isfinite(log_likelihood(learner, batch.observation, batch.action)).all()
    assert math.isfinite(learner.update(batch, At(0))["loss_behaviour"])
