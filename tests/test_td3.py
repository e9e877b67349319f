"""What TD3 promises beside the contract: its losses against an independent computation, and the delay."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from lotj.agents import At
from small_agents import BOUNDED, learner_of, make_batch, noise_of, same, train, weights


def test_losses_are_those_of_an_independent_computation() -> None:
    learner = learner_of("td3", BOUNDED, seed=3, target_noise=0.4, target_noise_clip=0.5)
    train(learner, 4, rows=16)
    batch = make_batch(16, seed=9)
    noise = (0.4 * torch.empty(16, 3).normal_(generator=noise_of(3, update=4))).clamp(-0.5, 0.5)
    algorithm, slow = cast(Any, learner.algorithm), cast(Any, learner.target["critic"])
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))
    with torch.no_grad():
        smooth = (torch.tanh(learner.target["policy"](slow.encoder(then))) + noise).clamp(-1, 1)
        goes_on = (~torch.tensor(batch.terminated)).float()
        goal = torch.tensor(batch.reward) + learner.config.discount * goes_on * slow(then, smooth).min(0).values
        q = algorithm.critic(now, torch.tensor(batch.action))
        loss_q = ((q[0] - goal) ** 2).mean() + ((q[1] - goal) ** 2).mean()
        best = algorithm.critic(now, torch.tanh(algorithm.policy(algorithm.critic.encoder(now))))[0]
    numbers = learner.update(batch, At(4))
    assert numbers["target_mean"] == pytest.approx(goal.mean().item(), rel=1e-4)
    assert numbers["loss_q"] == pytest.approx(loss_q.item(), rel=1e-4)
    assert numbers["loss_policy"] == pytest.approx(-best.mean().item(), rel=1e-4)  # of the first critic


def test_the_policy_learns_in_every_so_many_th_update() -> None:
    learner = learner_of("td3", policy_delay=3)
    moved = []
    for number in range(6):
        before = weights(learner, "policy")
        numbers = learner.update(make_batch(seed=number), At(number))
        moved.append(not same(before, weights(learner, "policy")))
        assert ("loss_policy" in numbers) == moved[-1]
    assert moved == [True, False, False, True, False, False]
