"""Claims over problems and seeds by hand, and the pages of chapters on goals."""

from __future__ import annotations

import base64
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lotj.experiments.chapters import ptp, val
from lotj.experiments.claims import gate, paired, reached_more
from lotj.experiments.codes import CONTEXTS, PLANS, Draws, subgoals
from lotj.experiments.goal_chapter import PATIENCE, GoalArm, _relabel
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import agent_settings
from lotj.experiments.study import Asked
from lotj.goals.planner import PlanConfig


def curves(**rates: list[list[int]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Arm -> successes of 50 trials before and after practice, of each seed; the same in problems "a" and "b"."""
    return {
        (problem, title): [{"curve": [{"successes": k, "n": 50, "reached": k / 50} for k in seed]} for seed in seeds]
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


def test_shares_of_subgoals_and_gates() -> None:
    done = curves(x=[[30, 0]], y=[[15, 0]])
    assert reached_more(("a", "b"), "x", "y")(done) == (True, "0.60 and 0.30; 0.60 and 0.30")
    assert reached_more(("a",), "y", "x")(done)[0] is False
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
    assert jobs["codes"].arguments["updates"]["vq"] == 600


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
