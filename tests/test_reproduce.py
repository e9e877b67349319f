"""The studies as lists of jobs: what is to be done, the paper's own figures, and the tables of what is done."""

from __future__ import annotations

import inspect
import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from lotj.agents.iql import IQLConfig
from lotj.agents.localizer import LocalizerConfig
from lotj.cli import main
from lotj.data.layout import Schema
from lotj.data.writer import EpisodeWriter
from lotj.distributed import Job
from lotj.envs.insertion import insertion_task
from lotj.experience import SUCCESS, Episode
from lotj.experiments import presets, reward_ablation
from lotj.experiments.comparisons import COMPARISONS, CONNECTORS, PRACTICES, ROBOTS, Unit, job_name, units
from lotj.experiments.figures import AREA, FIGURES, keep_shares, positive
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.reward_ablation import TABLE4, choose_split
from lotj.experiments.study import VARIANTS, Asked, practice_settings
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.runs import first_difference
from lotj.sim.connector import find_connector
from lotj.training.collect_insertion import CollectConfig
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.pretrain_config import PretrainConfig

NEAR, FAR = COMPARISONS["table1"], COMPARISONS["table2"]
PLAIN = Asked("laptop", Path("data/laptop"), Path("runs/reproduce-laptop"))
FULL, OURS, SAC = ("iql", "full", "paper"), ("iql", "ours", "ours"), ("sac", "full", "paper")


def jobs_of(study: Any, **changes: Any) -> dict[str, Job]:
    asked = replace(PLAIN, **changes)
    return {job.name: job for job in study.asked(asked).jobs(asked)}


def test_paper_figures_are_those_of_its_rows() -> None:
    """LOTJ, tables I and II, the rows of the Mega brick and the NEMA plug; table III, the Europlug's."""
    places = {name: place for place, name in enumerate(CONNECTORS)}
    mega, nema = places["mega-brick-1x1"], places["nema-5-15"]
    assert [m.paper[mega] for m in NEAR.methods if m.paper] == [3, 1, 1, 15, 0, 0, 0, 2, 5, 16]
    assert [m.paper[nema] for m in NEAR.methods if m.paper] == [0, 1, 0, 3, 0, 0, 4, 1, 11, 15]
    assert [m.paper[mega] for m in FAR.methods if m.paper] == [0, 1, 0, 17, 0, 0, 0, 11, 0, 20]
    assert [m.paper[nema] for m in FAR.methods if m.paper] == [0, 0, 0, 0, 0, 0, 3, 1, 6, 17]
    ablation = [m.paper[places["europlug"]] for m in COMPARISONS["table3"].methods if m.paper]
    assert ablation == [0, 15, 1, 12, 2, 15]
    for comparison in COMPARISONS.values():
        titles = [method.title for method in comparison.asked(PLAIN).methods]
        assert len(set(titles)) == len(titles)


def test_jobs_of_a_table() -> None:
    jobs = jobs_of(NEAR)
    # Two pretrainings of two seeds and the baselines; four connectors, two units, three learners, one of them thrice.
    assert len(jobs) == 2 * 3 + 4 * 2 * 5
    plain = jobs["near-europlug-iql-full-paper-1-trio-0"]
    assert plain.needs == ("baselines-seed1",) and plain.arguments["robot"] == "trio"
    assert jobs["baselines-seed1"].needs == ("pretrain-full-seed1",)
    assert jobs["baselines-seed1"].arguments["also"] == ["localizer", "state-iql", "sac"]
    assert plain.arguments["controllers"] == ["localize", "offline", "random-search", "spiral-search", "straight-down"]
    assert plain.arguments["trials"] == [100, 200] and plain.arguments["evaluation_trials"] == 20
    assert plain.arguments["practice"]["verify"] == "score" and plain.arguments["practice"]["online_fraction"] == 0.25
    assert first_difference(plain.arguments["practice"], practice_settings("paper")) is None  # one protocol
    ours = jobs["near-europlug-iql-ours-ours-1-trio-0"]
    assert ours.needs == ("pretrain-ours-seed1",)
    assert ours.arguments["practice"] == practice_settings("laptop") and ours.arguments["practice"]["trials"] == 200
    assert VARIANTS["ours"](laptop := presets.find_preset("laptop")) == laptop
    assert jobs["pretrain-ours-seed1"].arguments["done"] == {}
    assert VARIANTS["full"](laptop) == presets.as_in_paper(laptop) != laptop
    full = jobs["pretrain-full-seed1"].arguments
    assert full["variant"] == "full" and full["done"] == {"reward": "runs/reproduce-laptop/pretrain-ours-seed1"}
    far = jobs_of(FAR)
    assert "localize-spiral-search" in far["far-europlug-iql-full-paper-1-trio-0"].arguments["controllers"]
    assert far["pretrain-full-seed0"] == jobs["pretrain-full-seed0"]  # shared


