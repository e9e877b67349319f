"""What IQL promises: its losses by hand, bootstrapping, exact states, frozen convolutions, and that it learns."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lotj.agents import IQL, IQLConfig, losses
from lotj.agents.sac import SAC, SACConfig
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import Batch
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig, to_tensor
from lotj.nets.generator import restore_generator

SIZE = 16
TINY = IQLConfig(
    encoder=EncoderConfig(image_size=SIZE, width=8, stages=1),
    bottleneck=BottleneckConfig(invariant_dim=16, specific_dim=4, domain_hidden=(16,)),
    feature_channels=4,
    hidden=(16,),
    critic_projection=16,
    critic_hidden=16,
    half_precision=False,
    position_weight=0.0,
)
PLAIN = replace(TINY, augment=AugmentConfig(enabled=False), bottleneck=replace(TINY.bottleneck, variant="erm"))


def make_batch(rows: int = 8, seed: int = 0, domain: int | None = None) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, rows, SIZE, SIZE, 3), dtype=np.uint8)
    done = rng.random(rows) < 0.3
    return Batch(
        observation=images[0],
        action=rng.uniform(-1, 1, (rows, 3)).astype(np.float32),
        reward=done.astype(np.float32),
        terminated=done,
        truncated=np.zeros(rows, bool),
        next_observation=images[1],
        domain=rng.integers(0, 3, rows) if domain is None else np.full(rows, domain),
    )


def weights(agent: IQL) -> dict[str, torch.Tensor]:
    state = agent.state_dict()["modules"]
    return {f"{part}.{name}": value.clone() for part, values in state.items() for name, value in values.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], part: str = "") -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one if part in name)


def cached(agent: IQL, batch: Batch) -> Batch:
    return replace(
        batch, observation=agent.encode(batch.observation), next_observation=agent.encode(batch.next_observation)
    )


# Losses, by hand


def test_expectile_loss():
    loss = losses.expectile_loss(torch.tensor([2.0, -2.0, 0.0]), 0.7)  # .7 * 4, .3 * 4
    torch.testing.assert_close(loss, torch.tensor([2.8, 1.2, 0.0]))


def test_value_is_pulled_up_when_q_is_above_it():
    loss = losses.value_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 0.9)  # u = 1, -1
    assert loss.item() == pytest.approx((0.9 + 0.1) / 2)


def test_advantage_weights_are_clipped():
    weight = losses.advantage_weights(torch.tensor([-0.1, 0.0, 0.1, 5.0, 1e6]), scale=10.0, clip=20.0)
    torch.testing.assert_close(weight, torch.tensor([math.exp(-1), 1.0, math.e, 20.0, 20.0]))


def test_effective_share_of_the_rows():
    shares = [losses.effective_share(torch.tensor(w)).item() for w in ([2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 0.0, 0.0])]
    assert shares == pytest.approx([1.0, 0.25])
    assert losses.effective_share(torch.tensor([3.0, 1.0])).item() == pytest.approx(0.8)  # 16 / (2 * 10)


def test_log_probability():
    log_std = torch.log(torch.tensor([1.0, 0.5, 2.0]))
    value = losses.log_probability(torch.zeros(1, 3), log_std, torch.tensor([[0.0, 0.5, -2.0]]))
    # -(0 + 1/2 + 1/2) - (0 + ln .5 + ln 2) - 1.5 ln(2 pi)
    assert value.item() == pytest.approx(-1.0 - 1.5 * math.log(2 * math.pi))


def test_policy_loss_weighs_each_action():
    loss = losses.policy_loss(torch.tensor([-1.0, -3.0]), torch.tensor([2.0, 0.5]))
    assert loss.item() == pytest.approx((2.0 + 1.5) / 2)


def test_only_termination_cuts_the_bootstrap():
    target = losses.td_target(
        reward=torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]),
        terminated=torch.tensor([False, True, True, False, False]),
        next_value=torch.tensor([0.5, 0.5, 0.5, 0.5, -1.0]),
        discount=0.9,
        bounds=(0.0, 1.0),
    )
    # .9 * .5; 1 alone; 0 alone; 1.45 clamped; -.9 clamped
    torch.testing.assert_close(target, torch.tensor([0.45, 1.0, 0.0, 1.0, 0.0]))


def test_q_loss_sums_over_critics():
    loss = losses.q_loss(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((1 + 1) / 2 + (0 + 1) / 2)


def test_position_loss_is_square_within_a_millimetre():
    loss = losses.position_loss(torch.tensor([[0.05, 0.3, 0.0]]), torch.tensor([[0.0, 0.0, -0.1]]))
    assert loss.item() == pytest.approx((0.05**2 / 0.2 + (0.3 - 0.05) + (0.1 - 0.05)) / 3)


# One update


def test_truncation_changes_nothing_and_termination_does():
    batch = make_batch()
    truncated = replace(batch, truncated=np.ones(8, bool))
    ended = replace(batch, terminated=np.ones(8, bool))
    after = []
    for one in (batch, truncated, ended):
        agent = IQL(PLAIN, 3)
        agent.critic.v.last.bias.data.fill_(0.5)  # a value worth bootstrapping from
        agent.update(one)
        after.append(weights(agent))
    assert same(after[0], after[1])
    assert not same(after[0], after[2], "critic.q")


def test_target_follows_at_the_rate_of_the_average():
    agent = IQL(replace(PLAIN, ema=0.25), 3)
    target, online = agent.target.head.projection.weight, agent.critic.q.projection.weight
    with torch.no_grad():
        target.fill_(0.0)
        online.fill_(1.0)
    agent.target.follow(0.25, encoder_too=True)
    assert (target == 0.25).all()
    agent.target.follow(0.25, encoder_too=True)
    assert (target == 0.4375).all()  # .25 + .25 * .75
    assert not any(parameter.requires_grad for parameter in agent.target.parameters())


def test_update_reports_what_happened():
    agent = IQL(TINY, 3)
    numbers = agent.update(make_batch(), progress=0.5)
    losses_in_order = [name for name in numbers if name.startswith("loss_")]
    assert losses_in_order == ["loss_v", "loss_policy", "loss_daib", "loss_q"]
    expected = {"kl", "domain_loss", "domain_accuracy", "advantage_mean", "advantage_std", "q_mean", "v_mean"}
    expected |= {"weight_mean", "weight_max", "weight_clipped", "policy_std", "gradient_norm_policy"}
    assert expected <= numbers.keys()
    assert all(type(number) is float and math.isfinite(number) for number in numbers.values())
    assert numbers["weight_max"] <= 100.001
    assert agent.updates == 1


def test_learning_rate_of_zero_learns_nothing():
    agent = IQL(replace(TINY, ema=1.0), 3)
    before = weights(agent)
    agent.update(make_batch(), lr=0.0)
    assert same(before, weights(agent))


def test_advantage_scale_can_be_given_for_an_update():
    one, other = IQL(replace(TINY, advantage_scale=3.0), 3), IQL(TINY, 3)
    assert one.update(make_batch()) == other.update(make_batch(), advantage_scale=3.0)
    assert one.update(make_batch()) != other.update(make_batch())


def test_gradient_is_clipped_for_policy_and_critics_apart():
    agent = IQL(replace(TINY, gradient_clip=1e-3), 3)
    numbers = agent.update(make_batch())
    assert numbers["gradient_norm_policy"] > 1e-3  # reported as it was before
    for module in (agent.actor, agent.critic):
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in module.parameters() if p.grad is not None))
        assert norm == pytest.approx(1e-3, rel=1e-3)


def test_policy_learns_from_its_rows_only_and_critics_from_all():
    batch = make_batch(rows=8)
    rows = np.arange(8) < 4
    other = replace(batch, action=np.where(rows[:, None], batch.action, -batch.action))
    after = []
    for one in (batch, other):
        agent = IQL(PLAIN, 3)
        agent.update(replace(one, policy=rows))
        after.append(weights(agent))
    assert same(after[0], after[1], "actor")
    assert not same(after[0], after[1], "critic.q")


def test_no_policy_row_leaves_the_policy_alone():
    agent = IQL(TINY, 3)
    before = weights(agent)
    numbers = agent.update(replace(make_batch(), policy=np.zeros(8, bool)))
    assert same(before, weights(agent), "actor")
    assert not same(before, weights(agent), "critic")
    assert "loss_policy" not in numbers


def test_images_of_the_practised_domain_are_not_augmented():
    practised, prior = make_batch(domain=-1), make_batch(domain=0)
    numbers = {}
    for name, config in (("augmented", replace(PLAIN, augment=AugmentConfig())), ("plain", PLAIN)):
        numbers[name] = [IQL(config, 3).update(batch)["q_mean"] for batch in (practised, prior)]
    assert numbers["augmented"][0] == numbers["plain"][0]
    assert numbers["augmented"][1] != numbers["plain"][1]


def test_unknown_domains_have_no_adversary():
    numbers = IQL(TINY, 3).update(make_batch(domain=-1), progress=1.0)
    assert numbers["domain_loss"] == 0.0


def test_minimum_over_a_random_few_of_many_critics():
    agent = IQL(replace(PLAIN, critics=5, critics_in_minimum=2), 3)
    q = torch.arange(5.0)[:, None].expand(5, 7)
    drawn = {agent._minimum(q)[0].item() for _ in range(200)}
    assert drawn == {0.0, 1.0, 2.0, 3.0}  # the smaller of two different ones is never 4
    agent.update(make_batch())


def test_q_gradient_pulls_the_mean_action_to_higher_q():
    batch = make_batch()
    means = []
    for weight in (0.0, 50.0):
        agent = IQL(replace(PLAIN, q_gradient_weight=weight, normalise_weights=True), 3)
        for _ in range(20):
            agent.update(batch, lr=1e-3)
        with torch.no_grad():
            pixels = to_tensor(batch.observation, "cpu")
            features = agent.critic.encoder("critic")(pixels)
            means.append(agent.target.head(features, agent.actor(pixels)).mean().item())
    assert means[1] > means[0]


def test_q_gradient_teaches_what_is_never_imitated():
    """Reward is 1 where the action goes along +x and 0 along -x, and no row is to be imitated: what Q has learnt is all
    that the policy can learn from. By the gradient it goes along +x; without, it stays."""
    batch = make_batch(rows=64)
    batch = replace(batch, reward=(batch.action[:, 0] > 0).astype(np.float32), policy=np.zeros(64, bool))
    batch = replace(batch, terminated=np.ones(64, bool))
    agent = IQL(replace(PLAIN, q_gradient_weight=0.0), 3)
    actor = {name: value for name, value in weights(agent).items() if name.startswith("actor.")}
    before = agent.act(batch.observation)[:, 0].mean()
    for _ in range(100):
        numbers = agent.update(batch, lr=3e-3)
    assert "loss_policy" not in numbers and "loss_q_of_mean" not in numbers
    learnt = weights(agent)
    assert all(torch.equal(learnt[name], value) for name, value in actor.items() if "head" in name)
    for _ in range(100):
        numbers = agent.update(batch, lr=3e-3, q_gradient_weight=10.0)
    assert numbers["loss_q_of_mean"] < -8.0  # Q of the mean action is above 0.8 of the largest 1
    assert agent.act(batch.observation)[:, 0].mean() > max(0.3, before + 0.2)


def test_paper_preset_has_three_independent_encoders():
    config = replace(IQLConfig.paper(), encoder=replace(TINY.encoder, norm="batch"), half_precision=False)
    agent = IQL(config, 3)
    agent.update(make_batch())
    assert list(agent.encode(make_batch().observation)) == ["policy", "q", "v"]
    assert {name: IQLConfig.paper().encoder.__dict__[name] for name in ("width", "stages", "image_size")} == {
        "width": 64,
        "stages": 4,
        "image_size": 96,
    }
    agent.freeze_convolutions()
    agent.update(cached(agent, make_batch()))


# Acting


def test_actions_are_deterministic_and_in_range():
    agent = IQL(TINY, 3)
    images = make_batch(rows=5).observation
    action = agent.act(images)
    assert action.shape == (5, 3) and action.dtype == np.float32 and (abs(action) <= 1).all()
    np.testing.assert_array_equal(action, agent.act(images))


def test_exploration_is_drawn_from_the_policy_and_clipped():
    agent = IQL(replace(TINY, initial_std=1.0), 3)
    images = np.repeat(make_batch(rows=1).observation, 2000, axis=0)
    noisy = agent.act(images, explore=True, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(noisy, agent.act(images, True, torch.Generator().manual_seed(1)))
    assert (abs(noisy) <= 1).all() and 0.2 < (abs(noisy) == 1).mean() < 0.5  # N(0, 1): 32 % beyond
    with pytest.raises(ValueError, match="Generator"):
        agent.act(images, explore=True)


def test_features_are_as_good_as_images():
    agent = IQL(TINY, 3)
    images = make_batch(rows=5).observation
    features = agent.encode(images)
    assert {name: (f.shape, f.dtype) for name, f in features.items()} == {
        name: ((5, 4 * 4 * 4), torch.float16) for name in ("policy", "critic")
    }
    np.testing.assert_array_equal(agent.act(features), agent.act(images))
    np.testing.assert_array_equal(agent.value({k: f.numpy() for k, f in features.items()}), agent.value(images))
    assert agent.encode(images[:0])["policy"].shape == (0, 64)
    with pytest.raises(ValueError, match="lack 'policy'"):
        agent.act({"critic": features["critic"]})


def test_augmented_features_come_from_the_given_generator():
    agent = IQL(TINY, 3)
    images = make_batch().observation
    one, other = (agent.encode(images, augment=True, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one["policy"], other["policy"])
    assert not torch.equal(one["policy"], agent.encode(images)["policy"])


# Frozen convolutions


def test_frozen_convolutions_stay_bit_for_bit():
    agent = IQL(replace(TINY, encoder=replace(TINY.encoder, norm="batch"), weight_decay=0.1), 3)
    agent.update(make_batch())
    agent.freeze_convolutions()
    before = weights(agent)
    for seed in range(3):
        agent.update(make_batch(seed=seed))
        agent.update(cached(agent, make_batch(seed=seed)))
    after = weights(agent)
    assert same(before, after, "encoder")
    assert not same(before, after, "actor.head") and not same(before, after, "critic.q.projection")
    agent.freeze_convolutions(False)
    agent.update(make_batch())
    assert not same(before, weights(agent), "actor.encoder") and not same(before, weights(agent), "critic.encoder")


def test_update_on_features_is_the_update_on_images():
    """Half-precision storage of the features is all that differs."""
    one, other = (IQL(replace(TINY, augment=AugmentConfig(enabled=False)), 3) for _ in range(2))
    for agent in (one, other):
        agent.freeze_convolutions()
    batch = make_batch()
    a, b = one.update(batch), other.update(cached(other, batch))
    assert a.keys() == b.keys() and "loss_daib" not in a
    assert a == pytest.approx(b, rel=2e-3, abs=2e-4)


def test_features_need_frozen_convolutions():
    agent = IQL(TINY, 3)
    with pytest.raises(ValueError, match="freeze_convolutions"):
        agent.update(cached(agent, make_batch()))


def test_next_features_of_the_policy_are_not_needed():
    agent = IQL(TINY, 3)
    agent.freeze_convolutions()
    batch = cached(agent, make_batch())
    del batch.next_observation["policy"]
    agent.update(batch)


# State


@pytest.mark.parametrize("frozen", [False, True])
def test_loaded_agent_continues_identically(frozen):
    agent = IQL(TINY, 3, seed=5)
    for seed in range(3):
        agent.update(make_batch(seed=seed), progress=0.5)
    agent.freeze_convolutions(frozen)
    agent.update(make_batch(seed=8))
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    twin = IQL.restore(torch.load(file, weights_only=True))
    assert twin.frozen == frozen and twin.updates == 4 and twin.config == agent.config
    for seed in range(3, 6):
        assert agent.update(make_batch(seed=seed), 0.6) == twin.update(make_batch(seed=seed), 0.6)
    assert same(weights(agent), weights(twin))


def test_same_seed_same_agent_whatever_ran_before():
    one = IQL(TINY, 3, seed=1)
    torch.rand(10)
    other = IQL(TINY, 3, seed=1)
    state = torch.get_rng_state()
    assert one.update(make_batch()) == other.update(make_batch())
    assert same(weights(one), weights(other))
    assert not same(weights(one), weights(IQL(TINY, 3, seed=2)))
    assert torch.equal(state, torch.get_rng_state())  # and nobody else's random numbers are used up


def test_settings_can_change_on_restoring_but_not_shapes():
    state = IQL(TINY, 3).state_dict()
    assert IQL.restore(state, lr=1e-3, advantage_scale=7.0).config == replace(TINY, lr=1e-3, advantage_scale=7.0)
    with pytest.raises(CheckpointError, match="other networks"):
        IQL.restore(state, critic_hidden=8)


def test_checkpoint_of_something_else_is_refused():
    state = IQL(TINY, 3).state_dict()
    bigger = replace(TINY, encoder=replace(TINY.encoder, image_size=32))
    with pytest.raises(CheckpointError, match="16 px images where 32 px"):
        IQL(bigger, 3).load_state_dict(state)
    with pytest.raises(CheckpointError, match="3 domains, data of 4"):
        IQL(TINY, 4).load_state_dict(state)
    with pytest.raises(CheckpointError, match="format 99"):
        IQL(TINY, 3).load_state_dict({**state, "format": 99})
    with pytest.raises(CheckpointError, match="made for"):
        IQL(TINY, 3).act(np.zeros((1, 32, 32, 3), np.uint8))


# Bad numbers


@pytest.mark.parametrize("where", ["action", "reward", "observation", "next_observation"])
def test_nan_batch_is_named_and_leaves_the_agent_as_it_was(where):
    agent, twin = IQL(TINY, 3), IQL(TINY, 3)
    for one in (agent, twin):
        one.update(make_batch())
        one.freeze_convolutions()
    good = cached(agent, make_batch(seed=1))
    bad = cached(agent, make_batch(seed=2))
    if where in ("action", "reward"):
        getattr(bad, where)[3] = np.nan
    else:
        getattr(bad, where)["critic"][3, 5] = float("nan")
    with pytest.raises(NumericsError, match=where.replace("_", " ")):
        agent.update(bad)
    assert agent.update(good) == twin.update(good)
    assert same(weights(agent), weights(twin))


def test_broken_weights_are_noticed_and_the_loss_is_named():
    agent = IQL(TINY, 3)
    agent.critic.v.last.bias.data.fill_(float("inf"))
    with pytest.raises(NumericsError, match="loss_v of update 1"):
        agent.update(make_batch())
    assert agent.updates == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expectile", 1.0),
        ("discount", 1.1),
        ("ema", -0.1),
        ("lr", 0.0),
        ("weight_clip", 0.0),
        ("gradient_clip", -1.0),
        ("critics_in_minimum", 3),
        ("std_range", (0.5, 1.0)),
    ],
)
def test_impossible_settings(name, value):
    with pytest.raises(SettingsError, match=name):
        replace(TINY, **{name: value})


# Does it learn?

STEPS = 6
REACH = 1.5
"""The dot is on its goal within this distance [pixels]."""


class DotWorld:
    """A red dot is to be moved onto a green one, at most 2 pixels a step, 6 steps. Both lie anywhere in the picture."""

    def __init__(self, seed: int, worlds: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.goal = self.rng.uniform(2, SIZE - 3, (worlds, 2))
        self.dot = self.rng.uniform(2, SIZE - 3, (worlds, 2))

    def images(self) -> np.ndarray:
        images = np.full((len(self.dot), SIZE, SIZE, 3), 40, np.uint8)
        axis = np.arange(SIZE)
        for place, channel in ((self.goal, 1), (self.dot, 0)):
            distance = np.hypot(axis[:, None] - place[:, 1, None, None], axis - place[:, 0, None, None])
            images[..., channel] = np.maximum(images[..., channel], 255 * np.exp(-(distance**2) / 3))
        return images

    def good_actions(self) -> np.ndarray:
        way = np.clip((self.goal - self.dot) / 2, -1, 1)
        return np.concatenate([way, np.zeros((len(way), 1))], axis=1).astype(np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        self.dot = np.clip(self.dot + 2 * action[:, :2], 0, SIZE - 1)
        return self.reached()

    def reached(self) -> np.ndarray:
        return np.linalg.norm(self.dot - self.goal, axis=1) < REACH


def dot_data(worlds: int) -> Batch:
    """Transitions of a behaviour whose actions are good with probability 0.3 and random otherwise."""
    world = DotWorld(0, worlds)
    parts = []
    for _ in range(STEPS):
        running = ~world.reached()
        before = world.images()
        random = world.rng.uniform(-1, 1, (worlds, 3)).astype(np.float32)
        action = np.where(world.rng.random((worlds, 1)) < 0.3, world.good_actions(), random)
        reached = world.step(action)
        parts.append([values[running] for values in (before, action, reached, world.images())])
    before, action, reached, after = (np.concatenate(values) for values in zip(*parts, strict=True))
    none = np.zeros(len(action), bool)
    return Batch(before, action, reached.astype(np.float32), reached, none, after, none.astype(np.int64))


def rows_of(data: Batch, index: np.ndarray) -> Batch:
    held = {name: getattr(data, name) for name in Batch.__dataclass_fields__}
    return Batch(**{name: values[index] for name, values in held.items() if values is not None})


def success_rate(choose) -> float:
    world = DotWorld(99, 200)
    done = world.reached()
    for _ in range(STEPS):
        done = done | world.step(np.where(done[:, None], 0, choose(world)))
    return float(done.mean())


def test_learns_to_move_the_dot_from_mixed_data():
    data, rng = dot_data(worlds=400), np.random.default_rng(1)
    config = replace(
        TINY,
        augment=AugmentConfig(shift=0, brightness=0.2, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0, gradient=0.0),
        bottleneck=BottleneckConfig(invariant_dim=32, specific_dim=8, domain_hidden=(16,)),
        feature_channels=8,
        hidden=(32,),
        critic_projection=32,
        critic_hidden=32,
        advantage_scale=20.0,
        discount=0.9,
        ema=0.02,
    )
    agent = IQL(config, domains=1)
    steps = 300
    for step in range(steps):
        agent.update(rows_of(data, rng.integers(len(data), size=64)), step / steps, lr=2e-3 * (1 - step / steps))
    behaviour = success_rate(
        lambda world: np.where(rng.random((200, 1)) < 0.3, world.good_actions(), rng.uniform(-1, 1, (200, 3)))
    )
    learnt = success_rate(lambda world: agent.act(world.images()))
    assert behaviour < 0.65
    assert learnt > 0.85  # 0.97; without weights (an advantage scale of 0) it is 0.37: the mean action is too slow


# Devices


def test_random_numbers_go_on_on_another_kind_of_device():
    def numbers(state: torch.Tensor) -> list[float]:
        generator = torch.Generator()
        restore_generator(generator, state)
        return torch.rand(3, generator=generator).tolist()

    kept = torch.Generator().manual_seed(3)
    state = kept.get_state()
    assert numbers(state) == torch.rand(3, generator=kept).tolist()
    of_a_gpu = torch.arange(16, dtype=torch.uint8)  # seed and offset
    assert numbers(of_a_gpu) == numbers(of_a_gpu.clone()) != numbers(of_a_gpu + 1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [IQL, SAC])
def test_what_a_gpu_has_learnt_acts_and_learns_on_without_one(kind: type[IQL] | type[SAC]) -> None:
    config = TINY if kind is IQL else SACConfig.of(TINY)
    there = kind(config, domains=3, device="cuda")  # type: ignore[arg-type]
    batch = make_batch()
    for _ in range(3):
        there.update(batch)
    here = kind.restore(torch.load(saved(there.state_dict()), map_location="cpu"), "cpu")
    assert here.act(batch.observation) == pytest.approx(there.act(batch.observation), abs=2e-2)
    for agent in (here, there):
        agent.freeze_convolutions()
        features = replace(
            batch, observation=agent.encode(batch.observation), next_observation=agent.encode(batch.next_observation)
        )
        assert all(math.isfinite(number) for number in agent.update(features).values())


@pytest.mark.gpu
def test_a_gpu_replays_updates_that_are_those_of_one_that_does_not() -> None:
    replaying, plain = (IQL(LOCATING, 3, device="cuda") for _ in range(2))
    plain.record(False)
    for step in range(10):
        batch, progress = seen_plugs(32, step), step / 10
        if step == 7:
            batch = replace(batch, reward=np.full(32, np.nan, np.float32))
            for agent in (replaying, plain):
                with pytest.raises(NumericsError, match="reward"):
                    agent.update(batch, progress)
            continue
        numbers, expected = replaying.update(batch, progress), plain.update(batch, progress)
        assert numbers == pytest.approx(expected, rel=0.02, abs=1e-4), step
        assert replaying._recorded is not None
        assert (replaying._recorded._graph is not None) == (3 <= step < 7)  # anew after what was not finite
    assert replaying.act(batch.observation) == pytest.approx(plain.act(batch.observation), abs=1e-2)


def saved(state: dict[str, object]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


# Where the plug is


LOCATING = replace(PLAIN, position_weight=10.0)


def seen_plugs(rows: int, seed: int) -> Batch:
    """Plugs as bright squares, 1 mm a pixel, and where they are."""
    rng = np.random.default_rng(seed)
    place = rng.integers(-6, 6, (rows, 2))
    batch = make_batch(rows, seed)
    images = np.zeros((rows, SIZE, SIZE, 3), np.uint8)
    for image, (x, y) in zip(images, place + SIZE // 2, strict=True):
        image[y - 2 : y + 2, x - 2 : x + 2] = 255
    position = np.column_stack([place * 1e-3, np.full(rows, 5e-3)]).astype(np.float32)
    return replace(batch, observation=images, next_observation=images, position=position)


def test_features_learn_to_tell_where_the_plug_is():
    found = []
    for seed in range(3):
        agent = IQL(LOCATING, 3, seed)
        losses_ = [
            agent.update(seen_plugs(32, step))["loss_position"] / LOCATING.position_weight for step in range(150)
        ]
        found.append(np.mean(losses_[-10:]))
        assert losses_[0] > 0.3  # of both heads; a plug is 3.5 mm beside on the mean
    assert np.median(found) < 0.1


def test_positions_are_learnt_from_only_where_they_are_known_and_convolutions_learn():
    agent, batch = IQL(LOCATING, 3), seen_plugs(8, 0)
    assert "loss_position" in agent.update(batch)
    assert "loss_position" not in agent.update(replace(batch, position=None))
    unlocated = IQL(PLAIN, 3)
    assert unlocated.actor.position is None and "loss_position" not in unlocated.update(batch)
    agent.freeze_convolutions()
    assert "loss_position" not in agent.update(batch)
    with pytest.raises(NumericsError, match="position"):
        IQL(LOCATING, 3).update(replace(batch, position=np.full((8, 3), np.nan, np.float32)))


def test_an_agent_from_before_there_was_a_position_loss_comes_back():
    old = IQL(PLAIN, 3, seed=1)
    state = old.state_dict()
    del state["config"]["position_weight"]
    back = IQL.restore(state)
    assert back.config.position_weight == 0 and same(weights(old), weights(back))
