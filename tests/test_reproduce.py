"""The paper's tables as lists of jobs: what is to be done, the paper's own figures, and the table of what is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lotj.agents.iql_config import IQLConfig
from lotj.agents.localizer import LocalizerConfig
from lotj.cli import main
from lotj.experiments import presets
from lotj.experiments.comparisons import COMPARISONS, CONNECTORS, job_name
from lotj.nets.encoder import EncoderConfig
from lotj.rewards.classifier import RewardConfig
from lotj.training.collect import CollectConfig
from lotj.training.practice import PracticeConfig
from lotj.training.practice_features import FeatureConfig
from lotj.training.pretrain import PretrainConfig

NEAR, FAR = COMPARISONS["table1"], COMPARISONS["table2"]


def test_paper_figures_are_those_of_its_rows() -> None:
    """LOTJ, tables I and II, the rows of the Mega brick and the NEMA plug."""
    places = {name: place for place, name in enumerate(CONNECTORS)}
    mega, nema = places["mega-brick-1x1"], places["nema-5-15"]
    assert [m.paper[mega] for m in NEAR.methods] == [3, 1, 1, 15, 0, 0, 0, 2, 5, 16]
    assert [m.paper[nema] for m in NEAR.methods] == [0, 1, 0, 3, 0, 0, 4, 1, 11, 15]
    assert [m.paper[mega] for m in FAR.methods] == [0, 1, 0, 17, 0, 0, 0, 11, 0, 20]
    assert [m.paper[nema] for m in FAR.methods] == [0, 0, 0, 0, 0, 0, 3, 1, 6, 17]


def test_jobs_of_a_table() -> None:
    jobs = NEAR.jobs("laptop", Path("data"), Path("runs"), seeds=(0, 1))
    assert len(jobs) == 2 + 2 * 4 * 3  # a pretraining a seed; four connectors, three learners
    by_name = {job.name: job for job in jobs}
    ours = by_name["near-europlug-iql-seed1"]
    assert ours.needs == ("pretrain-seed1",) and ours.arguments["robot"] == "trio"
    wanted = ["localize", "straight-down", "random-search", "spiral-search", "offline", "practice"]
    assert ours.arguments["controllers"] == wanted
    far = {job.name: job for job in FAR.jobs("laptop", Path("data"), Path("runs"), seeds=(0, 1))}
    assert "localize-spiral-search" in far["far-europlug-iql-seed1"].arguments["controllers"]
    assert far["pretrain-seed0"] == by_name["pretrain-seed0"]  # shared


def outcome(**successes: list[int]) -> dict[str, Any]:
    return {"evaluations": {name.replace("_", "-"): {"success": values} for name, values in successes.items()}}


def test_table_sums_seeds_and_leaves_open_what_is_not_done() -> None:
    results = {
        job_name("near", "europlug", "sac", 0): outcome(offline=[0, 0], practice=[0, 1]),
        job_name("near", "europlug", "sac", 1): outcome(offline=[0, 0], practice=[1, 1]),
    }
    table = NEAR.table(results, seeds=(0, 1))
    titles = [method.title for method in NEAR.methods]
    cell = table.rows["Europlug"][titles.index("SAC online")]
    assert cell is not None and (cell.successes, cell.n, cell.paper) == ((1, 2), (2, 2), 0)
    assert table.rows["Europlug"][titles.index("LOTJ online")] is None
    assert all(cell is None for cell in table.rows["NEMA 15"])


@pytest.mark.parametrize(
    "words,line",
    [
        (["--seeds", "0", "0"], "seeds (0, 0): none twice, none negative"),
        (["--trials", "0"], "trials 0: must be at least 1"),
        (["--preset", "labtop"], "unknown preset 'labtop': did you mean 'laptop'?"),
        (["--connectors", "euro"], "euro"),
        (["--data", "nowhere"], "nowhere holds no data set: `lotj collect --preset laptop --data nowhere` makes it"),
    ],
)
def test_what_cannot_work_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "table1", *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and line in errors[0]


@pytest.mark.slow
def test_a_table_from_nothing_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny preset, one seed, one connector: all methods of table I, a second time without any work."""
    encoder = EncoderConfig(image_size=32, width=8, stages=2)
    few = CollectConfig(image_size=32, expert_episodes=4)
    practice = PracticeConfig(warmup_trials=1, batch_size=32, features=FeatureConfig(transitions=60, cache=None))
    tiny = replace(
        presets.find_preset("demo"),
        name="tiny",
        collect=few,
        collect_validation=few,
        training_connectors=3,
        reward=RewardConfig(encoder=encoder, steps=20, batch=32),
        iql=IQLConfig(encoder=encoder),
        pretrain=PretrainConfig(steps=20, batch=32, log_every=10),
        localizer=LocalizerConfig(encoder=encoder, steps=20, batch=32),
        practice=practice,
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
    monkeypatch.chdir(tmp_path)
    from lotj.experiments.stages import collect_phase

    collect_phase(tiny, Path("data/tiny"), workers=2)
    words = ["reproduce", "table1", "--preset", "tiny", "--seeds", "0", "--connectors", "europlug"]
    words += ["--trials", "3", "--evaluation-trials", "2", "--on", "here", "--workers", "1"]
    assert main(words) == 0
    lines = Path("results/reproduce-tiny/table1.csv").read_text().splitlines()
    assert len(lines) == 1 + len(NEAR.methods)
    assert all(line.split(",")[3] == "2" for line in lines[1:])
    page = Path("results/reproduce-tiny/table1.html").read_text()
    assert "State-IQL online" in page and "Europlug" in page
    before = sorted(path.stat().st_mtime_ns for path in Path("results/reproduce-tiny").glob("*seed0.json"))
    assert main(words) == 0
    assert before == sorted(path.stat().st_mtime_ns for path in Path("results/reproduce-tiny").glob("*seed0.json"))
