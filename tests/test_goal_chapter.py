"""Claims over problems and seeds by hand, and the pages of chapters on goals."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from lotj.data.store import DiskStore
from lotj.distributed import run_jobs
from lotj.envs.registry import make_task
from lotj.evaluation.rollout import evaluate
from lotj.experiments import codes, goal_chapter
from lotj.experiments.chapter import Size, job_name
from lotj.experiments.chapter_jobs import AtEnd, Nothing, line_job
from lotj.experiments.chapters import ptp, val
from lotj.experiments.claims import gate, met_rate, paired
from lotj.experiments.codes import CONTEXTS, PLANS, Draws, subgoals
from lotj.experiments.goal_chapter import PATIENCE, GoalArm, _relabel
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import agent_settings
from lotj.experiments.study import Asked
from lotj.goals.planner import PlanConfig
from lotj.nets.pixelcnn import PixelCNNConfig
from lotj.nets.subgoal_cvae import SubgoalConfig
from lotj.nets.vq_vae import VQVAEConfig
from lotj.runs import find_run
from lotj.training.practice import finished_trials


def curves(**rates: list[list[int]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Arm -> successes of 50 trials before and after practice, of each seed; the same in problems "a" and "b"."""
    return {
        (problem, title): [
            {"curve": [{"successes": k, "n": 50, "reached": k / 50} for k in seed], "seed": number}
            for number, seed in enumerate(seeds)
        ]
        for problem in ("a", "b")
        for title, seeds in rates.items()
    }


def test_pairs_of_problem_and_seed_by_hand() -> None:
    done = curves(x=[[5, 25], [10, 20]], y=[[10, 20], [5, 30]])
    met, told = paired(("a", "b"), ("x", -1), ("x", 0))(done)  # gains of 40 and 20 points, twice
    assert met is True
    assert told.startswith("+30 points") and told.endswith("over 4 pairs")
    assert paired(("a", "b"), ("x", -1), ("x", 0), 30.0)(done)[0] is False  # the mean is not above 30
    assert paired(("a", "b"), ("x", -1), ("x", 0), 25.0)(done)[0] is None  # it is, its interval is not
    assert paired(("a", "b"), ("x", -1), ("y", -1))(done)[0] is False  # +10 and -20
    assert paired(("a", "c"), ("x", -1), ("z", -1))(done) == (None, "not done yet")


def test_what_shares_an_agent_is_not_independent() -> None:
    done = curves(x=[[0, 20], [0, 0]])  # of two agents one gains 40 points, in both problems: four pairs, two units
    met, told = paired(("a", "b"), ("x", -1), ("x", 0))(done)
    assert met is None and told == "+20 points, +0 to +40, over 4 pairs"
    assert paired(("a", "b"), ("x", -1), ("x", 0))(curves(x=[[0, 20]]))[0] is None  # a single agent


def test_a_seed_that_is_missing_is_no_other() -> None:
    done = curves(x=[[0], [25], [50]], y=[[0], [25], [50]])
    for problem in ("a", "b"):
        del done[problem, "y"][0]
    assert paired(("a", "b"), ("x", 0), ("y", 0), -1.0)(done) == (True, "+0 points, +0 to +0, over 4 pairs")
    chapter = replace(val.CHAPTER, size=Size(1.0, 3, 1, 1))
    name = val.CHAPTER.problems[0].name
    found = chapter.curves({job_name(chapter.problems[0], chapter.problems[0].arms[0], 2): {"curve": []}})
    assert [one["seed"] for one in found[name, "VAL"]] == [2]