def test_every_job_takes_what_it_is_given() -> None:
    for study in (*COMPARISONS.values(), TABLE4, *FIGURES.values()):
        for job in jobs_of(study).values():
            inspect.signature(job.work).bind(**job.arguments, **job.machine)


def test_ablation_shares_the_full_jobs_and_adds_two_pretrainings_a_seed() -> None:
    jobs, far = jobs_of(COMPARISONS["table3"]), jobs_of(FAR)
    shared = jobs.keys() & far.keys()
    assert len(shared) == 2 * (3 + 4) and all(jobs[name] == far[name] for name in shared)
    without, policy = (VARIANTS[name](presets.find_preset("laptop")) for name in ("no-daib", "daib-reward"))
    assert [part.bottleneck.variant for part in (without.reward, without.iql)] == ["erm", "erm"]
    assert [part.bottleneck.variant for part in (policy.reward, policy.iql)] == ["daib", "erm"]
    assert without.iql.position_weight == 0.0 and without.reward.steps == policy.reward.steps
    half = jobs["pretrain-daib-reward-seed0"]  # no training of its own: both halves are there
    done = {half: Path(folder).name for half, folder in half.arguments["done"].items()}
    assert done == {"reward": "pretrain-ours-seed0", "iql": "pretrain-no-daib-seed0"}
    assert set(half.needs) == {"pretrain-ours-seed0", "pretrain-no-daib-seed0"}
    assert jobs["far-europlug-iql-no-daib-paper-0-duo-0"].needs == ("pretrain-no-daib-seed0",)


def test_the_parts_of_practice_are_measured_from_our_pretraining_on_five_benches() -> None:
    """Two validation connectors and five benches are ten units of each practice, three and two of a pretraining; a
    practice is done on all of them before the next one begins, for each is compared with the first alone."""
    jobs = jobs_of(COMPARISONS["parts"])
    cells = [name for name in jobs if name.startswith("far-")]
    assert len(jobs) == 2 + len(cells) and len(cells) == 10 * len(PRACTICES)
    assert all("-iql-ours-ours-" in name for name in cells[:10]) and "-without-exploration-boost-" in cells[10]
    assert [name.split("-iql-")[1] for name in cells[:4:2]] == ["ours-ours-0-trio-0", "ours-ours-1-trio-1"]
    unverified = jobs["far-as-3112-iql-ours-without-verification-0-trio-4"]
    assert unverified.arguments["practice"] == practice_settings("laptop", trials=100, verify="score")
    assert unverified.arguments["controllers"] == [] and unverified.needs == ("pretrain-ours-seed0",)
    assert {find_connector(name).split for name in COMPARISONS["parts"].connectors} == {"validation"}


