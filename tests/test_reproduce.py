"""The paper's tables as lists of jobs: what is to be done, the paper's own figures, and the table of what is done."""

from __future__ import annotations

import csv
import inspect
import io
import json
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
from lotj.envs.insertion import insertion_task
from lotj.errors import DataError
from lotj.experience import SUCCESS, Episode
from lotj.experiments import presets, reward_ablation
from lotj.experiments.comparisons import COMPARISONS, CONNECTORS, Unit, job_name, units
from lotj.experiments.figures import AREA, FIGURES, keep_maps, positive
from lotj.experiments.parts import choose_training
from lotj.experiments.reward_ablation import choose_split
from lotj.experiments.study import practice_settings
from lotj.experiments.tables import mean_interval
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.held_out import FrameScores
from lotj.runs import first_difference
from lotj.sim.connector import find_connector
from lotj.training.collect_insertion import CollectConfig
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import PracticeConfig
from lotj.training.pretrain_config import PretrainConfig

NEAR, FAR = COMPARISONS["table1"], COMPARISONS["table2"]


def test_paper_figures_are_those_of_its_rows() -> None:
    """LOTJ, tables I and II, the rows of the Mega brick and the NEMA plug."""
    places = {name: place for place, name in enumerate(CONNECTORS)}
    mega, nema = places["mega-brick-1x1"], places["nema-5-15"]
    assert [m.paper[mega] for m in NEAR.methods if m.paper] == [3, 1, 1, 15, 0, 0, 0, 2, 5, 16]
    assert [m.paper[nema] for m in NEAR.methods if m.paper] == [0, 1, 0, 3, 0, 0, 4, 1, 11, 15]
    assert [m.paper[mega] for m in FAR.methods if m.paper] == [0, 1, 0, 17, 0, 0, 0, 11, 0, 20]
    assert [m.paper[nema] for m in FAR.methods if m.paper] == [0, 0, 0, 0, 0, 0, 3, 1, 6, 17]


def test_jobs_of_a_table() -> None:
    jobs = NEAR.jobs("laptop", Path("data"), Path("runs"), units((0, 1)))
    # Two pretrainings and the baselines; four connectors, three learners, one of them thrice.
    assert len(jobs) == 2 * (3 + 4 * 5)
    by_name = {job.name: job for job in jobs}
    plain = by_name["near-europlug-iql-full-paper-seed1"]
    assert plain.needs == ("baselines-seed1",) and plain.arguments["robot"] == "trio"
    assert by_name["baselines-seed1"].needs == ("pretrain-full-seed1",)
    assert by_name["baselines-seed1"].arguments["also"] == ["localizer", "state-iql", "sac"]
    wanted = ["localize", "straight-down", "random-search", "spiral-search", "offline", "practice"]
    assert plain.arguments["controllers"] == wanted
    assert plain.arguments["practice"]["verify"] == "score" and plain.arguments["practice"]["online_fraction"] == 0.25
    ours = by_name["near-europlug-iql-ours-ours-seed1"]
    assert ours.needs == ("pretrain-ours-seed1",)
    assert "paper" not in by_name["pretrain-ours-seed1"].arguments  # the preset's
    assert by_name["pretrain-ours-seed1"].arguments["done"] == {"reward": "runs/pretrain-full-seed1"}
    assert by_name["pretrain-full-seed1"].arguments["paper"] is True
    assert ours.arguments["practice"] == practice_settings("laptop") and ours.arguments["practice"]["trials"] == 200
    assert ours.arguments["halfway"] and "halfway" not in plain.arguments
    assert first_difference(plain.arguments["practice"], practice_settings("paper")) is None  # one protocol
    far = {job.name: job for job in FAR.jobs("laptop", Path("data"), Path("runs"), units((0, 1)))}
    assert "localize-spiral-search" in far["far-europlug-iql-full-paper-seed1"].arguments["controllers"]
    assert far["pretrain-full-seed0"] == by_name["pretrain-full-seed0"]  # shared


