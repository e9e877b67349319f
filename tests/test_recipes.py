"""How prior data of tasks are made: what each recipe does, by numbers, and what is stored beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lotj.cli import main
from lotj.controllers.fetch import PickAndPlace, Slide, Stack
from lotj.controllers.waypoints import Waypoints
from lotj.data.layout import read_meta
from lotj.data.store import DiskStore
from lotj.envs.maze import MazeEnv
from lotj.envs.registry import expert_of, make_task
from lotj.errors import DataError, SettingsError
from lotj.experience import Episode
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practise_task_phase, pretrain_phase
from lotj.training.collect import TaskCollection, collect
from lotj.training.pretrain import load_agent
from lotj.training.recipes import Human, Random, Stitched


def made(root: Path, **settings: Any) -> DiskStore:
    collect(root, TaskCollection(**settings), 1)
    return DiskStore.open(root)


class Still:
    """An expert that says 0.4 to all axes but the fingers, the last of 4, which close after as many steps as given."""

    fingers = slice(3, 4)

    def __init__(self, closes: int = 10**6) -> None:
        self.closes = closes

    def reset(self, seed: int) -> None:
        self.steps = 0

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        self.steps += 1
        return np.array([0.4, 0.4, 0.4, -1.0 if self.steps > self.closes else 1.0])


def actions(recipe: Any, steps: int, seed: int = 0) -> np.ndarray:
    recipe.reset(seed)
    return np.stack([recipe({}, {}) for _ in range(steps)])


def test_a_person_trembles_and_pauses() -> None:
    """Deviation of the moves from the expert's 0.4: 0.1 to 0.2 in an episode. A pause begins in 3 % of the steps and
    lasts 3 to 8, mean 5.5: of 33.3 steps between, 14 % of all. 200 episodes of 50 steps."""
    episodes = [actions(Human(None, Still(), np.random.default_rng(seed)), 50) for seed in range(200)]
    paused = np.stack([(episode[:, :3] == 0.0).all(1) for episode in episodes])
    assert 0.11 < paused.mean() < 0.17
    spreads = [episode[~still][:, :3].std() for episode, still in zip(episodes, paused, strict=True)]
    assert 0.07 < min(spreads) < 0.12 and 0.18 < max(spreads) < 0.23
    assert np.mean([episode[~still][:, :3].mean() for episode, still in zip(episodes, paused, strict=True)]) == (
        pytest.approx(0.4, abs=0.01)
    )
    assert all((episode[:, 3] == 1.0).all() for episode in episodes)  # fingers neither tremble nor pause
    ended = ["".join(" x"[bool(one)] for one in still).rstrip("x").split() for still in paused]  # not cut off
    assert {len(pause) for pauses in ended for pause in pauses} >= set(range(3, 9))
    assert min(len(pause) for pauses in ended for pause in pauses) == 3


def test_fingers_come_up_to_three_steps_late() -> None:
    first = [
        int((actions(Human(None, Still(5), np.random.default_rng(seed)), 20)[:, 3] < 0).argmax()) for seed in range(60)
    ]
    assert set(first) == {5, 6, 7, 8}


def test_a_person_misjudges_one_grasp_in_five_and_aims_badly() -> None:
    """400 episodes: 20 % within 4 standard deviations (8 points); deviation of the aim 0.9 rad."""
    rng = np.random.default_rng(0)
    for expert in (PickAndPlace(), Stack()):
        wrong = []
        for _ in range(400):
            expert.err(rng)
            wrong.append(expert.wrong)
        assert abs(np.mean(np.array(wrong) != 0.0) - 0.2) < 0.08 and min(wrong) >= -0.01 and max(wrong) <= 0.025
    slide, turned = Slide(), []
    for _ in range(400):
        slide.err(rng)
        turned.append(slide.turned)
    assert abs(np.std(turned) - 0.9) < 0.13


def test_a_misjudged_block_is_grasped_where_it_is_not() -> None:
    """Right over the block by 20 mm: who takes it for 20 mm higher closes there, who does not goes down."""
    state = np.zeros(25)
    state[:3], state[3:6], state[6:9], state[9:11] = (1.3, 0.7, 0.445), (1.3, 0.7, 0.425), (0, 0, -0.02), 0.05
    expert, seen = PickAndPlace(), {"state": state, "goal": np.array([1.3, 0.7, 0.6])}
    assert expert(seen, {})[2:].tolist() == pytest.approx([-0.2, 1.0])
    expert.wrong = 0.02
    assert expert(seen, {})[2:].tolist() == pytest.approx([0.0, -1.0])


def test_a_random_walk_has_the_spread_that_follows_from_its_settings() -> None:
    """x' = 0.85 x + 0.3 n has deviation 0.3 / sqrt(1 - 0.85^2) = 0.57, a little less as it is clipped at 1; neighbours
    correlate by 0.85."""
    env = gym.Env()
    env.action_space = gym.spaces.Box(-1, 1, (5,))
    walk = actions(Random(env, Still(), np.random.default_rng(0)), 4000)
    assert 0.48 < walk.std() < 0.57 and np.abs(walk).max() <= 1.0
    assert np.mean([np.corrcoef(axis[1:], axis[:-1])[0, 1] for axis in walk.T]) == pytest.approx(0.84, abs=0.03)


def test_stitched_episodes_stay_within_a_third_of_the_way_and_none_shows_all_of_it(tmp_path: Path) -> None:
    """The way through `medium` is 12 cells, 11 moves: stretches of 3 moves, 4 cells, which are not left; together the
    18 episodes cover the way."""
    store = made(tmp_path, names=("maze/medium",), count=18, recipe="stitched")
    env = MazeEnv("medium")
    expert = Waypoints(env.walls)
    way, covered = expert.way(*env.route), set()
    assert len(way) == 12 and len(store) == 18
    for number in range(18):
        episode = store.episode(number)
        cells = {expert.cell(position) for position in episode.observation["state"]}
        assert not {*env.route} <= cells and cells <= {*way}
        places = sorted(way.index(cell) for cell in cells)
        assert places[-1] - places[0] <= 3
        assert np.abs(episode.observation["goal"] - expert.middle(env.route[1])).max() <= 0.25
        covered |= cells
    assert covered == {*way} and 0 < store.success[store.last_frames].mean() < 0.6


def test_an_episode_that_shows_the_whole_way_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball in every cell of the way is a fault, one that leaves out the last is none; faults are discarded."""
    env = MazeEnv("umaze")
    recipe = Stitched(env, expert_of("maze/umaze", env), np.random.default_rng(0))
    middles = np.array([[*recipe.expert.middle(cell), 0, 0] for cell in Waypoints(env.walls).way((1, 1), (3, 1))])

    def episode(states: np.ndarray) -> Episode:
        steps = len(states) - 1
        return Episode({"state": states}, np.zeros((steps, 2)), np.zeros(steps), False, True, "maze", "stitched", 0)

    assert recipe.fault(episode(middles)) == "whole route" and recipe.fault(episode(middles[:-1])) == ""
    monkeypatch.setattr(Stitched, "fault", lambda self, episode: "whole route" if episode.seed == 1 else "")
    store = made(tmp_path, names=("maze/umaze",), count=3, recipe="stitched")
    assert store.episodes["seed"].tolist() == [0, 2] and store.discarded["maze.umaze"] == {"whole route": 1}