def test_the_headline_is_eighty_practices_of_two_pretrainings() -> None:
    """Four parts, near and far, two robots, five benches; no factor stands for another, and no two share a seed."""
    jobs = jobs_of(COMPARISONS["headline"])
    cells = [job.arguments for job in jobs.values() if "connector" in job.arguments]
    assert len(cells) == 80 and len(jobs) == 81  # the other one comes with lotj
    assert {(c["connector"], c["scenario"]) for c in cells} == {(n, s) for n in CONNECTORS for s in ("near", "far")}
    for c in cells:
        assert c["trials"] == [25, 50, 100] and c["practice"] == practice_settings("laptop", trials=100)
        assert c["controllers"] == ["expert", "offline"] and c["agent"] == "iql"
    spread = units(range(5))
    assert len(set(spread)) == 10 and Counter(unit.pretraining for unit in spread) == {0: 5, 1: 5}
    assert {unit.pretraining for unit in spread if unit.robot == "duo"} == {0, 1}
    assert all({unit.pretraining for unit in spread if unit.bench == bench} == {0, 1} for bench in range(5))
    assert len({unit.seed for unit in spread}) == 10 and str(spread[7]) == "0-trio-3" and spread[7].seed == 300
    assert units((0,)) == (Unit(0, "duo"), Unit(1, "trio"))  # of the paper's tables and the predictions
    few = jobs_of(COMPARISONS["headline"], benches=(3,), connectors=("europlug",), trials=(7,))
    assert len(few) == 1 + 4 and few["near-europlug-iql-ours-ours-1-duo-3"].arguments["domain_seed"] == 3
    assert few["near-europlug-iql-ours-ours-1-duo-3"].arguments["practice"]["trials"] == 7


def test_blind_units_are_those_of_the_predictions_and_all_leaves_them_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job for job in jobs_of(COMPARISONS["blind"]).values() if "connector" in job.arguments]
    found = {(a["connector"], a["robot"], a["domain_seed"], a["seed"]) for a in (job.arguments for job in jobs)}
    names = [
        path.stem for path in Path("src/lotj/sim/catalogue").glob("*.toml") if 'split = "blind"' in path.read_text()
    ]
    assert found == {(name, robot, 0, seed) for name in names for seed, robot in enumerate(ROBOTS)} and len(found) == 24
    assert {job.arguments["scenario"] for job in jobs} == {"far"} and jobs[0].arguments["trials"][-1] == 100
    assert all(Path(job.arguments["pretrained"]).name == f"pretrain-ours-seed{job.arguments['seed']}" for job in jobs)
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "all", "--show"]) == 2
    printed = capsys.readouterr().out
    assert "headline: nothing is done yet" in printed and "fig4: nothing" in printed and "blind" not in printed


def test_validation_has_the_traps_and_takes_a_change_of_practice() -> None:
    jobs = jobs_of(COMPARISONS["validation"], practice="without-verification")
    cells = [job for job in jobs.values() if "connector" in job.arguments]
    assert {job.arguments["connector"] for job in cells} == set(of_split("validation"))
    assert {"volume-knob", "wall-charger", "vacuum-dock"} <= set(of_split("validation")) and len(cells) == 24
    assert cells[0].name == "far-as-3112-iql-ours-without-verification-0-duo-0"
    assert cells[0].arguments["practice"] == practice_settings("laptop", trials=100, verify="score")
    assert cells[0].arguments["controllers"] == ["expert", "offline"]


def test_an_arm_that_no_training_has_seen_practises_from_the_base() -> None:
    """Nothing is pretrained for it, so no data are needed; a second bench is another unit of the same pretraining."""
    jobs = jobs_of(COMPARISONS["panda"], benches=(0, 1), connectors=("as-3112", "bs-4573"))
    assert len(jobs) == 4 and not any(job.needs for job in jobs.values())
    one = jobs["far-as-3112-iql-base-ours-0-panda-1"].arguments
    assert (one["robot"], one["pretrained"], one["seed"], one["domain_seed"]) == ("panda", "base", 100, 1)
    assert one["trials"] == [25, 50, 100] and one["controllers"] == ["expert", "offline"]
    every = jobs_of(COMPARISONS["panda"])
    assert {job.arguments["connector"] for job in every.values()} == set(of_split("validation")) and len(every) == 12


def outcome(**successes: list[int]) -> dict[str, Any]:
    counts = {name.replace("_", "-"): {"successes": sum(won), "n": len(won)} for name, won in successes.items()}
    return {"evaluations": counts}