def test_ablation_shares_the_full_jobs_and_adds_two_pretrainings_a_seed() -> None:
    ablation = COMPARISONS["table3"]
    jobs = {job.name: job for job in ablation.jobs("laptop", Path("data"), Path("runs"), units((0,)))}
    far = {job.name: job for job in FAR.jobs("laptop", Path("data"), Path("runs"), units((0,)))}
    shared = jobs.keys() & far.keys()
    assert len(shared) == 2 + 4 and all(jobs[name] == far[name] for name in shared)
    none = jobs["pretrain-no-daib-seed0"].arguments
    assert (none["reward_variant"], none["policy_variant"]) == ("erm", "erm")
    half = jobs["pretrain-daib-reward-seed0"]  # no training of its own: both halves are there
    assert "reward_variant" not in half.arguments
    assert half.arguments["done"] == {"reward": "runs/pretrain-full-seed0", "iql": "runs/pretrain-no-daib-seed0"}
    assert set(half.needs) == {"pretrain-full-seed0", "pretrain-no-daib-seed0"}
    assert jobs["far-europlug-iql-no-daib-paper-seed0"].needs == ("pretrain-no-daib-seed0",)
    euro = list(CONNECTORS).index("europlug")
    assert [method.paper[euro] for method in ablation.methods if method.paper] == [
        0,
        15,
        1,
        12,
        2,
        15,
    ]  # LOTJ, table III


def test_the_parts_of_practice_need_no_baseline_but_for_the_papers_protocol() -> None:
    parts = COMPARISONS["parts"]
    jobs = {job.name: job for job in parts.jobs("laptop", Path("data"), Path("runs"), units((0,)))}
    assert len(jobs) == 3 + 4 * 17  # trainings; four connectors, seventeen practices
    unverified = jobs["far-duplo-2x2-iql-full-score-alone-seed0"].arguments["practice"]
    assert unverified == practice_settings("laptop") | {"verify": "score"}
    assert jobs["far-duplo-2x2-iql-full-score-alone-seed0"].needs == ("pretrain-full-seed0",)
    assert jobs["far-duplo-2x2-iql-full-paper-seed0"].needs == ("baselines-seed0",)  # shared with table II
    assert {find_connector(name).split for name in parts.connectors} == {"validation"}


def outcome(**successes: list[int]) -> dict[str, Any]:
    return {"evaluations": {name.replace("_", "-"): {"success": values} for name, values in successes.items()}}


def test_table_sums_seeds_and_leaves_open_what_is_not_done() -> None:
    results = {
        job_name("near", "europlug", "sac", units((0,))[0]): outcome(offline=[0, 0], practice=[0, 1]),
        job_name("near", "europlug", "sac", units((1,))[0]): outcome(offline=[0, 0], practice=[1, 1]),
    }
    table = NEAR.table(results, units((0, 1)))
    titles = [method.title for method in NEAR.methods]
    assert all(len({m.title for m in c.methods}) == len(c.methods) for c in COMPARISONS.values())  # none twice
    cell = table.rows["Europlug"][titles.index("SAC online")]
    assert cell is not None and (cell.successes, cell.n, cell.paper) == ((1, 2), (2, 2), 0)
    assert cell.units == ("seed0.duo.0", "seed1.trio.0")
    assert table.rows["Europlug"][titles.index("LOTJ online")] is None
    assert all(cell is None for cell in table.rows["NEMA 15"])


def test_seeds_robots_and_benches_can_be_told_apart() -> None:
    """Two seeds, each on both robots and two benches of each: eight units of two trainings."""
    crossed = units((0, 1), ("duo", "trio"), (0, 3))
    assert len(set(crossed)) == 8 and set(units((0, 1))) < set(crossed)
    assert (str(crossed[1]), crossed[1].job) == ("seed0.duo.3", "seed0-duo-3")
    assert [unit.job for unit in units((0, 1))] == ["seed0", "seed1"]  # of the tables that there are
    jobs = NEAR.jobs("laptop", Path("data"), Path("runs"), crossed, connectors=("europlug",))
    assert len(jobs) == 2 * 3 + 8 * 5 and len({job.name for job in jobs}) == len(jobs)
    by_name = {job.name: job for job in jobs}
    other = by_name["near-europlug-iql-full-paper-seed0-trio-3"]
    assert (other.arguments["robot"], other.arguments["bench"]) == ("trio", 3) and other.needs == ("baselines-seed0",)
    assert "bench" not in by_name["near-europlug-iql-full-paper-seed0"].arguments
    for job in jobs:
        inspect.signature(job.work).bind(**job.arguments)  # each takes what it is given
    results = {by_name["near-europlug-sac-full-paper-seed1-duo-0"].name: outcome(offline=[0], practice=[1])}
    cells = NEAR.table(results, crossed, ("europlug",)).rows["Europlug"]
    (cell,) = [
        cell for cell, method in zip(cells, NEAR.methods, strict=True) if cell and method.controller == "practice"
    ]
    assert cell.units == (str(Unit(1, "duo")),)


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


