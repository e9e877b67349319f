"""What IQL promises: its losses by hand and against an independent computation, and that it learns as theory says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from lotj.agents import AGENTS, At, Learner, losses
from lotj.agents.iql import IQLConfig
from lotj.errors import NumericsError, SettingsError
from lotj.experience import PRACTISED, Batch, Episode
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.front import Pixels, Vector
from lotj.spaces import Array, Spec
from small_agents import (
    OFF,
    PIXELS,
    config_of,
    learner_of,
    make_batch,
    on_features,
    same,
    train,
    weights,
)

PLAIN = BottleneckConfig(variant="erm", invariant_dim=16)


# Losses, by hand


@pytest.mark.parametrize(("u", "loss"), [(2.0, 0.7 * 4), (-2.0, 0.3 * 4), (0.0, 0.0)])
def test_an_expectile_weighs_what_lies_above(u: float, loss: float) -> None:
    assert losses.value_loss(torch.tensor([1.0]), torch.tensor([1.0 + u]), 0.7).item() == pytest.approx(loss)


def test_value_is_pulled_up_when_q_is_above_it() -> None:
    loss = losses.value_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 0.9)  # u = 1, -1
    assert loss.item() == pytest.approx((0.9 + 0.1) / 2)


def test_advantage_weights_are_clipped() -> None:
    weight = losses.advantage_weights(torch.tensor([-0.1, 0.0, 0.1, 5.0, 1e6]), scale=10.0, clip=20.0)
    torch.testing.assert_close(weight, torch.tensor([math.exp(-1), 1.0, math.e, 20.0, 20.0]))


def test_effective_share_of_the_rows() -> None:
    shares = [losses.effective_share(torch.tensor(w)).item() for w in ([2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 0.0, 0.0])]
    assert shares == pytest.approx([1.0, 0.25])
    assert losses.effective_share(torch.tensor([3.0, 1.0])).item() == pytest.approx(0.8)  # 16 / (2 * 10)


def test_log_probability() -> None:
    log_std = torch.log(torch.tensor([1.0, 0.5, 2.0]))
    value = losses.log_probability(torch.zeros(1, 3), log_std, torch.tensor([[0.0, 0.5, -2.0]]))
    # -(0 + 1/2 + 1/2) - (0 + ln .5 + ln 2) - 1.5 ln(2 pi)
    assert value.item() == pytest.approx(-1.0 - 1.5 * math.log(2 * math.pi))


def test_policy_loss_weighs_each_action() -> None:
    loss = losses.policy_loss(torch.tensor([-1.0, -3.0]), torch.tensor([2.0, 0.5]))
    assert loss.item() == pytest.approx((2.0 + 1.5) / 2)


def test_only_termination_cuts_the_bootstrap() -> None:
    batch = replace(
        make_batch(5),
        reward=torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]),
        terminated=torch.tensor([False, True, True, False, False]),
    )
    target = losses.td_target(batch, torch.tensor([0.5, 0.5, 0.5, 0.5, -1.0]), discount=0.9, bounds=(0.0, 1.0))
    # .9 * .5; 1 alone; 0 alone; 1.45 clamped; -.9 clamped
    torch.testing.assert_close(target, torch.tensor([0.45, 1.0, 0.0, 1.0, 0.0]))


def test_q_loss_sums_over_critics() -> None:
    loss = losses.q_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((1 + 1) / 2 + (0 + 1) / 2)


def test_position_loss_is_square_within_a_millimetre() -> None:
    loss = losses.position_loss(torch.tensor([[0.05, 0.3, 0.0]]), torch.tensor([[0.0, 0.0, -0.1]]))
    assert loss.item() == pytest.approx((0.05**2 / 0.2 + (0.3 - 0.05) + (0.1 - 0.05)) / 3)


# One update


@pytest.mark.parametrize("shared", [True, False])
def test_losses_are_those_of_an_independent_computation(shared: bool) -> None:
    changes = {"bottleneck": PLAIN, "advantage_scale": 7.0, "expectile": 0.8, "q_gradient_weight": 3.0}
    changes |= {"target_bounds": (-9.0, 9.0), "shared_critic_encoder": shared, "weight_clip": 2.0}
    learner = learner_of("iql", PIXELS, seed=3, **changes)
    train(learner, 4, rows=16)
    imitated = np.arange(16) % 3 > 0
    batch = make_batch(16, seed=9, imitate=imitated)
    now, then = (learner.front.bring(o, "cpu") for o in (batch.observation, batch.next_observation))
    action, done = torch.tensor(batch.action), torch.tensor(batch.terminated).float()
    algorithm, slow = cast(Any, learner.algorithm), learner.target["critic.q"]
    policy, critic = algorithm.policy, algorithm.critic
    with torch.no_grad():
        v_encoder = critic.q.encoder if shared else critic.v_encoder
        value, next_value = (critic.v(v_encoder(seen))[0] for seen in (now, then))
        q, target_q = critic.q(now, action), slow(now, action).min(0).values
        goal = torch.tensor(batch.reward) + learner.config.discount * (1 - done) * next_value
        u = target_q - value
        head = policy.head
        mean = torch.tanh(head.mean(policy.bottleneck.invariant(policy.encoder(now))))
        std = torch.exp(math.log(0.05) + math.log(20.0) * torch.sigmoid(head.spread))  # between 0.05 and 1
        weight = torch.exp(7.0 * u).clamp(max=2.0)
        expected = {
            "loss_v": (torch.abs(0.8 - (u < 0).float()) * u**2).mean(),
            "loss_q": ((q[0] - goal) ** 2).mean() + ((q[1] - goal) ** 2).mean(),
            "loss_policy": -(weight * Normal(mean, std).log_prob(action).sum(1))[torch.tensor(imitated)].mean(),
            "loss_q_gradient": -3.0 * slow(now, mean).min(0).values.mean(),
        }
    numbers = learner.update(batch, At(4))
    for name, number in expected.items():
        assert numbers[name] == pytest.approx(number.item(), rel=1e-4), name
    assert numbers["loss_daib"] == 0.0  # this variant has none


def test_update_reports_what_happened() -> None:
    numbers = learner_of("iql", PIXELS).update(make_batch(), At(0, progress=0.5))
    expected = {"loss_v", "loss_policy", "loss_daib", "loss_q", "kl", "domain_loss", "domain_accuracy"}
    expected |= {"advantage_mean", "advantage_std", "q_mean", "v_mean", "weight_mean", "weight_max", "weight_clipped"}
    expected |= {"weight_effective", "policy_std", "policy_error", "gradient_norm_policy", "gradient_norm_critic"}
    assert expected <= numbers.keys()
    assert numbers["weight_max"] <= 100.001 and numbers["policy_std"] == pytest.approx(0.4)


def test_policy_learns_from_its_rows_only_and_critics_from_all() -> None:
    batch, chosen = make_batch(), np.arange(8) < 4
    other = replace(batch, action=np.where(chosen[:, None], batch.action, -batch.action))
    after = []
    for one in (batch, other):
        learner = learner_of("iql", bottleneck=PLAIN)
        learner.update(replace(one, columns={"imitate": chosen}), At(0))
        after.append((weights(learner, "policy"), weights(learner, "critic")))
    assert same(after[0][0], after[1][0]) and not same(after[0][1], after[1][1])


def test_no_row_to_imitate_leaves_the_policy_alone() -> None:
    learner = learner_of("iql", PIXELS)
    before = weights(learner, "policy"), weights(learner, "critic")
    numbers = learner.update(make_batch(imitate=np.zeros(8, bool)), At(0))
    assert same(before[0], weights(learner, "policy")) and not same(before[1], weights(learner, "critic"))
    assert "loss_policy" not in numbers and "loss_daib" not in numbers


def test_what_is_practised_has_no_adversary() -> None:
    assert learner_of("iql").update(make_batch(task=PRACTISED), At(0))["domain_loss"] == 0.0


def test_on_features_equations_one_to_three_are_left() -> None:
    pixels = learner_of("iql", PIXELS, position_weight=10.0)
    assert pixels.needs == {"imitate", "position"}
    practising = pixels.on_features()
    assert practising.needs == {"imitate"}  # the truth has no door here
    batch = on_features(pixels, make_batch())
    following = {"feature/critic": batch.next_observation["feature/critic"]}  # V alone reads what follows
    batch = replace(batch, next_observation=following)
    numbers = practising.update(batch, At(0))
    assert {name for name in numbers if name.startswith("loss_")} == {"loss_v", "loss_q", "loss_policy"}
    with pytest.raises(SettingsError, match="column 'position'"):
        practising.update(replace(batch, columns={"position": np.zeros((8, 3), np.float32)}), At(1))


def test_update_on_features_is_the_update_on_images() -> None:
    """Half-precision storage of the features is all that differs, where the code is deterministic."""
    pixels = learner_of("iql", PIXELS, bottleneck=PLAIN)
    batch = make_batch()
    there = pixels.on_features().update(on_features(pixels, batch), At(0))
    here = pixels.update(batch, At(0))
    for name in ("loss_v", "loss_q", "loss_policy", "advantage_mean", "q_mean", "target_mean"):
        assert there[name] == pytest.approx(here[name], rel=5e-3, abs=5e-4), name


def test_q_gradient_pulls_the_mean_action_to_higher_q() -> None:
    batch, means = make_batch(), []
    for weight in (0.0, 50.0):
        learner = learner_of("iql", bottleneck=PLAIN, q_gradient_weight=weight, weight_clip=1.0)
        for number in range(20):
            learner.update(batch, At(number))
        now = learner.front.bring(batch.observation, "cpu")
        with torch.no_grad():
            means.append(learner.target["critic.q"](now, learner.algorithm(now)).mean().item())
    assert means[1] > means[0]


def test_q_gradient_teaches_what_is_never_imitated_and_its_weight_can_be_given_for_an_update() -> None:
    """Reward is 1 where the action goes along +x and 0 along -x, and no row is to be imitated: what Q has learnt is all
    that the policy can learn from. By the gradient it goes along +x; without, it stays."""
    batch = make_batch(rows=64, imitate=np.zeros(64, bool))
    batch = replace(batch, reward=(batch.action[:, 0] > 0).astype(np.float32), terminated=np.ones(64, bool))
    learner = learner_of("iql", bottleneck=PLAIN, q_gradient_weight=10.0)
    actor, before = weights(learner, "policy"), learner.act(batch.observation)[:, 0].mean()
    for number in range(60):
        numbers = learner.update(batch, At(number, lr=1e-2, weights={"q_gradient": 0.0}))
    assert "loss_policy" not in numbers and "loss_q_gradient" not in numbers
    assert same(actor, weights(learner, "policy"))
    for number in range(60, 100):
        numbers = learner.update(batch, At(number, lr=1e-2, weights={"q_gradient": 1.0}))
    assert numbers["loss_q_gradient"] < -8.0  # Q of the mean action is above 0.8 of the largest 1
    assert learner.act(batch.observation)[:, 0].mean() > max(0.3, before + 0.2)


def test_paper_preset_has_three_independent_encoders() -> None:
    pixels, config = Pixels.paper(), IQLConfig.paper()
    assert (pixels.resnet.width, pixels.resnet.stages, pixels.feature_channels) == (64, 4, 0)
    small = replace(pixels, resnet=replace(PIXELS.resnet, norm="batch"), augment=OFF, half_precision=False)
    learner = learner_of("iql", small, shared_critic_encoder=config.shared_critic_encoder)
    train(learner, 1)
    assert list(learner.encode(make_batch().observation)) == ["feature/policy", "feature/q", "feature/v"]
    learner.on_features().update(on_features(learner, make_batch()), At(1))


@pytest.mark.parametrize(("name", "value"), [("expectile", 1.0), ("weight_clip", 0.0), ("advantage_scale", -1.0)])
def test_impossible_settings(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"iql {name} {value}: must be"):
        IQLConfig(**{name: value})  # type: ignore[arg-type]


# Where the plug is


def seen_plugs(rows: int, seed: int) -> Batch:
    """Plugs as bright squares in both views, 1 mm a pixel, and where they are."""
    rng = np.random.default_rng(seed)
    place = np.column_stack([rng.integers(-6, 6, rows), rng.integers(-2, 3, rows)])
    images = np.zeros((rows, 2, 8, 16, 3), np.uint8)
    for image, (x, y) in zip(images, place + (8, 4), strict=True):
        image[:, y - 1 : y + 2, x - 1 : x + 2] = 255
    position = np.column_stack([place * 1e-3, np.full(rows, 5e-3)]).astype(np.float32)
    return replace(
        make_batch(rows, seed, position=position), observation={"image": images}, next_observation={"image": images}
    )


def test_features_learn_to_tell_where_the_plug_is() -> None:
    learner, sums = learner_of("iql", PIXELS, position_weight=10.0), []
    for step in range(40):
        numbers = learner.update(seen_plugs(32, step), At(step, lr=3e-3))
        sums.append((numbers["loss_policy_position"] + numbers["loss_q_position"]) / 10.0)  # of both heads
    assert sums[0] > 0.3  # a plug is 3 mm beside on the mean
    assert np.mean(sums[-5:]) < 0.1  # 0.03 to 0.04 with three seeds


def test_positions_are_learnt_from_only_where_they_are_known_and_wanted() -> None:
    learner, batch = learner_of("iql", PIXELS, position_weight=10.0), seen_plugs(8, 0)
    assert "loss_q_position" in learner.update(batch, At(0))
    assert "loss_q_position" not in learner.update(replace(batch, columns={}), At(1))
    with pytest.raises(SettingsError, match="column 'position'"):
        learner_of("iql", PIXELS, position_weight=0.0).update(batch, At(0))
    with pytest.raises(NumericsError, match="position"):
        learner.update(replace(batch, columns={"position": np.full((8, 3), np.nan, np.float32)}), At(2))


# Does it learn?


def chain(length: int) -> list[Episode]:
    """A corridor of cells: along +x to the next, else back; the last is the goal, which pays 1 and ends the task.
    Every step has been tried; the way to the goal was never gone at once, for a limit cut it off in the middle."""

    def episode(cells: list[int], **end: bool) -> Episode:
        moves = np.diff(cells)
        return Episode(
            observation={"state": np.eye(length + 1, dtype=np.float32)[cells]},
            action=np.where(moves > 0, 0.5, -0.5).astype(np.float32)[:, None],
            reward=(np.array(cells[1:]) == length).astype(np.float32),
            task="corridor",
            kind="walk",
            seed=0,
            terminated=end.get("terminated", False),
            truncated=end.get("truncated", False),
        )

    middle = length // 2
    forth = episode(list(range(middle + 1)), truncated=True)
    on = episode(list(range(middle, length + 1)), terminated=True)
    back = episode([*range(length - 1, -1, -1), 0], truncated=True)
    return [forth, on, back]


def transitions(episodes: list[Episode]) -> Batch:
    def joined(read: Callable[[Episode], np.ndarray]) -> np.ndarray:
        return np.concatenate([read(episode) for episode in episodes])

    ends = [np.arange(1, len(e) + 1) == (len(e) if e.terminated else 0) for e in episodes]
    return Batch(
        {"state": joined(lambda e: e.observation["state"][:-1])},
        joined(lambda e: e.action),
        joined(lambda e: e.reward),
        np.concatenate(ends),
        {"state": joined(lambda e: e.observation["state"][1:])},
        np.zeros(sum(map(len, episodes)), int),
    )


def test_value_reaches_the_discounted_goal_through_a_time_out_in_the_middle() -> None:
    length, discount = 4, 0.8
    corridor = Spec({"state": Array((length + 1,), "float32", -math.inf, math.inf)}, (1,), 10.0, 20)
    config = config_of(
        AGENTS["iql"], bottleneck=PLAIN, expectile=0.95, discount=discount, ema=0.2, hidden=(32,), critic_hidden=32
    )
    learner, batch = Learner(AGENTS["iql"], corridor, Vector(), config, 1), transitions(chain(length))
    assert batch.terminated.sum() == 1 and len(batch) == 2 + 2 + 4
    for number in range(250):
        learner.update(batch, At(number, lr=1e-2))
    cells = {"state": np.eye(length + 1, dtype=np.float32)[:length]}
    expected = discount ** np.arange(length - 1, -1, -1)  # 0.51, 0.64, 0.8, 1
    np.testing.assert_allclose(learner.value(cells), expected, atol=0.06)
    assert (learner.act(cells) > 0.2).all()  # every cell has its best action in the data


STEPS = 6
REACH = 1.5
"""The dot is on its goal within this distance [pixels]."""
SIZE = 16


class DotWorld:
    """A red dot is to be moved onto a green one, at most 2 pixels a step, 6 steps. Both lie anywhere in the picture."""

    def __init__(self, seed: int, worlds: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.goal = self.rng.uniform(2, SIZE - 3, (worlds, 2))
        self.dot = self.rng.uniform(2, SIZE - 3, (worlds, 2))

    def observe(self) -> dict[str, np.ndarray]:
        images = np.full((len(self.dot), 1, SIZE, SIZE, 3), 40, np.uint8)
        axis = np.arange(SIZE)
        for place, channel in ((self.goal, 1), (self.dot, 0)):
            distance = np.hypot(axis[:, None] - place[:, 1, None, None], axis - place[:, 0, None, None])
            images[:, 0, ..., channel] = np.maximum(images[:, 0, ..., channel], 255 * np.exp(-(distance**2) / 3))
        return {"image": images}

    def good_actions(self) -> np.ndarray:
        return np.clip((self.goal - self.dot) / 2, -1, 1).astype(np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        self.dot = np.clip(self.dot + 2 * action, 0, SIZE - 1)
        return self.reached()

    def reached(self) -> np.ndarray:
        return np.linalg.norm(self.dot - self.goal, axis=1) < REACH


def dot_data(worlds: int) -> list[np.ndarray]:
    """Before, action, reached, after: a behaviour whose actions are good with probability 0.3, otherwise random."""
    world = DotWorld(0, worlds)
    parts = []
    for _ in range(STEPS):
        running = ~world.reached()
        before = world.observe()["image"]
        random = world.rng.uniform(-1, 1, (worlds, 2)).astype(np.float32)
        action = np.where(world.rng.random((worlds, 1)) < 0.3, world.good_actions(), random)
        reached = world.step(action)
        parts.append([values[running] for values in (before, action, reached, world.observe()["image"])])
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def success_rate(choose: Callable[[DotWorld], np.ndarray]) -> float:
    world = DotWorld(99, 200)
    done = world.reached()
    for _ in range(STEPS):
        done = done | world.step(np.where(done[:, None], 0, choose(world)))
    return float(done.mean())


def test_learns_to_move_the_dot_from_mixed_data() -> None:
    data, rng = dot_data(worlds=400), np.random.default_rng(1)
    still = dict.fromkeys(("shift", "contrast", "saturation", "hue", "grey", "gradient"), 0)
    front = replace(PIXELS, feature_channels=8, augment=AugmentConfig(brightness=0.2, **still))
    config = config_of(
        AGENTS["iql"],
        bottleneck=BottleneckConfig(invariant_dim=32, specific_dim=8, domain_hidden=(16,)),
        hidden=(32,),
        critic_projection=32,
        critic_hidden=32,
        advantage_scale=20.0,
        discount=0.9,
        position_weight=0.0,
    )
    seen = Spec({"image": Array((1, SIZE, SIZE, 3), "uint8", 0, 255)}, (2,), 10.0, STEPS)
    learner, steps = Learner(AGENTS["iql"], seen, front, config, 1), 300
    for step in range(steps):
        index = rng.integers(len(data[0]), size=64)
        before, action, reached, after = (values[index] for values in data)
        reward = reached.astype(np.float32)
        batch = Batch({"image": before}, action, reward, reached, {"image": after}, np.zeros(64, int))
        learner.update(batch, At(step, step / steps, lr=2e-3 * (1 - step / steps)))
    behaviour = success_rate(
        lambda world: np.where(rng.random((200, 1)) < 0.3, world.good_actions(), rng.uniform(-1, 1, (200, 2)))
    )
    learnt = success_rate(lambda world: learner.act(world.observe()))
    assert behaviour < 0.65
    assert learnt > 0.7  # 0.72 to 0.99 with four seeds; without weights 0.37: the mean action is too slow
