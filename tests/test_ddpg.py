"""What DDPG promises beside the contract: its losses against an independent computation, and cloning with the Q-filter,
on two rows by hand; TD3, SAC and ReBRAC clone by the same lines."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from lotj.agents import AGENTS, At, Learner, losses
from lotj.agents.ddpg import DDPGConfig
from lotj.errors import SettingsError
from lotj.experience import Batch
from lotj.nets.front import Vector
from lotj.spaces import Array, Spec
from small_agents import BOUNDED, config_of, learner_of, make_batch, train

# By hand: of two demonstrated rows the policy is off by (0.3, -0.4) and (0, 1), squared norms 0.25 and 1.
ACTION, DEMONSTRATED = torch.tensor([[0.5, 0.0], [0.0, 0.0]]), torch.tensor([[0.2, 0.4], [0.0, -1.0]])


def test_cloning_loss_by_hand() -> None:
    assert losses.cloning_loss(ACTION, DEMONSTRATED).item() == pytest.approx((0.25 + 1.0) / 2)
    better = torch.tensor([False, True])
    assert losses.cloning_loss(ACTION, DEMONSTRATED, better).item() == pytest.approx(1.0 / 2)  # not over the one left
    assert losses.cloning_loss(ACTION, DEMONSTRATED, ~better).item() == pytest.approx(0.25 / 2)


def objective(columns: dict[str, torch.Tensor], **settings: Any) -> dict[str, torch.Tensor]:
    """Equation 15 of those two rows, with Q 2 and -1 of what was done and 1 and 3 of what the policy would do."""
    batch = cast(Any, make_batch(2, axes=2))
    batch.action, batch.columns = DEMONSTRATED, columns
    own = torch.tensor([1.0, 3.0])
    return DDPGConfig(**settings).objective(batch, own, torch.tensor([2.0, -1.0]), ACTION, own)


def test_objective_on_two_rows_by_hand() -> None:
    assert {name: term.item() for name, term in objective({}).items()} == {"policy": -2.0}  # off by default
    terms = objective({}, bc_weight=4.0)
    assert terms["bc"].item() == pytest.approx(4.0 * 0.625)
    terms = objective({}, bc_weight=4.0, q_filter=True)  # Q prefers the first demonstration alone
    assert (terms["policy"].item(), terms["bc"].item()) == pytest.approx((-2.0, 4.0 * 0.25 / 2))
    only = {"demo": torch.tensor([1])}
    assert objective(only, bc_weight=4.0)["bc"].item() == pytest.approx(4.0)  # mean over the one demonstration
    assert objective(only, bc_weight=4.0, q_filter=True)["bc"].item() == 0.0
    assert "bc" not in objective({"demo": torch.zeros(0, dtype=torch.int64)}, bc_weight=4.0)
    assert objective({}, normalize_q=True)["policy"].item() == pytest.approx(-1.0)  # -2 / mean |Q| of 2


def test_the_filter_has_no_gradient_and_cloning_none_for_the_critic() -> None:
    action, q = ACTION.clone().requires_grad_(), torch.tensor([2.0, -1.0], requires_grad=True)
    batch = cast(Any, make_batch(2, axes=2))
    batch.action = DEMONSTRATED
    own = action.sum(1)
    terms = DDPGConfig(bc_weight=1.0, q_filter=True).objective(batch, own, q, action, own)
    found = torch.autograd.grad(terms["bc"], [action, q], allow_unused=True)
    assert found[1] is None and found[0] is not None
    torch.testing.assert_close(found[0], torch.tensor([[0.3, -0.4], [0.0, 0.0]]))  # 2 (a - a_demo) / 2 rows, or none


@pytest.mark.parametrize("clones", [False, True])
def test_losses_are_those_of_an_independent_computation(clones: bool) -> None:
    settings: dict[str, Any] = {"bc_weight": 2.0, "q_filter": True} if clones else {}
    demo = np.arange(16) % 2 == 0
    learner = learner_of("ddpg", BOUNDED, seed=3, **settings)
    given = {"demo": demo} if clones else {}
    train(learner, 4, rows=16, **given)
    batch = make_batch(16, seed=9, **given)
    algorithm, slow = cast(Any, learner.algorithm), cast(Any, learner.target["critic"])
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))
    done = torch.tensor(batch.action)
    with torch.no_grad():
        following = torch.tanh(learner.target["policy"](slow.encoder(then)))
        goes_on = (~torch.tensor(batch.terminated)).float()
        goal = torch.tensor(batch.reward) + learner.config.discount * goes_on * slow(then, following)[0]
        q = algorithm.critic(now, done)
        action = torch.tanh(algorithm.policy(algorithm.critic.encoder(now)))
        own = algorithm.critic(now, action)[0]
        cloned = ((action - done) ** 2).sum(1) * (q[0] > own)
    assert len(q) == 1  # one critic by default
    numbers = learner.update(batch, At(4))
    assert numbers["loss_q"] == pytest.approx(((q[0] - goal) ** 2).mean().item(), rel=1e-4)
    assert numbers["loss_policy"] == pytest.approx(-own.mean().item(), rel=1e-4)
    assert ("loss_bc" in numbers) == clones
    if clones:
        assert 0 < (q[0] > own)[demo].float().mean() < 1  # the filter has something to do
        assert numbers["loss_bc"] == pytest.approx(2.0 * cloned[torch.tensor(demo)].mean().item(), rel=1e-3)


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_cloning_needs_to_know_the_demonstrations(name: str) -> None:
    learner = learner_of(name, bc_weight=1.0)
    with pytest.raises(SettingsError, match="this agent needs 'demo'; ask a Replay for it"):
        learner.update(make_batch(), At(0))
    numbers = learner.update(make_batch(demo=np.arange(8) < 4), At(0))
    assert numbers["loss_bc"] > 0
    with pytest.raises(SettingsError, match="unknown column 'demo'"):
        learner_of(name).update(make_batch(demo=np.ones(8, bool)), At(0))


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_cloning_copies_good_demonstrations_and_the_filter_leaves_bad_ones(name: str) -> None:
    """The goal wants its 0.8; half of the rows are demonstrations, all of the wrong sign. Without the filter the policy
    stays between the two, with it it goes where Q says."""
    point = Spec({"state": Array((1,), "float32", -1.0, 1.0)}, (1,), 10.0, 1)

    def miss(**settings: Any) -> float:
        config = config_of(AGENTS[name], hidden=(32,), lr=1e-2, bc_weight=3.0, **settings)
        learner, rng = Learner(AGENTS[name], point, Vector(), config, 1), np.random.default_rng(0)
        for number in range(80):
            goal = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
            demo = np.arange(64) % 2 == 0
            action = np.where(demo[:, None], -0.8 * goal, rng.uniform(-1, 1, (64, 1))).astype(np.float32)
            reward, ends = 1.0 - np.abs(action - 0.8 * goal)[:, 0], np.ones(64, bool)
            seen = {"state": goal}
            batch = Batch(seen, action, reward, ends, seen, np.zeros(64, int), {"demo": demo})
            learner.update(batch, At(number))
        goal = np.linspace(-1, 1, 41, dtype=np.float32)[:, None]
        return float(np.abs(learner.act({"state": goal}) - 0.8 * goal).mean())

    filtered, all_of_them = miss(q_filter=True), miss()
    assert filtered < 0.25 and all_of_them > filtered + 0.2
