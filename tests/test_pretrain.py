"""What pretraining promises: exact resuming, clean stops, the right rows for the policy, figures worth reading."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.agents.iql import IQLConfig
from lotj.agents.localizer import Localizer, LocalizerConfig
from lotj.data.layout import Schema
from lotj.data.store import DiskStore, MemoryStore, Store
from lotj.data.writer import EpisodeWriter
from lotj.errors import CheckpointError, DataError, SettingsError
from lotj.experience import SUCCESS, Batch, Episode, Task
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels, Vector
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run
from lotj.training.localize import load_localizer, pretrain_localizer
from lotj.training.loop import StopRequest, means
from lotj.training.policy_report import policy_report, returns
from lotj.training.pretrain import REWARD, load_agent, load_reward, pretrain_agent, pretrain_reward, take_over
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.prior import batches, sources
from small_agents import OFF, chosen, same

SIZE = 16
BOTTLENECK = BottleneckConfig(invariant_dim=8, specific_dim=4, domain_hidden=(8,))
ENCODER = EncoderConfig(width=8, stages=1)
FRONT = Pixels(ENCODER, feature_channels=4)
IQL_CONFIG = IQLConfig(bottleneck=BOTTLENECK, hidden=(8,), critic_projection=8, critic_hidden=8)
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


def episode(task: str, kind: str, seed: int) -> Episode:
    """The expert goes to the axis, 6 mm a step, and is seated there; `press` does not move. At most 5 steps."""
    rng = np.random.default_rng([seed, len(task), len(kind)])
    place = rng.uniform(-0.014, 0.014, 2) if kind == "expert" else rng.choice([-1, 1], 2) * rng.uniform(0.006, 0.014, 2)
    places, actions = [place], []
    while len(actions) < 5 and np.linalg.norm(places[-1]) > 0.001:
        action = np.zeros(3, np.float32)
        if kind == "expert":
            action[:2] = np.clip(TURN.T @ -places[-1] / STEP_M, -1, 1)
        actions.append(action)
        places.append(places[-1] + STEP_M * TURN @ action[:2])
    success = np.linalg.norm(places, axis=1) <= 0.001
    position = np.column_stack([places, 0.01 * ~success]).astype(np.float32)
    frames = np.stack([picture(place, 10 * len(task)) for place in places])[:, None]
    done = bool(success[-1])
    reward = success[1:].astype(np.float32)
    notes, truth = {SUCCESS: success}, {"position": position}
    return Episode({"image": frames}, np.array(actions), reward, done, not done, task, kind, seed, notes, truth)


Data = tuple[DiskStore, DiskStore]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Training data of two tasks and validation data of a third; every third episode presses beside."""
    root = tmp_path_factory.mktemp("data")
    for name, split in (("a", "train"), ("bb", "train"), ("ccc", "validation")):
        made = [episode(name, "press" if seed % 3 == 2 else "expert", seed) for seed in range(18)]
        with EpisodeWriter(root, Task(name, f"plug-{name}", split), Schema.of(made[0])) as writer:
            for one in made:
                writer.append(one)
    return DiskStore.open(root, split="train"), DiskStore.open(root, split="validation")


class PatientRun(Run):
    """A run whose user presses Ctrl-C when the line (`stream`, `step`) has been written."""

    press: tuple[str, int] | None = None

    def log(self, step: int, scalars: dict[str, Any], stream: str = "metrics") -> None:
        super().log(step, scalars, stream)
        if self.press == (stream, step):
            self.press = None
            signal.raise_signal(signal.SIGINT)


def train(data: Data, run: Run, reward: RewardConfig = REWARD_CONFIG, iql: IQLConfig = IQL_CONFIG, **settings: Any):
    """Reward model, then agent."""
    config = replace(CONFIG, **settings)
    model = pretrain_reward(*data, reward, config, run, live=False)
    return model, pretrain_agent("iql", *data, FRONT, iql, config, run, live=False)


