"""The success classifier: sampling, training, threshold, file and figures, on toy images with known answers.

In the toy a dark square stands for the plug: low in the picture it is inserted. The background colour is the domain.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lotj.data.layout import Schema
from lotj.data.store import DiskStore, MemoryStore, Store
from lotj.data.writer import EpisodeWriter
from lotj.errors import CheckpointError, DataError, NumericsError, SettingsError
from lotj.experience import Episode, Task
from lotj.nets.augment import AugmentConfig
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Variant
from lotj.nets.encoder import EncoderConfig
from lotj.nets.norm import Norm
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.held_out import bottleneck_report, domain_probe, held_out_report, score_frames
from lotj.rewards.model import RewardModel
from lotj.rewards.sampling import BalancedSampler, near_misses
from lotj.rewards.threshold import area_under_curve, choose_threshold, curve
from lotj.rewards.training import RewardTrainer
from small_agents import chosen

SIZE = 16
CONFIG = RewardConfig(
    encoder=EncoderConfig(width=8, stages=2),
    bottleneck=BottleneckConfig("daib", 16, 4, domain_hidden=(16,)),
    augment=AugmentConfig(shift=0, hue=0.3),
    hidden=(16,),
    steps=8,
    batch=16,
    warmup=2,
    ema=0.9,
)


KINDS = ("press",)
"""Recorded as near misses."""


def toy_episode(name: str, seed: int, kind: str, generator: np.random.Generator, colour: np.ndarray) -> Episode:
    """Five frames in which the square comes down a row of 3 pixels at a time, seen by two cameras side by side;
    `press` stops one row above the hole."""
    image = np.empty((5, 2, SIZE, SIZE, 3), np.uint8)
    image[:] = colour
    left = int(generator.integers(4, 8))
    heights = [0, 3, 6, 9, 12] if kind == "expert" else [0, 3, 6, 9, 9]
    for views, top in zip(image, heights, strict=True):
        for beside, view in enumerate(views):
            view[top : top + 4, left - beside : left - beside + 4] = 20
    image += generator.integers(0, 12, image.shape, np.uint8)
    success = np.array(heights) == 12
    position = np.zeros((5, 3), np.float32)
    position[:, 2] = (12 - np.array(heights)) * 0.002
    done = bool(success[-1])
    return Episode(
        {"image": image}, np.zeros((4, 3), np.float32), success[1:].astype(np.float32), done, not done, name, kind,
        seed, {"success": success}, {"position": position},
    )  # fmt: skip


def toy(root: Path, colours: np.ndarray, split: str = "train", episodes: int = 12) -> DiskStore:
    """One task and connector a colour, two expert episodes for each `press` episode."""
    for number, colour in enumerate(colours):
        name = f"{split}-{number}"
        generator = np.random.default_rng([number, len(split)])
        made = [
            toy_episode(name, seed, "press" if seed % 3 == 2 else "expert", generator, colour)
            for seed in range(episodes)
        ]
        with EpisodeWriter(root, Task(name, "toy", split, {"connector": name}), Schema.of(made[0])) as writer:
            for episode in made:
                writer.append(episode)
    return DiskStore.open(root, split=split)


def changed(store: Store, change: Callable[[Episode], Episode]) -> MemoryStore:
    """The same episodes, each as it is after `change`."""
    made = MemoryStore(store.tasks)
    for number in range(len(store)):
        made.append(change(store.episode(number)))
    return made


def images(store: Store, count: int) -> np.ndarray:
    return store.observe(np.arange(count), ["image"])["image"]


def unlabelled(episode: Episode) -> Episode:
    return replace(episode, notes={"success": np.zeros(5, bool)})


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What toys hold is found in less than half of the updates."""
    monkeypatch.setattr("lotj.rewards.held_out._PROBE_UPDATES", 400)


