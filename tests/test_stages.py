"""The phases' doors: what cannot work is refused before anything is made; a run, once made, stands for itself."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from lotj.agents.localizer import LocalizerConfig
from lotj.cli import main
from lotj.data.layout import Schema
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.envs.insertion import InsertionEnv, insertion_task
from lotj.envs.registry import families, find_task
from lotj.errors import CatalogueError, DataError, LostError, SettingsError
from lotj.evaluation.filmstrip import load_filmstrips
from lotj.experience import SUCCESS, Episode
from lotj.experiments.benches import benches_of
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.parts import choose_training, refuse_seen
from lotj.experiments.practised import bench_of, part_of, practised_agent, pretraining_of
from lotj.experiments.presets import PAPER_PRACTICE, Preset, find_preset
from lotj.experiments.stages import (
    practice_phase,
    practise_task_phase,
    pretrain_phase,
)
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.report import build_report
from lotj.rewards.classifier import RewardConfig
from lotj.robots.robot import PRACTICE, Setup
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.runs.metrics import read_lines
from lotj.sim.connector import catalogue, connector_text, find_connector
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.features import FeatureConfig
from lotj.training.localize import load_localizer
from lotj.training.practice import CHECKPOINT
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain import load_agent
from lotj.training.pretrain_config import PretrainConfig
from small_agents import SMALL_BOTTLENECK, SMALL_IQL

ENCODER = EncoderConfig(width=8, stages=1)
TINY = Preset(
    name="tiny",
    reward=RewardConfig(encoder=ENCODER, bottleneck=SMALL_BOTTLENECK, steps=2, batch=8),
    front=Pixels(ENCODER),
    iql=SMALL_IQL,
    pretrain=PretrainConfig(steps=2, batch=8, log_every=2),
    features=FeatureConfig(transitions=16),
    practice=SelfJudgedConfig(trials=1, max_steps=3, warmup_trials=5, threads=1),
)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and, in runs/, the smallest pretraining there can be."""
    root = tmp_path_factory.mktemp("stages")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(root / "data", InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    pretrain_phase(TINY, root / "data", root / "runs", seed=0, live=False).close()
    return root


def practise(root: Path, connector: str = "europlug", **more: Any) -> Run:
    """Practise on it from the only pretraining in the folder."""
    of = Run.open(next((root / "runs").glob("pretrain-*")))
    run, _ = practice_phase(TINY, of, root / "runs", connector, "near", live=False, **more)
    run.close()
    return run


def runs(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "runs").iterdir())


def test_a_run_keeps_the_part_that_it_practised_on(pretrained: Path, tmp_path: Path) -> None:
    """Changed or gone afterwards: evaluation and further trials are of what it was."""
    root, mine = tmp_path / "root", tmp_path / "mine.toml"
    shutil.copytree(pretrained, root)
    mine.write_bytes(connector_text("europlug"))
    run = practise(root, str(mine))
    mine.write_text(mine.read_text().replace("insertion_depth_mm = 19", "insertion_depth_mm = 9"))
    assert find_connector(str(mine)) != catalogue()["europlug"] == find_connector(part_of(run))
    mine.unlink()
    (result,) = evaluate_phase(run, trials=1, controllers=["straight-down"])
    assert result.context["connector"] == str(mine)
    practise(root, str(mine), resume=Run.open(run.path))
    with pytest.raises(CatalogueError, match="no such file"):
        practise(root, str(mine))
    assert part_of(Run.create(tmp_path, "practice", {"connector": "usb-b"}, 0)) == "usb-b"  # of an earlier lotj


