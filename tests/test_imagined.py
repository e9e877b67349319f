"""Practice on imagined goals: the environment of codes, the tasks it is for, and a tiny chapter from nothing."""

from __future__ import annotations

import colorsys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lotj.experiments.imagined as imagined
from lotj.agents import Learner, find_agent
from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.store import MemoryStore
from lotj.distributed import run_jobs
from lotj.envs.base import spec_of
from lotj.envs.maze2d import layouts
from lotj.envs.registry import make_task
from lotj.errors import SettingsError
from lotj.experience import SUCCESS, Episode, Task
from lotj.experiments.chapter import Size
from lotj.experiments.chapters import cc_rig, rig
from lotj.experiments.claims import Claim, alike, higher, lower_by, near_oracle
from lotj.experiments.evaluation import PolicyController
from lotj.experiments.imagined import (
    AGENT,
    EVERY_LINE,
    ORACLE,
    PIXELS,
    ImaginedArm,
    ImaginedChapter,
    ImaginedProblem,
    distances,
    scored,
)
from lotj.experiments.study import Asked
from lotj.goals.encoder import Latent
from lotj.goals.proposer import Given, Prior
from lotj.goals.reward import LatentReward
from lotj.nets.cc_vae import CCVAE, CCVAEConfig
from lotj.nets.front import Vector
from lotj.nets.vae import VAE, VAEConfig
from lotj.runs import Run
from lotj.sim.push_scene import BLUES, HELD_OUT, TRAINED, colour_of, shape_of
from lotj.training.encoders import Modeller, ModelTraining, picture_model
from lotj.training.imagined import Imagined, Stated, coded_store, stated_store, units_of
from lotj.training.practice import practice
from lotj.training.practice_config import PracticeConfig
from lotj.training.rewarded import Rewarded

# ---- tasks ----------------------------------------------------------------------------------------------------------


def played(name: str, seed: int, **options: Any) -> tuple[list[np.ndarray], np.ndarray, dict[str, Any]]:
    """Pictures of three steps, that of the goal, and the last info."""
    with closing(make_task(name, observation="image", **options)) as env:
        seen, info = env.reset(seed=seed)
        shown = [seen["image"]]
        for _ in range(3):
            seen, _, _, _, info = env.step(np.array([0.5, -0.5], np.float32))
            shown.append(seen["image"])
        return shown, env.unwrapped.picture_of_goal(), info  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["push/one,vary=shape", "push/two", "maze2d/seen"])