def test_table_sums_units_and_leaves_open_what_is_not_done() -> None:
    results = {
        job_name("near", "europlug", SAC, Unit(0, "duo")): outcome(offline=[0, 0], after_100=[0, 0], after_200=[0, 1]),
        job_name("near", "europlug", SAC, Unit(1, "trio")): outcome(offline=[0, 0], after_100=[0, 0], after_200=[1, 1]),
    }
    table = NEAR.asked(PLAIN).table(results)
    titles = [method.title for method in NEAR.methods]
    cell = table.rows["Europlug"][titles.index("SAC online")]
    assert cell is not None and cell.counts == {"0-duo-0": (1, 2), "1-trio-0": (2, 2)} and cell.paper == 0
    assert table.rows["Europlug"][titles.index("LOTJ online")] is None
    assert all(cell is None for cell in table.rows["NEMA 15"])
    assert "ours after 100" in table.columns
    one = NEAR.asked(replace(PLAIN, trials=(5,)))
    assert "ours online" in (columns := one.table({}).columns) and not any("after" in column for column in columns)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of one short episode of each of 50 training connectors, of the first ones a second domain."""
    root = tmp_path_factory.mktemp("many")
    for place, name in enumerate(choose_training(50)):
        for seed, robot in ((0, "duo"), (1, "trio"))[: 2 if place < 10 else 1]:
            task = insertion_task(name, robot, seed)
            episode = Episode(
                observation={"image": np.full((3, 2, 8, 16, 3), 200 * seed, np.uint8)},
                action=np.zeros((2, 3), np.float32),
                reward=np.array([0, 1], np.float32),
                terminated=True,
                truncated=False,
                task=task.name,
                kind="expert",
                seed=0,
                notes={SUCCESS: np.array([False, False, True])},
            )
            with EpisodeWriter(root, task, Schema.of(episode)) as writer:
                writer.append(episode)
    return root


def test_held_out_connectors_have_no_close_variant_in_training(many: Path) -> None:
    splits = [choose_split(many, split) for split in (0, 1)]
    for train, held in splits:
        assert len(train) == 25 and len(held) == 5 and not train & held
        kin = [{find_connector(name).variant_of or name for name in names} for names in (train, held)]
        assert not kin[0] & kin[1]
    assert splits[0] != splits[1] and splits[0] == choose_split(many, 0)


def reward_results() -> dict[str, Any]:
    """Of splits 0 to 2: ERM 0.7, 0.8, 0.9 with both seeds, the bottleneck 0.01 and 0.03 more."""
    figures = dict.fromkeys(reward_ablation.COLUMNS, 0.5) | {"kl": None}
    del figures["probe_linear"]  # of before there were probes
    results = {
        reward_ablation.job_name(variant, split, seed): figures | {"accuracy": 0.7 + 0.1 * split + step * seed + gain}
        for split in (0, 1, 2)
        for seed in (0, 1)
        for variant, step, gain in (("erm", 0.0, 0.0), ("daib", 0.02, 0.01))
    }
    del results[reward_ablation.job_name("erm", 0, 1)]
    return results


def test_reward_table_is_over_splits_pairs_the_variants_and_has_the_paper_beside() -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE4.table(reward_results()).splitlines()]
    rows = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines}
    assert list(rows)[2:] == ["daib", "dann", "daib-lambda0", "vib", "erm", "daib - erm"]
    assert rows["erm"]["accuracy"] == "0.8 \u00b1 0.25"  # 0.248: of three splits, not of five runs
    assert rows["erm"]["paper"] == "0.76" and rows["erm"]["KL of z_S, nats"] == "-"
    assert rows["erm"]["domain told from z_I, linear"] == "-" and rows["vib"]["accuracy"] == "-"
    # Of pairs: 0.01 in split 0, whose second run is missing, 0.02 in the others: t 4.303 * 0.00577 / sqrt 3 = 0.0143.
    assert rows["daib - erm"]["accuracy"] == "0.0167 \u00b1 0.014" and rows["daib - erm"]["paper"] == "0.12"


def test_a_reward_job_judges_held_out_connectors(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames look the same, so nothing can be learnt: half is right at any threshold."""
    tiny = replace(
        presets.find_preset("demo"),
        name="tiny",
        reward=RewardConfig(encoder=EncoderConfig(width=8, stages=1), batch=8, warmup=1),
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
    result = reward_ablation.reward_job("tiny", str(many), "daib", split=0, seed=0, steps=3, domains=1, threads=1)
    assert result["domains"] == 25  # one of each
    assert set(result["held_out"]) == choose_split(many, 0)[1]
    assert result["accuracy"] == pytest.approx(0.5) and result["auc"] == pytest.approx(0.5)
    assert result["near_miss_accuracy"] is None  # there are none
    assert result["probe_linear"] is None  # one episode a domain: there is no other to judge a probe on


def test_figures_need_the_trainings_that_they_compare() -> None:
    jobs = jobs_of(FIGURES["fig3"], connectors=("europlug",))
    both = ["pretrain-ours", "pretrain-full", "pretrain-no-daib"]
    assert [name for name in jobs if "seed1" in name] == [f"{name}-seed1" for name in both]
    last = jobs["fig3-europlug-1-trio-0"].arguments
    assert last["robot"] == "trio" and last["plain"] == "runs/reproduce-laptop/pretrain-no-daib-seed1"
    jobs, practised = jobs_of(FIGURES["fig4"], connectors=("europlug",)), "far-europlug-iql-ours-ours-1-trio-0"
    assert {name for name in jobs if "1-trio" in name} == {practised, "fig4-europlug-1-trio-0"}
    assert jobs["fig4-europlug-1-trio-0"].arguments["practised"] == jobs[practised].arguments["folder"]
    assert not any("full" in name for name in jobs)


def test_figure_tells_the_share_of_the_heat_and_shows_the_first_trial(tmp_path: Path) -> None:
    """Trial 0 has three frames, trial 1 one; all heat of `before` lies in the left half, where the parts are not."""
    heat = {name: np.zeros((4, 2, 4, 8)) for name in ("before", "after")}
    heat["before"][..., :4] = heat["after"][..., 4:] = 1.0
    heat["after"][3] = 0.0  # no heat at all: no share
    masks = np.zeros((4, 2, 4, 8), bool)
    masks[..., 4:] = True
    frames = np.full((4, 2, 4, 8, 3), 90, np.uint8)
    kept = keep_shares(tmp_path, frames, masks, heat, np.array([0, 0, 0, 1]), shown=3)
    assert kept["shares"] == {"before": [0.0, 0.0], "after": [1.0, None], AREA: [0.5, 0.5]}
    figure = FIGURES["fig4"].asked(replace(PLAIN, connectors=("europlug", "nema-5-15")))
    results = {"fig4-europlug-0-duo-0": json.loads(json.dumps(kept))}

    def rows(results: dict[str, Any]) -> list[list[str]]:
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in figure.table(results).splitlines()]

    # The unit is the training on a bench, not its trials: of one there is no interval.
    found = rows(results)
    assert found[0] == ["heat", "all", "Europlug", "NEMA 15"] and found[2] == ["before", "0", "0", "-"]
    assert found[3] == ["after", "1", "1", "-"] and found[4] == ["after - before", "1", "1", "-"]  # of trial 0 alone
    second = {"before": [0.1, 0.3], "after": [0.5, None], AREA: [0.5, 0.5]}
    # Means 0 and 0.2: 0.1, standard deviation 0.1414, t of 1 degree of freedom 12.71: 12.71 * 0.1414 / sqrt 2 = 1.271.
    assert rows(results | {"fig4-europlug-1-trio-0": {"shares": second}})[2][1] == "0.1 \u00b1 1.3"
    made = figure.files(results)
    assert list(made) == ["table.md", "europlug.png"]
    height, width = image.imread(io.BytesIO(made["europlug.png"])).shape[:2]
    assert (width, height) == (480, 418)  # (1 + 3) x 120 px wide, (0.4 + 3 x 1.03) x 120 px high: three rows of three
    (tmp_path / "picture.png").unlink()  # the results are another machine's
    assert list(figure.files(results)) == ["table.md"]


