"""The phases' doors: what cannot work is refused before anything is made; a run, once made, stands for itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.agents.iql_config import IQLConfig
from lotj.cli import main
from lotj.data.store import EpisodeWriter
from lotj.errors import CatalogueError, DataError, SettingsError
from lotj.experience import STATE_DIM, Domain, Episode
from lotj.experiments.parts import choose_training
from lotj.experiments.presets import Preset
from lotj.experiments.stages import evaluate_phase, part_of, practice_phase, pretrain_phase, refuse_seen
from lotj.nets.encoder import EncoderConfig
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run
from lotj.sim.connector import catalogue, connector_text, find_connector
from lotj.training.collect import CollectConfig, collect
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_features import FeatureConfig
from lotj.training.pretrain_config import PretrainConfig

ENCODER = EncoderConfig(image_size=32, width=8, stages=1)
TINY = Preset(
    name="tiny",
    reward=RewardConfig(encoder=ENCODER, steps=2, batch=8),
    iql=IQLConfig(encoder=ENCODER),
    pretrain=PretrainConfig(steps=2, batch=8, log_every=2),
    practice=PracticeConfig(
        trials=1, max_steps=3, warmup_trials=5, features=FeatureConfig(transitions=16, views=1, cache=None), threads=1
    ),
)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and, in runs/, the smallest pretraining there can be."""
    root = tmp_path_factory.mktemp("stages")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(root / "data", ("usb-a", "duplo-2x2"), settings, workers=1)
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
        ({"robot": "solo"}, "unknown robot 'solo'"),
        ({"agent": "sac"}, "holds no sac agent"),
    ],
)
def test_what_practice_refuses_leaves_no_run(pretrained: Path, wrong: dict[str, Any], line: str) -> None:
    before = runs(pretrained)
    with pytest.raises(Exception, match=line):
        practise(pretrained, **wrong)
    assert runs(pretrained) == before


def test_an_odd_scenario_leaves_no_run(pretrained: Path) -> None:
    before, of = runs(pretrained), Run.open(next((pretrained / "runs").glob("pretrain-*")))
    with pytest.raises(SettingsError, match="unknown scenario 'away'"):
        practice_phase(TINY, of, pretrained / "runs", "europlug", "away", live=False)
    assert runs(pretrained) == before


def record(root: Path, split: str, successes: tuple[bool, ...]) -> None:
    """A domain with one episode of one step for each entry: whether both of its frames show success."""
    domain = Domain(f"{split}.duo.0", "usb-a", "usb", "duo", 0, split)
    with EpisodeWriter(root, domain, 32, {}) as writer:
        for seed, success in enumerate(successes):
            writer.append(
                Episode(
                    frames=np.zeros((2, 32, 32, 3), np.uint8),
                    actions=np.zeros((1, 3), np.float32),
                    success=np.full(2, success),
                    state=np.zeros((2, STATE_DIM), np.float32),
                    terminated=success,
                    truncated=not success,
                    domain=domain.name,
                    scenario="near",
                    kind="expert",
                    seed=seed,
                )
            )


@pytest.mark.parametrize(
    ("train", "validation", "line"),
    [
        (
            (True, False),
            (False, False),
            "0 of the 4 frames of validation connectors show success, the reward needs",
        ),
        ((True, False), (True,), "2 of the 2 frames of validation connectors show success"),
        ((False,), (True, False), "0 of the 2 frames of training connectors show success"),
        ((True, False), (), "holds no validation connectors: `lotj collect` records both kinds"),
        ((), (True, False), "holds no train connectors"),
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


def test_images_of_another_size_are_refused_before_a_run_is_made(pretrained: Path, tmp_path: Path) -> None:
    large = replace(ENCODER, image_size=64)
    for part in ("reward", "iql"):
        preset = replace(TINY, **{part: replace(getattr(TINY, part), encoder=large)})  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=f"{part}.encoder.image-size 64: .* holds images of 32 pixels"):
            pretrain_phase(preset, pretrained / "data", tmp_path / "runs", seed=0, live=False)
    assert not (tmp_path / "runs").exists()


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
    demo = ["demo", "--connector", str(mine), "--data", str(pretrained / "data"), "--runs", str(tmp_path / "runs")]
    assert main(demo) == 2
    assert "'usb-a' in the training data is a close variant" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_damaged_timings_and_settings_are_named(pretrained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    run = practise(root)
    (run.path / "timings.json").write_text("{")
    with pytest.raises(DataError, match="timings.json: damaged; remove it or restore it from a copy"):
        evaluate_phase(run, trials=1, controllers=["straight-down"])
    config = json.loads((run.path / "config.json").read_text())
    for key, value in (("connector", 1), ("domain_seed", "0"), ("pretrain_run", None), ("practice", {"trials": "x"})):
        (run.path / "config.json").write_text(json.dumps(config | {key: value}))
        (run.path / "connector.toml").unlink(missing_ok=True)
        assert main(["practice", "--resume", str(run.path)]) == 2