def test_a_seed_is_a_pair_of_start_and_goal_and_shows_the_same_frames(name: str) -> None:
    first, again, other = played(name, 3), played(name, 3), played(name, 4)
    assert all(np.array_equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert np.array_equal(first[1], again[1]) and not np.array_equal(first[1], other[1])
    assert first[1].shape == (48, 48, 3) and not np.array_equal(first[1], first[0][0][0])


def test_distances_of_hand_and_puck_are_apart_by_hand() -> None:
    with closing(make_task("push/two", present=1)) as env:
        observation, info = env.reset(seed=0)
        hand, puck, absent = (observation["state"] - observation["goal"]).reshape(3, 2)
        assert info["hand_distance"] == pytest.approx(np.hypot(*hand), abs=1e-6)
        assert info["object_distance"] == pytest.approx(np.hypot(*puck), abs=1e-6) and not absent.any()


def test_a_free_puck_is_pushed_by_the_hand_alone() -> None:
    with closing(make_task("push/one", start="fixed")) as env:
        start = env.reset(seed=0)[0]["state"]
        for _ in range(4):
            still = env.step(np.zeros(2, np.float32))[0]["state"]
        assert still[2:] == pytest.approx(start[2:], abs=1e-3)
        for _ in range(8):
            pushed = env.step(np.array([0.0, 1.0], np.float32))[0]["state"]
        # From 10 cm behind, the hand goes 16 cm; hand and puck have radii of 1.5 and 3.5 cm.
        assert pushed[3] - start[3] == pytest.approx(0.16 - 0.1 + 0.05, abs=0.015)
        assert pushed[3] - pushed[1] == pytest.approx(0.05, abs=0.004)


def test_what_is_held_out_is_another() -> None:
    rng = np.random.default_rng(0)

    hues = {
        split: [colorsys.rgb_to_hsv(*colour_of(rng, split))[0] for _ in range(200)] for split in ("train", "held-out")
    }
    assert all(BLUES[0] <= hue <= BLUES[1] for hue in hues["held-out"])
    assert not any(BLUES[0] < hue < BLUES[1] for hue in hues["train"])
    shapes = [shape_of(number).tobytes() for number in range(TRAINED + HELD_OUT)]
    assert TRAINED >= 20 and HELD_OUT >= 8 and len(set(shapes)) == len(shapes)
    walls = {wall.tobytes() for wall in layouts()}
    assert len(walls) == 18


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("push/one,vary=size", "must be of none, colour, shape"),
        ("push/one,start=far", "random, anywhere, fixed"),
        ("push/one,present=2", "from 0 to 1"),
    ],
)
def test_bad_options_are_named_in_one_line(name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        make_task(name)
    assert "\n" not in str(caught.value)


# ---- the environment of codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "precision", "pixel"])
def test_practice_sees_codes_and_never_the_truth(kind: Any) -> None:
    encoder = Latent(CCVAE(CCVAEConfig(size=3, context_size=2)))
    env = Imagined(make_task("push/one", observation="image"), encoder, Prior(encoder), LatentReward(kind, encoder))
    observation, info = env.reset(seed=1)
    assert observation["code"].shape == observation["goal"].shape == (3,) and observation["context"].shape == (2,)
    assert set(observation) <= {"code", "goal", "context", "precision", "image"} and "is_success" not in info
    assert env.observation_space.contains(observation)
    again, _ = env.reset(seed=1)
    assert np.array_equal(again["goal"], observation["goal"])
    after, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
    assert reward <= 0 and not terminated and "is_success" not in info
    if kind == "dense":
        assert reward == pytest.approx(-np.linalg.norm(after["code"] - after["goal"]), rel=1e-5)
    shown, _ = env.reset(seed=1, options={"goal": "task"})
    picture = env.unwrapped.picture_of_goal()  # type: ignore[attr-defined]
    assert shown["goal"] == pytest.approx(encoder.encode(picture[None], env.first)[0], abs=1e-5)
    with pytest.raises(SettingsError, match="proposed or task"):
        env.reset(options={"goal": "mine"})
    env.close()


def test_random_data_as_codes_hold_nothing_that_is_true() -> None:
    encoder = Latent(CCVAE(CCVAEConfig(size=2, context_size=2)))
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 48, 48, 3), np.uint8)
    places = np.arange(8, dtype=np.float32).reshape(4, 2)
    raw, notes = MemoryStore([Task("push", "push")]), {SUCCESS: np.array([False, True, True, True])}
    action, paid = np.zeros((3, 2), np.float32), np.ones(3, np.float32)
    raw.append(Episode({"image": images}, action, paid, True, False, "push", "random", 0, notes, {"places": places}))
    assert units_of(raw) == pytest.approx([5**0.5, 5**0.5])  # 0, 2, 4, 6 and 1, 3, 5, 7: each 1 or 3 from its mean
    units = np.array([2.0, 4.0], np.float32)
    made = coded_store(raw, encoder, Prior(encoder), 0)
    told = stated_store(raw, units, Given(lambda: np.array([5.0, 6.0])), 0)
    for store in (made, told):
        assert not store.column("reward")[:3].any() and not store.terminated().any()
        assert store.starts().tolist() == [0, 1, 2]
        assert not store.schema.notes and not store.schema.truth
        goal = store.observe(np.arange(4))["goal"]
        assert (goal == goal[0]).all()
    seen = made.observe(np.arange(4))
    assert set(seen) == {"code", "goal", "context"}
    assert seen["code"] == pytest.approx(encoder.encode(images[:, 0], images[0]), abs=1e-6)
    assert seen["context"] == pytest.approx(np.repeat(encoder.context(images[0]), 4, 0), abs=1e-6)
    assert told.observe(np.arange(4))["code"].tolist() == (places / units).tolist()
    assert told.observe(np.arange(1))["goal"].tolist() == [[5.0, 6.0]]


def test_the_oracle_measures_what_hardly_moves_in_small_units() -> None:
    """Units 0.1 and 0.05 m: a hand 0.1 m away and a puck 0.1 m away are 1 and 2 apart, together the root of 5."""
    with closing(Stated(make_task("push/one"), np.array([0.1, 0.1, 0.05, 0.05], np.float32))) as env:
        env.reset(seed=0)
        inner: Any = env.unwrapped
        inner.goal = inner.state + (0.1, 0.0, 0.0, 0.1)
        *_, reward, _, _, _ = env.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(-(5**0.5), abs=0.02)


