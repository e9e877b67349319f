"""Towers of Fetch blocks: honest physics, both rules of success, and starts from a simulator's states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import pytest

from lotj.data.store import MemoryStore
from lotj.envs.base import GoalEnv
from lotj.envs.demonstrated import DemonstratedStarts
from lotj.envs.fetch import FetchEnv
from lotj.envs.maze import MazeEnv
from lotj.envs.registry import expert_of, make_task
from lotj.errors import DataError, SettingsError
from lotj.experience import Recorder, Task


@pytest.fixture(scope="module")
def env() -> Iterator[FetchEnv]:
    made = FetchEnv("stack-2")
    yield made
    made.close()


def play(env: Any, seed: int, steps: int = 1000) -> tuple[list[dict], list[dict], list[np.ndarray]]:
    """Observations, infos and simulator states of the expert's episode."""
    expert = expert_of("fetch/stack-2", env)
    observation, info = env.reset(seed=seed)
    seen, infos, states, ended = [observation], [info], [env.unwrapped.truth(info)["simulator"]], False
    while not ended and len(seen) <= steps:
        observation, _, terminated, truncated, info = env.step(expert(observation, info))
        ended = terminated or truncated
        seen.append(observation)
        infos.append(info)
        states.append(env.unwrapped.truth(info)["simulator"])
    return seen, infos, states


def put(env: GoalEnv, *places: tuple[float, float, float]) -> None:
    """Blocks at rest where they are told to be, and the arm away from them."""
    for number, place in enumerate(places):
        joint = env.inner.data.joint(f"object{number}:joint")
        joint.qpos[:], joint.qvel[:] = (*place, 1, 0, 0, 0), 0.0


def test_goals_and_starts(env: FetchEnv) -> None:
    """50 starts: middles at least 12 cm apart, on the table, whose top is at 0.4; the second goal 5 cm higher."""
    for seed in range(50):
        observation, info = env.reset(seed=seed)
        blocks, goals = observation["achieved_goal"].reshape(2, 3), observation["goal"].reshape(2, 3)
        assert np.linalg.norm((blocks[0] - blocks[1])[:2]) >= 0.12 and np.abs(blocks[:, 2] - 0.425).max() < 2e-3
        np.testing.assert_allclose(goals - blocks[0], [[0, 0, 0], [0, 0, 0.05]], atol=1e-6)
        assert observation["state"].shape == (40,) and not info["is_success"] and not info["released"]
        np.testing.assert_array_equal(observation["state"][10:].reshape(2, 15)[:, :3], blocks)
    assert FetchEnv("stack-3").max_steps == 100 and env.max_steps == 50


def test_rewards_are_of_all_blocks(env: FetchEnv) -> None:
    """One block 49 mm off and one 51: no; both 49 mm: yes. In any number of dimensions."""
    goal = np.zeros((2, 2, 6))
    achieved = goal.copy()
    achieved[..., 0], achieved[0, :, 4], achieved[1, :, 4] = 0.049, 0.051, -0.049
    assert env.compute_reward(achieved, goal).tolist() == [[0, 0], [1, 1]]


def test_the_expert_builds_lets_go_and_the_tower_stands(env: FetchEnv) -> None:
    """Both rules in 6 of 6 episodes; a block that is held near its place counts for the first rule, long before."""
    for seed in range(6):
        _, infos, _ = play(env, seed)
        first, released = ([i["is_success"] for i in infos].index(True), [i["released"] for i in infos].index(True))
        assert len(infos) == 51 and first < released - 3 and infos[-1]["is_success"] and infos[-1]["released"]


def test_random_actions_build_nothing(env: FetchEnv) -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        env.reset(seed=seed)
        assert not any(env.step(rng.uniform(-1, 1, 4))[4]["is_success"] for _ in range(50))


