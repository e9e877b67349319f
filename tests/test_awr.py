"""What AWR promises beside the contract: its losses by hand from the column of returns, and MARWIL's normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import At
from lotj.errors import SettingsError
from small_agents import BOUNDED, learner_of, make_batch, train


@pytest.mark.parametrize("normalize", [True, False])
def test_losses_are_those_of_an_independent_computation(normalize: bool) -> None:
    learner = learner_of("awr", BOUNDED, seed=3, advantage_scale=2.0, weight_clip=5.0, normalize_advantage=normalize)
    train(learner, 3, rows=16)
    imitated, gained = np.arange(16) % 3 > 0, np.linspace(-1, 2, 16, dtype=np.float32)
    batch = make_batch(16, seed=9, **cast(Any, {"imitate": imitated, "return": gained}))
    algorithm, chosen = cast(Any, learner.algorithm), torch.tensor(imitated)
    now = learner.front.bring(batch.observation, "cpu")
    with torch.no_grad():
        advantage = torch.tensor(gained) - algorithm.critic(now)[0]
        mean, log_std = algorithm.policy(now)
        scaled = advantage[chosen] / (advantage[chosen].square().mean().sqrt() if normalize else 1.0)
        weight = torch.exp(2.0 * scaled).clamp(max=5.0)
        expected = -(weight * Normal(mean, log_std.exp()).log_prob(torch.tensor(batch.action)).sum(1)[chosen]).mean()
    numbers = learner.update(batch, At(3))
    assert numbers["loss_v"] == pytest.approx((advantage**2).mean().item(), rel=1e-4)  # of all rows
    assert numbers["loss_policy"] == pytest.approx(expected.item(), rel=1e-4)
    assert numbers["weight_max"] == pytest.approx(weight.max().item(), rel=1e-4)
    assert numbers["target_mean"] == pytest.approx(gained.mean())


def test_weights_do_not_depend_on_the_scale_of_rewards() -> None:
    """V says 0 at first, as good as: returns ten times as large weigh the same rows the same."""
    shares = {}
    for normalize in (True, False):
        for scale in (1.0, 10.0):
            learner = learner_of("awr", BOUNDED, normalize_advantage=normalize, advantage_scale=1.0)
            torch.nn.init.zeros_(cast(Any, learner.algorithm).critic.head.last.weight)
            torch.nn.init.zeros_(cast(Any, learner.algorithm).critic.head.last.bias)
            gained = scale * np.array([-1, 1, 0, 0, 0.5, -0.5, 0.25, 1], np.float32)
            batch = make_batch(**cast(Any, {"return": gained}))
            shares[normalize, scale] = learner.update(batch, At(0))["weight_effective"]
    assert shares[True, 1.0] == pytest.approx(shares[True, 10.0])
    assert shares[False, 1.0] > 0.6 > 0.55 > shares[False, 10.0]


def test_values_are_the_mean_return() -> None:
    """The same state is followed by 1 in three of four rows: V is 0.75, and what led to 1 is what is imitated."""
    learner, rng = learner_of("awr", BOUNDED, lr=1e-2), np.random.default_rng(0)
    for number in range(150):
        batch = make_batch(32, seed=number)
        won = np.arange(32) % 4 > 0
        batch.observation["goal"][:] = 1.0
        batch.action[:] = np.where(won[:, None], 0.5, -0.5) + 0.1 * rng.normal(size=(32, 3))
        columns = {"return": won.astype(np.float32)}
        learner.update(replace(batch, columns=columns), At(number))
    seen = {"goal": np.ones((1, 2), np.float32)}
    assert learner.value(seen)[0] == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(learner.act(seen), 0.5, atol=0.1)


def test_without_returns_it_says_where_they_come_from() -> None:
    with pytest.raises(SettingsError, match="columns of a batch, imitate: this agent needs 'return'; ask a Replay"):
        learner_of("awr").update(make_batch(imitate=np.ones(8, bool)), At(0))