def test_interval_over_units() -> None:
    # Mean 0.8, standard deviation 0.1, t of 2 degrees of freedom 4.303: 4.303 * 0.1 / sqrt 3 = 0.248.
    assert mean_interval([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.248), abs=1e-3)
    assert mean_interval([0.7, None]) == mean_interval(np.array([0.7, np.nan])) == (0.7, None)
    assert mean_interval([None]) is None


def test_reward_table_is_over_splits_pairs_the_variants_and_has_the_paper_beside() -> None:
    figures = dict.fromkeys(reward_ablation.COLUMNS, 0.5) | {"kl": None}
    del figures["probe_linear"]  # of before there were probes
    of_split = (0.7, 0.8, 0.9)
    results = {
        reward_ablation.job_name(variant, split, seed): figures | {"accuracy": of_split[split] + step * seed + gain}
        for split in (0, 1, 2)
        for seed in (0, 1)
        for variant, step, gain in (("erm", 0.0, 0.0), ("daib", 0.02, 0.01))
    }
    del results[reward_ablation.job_name("erm", 0, 1)]
    table = reward_ablation.table(results, seeds=(0, 1), splits=(0, 1, 2))
    assert list(table.rows) == ["daib", "erm", "daib - erm"]
    cells = dict(zip(table.columns, table.rows["erm"], strict=True))
    assert cells["accuracy"] == pytest.approx((0.8, 0.248), abs=1e-3)  # of three splits, not of five runs
    assert cells["paper"] == (0.76, None) and cells["KL of z_S, nats"] is None
    assert cells["domain told from z_I, linear"] is None
    # Of pairs: 0.01 in split 0, whose second run is missing, 0.02 in the others: t 4.303 * 0.00577 / sqrt 3 = 0.0143.
    assert table.rows["daib - erm"][0] == pytest.approx((0.05 / 3, 0.0143), abs=1e-4)
    assert "erm,accuracy,0.8000,0.2484" in table.as_csv().splitlines()
    assert "0.800 \u00b1 0.248" in list(table.as_text().columns[1].cells)
    alone = reward_ablation.table(results, seeds=(0, 1), splits=(1,))
    assert alone.rows["erm"][0] == (0.8, None)  # one split has no interval


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
    assert result["best_accuracy"] == pytest.approx(0.5)
    assert result["near_miss_accuracy"] is None  # there are none
    assert result["probe_linear"] is None  # one episode a domain: there is no other to judge a probe on


def test_the_best_threshold_is_one_for_all_connectors() -> None:
    """Each alone is told apart at some threshold; at 0.7 and at 0.35, the best for both, three of four are right."""
    score, success = np.array([0.9, 0.6, 0.5, 0.2]), np.array([True, False, True, False])
    connector, zero = np.array(["a", "a", "b", "b"]), np.zeros(4)
    frames = FrameScores(score, success, np.full(4, "expert"), zero > 0, zero.astype(int), connector, zero)
    assert reward_ablation.best_accuracy(frames) == pytest.approx(0.75)
    assert reward_ablation.best_accuracy(frames.where(success)) is None


def test_figures_need_the_trainings_that_they_compare() -> None:
    runs, names = Path("runs"), ["europlug"]
    ablation = COMPARISONS["table3"].jobs("laptop", Path("data"), runs, units((1,)))
    jobs = FIGURES["fig3"].jobs(ablation, runs, (1,), names)
    assert [job.name for job in jobs] == ["pretrain-no-daib-seed1", "pretrain-full-seed1", "fig3-europlug-seed1"]
    assert jobs[-1].arguments["robot"] == "trio" and jobs[-1].arguments["plain"] == "runs/pretrain-no-daib-seed1"
    jobs = FIGURES["fig4"].jobs(FAR.jobs("laptop", Path("data"), runs, units((1,))), runs, (1,), names)
    wanted = ["full-seed1", "ours-seed1"]  # the second takes the reward model of the first
    assert [job.name for job in jobs[:2]] == [f"pretrain-{name}" for name in wanted]
    assert [job.name for job in jobs[2:]] == ["far-europlug-iql-ours-ours-seed1", "fig4-europlug-seed1"]