def test_shares_of_subgoals_and_gates() -> None:
    of: dict[str, Any] = {"figure": met_rate}
    done = curves(x=[[30, 0], [40, 0]], y=[[15, 0], [20, 0]])
    met, told = paired(("a", "b"), ("x", 0), ("y", 0), **of)(done)  # 60 and 30 %, 80 and 40
    assert met is True and told.startswith("+35 points")
    assert paired(("a", "b"), ("y", 0), ("x", 0), **of)(done)[0] is False
    near = curves(x=[[30, 0], [20, 0]], y=[[20, 0], [28, 0]])  # above in one seed, below in the other: +2 on average
    assert paired(("a", "b"), ("x", 0), ("y", 0), **of)(near)[0] is None
    for one in done["a", "x"]:
        del one["curve"][0]["reached"]  # it had no subgoal left
    assert paired(("a",), ("x", 0), ("y", 0), **of)(done)[0] is None
    found: dict[Any, Any] = {("p", "a"): [{"proposals": {"changed": 0.3}}, {"proposals": {"changed": 0.5}}]}
    path = "proposals", "changed"
    assert gate("p", "a", path, 0.51)(found)[0] is False and gate("p", "a", path, 0.29)(found)[0] is True
    assert gate("p", "a", path, most=0.51)(found)[0] is True and gate("p", "a", path, most=0.29)(found)[0] is False
    assert gate("p", "a", path, 0.4)(found)[0] is None and gate("p", "a", path, most=0.4)(found)[0] is None
    assert gate("q", "a", path, 0.5)(found) == (None, "not done yet")


@pytest.mark.parametrize("chapter", [val.CHAPTER, ptp.CHAPTER], ids=["val", "ptp"])
def test_chapters_name_what_there_is(chapter: Any) -> None:
    for name, settings in chapter.agents.items():
        config: Any = agent_settings(replace(find_preset("state"), agent=settings), name)
        assert config.target_bounds == (-1.0 / (1.0 - config.discount), 0.0)
        assert config.lr == 3e-4  # offline and in practice
    for problem in chapter.problems:
        how = replace(find_preset("state").practice, **problem.practice)
        assert how.exploration_noise == 0 and how.imitate == "all"
        if chapter is ptp.CHAPTER:  # of eight subgoals the last is the goal, which is to have its time
            assert 0.75 * int(problem.task.partition("max_steps=")[2]) >= 7 * PATIENCE
    for arm in (arm for problem in chapter.problems for arm in problem.arms if isinstance(arm, GoalArm)):
        PlanConfig(**arm.planning)
        assert arm.agent in chapter.agents
        levels = PLANS[arm.plan.removesuffix("-buffer")]({name: None for name in chapter.models})
        assert np.prod([level.count for level in levels]) == (1 if arm.plan == "none" else 8)
        assert arm.goals in ("task", "seen", *chapter.models)
    quick = chapter.asked(Asked("quick", Path("data"), Path("runs")))
    jobs = {job.name: job for job in quick.jobs(Asked("quick", Path("data"), Path("runs")))}
    assert len(quick.problems) == 1
    assert jobs["data"].arguments["count"] == 240
    assert jobs["codes"].arguments["updates"]["vq"] == 480


class Passing(gym.Env[dict[str, Any], np.ndarray]):
    """Four steps; success is what it is told of each."""

    def __init__(self, *success: bool) -> None:
        self._success, self._steps = success, 0
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._steps = 0
        return {"state": np.zeros(1, np.float32)}, {"is_success": False}

    def step(self, action: np.ndarray) -> Any:
        self._steps += 1
        won = self._success[self._steps - 1]
        return {"state": np.zeros(1, np.float32)}, 0.0, False, self._steps == 4, {"is_success": won}


@pytest.mark.parametrize(("success", "won"), [((False, True, True, False), 0), ((True, False, False, True), 1)])
def test_lines_succeed_by_where_they_end_as_those_who_learn_do(success: Sequence[bool], won: int) -> None:
    found = evaluate(AtEnd(Passing(*success)), Nothing((1,)), [0], name="nothing", max_steps=4)
    assert found.successes == won
    for chapter in (val.CHAPTER, ptp.CHAPTER):
        lines = [job for job in chapter.jobs(Asked("laptop", Path("data"), Path("runs"))) if job.work is line_job]
        assert len(lines) == 18 * len(chapter.problems) and all(job.arguments["at_end"] for job in lines)


SMALL = {
    "VQ": VQVAEConfig(hidden=8, residual_hidden=4, residual_layers=1, codes=16), "BANK": 2, "LEARNT": 50,
    "DRAWN": PixelCNNConfig(channels=4, layers=2, head=8), "CHAINED": SubgoalConfig(latent=2, hidden=8), "PLANNED": 1,
}  # fmt: skip


