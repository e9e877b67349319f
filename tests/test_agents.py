"""What every agent promises, whatever it observes and however many axes its actions have."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lotj.agents import AGENTS, At, Learner, find_agent
from lotj.agents.base import AgentConfig, CriticConfig, GaussianConfig, ValueConfig
from lotj.agents.learner import _clip
from lotj.agents.oda import ODA
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import PRACTISED, Batch
from lotj.nets.augment import AugmentConfig
from lotj.nets.front import Vector
from lotj.nets.heads import Ensemble
from lotj.spaces import Array, Spec
from small_agents import (
    FRONTS,
    PIXELS,
    config_of,
    learner_of,
    make_batch,
    observe,
    on_features,
    same,
    through_a_file,
    train,
    weights,
)

every_agent = pytest.mark.parametrize("name", AGENTS)
EVERYWHERE = [name for name, kind in AGENTS.items() if "waypoint" not in kind.requires]
"""All but those that read codes alone."""
every_agent_that_sees_all = pytest.mark.parametrize("name", EVERYWHERE)
ON_FEATURES = sorted(name for name, kind in AGENTS.items() if not kind.requires & {"context", "waypoint"})
on_features_too = pytest.mark.parametrize("name", ON_FEATURES)
WITH_VALUES = [name for name, kind in AGENTS.items() if issubclass(kind.CONFIG, ValueConfig)]
BOOTSTRAPPING = [name for name in WITH_VALUES if issubclass(AGENTS[name].CONFIG, CriticConfig)]


def test_agents_are_found_by_the_names_of_their_modules() -> None:
    assert {"bc", "ddpg", "td3", "sac", "awr", "awac", "one-step", "iql", "brac", "rebrac"} <= AGENTS.keys()
    assert "base" not in AGENTS and "learner" not in AGENTS
    with pytest.raises(SettingsError, match=r"unknown agent 'ppo': known are awac, awr, bc"):
        find_agent("ppo")


# Acting and one update


@every_agent
@pytest.mark.parametrize("axes", [1, 3, 24])
@pytest.mark.parametrize("sees", FRONTS)
def test_any_observation_and_any_number_of_axes(name: str, axes: int, sees: str) -> None:
    learner = learner_of(name, FRONTS[sees], axes)
    numbers = learner.update(make_batch(agent=name, rows=6, axes=axes, task=None), At(0, progress=0.5))
    assert all(type(number) is float and math.isfinite(number) for number in numbers.values())
    for module, terms in learner.algorithm.trained.items():
        assert any(f"loss_{term}" in numbers for term in terms)
        assert f"gradient_norm_{module}" in numbers
    seen = observe(5, np.random.default_rng(1))
    action = learner.act(seen)
    assert action.shape == (5, axes) and action.dtype == np.float32 and (abs(action) <= 1).all()
    np.testing.assert_array_equal(action, learner.act(seen))
    value = learner.value(seen)
    assert value.shape == (5,) and value.dtype == np.float32
    assert np.isfinite(value).all() == (name in WITH_VALUES)
    assert learner.updates == 1


@every_agent
def test_exploring_draws_around_the_mean_from_the_given_numbers(name: str) -> None:
    learner = learner_of(name)
    seen = {key: np.repeat(values, 1000, 0) for key, values in observe(1, np.random.default_rng(0)).items()}
    drawn = learner.act(seen, 1.0, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, learner.act(seen, 1.0, np.random.default_rng(3)))
    assert (abs(drawn) <= 1).all() and (drawn.std(0) > 0.02).all()
    narrow = learner.act(seen, 0.1, np.random.default_rng(3))
    assert (narrow.std(0) < 0.2 * drawn.std(0)).all()
    np.testing.assert_allclose(narrow.mean(0), learner.act(seen)[0], atol=0.02)
    rng = np.random.default_rng(3)
    learner.act(seen, 0.0, rng)
    assert rng.random() == np.random.default_rng(3).random()  # without a spread no number is used up
    with pytest.raises(ValueError, match="rng"):
        learner.act(seen, 0.5)


@every_agent_that_sees_all
def test_many_rows_are_asked_in_parts_and_none_are_fine(name: str) -> None:
    learner = learner_of(name, PIXELS)
    seen = observe(300, np.random.default_rng(0))
    some = {key: values[250:262] for key, values in seen.items()}
    np.testing.assert_allclose(learner.act(seen)[250:262], learner.act(some), atol=1e-5)
    features = learner.encode({key: values[:0] for key, values in seen.items()})
    # Two views of 8 x 16 pixels make 2 x 4 cells each, of 4 channels.
    assert {key: (f.shape, f.dtype) for key, f in features.items()} == {key: ((0, 64), np.float16) for key in features}


@every_agent
def test_a_learning_rate_of_zero_learns_nothing(name: str) -> None:
    learner = learner_of(name)
    before = {module: weights(learner, module) for module in learner.algorithm.trained}
    learner.update(make_batch(agent=name), At(0, lr=0.0))
    assert same(before, {module: weights(learner, module) for module in learner.algorithm.trained})
    learner.update(make_batch(agent=name), At(2))
    for module, values in before.items():
        assert not same(values, weights(learner, module)), module


@every_agent
@pytest.mark.parametrize("sees", ["image", "goal"])
def test_each_loss_moves_its_own_module_only(name: str, sees: str) -> None:
    trained = AGENTS[name].trained
    for module in trained:
        learner = learner_of(name, FRONTS[sees])
        before = {other: weights(learner, other) for other in trained}
        others = {term: 0.0 for terms in trained.values() for term in terms if term not in trained[module]}
        learner.update(make_batch(agent=name), At(0, weights=others))
        shared = {other for other, terms in trained.items() if {*terms} & {*trained[module]}}
        assert {other for other in trained if not same(before[other], weights(learner, other))} == shared


def test_gradients_are_clipped_to_a_joint_norm_which_is_told_as_it_was() -> None:
    gradients = [torch.tensor([3.0]), None, torch.tensor([4.0])]
    assert _clip(gradients, 1.0).item() == pytest.approx(5.0)
    assert [g.item() for g in gradients if g is not None] == pytest.approx([0.6, 0.8])
    _clip(gradients, 0.0)
    assert gradients[0] is not None and gradients[0].item() == pytest.approx(0.6)  # 0 is no limit


# Bootstrapping and slow copies


def constant_values(learner: Learner, value: float) -> None:
    """Every Q and V, and their slow copies, say this of everything."""
    for module in [m for root in (learner.algorithm, *learner.target.values()) for m in root.modules()]:
        if isinstance(module, Ensemble):
            torch.nn.init.zeros_(module.last.weight)
            torch.nn.init.constant_(module.last.bias, value)


@pytest.mark.parametrize("name", BOOTSTRAPPING)
def test_termination_cuts_the_bootstrap_and_nothing_else_does(name: str) -> None:
    known, plain = config_of(AGENTS[name]), {"entropy_backup": False, "critic_bc_weight": 0.0}
    changes: dict[str, Any] = {setting: value for setting, value in plain.items() if hasattr(known, setting)}
    learner = learner_of(name, target_bounds=(-9.0, 9.0), discount=0.9, **changes)
    constant_values(learner, 0.5)
    batch = make_batch(agent=name, rows=4)
    batch.reward[:] = [0.0, 1.0, 0.0, 1.0]
    batch.terminated[:] = [False, True, True, False]  # the first and the last may have been timed out: it goes on
    numbers = learner.update(batch, At(0))
    assert numbers["target_mean"] == pytest.approx((0.45 + 1.0 + 0.0 + 1.45) / 4, abs=1e-6)


@pytest.mark.parametrize("name", BOOTSTRAPPING)
def test_targets_are_clamped_to_what_returns_there_can_be(name: str) -> None:
    learner = learner_of(name, target_bounds=(0.0, 1.0), discount=0.9)
    constant_values(learner, 5.0)
    batch = make_batch(agent=name, rows=4)
    batch.terminated[:] = False
    assert learner.update(batch, At(0))["target_mean"] == 1.0


@pytest.mark.parametrize("name", BOOTSTRAPPING)
@pytest.mark.parametrize("sees", ["image", "goal"])
def test_slow_copies_stand_still_at_rate_zero_and_follow_at_their_rate(name: str, sees: str) -> None:
    learner = learner_of(name, FRONTS[sees], ema=0.0)
    still = {key: copied for key, copied in learner.state()["modules"].items() if key}
    assert still
    train(learner, 3)
    assert same(still, {key: learner.state()["modules"][key] for key in still})
    for rate in (1.0, 0.25):
        learner = learner_of(name, FRONTS[sees], ema=rate)
        train(learner, 2)
        before = {key: copied for key, copied in learner.state()["modules"].items() if key}
        train(learner, 1, first=2)
        for key, copied in before.items():
            online, slow = learner.algorithm.get_submodule(key).state_dict(), learner.target[key].state_dict()
            learnt = dict(learner.target[key].named_parameters())
            for entry, value in copied.items():
                share = rate if entry in learnt else 1.0  # statistics are taken over as they are
                torch.testing.assert_close(slow[entry], value + share * (online[entry] - value))
    assert not any(p.requires_grad for module in learner.target.values() for p in module.parameters())


@pytest.mark.parametrize("name", [name for name in BOOTSTRAPPING if name in EVERYWHERE])
def test_a_slow_copy_sees_by_an_encoder_of_its_own(name: str) -> None:
    """Another slow encoder makes other targets: the online one does not stand in its place (review A3)."""
    learner, twin = learner_of(name, PIXELS), learner_of(name, PIXELS)
    slow = [p for module in learner.target.values() for key, p in module.named_parameters() if "encoder." in key]
    assert slow
    torch.manual_seed(0)
    for parameter in slow:
        parameter.data.uniform_(-1, 1)
    batch = make_batch(agent=name)
    batch.terminated[:] = False
    one, other = (learner.update(batch, At(0)) for learner in (learner, twin))
    targets = {"target_mean", "loss_v"} & one.keys()  # IQL's slow copy is the target of V
    assert any(one[number] != pytest.approx(other[number], rel=1e-4) for number in targets)


# State


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        (name, sees)
        for name in AGENTS
        for sees in ("image", "goal", "features")
        if sees != "features" or name in ON_FEATURES
    ],
)
def test_a_loaded_agent_continues_bit_for_bit(name: str, sees: str) -> None:
    pixels = learner_of(name, FRONTS.get(sees, PIXELS), seed=5)
    train(pixels, 3, task=None)
    learner = pixels.on_features() if sees == "features" else pixels
    batches = [make_batch(agent=name, seed=seed, task=None) for seed in range(3, 6)]
    if sees == "features":
        batches = [on_features(pixels, batch) for batch in batches]
    twin = Learner.load(through_a_file(learner.state()))
    assert twin.config == learner.config and twin.updates == 3 and twin.front == learner.front
    assert same(twin.state(), learner.state())
    for number, batch in enumerate(batches, 3):
        assert learner.update(batch, At(number, 0.6)) == twin.update(batch, At(number, 0.6))
    assert same(twin.state(), learner.state())


@every_agent
def test_a_state_is_a_copy(name: str) -> None:
    learner = learner_of(name)
    train(learner, 1)
    kept = learner.state()
    train(learner, 2, first=1)
    moved = learner.state()
    assert not same(kept, moved)
    learner.restore(kept)
    train(learner, 2, first=1)
    assert same(learner.state(), moved)


@every_agent
def test_same_seed_same_agent_whatever_ran_before(name: str) -> None:
    one = learner_of(name, seed=1)
    torch.rand(10)
    other, third = learner_of(name, seed=1), learner_of(name, seed=2)
    around = torch.get_rng_state()
    batch = make_batch(agent=name)
    assert one.update(batch, At(7)) == other.update(batch, At(7)) != third.update(batch, At(7))
    assert same(one.state(), other.state())
    assert torch.equal(around, torch.get_rng_state())  # nobody else's random numbers are used up


@every_agent
def test_settings_can_change_on_loading_but_not_shapes(name: str) -> None:
    learner = learner_of(name)
    state = learner.state()
    assert Learner.load(state, lr=2e-3).config == replace(learner.config, lr=2e-3)
    with pytest.raises(CheckpointError, match="other networks"):
        Learner.load(state, hidden=(8,))


@every_agent
def test_a_checkpoint_of_something_else_is_refused(name: str) -> None:
    learner = learner_of(name)
    state = learner.state()
    for change, words in (({"format": 9}, "format 9"), ({"tasks": 4}, "tasks 4"), ({"agent": "ppo"}, "agent 'ppo'")):
        with pytest.raises(CheckpointError, match=words):
            learner.restore(state | change)
    with pytest.raises(CheckpointError, match="format 9"):
        Learner.load(state | {"format": 9})
    with pytest.raises(CheckpointError, match=r"action \(3,\), not for .*action \(2,\)"):
        learner_of(name, axes=2).restore(state)


# Features in place of perception


@on_features_too
def test_on_features_it_acts_alike_and_its_heads_go_back(name: str) -> None:
    pixels = learner_of(name, PIXELS)
    train(pixels, 2)
    practising = pixels.on_features()
    seen = observe(6, np.random.default_rng(2))
    features = pixels.encode(seen)
    np.testing.assert_allclose(practising.act(features), pixels.act(seen), atol=2e-3)  # cached in 16 bits
    np.testing.assert_allclose(practising.value(features), pixels.value(seen), atol=5e-3)
    assert practising.updates == 2
    before = pixels.state()
    for number in (2, 3):
        practising.update(on_features(pixels, make_batch(agent=name, seed=number)), At(number))
    assert same(pixels.state(), before)  # a learner of its own
    assert not np.allclose(practising.act(features), pixels.act(seen), atol=2e-3)
    pixels.take_heads(practising)
    np.testing.assert_allclose(practising.act(features), pixels.act(seen), atol=2e-3)
    encoders = [key for key in before["modules"][""] if "encoder." in key]
    assert encoders and same(
        {key: before["modules"][""][key] for key in encoders},
        {key: pixels.state()["modules"][""][key] for key in encoders},
    )


@on_features_too
def test_learning_goes_on_with_the_moments_it_had(name: str) -> None:
    pixels = learner_of(name, PIXELS)
    train(pixels, 2)
    there = pixels.on_features().state()["moments"]
    here = pixels.state()["moments"]
    assert there and all(same(there[parameter], here[parameter]) for parameter in there)
    assert not any("encoder." in parameter for parameter in there)


@every_agent_that_sees_all
def test_augmented_features_come_from_the_given_numbers(name: str) -> None:
    learner = learner_of(name, replace(PIXELS, augment=AugmentConfig()))
    seen = observe(4, np.random.default_rng(0))
    one, other = (learner.encode(seen, augment=True, rng=np.random.default_rng(4)) for _ in range(2))
    plain = learner.encode(seen)
    for role in one:
        assert role.startswith("feature/")
        assert (one[role] == other[role]).all() and (one[role] != plain[role]).any()
    with pytest.raises(ValueError, match="rng"):
        learner.encode(seen, augment=True)


@every_agent_that_sees_all
def test_what_is_practised_is_not_augmented(name: str) -> None:
    numbers = {}
    for kind, front in (("augmented", replace(PIXELS, augment=AugmentConfig())), ("plain", PIXELS)):
        batches = [make_batch(agent=name, task=task) for task in (PRACTISED, 0)]
        numbers[kind] = [learner_of(name, front).update(batch, At(0)) for batch in batches]
    assert numbers["augmented"][0] == pytest.approx(numbers["plain"][0], rel=1e-4, abs=1e-5)
    assert numbers["augmented"][1] != pytest.approx(numbers["plain"][1], rel=1e-3, abs=1e-4)


# Bad input


@every_agent
@pytest.mark.parametrize("where", ["action", "reward", "observation", "next observation"])
def test_nan_is_named_and_changes_nothing(name: str, where: str) -> None:
    learner, twin = learner_of(name), learner_of(name)
    for one in (learner, twin):
        train(one, 1)
    bad = make_batch(agent=name, seed=2)
    value = {"action": bad.action, "reward": bad.reward, "observation": bad.observation["goal"]}
    value["next observation"] = bad.next_observation["goal"]
    value[where].flat[3] = np.nan
    with pytest.raises(NumericsError, match=f"^{where}.*: 1 of .* values are not finite"):
        learner.update(bad, At(1))
    assert same(learner.state(), twin.state())
    good = make_batch(agent=name, seed=1)
    assert learner.update(good, At(1)) == twin.update(good, At(1))


@every_agent
def test_broken_weights_are_noticed_and_change_nothing(name: str) -> None:
    front = replace(PIXELS, resnet=replace(PIXELS.resnet, norm="batch"))  # its statistics, too
    learner = learner_of(name, front)
    next(learner.algorithm.parameters()).data.fill_(math.nan)
    before = learner.state()["modules"]
    with pytest.raises(NumericsError, match="of update 4 is nan; lower the learning rate"):
        learner.update(make_batch(agent=name), At(4))
    for module, values in learner.state()["modules"].items():
        assert all(torch.equal(v.nan_to_num(7), before[module][key].nan_to_num(7)) for key, v in values.items())
    assert learner.updates == 0


@every_agent
def test_unknown_columns_weights_and_actions_are_refused_in_one_line(name: str) -> None:
    learner = learner_of(name)
    for batch, at, words in (
        (make_batch(agent=name, imitated=np.ones(8, bool)), At(0), "unknown column 'imitated': "),
        (make_batch(agent=name), At(0, weights={"entropie": 0.5}), "unknown weight 'entropie': .*known are"),
        (make_batch(agent=name, axes=2), At(0), r"actions of shape \(2,\): this agent's are \(3,\)"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            learner.update(batch, at)
        assert "\n" not in str(caught.value)


@every_agent_that_sees_all
def test_an_observation_that_lacks_what_it_reads_is_refused(name: str) -> None:
    seen = observe(2, np.random.default_rng(0))
    with pytest.raises(SettingsError, match="'goal'"):
        learner_of(name).act({"state": seen["state"]})
    with pytest.raises(SettingsError, match="'depth'"):
        learner_of(name, Vector(("depth",)))
    with pytest.raises(SettingsError, match="'feature/" if name in ON_FEATURES else "not their features"):
        learner_of(name, PIXELS).on_features().act({"feature/other": np.zeros((2, 64), np.float16)})
    with pytest.raises(CheckpointError, match="made for"):
        learner_of(name, PIXELS).act({"image": np.zeros((2, 2, 16, 16, 3), np.uint8)})


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (AgentConfig, "lr", 0.0),
        (AgentConfig, "lr", math.nan),
        (AgentConfig, "gradient_clip", -1.0),
        (AgentConfig, "hidden", (16, 0)),
        (CriticConfig, "discount", 1.1),
        (CriticConfig, "ema", -0.1),
        (CriticConfig, "critics", 0),
        (GaussianConfig, "std_range", (0.5, 1.0)),
    ],
)
def test_impossible_settings_are_refused(kind: type[AgentConfig], setting: str, value: object) -> None:
    with pytest.raises(SettingsError, match=setting):
        kind(**{setting: value})  # type: ignore[arg-type]


# Does it learn?


@every_agent_that_sees_all
def test_it_learns_a_point_that_is_to_be_met(name: str) -> None:
    """A bandit with a context: of random actions those are good that are near 0.8 of the goal; each ends at once."""
    point = Spec({"state": Array((2,), "float32", -1.0, 1.0)}, (2,), 10.0, 1)
    config = config_of(AGENTS[name], hidden=(32,), lr=1e-2)
    learner, rng = Learner(AGENTS[name], point, Vector(), config, 1), np.random.default_rng(0)

    def miss() -> float:
        goal = np.random.default_rng(9).uniform(-1, 1, (200, 2)).astype(np.float32)
        return float(np.abs(learner.act({"state": goal}) - 0.8 * goal).mean())

    untrained = miss()
    for number in range(100):
        goal = rng.uniform(-1, 1, (64, 2)).astype(np.float32)
        action = rng.uniform(-1, 1, (64, 2)).astype(np.float32)
        distance = np.linalg.norm(action - 0.8 * goal, axis=1)
        seen, ends = {"state": goal}, np.ones(64, bool)
        reward = np.clip(1.0 - distance, 0.0, 1.0)
        given = {"return": reward, "next_action": np.zeros_like(action), "imitate": distance < 0.4}
        given["context"] = np.zeros((64, 4, 2 * 2 + 2 + 1), np.float32)
        columns = {column: given[column] for column in ({"imitate"} if name == "bc" else AGENTS[name].requires)}
        learner.update(Batch(seen, action, reward, ends, seen, np.zeros(64, int), columns), At(number))
    if isinstance(learner.algorithm, ODA):
        learner.algorithm.adapt(torch.zeros(4, 7))
    assert untrained > 0.3 and miss() < 0.15  # 0.05 to 0.14 with three seeds


# Devices


@pytest.mark.gpu
@every_agent
def test_what_a_gpu_has_learnt_acts_and_learns_on_without_one(name: str) -> None:
    there = learner_of(name, PIXELS, device="cuda")
    train(there, 5)
    here = Learner.load(through_a_file(there.state()))
    seen = observe(6, np.random.default_rng(0))
    assert here.act(seen) == pytest.approx(there.act(seen), abs=2e-2)
    assert all(math.isfinite(number) for number in train(here, 1, first=5).values())


@pytest.mark.gpu
@every_agent
def test_a_gpu_replays_updates_that_are_those_of_one_that_does_not(name: str) -> None:
    replaying, plain = (learner_of(name, PIXELS, device="cuda") for _ in range(2))
    plain.recorded = None
    for number in range(10):
        batch, at = make_batch(agent=name, seed=number), At(number, number / 10)
        if number == 7:
            batch.reward[0] = np.nan
            for learner in (replaying, plain):
                with pytest.raises(NumericsError, match="reward"):
                    learner.update(batch, at)
            continue
        assert replaying.update(batch, at) == pytest.approx(plain.update(batch, at), rel=0.02, abs=1e-4), number
        if replaying.recorded is not None:
            assert (replaying.recorded._recorded is not None) == (number >= 3)
    assert (replaying.recorded is not None) == replaying.algorithm.recordable