def test_figure_tells_the_share_of_the_heat_and_shows_the_first_trial(tmp_path: Path) -> None:
    """Trial 0 has three frames, trial 1 one; all heat of `before` lies in the left half, where the parts are not."""
    heat = {name: np.zeros((4, 2, 4, 8)) for name in ("before", "after")}
    heat["before"][..., :4] = heat["after"][..., 4:] = 1.0
    heat["after"][3] = 0.0  # no heat at all: no share
    masks = np.zeros((4, 2, 4, 8), bool)
    masks[..., 4:] = True
    frames = np.full((4, 2, 4, 8, 3), 90, np.uint8)
    kept = keep_maps(tmp_path, frames, masks, heat, [0, 0, 0, 1])
    assert kept["shares"] == {"before": [0.0, 0.0], "after": [1.0, None], AREA: [0.5, 0.5]}
    results, of = {"fig4-europlug-seed0": json.loads(json.dumps(kept))}, ((0, 1), ["europlug", "nema-5-15"])
    table = FIGURES["fig4"].table(results, *of)
    assert table.columns == ["all", "Europlug", "NEMA 15"]
    # The unit is the training on a bench, not its trials: of one there is no interval.
    assert table.rows["before"] == [(0.0, None), (0.0, None), None]
    assert table.rows["after"] == [(1.0, None), (1.0, None), None]
    assert table.rows["after - before"] == [(1.0, None), (1.0, None), None]  # of trial 0 alone
    second = {"before": [0.1, 0.3], "after": [0.5, None], AREA: [0.5, 0.5]}
    two = results | {"fig4-europlug-seed1": {"shares": second}}
    # Means 0 and 0.2: 0.1, standard deviation 0.1414, t of 1 degree of freedom 12.71: 12.71 * 0.1414 / sqrt 2 = 1.271.
    assert FIGURES["fig4"].table(two, *of).rows["before"][0] == pytest.approx((0.1, 1.271), abs=1e-3)
    picture = FIGURES["fig4"].picture(results, *of)
    assert picture is not None
    height, width = image.imread(io.BytesIO(picture)).shape[:2]
    assert (width, height) == (480, 418)  # (1 + 3) x 120 px wide, (0.4 + 3 x 1.03) x 120 px high: three rows of three
    (tmp_path / "maps.npz").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"maps.npz: not the maps of a figure .*: remove the job's result"):
        FIGURES["fig4"].picture(results, *of)
    (tmp_path / "maps.npz").unlink()
    assert FIGURES["fig4"].picture(results, *of) is None


def test_a_positive_is_a_seated_plug() -> None:
    frame, mask = positive("peg-round-12", "duo", 0, 32)
    assert frame.shape == (2, 16, 32, 3) and frame.dtype == np.uint8 and frame.std() > 0
    assert mask.shape == (2, 16, 32) and 0.1 < mask.mean() < 1.0


MINE = str(Path(__file__).parents[1] / "src/lotj/sim/catalogue/usb-b.toml")


