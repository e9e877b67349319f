"""What ReBRAC promises beside the contract: both penalties by hand, and that it is TD3 without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lotj.agents import At
from lotj.errors import SettingsError
from small_agents import BOUNDED, learner_of, make_batch, same
from test_agents import constant_values


def test_target_by_hand() -> None:
    """A target policy that says 0 and critics that say 0.5 everywhere: of next actions (0.3, 0.4, 0) in the data and
    (1, 0, 0), squared distances 0.25 and 1, the target is r + 0.9 (0.5 - 2 * 0.25), and so on; none where it ends."""
    learner = learner_of("rebrac", BOUNDED, discount=0.9, critic_bc_weight=2.0, target_noise=0.0)
    constant_values(learner, 0.5)
    for parameter in learner.target["policy"].parameters():
        torch.nn.init.zeros_(parameter)
    following = np.array([[0.3, 0.4, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]], np.float32)
    batch = make_batch(3, next_action=following)
    batch.reward[:], batch.terminated[:] = [0.0, 1.0, 1.0], [False, False, True]
    told = learner.update(batch, At(0))["target_mean"]
    assert told == pytest.approx((0.9 * (0.5 - 0.5) + 1.0 + 0.9 * (0.5 - 2.0) + 1.0) / 3, abs=1e-6)


def test_policy_loss_by_hand() -> None:
    """Critics that say 0.5: Q over its mean absolute value is 1. The policy says 0 and the data (0, 0.6, 0.8)."""
    learner = learner_of("rebrac", BOUNDED, bc_weight=0.1)
    constant_values(learner, 0.5)
    for parameter in learner.algorithm.get_submodule("policy").parameters():
        torch.nn.init.zeros_(parameter)
    batch = make_batch(4, agent="rebrac")
    batch.action[:] = [0.0, 0.6, 0.8]
    numbers = learner.update(batch, At(0))
    assert (numbers["loss_policy"], numbers["loss_bc"]) == pytest.approx((-1.0, 0.1 * 1.0))


def test_without_penalties_it_is_td3() -> None:
    off: dict[str, Any] = {"bc_weight": 0.0, "critic_bc_weight": 0.0, "normalize_q": False}
    one, other = learner_of("rebrac", **off), learner_of("td3")
    for number in range(4):
        told = one.update(make_batch(seed=number, agent="rebrac"), At(number))
        assert told == other.update(make_batch(seed=number), At(number))
    assert same(one.state()["modules"], other.state()["modules"])


def test_without_next_actions_it_says_where_they_come_from() -> None:
    with pytest.raises(SettingsError, match="columns of a batch, none: this agent needs 'next_action'; ask a Replay"):
        learner_of("rebrac").update(make_batch(), At(0))