def test_nothing_but_friction_holds_a_block(env: FetchEnv) -> None:
    """The only weld is that of the arm to its target; with 1 in 200 of the friction no block leaves the table."""
    model = env.inner.model
    assert model.neq == 1 and {int(model.eq_obj1id[0]), int(model.eq_obj2id[0])} == {
        model.body(name).id for name in ("robot0:mocap", "robot0:gripper_link")
    }
    highest = {}
    friction = model.geom_friction.copy()
    for factor in (1.0, 0.005):
        model.geom_friction[:, 0] = friction[:, 0] * factor
        highest[factor] = max(o["achieved_goal"][5] for o in play(env, 3)[0])
    model.geom_friction[:] = friction
    assert highest[1.0] > 0.5 and highest[0.005] < 0.44


def test_a_tower_topples_when_it_is_hit_or_built_off_its_middle(env: FetchEnv) -> None:
    """A block of 5 cm with its middle 20 mm from that below stands, 30 mm from it falls."""
    for aside, stands in ((0.02, True), (0.03, False)):
        env.reset(seed=0)
        put(env, (1.3, 0.75, 0.425), (1.3, 0.75 + aside, 0.475))
        env.inner.data.mocap_pos[0, 2] += 0.1
        for _ in range(20):
            seen = env.step(np.array([0.0, 0.0, 0.0, 1.0]))[0]
        assert (seen["achieved_goal"][5] > 0.47) == stands
    put(env, (1.3, 0.75, 0.425), (1.3, 0.75, 0.475))
    env.inner.data.joint("object1:joint").qvel[1] = 1.5
    for _ in range(20):
        seen = env.step(np.array([0.0, 0.0, 0.0, 1.0]))[0]
    assert seen["achieved_goal"][5] < 0.47


def test_released_and_still_by_hand(env: FetchEnv) -> None:
    """The gripper 29 mm over the upper block's top does not count, 31 mm does; 11 mm/s does not, 9 mm/s does."""
    env.reset(seed=0)
    model, data = env.inner.model, env.inner.data
    grip = data.site("robot0:grip").xpos.copy()
    for gap, speed, released in ((0.029, 0.0, False), (0.031, 0.0, True), (0.031, 0.011, False), (0.031, 0.009, True)):
        top = grip - [0.0, 0.0, gap + 0.025]
        put(env, tuple(top - [0.0, 0.0, 0.05]), tuple(top))
        data.joint("object1:joint").qvel[2] = speed
        mujoco.mj_forward(model, data)
        assert env.facts(True) == {"released": released} and env.facts(False) == {"released": False}


def test_an_episode_goes_on_from_a_recorded_state(env: FetchEnv) -> None:
    """Put into step 25 of an expert's episode, with the block in the air, the same actions end within 5 mm of the same
    tower, and the goal is the one that is given."""
    seen, infos, states = play(env, 1)
    goal = seen[-1]["achieved_goal"]
    observation, info = env.reset(seed=9, options={"simulator": states[25], "goal": goal})
    np.testing.assert_array_equal(observation["goal"], goal)
    np.testing.assert_allclose(observation["achieved_goal"], seen[25]["achieved_goal"], atol=2e-3)
    assert observation["achieved_goal"][5] > 0.5 and not info["is_success"]
    np.testing.assert_allclose(env.truth(info)["simulator"], states[25])
    expert = expert_of("fetch/stack-2", env)
    for _ in range(25):
        observation, *_, info = env.step(expert(observation, info))
    assert info["released"]
    np.testing.assert_allclose(observation["achieved_goal"], seen[-1]["achieved_goal"], atol=5e-3)


def test_a_maze_starts_from_a_recorded_state_too() -> None:
    env = MazeEnv("umaze")
    env.reset(seed=0)
    for _ in range(30):
        *_, info = env.step(np.array([1.0, -0.5]))
    before = env.truth(info)["simulator"]
    ahead = [env.step(np.array([0.3, 1.0]))[0]["state"] for _ in range(20)]
    observation, _ = env.reset(seed=5, options={"simulator": before, "goal": (-1.0, -1.0)})
    assert observation["goal"].tolist() == [-1.0, -1.0]
    again = [env.step(np.array([0.3, 1.0]))[0]["state"] for _ in range(20)]
    np.testing.assert_allclose(again, ahead, atol=1e-6)