TRAIN_COLOURS = np.array([[200, 60, 60], [60, 200, 60], [70, 70, 210], [180, 180, 60]], np.uint8)
OTHER_COLOURS = np.array([[60, 190, 190], [200, 90, 200]], np.uint8)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    return toy(tmp_path_factory.mktemp("toy") / "train", TRAIN_COLOURS)


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    return toy(tmp_path_factory.mktemp("toy") / "validation", OTHER_COLOURS, "validation")


# --- sampling


def test_near_misses_are_those_kinds_and_almost_seated_plugs(train: DiskStore) -> None:
    # A task has 8 expert episodes (8 successes, 32 other frames, all 6 mm or more from seated) and 4 press episodes of
    # 5 frames.
    near = near_misses(train, KINDS)
    assert near.sum() == 4 * 4 * 5
    assert not (near & train.success).any()
    assert not near_misses(train, ["half"]).any()

    def closer(episode: Episode) -> Episode:  # what was one row above the hole, 6 mm, is at 3 mm
        position = episode.truth["position"]
        return replace(episode, truth={"position": np.where(np.isclose(position, 0.006), 0.003, position)})

    closer_store = changed(train, closer)
    # One such frame of each expert episode, two of each press episode.
    assert near_misses(closer_store, []).sum() == 4 * (8 + 4 * 2)
    assert near_misses(closer_store, KINDS).sum() == 4 * (8 + 4 * 5)


def test_without_a_true_height_kinds_alone_are_near_misses(train: DiskStore) -> None:
    robot = changed(train, lambda episode: replace(episode, truth={}))
    assert near_misses(robot, KINDS).sum() == 4 * 4 * 5 and not near_misses(robot, []).any()


def test_every_batch_is_half_successes_and_balanced_in_each_task(train: DiskStore) -> None:
    sampler = BalancedSampler(train, 0.5, KINDS)
    index = sampler.draw(64, np.random.default_rng(0))
    success, task = train.success[index], train.frame_task[index]
    assert success[:32].all() and not success[32:].any()
    assert np.array_equal(task[:32], task[32:])
    assert near_misses(train, KINDS)[index].sum() == 16  # half of the 32 others
    many = sampler.draw(8000, np.random.default_rng(1))
    share = np.bincount(train.frame_task[many]) / 8000
    assert np.abs(share - 0.25).max() < 0.02  # four tasks; one standard deviation is 0.007
    assert len(np.unique(many[:4000])) == 4 * 8  # every success is drawn


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (1.0, 32), (0.25, 8)])
def test_near_miss_share(train: DiskStore, share: float, count: int) -> None:
    index = BalancedSampler(train, share, KINDS).draw(64, np.random.default_rng(0))
    assert near_misses(train, KINDS)[index].sum() == count


def test_tasks_that_lack_one_sort_of_frames_give_the_other(train: DiskStore) -> None:
    only_expert = chosen(train, train.of_kind(["expert"]))
    index = BalancedSampler(only_expert, 1.0, KINDS).draw(64, np.random.default_rng(0))
    assert only_expert.success[index].sum() == 32
    index = BalancedSampler(train, 0.0, ["expert", "press"]).draw(64, np.random.default_rng(0))
    assert near_misses(train, ["expert", "press"])[index].sum() == 32


def test_a_task_with_one_label_is_never_drawn(train: DiskStore) -> None:
    failing = changed(train, lambda episode: unlabelled(episode) if episode.task == "train-2" else episode)
    sampler = BalancedSampler(failing, 0.5, KINDS)
    assert sampler.usable.tolist() == [0, 1, 3]
    index = sampler.draw(256, np.random.default_rng(0))
    assert 2 not in failing.frame_task[index]


def test_data_without_successes_is_refused(train: DiskStore) -> None:
    with pytest.raises(DataError, match="none of 4 tasks"):
        BalancedSampler(changed(train, unlabelled), 0.5, KINDS)


# --- figures and threshold


def test_area_under_curve_by_hand() -> None:
    # Pairs (success, other): .9 beats .8 and .1; .4 loses to .8, beats .1: 3 of 4.
    assert area_under_curve(np.array([0.9, 0.8, 0.4, 0.1]), np.array([1, 0, 1, 0])) == pytest.approx(0.75)
    assert area_under_curve(np.array([0.5, 0.5]), np.array([1, 0])) == pytest.approx(0.5)
    assert math.isnan(area_under_curve(np.array([0.5]), np.array([1])))