def test_what_a_recipe_cannot_do_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="^recipe stitched on FetchEnv: only for mazes .*; choose another$"):
        collect(tmp_path / "a", TaskCollection(("fetch/reach",), 1, recipe="stitched"), 1)
    for settings in ({"recipe": "policy"}, {"recipe": "human", "policy": "runs/last"}):
        with pytest.raises(SettingsError, match="name a run for `policy` and no other"):
            TaskCollection(("fetch/reach",), **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="recipe 'humen'"):
        TaskCollection(("fetch/reach",), recipe="humen")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="nothing: not a run folder"):
        collect(tmp_path / "b", TaskCollection(("fetch/reach",), 1, recipe="policy", policy="nothing"), 1)


def test_a_recipe_is_recorded_resumed_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sittings, and one of all: the same bytes, and the quality of both; an expert may not be mixed in."""
    collection = TaskCollection(("fetch/pick-and-place-air",), 6, recipe="human")
    made(tmp_path / "parts", names=collection.names, count=2, recipe="human")
    collect(tmp_path / "parts", collection, 1)
    collect(tmp_path / "whole", collection, 1)
    parts, whole = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "parts", tmp_path / "whole")
    )
    assert parts == whole and read_meta(tmp_path / "whole").settings == {"recipe": "human"}
    store = DiskStore.open(tmp_path / "whole")
    assert store.kinds == ("human",) and store.schema.truth["simulator"].shape == (53,)
    quality = json.loads((tmp_path / "whole" / "quality.json").read_text())["fetch.pick-and-place-air"]
    won = float(store.success[store.last_frames].mean())
    assert quality["episodes"] == 6 and quality["ended"]["success"] == won and quality["ended"]["lost"] == 0.0
    assert quality["steps"] == pytest.approx(store.episodes["n_frames"].mean() - 1)
    assert main(["data", "info", str(tmp_path / "whole")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"recipe human quality of fetch.pick-and-place-air: 6 episodes, {quality['steps']:.1f} steps" in shown
    with pytest.raises(DataError, match="was collected with"):
        collect(tmp_path / "whole", TaskCollection(collection.names, 6), 1)


def test_the_bare_expert_is_as_it_was_before_there_were_recipes(tmp_path: Path) -> None:
    """The loop of before, step by step: its random numbers, in their order."""
    store = made(tmp_path, names=("fetch/push",), count=2, noise=0.3, seed=1)
    assert read_meta(tmp_path).settings == {"noise": 0.3} and not store.schema.truth and store.kinds == ("expert",)
    env = make_task("fetch/push")
    expert = expert_of("fetch/push", env)
    for number in range(2):
        episode = store.episode(number)
        rng = np.random.default_rng([1_000_000 + number, 1])
        observation, info = env.reset(seed=1_000_000 + number)
        for action in episode.action:
            wanted = np.asarray(expert(observation, info), np.float32)
            if rng.random() < 0.3:
                wanted = rng.uniform(-1.0, 1.0, wanted.shape).astype(np.float32)
            np.testing.assert_array_equal(action, wanted)
            observation, _, _, _, info = env.step(action)


def test_a_policy_of_a_run_plays_with_actions_drawn_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of behaviour cloning: actions differ from its mean by its own spread, and equal seeds give equal ones."""
    monkeypatch.chdir(tmp_path)
    preset = find_preset("state")
    iql = replace(preset.iql, hidden=(8,), critic_hidden=8)
    small = replace(preset, iql=iql, pretrain=replace(preset.pretrain, steps=5, batch=16, warmup=1))
    assert main(["collect", "--tasks", "fetch/reach", "--episodes", "2", "--workers", "1"]) == 0
    with pretrain_phase(small, Path("data/state"), Path("runs"), seed=0, live=False, agent="bc") as run:
        flags = ["--tasks", "fetch/reach", "--episodes", "2", "--recipe", "policy", "--policy", str(run.path)]
        learner = load_agent(run, name="bc")
    for data in ("first", "second"):
        assert main(["collect", *flags, "--data", data, "--workers", "1"]) == 0
    first, second = DiskStore.open("first"), DiskStore.open("second")
    assert first.settings == {"recipe": "policy", "policy": str(run.path)} and first.kinds == ("policy",)
    starts = first.starts()
    actions = first.column("action")[starts]
    np.testing.assert_array_equal(actions, second.column("action")[starts])
    means = learner.act(first.observe(starts, sorted(learner.reads)))
    assert 0.01 < np.abs(actions - means).mean() < 1.0
    with pytest.raises(SettingsError, match=r"policy of .*: made for .* and actions \(4,\), which this task has not"):
        collect(tmp_path / "maze", TaskCollection(("maze/umaze",), 1, recipe="policy", policy=str(run.path)), 1)


