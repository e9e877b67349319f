"""The headline: what is measured in a practice, robot time, targets and predictions by hand, and the leaderboard."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lotj.cli import main
from lotj.errors import SettingsError
from lotj.experiments import presets
from lotj.experiments.comparisons import COMPARISONS, OF_BASE
from lotj.experiments.headline import (
    Practised,
    against_first,
    draw_judge,
    in_practice,
    leaderboard,
    predictions,
    robot_time,
    targets,
)
from lotj.experiments.presets import Preset, find_preset
from lotj.experiments.study import BASE, RESET_S, Asked, practice_job, practice_settings, pretrain_job, trainings
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.runs import base_run, find_run, first_difference, plain
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain_config import PretrainConfig
from small_agents import SMALL_BOTTLENECK, SMALL_IQL

TRIALS = (25, 50, 100)


def unit(
    before: int = 5,
    after: tuple[int, int, int] = (10, 19, 20),
    start: str = "Europlug, far",
    name: str = "0-duo-0",
    **practice: Any,
) -> Practised:
    """Successes of 20; each evaluation has 40 s of motion, a second of it in each success."""
    of = {"offline": before, "expert": 20, **{f"after-{n}": k for n, k in zip(TRIALS, after, strict=True)}}
    evaluations = {key: {"successes": k, "n": 20, "seconds": 40.0, "success_seconds": 1.0 * k} for key, k in of.items()}
    minutes = {f"after-{n}": 0.1 * n for n in TRIALS}
    went = {"predicted": 90, "false": 0, "missed": 1, "lost": 2, "alarms": 0, "alarm": False, "kept": 100}
    made = {"begun": "2026-12-01T10:00:00", "commit": "abc1234"}
    practised = {**went, "robot_minutes": minutes, **practice}
    return Practised(start, name, TRIALS, {"evaluations": evaluations, "practice": practised, "made": made})


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_robot_time_is_a_mean_over_units() -> None:
    slow = unit(after=(0, 0, 10), robot_minutes={"after-25": 4.5, "after-50": 9.0, "after-100": 14.0})
    head, _, near, far, both = rows(robot_time([unit(start="Europlug, near"), unit(), slow]))
    assert [near[0], far[0], both[0]] == ["Europlug, near", "Europlug, far", "all"]
    assert head[1:4] == ["minutes of 25 trials", "minutes of 50 trials", "minutes of 100 trials"]
    # Of 10 and 14 minutes, standard deviation 2.828, t of 1 degree of freedom 12.71: 12.71 * 2.828 / sqrt 2 = 25.4.
    assert near[1:4] == ["2.5", "5", "10"] and far[3] == "12 \u00b1 25"
    assert near[4:6] == ["1", "1"]  # a second each
    # 20 in 40 s and 20 resets: 600 * 20 / (40 + 100) = 85.7; ten in the same time: 42.9, together 64.3.
    assert RESET_S == 5.0 and near[6:] == ["85.7", "85.7"] and far[6].startswith("64.3 ")


def test_a_practice_is_compared_on_shared_units() -> None:
    """91 true successes of ours in each of three units; without something 81 and 71 in two of them, and 5 unseen."""
    ours = [unit(name=f"0-trio-{k}") for k in range(3)]
    less = [
        unit(after=(0, 17, 19), name="0-trio-0", predicted=80),
        unit(name="0-trio-2", predicted=67, false=1, missed=5),
    ]
    head, _, first, second, third = rows(against_first({"ours": ours, "less": less, "none": []}))
    assert head[2:5] == ["after 50", "after 100", "in the 100 trials"]
    assert first == ["ours", "3", "19 \u00b1 0", "20 \u00b1 0", "91 \u00b1 0", "0 \u00b1 0", "0", "6"]
    # -10 and -20: mean -15, half width 12.71 * 7.07 / sqrt 2 = 63.5; 2 of the 4 flips are as far from 0.
    assert second[1:] == ["2", "18 \u00b1 13", "19.5 \u00b1 6.4", "76 \u00b1 64", "-15 \u00b1 64; p 0.5", "1", "4"]
    assert third[1:6] == ["0", "-", "-", "-", "-"]


ANY = "units that predict any"


def verdicts(text: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r"^- (.*?): (yes|\*\*no\*\*|cannot tell) \((.*)\)$", text, re.MULTILINE)
    return {what: (word.strip("*"), words) for what, word, words in found}


def test_targets_by_hand() -> None:
    """Nineteen units of twenty reach 19 after 100 trials, sixteen after 50; one has a false success and no alarm."""
    units = [unit(name=f"0-duo-{k}") for k in range(14)]
    units += [unit(after=(10, 20, 19), name=f"0-duo-{k}") for k in (14, 15)]
    units += [unit(after=(10, 18, 19), name=f"0-duo-{k}") for k in (16, 17)]
    units += [unit(after=(1, 1, 20), name="1-trio-0", false=1), unit(19, (1, 1, 18), "DT12-1, near", "1-trio-1")]
    found = verdicts(targets(units))
    assert found["19 of 20 after 100 trials on 95 % of units"] == ("yes", "19 of 20 units, Clopper-Pearson 75-100 %")
    assert found["19 of 20 after 50 trials on 80 % of units"][0] == "yes"  # 16 of 20
    # One of 90 is 1.1 %, above 0.5: on one unit of twenty, which is allowed, but it has to sound an alarm.
    assert found["false successes at most 0.5 % of predicted on 95 % of units"] == (
        "yes",
        f"19 of 20 {ANY}",
    )
    assert found["an alarm on every unit with more"] == ("no", "exceptions: Europlug, far, 1-trio-0")
    assert found["no unit worse after practice than before"] == ("no", "exceptions: DT12-1, near, 1-trio-1")
    told = verdicts(
        targets([*units[:-2], unit(name="2-duo-0", false=1, alarm=True), unit(after=(1, 1, 18), name="2-duo-1")])
    )
    assert told["an alarm on every unit with more"] == told["no unit worse after practice than before"]
    nothing = verdicts(targets(units[:14]))
    assert nothing["an alarm on every unit with more"] == ("cannot tell", "no unit has more")
    assert told["no unit worse after practice than before"] == ("yes", "exceptions: none")
    assert told["19 of 20 after 50 trials on 80 % of units"][0] == "yes"
    silent = verdicts(targets([unit(predicted=0), *units[:14]]))
    assert silent["false successes at most 0.5 % of predicted on 95 % of units"][1] == f"14 of 14 {ANY}"
    none = verdicts(targets([unit(predicted=0)]))["false successes at most 0.5 % of predicted on 95 % of units"]
    assert none == ("cannot tell", f"0 of 0 {ANY}")
    worst = verdicts(targets([*units, unit(after=(1, 1, 18), name="2-duo-0", false=2)]))
    assert worst["19 of 20 after 100 trials on 95 % of units"] == ("no", "19 of 21 units, Clopper-Pearson 70-99 %")
    assert worst["false successes at most 0.5 % of predicted on 95 % of units"] == (
        "no",
        f"19 of 21 {ANY}",
    )


def test_near_and_far_are_one_unit_of_the_targets_and_of_means_over_all() -> None:
    """20 and 18 of 20 are 38 of 40, 19 of 20; 20 and 17 are not. Of 90 predicted near and far one is false: 1 in 180,
    above 0.5 %; of 160 and 90 one in 250 is not, but the alarm it should have raised far is missed all the same."""
    near, far = "Europlug, near", "Europlug, far"
    units = [unit(start=near), unit(after=(10, 19, 18), false=1, alarm=True, start=far)]
    units += [unit(start=near, name="1-trio-0", predicted=160), unit(19, (0, 0, 17), far, "1-trio-0", false=1)]
    found = verdicts(targets(units))
    assert found["19 of 20 after 100 trials on 95 % of units"] == ("no", "1 of 2 units, Clopper-Pearson 1-99 %")
    assert found["19 of 20 after 50 trials on 80 % of units"][1].startswith("1 of 2 units")
    assert found["false successes at most 0.5 % of predicted on 95 % of units"] == (
        "no",
        f"1 of 2 {ANY}",
    )
    assert found["an alarm on every unit with more"] == ("no", "exceptions: Europlug, far, 1-trio-0")
    assert found["no unit worse after practice than before"] == ("no", "exceptions: Europlug, far, 1-trio-0")
    # 38 and 37 of 40 in 80 s and 40 resets: 600 * 38 / (80 + 200) = 81.43 and 79.29, mean 80.4; of two units, not four:
    # 12.71 * 1.515 / sqrt 2 = 13.6.
    both = rows(robot_time(units))[-1]
    assert both[:4] == ["all", "2.5 \u00b1 0", "5 \u00b1 0", "10 \u00b1 0"] and both[6] == "80.4 \u00b1 14"
    assert rows(leaderboard("", units, ""))[-1][5] == "0 before, 0 after 25, 1 after 50, 1 after 100, of 2"


def test_predictions_are_told_by_their_rules_and_a_missing_unit_has_failed(tmp_path: Path) -> None:
    page = tmp_path / "predictions.md"
    page.write_text("".join(f"| `part-{k}` | new, {k} | {'easy' if k < 8 else 'hard'} |\n" for k in range(12)))

    def of(k: int, seed: int, after: int = 20, **more: Any) -> Practised:
        return unit(4, (0, 0, after), f"part-{k}, far", f"{seed}-duo-0", **more)

    all_but_one = [of(k, seed) for k in range(12) for seed in (0, 1)][:-1]
    found = verdicts(text := predictions(all_but_one, page))
    assert found["19 of 20 on 19 or more of 24 units"] == ("yes", "23 of 23 units, Clopper-Pearson 85-100 %")
    assert found["440 or more of 480 after practice"] == ("yes", "460")
    assert found["60 to 200 of 480 before"] == ("yes", "92") and found["at most 2 units below 10 of 20"] == ("yes", "1")
    assert found["at most 3 in 100 predicted successes false"] == ("yes", "0 of 2070")
    higher = "the easy connectors' share of such units is higher than the hard ones'"
    assert found[higher] == ("yes", "16 of 16, 7 of 8") and "Both units at 19 or 20: 11 of 12" in text
    some = [of(k, seed, 9 if k < 3 else 18 if k < 4 else 19, false=3) for k in range(12) for seed in (0, 1)]
    found = verdicts(predictions(some, page))
    assert found["19 of 20 on 19 or more of 24 units"][0] == "no"  # 16
    assert found["440 or more of 480 after practice"] == ("no", "394")  # 6 x 9 + 2 x 18 + 16 x 19
    assert found["at most 2 units below 10 of 20"] == ("no", "6") and found[higher] == ("no", "8 of 16, 8 of 8")
    assert found["at most 3 in 100 predicted successes false"] == ("no", "72 of 2160")  # 3.3
    assert verdicts(predictions(some, tmp_path / "none.md"))[higher][0] == "cannot tell"


def test_the_leaderboard_has_a_row_a_run_and_keeps_the_old_ones() -> None:
    units = [unit(name=f"0-duo-{k}") for k in range(4)] + [unit(after=(20, 18, 18), name="1-trio-4")]
    first = leaderboard("", units, "the first")
    (row,) = rows(first)[2:]
    # Four of five reach 19 after 50 trials, in 5 minutes of robot time; one does after 25.
    assert row[:5] == ["2026-12-01T10:00:00", "abc1234", "the first", "50", "5.0"]
    assert row[5] == "0 before, 1 after 25, 4 after 50, 4 after 100, of 5"
    assert leaderboard(first, units, "") == first  # shown again
    assert "a \\| b" not in leaderboard(first, units, "a | b") and "a / b" in leaderboard(first, units, "a | b")
    made = {"begun": "2026-12-05T09:00:00", "commit": None}
    later = [replace(one, result={**one.result, "made": made}) for one in 2 * [unit(after=(1, 2, 3))]]
    both = rows(leaderboard(first, later, ""))[2:]
    assert both == [row, ["2026-12-05T09:00:00", "?", "-", "> 100", "> 10.0", both[1][5]]]


def test_the_judges_figure_has_a_point_a_practice_that_claimed_anything_and_a_name_a_connector() -> None:
    units = [unit(false=9), unit(name="1-trio-0"), unit(start="DT12-1, near", predicted=0)]
    drawn = draw_judge(units).decode()
    points = re.findall(r'<use xlink:href="#\S+" x="([\d.]+)" y="([\d.]+)" style="fill: #1f77b4', drawn)
    assert len(points) == 2 + 1 and "Europlug" in drawn and "DT12-1" in drawn  # the last one is in the legend
    assert float(points[0][0]) < float(points[1][0])  # 81 of 90 claims true, and all
    assert draw_judge(units).decode() == drawn


def test_what_happened_in_practice_is_told_unit_by_unit() -> None:
    text = in_practice([unit(false=3, alarm=True, alarms=40, kept=0), unit(name="1-trio-1")])
    assert "180 predicted successes, 3 of them false; 4 lost parts." in text
    assert rows(text)[2] == ["Europlug, far", "0-duo-0", "90", "3", "1", "2", "40", "yes", "of trial 0", "10.0"]


TINY_NET = EncoderConfig(width=8, stages=1)
TINY = Preset(
    name="tiny",
    reward=RewardConfig(encoder=TINY_NET, bottleneck=SMALL_BOTTLENECK, steps=2, batch=8),
    front=Pixels(TINY_NET),
    iql=SMALL_IQL,
    pretrain=PretrainConfig(steps=2, batch=8, log_every=2),
    practice=SelfJudgedConfig(
        max_steps=3,
        warmup_trials=1,
        batch_size=8,
        updates_per_step=1,
    ),
    features=FeatureConfig(transitions=16),
    evaluation_trials=1,
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with the data of a tiny preset."""
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)
    monkeypatch.chdir(tmp_path)
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(Path("data/tiny"), InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    return tmp_path


def test_a_part_that_is_lost_again_and_again_does_not_stop_the_list(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gripper that always feels a loss: after ten in a row practice stops, and the job goes on."""
    pretrain_job("tiny", "data/tiny", "runs/pretrained", seed=0, variant="ours", done={})
    monkeypatch.setattr("lotj.robots.simulated.SLIP_LIMIT", -1.0)
    bench = {"connector": "europlug", "scenario": "near", "robot": "duo", "domain_seed": 0, "seed": 0, "agent": "iql"}
    settings = practice_settings("tiny", trials=12)
    result = practice_job("tiny", "runs/pretrained", "runs/cell", settings, [12], [], evaluation_trials=1, **bench)
    assert result["practice"]["lost"] == 12 and list(result["evaluations"]) == ["after-12"]


def test_the_headline_begins_from_the_base_and_from_one_pretraining_more() -> None:
    asked = Asked("laptop", Path("data/laptop"), Path("runs"), machine={"threads": 1})
    jobs = {job.name: job for job in COMPARISONS["headline"].jobs(asked)}
    assert [name for name in jobs if name.startswith("pretrain")] == ["pretrain-ours-seed1"]
    first, second = jobs["far-europlug-iql-ours-ours-0-duo-0"], jobs["far-europlug-iql-ours-ours-1-trio-0"]
    assert first.arguments["pretrained"] == BASE and not first.needs
    assert second.arguments["pretrained"] == "runs/pretrain-ours-seed1" and second.needs == ("pretrain-ours-seed1",)
    *of, seed = OF_BASE  # which the base is: of other settings it would be another pretraining
    (job,) = (job for job in trainings(seed + 1, asked) if job.name == "pretrain-ours-seed0")
    assert [job.arguments["preset"], job.arguments["variant"]] == of and base_run().seed == seed
    laptop = plain(asdict(find_preset("laptop").pretraining))
    assert first_difference(base_run().config, laptop) in (None, "pretrain.save_minutes 3.0, not 0.5")


@pytest.mark.slow
def test_the_headline_from_nothing_and_on_where_it_was_stopped(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "headline", "--preset", "tiny", "--connectors", "europlug", "--benches", "2"]
    words += ["--trials", "1", "3", "--on", "here", "--workers", "1"]
    assert main(words) == 0
    cells = Path("results/headline")
    names = [f"{start}-europlug-iql-ours-ours-{unit}" for start in ("far", "near") for unit in ("0-duo-2", "1-trio-2")]
    assert sorted(path.stem for path in cells.glob("*.json")) == [*names, "pretrain-ours-seed0", "pretrain-ours-seed1"]
    cell = json.loads((cells / f"{names[0]}.json").read_text())
    result, arguments = cell["result"], cell["arguments"]
    assert {"commit", "begun", "cpu", "torch"} <= set(result["made"])
    assert arguments["seed"] == 200 and arguments["practice"]["trials"] == 3 and cell["machine"]["device"] == "cpu"
    assert set(result["evaluations"]) == {"after-1", "after-3", "offline", "expert"}
    assert all(outcome["n"] == 1 for outcome in result["evaluations"].values())
    run = find_run(Path(arguments["folder"]), "practice")
    assert run.config["domain_seed"] == 2 and run.config["pretrain_seed"] == 0
    last = {line["seed"]: line["steps"] for line in map(json.loads, (run.path / "truth.jsonl").open())}
    whole = (sum(last.values()) / 10 + 3 * RESET_S) / 60
    assert result["practice"]["robot_minutes"]["after-3"] == pytest.approx(whole, abs=0.006)
    assert result["practice"]["kept"] == 0 and not Path("results/leaderboard.md").exists()  # it is not the headline's
    page = (cells / "part" / "table.md").read_text()
    assert "| Europlug, near | " in page and "## Targets" in page and "| after 3" in page
    monkeypatch.setitem(presets.PRESETS, "tiny", replace(TINY, pretrain=replace(TINY.pretrain, steps=3)))
    arguments = json.loads((cells / "pretrain-ours-seed0.json").read_text())["arguments"]
    with pytest.raises(SettingsError, match="was begun with pretrain.steps 2, not 3: remove it, and the job begins"):
        pretrain_job(**arguments)  # a preset may change, its name does not
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)
    stopped = find_run(Path(json.loads((cells / f"{names[1]}.json").read_text())["arguments"]["folder"]), "practice")
    (stopped.path / "versions.json").write_text('{"commit": "abc1234"}')
    (cells / f"{names[1]}.json").unlink()  # as if it had been stopped there, by an older lotj; its run is whole
    before = {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    capsys.readouterr()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("skipped") == 5 and printed.count("done  ") == 1
    assert before.items() < {path.name: path.stat().st_mtime_ns for path in cells.glob("*.json")}.items()
    assert (cells / "part" / "table.md").read_text().split("results: ")[0] == page.split("results: ")[0]
    made = json.loads((cells / f"{names[1]}.json").read_text())["result"]["made"]
    assert made["commit"] == f"abc1234 (gone on with at {result['made']['commit']})"
    assert made["begun"] == stopped.created[:19]