@pytest.mark.parametrize(
    "options,word",
    [
        ({"simulator": np.zeros(66)}, "goal"),
        ({"goal": np.zeros(6)}, "simulator"),
        ({"simulator": np.zeros(5), "goal": np.zeros(6)}, "simulator"),
        ({"simulator": np.full(66, np.nan), "goal": np.zeros(6)}, "simulator"),
        ({"simulator": np.zeros(66), "goal": np.zeros(3)}, "goal"),
    ],
)
def test_states_that_cannot_be_are_refused_in_one_line(env: FetchEnv, options: dict, word: str) -> None:
    with pytest.raises(SettingsError, match=f"^reset option {word}: must be finite .* simulator and goal go together$"):
        env.reset(options=options)


def demonstrations(env: FetchEnv) -> MemoryStore:
    store = MemoryStore([Task("stack", "fetch/stack-2")])
    for seed in (1, 2):
        seen, infos, states = play(env, seed, 30)
        recorder = Recorder(seen[0], None, {"simulator": states[0]})
        for observation, state in zip(seen[1:], states[1:], strict=True):
            recorder.add(np.zeros(4), 0.0, observation, None, {"simulator": state})
        store.append(recorder.finish(False, True, "stack", "human", seed))
    return store


def test_a_share_of_episodes_starts_within_demonstrations(env: FetchEnv) -> None:
    """60 % of 200, within 4 standard deviations (14 points), from all over both; equal seeds, equal starts."""
    store = demonstrations(env)
    wrapped = DemonstratedStarts(env, store, 0.6)
    ends = store.observe(store.last_frames, ["achieved_goal"])["achieved_goal"]
    frames, from_demonstrations = store.column("achieved_goal"), []
    for seed in range(200):
        observation, _ = wrapped.reset(seed=seed)
        for number, end in enumerate(ends):
            if np.array_equal(observation["goal"], end):
                own = frames[number * 31 : number * 31 + 31]
                nearest = int(np.linalg.norm(own - observation["achieved_goal"], axis=1).argmin())
                from_demonstrations.append((number, nearest))
    assert abs(len(from_demonstrations) / 200 - 0.6) < 0.14
    drawn = np.array(from_demonstrations)
    assert set(drawn[:, 0]) == {0, 1} and drawn[:, 1].max() > 25
    first = wrapped.reset(seed=4)[0]
    wrapped.reset(seed=5)
    again = wrapped.reset(seed=4)[0]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    untouched = DemonstratedStarts(env, store, 0.0).reset(seed=4)[0]
    assert all(np.array_equal(untouched[name], env.reset(seed=4)[0][name]) for name in untouched)


def test_demonstrations_without_states_and_tasks_without_a_simulator_are_refused(env: FetchEnv) -> None:
    store = demonstrations(env)
    bare = MemoryStore(store.tasks)
    recorder = Recorder(env.reset(seed=0)[0])
    recorder.add(np.zeros(4), 0.0, env.step(np.zeros(4))[0])
    bare.append(recorder.finish(False, True, "stack", "expert", 0))
    with pytest.raises(DataError, match="no true 'simulator'"):
        DemonstratedStarts(env, bare, 0.5)
    with pytest.raises(SettingsError, match="share of starts from demonstrations 1.5"):
        DemonstratedStarts(env, store, 1.5)
    with pytest.raises(SettingsError, match="state cannot be set"):
        DemonstratedStarts(make_task("maze/umaze-toy"), store, 0.5)


def test_goals_in_the_air_are_all_in_the_air() -> None:
    """5 to 45 cm over a block that lies on the table, at 0.425; of 300 the mean is 25 cm, within 4 x 0.67 cm."""
    env = FetchEnv("pick-and-place-air")
    heights = np.array([env.reset(seed=seed)[0]["goal"][2] for seed in range(300)]) - env.inner.height_offset
    assert heights.min() > 0.05 - 1e-6 and heights.max() < 0.45 + 1e-6 and abs(heights.mean() - 0.25) < 0.027
    stock = FetchEnv("pick-and-place")
    assert np.mean([stock.reset(seed=seed)[0]["goal"][2] < 0.43 for seed in range(100)]) > 0.3