def tiny(chapter: Any, problem: str, arms: Sequence[str], root: Path) -> Any:
    """A chapter of one problem and some of its arms, in the smallest size there is."""
    (whole,) = (one for one in chapter.problems if one.name == problem)
    of = [replace(arm, planning={**arm.planning, "samples": 4}) if isinstance(arm, GoalArm) else arm
          for arm in whole.arms if arm.title in arms]  # fmt: skip
    task = f"{whole.task.partition(',max_steps')[0]},max_steps=6"
    made = replace(whole, task=task, arms=of, trials=3, points=(0.7,), practice={**whole.practice, "warmup_trials": 1})
    tasks = {"task": f"{chapter.task},max_steps=40", "held_out": f"table/{chapter.recipe},split=test,max_steps=40"}
    agents = {name: {**settings, "hidden": (16,)} for name, settings in chapter.agents.items()}
    models = dict.fromkeys(chapter.model_updates, 3)
    return replace(chapter, problems=(made,), count=8, size=Size(1.0, 1, 2, 1), updates=2, agents=agents,
                   model_updates=models, **tasks)  # fmt: skip


def asked(root: Path) -> Asked:
    return Asked("laptop", Path("data"), root / "runs", machine={"threads": 1, "device": "cpu"})


class Cut:
    """Ctrl-C in the call of that number."""

    def __init__(self, call: Any, at: int) -> None:
        self._call, self._left = call, at

    def __call__(self, *args: Any, **how: Any) -> Any:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
        return self._call(*args, **how)


