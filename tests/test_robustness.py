"""Practice under disturbances: each one acts where it should, the learner is told nothing, and the table by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.cli import main
from lotj.envs.disturbances import DISTURBANCES
from lotj.errors import SettingsError
from lotj.experience import Episode
from lotj.experiments import presets, robustness
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import Preset
from lotj.experiments.robustness import NONE, ROBUSTNESS, ROWS
from lotj.experiments.stages import practice_phase, pretrain_phase
from lotj.experiments.study import Asked
from lotj.rewards.judge import Verdict
from lotj.runs import Run, find_run
from lotj.sim.connector import find_connector
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.practice import CHECKPOINT
from small_agents import same
from test_stages import TINY
from toy_world import trials_of

PLAIN = Asked("laptop", Path("data/laptop"), Path("runs/reproduce-laptop"))
SHORT = replace(TINY, practice=replace(TINY.practice, trials=2, max_steps=6))  # without updates
LEARNING = replace(TINY, practice=replace(TINY.practice, trials=4, warmup_trials=1, batch_size=8, updates_per_step=1))
ONLY_EVALUATED = [name for name, of in DISTURBANCES.items() if of.begins == 1.0]
FIRST = {"blur", "action-latency", "soft-arm", "loose-grasp", "changed-light", *ONLY_EVALUATED}
"""One of each kind: of pictures, actions, the bench, its episodes; from the middle on, and after practice."""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("robustness")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(root / "data", InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    return pretrain_phase(TINY, root / "data", root / "runs", seed=0, live=False)


def practise(of: Run, folder: Path, name: str = "", preset: Preset = SHORT, **more: Any) -> Run:
    run, _ = practice_phase(preset, of, folder, "as-3112", "near", live=False, disturbance=name, **more)
    run.close()
    return run


def pictures(run: Run) -> list[np.ndarray]:
    """Of each trial, in order, (T+1, V, H, W, 3)."""
    trials = trials_of(run)
    return [trials["practice", number].observation["image"] for number in range(1, len(run.metrics()) + 1)]


def equal(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]


@pytest.fixture(scope="module")
def calm(pretrained: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[np.ndarray]]:
    """Practice and evaluation without disturbance."""
    run = practise(pretrained, tmp_path_factory.mktemp("calm"))
    return run, films(run)


def films(run: Run) -> list[np.ndarray]:
    """Pictures of an evaluation trial of the policy before practice."""
    (result,) = evaluate_phase(run, trials=1, controllers=["offline"])
    assert result.film is not None
    return [result.film]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FIRST else pytest.mark.slow) for name in DISTURBANCES]
)
def test_each_acts_in_practice_and_in_evaluation(
    name: str, pretrained: Run, calm: tuple[Run, list[np.ndarray]], tmp_path: Path
) -> None:
    run = practise(pretrained, tmp_path, name)
    assert run.config["disturbance"] == name
    alike = equal(pictures(run), pictures(calm[0]))
    if name in ONLY_EVALUATED:
        assert alike == [True, True]
    elif name == "changed-light":
        assert alike == [True, False]  # it begins in the middle
    else:
        assert not all(alike)
    assert not all(equal(films(run), calm[1]))


@pytest.fixture(scope="module")
def learnt(pretrained: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return practise(pretrained, tmp_path_factory.mktemp("learnt"), preset=LEARNING)


def weights(run: Run) -> Any:
    return run.load(CHECKPOINT)["agent"]["modules"]


def test_what_comes_after_practice_leaves_it_bit_equal(pretrained: Run, learnt: Run, tmp_path: Path) -> None:
    """The learner is told nothing of what will be; noise that it sees in every picture does change it."""
    assert sum(row["updates"] for row in learnt.metrics()) > 0
    assert same(weights(practise(pretrained, tmp_path / "moved", "moved-socket", LEARNING)), weights(learnt))
    assert not same(weights(practise(pretrained, tmp_path / "noise", "camera-noise", LEARNING)), weights(learnt))


class Stop:
    """A judge that agrees with all the others, and is interrupted in a trial."""

    def __init__(self, trial: int) -> None:
        self.trial = trial

    def see(self, number: int, episode: Episode) -> None:
        if number == self.trial:
            raise KeyboardInterrupt

    def verdict(self, number: int, episode: Episode) -> Verdict:
        return Verdict(len(episode), True)


@pytest.mark.parametrize("trial", [2, 4])
def test_a_light_that_changes_in_mid_practice_does_so_too_where_practice_was_stopped(
    trial: int, pretrained: Run, learnt: Run, tmp_path: Path
) -> None:
    """Before the change and after it; the run itself says what goes wrong, not who resumes it."""
    with pytest.raises(KeyboardInterrupt):
        practise(pretrained, tmp_path, "changed-light", LEARNING, judges=[Stop(trial)])
    (stopped,) = (Run.open(path.parent) for path in tmp_path.glob("practice-*/run.json"))
    assert len(stopped.metrics()) == trial - 1
    run = practise(pretrained, tmp_path, "", LEARNING, resume=stopped)
    starts = [[images[0] for images in pictures(one)] for one in (run, learnt)]
    assert equal(*starts) == [True, True, False, False]


def test_an_unknown_disturbance_leaves_no_run(pretrained: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown disturbance 'fog'"):
        practise(pretrained, tmp_path, "fog")
    assert not list(tmp_path.iterdir())


def test_each_practice_is_done_under_each_disturbance_and_without() -> None:
    jobs = ROBUSTNESS.asked(PLAIN).jobs(PLAIN)
    cells = [job.arguments for job in jobs if "connector" in job.arguments]
    assert len(jobs) == 2 + 13 * 3 * 2 and len({job.name for job in jobs}) == len(jobs)
    assert Counter(cell["disturbance"] for cell in cells) == dict.fromkeys(["", *DISTURBANCES], 6)
    assert {find_connector(cell["connector"]).split for cell in cells} == {"validation"}
    for cell in cells:
        assert cell["trials"] == [100] and cell["scenario"] == "far" and cell["controllers"] == ["expert", "offline"]
    (blur,) = (job for job in jobs if job.name == "blur-far-as-3112-iql-ours-ours-1-trio-0")
    assert blur.needs == ("pretrain-ours-seed1",) and blur.arguments["disturbance"] == "blur"
    assert str(blur.leaves) == blur.arguments["folder"] == f"runs/reproduce-laptop/disturbances/{blur.name}"
    few = replace(PLAIN, connectors=("usb-b",), trials=(7,))
    assert len(ROBUSTNESS.asked(few).jobs(few)) == 2 + 13 * 2
    with pytest.raises(SettingsError, match="is chosen on validation connectors, by `validation` alone"):
        ROBUSTNESS.asked(replace(PLAIN, practice="imitation-alone"))


def result(before: int, after: int, false: int = 0, wrong: int = 0, alarm: bool = False) -> dict[str, Any]:
    """Of 20 trials each, and 50 predicted successes."""
    of = {"offline": before, "after-100": after, "expert": 20}
    practice = {"predicted": 50, "false": false, "missed": 1, "wrong_socket": wrong, "lost": 2, "alarm": alarm}
    return {"evaluations": {name: {"successes": k, "n": 20} for name, k in of.items()}, "practice": practice}


def page(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Row -> column -> cell of the first table."""
    text = ROBUSTNESS.files(results)["table.md"].decode().split("## By unit")[0]
    head, _, *lines = ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|")
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


