"""The base that comes with lotj: made of a pretraining by `scripts/make_base.py`, and practised from without data."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lotj.cli import main
from lotj.errors import CheckpointError, SettingsError
from lotj.experiments.practised import pretraining_of
from lotj.experiments.presets import Preset
from lotj.experiments.stages import practice_phase, pretrain_phase
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run
from lotj.sim.connector import connector_text
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain import load_features
from lotj.training.pretrain_config import PretrainConfig
from small_agents import SMALL_BOTTLENECK, SMALL_IQL

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("make_base", ROOT / "scripts" / "make_base.py")
assert spec is not None and spec.loader is not None
base_script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base_script)

ENCODER = EncoderConfig(width=8, stages=1)
TINY = Preset(
    name="demo",  # practice takes its preset's name from the base
    reward=RewardConfig(encoder=ENCODER, bottleneck=SMALL_BOTTLENECK, steps=2, batch=8),
    front=Pixels(ENCODER),
    iql=SMALL_IQL,
    pretrain=PretrainConfig(steps=2, batch=8, log_every=2),
    features=FeatureConfig(transitions=16),
    practice=SelfJudgedConfig(trials=2, max_steps=3, warmup_trials=1, batch_size=8, threads=1),
)
FEW = ["--trials", "2", "--max-steps", "3", "--warmup-trials", "1", "--batch-size", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and, in runs/, the smallest pretraining there can be."""
    root = tmp_path_factory.mktemp("base")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0, robots_per_connector=2)
    collect(root / "data", InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    pretrain_phase(TINY, root / "data", root / "runs", seed=0, live=False).close()
    return root


@pytest.fixture(scope="module")
def base(pretrained: Path) -> Path:
    folder = pretrained / "shipped" / "base"
    base_script.make_base(run_of(pretrained), folder)
    return folder


def run_of(root: Path) -> Run:
    return Run.open(next((root / "runs").glob("pretrain-*")))


def practise(of: Path, runs: Path, connector: str = "europlug", **more: Any) -> Run:
    run, _ = practice_phase(TINY, Run.open(of), runs, connector, "near", live=False, **more)
    run.close()
    return run


def tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {f"{m}.{name}": value for m, module in state["agent"]["modules"].items() for name, value in module.items()}


def test_a_base_is_the_run_without_what_only_training_needs(pretrained: Path, base: Path) -> None:
    run, made = run_of(pretrained), Run.open(base)
    whole, slim = run.load("iql"), made.load("iql")
    assert tensors(whole).keys() == tensors(slim).keys()
    assert all(torch.equal(value, tensors(slim)[name]) for name, value in tensors(whole).items())
    assert whole["agent"]["moments"] and not slim["agent"]["moments"]
    for name in ("reward.pt", "reward_report.json", "iql_report.json", "iql_features.npz"):
        assert (base / name).read_bytes() == (run.path / name).read_bytes()
    assert not made.has("reward") and not list(base.glob("*.jsonl")) and not (base / "tensorboard").exists()
    assert (made.kind, made.seed, made.created) == ("pretrain", 0, run.created)
    assert made.config == run.config | {"data": "data"}
    texts = [path.read_text() for path in base.glob("*") if path.suffix in (".json", ".md")]
    assert len(texts) == 7 and not any(str(pretrained) in text for text in texts)


def test_the_card_says_what_the_runs_files_say(pretrained: Path, base: Path) -> None:
    """Two connectors on two robots with one randomization each, two episodes each; validation is `duplo-2x2` alone."""
    card = " ".join((base / "MODEL_CARD.md").read_text().split())
    report = json.loads((run_of(pretrained).path / "reward_report.json").read_text())
    assert "4 simulated episodes" in card and "on 2 benches" in card and "Training connectors: usb-a." in card
    assert "robots duo and trio" in card and "1 validation connectors: duplo-2x2." in card
    assert f"| reward: area under the ROC curve | {report['overall']['auc']:.3f} |" in card
    assert "images of 2 x 16 x 32 x 3" in card and "MIT License, as lotj" in card
    versions = json.loads((base / "versions.json").read_text())
    assert versions["commit"] and f"numpy {versions['numpy']}, commit: {versions['commit']}." in card
    assert f"Kept as features: {len(load_features(run_of(pretrained)))} transitions" in card


def test_a_card_is_made_anew_from_the_base_and_says_where_no_commit_is_recorded(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    (folder / "MODEL_CARD.md").write_text("old")
    base_script.make_base(Run.open(folder), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in base.iterdir() if path.is_file()
    }
    versions = json.loads((folder / "versions.json").read_text())
    del versions["commit"]
    (folder / "versions.json").write_text(json.dumps(versions))
    base_script.make_base(Run.open(folder), folder)
    assert "commit: not recorded." in " ".join((folder / "MODEL_CARD.md").read_text().split())


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("lotj pretrain --data /a/b --seed 1 --runs=/c", "lotj pretrain --seed 1"),
        ("lotj pretrain --preset demo --runs /c", "lotj pretrain --preset demo"),
        ("lotj pretrain", "lotj pretrain"),
    ],
)
def test_commands_lose_the_folders_of_the_machine(tmp_path: Path, typed: str, kept: str) -> None:
    run = Run.create(tmp_path, "pretrain", {}, 0)
    run.command = typed
    assert base_script.cleaned_command(run) == kept