def test_a_task_without_pictures_is_refused() -> None:
    with closing(make_task("push/one")) as env, pytest.raises(SettingsError, match="needs pictures"):
        Imagined(env, blind := Latent(VAE(VAEConfig())), Prior(blind), LatentReward())


def test_practice_on_goals_brings_the_hand_nearer(tmp_path: Path) -> None:
    """Reaching, from the true state: 40 episodes of 15 steps bring the mean distance below half of doing nothing."""
    with (
        closing(Stated(make_task("push/reacher", max_steps=15), np.full(2, 0.1, np.float32))) as env,
        Run.create(tmp_path, "practice", {}, 0) as run,
    ):
        kind = find_agent("td3")
        config = kind.CONFIG(**{**AGENT, "hidden": (64,), "critic_hidden": 64, "ema": 0.05, "discount": 0.9})
        learner = Learner(kind, spec_of(env), Vector(("code", "goal")), config, 1, 0)
        shares = GoalShares(keep=0.5, future=0.3, proposed=0.2)
        relabel = [choose_goals(shares, Prior(Latent(VAE(VAEConfig(size=2)))).propose, False, LatentReward())]
        assert relabel[0].reads == ("code", "goal", "code")  # type: ignore[attr-defined]
        how = PracticeConfig(trials=40, max_steps=15, batch_size=64, updates_per_step=1, warmup_trials=5,
                             exploration_noise=0.3, save_every=50, threads=1)  # fmt: skip
        nothing = distances(env, Still(), 15, 0)
        practice(Rewarded(env, 15, 0), learner, [], how, run, "reach", relabel, live=False)
        learnt = distances(env, PolicyController(learner, 0.0), 15, 0)
    assert learnt["hand_distance"] < 0.5 * nothing["hand_distance"]


class Still:
    """Does nothing."""

    def reset(self, seed: int) -> None:
        pass

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        return np.zeros(2, np.float32)


# ---- chapters -------------------------------------------------------------------------------------------------------


def test_scores_and_rules_by_hand() -> None:
    """Doing nothing leaves 10 cm: 4 cm are a score of 60; on the other task 5 of 20 cm are 75."""

    def result(here: float, there: float) -> dict[str, Any]:
        return {"curve": [{"steps": 9, "object_distance": here}], "also": {"new": {"object_distance": there}}}

    nothing = result(0.1, 0.2)
    one = scored(result(0.04, 0.05), nothing, "object_distance")
    assert one["curve"][0]["score"] == pytest.approx(60) and one["also"]["new"]["score"] == pytest.approx(75)
    other = scored(result(0.01, 0.2), nothing, "object_distance")
    curves = {("p", "a"): [one], ("p", "b"): [other]}
    assert higher("p", "b", "a", 10)(curves)[0] is True
    assert lower_by("p", "a", "b", 30)(curves)[0] is True and lower_by("p", "a", "b", 14)(curves)[0] is False
    assert lower_by("p", "a", "b", 20)(curves)[0] is None
    assert alike("p", "a", "new", 5)(curves)[0] is True and alike("p", "b", "new", 40)(curves)[0] is False
    assert alike("p", "a", "new", 70)(curves)[0] is None  # nothing learnt, nothing to lose
    for score, met in ((80.0, True), (65.0, None), (45.0, False)):  # the oracle's lead over random actions is 80
        curves |= {("p", title): [{"curve": [{"score": at}]}] for title, at in
                   (("c", score), ("oracle", 90.0), ("random", 10.0))}  # fmt: skip
        assert near_oracle("p", "c")(curves)[0] is met
    curves["p", "random"] = curves["p", "oracle"]
    assert near_oracle("p", "c")(curves)[0] is None
    for rule in (lower_by("q", "a", "b", 1), alike("q", "a", "new", 1), near_oracle("q", "a")):
        assert rule(curves) == (None, "not done yet")
    without = {"curve": [{"object_distance": 0.0, "hand_distance": 0.05}], "also": {}}
    nothing["curve"] = [{"object_distance": 0.0, "hand_distance": 0.2}]
    assert scored(without, nothing, "object_distance")["curve"][0]["score"] == pytest.approx(75)


