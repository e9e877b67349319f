"""What one-step reinforcement learning promises: values of the behaviour, not of the best, and one improvement."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import AGENTS, At, Learner
from lotj.experience import Batch
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.front import Vector
from lotj.spaces import Array, Spec
from small_agents import BOUNDED, config_of, learner_of, make_batch, train

PLAIN: dict[str, Any] = {"bottleneck": BottleneckConfig(variant="erm", invariant_dim=16), "target_bounds": (-9.0, 9.0)}


def test_losses_are_those_of_an_independent_computation() -> None:
    learner = learner_of("one-step", BOUNDED, seed=3, advantage_scale=4.0, weight_clip=3.0, **PLAIN)
    train(learner, 3, rows=16)
    imitated = np.arange(16) % 3 > 0
    batch = make_batch(16, seed=9, imitate=imitated)
    algorithm, slow, chosen = cast(Any, learner.algorithm), learner.target["critic.q"], torch.tensor(imitated)
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))
    action = torch.tensor(batch.action)
    with torch.no_grad():
        goes_on = (~torch.tensor(batch.terminated)).float()
        goal = torch.tensor(batch.reward) + learner.config.discount * goes_on * algorithm.critic.value(then)
        advantage = slow(now, action)[0] - algorithm.critic.value(now)
        mean, std = algorithm.decide(now)
        weight = torch.exp(4.0 * advantage).clamp(max=3.0)[chosen]
        expected = -(weight * Normal(mean, std).log_prob(action).sum(1)[chosen]).mean()
        q = algorithm.critic.q(now, action)
    assert len(q) == 1
    numbers = learner.update(batch, At(3))
    assert numbers["loss_q"] == pytest.approx(((q[0] - goal) ** 2).mean().item(), rel=1e-4)
    assert numbers["loss_v"] == pytest.approx((advantage**2).mean().item() / 2, rel=1e-4)  # half of the squared error
    assert numbers["loss_policy"] == pytest.approx(expected.item(), rel=1e-4)


def test_values_are_of_the_behaviour_and_the_policy_is_one_step_better() -> None:
    """From state -1 either action leads to state 1 unpaid; there +0.5 pays 1 in half of the data, -0.5 nothing, and the
    episode ends. The behaviour's V is 0.5 there and 0.9 * 0.5 before, where IQL's goes to 0.9; the improved policy
    takes +0.5 in the one and, all being alike, the mean in the other."""
    point = Spec({"state": Array((1,), "float32", -1.0, 1.0)}, (1,), 10.0, 2)
    config = config_of(AGENTS["one-step"], lr=1e-2, discount=0.9, ema=0.2, **PLAIN)
    learner, rng = Learner(AGENTS["one-step"], point, Vector(), config, 1), np.random.default_rng(0)
    for number in range(300):
        state = np.where(np.arange(64) % 2, 1.0, -1.0).astype(np.float32)[:, None]
        action = rng.choice([-0.5, 0.5], (64, 1)).astype(np.float32)
        late = state[:, 0] > 0
        reward = (late & (action[:, 0] > 0)).astype(np.float32)
        then = {"state": np.ones_like(state)}
        learner.update(Batch({"state": state}, action, reward, late, then, np.zeros(64, int)), At(number))
    seen = {"state": np.array([[-1.0], [1.0]], np.float32)}
    np.testing.assert_allclose(learner.value(seen), [0.45, 0.5], atol=0.06)
    first, last = learner.act(seen)[:, 0]
    assert last == pytest.approx(0.5, abs=0.1) and abs(first) < 0.25