def test_nothing_but_a_base_is_replaced(pretrained: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="mine: there, and no base"):
        base_script.make_base(run_of(pretrained), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base" / "old.npz").write_bytes(b"")
    base_script.make_base(run_of(pretrained), tmp_path / "base")
    assert not (tmp_path / "base" / "old.npz").exists()


def test_too_large_a_base_is_refused(pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be at most 0.001; pretrain with fewer features"):
        base_script.make_base(run_of(pretrained), tmp_path / "base", limit_mb=0.001)


def test_practice_from_a_base_is_that_from_its_run_at_first_and_needs_no_data(
    pretrained: Path, base: Path, tmp_path: Path
) -> None:
    """Before its first update practice is the same from both; after it the moments differ. There is no data folder."""
    root = tmp_path / "elsewhere"
    shutil.copytree(pretrained / "runs", root / "runs", symlinks=True)
    shutil.copytree(base, root / "base")
    runs = [practise(of, root / of.name) for of in (run_of(root).path, root / "base")]
    first, second = ([row for row in run.metrics()] for run in runs)
    assert first[0]["score"] == second[0]["score"] and first[0]["steps"] == second[0]["steps"]
    assert len(second) == 2 and second[-1]["updates"] > 0
    assert pretraining_of(runs[1]).path == root / "base"


@pytest.mark.parametrize("name", ["reward.pt", "checkpoints/iql.pt", "iql_features.npz", "config.json", "run.json"])
@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_damaged_base_is_one_clear_line(
    base: Path, tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base, tmp_path / "base")
    content = (base / name).read_bytes()
    (tmp_path / "base" / name).unlink()
    if damage == "torn":
        (tmp_path / "base" / name).write_bytes(content[: len(content) // 2])
    words = ["practice", "--connector", "europlug", "--pretrained", str(tmp_path / "base"), "--runs", str(tmp_path)]
    assert main([*words, "--preset", "demo", *FEW]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert {"checkpoints/iql.pt": "no iql agent" if damage == "gone" else "iql.pt"}.get(name, name) in line
    assert not list(tmp_path.glob("practice-*"))


def test_a_pretraining_without_features_says_how_to_make_them_and_resume_does(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as an older lotj has left, whose settings do not name them either."""
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    run = run_of(root)
    kept = (run.path / "iql_features.npz").read_bytes()
    (run.path / "iql_features.npz").unlink()
    line = f"the iql agent has no features of prior data to practise on: `lotj pretrain --resume {run.path}` makes it"
    with pytest.raises(CheckpointError, match=line):
        practise(run.path, root / "runs")
    before = run.load("iql")
    pretrain_phase(TINY, root / "data", root / "runs", seed=0, resume=run, live=False).close()
    assert (run.path / "iql_features.npz").read_bytes() == kept
    after = tensors(run.load("iql"))
    assert all(torch.equal(value, after[name]) for name, value in tensors(before).items())
    (run.path / "iql_features.npz").unlink()
    config = {key: value for key, value in run.config.items() if key != "features"}
    (run.path / "config.json").write_text(json.dumps(config))
    assert main(["pretrain", "--resume", str(run.path)]) == 0
    assert f"practise with `lotj practice --connector NAME --pretrained {run.path}`" in capsys.readouterr().out
    assert len(load_features(run)) >= 16  # as many as the default keeps of so few


def test_another_pretraining_in_its_place_is_noticed(pretrained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(pretrained, root)
    of = run_of(root).path
    run = practise(of, root / "runs")
    assert pretraining_of(run).path == of
    about = json.loads((of / "run.json").read_text())
    (of / "run.json").write_text(json.dumps(about | {"created": "2031-01-01T00:00:00"}))
    with pytest.raises(SettingsError, match="a pretraining of 2031-01-01T00:00:00, but the run practised from one of"):
        pretraining_of(run)


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({'name = "usb-a"': 'name = "my-usb"'}, True),  # a copy under another name
        ({'name = "usb-a"': 'name = "my-usb"\nvariant_of = "usb-a"', "length_mm": "#"}, True),  # named a variant
        ({"# nothing": ""}, False),  # the training connector itself, of which practice says so
    ],
)
def test_a_part_is_held_against_what_the_pretraining_has_seen(
    pretrained: Path, base: Path, tmp_path: Path, change: dict[str, str], refused: bool
) -> None:
    """Whichever split its file says, or if it says none: training is the default."""
    text = connector_text("usb-a").decode()
    for old, new in change.items():
        if new != "#":
            text = text.replace(old, new, 1)
    (tmp_path / "mine.toml").write_text(text)
    if refused:
        with pytest.raises(SettingsError, match="my-usb: 'usb-a' in the training data is a close variant of it"):
            practise(base, tmp_path / "runs", str(tmp_path / "mine.toml"))
    else:
        practise(base, tmp_path / "runs", str(tmp_path / "mine.toml"))


@pytest.fixture(scope="module")
def installed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a wheel of lotj, built with this base in it, has been unpacked."""
    root = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "base", "*.egg-info"))
    shutil.copytree(base, root / "src" / "lotj" / "base")
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(root / done.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(root / "site")
    return root / "site"


def lotj(installed: Path, folder: Path, *commands: list[str]) -> str:
    code = "import sys; from lotj.cli import main; sys.exit(max(main(words.split()) for words in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *(" ".join(words) for words in commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_lotj_practises_from_its_base(installed: Path, tmp_path: Path) -> None:
    """With nothing else on the disk: no data, no pretraining of one's own."""
    practice = ["practice", "--connector", "europlug", "--scenario", "near", *FEW]
    evaluation = ["evaluate", "--trials", "1", "--controllers", "offline", "practice"]
    said = lotj(installed, tmp_path, practice, evaluation, ["report"])
    card = f"the base that comes with lotj, described in {installed}/lotj/base/MODEL_CARD.md"
    assert said.splitlines()[0] == f"pretraining: {card}"
    run = Run.open(tmp_path / "runs" / "last")
    assert run.config["preset"] == "demo" and len(run.metrics()) == 2
    assert "Europlug" in (run.path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.slow
def test_demo_needs_nothing_but_the_base(installed: Path, tmp_path: Path) -> None:
    demo = ["demo", "--connector", "europlug"]
    said = lotj(installed, tmp_path, demo)
    assert "trial 100/100" in said and "After" in said and "report: " in said
    said = lotj(installed, tmp_path, [*demo, "--resume"])
    assert "trial 100/100" not in said and len(list((tmp_path / "runs" / "demo").glob("practice-*"))) == 1
    assert not (tmp_path / "data").exists()
