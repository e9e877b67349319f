"""The report, from a full synthetic run and from almost nothing: right numbers, nothing from outside, nothing run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lotj.errors import SettingsError
from lotj.evaluation.filmstrip import FilmStrip, save_filmstrips
from lotj.evaluation.results import EvaluationResult, add_evaluation
from lotj.evaluation.statistics import unit_interval
from lotj.report import build_report
from lotj.report.charts import NARROW, WIDE, claim_map, learning_curve, outcome_kinds, small_series
from lotj.report.files import Trials, read_run
from lotj.report.findings import judge, pace_sentences, percent, summary_sentences

HOSTILE = "<script>alert('x')</script>\"onload=alert(1)"


class Page(HTMLParser):
    """Collects what a browser would see."""

    VOID = {"meta", "link", "img", "br", "wbr"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == [], f"unclosed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def count(self, tag: str, **wanted: str) -> int:
        return sum(t == tag and all(a.get(key) == value for key, value in wanted.items()) for t, a in self.tags)


def result(name: str, successes: int, n: int = 20) -> EvaluationResult:
    success = np.arange(n) < successes
    steps = np.where(success, 10, 20)
    force = np.where(success, 12.0, 24.0)
    return EvaluationResult(name, np.arange(1000, 1000 + n), success, steps, steps / 10, force, np.zeros(n, bool))


def write_trials(folder: Path, predicted: list[int], true: list[int] | None = None, **state: list[float]) -> None:
    n = len(predicted)
    lines = [
        {"step": t, "trial": t, "seed": 70 + t, "moves": 20, "predicted_success": predicted[t - 1],
         "score": 0.1 + 0.8 * predicted[t - 1], "value": t / n, "steps": 20, "seconds": 3.0, "loss/q": 1.0 / t}
        for t in range(1, n + 1)
    ]  # fmt: skip
    write_lines(folder / "metrics.jsonl", lines)
    if true is not None:
        rows = [
            {"seed": 70 + t, "steps": 20, "true_success": true[t - 1], "dislodged": 0,
             **{name: values[t - 1] for name, values in state.items()}}
            for t in range(1, n + 1)
        ]  # fmt: skip
        write_lines(folder / "truth.jsonl", rows)


CONFIG = {
    "task": "insertion/nema-5-15", "connector": "nema-5-15", "connector_title": "NEMA 5-15 plug", "family": "nema",
    "scenario": "far", "robot": "duo", "domain": "nema-5-15.duo.0", "insertion_depth_mm": 20.0, "preset": "demo",
    "trials": 40, "practice": {}, "commands": ["lotj practice --trials 40"], "pretrain_run": "runs/pretrain-1",
}  # fmt: skip


def write_run(folder: Path, seed: int = 3, usual: Mapping[str, object] = CONFIG, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": 1, "kind": "practice", "seed": seed, "created": "2026-11-21T10:12:00"}
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps({**usual, **config}))
    return folder


def write_lines(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return write_full(tmp_path)


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """What is reported of it."""
    return read(build_report(write_full(tmp_path_factory.mktemp("full"))))


def write_full(tmp_path: Path) -> Path:
    """Forty trials: 12 right claims, 8 false successes (5 beside, 2 partly in, 1 in the air), 4 missed, 16 rejected."""
    folder = write_run(
        tmp_path / "practice-1", robot="sawbot", preset="laptop", pretrain_seed=7, iql={"expectile": 0.7}
    )
    write_trials(
        folder,
        predicted=[1] * 20 + [0] * 20,
        true=[1] * 12 + [0] * 8 + [1] * 4 + [0] * 16,
        depth_mm=[20.0] * 12 + [-1.0] * 5 + [9.0] * 2 + [-12.0] + [20.0] * 4 + [-5.0] * 16,
        lateral_mm=[0.2] * 12 + [6.0] * 5 + [0.4] * 2 + [1.0] + [0.2] * 4 + [4.0] * 16,
    )
    for name, successes in (("spiral-search", 6), ("offline", 8), ("straight-down", 0), ("practice", 15)):
        add_evaluation(folder / "evaluation.json", result(name, successes))
    frames = np.random.default_rng(0).integers(0, 255, (13, 2, 8, 16, 3), dtype=np.uint8)
    heat = np.random.default_rng(1).random((13, 2, 8, 16))
    strip = FilmStrip(frames, np.linspace(0, 1, 13), heat, heat, False, 1003)
    save_filmstrips(
        folder / "filmstrips.npz",
        {"before": strip, "after": FilmStrip(frames[:5], np.ones(5), heat[:5], None, True, 1003)},
    )
    rates = {"expert": 0.004, "press": 0.03, "withdraw": 0.06, "half": None}
    entry = {
        "successes": 430,
        "others": 430,
        "near_miss_accuracy": 0.9,
        "accuracy_left_out": 0.9,
        "auc": 0.985,
        "precision": 0.97,
        "false_positive_rate": rates,
    }
    report = {
        "threshold": 0.62,
        "overall": {**entry, "successes": 860, "others": 860, "accuracy": 0.915},
        "connectors": {"usb-a-3": {**entry, "accuracy": 0.95}, "m8-4": {**entry, "accuracy": 0.88}},
    }
    (folder / "reward_report.json").write_text(json.dumps(report))
    timings = {"machine": "2 cores, no GPU", "seconds": {"pretrain": 3600.0, "practice": 605.0, "evaluate": 44.0}}
    (folder / "timings.json").write_text(json.dumps(timings))
    (folder / "versions.json").write_text(json.dumps({"lotj": "0.1.0", "torch": "2.13.0"}))
    return folder


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_full_run_shows_the_worked_out_numbers(full_page):
    text = full_page.text
    assert "NEMA 5-15 plug" in text and "21 November 2026, 10:12" in text and "pretraining seed 7" in text
    # 15/20: Wilson .531 to .888; 8/20: .219 to .613; Barnard 15 against 8: p = 0.030.
    assert "15 of 20 attempts (95 % interval 53–89 %)" in text
    assert (
        "Before practice it managed 8 of 20 attempts (95 % interval 22–61 %): it got better" in text
        and "p = 0.03" in text
    )
    assert "spiral search, managed 6 of 20" in text
    # Times: 15 of 10 steps and 5 of 20 steps at 10 Hz: (15 + 10) / 20 = 1.25 s; forces (15*12 + 5*24) / 20 = 15 N.
    assert "1.25 s" in text and "1.00 s if inserted" in text and "15.0 N" in text and "at most 24.0 N" in text
    assert "no success" in text  # straight down never inserted
    # 12 of 20 claims true: Wilson .387 to .781.
    assert "that was true in 12 of 20 trials (95 % interval 39–78 %)" in text
    assert "Where the plug was in the 8 false successes" in text
    assert "pressed beside the socket median 1.0 mm above the mouth, 6.0 mm off the axis 5" in text
    assert "partly inserted median 9.0 mm deep, 0.4 mm off the axis 2" in text
    assert "1 h 10 min in all on 2 cores, no GPU" in text and "10 min 5 s" in text  # 3600 + 605 + 44 = 4249 s
    assert "Accuracy, left out" in text and "the threshold that the other connectors choose" in text
    assert "88 % ▾" in text and "95 % ▾" not in text and "88 % to 95 % by connector" in text
    assert "iql.expectile" in text and "lotj practice --trials 40" in text and "torch 2.13.0" in text


@pytest.mark.parametrize("lacking", ["task", "commands", "connector", "insertion_depth_mm"])
def test_a_run_whose_settings_lack_what_the_page_needs_is_refused_in_one_line(tmp_path, lacking):
    """As runs of older versions do."""
    folder = write_run(tmp_path, usual={name: value for name, value in CONFIG.items() if name != lacking})
    with pytest.raises(SettingsError, match=rf"config.json: {lacking} is None, not a"):
        build_report(folder)


def test_an_alarm_of_the_last_trial_is_passed_on(tmp_path):
    for name, alarms, heard in (("none", [0, 0, 0], False), ("over", [1, 1, 0], False), ("now", [0, 0, 1], True)):
        folder = write_run(tmp_path / name)
        write_trials(folder, [1, 1, 1])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rows = [json.dumps(line | {"alarm": alarm}) for line, alarm in zip(lines, alarms, strict=True)]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
        assert ("own reward sees hardly any success" in read(build_report(folder)).text) == heard


def test_rows_come_in_the_order_of_the_story(full_page):
    text = full_page.text
    places = [
        text.index(row) for row in ("Before practice p =", "After practice 15 of 20", "Straight down", "Spiral search")
    ]
    assert places == sorted(places)


def test_film_strips_show_first_and_last_frame_with_heat_maps(full, full_page):
    page = full_page
    # before: 8 of 13 frames with two heat maps each; after: all 5 with one.
    assert page.count("img") == 8 * 3 + 5 * 2
    alts = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert alts[0] == "Before practice, step 0: camera"
    assert "Before practice, step 12: camera" in alts and "After practice, step 4: camera" in alts
    assert all(alts)
    assert "not inserted, 12 steps, start pose 1003" in page.text and "1.2 s score" in page.text
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps(config | {"rate_hz": 25.0}))
    text = read(build_report(full)).text
    assert "0.5 s score" in text and "1.2 s score" not in text  # 12 steps at 25 Hz: 0.48 s


@pytest.mark.parametrize("kind", ["full", "bare"])
def test_page_stands_alone(kind, full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where who types the commands stands: they name the run from there
    path = build_report(full if kind == "full" else write_run(tmp_path / "bare"))
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert path.name == "report.html"
    assert page.count("script") == 0
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attrs.get(name) or "data:").startswith("data:")
    assert "http://" not in html and "https://" not in html and "@import" not in html and "url(" not in html
    assert str(tmp_path) not in html  # nothing about the machine it was made on
    assert page.count("meta", name="viewport") == 1 and page.count("html", lang="en") == 1 and page.count("h1") == 1


def test_every_chart_says_what_it_shows(full_page):
    charts = [attrs for tag, attrs in full_page.tags if tag == "svg"]
    assert len(charts) >= 4
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for attrs in charts)
    # The last 20 trials of the fixture: none predicted, 4 true.
    assert any("predicted 0\u00a0%, true 20\u00a0%" in (attrs.get("aria-label") or "") for attrs in charts)


def test_almost_empty_run_says_what_is_missing_and_what_makes_it(tmp_path):
    page = read(build_report(write_run(tmp_path / "practice-2")))
    assert "Nothing has been practised or evaluated" in page.text
    for name in ("metrics.jsonl", "evaluation.json", "filmstrips.npz", "reward_report.json", "timings.json"):
        assert f"{name} is not in this run folder." in page.text
    (evaluate,) = {command for command in re.findall(r"lotj evaluate (\S+) and build", page.text)}
    assert Path(evaluate).resolve() == tmp_path / "practice-2"  # a path, from here
    for command in ("lotj practice --connector nema-5-15", "lotj pretrain"):
        assert command in page.text


def test_commands_are_this_runs_whatever_its_name_and_whoever_asks(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "my  runs" / "practice '1'")
    (tmp_path / "last").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    build_report(Path("last"))
    html = (folder / "report.html").read_text(encoding="utf-8")
    shown = [re.sub("<[^>]*>", "", code) for code in re.findall("<code>(<span>lotj.*?)</code>", html)]
    words = [shlex.split(unescape(command)) for command in shown]
    path = "my  runs/practice '1'"
    assert words == [["lotj", "practice", "--trials", "40"], ["lotj", "evaluate", path], ["lotj", "report", path]]


def test_practice_without_truth_or_evaluation(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, [0, 1, 1])
    text = read(build_report(folder)).text
    assert "practised 3 trials and called 2 of them a success itself" in text
    assert "truth.jsonl is not in this run folder" in text


def test_damaged_files_are_named_and_the_rest_is_shown(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (full / "filmstrips.npz").write_bytes(b"PK\x03\x04 torn")
    (full / "evaluation.json").write_text('{"not": "a list"}')
    (full / "timings.json").write_text("[1, 2")
    with open(full / "metrics.jsonl", "a") as file:
        file.write('{"trial": 41, "predic')  # killed while writing
    text = read(build_report(full)).text
    assert (
        "not a film strip file" in text
        and "must hold a list of evaluations" in text
        and "timings.json is damaged" in text
    )
    assert "that was true in 12 of 20" in text
    assert str(full) not in text


@pytest.mark.parametrize(
    ("name", "entry", "value", "said"),
    [
        ("metrics.jsonl", "trial", None, "KeyError: 'trial'"),
        ("metrics.jsonl", "predicted_success", "x", "predicted_success is 'x'"),
        ("metrics.jsonl", "score", "", "score is ''"),
        ("metrics.jsonl", "seed", [1], "seed is [1]"),
        ("truth.jsonl", "steps", None, "KeyError: 'steps'"),
        ("truth.jsonl", "depth_mm", {}, "depth_mm is {}"),
    ],
)
def test_a_damaged_entry_of_a_trial_is_named_and_the_rest_is_shown(full, name, entry, value, said):
    first, *others = (full / name).read_text().splitlines()
    line = {key: old for key, old in json.loads(first).items() if key != entry} | (
        {entry: value} if value is not None else {}
    )
    (full / name).write_text("\n".join([json.dumps(line), *others, ""]))
    text = unescape(read(build_report(full)).text)
    assert f"{name}: an entry is missing or damaged" in text and said in text


def test_what_is_no_object_where_one_should_be_is_named_and_the_rest_is_shown(full):
    reward = '{"threshold": 0.5, "connectors": {"usb-a": 1}, "overall": []}'
    for seconds, report in (("3", reward), ('{"practice": "x"}', reward.replace("0.5", '"x"'))):
        (full / "timings.json").write_text(f'{{"machine": "m", "seconds": {seconds}}}')
        (full / "reward_report.json").write_text(report)
        text = read(build_report(full)).text
        for name in ("timings.json", "reward_report.json"):
            assert f"{name} : {name}: an entry is missing or damaged" in text
    assert "that was true in 12 of 20" in text


def test_hostile_names_stay_text(tmp_path):
    folder = write_run(
        tmp_path / "run", connector=HOSTILE, connector_title=HOSTILE, robot=HOSTILE, commands=[HOSTILE], note=HOSTILE
    )
    write_trials(folder, [1, 0], [1, 0])
    add_evaluation(folder / "evaluation.json", result(HOSTILE, 3))
    figures = ("accuracy", "near_miss_accuracy", "accuracy_left_out", "auc", "precision")
    entry = dict.fromkeys(figures) | {"successes": 1, "others": 1, "false_positive_rate": {}}
    report = {"threshold": 0.5, "overall": entry, "connectors": {HOSTILE: entry}}
    (folder / "reward_report.json").write_text(json.dumps(report))
    (folder / "timings.json").write_text(json.dumps({"machine": HOSTILE, "seconds": {HOSTILE: 1.0}}))
    frames, heat = np.zeros((2, 1, 8, 8, 3), np.uint8), np.zeros((2, 1, 8, 8))
    strip = FilmStrip(frames, np.zeros(2), heat, None, True, 1)
    save_filmstrips(folder / "filmstrips.npz", {"<b onload=x>": strip})
    html = build_report(folder).read_text(encoding="utf-8")
    page = Page(html)
    assert page.count("script") == 0 and "<b onload" not in html
    assert not any("onload" in attrs for _, attrs in page.tags)
    assert page.text.count(HOSTILE) >= 6


@pytest.mark.parametrize("config", [None, "{torn", "[]"])
def test_a_folder_that_is_no_run(tmp_path, config):
    if config is not None:
        write_run(tmp_path)
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(SettingsError, match="not a run folder") as caught:
        build_report(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="not a run folder"):
        build_report(tmp_path / "nowhere")


def test_worse_after_practice_is_said_plainly(tmp_path):
    folder = write_run(tmp_path / "run")
    for name, successes in (("offline", 19), ("practice", 7)):
        add_evaluation(folder / "evaluation.json", result(name, successes))
    assert "it got worse, by more than chance explains" in summary_sentences(read_run(folder))[1]


def test_a_small_difference_is_not_sold_as_a_gain(tmp_path):
    folder = write_run(tmp_path / "run")
    for name, successes in (("offline", 11), ("practice", 15)):  # NEMA 5-15 in the paper's Table I: p = .23
        add_evaluation(folder / "evaluation.json", result(name, successes))
    words = summary_sentences(read_run(folder))[1]
    assert "chance alone could explain the difference" in words and "p = 0.23" in words.replace("\u00a0", " ")


def test_judgement_leaves_out_trials_whose_truth_is_unknown(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, [1, 1, 0, 0])
    write_lines(folder / "truth.jsonl", [{"seed": 70 + t, "steps": 20, "true_success": t == 1} for t in (1, 2)])
    trials = read_run(folder).trials
    assert trials is not None
    found = judge(trials)
    assert found is not None
    assert (found.hits, found.false_successes, found.misses, found.rejections) == (1, 1, 0, 0)
    assert list(found.causes) == ["position not recorded"]


def test_percent_never_rounds_to_certainty():
    assert [percent(rate).replace("\u00a0", " ") for rate in (0.0, 0.004, 0.5, 0.996, 1.0, float("nan"))] == [
        "0 %", "<1 %", "50 %", ">99 %", "100 %", "–",
    ]  # fmt: skip


def test_one_run_is_called_one_run(full, full_page):
    words = summary_sentences(read_run(full))[-1]
    assert words.startswith("This is one run, one pretraining on one bench")
    assert "Both are of this policy on this bench." in full_page.text


def test_what_several_units_say_is_said_over_units(tmp_path):
    """Six units rise from 8 to 15..20 of 20, by 9.5 on average (47.5 points): p = 2 / 64. Two reach 19 of 20. What has
    other settings, is torn, or is the same unit again is no unit of theirs; other threads are no other settings."""
    settings: dict[str, Any] = {"practice": {"trials": 100, "threads": 1}, "pretrain_run": "runs/pretrain-1"}
    for seed, successes in enumerate((15, 16, 17, 18, 19, 20)):
        folder = write_run(tmp_path / f"run-{seed}", domain=f"nema-5-15.duo.{seed}", **settings)
        for name, count in (("offline", 8), ("practice", successes)):
            add_evaluation(folder / "evaluation.json", result(name, count))
    twice = write_run(tmp_path / "run-0-again", domain="nema-5-15.duo.0", **settings)
    add_evaluation(twice / "evaluation.json", result("practice", 0))
    other = write_run(tmp_path / "run-8", domain="nema-5-15.duo.8", **{**settings, "practice": {"trials": 200}})
    add_evaluation(other / "evaluation.json", result("practice", 0))
    torn = write_run(tmp_path / "run-9", domain="nema-5-15.duo.9", **settings)
    (torn / "evaluation.json").write_text("[")
    settings["practice"] = {"trials": 100, "threads": 4}
    write_run(tmp_path / "run-5", domain="nema-5-15.duo.5", **settings)
    words = [sentence.replace("\u00a0", " ") for sentence in summary_sentences(read_run(tmp_path / "run-0"))]
    low, high = unit_interval([15, 16, 17, 18, 19, 20], [20] * 6)
    assert words[-2] == (
        "Over the 6 units here with the same settings (pretrainings on benches), 105 of 120 attempts succeed after "
        f"practice (95 % interval over units {100 * low:.0f}–{100 * high:.0f} %), at least 19 of 20 on 2 of them."
    )
    assert words[-1] == (
        "Practice changes that by +48 points on average of 6 units, by more than chance explains "
        "(sign flips, p = 0.031)."
    )


def test_robot_time_and_pace(tmp_path):
    """Trial 1 has 20 motions and 5 more while the plug is taken out, trial 2 has 35 and no witness: 60 of 0.1 s. Of 20
    attempts of 1 s if inserted and 2 s if not, 15 and 8 succeed: in ten minutes 600 * 15 / 25 = 360 and 600 * 8 / 32.
    """
    folder = write_run(tmp_path / "run")
    metrics = [{"trial": t, "seed": 70 + t, "moves": n, "predicted_success": 1} for t, n in ((1, 20), (2, 35))]
    write_lines(folder / "metrics.jsonl", metrics)
    truth = [{"seed": 71, "steps": n, "true_success": n == 20} for n in (19, 20, 25)]
    write_lines(folder / "truth.jsonl", truth)
    for name, count in (("offline", 8), ("practice", 15)):
        add_evaluation(folder / "evaluation.json", result(name, count))
    words = [sentence.replace("\u00a0", " ") for sentence in pace_sentences(read_run(folder))]
    assert words == [
        "In practice the robot moved for 6.0 s: 60 motions of 0.1 s, verification and extractions included, "
        "resets not.",
        "A successful insertion takes 1.00 s on average.",
        "Successes in ten minutes of motion, failures included, resets not: 360 after practice, 150 before.",
    ]
    expert = result("expert", 20)
    quick = EvaluationResult(**{**vars(expert), "seconds": np.full(20, 0.5)})
    add_evaluation(folder / "evaluation.json", quick)
    words = [sentence.replace("\u00a0", " ") for sentence in pace_sentences(read_run(folder))]
    assert "takes 1.00 s on average, the scripted expert’s, told where the socket is, 0.50 s." in words[1]
    assert words[2].endswith("360 after practice, 150 before, 1200 by the expert.")
    assert not any("hand-made strategy" in sentence for sentence in summary_sentences(read_run(folder)))
    assert "In practice the robot moved for 6.0 s" in read(build_report(folder)).text


def of_a_task(folder: Path, seed: int = 3, task: str = "fetch/reach", successes: int = 3, **config: object) -> Path:
    """Practice of four trials, the first failed, and an evaluation of four."""
    settings = {"task": task, "agent": "td3", "rate_hz": 25.0, "preset": "state", "pretrain_run": "", "trials": 4,
                "practice": {}, "commands": []}  # fmt: skip
    write_run(folder, seed, settings, **config)
    lines = [
        {"trial": t, "seed": 70 + t, "moves": 10, "steps": 10, "predicted_success": int(t > 1), "score": float(t > 1)}
        for t in range(1, 5)
    ]
    write_lines(folder / "metrics.jsonl", lines)
    for name, count in (("practice", successes), ("expert", 4)):
        calm = EvaluationResult(**{**vars(result(name, count, 4)), "peak_force_n": np.zeros(4)})
        add_evaluation(folder / "evaluation.json", calm)
    return folder


def test_where_the_environment_rewards_nothing_is_said_of_connectors_or_of_trust(tmp_path):
    """Its word is the truth: three of four trials succeed. 40 motions at 25 Hz take 1.6 s."""
    folder = of_a_task(tmp_path / "run")
    page = read(build_report(folder))
    for words in ("fetch/reach", "from nothing", "the agent succeeded in 3 of 4 attempts", "This is one run:"):
        assert words in page.text
    text = page.text.replace("\u00a0", " ")
    assert "In practice the robot moved for 1.6 s: 40 motions of 0.04 s, resets not included." in text
    for word in ("onnector", "nsert", "plug", "socket", "own eyes", "bench", "force", "straight down", "truth.jsonl"):
        assert word not in page.text, word
    read_back = read_run(folder).trials
    assert read_back is not None and not read_back.judged and judge(read_back) is None
    np.testing.assert_array_equal(read_back.true, [0, 1, 1, 1])
    texts = [text.text for text in numbers(learning_curve(read_back, None, None, WIDE))[0].iter("text")]
    assert {"succeeded", "failed", "success"} <= set(texts) and "success as the robot saw it" not in texts


def test_units_of_such_a_task_are_its_seeds(tmp_path):
    """Not other tasks or agents, nor a second run of a seed."""
    folder = of_a_task(tmp_path / "run-0", seed=0)
    of_a_task(tmp_path / "run-1", seed=1, successes=4)
    of_a_task(tmp_path / "run-1b", seed=1, successes=2)
    of_a_task(tmp_path / "push", seed=2, task="fetch/push")
    of_a_task(tmp_path / "sac", seed=3, agent="sac")
    words = [sentence.replace("\u00a0", " ") for sentence in summary_sentences(read_run(folder))]
    assert "Over the 2 units here with the same settings (seeds), 5 of 8 attempts succeed after practice" in words[-1]


def practised(n: int) -> Trials:
    """Every fourth trial of n is inserted and seen, a false success, inserted and not seen, a failure."""
    turn = np.arange(n) % 4
    said, true = (turn < 2) * 1.0, (turn % 2 == 0) * 1.0
    place = {"depth_mm": np.where(true, 20.0, 1.0), "lateral_mm": np.linspace(0.0, 9.0, n)}
    return Trials(np.arange(1, n + 1), said, true, {"score": said, **place})


def numbers(svg: str) -> tuple[ElementTree.Element, list[tuple[float, float]]]:
    """A drawing, and all points of its paths and texts that stand in its own frame."""
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    moved = {use.get("href", "")[1:] for use in root.iter("use")}  # shapes, in a frame of their own
    paths = [element.get("d", "") for element in root.iter("path") if element.get("id") not in moved]
    points = [(float(x), float(y)) for d in paths for x, y in re.findall(r"[ML] (\S+) (\S+)", d)]
    return root, points + [(float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in root.iter("use")]


@pytest.mark.parametrize("n", [1, 2, 19, 1000])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_learning_curve_of_any_length_stays_inside_its_drawing(n, width):
    drawing = learning_curve(practised(n), None, result("practice", 20), width)
    root, points = numbers(drawing)
    _, _, right, bottom = map(float, root.attrib["viewBox"].split())
    assert right == width and len(points) > 10
    assert all(0 <= x <= right and 0 <= y <= bottom for x, y in points)
    assert "20/20" in [text.text for text in root.iter("text")]  # text is text


def test_the_curve_is_where_the_rate_is():
    """Nothing succeeds in 40 trials, then all: the last point of the true curve lies at 100 %, at the right edge."""
    ones = np.repeat([0.0, 1.0], [40, 20])
    root, _ = numbers(learning_curve(Trials(np.arange(1, 61), ones, ones, {}), None, None, WIDE))
    curve = next(
        p.get("d", "") for p in root.iter("path") if "stroke: var(--true); stroke-width: 2.5" in p.get("style", "")
    )
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", curve)]
    grid = [float(p.get("d", "").split()[2]) for p in root.iter("path") if "var(--grid)" in p.get("style", "")]
    assert points[0][1] == max(grid) and points[-1] == (pytest.approx(WIDE - 8), min(grid))


def test_each_outcome_has_a_named_row_of_its_own():
    root, _ = numbers(learning_curve(practised(8), None, None, WIDE))
    texts = [text.text for text in root.iter("text")]
    assert {"succeeded", "false success", "not seen", "failed"} <= set(texts)
    unknown = Trials(np.arange(1, 3), np.array([1.0, 0.0]), np.full(2, np.nan), {})
    texts = [text.text for text in numbers(learning_curve(unknown, None, None, WIDE))[0].iter("text")]
    assert "said so" in texts and "succeeded" not in texts


def test_a_page_of_20_000_trials_is_a_light_one(tmp_path):
    """It was 13 MB."""
    folder = write_run(tmp_path / "run")
    long = practised(20_000)
    write_trials(folder, long.predicted.astype(int).tolist(), long.true.astype(int).tolist(), depth_mm=[1.0] * 20_000)
    path = build_report(folder)
    assert path.stat().st_size < 500_000
    assert "a tick stands for several trials" in read(path).text


def test_long_runs_are_thinned_out():
    long = practised(20_000)
    assert outcome_kinds(long)[:4].tolist() == ["hit", "alarm", "miss", "fail"]
    after = result("practice", 20)
    drawings = [learning_curve(long, after, after, width) for width in (WIDE, NARROW)]
    drawings += [claim_map(long, 20.0) or "", small_series(long, "score", "Score") or ""]
    assert all(0 < len(drawing) < 110_000 for drawing in drawings)
    assert "Last 400 trials: predicted 50\u00a0%, true 50\u00a0%" in drawings[0]  # of 2 %, not of 20
    # A tick stands for 67 trials; the rows together are as many as the trials.
    assert "10000 seated" not in drawings[2] and "5000 seated, 5000 not" in drawings[2]


def test_colours_are_the_pages():
    drawings = [learning_curve(practised(40), None, None, WIDE), claim_map(practised(40), 20.0) or ""]
    for drawing in drawings:
        assert {"var(--true)", "var(--said)", "var(--soft)"} <= set(re.findall(r"var\(--\w+\)", drawing))
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)  # none of their own, so that dark and light are legible
        assert "url(" not in drawing and "<style" not in drawing and "http" not in drawing


def test_names_of_series_stay_text():
    trials = Trials(np.arange(1, 4), np.ones(3), np.ones(3), {"loss/$<b>$": np.arange(3.0)})
    drawing = small_series(trials, "loss/$<b>$", "Loss: $<b>$")
    assert drawing is not None and "<b>" not in drawing and "Loss: $&lt;b&gt;$" in drawing
    assert small_series(Trials(np.arange(1, 4), np.ones(3), np.ones(3), {"v": np.full(3, np.nan)}), "v", "V") is None


def test_truth_is_matched_by_the_seed_of_the_start_pose(tmp_path):
    folder = write_run(tmp_path / "run")
    metrics = [{"trial": t, "seed": 70 + t, "moves": 9, "predicted_success": 1} for t in (1, 2, 3)]
    # Trial 1 was broken off and done again; the truth of trial 2 was lost in a kill.
    truth = [(71, False), (71, True), (73, False)]
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "truth.jsonl", [{"seed": s, "steps": 9, "true_success": t} for s, t in truth])
    run = read_run(folder)
    assert run.trials is not None
    np.testing.assert_array_equal(run.trials.true, [1, np.nan, 0])
    write_lines(folder / "metrics.jsonl", [{"trial": 1, "seed": 7, "moves": 9, "predicted_success": 1}])
    assert "cannot be matched" in read_run(folder).absent["truth.jsonl"]


def test_what_follows_the_last_motion_of_a_trial_is_not_its_end(tmp_path):
    """The plug sat after two moves and was then taken out; the second trial was begun twice."""
    folder = write_run(tmp_path / "run")
    metrics = [{"trial": t, "seed": 70 + t, "moves": 2, "predicted_success": 1} for t in (1, 2)]
    truth = [(71, 1, 0), (71, 2, 1), (71, 3, 0), (72, 1, 1), (72, 1, 0), (72, 2, 0), (72, 3, 1)]
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "truth.jsonl", [{"seed": s, "steps": n, "true_success": t} for s, n, t in truth])
    trials = read_run(folder).trials
    assert trials is not None
    np.testing.assert_array_equal(trials.true, [1, 0])


def test_the_report_needs_no_torch():
    code = "import sys, lotj.report; sys.exit(bool({'torch', 'mujoco'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
