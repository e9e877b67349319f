"""Chapters as data: rules of claims on curves made by hand, every arm can be built, and a tiny chapter from nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.agents import find_agent
from lotj.data import layout
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.distributed import run_jobs
from lotj.envs.base import spec_of
from lotj.envs.grid import Grid
from lotj.envs.registry import find_task, make_task
from lotj.errors import SettingsError
from lotj.experience import Episode, Task, batch_of_one
from lotj.experiments.chapter import SIZES, Arm, Chapter, Problem, Size, area_under, job_name, overview
from lotj.experiments.chapter_jobs import LINES, best_job
from lotj.experiments.chapters import chapters
from lotj.experiments.chapters.iql import arrives, draw_values, values_job
from lotj.experiments.claims import (
    Claim,
    Rule,
    at_least,
    contrary,
    end_over,
    falls,
    faster,
    gate,
    hacked,
    higher,
    level,
    lived_through,
    lower,
    reaches,
    solved_sooner,
    sooner,
)
from lotj.experiments.goal_chapter import GoalArm
from lotj.experiments.practised import PractisedController, practised_agent
from lotj.experiments.presets import Preset, find_preset
from lotj.experiments.stages import agent_settings, pretrain_phase
from lotj.experiments.study import Asked
from lotj.runs import find_run
from lotj.training.collect import TaskCollection, collect
from lotj.training.pretrain import load_agent


def curve(*successes: int, n: int = 10, every: int = 100) -> dict[str, Any]:
    """Successes of 10 before practice and after each further 100 steps."""
    points = [{"trials": k, "steps": every * k, "successes": won, "n": n, "reward": float(won)}
              for k, won in enumerate(successes)]  # fmt: skip
    return {"curve": points}


CURVES = {
    ("p", "good"): [curve(5, 8, 9) | {"seed": 0}, curve(5, 7, 9) | {"seed": 1}],
    ("p", "bad"): [curve(5, 1, 6), curve(5, 3, 6)],
    ("p", "alike"): [curve(5, 7, 9), curve(5, 8, 8)],
    ("p", "wide"): [curve(0, 0, 10), curve(0, 0, 4)],
    ("p", "never"): [curve(0, 0, 0)],
    ("p", "full"): [curve(10, 10, 10)],
    ("p", "waiting"): [],
    ("q", "good"): [curve(5, 8, 6) | {"seed": 0}],
    ("p", "BRAC"): [curve(5) | {"likelihood": {"offline": 8.0, "online": [6.0, 2.0]}}],
    ("p", "lived"): [curve(5) | {"practice": {"action": [-0.4, -0.6], "solved": 60}}],
    ("p", "soon"): [curve(5) | {"solved": 60, "seed": seed} for seed in range(3)],
    ("p", "mixed"): [curve(5) | {"solved": solved, "seed": seed} for seed, solved in enumerate((100, 60, 60))],
    ("p", "later"): [curve(5) | {"solved": solved, "seed": seed} for seed, solved in enumerate((90, None, 200))],
    ("p", "first"): [curve(5) | {"solved": 20, "seed": 0}],
    ("p", "line"): [curve(5) | {"returns": [-5.0, -3.0, -9.0], "won": [True, True, False]}],
    ("p", "gated"): [curve(5) | {"gates": {"rank": 0.7}}, curve(5) | {"gates": {"rank": 0.5}}],
    ("p", "hack"): [curve(5) | {"returns": [-4.0, -2.0, -8.0, -1.0], "won": [False, True, False, False]}],
}


@pytest.mark.parametrize(
    ("rule", "met", "figures"),
    [
        (higher("p", "good", "bad", 30), True, "good 90 ± 0, bad 60 ± 0"),
        (higher("p", "good", "bad", 40), None, "bad 60"),  # 30 is less than 40 and more than a third of it
        (higher("p", "bad", "good", 10), False, "bad 60"),
        (higher("p", "good", "alike", 3), None, "alike 85"),  # 5 points, but the seeds are not apart
        (higher("p", "good", "wide", 20), None, "wide 70"),  # 20 points, but one seed of the other is higher
        (higher("p", "good", "bad", 10, at=0), False, "good 50"),  # before practice they are equal
        (higher("p", "good", "waiting", 10), None, "not done yet"),
        (level("p", ("good", "alike"), 5), True, "good 90 ± 0, alike 85"),
        (level("p", ("good", "alike", "bad"), 10), False, "bad 60"),  # 30 points are more than twice as many
        (level("p", ("good", "bad"), 20), None, "bad 60"),
        (level("p", ("good", "waiting"), 20), None, "not done yet"),
        (end_over("p", "good", 0), True, "+40, +40"),
        (end_over("p", "bad", 20), False, "+10, +10"),
        (end_over("p", "full", 0), None, "+0"),  # there is nothing to gain
        (at_least("p", "good", -15), True, "+0 from the start's 50"),
        (at_least("p", "bad", -15), False, "-30 from the start's 50"),  # 50, then 10 and 30: 20 on average
        (sooner("p", "good", "wide", 70, 2.0), True, "good 100, wide inf"),  # 200 and never
        (sooner("p", "wide", "good", 70, 2.0), False, "wide inf, good 100"),
        (sooner("p", "never", "never", 70, 2.0), None, "inf"),
        (sooner("p", "good", "alike", 70, 2.0), False, "good 100, alike 100"),
        (at_least("p", "never", -15), None, "+0 from the start's 0"),  # there is nothing to lose
        (contrary(at_least("p", "bad", -15)), True, "-30"),
        (contrary(at_least("p", "never", -15)), None, "+0"),
        (faster("p", "good", "bad", 1.5), True, "good 72, bad 38"),  # (50 + 150 + 90) / 4 and (50 + 40 + 60) / 4
        (faster("p", "good", "bad", 2.1), None, "bad 38"),
        (faster("p", "bad", "good", 1.5), False, "bad 38, good 72"),
        (lower("p", "q", "good", 30), True, "p 90 ± 0, q 60"),
        (lower("p", "q", "good", 31), None, "q 60"),  # 30 is more than a third of it
        (lower("p", "q", "good", 100), False, "q 60"),
        (lower("p", "q", "never", 10), None, "not done yet"),
        (faster("p", "good", "alike", 1.01), None, "good 72, alike 71"),  # the seeds are not apart: 75, 70; 70, 72.5
        (falls("p", "BRAC", "likelihood", 6.0), True, "8.0 offline, 2.0 at the end"),
        (falls("p", "BRAC", "likelihood", 7.0), None, "2.0"),
        (falls("p", "BRAC", "likelihood", 20.0), False, "2.0"),  # less than a third of it
        (lived_through("p", "lived", "action", -0.5, -0.5), True, "-0.50"),
        (lived_through("p", "lived", "action", -0.4, 0.0), False, "-0.50"),
        (lived_through("p", "good", "action", -0.4, 0.0), None, "not recorded"),
        (reaches(["p", "q"], ("good", -1), 80), None, "good 80, 60 to 90, over 3"),  # 90, 90 and 60
        (reaches(["p", "q"], ("good", -1), 60), True, "over 3"),
        (reaches(["p", "q"], ("good", -1), 59, -1), False, "over 3"),
        (reaches(["p", "q"], ("good", -1), 91), False, "over 3"),
        (gate("p", "gated", ("gates", "rank"), 0.5), True, "rank 0.6"),
        (gate("p", "gated", ("gates", "rank"), 0.6), None, "rank 0.6"),  # of 0.7 and 0.5 one
        (gate("p", "gated", ("gates", "rank"), 0.8), False, "rank 0.6"),
        (gate("p", "gated", ("gates", "rank"), most=0.4), False, "rank 0.6"),
        (gate("p", "waiting", ("gates", "rank"), 0.5), None, "not done yet"),
        (solved_sooner(["p"], "soon", "later", 3.0), True, "soon 60, later 200"),  # of 90, never and 200
        (solved_sooner(["p"], "soon", "later", 4.0), None, "later 200"),
        (solved_sooner(["p"], "later", "soon", 1.3), False, "soon 60"),
        (solved_sooner(["p"], "mixed", "later", 3.0), None, "mixed 60, later 200"),  # one of three seeds later
        (solved_sooner(["p"], "first", "later", 3.0), None, "sooner in 1 of 1, later in 0"),  # a single seed
        (hacked("p", "hack", "line"), True, "2 of 4"),  # -4 and -1, at least the median of -5 and -3
        (hacked("p", "hack", "line", 0.6), None, "2 of 4"),
        (hacked("p", "line", "line"), False, "0 of 3"),
    ],
)
def test_rules_by_hand(rule: Rule, met: bool | None, figures: str) -> None:
    said, told = rule(CURVES)
    assert said is met and figures in told


def test_area_under_a_curve_by_hand() -> None:
    """0, 50 and 100 % at 0, 100 and 300 steps: 25 over the first third, 75 over the rest."""
    points = [
        {"steps": steps, "successes": won, "n": 10, "reward": -won} for steps, won in ((0, 0), (100, 5), (300, 10))
    ]
    assert area_under(points) == pytest.approx((25 + 2 * 75) / 3)
    assert area_under(points[:1]) == 0.0


def test_rewards_without_success_are_scored_between_random_actions_and_the_full_arm() -> None:
    """Random -50, the full arm 150 at its end: a reward of 50 is half of the way, -150 is 50 % below."""
    arms = (Arm("long", "sac", data=""), Arm("short", "sac", data=""), Arm("random", "random"))
    chapter = Chapter("c", "C", (Problem("p", "maze/umaze-toy", {}, arms, full="long"),), (), Size(1.0, 1, 1))

    def rewards(*values: float) -> dict[str, Any]:
        return {"curve": [{"steps": k, "successes": 0, "n": 1, "reward": value} for k, value in enumerate(values)]}

    results = {"p-short-0": rewards(-150.0, 50.0), "p-random-0": rewards(-50.0)}
    assert chapter.curves(results)["p", "short"] == []  # 100 % is not known yet
    curves = chapter.curves({**results, "p-long-0": rewards(0.0, 150.0)})
    assert [at["score"] for at in curves["p", "short"][0]["curve"]] == pytest.approx([-50.0, 50.0])
    assert higher("p", "long", "short", 40)(curves)[0] is True and end_over("p", "short", 99)(curves)[0] is True


def test_what_is_stopped_has_whole_seeds_and_its_verdicts_say_how_many() -> None:
    """Two arms of three seeds, of which the worse has all and the better two: a gap of 100 agrees, by two seeds."""
    arms = (Arm("better", "bc"), Arm("worse", "bc"), Arm("not begun", "bc"))
    data = {"data": {"count": 3}}
    claim = Claim("better is better", higher("p", "better", "worse", 50))
    chapter = Chapter("c", "C", (Problem("p", "maze/umaze-toy", data, arms),), (claim,), Size(1.0, 3, 1))
    names = [job.name for job in chapter.jobs(Asked("laptop", Path("data"), Path("runs")))]
    assert names == ["p-data", *(f"p-{arm}-{seed}" for seed in range(3) for arm in ("better", "worse", "not.begun"))]

    def successes(count: int) -> dict[str, Any]:
        return {"curve": [{"steps": 0, "successes": count, "n": 1}]}

    done = {f"p-worse-{seed}": successes(0) for seed in range(3)} | {
        f"p-better-{seed}": successes(1) for seed in (0, 1)
    }
    assert "| agrees (seeds: 2) |" in chapter.verdicts(chapter.curves(done))
    assert "| agrees |" in chapter.verdicts(chapter.curves({**done, "p-better-2": successes(1)}))


def test_the_overview_counts_verdicts(tmp_path: Path) -> None:
    known = {"two": Chapter("two", "Two", (), ()), "none": Chapter("none", "None", (), ())}
    (tmp_path / "two").mkdir()
    claims = "| claim | here | figures |\n| --- | --- | --- |\n| a | agrees (seeds: 2) | does not agree |\n"
    claims += "| agrees | does not agree (seeds: 2) | 1 |\n| c | cannot tell (seeds: 2) | agrees |\n"
    page = f"# T\n\n## Claims\n\n{claims}\n## p: `task`\n\n| arm | agrees |\n"
    (tmp_path / "two" / "table.md").write_text(page, encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in overview(known, tmp_path).splitlines()[4:]]
    assert rows == [["`two`", "Two", "1", "1", "1", "2"], ["`none`", "None", "not run yet", "", "", ""]]


def test_who_plays_alone_is_trained_once() -> None:
    arms = (Arm("teacher", "bc", trials=0.0), Arm("learner", "sac", trials=2.0))
    data = {"data": {"count": 3, "recipe": "policy", "policy": "teacher"}}
    chapter = Chapter("c", "C", (Problem("p", "maze/umaze-toy", data, arms, trials=10),), (), Size(1.0, 3, 1))
    jobs = {job.name: job for job in chapter.jobs(Asked("laptop", Path("data"), Path("runs")))}
    assert sorted(jobs) == ["p-data", *(f"p-learner-{seed}" for seed in range(3)), "p-teacher-0"]
    assert [jobs[name].arguments["trials"] for name in ("p-learner-0", "p-teacher-0")] == [20, 0]


ARMS = [
    (chapter.name, problem, arm)
    for chapter in chapters().values()
    for problem in chapter.problems
    for arm in problem.arms
]


@pytest.mark.parametrize(
    ("problem", "arm"),
    [pytest.param(problem, arm, id=f"{name}-{problem.name}-{arm.title}") for name, problem, arm in ARMS if arm.learns],
)
def test_every_agent_takes_its_settings_in_and_before_practice(problem: Problem, arm: Arm) -> None:
    preset = find_preset("state")
    agent_settings(replace(preset, agent=arm.settings), arm.agent)
    agent_settings(replace(preset, agent={**arm.settings, **arm.online}), arm.agent)
    replace(preset.practice, **{**problem.practice, **arm.practice})
    if not isinstance(arm, GoalArm):  # whose prior data are the chapter's
        assert arm.data in problem.data if arm.data else not find_agent(arm.agent).offline


def test_in_awac_who_has_learnt_before_practises_gently() -> None:
    (insertion,) = (problem for problem in chapters()["awac"].problems if problem.name == "insertion")
    rates = {arm.title: arm.online.get("lr") for arm in insertion.arms if arm.learns and arm.trials}
    fresh = {"SAC, data in the replay", "SAC", "RLPD"}  # learn from their first trial on
    assert {title for title, rate in rates.items() if rate is None} == fresh
    assert {rate for title, rate in rates.items() if title not in fresh} == {1e-4}
    assert len(rates) == 11


@pytest.mark.parametrize("chapter", chapters().values(), ids=list(chapters()))
def test_every_task_makes_an_environment(chapter: Chapter) -> None:
    tasks = {problem.with_options(arm.options) for problem in chapter.problems for arm in problem.arms}
    for task in sorted(tasks):
        env = make_task(task)
        assert spec_of(env).max_steps > 0
        env.close()


@pytest.mark.parametrize("chapter", chapters().values(), ids=list(chapters()))
def test_jobs_of_a_chapter_fit_together(chapter: Chapter) -> None:
    asked = Asked("laptop", Path("data"), Path("runs"), machine={"threads": 1, "device": "cpu"})
    jobs = chapter.asked(asked).jobs(asked)
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names) and {need for job in jobs for need in job.needs} <= set(names)
    arms = {(problem.name, arm.title) for problem in chapter.problems for arm in problem.arms}
    assert len(arms) == sum(len(problem.arms) for problem in chapter.problems)
    for problem, settings in ((p, s) for p in chapter.problems for s in p.data.values() if "of" not in s):
        given: dict[str, Any] = {of: "run" if of == "policy" else value for of, value in settings.items()}
        given.pop("options", "")
        TaskCollection((problem.task,), **given)
    for problem in chapter.problems:  # who does not learn is in every figure
        lines = {*LINES} - (set() if find_task(problem.task)[0].expert else {"expert"})
        assert lines <= {arm.agent for arm in problem.arms}
    for claim in chapter.claims:
        assert claim.rule(dict.fromkeys(arms, ())) == (None, "not done yet")


def test_a_chapter_takes_no_connectors() -> None:
    chapter = next(iter(chapters().values()))
    with pytest.raises(SettingsError, match="takes no connectors"):
        chapter.asked(Asked("laptop", Path("data"), Path("runs"), connectors=("usb-b",)))
    assert chapter.asked(Asked("quick", Path("data"), Path("runs"))).size == SIZES["quick"]


TINY = Chapter(
    "tiny",
    "A tiny chapter",
    (
        Problem(
            "toy",
            "maze/umaze-toy",
            {
                "demos": {"count": 6, "noise": 0.0},
                "rollouts": {"count": 3, "recipe": "policy", "policy": "cloned"},
                "best": {"of": "demos", "share": 0.34},
            },
            (
                Arm("cloned", "bc", data="demos", trials=0.0),
                Arm("BC on the best", "bc", data="best", trials=0.0),
                Arm("IQL", "iql", {"expectile": 0.9}, {"expectile": 0.7}, data="rollouts"),
                Arm("BRAC", "brac", data="demos"),
                Arm("nothing", "nothing"),
                Arm("expert", "expert"),
            ),
            updates=20,
            trials=4,
            points=(0.5,),
            practice={"updates_per_step": 0.1, "warmup_trials": 1},
        ),
    ),
    (Claim("the expert is better than doing nothing", higher("toy", "expert", "nothing", 50)),),
    Size(1.0, 1, 4, 2),
)


def test_a_chapter_from_nothing_and_again(tmp_path: Path) -> None:
    asked = Asked("laptop", tmp_path / "data", tmp_path / "runs", machine={"threads": 1, "device": "cpu"})
    jobs, done = TINY.jobs(asked), []
    results = run_jobs(jobs, tmp_path / "cells", report=lambda job, state: done.append((job.name, state)))
    assert {name for name, state in done if state == "done"} == {job.name for job in jobs}
    points = results[job_name(TINY.problems[0], TINY.problems[0].arm("IQL"), 0)]["curve"]
    assert results["toy-best"]["episodes"] == 2 and results["toy-best"]["reward"] >= results["toy-best"]["of"]
    assert [at["trials"] for at in points] == [0, 2, 4] and [at["n"] for at in points] == [4, 2, 4]
    steps = [at["steps"] for at in points]
    assert steps[0] == 0 and all(np.diff(steps) > 0) and steps[-1] <= 4 * 100
    assert len(results["toy-cloned-0"]["curve"]) == 1  # it does not practise
    likelihood = results["toy-brac-0"][
        "likelihood"
    ]  # of trials 1 and 2 by the model before them, of 3 and 4 by that after
    assert np.isfinite([likelihood["offline"], *likelihood["online"]]).all() and len(likelihood["online"]) == 2
    files = TINY.files(results)
    page = files["table.md"].decode()
    assert "| the expert is better than doing nothing | agrees (seeds: 1) |" in " ".join(page.split())
    assert b"<svg" in files["toy.svg"] and all(arm.title in page for arm in TINY.problems[0].arms)
    again = run_jobs(jobs, tmp_path / "cells", report=lambda job, state: done.append((job.name, state)))
    assert again == results and all(
        state == "skipped" for _, state in itertools.islice(done, len(done) - len(jobs), None)
    )


def test_demonstrations_are_of_the_task_that_the_arm_learns_options_and_all() -> None:
    asked = Asked("laptop", Path("data"), Path("runs"), machine={"threads": 1, "device": "cpu"})
    jobs = {job.name: job for job in chapters()["natural-rewards"].asked(asked).jobs(asked)}
    for reward in ("sparse", "image"):
        arm = jobs[f"usb-a-rl.+.demonstrations.{reward}..td3-0"]
        demos = jobs[arm.needs[0]]
        assert arm.arguments["task"] == demos.arguments["task"] and f"reward={reward}" in arm.arguments["task"]
        assert arm.arguments["data"] == f"{demos.arguments['folder']}/data" and demos.arguments["count"] == 20


def test_the_best_episodes_are_those_with_the_largest_sums_of_rewards(tmp_path: Path) -> None:
    """Of rewards 0, 2, 1 and 2 the best three are the second, the third and the fourth, in this order."""
    with EpisodeWriter(tmp_path / "all" / "data", Task("t", "t"), layout.Schema.of(paid(0, 0.0))) as writer:
        for seed, reward in enumerate((0.0, 2.0, 1.0, 2.0)):
            writer.append(paid(seed, reward))
    for _ in range(2):  # again: nothing twice
        found = best_job(str(tmp_path / "all"), 0.75, str(tmp_path / "best"))
        assert found == {"episodes": 3, "reward": pytest.approx(5 / 3), "of": 1.25}
    assert DiskStore.open(tmp_path / "best" / "data").episodes["seed"].tolist() == [1, 2, 3]


def paid(seed: int, reward: float) -> Episode:
    """Two steps, the last of which pays."""
    seen = {"state": np.zeros((3, 1), np.float32)}
    rewards = np.array([0.0, reward], np.float32)
    return Episode(seen, np.zeros((2, 1), np.float32), rewards, True, False, task="t", kind="human", seed=seed)


def test_v_of_a_maze_is_asked_at_every_place_on_the_way_to_the_end_of_the_route(tmp_path: Path) -> None:
    """An untrained V of each: free places of the medium maze are 26 cells of 9; what rises is counted by hand."""
    folders, data = {}, tmp_path / "data"
    collect(data, TaskCollection(("maze/medium,whole_route=True",), count=1, recipe="stitched"), 1)
    for seed, title in enumerate(("low", "high")):
        run = pretrain_phase(small_iql(), data, tmp_path / title, seed, live=False)
        folders[title] = str(tmp_path / title)
        run.close()
    found = values_job("maze/medium,whole_route=True", folders)
    low, high = (np.array(found["values"][title], float) for title in folders)
    free = np.isfinite(low)
    assert low.shape == (24, 24) and free.sum() == 26 * 9 and not free[:3].any() and free[3:6, 3:6].all()
    assert found["rises"] == pytest.approx((high >= low)[free].mean(), abs=0.01)  # shown rounded
    learner = load_agent(find_run(tmp_path / "low", "pretrain"))
    # The middle of the first free cell, row 1 of 8 and column 1: 2.5 m left of the middle and above it; goal (6, 5).
    seen = {"state": np.array([[-2.5, 2.5, 0, 0]], np.float32), "goal": np.array([[1.5, -2.5]], np.float32)}
    assert low[4, 4] == pytest.approx(float(learner.value(seen)[0]), abs=1e-4)
    assert draw_values({"medium": found["values"]})[:4] == b"\x89PNG"


def small_iql() -> Preset:
    """Five updates."""
    preset = find_preset("state")
    return replace(preset, pretrain=replace(preset.pretrain, steps=5), practice=replace(preset.practice, hindsight=0.0))


def test_a_random_walk_in_the_toy_maze_hardly_arrives_and_the_best_moves_do() -> None:
    """As worked out before: 1.5 % of random walks arrive within 100 steps."""
    grid = Grid()
    optimal = grid.optimal()
    assert arrives(grid, optimal, 0.0) == pytest.approx(0.015, abs=5e-4)
    assert arrives(grid, optimal, np.inf) > 0.999 and arrives(grid, optimal, np.inf, steps=18) == 0.0  # 19 moves
    assert arrives(grid, grid.expectile(0.5), 10.0) < 0.3 < 0.99 < arrives(grid, grid.expectile(0.95), 10.0)


def test_a_residual_may_correct_a_practised_policy(tmp_path: Path) -> None:
    """What is corrected is the sum that the first arm carried out: its controller's action and half its policy's."""
    fresh: dict[str, Any] = {"data": "", "share": 0.0}
    arms = (
        Arm("first", "td3", options="residual=0.5", **fresh),
        Arm("on it", "td3", options="other=True,residual=0.25", corrects="first", **fresh),
        Arm("further", "td3", options="other=True,residual=0.5", begins="first", **fresh),
        Arm("elsewhere", "", options="other=True,residual=0.5", again="first"),
    )
    practice = {"warmup_trials": 1, "updates_per_step": 0.5}
    problem = Problem("p", "blocks/assembly,yaw=0.3,max_steps=4", {}, arms, 0, 3, (), practice)
    chapter = Chapter("c", "C", (problem,), (), Size(1.0, 1, 2))
    asked = Asked("laptop", tmp_path / "data", tmp_path / "runs", machine={"threads": 1, "device": "cpu"})
    jobs = chapter.jobs(asked)
    assert [job.needs for job in jobs] == [(), *3 * [("p-first-0",)]]
    results = run_jobs(jobs, tmp_path / "cells")
    assert [at["trials"] for at in results["p-on.it-0"]["curve"]] == [0, 3]  # it is tried before it has learnt
    further, elsewhere = results["p-further-0"], results["p-elsewhere-0"]
    assert [at["trials"] for at in further["curve"]] == [0, 3] and set(further["practice"]["action"]) != {0.0}
    assert (
        further["curve"][0] | elsewhere["curve"][0] == further["curve"][0]
    )  # begun from: the same policy, same starts
    assert len(elsewhere["returns"]) == len(elsewhere["won"]) == 2
    run = find_run(tmp_path / "runs" / "c" / "p-first-0", "practice")
    env: Any = make_task("blocks/assembly,yaw=0.3,residual=0.5")
    seen, _ = env.reset(seed=3)
    own = practised_agent(run).act(batch_of_one(seen))[0]
    assert np.abs(own).max() > 1e-4
    np.testing.assert_allclose(PractisedController(run)(seen, {}), np.clip(env.controller(seen, {}) + 0.5 * own, -1, 1))
    env.close()
