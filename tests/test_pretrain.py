"""What pretraining promises: exact resuming, clean stops, the right rows for the policy, figures worth reading."""

import json
import math
import os
import signal
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from lotj.agents import IQL, IQLConfig
from lotj.agents.localizer import Localizer, LocalizerConfig
from lotj.agents.networks import POSITION_SCALE
from lotj.agents.state_iql import StateIQL
from lotj.data.dataset import Dataset
from lotj.data.store import EpisodeWriter
from lotj.errors import CheckpointError, DataError, NumericsError, SettingsError
from lotj.experience import KINDS, Domain, Episode
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run
from lotj.training.localize import load_localizer, pretrain_localizer
from lotj.training.policy_report import motion_of_action, policy_report, returns
from lotj.training.pretrain import (
    AGENT,
    REWARD,
    load_agent,
    load_reward,
    pretrain,
    pretrain_state_iql,
    take_over,
)
from lotj.training.pretrain_batches import TransitionBatches
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.pretrain_loop import Means, StopRequest

SIZE = 16
BOTTLENECK = BottleneckConfig(invariant_dim=8, specific_dim=4, domain_hidden=(8,))
ENCODER = EncoderConfig(image_size=SIZE, width=8, stages=1)
IQL_CONFIG = IQLConfig(
    encoder=ENCODER, bottleneck=BOTTLENECK, feature_channels=4, hidden=(8,), critic_projection=8, critic_hidden=8
)
REWARD_CONFIG = RewardConfig(encoder=ENCODER, bottleneck=BOTTLENECK, hidden=(8,), steps=5, batch=8, warmup=1)
CONFIG = PretrainConfig(steps=6, batch=8, warmup=2, log_every=1)
STEP_M = 0.006
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
"""The socket's frame is turned by 90 degrees: an action along x moves the plug along the socket's y."""