def test_a_positive_is_a_seated_plug() -> None:
    frame, mask = positive("peg-round-12", "duo", 0, 32)
    assert frame.shape == (2, 16, 32, 3) and frame.dtype == np.uint8 and frame.std() > 0
    assert mask.shape == (2, 16, 32) and 0.1 < mask.mean() < 1.0


MINE = str(Path(__file__).parents[1] / "src/lotj/sim/catalogue/usb-b.toml")


@pytest.mark.parametrize(
    "words,line",
    [
        (["--benches", "-1"], "benches -1: must be between 0 and 4294967295"),
        (["--benches", "1", "1"], "benches (1, 1): none twice"),
        (["--trials", "0"], "trials (0,): must be at least 1, and rise"),
        (["--trials", "50", "25"], "trials (50, 25): must be at least 1, and rise"),
        (
            ["--practice", "imitation-alone"],
            "practice imitation-alone: is chosen on validation connectors, by `validation` alone",
        ),
        (["--practice", "two-frames"], "unknown practice 'two-frames'"),
        (["--workers", "0"], "workers 0: must be between 1 and 1024"),
        (["--preset", "labtop"], "unknown preset 'labtop': did you mean 'laptop'?"),
        (["--connectors", "europlag"], "unknown connector 'europlag'; nearest: europlug"),
        (["--connectors", MINE], f"connectors {MINE}: must be in the catalogue; `lotj practice` takes files"),
        (["--data", "nowhere"], "nowhere holds no data set: `lotj collect --preset laptop --data nowhere` makes it"),
        (["--changed", "nets"], "changed 'nets': is for the leaderboard, of headline alone; leave it out"),
    ],
)
def test_what_cannot_work_is_one_line(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table1", *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and line in errors[0]


def test_a_chapter_makes_its_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "rig", "--preset", "quick", "--data", "mine", "--show"]) == 2
    assert "data mine: rig makes its own; leave it out" in capsys.readouterr().err