def test_curve_weighs_domains_and_labels_equally() -> None:
    # Domain 0: one success .9, one other .1. Domain 1: successes .8 and .2, others .7, .6, .3 and near miss .4.
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.6, 0.3, 0.4])
    labels = np.array([1, 0, 1, 1, 0, 0, 0, 0], bool)
    near = np.array([0, 0, 0, 0, 0, 0, 0, 1], bool)
    cuts = curve(scores, labels, near, np.array([0, 0, 1, 1, 1, 1, 1, 1]))
    at = int(np.flatnonzero((cuts.threshold > 0.3) & (cuts.threshold < 0.4))[0])  # predicted: .9 .8 .7 .6 .4
    assert cuts.recall[at] == pytest.approx((1 + 1 / 2) / 2)
    assert cuts.false_positives[at] == pytest.approx((0 + (1 + 2 / 3) / 2) / 2)  # near misses are half of domain 1
    assert cuts.near_false_positives[at] == pytest.approx(1.0)
    assert cuts.precision[at] == pytest.approx(0.75 / 1.75)
    assert cuts.recall[-1] == pytest.approx(1.0) and cuts.false_positives[-1] == pytest.approx(1.0)


def test_threshold_lies_in_the_middle_of_the_gap() -> None:
    scores, labels = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1], bool)
    near, domains = np.zeros(4, bool), np.zeros(4, np.int64)
    assert choose_threshold(scores, labels, near, domains) == pytest.approx(0.5)  # logits of .2 and .8 are symmetric


def test_threshold_buys_precision_against_near_misses_with_a_little_recall() -> None:
    near = [0.8, *np.linspace(0.1, 0.2, 9)]
    scores = np.array([0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.7, *near, 0.05])
    labels = np.array([1] * 7 + [0] * 11, bool)
    missed = np.array([0] * 7 + [1] * 10 + [0], bool)
    domains = np.zeros(18, np.int64)
    strict = choose_threshold(scores, labels, missed, domains, 0.98)
    assert 0.8 < strict < 0.94  # the near miss at .8 stays out, and one success of seven: recall 0.857
    # Precision 1 / 1.1 = 0.91 is enough: all successes for one near miss of ten, 1 - 0.05 / 2 against 1 - 0.143 / 2.
    assert 0.2 < choose_threshold(scores, labels, missed, domains, 0.9) < 0.7


def test_threshold_does_not_buy_precision_with_most_of_the_reward() -> None:
    scores = np.array([0.99, 0.9, 0.7, 0.6, 0.8, 0.2, 0.1])
    labels = np.array([1, 1, 1, 1, 0, 0, 0], bool)
    near = np.array([0, 0, 0, 0, 1, 1, 0], bool)
    # Without the near miss at .8 only half of the successes would be left.
    assert 0.2 < choose_threshold(scores, labels, near, np.zeros(7, np.int64), 0.98) < 0.6


def test_threshold_when_no_cut_is_precise_enough() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0, 1, 1, 0], bool)
    threshold = choose_threshold(scores, labels, np.ones(4, bool), np.zeros(4, np.int64), 0.98)
    assert 0.2 < threshold < 0.7  # precision 2/3 with both successes beats 1/2 with one


def test_threshold_needs_both_labels() -> None:
    with pytest.raises(DataError, match="0 successes of 2 frames"):
        choose_threshold(np.array([0.1, 0.2]), np.zeros(2, bool), np.zeros(2, bool), np.zeros(2, np.int64))


# --- training