def picture(place: np.ndarray, colour: int) -> np.ndarray:
    """(16, 16, 3) uint8: a bright square where the plug is (2 mm a pixel), and that place in the corner (0.15 mm)."""
    image = np.full((SIZE, SIZE, 3), colour, np.uint8)
    column, row = np.clip((SIZE // 2 + place[:2] / 0.002).astype(int), 1, SIZE - 2)
    image[row - 1 : row + 2, column - 1 : column + 2] = 255
    image[0, 0, :2] = np.round(place[:2] / 0.00015) + 128
    return image


def episode(domain: str, kind: str, seed: int) -> Episode:
    """The expert goes to the axis, 6 mm a step, and is seated there; `press` does not move. At most 5 steps."""
    rng = np.random.default_rng([seed, len(domain), len(kind)])
    place = rng.uniform(-0.014, 0.014, 2) if kind == "expert" else rng.choice([-1, 1], 2) * rng.uniform(0.006, 0.014, 2)
    places, actions = [place], []
    while len(actions) < 5 and np.linalg.norm(places[-1]) > 0.001:
        action = np.zeros(3)
        if kind == "expert":
            action[:2] = np.clip(TURN.T @ -places[-1] / STEP_M, -1, 1)
        actions.append(action)
        places.append(places[-1] + STEP_M * TURN @ action[:2])
    state = np.zeros((len(places), 6), np.float32)
    state[:, :2] = places
    success = np.linalg.norm(places, axis=1) <= 0.001
    state[:, 2] = 0.01 * ~success
    frames = np.stack([picture(p, 10 * len(domain)) for p in places])
    return Episode(
        frames,
        np.array(actions, np.float32),
        success,
        state,
        terminated=bool(success[-1]),
        truncated=not success[-1],
        domain=domain,
        scenario="far",
        kind=kind,
        seed=seed,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """Training data of two domains and validation data of a third; every third episode presses beside."""
    root = tmp_path_factory.mktemp("data")
    for name, split in (("a", "train"), ("bb", "train"), ("ccc", "validation")):
        with EpisodeWriter(root, Domain(name, f"plug-{name}", "toy", "toy", 0, split), SIZE) as writer:
            for seed in range(18):
                writer.append(episode(name, "press" if seed % 3 == 2 else "expert", seed))
    return tuple(Dataset.open(root, lambda d, split=split: d.split == split) for split in ("train", "validation"))  # type: ignore[return-value]


class PatientRun(Run):
    """A run whose user presses Ctrl-C when the line (`stream`, `step`) has been written."""

    press: tuple[str, int] | None = None

    def log(self, step: int, scalars: dict[str, Any], stream: str = "metrics") -> None:
        super().log(step, scalars, stream)
        if self.press == (stream, step):
            self.press = None
            signal.raise_signal(signal.SIGINT)


def train(data: tuple[Dataset, Dataset], run: Run, resume: bool = False, **settings: Any) -> IQL:
    config = replace(CONFIG, **settings)
    return pretrain(data[0], data[1], REWARD_CONFIG, IQL_CONFIG, config, run, resume=resume, live=False)[1]


def weights(run: Run) -> list[torch.Tensor]:
    agent = [v for module in run.load(AGENT)["agent"]["modules"].values() for v in module.values()]
    return agent + list(load_reward(run).classifier.state_dict().values())


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("time", "updates_per_second")} for line in lines]


def test_stopped_and_resumed_equals_never_stopped(data, tmp_path):
    whole = Run.create(tmp_path, "pretrain", {}, seed=3)
    train(data, whole)
    run = PatientRun.create(tmp_path, "pretrain", {}, seed=3)
    handler = signal.getsignal(signal.SIGINT)
    for number, press in enumerate([(REWARD, 2), (AGENT, 1), (AGENT, 4)]):
        run.press = press
        with pytest.raises(KeyboardInterrupt, match=rf"{press[0]}: stopped after update {press[1]} of"):
            train(data, run, resume=number > 0)
        assert signal.getsignal(signal.SIGINT) is handler
        # As after a kill -9 later on: a line of an update that no checkpoint holds.
        Run.log(run, press[1] + 1, {"loss_v": 99.0}, press[0])
    train(data, run, resume=True)
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(run), strict=True))
    for stream, steps in ((REWARD, 5), (AGENT, 6)):
        lines, others = (timeless(r.metrics(stream)) for r in (whole, run))
        assert [line["step"] for line in lines] == list(range(1, steps + 1))
        assert lines == others
    assert (whole.path / "agent_report.json").read_text() == (run.path / "agent_report.json").read_text()