def test_runs_and_data_can_be_moved_and_used_from_elsewhere(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(pretrained, here)
    monkeypatch.chdir(here)
    pretrain_phase(TINY, Path("data"), Path("runs"), seed=1, live=False).close()
    shutil.rmtree(next((here / "runs").glob("pretrain-*")))  # the fixture's
    name = practise(here).path.name
    here.rename(there)
    (tmp_path / "data").mkdir()  # another one, where the user stands
    monkeypatch.chdir(tmp_path)
    evaluate = ["evaluate", "--runs", "there/runs", "--trials", "1", "--controllers", "offline", "practice"]
    assert main(evaluate) == 0
    assert f"practice: {there}/runs/{name}" in capsys.readouterr().out
    assert main(["practice", "--resume", f"there/runs/{name}"]) == 0
    practise(there)
    shutil.rmtree(next((there / "runs").glob("pretrain-*")))
    assert main(evaluate) == 2
    error = capsys.readouterr().err
    assert "config.json: pretrain_run is " in error and "which is not there; move or link it to" in error


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"domain_seed": -1}, "domain_seed -1: must be between 0 and"),
        ({"seed": -1}, "seed -1: must be between 0 and"),
        ({"robot": "solo"}, "unknown robot 'solo': must be one of duo, trio, .*, or host:port of a served one"),
        ({"agent": "sac"}, "holds no sac agent"),
        ({"agent": "iqn"}, "unknown agent 'iqn': did you mean 'iql'"),
    ],
)
def test_what_practice_refuses_leaves_no_run(pretrained: Path, wrong: dict[str, Any], line: str) -> None:
    before = runs(pretrained)
    with pytest.raises(Exception, match=line):
        practise(pretrained, **wrong)
    assert runs(pretrained) == before


def test_a_pretraining_of_another_task_or_with_other_shapes_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shapes that differ (maze to Fetch), shapes that do not (maze to maze), and the same name with another shape."""
    monkeypatch.chdir(tmp_path)
    state = find_preset("state")
    small = replace(state, iql=replace(state.iql, hidden=(8,), critic_hidden=8))
    small = replace(small, pretrain=replace(state.pretrain, steps=2, batch=8))
    assert main(["collect", "--tasks", "maze/umaze", "--episodes", "2", "--workers", "1"]) == 0
    of = pretrain_phase(small, Path("data/state"), Path("runs"), seed=0, live=False, agent="td3")
    of.close()
    before = runs(tmp_path)
    capsys.readouterr()
    given = ["--pretrained", str(of.path), "--trials", "1"]
    for words, line in (
        (["--task", "fetch/reach", *given], "pretrained on maze/umaze, .*, not on fetch/reach as it is; name another"),
        (["--task", "maze/medium", *given], "pretrained on maze/umaze, .*, not on maze/medium as it is; name another"),
        (["--connector", "europlug", *given], "reward.pt: "),
        (["--connector", "europlug", "--preset", "state"], "preset state: is for tasks that reward; for a connector"),
    ):
        assert main(["practice", *words]) == 2, words
        (error,) = capsys.readouterr().err.splitlines()
        assert re.search(line, error), error
    family, _ = find_task("maze/umaze")
    odd = replace(family, make=lambda maze, **more: ActionsOfOneMore(family.make(maze, **more)))
    monkeypatch.setitem(families(), "maze", odd)
    with pytest.raises(SettingsError, match=r"on maze/umaze, .*actions \(2,\), not on maze/umaze as it is"):
        practise_task_phase(small, "maze/umaze", Path("runs"), "td3", of, live=False)
    assert runs(tmp_path) == before and Path("runs/last").resolve() == of.path


class ActionsOfOneMore(gym.Wrapper):
    """The same task, with an axis more to act on."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