def test_trainer_names_every_term(train: DiskStore, validation: DiskStore) -> None:
    with RewardTrainer(train, validation, CONFIG, seed=0) as trainer:
        terms = trainer.step()
        assert trainer.learner.updates == 1
    assert set(terms) == {
        *("loss", "success_loss", "kl", "domain_loss", "domain_accuracy", "accuracy", "gradient_norm", "lr")
    }
    assert all(math.isfinite(value) for value in terms.values())
    assert terms["loss"] == pytest.approx(terms["success_loss"] + terms["domain_loss"] + 0.01 * terms["kl"], rel=1e-3)
    assert terms["domain_loss"] == pytest.approx(math.log(4), abs=0.3)  # four domains, nothing learnt yet


def test_same_seed_same_result_interrupted_or_not(train: DiskStore, validation: DiskStore, tmp_path: Path) -> None:
    def run(trainer: RewardTrainer, steps: int) -> list[dict[str, float]]:
        return [trainer.step() for _ in range(steps)]

    with RewardTrainer(train, validation, CONFIG, seed=3) as trainer:
        whole = run(trainer, 6)
        weights = {name: value.clone() for name, value in trainer.classifier.state_dict().items()}
    with RewardTrainer(train, validation, CONFIG, seed=3) as trainer:
        first = run(trainer, 2)
        torch.save(trainer.learner.state(), tmp_path / "state.pt")
    torch.manual_seed(99)  # the global generator must not matter
    with RewardTrainer(train, validation, CONFIG, seed=3) as trainer:
        trainer.learner.restore(torch.load(tmp_path / "state.pt", weights_only=True))
        assert first + run(trainer, 4) == whole
        for name, value in trainer.classifier.state_dict().items():
            assert torch.equal(value, weights[name]), name
    with RewardTrainer(train, validation, CONFIG, seed=4) as trainer:
        assert run(trainer, 2) != first


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_gpu_replays_updates_that_are_those_of_one_that_does_not(
    train: DiskStore, validation: DiskStore, norm: Norm
) -> None:
    config = replace(CONFIG, encoder=replace(CONFIG.encoder, norm=norm))
    with (
        RewardTrainer(train, validation, config, 3, "cuda") as replaying,
        RewardTrainer(train, validation, config, 3, "cuda") as plain,
    ):
        plain.learner.recorded = None
        for step in range(8):
            assert replaying.step() == pytest.approx(plain.step(), rel=0.02, abs=1e-3), step
        mine, other = replaying.classifier.state_dict(), plain.classifier.state_dict()
        for name, value in mine.items():
            torch.testing.assert_close(value, other[name], rtol=0.05, atol=5e-3)


def test_nan_stops_the_training_before_it_spoils_the_weights(train: DiskStore, validation: DiskStore) -> None:
    with RewardTrainer(train, validation, CONFIG, seed=0) as trainer:
        state = trainer.learner.state()
        state["modules"][""]["classifier.head.2.bias"].fill_(math.nan)
        trainer.learner.restore(state)
        with pytest.raises(NumericsError, match="loss_success of update 0 is nan"):
            trainer.step()
        assert trainer.learner.updates == 0
        for module, values in trainer.learner.state()["modules"].items():
            for name, value in values.items():
                torch.testing.assert_close(value, state["modules"][module][name], rtol=0, atol=0, equal_nan=True)


def test_what_would_fail_after_the_training_fails_before_it(train: DiskStore, validation: DiskStore) -> None:
    def narrower(episode: Episode) -> Episode:
        return replace(episode, observation={"image": episode.observation["image"][..., :8, :]})

    def blind(episode: Episode) -> Episode:
        return replace(episode, observation={"state": np.zeros((5, 2), np.float32)})

    def won(episode: Episode) -> Episode:
        return replace(episode, notes={"success": np.ones(5, bool)})

    for change, message in (
        (unlabelled, "0 of the 120 frames of validation tasks show success, and the reward needs both kinds"),
        (won, "120 of the 120 frames of validation tasks show success"),
        (narrower, r"training tasks are \(2, 16, 16, 3\), of the validation tasks \(2, 16, 8, 3\)"),
        (blind, r"of the validation tasks \(\)"),
    ):
        with pytest.raises(DataError, match=message):
            RewardTrainer(train, changed(validation, change), CONFIG, seed=0)
    with pytest.raises(DataError, match="0 of the 240 frames of training tasks show success"):
        RewardTrainer(changed(train, unlabelled), validation, CONFIG, seed=0)