def test_what_a_pretraining_leaves(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    agent = train(data, run)
    assert {"loss_v", "loss_policy", "loss_daib", "loss_q", "kl", "domain_loss"} <= run.metrics(AGENT)[-1].keys()
    assert {"success_loss", "kl", "domain_loss"} <= run.metrics(REWARD)[-1].keys()
    report = json.loads((run.path / "agent_report.json").read_text())
    assert list(report["validation"]["connectors"]) == ["plug-ccc"]
    assert list(report["train"]["connectors"]) == ["plug-a", "plug-bb"]
    assert run.metrics("agent-validation")[0]["angle_deg"] == pytest.approx(
        report["validation"]["overall"]["angle_deg"]
    )
    assert json.loads((run.path / "reward_report.json").read_text())["overall"]["successes"] > 0
    images = data[1].images(np.arange(4))
    loaded = load_agent(run, lr=1e-4)
    np.testing.assert_array_equal(loaded.act(images), agent.act(images))
    assert loaded.config.lr == 1e-4 and loaded.updates == 6
    assert load_reward(run).score(images).shape == (4,)


def test_finished_pretraining_is_not_trained_again(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    train(data, run)
    before = weights(run)
    with pytest.raises(CheckpointError, match="--resume or start a new run"):
        train(data, run)
    train(data, run, resume=True)
    assert all(torch.equal(one, other) for one, other in zip(before, weights(run), strict=True))


def test_halves_of_two_pretrainings_make_a_third_without_training(data, tmp_path):
    plain = replace(IQL_CONFIG, bottleneck=replace(BOTTLENECK, variant="erm"))
    one, two, both = (Run.create(tmp_path / name, "pretrain", {}, seed=0) for name in ("one", "two", "both"))
    train(data, one)
    pretrain(data[0], data[1], REWARD_CONFIG, plain, CONFIG, two, live=False)
    take_over(both, one, REWARD)
    take_over(both, two, AGENT)
    written = (both.path / "agent_report.json").stat().st_mtime_ns
    pretrain(data[0], data[1], REWARD_CONFIG, plain, CONFIG, both, live=False, resume=True)
    count = len(load_reward(one).classifier.state_dict())
    expected = weights(two)[:-count] + weights(one)[-count:]
    assert all(torch.equal(w, e) for w, e in zip(weights(both), expected, strict=True))
    assert timeless(both.metrics(AGENT)) == timeless(two.metrics(AGENT)) and len(both.metrics(REWARD)) == 5
    assert (both.path / "agent_report.json").stat().st_mtime_ns == written  # nor is its report taken again
    take_over(both, one, AGENT)  # its own stays
    assert all(torch.equal(w, e) for w, e in zip(weights(both), expected, strict=True))


def test_taken_over_halves_must_be_finished_and_fit(data, tmp_path):
    run, other = (PatientRun.create(tmp_path / name, "pretrain", {}, seed=0) for name in ("one", "two"))
    other.press = (AGENT, 2)
    with pytest.raises(KeyboardInterrupt):
        train(data, other)
    with pytest.raises(
        CheckpointError, match=r"no finished agent training \(agent_report.json is missing\): resume it"
    ):
        take_over(run, other, AGENT)
    take_over(run, other, REWARD)
    wider = replace(REWARD_CONFIG, hidden=(9,))
    with pytest.raises(CheckpointError, match="made with another config"):
        pretrain(data[0], data[1], wider, IQL_CONFIG, CONFIG, run, live=False, resume=True)


def test_resuming_with_other_settings_or_data_is_refused(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    train(data, run)
    with pytest.raises(CheckpointError, match="begun with other pretrain settings"):
        train(data, run, resume=True, steps=7)
    train(data, run, resume=True, log_every=3)  # how often it reports is free
    fewer = data[0].subset(np.arange(len(data[0])) > 0)
    with pytest.raises(CheckpointError, match="begun with other episodes"):
        train((fewer, data[1]), run, resume=True)


def test_images_of_another_size_are_refused(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    other = replace(IQL_CONFIG, encoder=replace(ENCODER, image_size=32))
    with pytest.raises(SettingsError, match="holds 16 px images"):
        pretrain(data[0], data[1], REWARD_CONFIG, other, CONFIG, run, live=False)
    assert not run.has(REWARD)


def test_torn_checkpoint_is_said_to_be_torn(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    train(data, run)
    path = run.path / "checkpoints" / f"{AGENT}.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="torn"):
        load_agent(run)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_agent(Run.create(tmp_path, "pretrain", {}, seed=0))


def test_second_interrupt_stops_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.made
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_means_of_what_was_there():
    means = Means()
    means.add({"a": 1.0, "b": 5.0})
    means.add({"a": 3.0})
    assert means.take() == {"a": 2.0, "b": 5.0}
    assert means.take() == {}


# Batches


def test_batches_hold_transitions_and_say_whose_they_are(data):
    dataset, _ = data
    held = dataset.transitions()
    batches = TransitionBatches(dataset, PretrainConfig(batch=400, policy_share=None), seed=1)
    batch, again = batches.load(7), batches.load(7)
    np.testing.assert_array_equal(batch.observation, again.observation)
    assert not np.array_equal(batch.observation, batches.load(8).observation)
    press = held.kind == KINDS.index("press")
    assert abs(batch.policy.mean() - (1 - press.mean())) < 0.1
    still = (batch.action == 0).all(1)  # only those that press stand still
    np.testing.assert_array_equal(batch.policy, ~still)
    assert (batch.observation[still] == batch.next_observation[still]).all()
    assert (batch.observation[~still] != batch.next_observation[~still]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(np.round(batch.position[:, :2] / 0.00015) + 128, batch.observation[:, 0, 0, :2])
    np.testing.assert_array_equal(batch.terminated, batch.reward == 1)
    assert set(batch.domain) == {0, 1}


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_impossible_share_of_the_policy_is_refused(share: float):
    with pytest.raises(SettingsError, match=f"policy_share {share}: must be above 0 and at most 1"):
        PretrainConfig(policy_share=share)


def test_a_set_share_of_a_batch_is_for_the_policy(data):
    dataset, _ = data
    rows = TransitionBatches(dataset, PretrainConfig(batch=40, policy_share=0.6), seed=1).load(0).policy
    assert rows.sum() == 24  # 60 % of 40
    only_experts = dataset.subset(dataset.episodes["kind"] == KINDS.index("expert"))
    rows = TransitionBatches(only_experts, PretrainConfig(batch=40), seed=1).load(0).policy
    assert rows.all()
    with pytest.raises(DataError, match="no episode of kind recover"):
        TransitionBatches(dataset, PretrainConfig(policy_kinds=("recover",)), seed=1)


def test_a_set_share_of_the_policys_rows_is_beside_the_socket(data):
    dataset, _ = data
    held = dataset.transitions()
    expert = held.kind == KINDS.index("expert")
    beside = np.linalg.norm(dataset.frame_state[held.frame, :2], axis=1) > 0.002
    assert 0 < (expert & ~beside).sum() < (expert & beside).sum()  # more than half of them anyway

    def seen_beside(**settings: Any) -> tuple[int, int]:
        batch = TransitionBatches(dataset, PretrainConfig(batch=400, **settings), seed=1).load(0)
        rows = np.linalg.norm(batch.position[:, :2], axis=1) > 0.002
        return int((rows & batch.policy).sum()), int(batch.policy.sum())

    assert seen_beside(policy_share=0.5, aside_share=0.25) == (50, 200)  # a quarter of half of 400
    count, total = seen_beside(policy_share=0.5, aside_share=None)
    share = (expert & beside).sum() / expert.sum()
    assert total == 200 and abs(count / 200 - share) < 0.15
    only_experts = dataset.subset(dataset.episodes["kind"] == KINDS.index("expert"))
    batch = TransitionBatches(only_experts, PretrainConfig(batch=40, aside_share=0.25), seed=1).load(0)
    assert (np.linalg.norm(batch.position[:, :2], axis=1) > 0.002).sum() == 10
    with pytest.raises(SettingsError, match="aside_share 1.5"):
        PretrainConfig(aside_share=1.5)


def test_learning_rate_rises_and_falls():
    config = PretrainConfig(steps=110, warmup=10, lr=1.0)
    # 1/10 at first, 1 at the end of the warm-up, 1/2 in the middle of the cosine, (1 + cos(.99 pi)) / 2 at last
    expected = {0: 0.1, 9: 1.0, 10: 1.0, 60: 0.5, 109: 0.5 * (1 + math.cos(0.99 * math.pi))}
    assert {step: config.learning_rate(step) for step in expected} == pytest.approx(expected)
    assert replace(config, cosine=False, lr=0.5).learning_rate(109) == 0.5
    assert PretrainConfig(steps=1, warmup=5, lr=1.0).learning_rate(0) == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"batch": 0},
        {"policy_kinds": ("demo",)},
        {"policy_kinds": ()},
        {"save_minutes": -1.0},
        {"lr": 0.0},
        {"advantage_scale": 0.0},
    ],
)
def test_impossible_settings(settings):
    with pytest.raises(SettingsError, match="pretrain"):
        replace(CONFIG, **settings)


# The localisation model

LOCALIZER_CONFIG = LocalizerConfig(encoder=ENCODER, augment=AugmentConfig(enabled=False), steps=6, batch=8, warmup=2)


def localize(data: tuple[Dataset, Dataset], run: Run, **settings: Any) -> Localizer:
    return pretrain_localizer(*data, replace(LOCALIZER_CONFIG, **settings), run, log_every=1, live=False)


def test_localizer_finds_the_plug_of_an_unseen_domain(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    localize(data, run, steps=300, batch=32, lr=3e-3)
    (row,) = run.metrics("localizer-validation")
    assert row["connector"] == "plug-ccc"
    # A pixel of the picture is 2 mm. Half of the frames are within some millimetres of the axis, so a constant is good.
    assert row["lateral_mm_blind"] > 2.0
    assert row["lateral_mm"] < 1.5 and row["lateral_mm_90"] < 3.0


def test_localizer_stopped_and_resumed_equals_never_stopped(data, tmp_path):
    whole = Run.create(tmp_path, "pretrain", {}, seed=3)
    localize(data, whole)
    run = PatientRun.create(tmp_path, "pretrain", {}, seed=3)
    run.press = ("localizer", 4)
    with pytest.raises(KeyboardInterrupt, match="stopped after update 4 of 6"):
        localize(data, run)
    localize(data, run)
    images = data[1].images(np.arange(10))
    np.testing.assert_array_equal(load_localizer(whole).locate(images), load_localizer(run).locate(images))
    assert timeless(whole.metrics("localizer")) == timeless(run.metrics("localizer"))
    with pytest.raises(CheckpointError, match="begun with other settings"):
        localize(data, run, batch=4)


def test_localizer_refuses_what_cannot_work(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    with pytest.raises(CheckpointError, match="train it with `lotj pretrain --resume .* --also localizer"):
        load_localizer(run)
    with pytest.raises(SettingsError, match="localizer image size 32: .* holds 16 px"):
        localize(data, run, encoder=replace(ENCODER, image_size=32))
    with pytest.raises(SettingsError, match=r"flip 0\.5: must be 0"):
        LocalizerConfig(augment=AugmentConfig(flip=0.5))
    with pytest.raises(SettingsError, match="localizer steps 0: must be at least 1"):
        LocalizerConfig(steps=0)
    localizer = Localizer(LOCALIZER_CONFIG)
    with pytest.raises(NumericsError, match="position: 1 of 3 values"):
        localizer.update(np.zeros((1, SIZE, SIZE, 3), np.uint8), np.array([[0.0, np.nan, 0.0]]))
    with pytest.raises(CheckpointError, match="does not fit this program"):
        Localizer.restore({"config": {}})


def state_iql(data: tuple[Dataset, Dataset], run: Run, **settings: Any) -> StateIQL:
    return pretrain_state_iql(*data, Localizer(LOCALIZER_CONFIG), IQL_CONFIG, replace(CONFIG, **settings), run, False)


def test_state_iql_learns_from_true_positions_and_sees_through_the_localizer(data, tmp_path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    agent = state_iql(data, run, steps=400, batch=64, lr=5e-3)
    place = np.array([[0.012, 0.0, 0.01], [0.0, -0.012, 0.01]])
    # The expert goes to the axis at full speed: -x and +y in the socket's frame, which is turned by 90 degrees.
    towards = -place[:, :2] / 0.012 @ TURN
    action = agent.act(agent.features_of(place))[:, :2]
    assert (np.sum(action * towards, axis=1) > 0.9 * np.linalg.norm(action, axis=1)).all()  # within 26 degrees
    again = load_agent(run, name="state-iql")
    images = data[1].images(np.arange(6))
    seen = Localizer(LOCALIZER_CONFIG).locate(images)  # the one that the agent was given
    features = again.encode(images)["policy"].float().numpy()
    np.testing.assert_allclose(features, seen / POSITION_SCALE, rtol=2e-2, atol=2e-2)  # encoded in 16 bits
    np.testing.assert_allclose(again.act(images), agent.act(agent.features_of(seen)), atol=0.02)


def test_state_iql_stopped_and_resumed_equals_never_stopped(data, tmp_path):
    whole = Run.create(tmp_path, "pretrain", {}, seed=3)
    agent = state_iql(data, whole)
    run = PatientRun.create(tmp_path, "pretrain", {}, seed=3)
    run.press = ("state-iql", 4)
    with pytest.raises(KeyboardInterrupt, match="state-iql: stopped after update 4 of 6"):
        state_iql(data, run)
    other = state_iql(data, run)
    pairs = zip(agent.actor.state_dict().values(), other.actor.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    with pytest.raises(CheckpointError, match="holds no state-iql agent: train it with .*--also state-iql"):
        load_agent(Run.create(tmp_path, "pretrain", {}, seed=3), name="state-iql")
    with pytest.raises(SettingsError, match="unknown agent 'sarsa'; known are iql, state-iql"):
        load_agent(run, name="sarsa")


# The report


@dataclass
class Known:
    """Knows each image of a data set: acts by a rule on the plug's place in the socket frame, values by a table."""

    dataset: Dataset
    rule: Any
    table: np.ndarray

    def frames(self, images: np.ndarray) -> np.ndarray:
        everything = self.dataset.images(np.arange(self.dataset.n_frames))
        return np.array([int((everything == image).all((1, 2, 3)).argmax()) for image in images])

    def act(self, observation: Any) -> np.ndarray:
        return np.stack([self.rule(self.dataset.frame_state[frame, :2]) for frame in self.frames(observation)])

    def value(self, observation: Any) -> np.ndarray:
        return self.table[self.frames(observation)].astype(np.float32)


def test_returns_by_hand(data):
    dataset, _ = data
    found = returns(dataset, 0.9)
    for row in dataset.episodes:
        mine = found[row["first_frame"] : row["first_frame"] + row["n_frames"]]
        if row["success"]:
            n = row["n_frames"] - 1  # the last step is rewarded with 1, the one before is worth .9, then .81 ...
            np.testing.assert_allclose(mine[:-1], [0.9 ** (n - 1 - k) for k in range(n)], rtol=1e-6)
            assert np.isnan(mine[-1])
        else:
            assert np.isnan(mine).all()


def test_motion_of_an_action_is_found_from_data():
    rng = np.random.default_rng(0)
    action, truth = rng.uniform(-1, 1, (40, 3)), np.array([[0.0, -0.006, 0.0], [0.006, 0.0, 0.001]])
    np.testing.assert_allclose(motion_of_action(action, action @ truth.T), truth, atol=1e-12)


@pytest.mark.parametrize(
    ("turn", "angle", "least", "most"),
    [
        (0.0, 0.0, 0.0, 1.5),
        (math.pi / 3, 60.0, 2.0, 8.0),  # by the law of cosines it stays as far off as the way it goes
        (math.pi, 180.0, 6.0, 12.0),
    ],
)
def test_report_of_a_policy_that_is_turned(data, turn, angle, least, most):
    _, dataset = data
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])

    def rule(place: np.ndarray) -> np.ndarray:
        towards = -place / max(np.linalg.norm(place) / STEP_M, 1.0) / STEP_M  # at most one step, exactly to the axis
        return np.append(TURN.T @ rotation @ towards, 0.0)

    target = returns(dataset, 0.97)
    agent = Known(dataset, rule, np.nan_to_num(target + 0.05, nan=0.1))
    report = policy_report(agent, dataset, 0.97, 1000, np.random.default_rng(0))
    figures = report["connectors"]["plug-ccc"]
    assert figures["angle_deg"] == pytest.approx(angle, abs=0.5)
    assert least <= figures["lateral_error_mm"] <= most
    assert figures["value_press"] == pytest.approx(0.1)
    assert figures["value_correlation"] == pytest.approx(1.0)
    assert report["overall"] == pytest.approx(figures)


def test_report_of_values(data):
    _, dataset = data
    expert = dataset.subset(dataset.episodes["kind"] == KINDS.index("expert"))
    target = returns(expert, 0.97)
    agent = Known(expert, lambda place: np.zeros(3), np.nan_to_num(target + 0.05))
    figures = policy_report(agent, expert, 0.97, 1000, np.random.default_rng(0))["overall"]
    assert figures["value_error"] == pytest.approx(0.05, abs=1e-6)
    assert figures["value_bias"] == pytest.approx(0.05, abs=1e-6)
    assert figures["value_press"] is None
    assert json.dumps(figures)


def test_too_little_data_says_nothing(data):
    _, dataset = data
    few = dataset.subset(np.arange(len(dataset)) < 2)
    agent = Known(few, lambda place: np.zeros(3), np.zeros(few.n_frames))
    assert policy_report(agent, few, 0.97, 10, np.random.default_rng(0)) == {"overall": {}, "connectors": {}}