@pytest.mark.parametrize(
    "words,line",
    [
        (["--seeds", "0", "0"], "seeds (0, 0): at least one, none twice"),
        (["--benches", "-1"], "benches -1: must be between 0 and 4294967295"),
        (["--robots", "duo", "duo"], "robots ('duo', 'duo'): none twice"),
        (["--robots", "uno"], "unknown robot 'uno'; known are duo, trio"),
        (["--trials", "0"], "trials 0: must be at least 1"),
        (["--preset", "labtop"], "unknown preset 'labtop': did you mean 'laptop'?"),
        (["--connectors", "europlag"], "unknown connector 'europlag'; nearest: europlug"),
        (["--connectors", MINE], f"connectors {MINE}: must be in the catalogue; `lotj practice` takes files"),
        (["--data", "nowhere"], "nowhere holds no data set: `lotj collect --preset laptop --data nowhere` makes it"),
    ],
)
def test_what_cannot_work_is_one_line(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table1", *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and line in errors[0]


def test_a_table_is_known_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The tables are those that `lotj.experiments` has: one more there needs no change here."""
    assert main(["reproduce", "tabel1"]) == 2
    assert "unknown table 'tabel1': did you mean 'table1'?" in capsys.readouterr().err


def test_show_makes_the_table_of_what_is_done_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data, runs, results = Path("data/laptop"), Path("runs/reproduce-laptop"), Path("results/reproduce-laptop")
    results.mkdir(parents=True)  # of another machine: there is no data set and no run here
    words = ["reproduce", "table1", "--show", "--seeds", "0", "--connectors", "europlug", "--workers", "1"]
    assert main(words) == 2
    assert "holds nothing to show of table1 yet: leave out --show" in capsys.readouterr().err
    for job in NEAR.jobs("laptop", data, runs, units((0,)), connectors=("europlug",)):
        if job.name == job_name("near", "europlug", "sac", units((0,))[0]):
            content = {"arguments": job.arguments, "result": outcome(offline=[0, 0, 0], practice=[1, 1, 0])}
            (results / f"{job.name}.json").write_text(json.dumps(content))
    assert main(words) == 0
    assert "7 of 8 jobs are not done yet" in capsys.readouterr().out
    lines = (results / "table1.csv").read_text().splitlines()
    assert [line.split(",")[1:4] for line in lines[1:]] == [["SAC offline", "0", "3"], ["SAC online", "2", "3"]]
    assert not runs.exists()


def test_all_tables_share_their_jobs_and_those_without_a_result_are_named(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("results/reproduce-laptop")
    out.mkdir(parents=True)
    jobs = FAR.jobs("laptop", many, Path("runs/reproduce-laptop"), units((0, 1)))
    (job,) = [job for job in jobs if job.name == job_name("far", "europlug", "iql", units((1,))[0])]
    result = outcome(**dict.fromkeys(job.arguments["controllers"], [1, 1]))
    (out / f"{job.name}.json").write_text(json.dumps({"arguments": job.arguments, "result": result}))
    assert main(["reproduce", "all", "--show", "--data", str(many)]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.stem for path in out.glob("*.csv")) == ["table2", "table3"]  # both have that job
    for name in ("table1", "table4", "parts", "fig3", "fig4"):
        assert f"{name}: nothing is done yet" in printed
    assert "Europlug,full online,2,2," in (out / "table3.csv").read_text()


def test_where_all_is_done_neither_data_nor_runs_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a clone, which has the results alone. One job less, and its pretraining's run is missed."""
    monkeypatch.chdir(tmp_path)
    runs, out = Path("runs/reproduce-laptop"), Path("results/reproduce-laptop")
    out.mkdir(parents=True)
    learning = FAR.jobs("laptop", Path("data/laptop"), runs, units((0,)), connectors=("europlug",))
    jobs = FIGURES["fig4"].jobs(learning, runs, (0,), ("europlug",))
    for job in jobs:
        result = {"shares": {name: [0.5] for name in ("before", "after", AREA)}, "maps": str(runs / "maps.npz")}
        (out / f"{job.name}.json").write_text(json.dumps({"arguments": job.arguments, "result": result}))
    words = ["reproduce", "fig4", "--seeds", "0", "--connectors", "europlug"]
    assert main(words) == 0
    assert "fig4.png is not drawn anew: its maps are not here" in capsys.readouterr().out
    assert "after,all,0.5" in (out / "fig4.csv").read_text() and not (out / "fig4.png").exists()
    (out / f"{jobs[-1].name}.json").unlink()
    assert main(words) == 2
    assert "data/laptop holds no data set" in capsys.readouterr().err
    Path("data/laptop").mkdir(parents=True)
    Path("data/laptop/meta.json").write_text("{}")
    assert main(words) == 2
    needed = f"job {jobs[-1].name} needs {runs / jobs[-2].name}, which is not there, though {jobs[-2].name} is done"
    assert needed in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_from_nothing_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny preset, one seed, one connector: all methods of table I, a second time without any work."""
    encoder = EncoderConfig(width=8, stages=2)
    few = CollectConfig(image_size=32, expert_episodes=4)
    practice = PracticeConfig(warmup_trials=1, batch_size=32, features=FeatureConfig(transitions=60, cache=None))
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
        practice=practice,
    )
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
    monkeypatch.chdir(tmp_path)
    from lotj.experiments.stages import collect_phase

    collect_phase(tiny, Path("data/tiny"), workers=2)
    words = ["reproduce", "table1", "--preset", "tiny", "--seeds", "0", "--connectors", "europlug"]
    words += ["--trials", "3", "--evaluation-trials", "2", "--on", "here", "--workers", "1"]
    assert main(words) == 0
    with Path("results/reproduce-tiny/table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [method.title for method in NEAR.methods]
    assert all(row["n"] == "2" for row in rows)
    page = Path("results/reproduce-tiny/table1.txt").read_text()
    assert "State-IQL online" in page and "Europlug" in page
    before = sorted(path.stat().st_mtime_ns for path in Path("results/reproduce-tiny").glob("*seed0.json"))
    assert main(words) == 0
    assert before == sorted(path.stat().st_mtime_ns for path in Path("results/reproduce-tiny").glob("*seed0.json"))
    for figure in ("fig3", "fig4"):
        assert main(["reproduce", figure, *words[2:]]) == 0
        assert image.imread(Path("results/reproduce-tiny") / f"{figure}.png").ndim == 3
        lines = Path(f"results/reproduce-tiny/{figure}.csv").read_text().splitlines()
        area = next(float(line.split(",")[2]) for line in lines if line.startswith(AREA))
        assert 0.1 < area < 1.0