def test_the_table_pairs_each_unit_with_itself_and_says_what_breaks() -> None:
    job = "{}-far-{}-iql-ours-ours-{}".format
    results = {
        job(NONE, "as-3112", "0-duo-0"): result(4, 20),
        job(NONE, "as-3112", "1-trio-0"): result(6, 16),
        job(NONE, "duplo-2x2", "0-duo-0"): result(0, 10),
        job("blur", "as-3112", "0-duo-0"): result(4, 18),
        job("blur", "as-3112", "1-trio-0"): result(6, 14, false=3),
        job("soft-arm", "as-3112", "0-duo-0"): result(4, 17, alarm=True),
        job("soft-arm", "as-3112", "1-trio-0"): result(4, 14),
        job("late-frame", "d-sub-da-15", "0-duo-0"): result(0, 0),
        job("second-socket", "as-3112", "0-duo-0"): result(4, 20, false=2, wrong=2),
    }
    rows = page(results)
    assert list(rows) == list(ROWS)
    # 18 and 14 of 20 are 90 and 70 %: 80, standard deviation 14.1, t of 1 degree of freedom 12.7: 14.1 * 12.7 / 1.41.
    assert rows["blur"]["after 100"] == "80 \u00b1 130" and rows["blur"]["units"] == "2"
    # 2 of 20 below in both units, without spread: as much as the rule allows; and 3 of 100 false, likewise.
    assert rows["blur"]["difference to none"].startswith("-10 \u00b1 0;") and rows["blur"]["false"] == "3 of 100"
    assert rows["blur"]["breaks"] == "no" and rows["blur"]["missed"] == "2"
    # 3 and 2 of 20 below: 12.5 points on average.
    assert rows["soft-arm"]["difference to none"].startswith("-12.5 ") and rows["soft-arm"]["breaks"] == "**yes**"
    assert rows["soft-arm"]["alarm"] == "1 of 2" and rows["soft-arm"]["lost"] == "4"
    # 2 of 50 are more than 3 in 100.
    second = rows["second-socket"]
    assert second["wrong socket"] == second["false"] == "2 of 50" and second["breaks"] == "**yes**"
    assert second["difference to none"].startswith("0;") and second["expert"] == "100"
    assert rows[NONE]["difference to none"] == rows[NONE]["wrong socket"] == "-" and rows[NONE]["breaks"] == "no"
    assert rows["late-frame"]["difference to none"] == rows["late-frame"]["breaks"] == "-"  # nothing to compare with
    assert set(rows["moved-socket"].values()) == {"moved-socket", "0", "-"}  # not done yet
    units = ROBUSTNESS.files(results)["table.md"].decode().split("## By unit")[1]
    assert re.search(r"\| blur +\| as-3112 1-trio-0 +\| 6/20 +\| 14/20 +\| 20/20 +\|", units)


