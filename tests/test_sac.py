"""What SAC promises: its losses against an independent computation, a temperature that seeks its entropy, images."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from lotj.agents import AGENTS, At, Learner, losses
from lotj.agents.sac import SACConfig, SquashedGaussian
from lotj.errors import SettingsError
from lotj.experience import PRACTISED, Batch
from lotj.spaces import Array, Spec
from small_agents import BOUNDED, PIXELS, config_of, learner_of, make_batch, noise_of, train


def test_density_of_the_squashed_gaussian_is_torchs() -> None:
    torch.manual_seed(0)
    policy, features = SquashedGaussian(4, SACConfig(hidden=(8,)), axes=3), torch.randn(64, 4)
    action, log_prob = policy.draw(features, torch.Generator().manual_seed(1))
    mean, log_std = policy(features)
    density = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    torch.testing.assert_close(log_prob, density.log_prob(action).sum(1), atol=1e-3, rtol=1e-4)


def test_density_by_hand_at_the_middle() -> None:
    policy = SquashedGaussian(1, SACConfig(hidden=(), log_std_range=(-1.0, 1.0)), axes=1)
    for parameter in policy.parameters():
        torch.nn.init.zeros_(parameter)  # mean 0, log std in the middle of its range: 0
    noise = torch.empty(1, 1).normal_(generator=torch.Generator().manual_seed(5)).item()
    action, log_prob = policy.draw(torch.zeros(1, 1), torch.Generator().manual_seed(5))
    assert action.item() == pytest.approx(math.tanh(noise))
    by_hand = -0.5 * math.log(2 * math.pi) - 0.5 * noise**2 - math.log(1 - math.tanh(noise) ** 2)
    assert log_prob.item() == pytest.approx(by_hand, abs=1e-4)


def test_losses_are_those_of_an_independent_computation() -> None:
    learner = learner_of("sac", BOUNDED, seed=3)
    train(learner, 4, rows=16)
    batch, generator = make_batch(16, seed=9), noise_of(3, update=4)
    next_noise, noise = (torch.empty(16, 3).normal_(generator=generator) for _ in range(2))
    algorithm, slow = cast(Any, learner.algorithm), learner.target["critic"]
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))

    def draw(seen: Any, standard: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = algorithm.policy(algorithm.critic.encoder(seen))
        raw = mean + log_std.exp() * standard
        jacobian = (1 - torch.tanh(raw) ** 2).log().sum(1)
        return torch.tanh(raw), Normal(mean, log_std.exp()).log_prob(raw).sum(1) - jacobian

    with torch.no_grad():
        alpha = algorithm.temperature.log.exp()
        next_action, next_log_prob = draw(then, next_noise)
        soft = slow(then, next_action).min(0).values - alpha * next_log_prob
        goal = torch.tensor(batch.reward) + learner.config.discount * (~torch.tensor(batch.terminated)).float() * soft
        q = algorithm.critic(now, torch.tensor(batch.action))
        action, log_prob = draw(now, noise)
        expected = {
            "loss_q": ((q[0] - goal) ** 2).mean() + ((q[1] - goal) ** 2).mean(),
            "loss_policy": (alpha * log_prob - algorithm.critic(now, action).min(0).values).mean(),
            "loss_temperature": alpha * (-log_prob.mean() + 3.0),  # one nat an axis less than none
            "target_mean": goal.mean(),
        }
    numbers = learner.update(batch, At(4))
    for name, number in expected.items():
        assert numbers[name] == pytest.approx(number.item(), rel=1e-3, abs=1e-4), name


def test_temperature_seeks_its_entropy() -> None:
    # log std is -2 at first: about 3 (1.42 - 2) = -1.7 nats before the squashing.
    for wanted, rises in ((-2.0, False), (1.0, True)):
        numbers = train(learner_of("sac", entropy_per_axis=wanted), 3)
        assert (numbers["temperature"] > 0.1) == rises


def test_entropy_is_asked_for_by_the_axis() -> None:
    one, many = (learner_of("sac", axes=axes, entropy_per_axis=-2.0) for axes in (1, 24))
    for learner, axes in ((one, 1), (many, 24)):
        numbers = learner.update(make_batch(axes=axes), At(0))
        assert numbers["loss_temperature"] == pytest.approx(0.1 * (numbers["entropy"] + 2.0 * axes), rel=1e-4)


def test_impossible_range_is_refused() -> None:
    with pytest.raises(SettingsError, match="the first must be below the second"):
        SACConfig(log_std_range=(1.0, 1.0))


# RLPD


def test_the_lowest_of_a_random_subset() -> None:
    """Of values 1, 2, 3 the lowest of two drawn is 1 in two of three draws, else 2; of all it is 1, of one each."""
    values, generator = torch.tensor([[1.0], [2.0], [3.0]]), torch.Generator().manual_seed(0)
    drawn = [losses.lowest(values, 2, generator).item() for _ in range(600)]
    assert set(drawn) == {1.0, 2.0} and abs(drawn.count(1.0) / 600 - 2 / 3) < 0.06
    assert {losses.lowest(values, 1, generator).item() for _ in range(60)} == {1.0, 2.0, 3.0}
    state = generator.get_state()
    assert losses.lowest(values, 0, generator).item() == 1.0
    assert torch.equal(state, generator.get_state())  # no number is used up


@pytest.mark.parametrize("backup", [False, True])
def test_rlpd_is_a_setting(backup: bool) -> None:
    """Ten critics that say 0 to 9: the target is the lowest of two, the policy raises the mean."""
    config = SACConfig.rlpd(hidden=(16,), critic_projection=16, critic_hidden=16, entropy_backup=backup, discount=0.9)
    assert (config.critics, config.target_critics, config.critic_layer_norm) == (10, 2, True)
    learner = Learner(AGENTS["sac"], learner_of("sac").spec, BOUNDED, config, 3)
    for critic in (cast(Any, learner.algorithm).critic, cast(Any, learner.target["critic"])):
        torch.nn.init.zeros_(critic.head.last.weight)
        critic.head.last.bias.data = torch.arange(10.0)[:, None, None]
    batch = make_batch(16)
    batch.reward[:], batch.terminated[:] = 0.0, False
    numbers = learner.update(batch, At(0))
    lowest = numbers["target_mean"] / 0.9  # the same two critics for all rows
    assert numbers["q_mean"] == pytest.approx(4.5)
    if backup:  # entropy is drawn anew for s', and of the same size
        lowest -= numbers["temperature"] * numbers["entropy"]
    assert abs(lowest - round(lowest)) < (0.4 if backup else 1e-5) and 0 <= round(lowest) <= 8
    assert numbers["loss_policy"] == pytest.approx(-numbers["temperature"] * numbers["entropy"] - 4.5, rel=1e-3)


def test_more_target_critics_than_critics_are_refused() -> None:
    with pytest.raises(SettingsError, match="sac target_critics 3: must be at most the number of critics, 2"):
        SACConfig(target_critics=3)


def test_learns_which_way_to_go_from_images() -> None:
    """A bright picture wants +0.6 along x, a dark one -0.6; each step is an episode of its own."""
    seen = Spec({"image": Array((1, 8, 8, 3), "uint8", 0, 255)}, (2,), 10.0, 1)
    learner = Learner(AGENTS["sac"], seen, PIXELS, config_of(AGENTS["sac"], lr=1e-2), 1)
    rng = np.random.default_rng(0)

    def pictures(rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        bright = rng.random(rows) < 0.5
        images = rng.integers(0, 60, (rows, 1, 8, 8, 3), dtype=np.uint8)
        images[bright, :, :4] += 180
        return {"image": images}, np.where(bright, 0.6, -0.6)

    def error() -> float:
        images, wanted = pictures(200)
        return float(np.abs(learner.act(images)[:, 0] - wanted).mean())

    untrained = error()
    for number in range(80):
        images, wanted = pictures(32)
        action = learner.act(images, 1.0, rng)
        reward = (1.0 - (action[:, 0] - wanted) ** 2).astype(np.float32)
        learner.update(Batch(images, action, reward, np.ones(32, bool), images, np.full(32, PRACTISED)), At(number))
    assert untrained > 0.5 and error() < 0.2