def weights(folder: Path, kind: str, name: str) -> list[Any]:
    """Of a checkpoint of the job of that folder."""
    state = find_run(folder, kind).load(name)["agent"]
    return [leaf for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chapter", "problem", "arms"),
    [
        (val.CHAPTER, "close-drawer", ("VAL", "CC-VAE's goals", "seen goals", "random")),
        (ptp.CHAPTER, "close-then-slide", ("PTP", "HIQL", "LEAP", "GCP", "PTP, no value")),
    ],
    ids=["val", "ptp"],
)
def test_a_tiny_chapter_from_nothing_and_cut(
    chapter: Any, problem: str, arms: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(codes, name, value)
    small = tiny(chapter, problem, arms, tmp_path)
    jobs = small.jobs(asked(tmp_path))
    results = run_jobs(jobs, tmp_path / "results")
    files = small.files(results)
    assert {"table.md", "gates.md", "gates.png"} <= files.keys()
    page = " ".join(files["table.md"].decode().split())
    for arm in arms:
        curve = results[job_name(small.problems[0], small.problems[0].arm(arm), 0)]["curve"]
        points = 1 if arm in ("random", "PTP, no value") else 3
        assert [(at["trials"], at["steps"], at["n"]) for at in curve] == [(0, 0, 2), (2, 12, 1), (3, 18, 2)][:points]
        assert f"| {arm} | 1 |" in page
    if chapter is val.CHAPTER:
        assert set(results["codes"]["valid"]) == {
            "seen",
            "judge",
            "pixelcnn",
            "vae",
            "cc-vae",
            "over_vae",
            "over_cc-vae",
        }
    by_name = {job.name: job for job in jobs}
    job, again = by_name["codes"], tmp_path / "again"
    cut = Cut(codes.pairs(DiskStore.open(Path(job.arguments["data"])), codes.BATCH), 3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(codes, "pairs", lambda *of: cut)  # of the VQ-VAE's updates the third
        job.work(**{**job.arguments, "folder": str(again / "codes")}, **job.machine)
    found = job.work(**{**job.arguments, "folder": str(again / "codes")}, **job.machine)
    assert found["eps"] == results["codes"]["eps"] and found["reconstruction"] == results["codes"]["reconstruction"]
    for name in ("vq", *small.models):
        both = [weights(folder, "codes", name) for folder in (Path(job.arguments["folder"]), again / "codes")]
        assert all(torch.equal(*pair) for pair in zip(*both, strict=True))
    for arm in arms[:2]:
        job = by_name[job_name(small.problems[0], small.problems[0].arm(arm), 0)]
        other = {**job.arguments, "folder": str(again / job.name)}
        made: list[Any] = []

        def practised(name: str, made: list[Any] = made) -> Any:
            made.append(make_task(name))
            if len(made) == 2:  # the first is tried before practice
                made[1].reset = Cut(made[1].reset, 3)
            return made[-1]

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(goal_chapter, "make_task", practised)
            job.work(**other, **job.machine)
        assert finished_trials(find_run(again / job.name, "practice")) == 2
        assert job.work(**other, **job.machine)["curve"] == results[job.name]["curve"]
        both = [weights(folder, "practice", "practice") for folder in (Path(job.arguments["folder"]), again / job.name)]
        assert all(torch.equal(*pair) for pair in zip(*both, strict=True))


def page(chapter: Any, **more: Any) -> dict[str, bytes]:
    reward = {"precision": 0.5, "recall": 0.25, "auc": 0.75, "curve": [[1.0, 0.5, 0.25]], "eps": 1.0}
    found = {
        "reconstruction": {"all": 0.1, "changing": 0.2}, "rank": 0.3, "eps": 1.0,
        "reward": {"prior": reward, "held_out": {**reward, "recall": 0.125}, "same": 0.5},
        "picture": base64.b64encode(b"picture").decode(), **more,
    }  # fmt: skip
    return chapter.files({"codes": found})


def test_gates_have_a_page() -> None:
    files = page(ptp.CHAPTER, plans={"flat": {"seconds": 1.25, "consistent": 0.5, "changed": 1.0}})
    assert files["gates.png"] == b"picture"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in files["gates.md"].decode().splitlines()]
    assert ["recall", "0.25", "0.12"] in rows
    assert ["flat", "1.25", "0.50", "1.00"] in rows
    assert "not done yet" in files["table.md"].decode()


class Ten:
    """Two coded episodes of 10 and 40 frames, whose code is the number of the frame."""

    episodes = np.array([(0,), (10,)], [("first_frame", int)])
    last_frames = np.array([9, 49])

    def observe(self, frames: np.ndarray, names: Any) -> dict[str, np.ndarray]:
        return {"code": frames.astype(np.float32)}


class Maps:
    device = "cpu"

    def maps(self, codes: np.ndarray) -> Any:
        import torch

        return torch.as_tensor(codes).view(-1, 1, 1, 1)


def test_pairs_of_a_generator_are_as_far_apart_as_it_says() -> None:
    draws: Any = Draws(Ten(), Maps())  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for name, count in (("gap15", 4), ("gap30", 3), ("gap60", 2)):
        maps = np.stack([part[:, 0, 0, 0].numpy() for part in draws.of(name)(rng)])
        assert len(maps) == count
        assert ((maps < 10) == (maps[0] < 10)).all()  # within an episode
        steps, ended = np.diff(maps, axis=0), np.isin(maps[1:], (9, 49))
        assert (steps >= 0).all() or name == "gap60"
        if name != "gap60":
            least, most = {"gap15": (10, 15), "gap30": (20, 30)}[name]
            assert (ended | ((steps >= least) & (steps <= most))).all()
        else:
            assert (maps[0][maps[0] >= 10] < 20).all() and (maps[1][maps[1] >= 10] >= 40).all()
    context, middle = (part[:, :, 0, 0].numpy() for part in draws.of("midpoint")(rng))
    np.testing.assert_array_equal(middle[:, 0], context.sum(1) // 2)
    context, _ = draws.of("unconditional")(rng)
    assert context.shape[1] == 0
    assert {name: subgoals(name).contexts for name in CONTEXTS} == CONTEXTS


def test_where_nobody_proposes_goals_are_kept_and_no_scene_is_asked_for() -> None:
    made: Any = SimpleNamespace(eps=1.0, encoder=SimpleNamespace(size=4))
    assert "context" not in _relabel(asdict(val.CHAPTER.online), made, None).reads  # type: ignore[attr-defined]
