"""The whole job, very small: collect, pretrain, practise, evaluate, report, by the functions that the commands call."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lotj.agents.iql import IQLConfig
from lotj.agents.localizer import LocalizerConfig
from lotj.data.store import DiskStore
from lotj.envs.insertion import InsertionEnv
from lotj.envs.registry import expert_of
from lotj.errors import CheckpointError, SettingsError
from lotj.evaluation.results import LABELS
from lotj.evaluation.rollout import evaluate
from lotj.experiments.evaluation import PolicyController, choose_entrants, evaluate_phase
from lotj.experiments.presets import PRESETS, Preset, find_preset
from lotj.experiments.stages import collect_phase, practice_phase, pretrain_phase
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.report import build_report
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run
from lotj.training.collect_insertion import CollectConfig
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain_config import PretrainConfig
from small_agents import PIXELS, learner_of

ENCODER = EncoderConfig(width=8, stages=2)
TINY = Preset(
    name="tiny",
    collect=CollectConfig(image_size=32, expert_episodes=4),
    collect_validation=CollectConfig(image_size=32, expert_episodes=4),
    training_connectors=3,
    reward=RewardConfig(encoder=ENCODER, steps=20, batch=32),
    front=Pixels(ENCODER),
    iql=IQLConfig(),
    pretrain=PretrainConfig(steps=20, batch=32, log_every=10),
    localizer=LocalizerConfig(front=Pixels(ENCODER, 0), steps=20, batch=32),
    features=FeatureConfig(transitions=60),
    practice=SelfJudgedConfig(
        trials=4,
        warmup_trials=1,
        batch_size=32,
        exploration_noise=0.0,  # it depends on the number of trials
    ),
    evaluation_trials=4,
)


def test_a_policy_varies_its_actions_by_the_spread_and_alike_in_a_repeated_trial() -> None:
    agent = learner_of("iql", PIXELS, initial_std=0.1)
    image = np.random.default_rng(0).integers(0, 255, (2, 8, 16, 3), dtype=np.uint8)

    def actions(spread: float, seed: int) -> np.ndarray:
        controller = PolicyController(agent, spread)
        controller.reset(seed)
        return np.stack([controller({"image": image}, {}) for _ in range(400)])

    (mean,) = agent.act({"image": image[None]})
    np.testing.assert_array_equal(actions(0.0, 1), np.tile(mean, (400, 1)))
    drawn = actions(0.5, 1)
    np.testing.assert_array_equal(drawn, actions(0.5, 1))
    assert not np.array_equal(drawn, actions(0.5, 2))
    # Half of 0.1; the standard deviation of 400 draws is known to 3.5 %, and the mean to 0.05 / 20.
    np.testing.assert_allclose(drawn.std(0), 0.05, rtol=0.15)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.01)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Data and a pretraining of the tiny preset."""
    root = tmp_path_factory.mktemp("job")
    collect_phase(TINY, root / "data", workers=2)
    return root, pretrain_phase(TINY, root / "data", root / "runs", seed=0, live=False)


@pytest.mark.slow
def test_from_nothing_to_the_report(job: tuple[Path, Run]) -> None:
    root, pretrained = job
    assert {task.split for task in DiskStore.open(root / "data", split="train").tasks} == {"train"}
    assert len(DiskStore.open(root / "data", split="validation").tasks) == 12
    run, result = practice_phase(TINY, pretrained, root / "runs", "nema-5-15", "far", seed=1, live=False)
    assert result.trials == 4
    truth = [json.loads(line) for line in (run.path / "truth.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(row["seed"] for row in truth)) == [row["seed"] for row in run.metrics()]
    results = evaluate_phase(run, trials=4)
    assert [r.name for r in results] == ["offline", "practice", "straight-down", "spiral-search"]
    assert all(list(r.seed) == list(results[0].seed) for r in results)
    with pytest.raises(CheckpointError, match="holds no localisation model"):
        evaluate_phase(run, trials=4, controllers=["localize"])
    pretrain_phase(TINY, root / "data", root / "runs", 0, resume=pretrained, live=False, also=["state-iql", "sac"])
    searches = ["random-search", "localize", "localize-straight-down", "localize-random-search"]
    more = evaluate_phase(run, trials=4, controllers=searches)
    assert [r.name for r in more] == searches and list(more[0].seed) == list(results[0].seed)
    for agent in ("state-iql", "sac"):
        other, _ = practice_phase(TINY, pretrained, root / "runs", "nema-5-15", "far", live=False, agent=agent)
        policies = evaluate_phase(other, trials=2, controllers=["offline", "practice"])
        assert [r.name for r in policies] == ["offline", "practice"]
    page = build_report(run.path).read_text()
    for words in ("NEMA 5-15", "Straight down", "Spiral search", "Localize, then random search", "of 4"):
        assert words in page


@pytest.mark.slow
def test_practice_resumes_on_the_bench_exactly(job: tuple[Path, Run]) -> None:
    root, pretrained = job
    whole, _ = practice_phase(TINY, pretrained, root / "a", "europlug", "near", seed=2, live=False)
    half = replace(TINY, practice=replace(TINY.practice, trials=2))
    parts, _ = practice_phase(half, pretrained, root / "b", "europlug", "near", seed=2, live=False)
    practice_phase(TINY, pretrained, root / "b", "europlug", "near", seed=2, live=False, resume=parts)
    same = ("trial", "seed", "steps", "score", "predicted_success", "value")
    rows = [[{key: row.get(key) for key in same} for row in run.metrics()] for run in (whole, parts)]
    assert rows[0] == rows[1]


def test_controllers_are_checked_by_name() -> None:
    named = ("offline", "localize-spiral-search")
    assert choose_entrants(named, LABELS) == named
    assert choose_entrants((), LABELS) == ("offline", "practice", "straight-down", "spiral-search")
    of_a_task = ("offline", "practice", "expert")
    assert choose_entrants((), of_a_task) == of_a_task
    with pytest.raises(SettingsError, match="unknown controller 'random': did you mean 'random-search'"):
        choose_entrants(("offline", "random"), LABELS)
    with pytest.raises(SettingsError, match="'offline' is not for this run: there are practice, expert"):
        choose_entrants(("offline",), of_a_task[1:])


def test_the_expert_inserts_from_every_start() -> None:
    """It is told where the socket is: what a policy's seconds are held against."""
    env = InsertionEnv("peg-round-12", "duo", 0, "far", 32)
    try:
        expert = expert_of(env.task.env, env)
        found = evaluate(env, expert, range(3), name="expert")
    finally:
        env.close()
    assert found.success.all() and 0.5 < found.seconds.mean() < 2.0  # of at most 20 steps of 0.1 s


def test_presets_are_found_by_name() -> None:
    assert set(PRESETS) == {"demo", "small", "laptop", "paper", "state"}
    assert find_preset("paper").practice.online_fraction == 0.25  # LOTJ section V-C
    assert find_preset("paper").collect.near_miss_share == 0.0
    assert find_preset("paper").collect.image_size == find_preset("paper").collect_validation.image_size == 96
    with pytest.raises(SettingsError, match="did you mean 'laptop'"):
        find_preset("labtop")


def test_paper_preset_collects_seventy_thousand_episodes() -> None:
    """50 connectors x 2 robots x 700 episodes (LOTJ section IV)."""
    paper = find_preset("paper")
    assert paper.training_connectors is not None
    episodes = paper.training_connectors * paper.collect.robots_per_connector * sum(paper.collect.counts().values())
    assert episodes == 70_000