@pytest.mark.slow
def test_from_nothing_and_again(
    pretrained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two of its rows; the second time only what is missing is done."""
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(SHORT, evaluation_trials=1))
    monkeypatch.setattr(robustness, "ROWS", (NONE, "second-socket"))
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "disturbances", "--preset", "tiny", "--data", pretrained.setting("data"), "--trials", "2"]
    words += ["--connectors", "as-3112", "--on", "here", "--workers", "1", "--device", "cpu"]
    assert main(words) == 0
    path = Path("results/disturbances/second-socket-far-as-3112-iql-ours-ours-0-duo-0.json")
    cell = json.loads(path.read_text())
    assert cell["arguments"]["disturbance"] == "second-socket" and cell["result"]["practice"]["wrong_socket"] == 0
    run = find_run(Path(cell["arguments"]["folder"]), "practice")
    truth = [json.loads(line) for line in (run.path / "truth.jsonl").read_text().splitlines()]
    assert {line["wrong_socket"] for line in truth} == {False}
    table = Path("results/disturbances/part/table.md").read_text()
    assert "# Practice under disturbances, far" in table and "| second-socket | 2 " in table
    path.unlink()  # as if it had been stopped there
    capsys.readouterr()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("skipped") == 5 and printed.count("done  ") == 1
    assert Path("results/disturbances/part/table.md").read_text() == table