def test_the_truth_about_heights_moves_near_misses_alone(train: DiskStore, validation: DiskStore) -> None:
    """Falsified by metres it changes no weight: nothing here reads it but the choice of near misses."""

    def trained_on(store: Store) -> dict[str, torch.Tensor]:
        with RewardTrainer(store, validation, CONFIG, seed=0) as trainer:
            trainer.step()
            return trainer.classifier.state_dict()

    far = changed(train, lambda episode: replace(episode, truth={"position": episode.truth["position"] + 5}))
    plain = trained_on(train)
    assert all(torch.equal(value, plain[name]) for name, value in trained_on(far).items())


@pytest.mark.parametrize("bad", [{"batch": 7}, {"steps": 0}, {"ema": 1.0}, {"near_miss_share": 1.5}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        replace(CONFIG, **bad)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(train: DiskStore, validation: DiskStore) -> RewardModel:
    with RewardTrainer(train, validation, replace(CONFIG, steps=70, batch=32, lr=5e-3), seed=0) as trainer:
        while not trainer.done:
            trainer.step()
        return trainer.model()


def test_it_learns_and_carries_over_to_new_colours(
    trained: RewardModel, train: DiskStore, validation: DiskStore
) -> None:
    overall = trained.report["overall"]
    assert overall["accuracy"] > 0.95
    assert overall["auc"] > 0.98
    assert overall["near_miss_precision"] > 0.95
    frames = score_frames(trained, train)
    assert ((trained.score(images(train, 60)) >= trained.threshold) == train.success[:60]).mean() > 0.95
    assert area_under_curve(frames.score, frames.success) > 0.98


@pytest.mark.parametrize("variant", ["erm", "dann", "vib", "daib-lambda0"])
def test_every_variant_trains(train: DiskStore, validation: DiskStore, variant: str) -> None:
    config = replace(CONFIG, steps=3, bottleneck=replace(CONFIG.bottleneck, variant=variant))
    with RewardTrainer(train, validation, config, seed=0) as trainer:
        terms = [trainer.step() for _ in range(3)][-1]
    assert (terms["domain_loss"] > 0) == (variant in ("dann", "daib-lambda0"))
    assert (terms["kl"] > 0) == (variant in ("vib", "daib-lambda0"))


# --- model and report


def test_scores_are_probabilities_and_repeat(trained: RewardModel, validation: DiskStore) -> None:
    seen = images(validation, 100)
    scores = trained.score(seen)
    assert scores.shape == (100,) and scores.dtype == np.float32
    assert (scores >= 0).all() and (scores <= 1).all()
    assert np.array_equal(scores, trained.score(seen))
    assert trained.score(seen[:0]).shape == (0,)


def test_saved_model_is_the_same_model(trained: RewardModel, validation: DiskStore, tmp_path: Path) -> None:
    trained.save(tmp_path / "reward.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["reward.pt"]
    loaded = RewardModel.load(tmp_path / "reward.pt")
    seen = images(validation, 40)
    assert np.array_equal(loaded.score(seen), trained.score(seen))
    assert loaded.shape == (2, SIZE, SIZE, 3)
    assert loaded.threshold == trained.threshold
    assert loaded.config == trained.config
    assert loaded.report == trained.report


@pytest.mark.parametrize("shape", [(2, 96, 96, 3), (1, 16, 16, 3), (16, 16, 3)])
def test_other_cameras_are_one_clear_line(trained: RewardModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"images of shape .*: this reward model was trained on \(2, 16, 16, 3\)"):
        trained.score(np.zeros((1, *shape), np.uint8))


def test_views_are_seen_by_one_encoder_and_told_apart(trained: RewardModel, validation: DiskStore) -> None:
    seen = images(validation, 60)
    assert trained.classifier.encoder.resnet.feature_shape == (16, 2, 2)  # of a view of 16 pixels, stride 8
    assert trained.classifier.encoder.size == 2 * 16 * 2 * 2
    assert not np.allclose(trained.score(seen), trained.score(seen[:, ::-1]), atol=1e-4)


def test_torn_missing_and_foreign_files_are_refused(trained: RewardModel, tmp_path: Path) -> None:
    path = tmp_path / "reward.pt"
    trained.save(path)
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError) as caught:
            RewardModel.load(path)
        assert "\n" not in str(caught.value)
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="not a reward model"):
        RewardModel.load(path)
    content = torch.load(io.BytesIO(whole), weights_only=True)
    for change, words in (
        ({"version": 1}, "has version 1, this program reads 2"),
        ({"weights": {}}, "holds other networks than this program has"),
        ({"config": {}}, "setting .* is not in both the run and this lotj"),
    ):
        torch.save(content | change, path)
        with pytest.raises((CheckpointError, SettingsError), match=words) as caught:
            RewardModel.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no reward model here"):
        RewardModel.load(tmp_path / "nowhere.pt")


def test_report_has_figures_for_each_connector_and_kind(trained: RewardModel, validation: DiskStore) -> None:
    report = held_out_report(trained, validation)
    assert set(report["connectors"]) == {"validation-0", "validation-1"}
    assert report["overall"]["successes"] == 2 * 8 and report["overall"]["others"] == 2 * (32 + 20)
    assert report["overall"]["accuracy"] == pytest.approx(
        np.mean([one["accuracy"] for one in report["connectors"].values()])
    )
    assert set(report["overall"]["false_positive_rate"]) == {"expert", "press"}
    json.dumps(report, allow_nan=False)


def test_report_by_hand(trained: RewardModel, validation: DiskStore) -> None:
    # All successes found; of 32 expert frames 8 taken for one, of 20 press frames 10.
    frames = score_frames(trained, validation)
    frames = frames[frames.connector == "validation-0"]
    press, frames.score = frames.kind == "press", frames.success
    frames.score[np.flatnonzero(~frames.success & ~press)[:8]] = 1.0
    frames.score[np.flatnonzero(press)[:10]] = 1.0
    overall = held_out_report(trained, validation, frames)["overall"]
    assert overall["accuracy"] == pytest.approx((1 + 0.75) / 2)
    assert overall["near_miss_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert overall["precision"] == pytest.approx(1 / (1 + 18 / 52))
    assert overall["near_miss_precision"] == pytest.approx(1 / 1.5)
    assert overall["false_positive_rate"]["expert"] == pytest.approx(0.25)
    assert overall["near_miss_auc"] == pytest.approx(0.5 * 0.5 + 0.5)  # half the pairs are ties


def test_a_threshold_is_judged_on_the_connector_that_had_no_say(trained: RewardModel, validation: DiskStore) -> None:
    """Successes and others score .9 and .1 on one connector, .3 and .01 on the other: each has a perfect threshold, and
    at the other's one connector takes all frames for successes, the other none."""
    frames = score_frames(trained, validation)
    first = frames.connector == "validation-0"
    frames.score = np.where(first, np.where(frames.success, 0.9, 0.1), np.where(frames.success, 0.3, 0.01))
    report = held_out_report(trained, validation, frames)
    for name in ("validation-0", "validation-1"):
        assert report["connectors"][name]["accuracy_left_out"] == pytest.approx(0.5)
    assert report["overall"]["accuracy_left_out"] == pytest.approx(0.5)
    alone = held_out_report(trained, validation, frames[first])
    assert alone["overall"]["accuracy_left_out"] is None  # nobody else to choose


def test_a_fresh_probe_finds_what_there_is() -> None:
    """Four domains as the corners of a square (told by a line each), two as its diagonals (a line tells three corners
    at most), and codes that hold nothing."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 4, 2000)
    bits = np.stack([corner % 2, corner // 2], 1)
    codes = torch.from_numpy(2.0 * bits - 1.0 + 0.1 * rng.normal(size=(2000, 2)))
    held_out = np.arange(2000) % 2 == 1
    assert domain_probe(codes, corner, held_out, (), 0) == 1.0
    diagonal = bits.sum(1) % 2
    linear, deep = (domain_probe(codes, diagonal, held_out, hidden, 0) for hidden in ((), (256,)))
    assert linear is not None and linear < 0.8 and deep == 1.0
    nothing = torch.from_numpy(rng.normal(size=(2000, 2)))
    assert domain_probe(nothing, corner, held_out, (256,), 0) == pytest.approx(0.25, abs=0.05)
    assert domain_probe(codes, corner, corner < 2, (), 0) is None  # no domain on both sides
    # Domains count alike, however few their codes: all of 1,000 of one and none of 10 of the other are a half.
    few = np.repeat([0, 1], [1990, 10])
    assert domain_probe(torch.zeros(2000, 2), few, held_out, (), 0) == 0.5


def test_an_adversary_at_chance_proves_nothing() -> None:
    """Fifty domains that are plain in the features. Trained against our bottleneck the adversary guesses (chance is
    2 %); a fresh probe of the same frozen code does not."""
    generator = torch.Generator().manual_seed(0)
    centre, across = torch.randn(50, 32, generator=generator), torch.randn(32, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        domain = torch.randint(0, 50, (count,), generator=generator)
        offset = torch.randn(count, 32, generator=generator)
        return centre[domain] + offset, domain, (offset @ across > 0).float()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU())
        bottleneck = Bottleneck(32, 50, BottleneckConfig("daib", 32, 8, domain_hidden=(64,)))
        head = torch.nn.Linear(bottleneck.code_size, 1)
    weights = [*encoder.parameters(), *bottleneck.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, 3e-3)
    for step in range(200):
        features, domain, success = draw(64)
        code = bottleneck(encoder(features), True, generator)
        penalty, _ = bottleneck.penalty(code, domain, step / 200)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(code.z)[:, 0], success) + penalty
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 10.0)
        optimizer.step()
    features, domain, _ = draw(4000)
    with torch.no_grad():
        code = bottleneck(encoder(features), False).invariant
        logits = bottleneck.adversary(code)  # type: ignore[misc]
    assert float(torch.nn.functional.cross_entropy(logits, domain)) > 0.9 * math.log(50)
    assert float((logits.argmax(1) == domain).float().mean()) < 0.15
    found = domain_probe(code, domain.numpy(), np.arange(4000) % 2 == 1, (256,), 0)
    assert found is not None and found > 0.3


def test_bottleneck_report(trained: RewardModel, train: DiskStore, validation: DiskStore) -> None:
    before = torch.random.get_rng_state()
    report = bottleneck_report(trained, train, validation, seed=0, count=256)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert report["probe_chance"] == 0.25  # four domains
    assert 0.0 <= report["probe_linear"] <= 1.0 and 0.0 <= report["probe_two_layers"] <= 1.0
    assert not any("domain_" in name for name in report)  # what the adversary says is no evidence
    assert report["kl"] > 0.0
    assert report["auc"] > 0.98
    assert report["auc_without_invariant"] <= report["auc"] + 1e-6
    erm = bottleneck_report(untrained(train, validation, "erm"), train, validation, seed=0, count=64)
    assert erm["auc_without_invariant"] == pytest.approx(0.5)  # z_I was all it had
    assert "kl" not in erm
    assert erm["probe_two_layers"] > 0.9  # the background colour is the domain
    assert "probe_linear" not in bottleneck_report(
        untrained(train, validation, "vib"), train, validation, seed=0, count=64
    )


def untrained(train: DiskStore, validation: DiskStore, variant: Variant) -> RewardModel:
    config = replace(CONFIG, bottleneck=replace(CONFIG.bottleneck, variant=variant))
    with RewardTrainer(train, validation, config, seed=0) as trainer:
        return RewardModel(trainer.classifier, config, 0.5)