def test_a_table_is_known_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The tables are those that `lotj.experiments` has: one more there needs no change here."""
    assert main(["reproduce", "tabel1"]) == 2
    assert "unknown table 'tabel1': did you mean 'table1'?" in capsys.readouterr().err


def test_show_makes_the_table_of_what_is_done_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("results/paper")
    out.mkdir(parents=True)  # of another machine: there is no data set and no run here
    words = ["reproduce", "table1", "--show", "--connectors", "europlug"]
    assert main(words) == 2
    assert "results holds nothing of table1 yet: leave out --show" in capsys.readouterr().err
    job = jobs_of(NEAR)[job_name("near", "europlug", SAC, Unit(0, "duo"))]
    result = outcome(offline=[0, 0, 0], after_100=[1, 0, 0], after_200=[1, 1, 0])
    result["made"] = {"commit": "abc1234", "cpu": "a processor", "torch": "2.0"}
    (out / f"{job.name}.json").write_text(json.dumps({"arguments": job.arguments, "result": result}))
    Path("results/table1").mkdir()
    Path("results/table1/table.md").write_text("of all connectors")
    assert main(words) == 0
    assert "15 of 16 jobs are not done yet" in (table := capsys.readouterr().out)
    assert Path("results/table1/table.md").read_text() == "of all connectors"
    assert Path("results/table1/part/table.md").read_text() in table
    assert re.search(r"^\| SAC offline +\| 0/3 \[0\] \(one run\) \|$", table, re.MULTILINE)
    assert re.search(r"^\| SAC online +\| 2/3 \[0\] \(one run\) \|$", table, re.MULTILINE)
    assert "results: 1; commit: abc1234; cpu: a processor; torch: 2.0\n" in table
    assert not Path("runs").exists() and not Path("results/leaderboard.md").exists()


def test_all_tables_share_their_jobs_and_those_without_a_result_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("results/paper")
    out.mkdir(parents=True)
    job = jobs_of(FAR)[job_name("far", "europlug", FULL, Unit(1, "trio"))]
    result = outcome(**dict.fromkeys([*job.arguments["controllers"], "after-100", "after-200"], [1, 1]))
    (out / f"{job.name}.json").write_text(json.dumps({"arguments": job.arguments, "result": result}))
    assert main(["reproduce", "all", "--show"]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.parent.name for path in Path("results").glob("*/table.md")) == ["table2", "table3"]
    for name in ("headline", "validation", "table1", "table4", "parts", "fig3", "fig4"):
        assert f"{name}: nothing is done yet" in printed
    assert "| full online         |" in Path("results/table3/table.md").read_text()


def test_where_all_is_done_neither_data_nor_runs_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a clone, which has the results alone. One job less, and its pretraining's run is missed."""
    monkeypatch.chdir(tmp_path)
    out = Path("results/paper")
    out.mkdir(parents=True)
    jobs = jobs_of(FIGURES["fig4"], connectors=("europlug",))
    for job in jobs.values():
        result = {"shares": {name: [0.5] for name in ("before", "after", AREA)}, "picture": "runs/picture.png"}
        (out / f"{job.name}.json").write_text(json.dumps({"arguments": job.arguments, "result": result}))
    words = ["reproduce", "fig4", "--connectors", "europlug"]
    assert main(words) == 0
    table = Path("results/fig4/part/table.md").read_text()
    assert "| after                   | 0.5 \u00b1 0 | 0.5 \u00b1 0  |" in table
    assert [path.name for path in Path("results/fig4").glob("**/*.*")] == ["table.md"]
    (out / "fig4-europlug-1-trio-0.json").unlink()
    capsys.readouterr()
    assert main(words) == 2
    assert "data/laptop holds no data set" in capsys.readouterr().err
    Path("data/laptop").mkdir(parents=True)
    Path("data/laptop/meta.json").write_text("{}")
    assert main(words) == 2
    practised = jobs["far-europlug-iql-ours-ours-1-trio-0"]
    needed = f"job fig4-europlug-1-trio-0 needs {practised.leaves}, which is not there, though {practised.name} is done"
    assert needed in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_from_nothing_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny preset, one connector: all methods of table I, a second time without any work."""
    encoder = EncoderConfig(width=8, stages=2)
    few = CollectConfig(image_size=32, expert_episodes=4)
    tiny = replace(
        presets.find_preset("demo"),
        name="tiny",
        collect=few,
        collect_validation=few,
        training_connectors=3,
        reward=RewardConfig(encoder=encoder, steps=20, batch=32),
        front=Pixels(encoder),
        iql=IQLConfig(),
        pretrain=PretrainConfig(steps=20, batch=32, log_every=10),
        localizer=LocalizerConfig(front=Pixels(encoder, 0), steps=20, batch=32),
        features=FeatureConfig(transitions=60),
        practice=SelfJudgedConfig(warmup_trials=1, batch_size=32),
        evaluation_trials=2,
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
    monkeypatch.chdir(tmp_path)
    from lotj.experiments.stages import collect_phase

    collect_phase(tiny, Path("data/tiny"), workers=2)
    words = ["reproduce", "table1", "--preset", "tiny", "--connectors", "europlug", "--trials", "2", "3"]
    words += ["--on", "here", "--workers", "1"]
    assert main(words) == 0
    page, cells = Path("results/table1/part/table.md").read_text(), Path("results/paper")
    rows = {line.split("|")[1].strip(): line for line in page.split("## By unit")[0].splitlines() if line[:1] == "|"}
    titles = [method.title.format(2) for method in NEAR.methods]
    assert list(rows)[2:] == titles and all("/4 " in rows[title] for title in titles)  # two units of two trials
    before = {path: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    assert main(words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    for figure in ("fig3", "fig4"):
        assert main(["reproduce", figure, *words[2:]]) == 0
        assert image.imread(Path("results") / figure / "part" / "europlug.png").ndim == 3
        lines = (Path("results") / figure / "part" / "table.md").read_text().splitlines()
        (area,) = (line.split("|")[2].split()[0] for line in lines if line.startswith(f"| {AREA}"))
        assert 0.1 < float(area) < 1.0