TINY = ImaginedChapter(
    "tiny",
    "A tiny chapter",
    (
        ImaginedProblem(
            "push", "push/one,vary=colour,max_steps=6", arms=(
                ImaginedArm("CC", encoder="cc", reward="precision"),
                ImaginedArm("HER", encoder=PIXELS, goals="task", shares={"future": 1.0, "proposed": 0.0}),
                ORACLE, *EVERY_LINE[1:],
            ),
            data={"data": {"count": 4, "recipe": "random"}}, updates=4, trials=4, points=(0.5,),
            encoders={"cc": ("cc-vae", {"size": 2, "context_size": 2})},
            also={"new": "push/one,vary=colour,split=held-out,max_steps=6"},
        ),
    ),
    (Claim("better", higher("push", "CC", "nothing", 10)),),
    Size(1.0, 1, 2),
)  # fmt: skip


def test_a_tiny_chapter_from_nothing_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagined, "ENCODER_STEPS", 3)
    monkeypatch.setattr(imagined, "GATED", 12)
    monkeypatch.setattr(imagined, "BATCH", 16)
    asked = Asked("laptop", Path("data"), tmp_path / "runs", machine={"threads": 1, "device": "cpu"})
    jobs = TINY.jobs(asked)
    results = run_jobs(jobs, tmp_path / "results")
    assert run_jobs(jobs, tmp_path / "results") == results
    curve = results["push-cc-0"]["curve"]
    assert [at["steps"] for at in curve] == [0, 12, 24] and all(at["object_distance"] > 0 for at in curve)
    assert len(results["push-her-0"]["curve"]) == 3
    (job,) = (job for job in jobs if job.name == "push-cc-0")
    with pytest.raises(SettingsError, match="begun with trials 4, not 3: remove it"):
        job.work(**{**job.arguments, "trials": 3}, **job.machine)
    files = TINY.files(results)
    page = files["table.md"].decode()
    assert all(
        words in page for words in ("| better", "rank_object", "same_colour", "colour_from_context", "CC", "new")
    )
    assert {"push-cc-0.png", "push-encoder-cc-0.png", "push.svg"} <= files.keys()
    with pytest.raises(SettingsError, match="takes no connectors"):
        TINY.asked(replace(asked, connectors=("usb-b",)))


@pytest.mark.slow
@pytest.mark.parametrize("chapter", [rig.CHAPTER, cc_rig.CHAPTER], ids=["rig", "cc-rig"])
def test_every_job_of_a_chapter_in_the_smallest_size(
    chapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagined, "ENCODER_STEPS", 3)
    monkeypatch.setattr(imagined, "GATED", 12)
    problems = tuple(
        replace(problem, task=f"{problem.task},max_steps=6", data={"data": {"count": 4, "recipe": "random"}},
                also={name: f"{task},max_steps=6" for name, task in problem.also.items()},
                updates=2, trials=2, points=())
        for problem in chapter.problems
    )  # fmt: skip
    small = replace(chapter, problems=problems, size=Size(1.0, 1, 1, 1))
    asked = Asked("laptop", Path("data"), tmp_path / "runs", machine={"threads": 1, "device": "cpu"})
    results = run_jobs(small.jobs(asked), tmp_path / "results")
    page = small.files(results)["table.md"].decode()
    assert "not done yet" not in page and "nan" not in page
    for problem in problems:
        assert page.count(f"`{problem.task}`") == 2  # gates, and what its arms reach
        rows = page.partition(f"`{problem.task}` at the end")[2].partition("##")[0]
        assert all(f"| {arm.title} " in rows for arm in problem.arms)


@pytest.mark.slow  # 10 s
def test_codes_become_straight_in_where_a_thing_is() -> None:
    """The reason for `Broadcast`: a line through the codes of pictures of a dot tells where the dot is."""
    rng, grid = np.random.default_rng(0), np.arange(48)
    places = rng.uniform(8, 40, (400, 2))
    away = np.square(grid - places[:, :1])[:, :, None] + np.square(grid - places[:, 1:])[:, None, :]
    images = torch.from_numpy((away < 16)[:, None].repeat(3, 1).astype(np.float32))
    modeller = Modeller(picture_model("vae", {"size": 4}), ModelTraining(300))
    for _ in range(300):
        shown = images[rng.integers(300, size=32)]
        modeller.update(shown, shown)
    with torch.no_grad():
        codes = modeller.model.code(images, images)[0].numpy()
    line = np.linalg.lstsq(np.c_[codes, np.ones(400)][:300], places[:300], rcond=None)[0]
    left = np.square(np.c_[codes, np.ones(400)][300:] @ line - places[300:]).mean(0)
    assert (1 - left / places[300:].var(0) > 0.9).all()