def test_a_run_names_the_commands_that_make_it_again(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a pretraining of one's own that, too; from the base that has come with lotj it need not be made."""
    root = tmp_path / "my root"
    shutil.copytree(pretrained, root)
    of = next((root / "runs").glob("pretrain-*"))
    about = json.loads((of / "run.json").read_text())
    (of / "run.json").write_text(json.dumps(about | {"command": "lotj pretrain --preset tiny"}))
    monkeypatch.setattr("sys.argv", ["lotj", "practice", "--connector", "europlug"])
    assert practise(root).config["commands"] == ["lotj pretrain --preset tiny", "lotj practice --connector europlug"]
    monkeypatch.setattr("lotj.experiments.stages.BASE", of)
    run = practise(root)
    assert run.config["commands"] == ["lotj practice --connector europlug"]
    monkeypatch.chdir(tmp_path)
    page = re.sub("<[^>]*>", "", build_report(Path("my root/runs", run.path.name)).read_text())
    folder = f"&#39;my root/runs/{run.path.name}&#39;"
    assert f"lotj evaluate {folder} lotj report {folder} " in page and "runs/last" not in page


def test_an_odd_scenario_leaves_no_run(pretrained: Path) -> None:
    before, of = runs(pretrained), Run.open(next((pretrained / "runs").glob("pretrain-*")))
    with pytest.raises(SettingsError, match="unknown scenario 'away'"):
        practice_phase(TINY, of, pretrained / "runs", "europlug", "away", live=False)
    assert runs(pretrained) == before


def record(root: Path, split: str, successes: tuple[bool, ...]) -> None:
    """A task with one episode of one step for each entry: whether both of its frames show success."""
    task = replace(insertion_task("usb-a"), name=f"{split}.duo.0", split=split)
    episodes = [
        Episode(
            observation={"image": np.zeros((2, 2, 16, 32, 3), np.uint8)},
            action=np.zeros((1, 3), np.float32),
            reward=np.zeros(1, np.float32),
            terminated=success,
            truncated=not success,
            task=task.name,
            kind="expert",
            seed=seed,
            notes={SUCCESS: np.full(2, success)},
        )
        for seed, success in enumerate(successes)
    ]
    with EpisodeWriter(root, task, Schema.of(episodes[0])) as writer:
        for episode in episodes:
            writer.append(episode)


@pytest.mark.parametrize(
    ("train", "validation", "line"),
    [
        (
            (True, False),
            (False, False),
            "0 of the 4 frames of validation tasks show success, and the reward needs",
        ),
        ((True, False), (True,), "2 of the 2 frames of validation tasks show success"),
        ((False,), (True, False), "0 of the 2 frames of training tasks show success"),
        ((True, False), (), "holds no validation tasks, of 1 train: choose others, or let `lotj collect` record more"),
        ((), (True, False), "holds no train tasks"),
    ],
)
def test_data_that_cannot_do_are_refused_before_the_first_update(
    tmp_path: Path, train: tuple[bool, ...], validation: tuple[bool, ...], line: str
) -> None:
    for split, successes in (("train", train), ("validation", validation)):
        if successes:
            record(tmp_path / "data", split, successes)
    with pytest.raises(DataError, match=line):
        pretrain_phase(TINY, tmp_path / "data", tmp_path / "runs", seed=0, live=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("also", ["sax", "localizer", "state-iql"])
def test_what_cannot_be_trained_is_refused_before_the_first_update(
    pretrained: Path, tmp_path: Path, also: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown agent; of a task without connectors what sees where the plug is."""
    data = pretrained / "data"
    if also != "sax":
        data = tmp_path / "data"
        assert (
            main(["collect", "--tasks", "fetch/reach", "--episodes", "1", "--workers", "1", "--data", str(data)]) == 0
        )
    with pytest.raises(
        SettingsError, match="unknown agent 'sax': did you mean 'sac'" if also == "sax" else "holds no connectors"
    ):
        pretrain_phase(TINY, data, tmp_path / "runs", seed=0, live=False, also=[also])
    assert not (tmp_path / "runs").exists()


def test_the_agent_that_was_pretrained_practises_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a task whose environment rewards; stopped half way, it goes on with its own prior data and settings."""
    monkeypatch.chdir(tmp_path)
    state = find_preset("state")
    small = replace(
        state,
        iql=replace(state.iql, hidden=(8,), critic_hidden=8),
        pretrain=replace(state.pretrain, steps=4, batch=8),
        practice=replace(state.practice, trials=4, warmup_trials=1, save_every=1, batch_size=8),
    )
    assert main(["collect", "--tasks", "fetch/reach", "--episodes", "2", "--workers", "1"]) == 0
    of = pretrain_phase(small, Path("data/state"), Path("runs"), seed=0, live=False, agent="bc")
    half = replace(small, practice=replace(small.practice, trials=2))
    run, result = practise_task_phase(half, "fetch/reach", Path("runs"), "bc", of, live=False)
    run.close()
    assert result.trials == 2 and {row["updates"] > 0 for row in run.metrics()} == {True}
    config = json.loads((run.path / "config.json").read_text())
    config["practice"]["trials"] = 4
    (run.path / "config.json").write_text(json.dumps(config))
    assert main(["practice", "--resume"]) == 0
    assert "4 trials" in capsys.readouterr().out
    assert len(DiskStore.open(run.path / "trials")) == 4
    assert main(["evaluate", "--trials", "2"]) == 0
    found = json.loads((run.path / "evaluation.json").read_text())
    assert [entry["name"] for entry in found] == ["offline", "practice", "expert"]
    assert [entry["task"] for entry in found] == 3 * ["fetch/reach"]
    assert main(["evaluate", "--controllers", "straight-down"]) == 2
    assert "'straight-down' is not for this run: there are offline, practice, expert" in capsys.readouterr().err
    assert main(["evaluate", "--bench", "2"]) == 2
    assert "bench 2: is of robots on connectors, this run practised on fetch/reach" in capsys.readouterr().err
    assert not (run.path / "evaluation-2.json").exists()


def test_state_iql_learns_from_positions_and_practises_on_located_ones(pretrained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    of = Run.open(next((root / "runs").glob("pretrain-*")))
    small = replace(TINY, localizer=LocalizerConfig(front=Pixels(ENCODER, 0), steps=2, batch=8))
    pretrain_phase(small, root / "data", root / "runs", 0, resume=of, live=False, also=["state-iql"])
    assert of.has("localizer") and load_agent(of, name="state-iql").reads == {"position"}
    trials = replace(TINY.practice, trials=2, warmup_trials=1, batch_size=8)
    run, _ = practice_phase(
        replace(TINY, practice=trials), of, root / "runs", "europlug", "near", live=False, agent="state-iql"
    )
    assert run.metrics()[-1]["updates"] > 0
    looks = replace(TINY, practice=replace(trials, verify="picture"))
    with pytest.raises(SettingsError, match="verify picture: compares what the policy sees, state-iql sees none; try"):
        practice_phase(looks, of, root / "runs", "europlug", "near", live=False, agent="state-iql")
    assert [*(root / "runs").glob("practice-*")] == [run.path]
    held = DiskStore.open(run.path / "trials")
    seen = held.observe(np.arange(3))
    np.testing.assert_allclose(seen["position"], load_localizer(of).locate(seen["image"]), atol=1e-6)
    offline, practised = evaluate_phase(run, trials=1, controllers=["offline", "practice"])
    assert len(offline) == len(practised) == 1
    assert load_filmstrips(run.path / "filmstrips.npz")["after"].policy_heat is None  # it sees no picture


def test_a_variant_of_a_training_connector_is_refused_at_the_door_or_left_out(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = connector_text("usb-a").decode().replace("\nfamily", '\nvariant_of = "usb-a"\nsplit = "test"\nfamily', 1)
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('name = "usb-a"', 'name = "my-usb-a"'))
    part = find_connector(str(mine))
    assert "usb-a" in choose_training(None) and "usb-a" not in choose_training(None, [part])
    refuse_seen(part, tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="my-usb-a: 'usb-a' in the training data is a close variant .*--leave-out"):
        refuse_seen(part, pretrained / "data")
    demo = ["demo", "--all", "--connector", str(mine), "--data", str(pretrained / "data")]
    assert main([*demo, "--runs", str(tmp_path / "runs")]) == 2
    assert "'usb-a' in the training data is a close variant" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_damaged_timings_and_settings_are_named(pretrained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    run = practise(root)
    for text in (
        "{",
        "[]",
        "{}",
        *(f'{{"machine": "m", "seconds": {odd}}}' for odd in ("3", "[]", '{"practice": "x"}')),
    ):
        (run.path / "timings.json").write_text(text)
        with pytest.raises(DataError, match="timings.json.*; restore it from a copy"):
            evaluate_phase(run, trials=1, controllers=["straight-down"])
    config = json.loads((run.path / "config.json").read_text())
    for key, value in (("connector", 1), ("domain_seed", "0"), ("pretrain_run", None), ("practice", {"trials": "x"})):
        (run.path / "config.json").write_text(json.dumps(config | {key: value}))
        (run.path / "connector.toml").unlink(missing_ok=True)
        assert main(["practice", "--resume", str(run.path)]) == 2


def test_the_agent_of_a_run_is_the_one_that_it_kept(pretrained: Path, tmp_path: Path) -> None:
    """Its weights, or where no trial made any worth keeping those of the pretraining."""
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    run, name = practise(root), "policy.head.mean.2.bias"
    state, before = run.load(CHECKPOINT), load_agent(pretraining_of(run)).algorithm.get_parameter(name)
    assert run.metrics()[-1]["kept"] == 0  # three trials are too few
    assert torch.equal(practised_agent(run).algorithm.get_parameter(name), before)
    state["agent"]["modules"][""][name] = before.detach() + 1.0
    run.save(CHECKPOINT, {**state, "kept": state["trial"]})
    assert torch.equal(practised_agent(run).algorithm.get_parameter(name), before + 1.0)
    earlier = {**state["agent"], "modules": {**state["agent"]["modules"]}}
    earlier["modules"][""] = {**earlier["modules"][""], name: before.detach() + 2.0}
    run.save(CHECKPOINT, {**state, "kept": 1, "kept_agent": earlier})
    assert torch.equal(practised_agent(run).algorithm.get_parameter(name), before + 2.0)


def test_a_resumed_simulated_robot_holds_its_part_as_the_one_that_was_killed(tmp_path: Path) -> None:
    """Four trials of random motions; a part that was lost is held otherwise from the next start on, for good."""

    def robot(truth: Path) -> SimulatedRobot:
        return SimulatedRobot(InsertionEnv("europlug", "duo", image_size=16, end_on_success=False), truth)

    def trial(robot: SimulatedRobot, seed: int, moves: int = 8) -> bytes:
        seen, rng = [robot.reset(seed)["image"]], np.random.default_rng(seed)
        for _ in range(moves):
            with suppress(LostError):
                seen.append(robot.move(np.array([*rng.uniform(-1, 1, 2), -1], np.float32))["image"])
        return b"".join(image.tobytes() for image in seen)

    with closing(robot(tmp_path / "whole")) as one:
        whole = [trial(one, seed) for seed in range(12)]
    lines = [json.loads(line) for line in (tmp_path / "whole").read_text().splitlines()]
    held = [next(line["grasped"] for line in lines if line["seed"] == seed) for seed in range(12)]
    first = next(seed for seed in range(12) if held[seed] == seed)  # the trial before has lost it
    assert first < 10
    for stop, moves in ((first, 0), (first, 3), (first + 1, 3), (first + 2, 0)):  # killed in this trial
        truth = tmp_path / f"killed-{stop}-{moves}"
        with closing(robot(truth)) as killed:
            for seed in range(stop):
                trial(killed, seed)
            trial(killed, stop, moves)
        with closing(robot(truth)) as resumed:
            assert [trial(resumed, seed) for seed in range(stop, 12)] == whole[stop:], (stop, moves)


# Several robots, several parts


def test_each_robot_of_several_has_its_share_of_the_trials() -> None:
    """Of five trials three at most are one robot's: what changes in mid-practice changes by its own."""
    config, part = SelfJudgedConfig(trials=5), find_connector("usb-b")
    rest: dict[str, Any] = {"pretrained": Path("p"), "agent": "iql", "device": "cpu", "disturbance": "changed-light"}
    setup = Setup(PRACTICE, "", 0, "far", 32, 20, 0)
    made = benches_of(["duo", "trio"], ["usb-b"] * 2, [part] * 2, setup, config=config, **rest)
    assert [(bench.config.trials, bench.setup.domain_seed) for bench in made] == [(3, 0), (3, 1)]
    (alone,) = benches_of(["duo"], ["usb-b"], [part], setup, config=config, **rest)
    assert alone.config == config


def test_the_truth_rewards_in_a_study_alone_and_is_named(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command has it; who asks for it by name, or goes on with such a run, is refused in one line."""
    monkeypatch.chdir(tmp_path)
    of = Run.open(next((pretrained / "runs").glob("pretrain-*")))
    told = replace(TINY, practice=replace(TINY.practice, **PAPER_PRACTICE))
    run, _ = practice_phase(told, of, tmp_path, "europlug", "near", live=False, truth=True)
    run.close()
    assert run.config["reward"] == "truth"
    truth = {line["seed"]: line["true_success"] for line in read_lines(run.path / "truth.jsonl")}
    assert [bool(row["predicted_success"]) for row in run.metrics()] == [*truth.values()]
    assert main(["practice", "--resume", str(run.path)]) == 2
    assert "was rewarded by the simulator's truth, which only the study may that began it" in capsys.readouterr().err
    assert main(["reproduce", "validation", "--practice", "truth"]) == 2
    assert "unknown practice 'truth'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["practice", "--connector", "europlug", "--verify", "truth"])
    assert "invalid choice 'truth'" in capsys.readouterr().err
    plain = practise(pretrained)
    assert "reward" not in plain.config
    refused: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (TINY, {}, "one simulated robot, verify score; here .*touch"),
        (told, {"robot": ["duo", "trio"]}, "one simulated robot"),
        (told, {"resume": plain}, "was rewarded by what the robot sees"),
    )
    for settings, more, words in refused:
        with pytest.raises(SettingsError, match=words):
            practice_phase(settings, of, tmp_path, "europlug", "near", live=False, truth=True, **more)


@pytest.mark.slow
def test_two_parts_at_once_are_kept_resumed_and_evaluated_each_on_its_bench(pretrained: Path, tmp_path: Path) -> None:
    """The first robot practises europlug on the duo of domain 0, the second as-3112 on the trio of domain 1."""
    of = Run.open(next((pretrained / "runs").glob("pretrain-*")))
    preset = replace(TINY, practice=replace(TINY.practice, trials=4))
    how: dict[str, Any] = {"connector": ["europlug", "as-3112"], "robot": ["duo", "trio"], "scenario": "near"}
    run, done = practice_phase(preset, of, tmp_path, live=False, **how)
    store = DiskStore.open(run.path / "trials")
    assert done.trials == 4 and [task.name for task in store.tasks] == ["as-3112.trio.1", "europlug.duo.0"]
    assert [find_connector(part_of(run, bench)).name for bench in (1, 2)] == ["europlug", "as-3112"]
    assert bench_of(run, 2)[1:] == ("trio", 1, "near")
    truth = [json.loads(line)["seed"] for line in (run.path / "truth.jsonl").read_text().splitlines()]
    assert set(truth) == {row["seed"] for row in run.metrics()}
    (second,) = evaluate_phase(run, 1, controllers=["practice"], bench=2)
    assert second.context["domain"] == "as-3112.trio.1" and (run.path / "evaluation-2.json").exists()
    assert not (run.path / "evaluation.json").exists()
    with pytest.raises(SettingsError, match="bench 3: .* practised on 2; name one of these"):
        evaluate_phase(run, 1, controllers=["practice"], bench=3)
    run.close()


def test_robots_and_connectors_that_do_not_pair_are_refused(pretrained: Path, tmp_path: Path) -> None:
    of = Run.open(next((pretrained / "runs").glob("pretrain-*")))
    with pytest.raises(SettingsError, match="2 connectors and 3 robots: name one of the one kind, or as many of both"):
        practice_phase(TINY, of, tmp_path, ["europlug", "as-3112"], "near", ["duo"] * 3, live=False)
    with pytest.raises(SettingsError, match="unknown robot 'quattro'"):
        practice_phase(TINY, of, tmp_path, "europlug", "near", ["duo", "quattro"], live=False)
    with pytest.raises(SettingsError, match="on 'mars': must be one of processes, ray"):
        practice_phase(TINY, of, tmp_path, "europlug", "near", ["duo", "duo"], live=False, on="mars")