def test_trials_start_within_demonstrations_where_practice_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them with a share of 1: their goals are what demonstrations ended with."""
    monkeypatch.chdir(tmp_path)
    demonstrations = made(Path("data"), names=("fetch/push",), count=2, recipe="human")
    state = find_preset("state")
    practised = replace(state.practice, trials=2, warmup_trials=5, demonstration_starts=1.0)
    iql = replace(state.iql, hidden=(8,), critic_hidden=8)
    small = replace(state, iql=iql, pretrain=replace(state.pretrain, steps=2, batch=8, warmup=1), practice=practised)
    with pytest.raises(SettingsError, match="starts from demonstrations: need prior data"):
        practise_task_phase(small, "fetch/push", Path("runs"), "bc", live=False)
    with pretrain_phase(small, Path("data"), Path("runs"), seed=0, live=False, agent="bc") as pretrained:
        run, _ = practise_task_phase(small, "fetch/push", Path("runs"), "bc", pretrained, live=False)
    run.close()
    trials = DiskStore.open(run.path / "trials")
    goals = trials.column("goal")[trials.last_frames]
    ends = demonstrations.column("achieved_goal")[demonstrations.last_frames]
    assert len(goals) == 2 and all(any(np.array_equal(goal, end) for end in ends) for goal in goals)