def parts(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of agent and reward model."""
    return run.load("iql")["agent"]["modules"], load_reward(run).classifier.state_dict()


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("time", "updates_per_second")} for line in lines]


def test_stopped_and_resumed_equals_never_stopped(data: Data, tmp_path: Path):
    whole = Run.create(tmp_path, "pretrain", {}, seed=3)
    train(data, whole)
    run = PatientRun.create(tmp_path, "pretrain", {}, seed=3)
    handler = signal.getsignal(signal.SIGINT)
    for press in [(REWARD, 2), ("iql", 1), ("iql", 4)]:
        run.press = press
        with pytest.raises(KeyboardInterrupt, match=rf"{press[0]}: stopped after update {press[1]} of"):
            train(data, run)
        assert signal.getsignal(signal.SIGINT) is handler
        # As after a kill -9 later on: a line of an update that no checkpoint holds.
        Run.log(run, press[1] + 1, {"loss_v": 99.0}, press[0])
    train(data, run)
    assert all(same(one, other) for one, other in zip(parts(whole), parts(run), strict=True))
    assert same(whole.load("iql"), run.load("iql"))
    for stream, steps in ((REWARD, 5), ("iql", 6)):
        lines, others = (timeless(r.metrics(stream)) for r in (whole, run))
        assert [line["step"] for line in lines] == list(range(1, steps + 1))
        assert lines == others
    assert (whole.path / "iql_report.json").read_text() == (run.path / "iql_report.json").read_text()


def test_what_a_pretraining_leaves(data: Data, tmp_path: Path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    model, agent = train(data, run)
    assert {"loss_v", "loss_policy", "loss_daib", "loss_q", "loss_policy_position", "kl"} <= run.metrics("iql")[
        -1
    ].keys()
    assert {"success_loss", "kl", "domain_loss"} <= run.metrics(REWARD)[-1].keys()
    report = json.loads((run.path / "iql_report.json").read_text())
    assert list(report["validation"]["tasks"]) == ["plug-ccc"]
    assert list(report["train"]["tasks"]) == ["plug-a", "plug-bb"]
    assert run.metrics("iql-validation")[0]["angle_deg"] == pytest.approx(report["validation"]["overall"]["angle_deg"])
    assert json.loads((run.path / "reward_report.json").read_text())["overall"]["successes"] > 0
    seen = data[1].observe(np.arange(4))
    loaded = load_agent(run, lr=1e-4)
    np.testing.assert_array_equal(loaded.act(seen), agent.act(seen))
    assert loaded.config.lr == 1e-4 and loaded.updates == 6
    np.testing.assert_array_equal(load_reward(run).score(seen["image"]), model.score(seen["image"]))


def test_finished_pretraining_is_not_trained_again_and_another_is_refused(data: Data, tmp_path: Path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    train(data, run)
    before, written = parts(run), (run.path / "iql_report.json").stat().st_mtime_ns
    train(data, run, log_every=3, save_minutes=1.0)  # how often it reports and saves is free
    assert all(same(one, other) for one, other in zip(before, parts(run), strict=True))
    assert (run.path / "iql_report.json").stat().st_mtime_ns == written  # nor is its report taken again
    with pytest.raises(CheckpointError, match="the iql in .* begun with other pretrain settings"):
        train(data, run, steps=7)
    with pytest.raises(CheckpointError, match="begun with other agent settings"):
        train(data, run, iql=replace(IQL_CONFIG, discount=0.5))
    with pytest.raises(CheckpointError, match="begun with other agent settings"):
        pretrain_agent("iql", *data, replace(FRONT, augment=OFF), IQL_CONFIG, CONFIG, run, live=False)
    with pytest.raises(CheckpointError, match="the reward in .* begun with other settings"):
        train(data, run, reward=replace(REWARD_CONFIG, lr=0.1))
    with pytest.raises(CheckpointError, match="the reward in .* begun with other tasks"):
        pretrain_reward(data[1], data[1], REWARD_CONFIG, CONFIG, run, live=False)
    fewer = chosen(data[0], np.arange(len(data[0])) > 0)
    with pytest.raises(CheckpointError, match="other (episodes|data)"):
        pretrain_agent("iql", fewer, data[1], FRONT, IQL_CONFIG, CONFIG, run, live=False)
    assert all(same(one, other) for one, other in zip(before, parts(run), strict=True))


def test_halves_of_two_pretrainings_make_a_third_without_training(data: Data, tmp_path: Path):
    plain = replace(IQL_CONFIG, bottleneck=replace(BOTTLENECK, variant="erm"))
    one, two, both = (Run.create(tmp_path / name, "pretrain", {}, seed=0) for name in ("one", "two", "both"))
    train(data, one)
    train(data, two, iql=plain)
    take_over(both, one, REWARD)
    take_over(both, two, "iql")
    written = (both.path / "iql_report.json").stat().st_mtime_ns
    for _ in range(2):
        train(data, both, iql=plain)
        assert same(parts(both)[0], parts(two)[0]) and same(parts(both)[1], parts(one)[1])
        take_over(both, one, "iql")  # its own stays
    assert timeless(both.metrics("iql")) == timeless(two.metrics("iql")) and len(both.metrics(REWARD)) == 5
    assert (both.path / "iql_report.json").stat().st_mtime_ns == written


def test_taken_over_halves_must_be_finished_and_fit(data: Data, tmp_path: Path):
    run, other = (PatientRun.create(tmp_path / name, "pretrain", {}, seed=0) for name in ("one", "two"))
    other.press = ("iql", 2)
    with pytest.raises(KeyboardInterrupt):
        train(data, other)
    with pytest.raises(CheckpointError, match=r"no finished iql training \(iql_report.json is missing\): resume it"):
        take_over(run, other, "iql")
    take_over(run, other, REWARD)
    with pytest.raises(CheckpointError, match="other settings"):
        train(data, run, reward=replace(REWARD_CONFIG, hidden=(9,)))


def test_agents_learn_from_states_and_without_validation(data: Data, tmp_path: Path):
    """A pretraining on tasks without images; its checkpoint may have a name of its own."""
    root = tmp_path / "data"
    made = []
    for seed in range(4):
        one = episode("a", "expert", seed)
        made.append(replace(one, observation={"state": one.truth["position"]}, truth={}))
    with EpisodeWriter(root, Task("a", "toy"), Schema.of(made[0])) as writer:
        for one in made:
            writer.append(one)
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    config = replace(CONFIG, policy_kinds=None)
    store = DiskStore.open(root)
    agent = pretrain_agent("iql", store, None, Vector(), IQL_CONFIG, config, run, live=False, checkpoint="mine")
    assert agent.reads == {"state"} and agent.updates == 6 and not (run.path / "mine_report.json").exists()
    again = pretrain_agent("iql", store, None, Vector(), IQL_CONFIG, config, run, live=False, checkpoint="mine")
    assert same(again.state(), agent.state()) and load_agent(run, name="mine").updates == 6
    with pytest.raises(SettingsError, match="observation 'sound': the data have state"):
        pretrain_agent("iql", store, None, Vector(), IQL_CONFIG, config, run, live=False, observation=["sound"])
    with pytest.raises(SettingsError, match="image"):
        pretrain_agent("bc", store, None, FRONT, IQL_CONFIG, config, run, live=False)


def test_torn_checkpoint_is_said_to_be_torn(data: Data, tmp_path: Path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    train(data, run)
    path = run.path / "checkpoints" / "iql.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="torn"):
        load_agent(run)
    none = Run.create(tmp_path, "pretrain", {}, seed=0)
    with pytest.raises(CheckpointError, match="holds no awac agent: `lotj pretrain --resume .* --also awac` makes it"):
        load_agent(none, name="awac")
    with pytest.raises(CheckpointError, match="there is no reward model here"):
        load_reward(none)


def test_second_interrupt_stops_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.made
        signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_means_of_what_was_there():
    assert means([{"a": 1.0, "b": 5.0}, {"a": 3.0}]) == {"a": 2.0, "b": 5.0}
    assert means([]) == {}


# Batches


def drawn(data: Store, number: int = 0, seed: int = 1, **settings: Any) -> Batch:
    made = batches(data, PretrainConfig(**settings), seed, {"imitate", "position"}, ["image"])
    assert same_batch(made(number), made(number))
    return made(number)


def same_batch(one: Batch, other: Batch) -> bool:
    return np.array_equal(one.observation["image"], other.observation["image"])


def beside(batch: Batch) -> np.ndarray:
    """(B,) whether the plug is more than 2 mm beside the axis."""
    return np.linalg.norm(batch.columns["position"][:, :2], axis=1) > 0.002


def of_kind(data: Store, kind: str) -> np.ndarray:
    """(F,) bool."""
    return data.of_frames(data.of_kind([kind]))


def test_batches_hold_transitions_and_say_whose_they_are(data: Data):
    train_data, _ = data
    batch = drawn(train_data, 7, batch=400, policy_share=None)
    assert not same_batch(batch, drawn(train_data, 8, batch=400, policy_share=None))
    assert not same_batch(batch, drawn(train_data, 7, seed=2, batch=400, policy_share=None))
    starts = train_data.starts()
    assert abs(batch.columns["imitate"].mean() - of_kind(train_data, "expert")[starts].mean()) < 0.1
    still = (batch.action == 0).all(1)  # only those that press stand still
    np.testing.assert_array_equal(batch.columns["imitate"], ~still)
    now, then = batch.observation["image"], batch.next_observation["image"]
    assert (now[still] == then[still]).all() and (now[~still] != then[~still]).any(axis=(1, 2, 3, 4)).all()
    np.testing.assert_array_equal(np.round(batch.columns["position"][:, :2] / 0.00015) + 128, now[:, 0, 0, 0, :2])
    np.testing.assert_array_equal(batch.terminated, batch.reward == 1)
    assert set(batch.task) == {0, 1}
    plain = batches(train_data, PretrainConfig(), 1, (), ["image"])(0)
    assert not plain.columns  # what an agent does not ask for, the truth above all, is not there


def test_a_set_share_of_a_batch_is_for_the_policy(data: Data):
    train_data, _ = data
    assert drawn(train_data, batch=40, policy_share=0.6).columns["imitate"].sum() == 24  # 60 % of 40
    assert drawn(train_data, batch=40, policy_kinds=None).columns["imitate"].all()
    only_experts = chosen(train_data, train_data.of_kind(["expert"]))
    assert drawn(only_experts, batch=40).columns["imitate"].all()
    with pytest.raises(DataError, match="no episode of kind recover: collect some, or set policy_kinds"):
        drawn(train_data, policy_kinds=("recover",))


def test_a_set_share_of_the_policys_rows_is_beside_the_socket(data: Data):
    train_data, _ = data
    place = np.linalg.norm(train_data.truth("position")[:, :2], axis=1) > 0.002
    mine = of_kind(train_data, "expert")[train_data.starts()]
    share = place[train_data.starts()][mine].mean()
    assert 0.5 < share < 1  # more than half of them anyway
    batch = drawn(train_data, batch=400, policy_share=0.5, aside_share=0.25)
    assert (beside(batch) & batch.columns["imitate"]).sum() == 50  # a quarter of half of 400
    assert batch.columns["imitate"].sum() == 200
    batch = drawn(train_data, batch=400, policy_share=0.5, aside_share=None)
    assert batch.columns["imitate"].sum() == 200
    assert abs((beside(batch) & batch.columns["imitate"]).sum() / 200 - share) < 0.15
    only_experts = chosen(train_data, train_data.of_kind(["expert"]))
    assert beside(drawn(only_experts, batch=40, aside_share=0.25)).sum() == 10


def test_learning_rate_rises_and_falls():
    config = PretrainConfig(steps=110, warmup=10, lr=1.0)
    # 1/10 at first, 1 at the end of the warm-up, 1/2 in the middle of the cosine, (1 + cos(.99 pi)) / 2 at last
    expected = {0: 0.1, 9: 1.0, 10: 1.0, 60: 0.5, 109: 0.5 * (1 + math.cos(0.99 * math.pi))}
    assert {step: config.learning_rate(step) for step in expected} == pytest.approx(expected)
    assert replace(config, cosine=False, lr=0.5).learning_rate(109) == 0.5
    assert PretrainConfig(steps=1, warmup=5, lr=1.0).learning_rate(0) == 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": -1}, "steps -1"),
        ({"batch": 0}, "batch 0"),
        ({"save_minutes": -1.0}, "save_minutes -1.0"),
        ({"lr": 0.0}, "lr 0.0"),
        ({"lr": math.nan}, "lr nan"),
        ({"policy_kinds": ()}, r"policy_kinds \(\)"),
        ({"policy_share": 0.0}, "policy_share 0.0: must be above 0"),
        ({"policy_share": 1.5}, "policy_share 1.5: must be between 0 and 1"),
        ({"aside_share": 1.5}, "aside_share 1.5"),
        ({"aside_share": math.nan}, "aside_share nan"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=f"pretrain .*{words}"):
        replace(CONFIG, **settings)


# The localisation model

LOCALIZER_CONFIG = LocalizerConfig(front=Pixels(ENCODER, 0, OFF), steps=6, batch=8, warmup=2)


def localize(data: Data, run: Run, **settings: Any) -> Localizer:
    config = PretrainConfig(log_every=1)
    return pretrain_localizer(*data, replace(LOCALIZER_CONFIG, **settings), config, run, live=False)


def test_localizer_finds_the_plug_of_an_unseen_domain(data: Data, tmp_path: Path):
    run = Run.create(tmp_path, "pretrain", {}, seed=0)
    localize(data, run, steps=300, batch=32, lr=3e-3)
    (row,) = run.metrics("localizer-validation")
    place = data[1].truth("position")[data[1].of_frames(data[1].of_kind(["expert"])), :2]
    # A pixel of the picture is 2 mm. Half of the frames are within some millimetres of the axis, so a constant is good.
    assert np.median(np.linalg.norm(place - place.mean(0), axis=1)) > 0.002
    assert row["lateral_mm"] < 1.5 and row["lateral_mm_90"] < 3.0


def test_localizer_stopped_and_resumed_equals_never_stopped(data: Data, tmp_path: Path):
    whole = Run.create(tmp_path, "pretrain", {}, seed=3)
    localize(data, whole)
    run = PatientRun.create(tmp_path, "pretrain", {}, seed=3)
    with pytest.raises(CheckpointError, match="`lotj pretrain --resume .* --also localizer` makes it"):
        load_localizer(run)
    run.press = ("localizer", 4)
    with pytest.raises(KeyboardInterrupt, match="stopped after update 4 of 6"):
        localize(data, run)
    localize(data, run)
    images = data[1].observe(np.arange(10))["image"]
    np.testing.assert_array_equal(load_localizer(whole).locate(images), load_localizer(run).locate(images))
    assert timeless(whole.metrics("localizer")) == timeless(run.metrics("localizer"))
    with pytest.raises(CheckpointError, match="begun with other settings"):
        localize(data, run, batch=4)


# The report


@dataclass
class Known:
    """Knows each image of a data set: acts by a rule on the plug's place in the socket frame, values by a table."""

    data: Store
    rule: Any
    table: np.ndarray

    def frames(self, observation: Any) -> np.ndarray:
        everything = self.data.observe(np.arange(self.data.n_frames))["image"]
        return np.array([(everything == image).all((1, 2, 3, 4)).argmax() for image in observation["image"]], int)

    def act(self, observation: Any) -> np.ndarray:
        return np.stack([self.rule(self.data.truth("position")[frame, :2]) for frame in self.frames(observation)])

    def value(self, observation: Any) -> np.ndarray:
        return self.table[self.frames(observation)].astype(np.float32)


def test_returns_by_hand(data: Data):
    found = returns(data[0], 0.9)
    for number, row in enumerate(data[0].episodes):
        mine = found[row["first_frame"] : row["first_frame"] + row["n_frames"]]
        if data[0].episode(number).notes[SUCCESS].any():
            n = row["n_frames"] - 1  # the last step is rewarded with 1, the one before is worth .9, then .81 ...
            np.testing.assert_allclose(mine[:-1], [0.9 ** (n - 1 - k) for k in range(n)], rtol=1e-6)
            assert np.isnan(mine[-1])
        else:
            assert np.isnan(mine).all()


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
    figures = report["tasks"]["plug-ccc"]
    assert figures["angle_deg"] == pytest.approx(angle, abs=0.5)
    assert least <= figures["lateral_error_mm"] <= most
    assert figures["value_press"] == pytest.approx(0.1)
    assert figures["value_correlation"] == pytest.approx(1.0)
    assert report["overall"] == pytest.approx(figures)


def test_report_of_values(data):
    _, dataset = data
    expert = chosen(dataset, dataset.of_kind(["expert"]))
    target = returns(expert, 0.97)
    agent = Known(expert, lambda place: np.zeros(3), np.nan_to_num(target + 0.05))
    figures = policy_report(agent, expert, 0.97, 1000, np.random.default_rng(0))["overall"]
    assert figures["value_error"] == pytest.approx(0.05, abs=1e-6)
    assert figures["value_bias"] == pytest.approx(0.05, abs=1e-6)
    assert figures["value_press"] is None
    assert json.dumps(figures)


def test_too_little_data_says_nothing(data):
    _, dataset = data
    few = chosen(dataset, np.arange(len(dataset)) < 2)
    agent = Known(few, lambda place: np.zeros(3), np.zeros(few.n_frames))
    assert policy_report(agent, few, 0.97, 10, np.random.default_rng(0)) == {"overall": {}, "tasks": {}}


@pytest.mark.parametrize(
    ("env", "ends", "rows", "ended"),
    [
        ("insertion/usb-b", False, [0, 1], [1]),  # a robot that judges itself: what follows its success is not learnt
        ("force-insertion/usb-b", False, [0, 1, 2, 3], []),  # the environment goes on, and goes on rewarding
        ("force-insertion/usb-b", True, [0, 1, 2, 3], [3]),  # until it says that it is over
    ],
)
def test_prior_data_end_where_practice_does(env: str, ends: bool, rows: list[int], ended: list[int]) -> None:
    """Four steps of which the second leads to a success that lasts: rewards 0, 1, 1, 1."""
    store, won = MemoryStore([Task("t", env)]), np.array([False, False, True, True, True])
    seen, action = {"state": np.zeros((5, 1), np.float32)}, np.zeros((4, 1), np.float32)
    paid = np.array([0, 1, 1, 1], np.float32)
    store.append(Episode(seen, action, paid, ends, not ends, "t", "expert", 0, {SUCCESS: won}, {}))
    (source,) = sources(store, PretrainConfig(policy_kinds=None))
    assert source.rows is not None and source.rows.tolist() == rows
    assert [row for row in rows if store.terminated()[row]] == ended
