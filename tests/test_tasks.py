"""What every registered task must do, and the tasks and experts by numbers worked out by hand.

A new environment is tested by being registered; only how to lose its part, if it has one, is written here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lotj.envs
from lotj.cli import main
from lotj.controllers.fetch import PickAndPlace, Push, Reach, Slide
from lotj.controllers.waypoints import Waypoints
from lotj.envs.base import spec_of
from lotj.envs.fetch import MEMBERS, FetchEnv
from lotj.envs.maze import MazeEnv
from lotj.envs.registry import expert_of, families, find_task, make_task, task_names
from lotj.errors import DataError, LotjError, SettingsError
from lotj.runs.metrics import plain
from lotj.sim.arm import ARMS
from lotj.sim.connector import catalogue
from lotj.spaces import Array, Spec

OTHERS = [name for name in task_names() if not name.startswith("insertion/")]
GOAL_TASKS = [name for name in OTHERS if find_task(name)[0].expert]
"""Tasks with a success; those of others are in test_foreign.py."""
TABLES = [f"table/{task}" for task in ("pick-place", "play", "slide-then-open")]
TABLES += [name for name in GOAL_TASKS if name.startswith("table/") and name not in TABLES]
PARTS = {part.family: part.name for part in reversed(list(catalogue().values()))}  # the first of each family
INSERTIONS = [f"insertion/{PARTS[family]}" for family in sorted(PARTS)]
ROBOTS = sorted(name for name, arm in ARMS.items() if not arm.links and len(arm.cameras) == 2)
NAMES = ("state", "image", "goal", "achieved_goal")


def make(name: str, **options: Any) -> Any:
    """A registered task; connectors, one of each family, alternate between the robots, and their pictures are small."""
    if name in INSERTIONS:
        robot = ROBOTS[INSERTIONS.index(name) % len(ROBOTS)]
        options = {"robot": robot, "image_size": 32, "observation": ("image", "state"), **options}
    return make_task(name, **options)


def play(env: Any, seed: int, controller: Any = None) -> tuple[list[dict], list[float], bool, bool, dict]:
    """One episode, of random actions unless told otherwise: observations, rewards, terminated, truncated, last info."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    if controller is not None:
        controller.reset(seed)
    seen, rewards, terminated, truncated = [observation], [], False, False
    while not (terminated or truncated):
        action = rng.uniform(-1, 1, env.action_space.shape) if controller is None else controller(observation, info)
        observation, reward, terminated, truncated, info = env.step(action.astype(np.float32))
        seen.append(observation)
        rewards.append(float(reward))
    return seen, rewards, terminated, truncated, info


def until_success(name: str, env: Any) -> list[tuple[list[dict], list[float], bool, bool, dict]]:
    """Episodes of the expert up to one that pays before its last step or ends in success; `slide` succeeds rarely."""
    expert, episodes = expert_of(name, env), []
    for seed in range(30 if name == "fetch/slide" else 3):
        episodes.append(play(env, seed, expert))
        if sum(episodes[-1][1]) > 0:
            return episodes
    raise AssertionError(f"the expert never succeeds in {len(episodes)} episodes")


def same(first: list[dict], second: list[dict]) -> bool:
    """Bit for bit."""
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(first, second, strict=True)
    )


# ---- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*(Box observation space|alternative render modes).*:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        *(name for name in GOAL_TASKS if name not in TABLES[3:]),
        *(pytest.param(name, marks=pytest.mark.slow) for name in TABLES[3:]),
        *INSERTIONS[: len(ROBOTS)],
        *(pytest.param(name, marks=pytest.mark.slow) for name in INSERTIONS[len(ROBOTS) :]),
    ],
)
class TestContract:
    def test_spaces_are_named_arrays_and_hold_what_is_observed(self, name: str) -> None:
        env = make(name, max_steps=5)
        check_env(env, skip_render_check=False)
        spec = spec_of(env)
        assert set(spec.observation) <= set(NAMES) and spec.max_steps == 5 and spec.rate_hz > 0
        goal = spec.observation.get("goal")
        pictured = goal is not None and goal == spec.observation.get("image")  # a picture is held against "image"
        assert (goal is not None) == ("achieved_goal" in spec.observation or pictured)
        for observation in play(env, seed=1)[0]:
            assert observation.keys() == spec.observation.keys()
            for name, array in spec.observation.items():
                seen = observation[name]
                assert seen.shape == array.shape and seen.dtype == array.dtype
                assert np.all((seen >= array.low) & (seen <= array.high))
        picture = env.render()
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 1
        env.close()

    def test_images_have_an_axis_of_cameras(self, name: str) -> None:
        env = make(name, observation="image")
        image = spec_of(env).observation["image"]
        assert len(image.shape) == 4 and image == Array((*image.shape[:3], 3), "uint8", 0, 255)
        assert "state" not in env.observation_space.spaces
        env.close()

    def test_equal_seeds_are_equal_whatever_came_before(self, name: str) -> None:
        first, second = (make(name, observation="state", max_steps=8) for _ in range(2))
        episode = play(first, seed=7)
        assert not same(episode[0], play(first, seed=8)[0])
        again, elsewhere = play(first, seed=7), play(second, seed=7)
        assert same(episode[0], again[0]) and same(episode[0], elsewhere[0]) and episode[1] == elsewhere[1]
        first.close()
        second.close()

    def test_the_time_limit_truncates_and_does_not_terminate(self, name: str) -> None:
        env = make(name, observation="state", max_steps=3)
        episodes = [play(env, seed) for seed in range(4)]
        assert all(terminated != truncated for _, _, terminated, truncated, _ in episodes)
        cut = [(len(rewards), sum(rewards)) for _, rewards, _, truncated, _ in episodes if truncated]
        assert cut and set(cut) == {(3, 0.0)}
        env.close()

    def test_a_success_terminates_and_pays_once(self, name: str) -> None:
        env = make(name, observation="state", end_on_success=True)
        for _, rewards, terminated, truncated, info in until_success(name, env):
            assert isinstance(info["is_success"], bool) and not (terminated and truncated)
            assert rewards == [0.0] * (len(rewards) - 1) + [float(info["is_success"])]
            assert terminated == (info["is_success"] or info["lost"])
        env.close()

    def test_a_success_on_the_last_step_is_no_truncation(self, name: str) -> None:
        env = make(name, observation="state", end_on_success=True)
        episodes = until_success(name, env)
        env.max_steps = len(episodes[-1][1])
        _, rewards, terminated, truncated, _ = play(env, len(episodes) - 1, expert_of(name, env))
        assert (len(rewards), terminated, truncated) == (env.max_steps, True, False)
        env.close()

    def test_an_episode_may_go_on_after_success_which_still_pays_once(self, name: str) -> None:
        env = make(name, observation="state", end_on_success=False)
        for _, rewards, terminated, _, info in until_success(name, env):
            assert sum(rewards) in (0.0, 1.0) and set(rewards) <= {0.0, 1.0}
            assert terminated == info["lost"] and (terminated or len(rewards) == env.max_steps)
        env.close()

    def test_a_lost_part_terminates_and_pays_nothing(self, name: str) -> None:
        lose = LOSE.get(name, LOSE.get(name.partition("/")[0]))
        if lose is None:
            pytest.skip("nothing to lose")
        env = make(name, observation="state")
        for seed in range(5):  # not one in which the goal is where the part starts
            if not env.reset(seed=seed)[1]["is_success"]:
                break
        steps = lose(env)
        assert all(step[2:4] == (False, False) for step in steps[:-1])
        _, reward, terminated, truncated, info = steps[-1]
        assert info["lost"] and terminated and not truncated and reward == 0.0 and not info["is_success"]
        env.close()

    def test_bad_actions_are_refused_in_one_line(self, name: str) -> None:
        env = make(name, observation="state")
        with pytest.raises(gym.error.ResetNeeded):
            env.step(np.zeros(env.action_space.shape))
        env.reset(seed=0)
        for action in (np.full(env.action_space.shape, np.nan), np.zeros(17)):
            with pytest.raises(SettingsError) as caught:
                env.step(action)
            assert "finite" in str(caught.value) and "\n" not in str(caught.value)
        env.close()

    def test_unknown_options_of_a_reset_are_refused_in_one_line_and_change_nothing(self, name: str) -> None:
        env = make(name, observation="state")

        def few() -> list[dict]:  # a task may have one start: then what follows differs
            return [env.reset()[0], *(env.step(np.full(env.action_space.shape, 0.5))[0] for _ in range(8))]

        env.reset(seed=3)
        first, following = few(), few()
        env.reset(seed=3)
        few()
        unknown: list[Any] = [{"gaol_cell": (1, 1)}, {3: 4}, [("goal_cell", (1, 1))], "start", 0]
        for options in unknown:
            with pytest.raises(
                SettingsError, match="^unknown reset option .*: .*(goal_cell|offset|simulator|there are none here).*$"
            ):
                env.reset(options=options)
        again = few()
        assert not same(first, following) and same(following, again)
        env.close()


def push_with_a_weak_grip(env: Any) -> list[tuple]:
    env.bench.model.dof_frictionloss[env.bench.model.joint("slip").dofadr[0]] = 5.0  # 5 N against 30 N
    env.reset(seed=0, options={"offset": (0.008, 0.004), "height": 0.004})
    steps = []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(np.array([0.0, 0.0, -1.0])))
    return steps


def drop_from_the_table(env: Any) -> list[tuple]:
    env.inner.data.joint("object0:joint").qpos[:3] = (1.3, 1.4, 0.3)  # the table's top is at 0.4, its edge at y = 1.1
    return [env.step(np.zeros(4))]


def topple_a_block(env: Any) -> list[tuple]:
    env.data.joint("left").qvel[4] = -4.0  # about y, outwards; from 2.9 rad/s on a block of 3 x 10 cm goes over
    steps = []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(np.zeros(3)))
    return steps


LOSE: Mapping[str, Callable[[Any], list[tuple]]] = {
    "insertion": push_with_a_weak_grip,
    "force-insertion": push_with_a_weak_grip,
    **{f"fetch/{task}": drop_from_the_table for task in MEMBERS if task != "reach"},
    "blocks": topple_a_block,
}
"""Task or family -> the steps in which its part is lost."""


# ---- names ----------------------------------------------------------------------------------------------------------


def test_names_lead_to_environments() -> None:
    assert {"fetch/reach", "fetch/push", "fetch/slide", "fetch/pick-and-place"} < set(task_names())
    assert {"maze/umaze", "maze/medium", "maze/large", "insertion/usb-b"} < set(task_names())
    env = make_task("insertion/usb-b", robot="trio", domain_seed=3, scenario="near")
    assert env.task.name == "usb-b.trio.3" and env.scenario == "near"  # type: ignore[attr-defined]
    env.close()


@pytest.mark.parametrize(
    "name,options,words",
    [
        ("fetch/puhs", {}, ("'fetch/puhs'", "did you mean 'fetch/push'?", "lotj tasks")),
        ("fetsh/reach", {}, ("did you mean 'fetch/reach'?",)),
        ("fetch", {}, ("unknown task 'fetch'",)),
        ("fetch/", {}, ("unknown task 'fetch/'",)),
        ("insertion/", {}, ("unknown task 'insertion/'",)),
        ("insertion/usb-bb", {}, ("'usb-bb'", "usb-b")),
        ("insertion/mine.toml", {}, ("mine.toml", "no such file")),
        ("fetch/push", {"max_step": 9}, ("fetch/push 'max_step'", "did you mean 'max_steps'?", "end_on_success")),
        ("fetch/push", {"robot": "duo"}, ("unknown option of fetch/push 'robot'",)),
        ("fetch/push", {"observation": "sound"}, ("'sound'", "image, state")),
        ("fetch/push", {"observation": ()}, ("()", "some of image, state")),
        ("maze/umaze", {"image_size": 8}, ("8", "16 to 1024")),
        ("maze/umaze", {"max_steps": "9"}, ("'9'", "whole number")),
        ("maze/umaze", {"max_steps": 0}, ("0", "at least 1")),
    ],
)
def test_bad_names_and_options_are_named_in_one_line(name: str, options: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(LotjError) as caught:
        make_task(name, **options)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("family", [family for family in families() if family != "gym"])
def test_an_option_is_refused_in_one_line_or_means_what_it_says(family: str) -> None:
    """None has all of these values; what is True or False is not "no", which Python takes for true."""
    of = families()[family]
    name = f"{family}/{next(iter(of.members), 'usb-b')}"
    for option, default in (of.options() | {"residual": None, "disturbance": ""}).items():
        for value in ("no", [], -1.5):
            with pytest.raises(LotjError) as caught:
                make_task(name, **{option: value}).close()
                pytest.fail(f"{option} = {value!r} instead of {default!r} is taken")
            assert "\n" not in str(caught.value)


def test_a_module_with_a_family_is_registered_by_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(lotj.envs.__path__[0], "maze.py").read_text().replace('name="maze"', 'name="labyrinth"')
    (tmp_path / "labyrinth.py").write_text(text)
    monkeypatch.setattr(lotj.envs, "__path__", [*lotj.envs.__path__, str(tmp_path)])
    families.cache_clear()
    try:
        env = make_task("labyrinth/umaze")
        assert type(expert_of("labyrinth/umaze", env)) is Waypoints and "labyrinth/large" in task_names()
    finally:
        families.cache_clear()
        sys.modules.pop("lotj.envs.labyrinth", None)
        del lotj.envs.labyrinth  # type: ignore[attr-defined]


def test_tasks_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in GOAL_TASKS if not find_task(name)[0].others)
    assert "\ninsertion/NAME or FILE.toml" in listed and "force-insertion/NAME or FILE.toml" in listed
    [push] = [line.split() for line in listed.splitlines() if line.startswith("fetch/push")]
    assert " ".join(push) == "fetch/push achieved_goal 3, goal 3, state 25 4 50 25 Hz Push"
    assert main(["tasks", "show", "maze/large"]) == 0
    shown = capsys.readouterr().out
    assert "800 steps at 100 Hz" in shown and "4 float32, unbounded" in shown and "end_on_success  True" in shown
    assert main(["tasks", "show", "maze/larg"]) == 2
    assert capsys.readouterr().err == "unknown task 'maze/larg': did you mean 'maze/large'? `lotj tasks` lists all\n"


# ---- what an environment shows and takes ----------------------------------------------------------------------------


def test_a_spec_from_spaces_by_hand_and_through_a_file(tmp_path: Path) -> None:
    state = gym.spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, 2], np.float32))
    observation = gym.spaces.Dict({"state": state, "image": gym.spaces.Box(0, 255, (2, 8, 8, 3), np.uint8)})
    spec = Spec.from_spaces(observation, gym.spaces.Box(-1, 1, (3,)), 10, 20)
    arrays = {"state": Array((2,), "float32", -np.inf, 2.0), "image": Array((2, 8, 8, 3), "uint8", 0.0, 255.0)}
    assert spec == Spec(arrays, (3,), 10.0, 20)
    written = plain(asdict(spec))
    text = json.dumps(written, allow_nan=False)
    assert '"low": null' in text and Spec.from_json(json.loads(text)) == spec == Spec.from_json(written)


def test_other_spaces_and_other_files_are_refused() -> None:
    box, action = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (3,))
    with pytest.raises(SettingsError, match="Dict of Box"):
        Spec.from_spaces(box, action, 10, 20)
    with pytest.raises(SettingsError, match="Dict of Box"):
        Spec.from_spaces(gym.spaces.Dict({"choice": gym.spaces.Discrete(3)}), action, 10, 20)
    for bad in (gym.spaces.Discrete(4), gym.spaces.Box(-2, 2, (3,))):
        with pytest.raises(SettingsError, match="RescaleAction"):
            Spec.from_spaces(gym.spaces.Dict({"state": box}), bad, 10, 20)
    good = plain(asdict(Spec.from_spaces(gym.spaces.Dict({"state": box}), action, 10, 20)))
    for change in ({"observation": 3}, {"action": None}, {"observation": {"state": {"shape": [3]}}}):
        with pytest.raises(DataError):
            Spec.from_json({**good, **change})
    with pytest.raises(DataError):
        Spec.from_json({})


# ---- gymnasium-robotics ---------------------------------------------------------------------------------------------


def test_rewards_for_hindsight_by_hand() -> None:
    """A Fetch goal is reached within 50 mm: 49 mm beside it, 30 and 40 mm along two axes (50 mm) rounded up, 51 mm."""
    env = FetchEnv("push")
    offsets = np.array([[0.049, 0, 0], [0.0301, 0.0401, 0], [0, 0, 0.051]])
    goal = np.array([1.3, 0.7, 0.4])
    rewards = env.compute_reward(goal + offsets, np.broadcast_to(goal, (3, 3)))
    assert rewards.tolist() == [1.0, 0.0, 0.0] and rewards.dtype == np.float32
    assert env.compute_reward(np.zeros((4, 7, 3)), np.zeros((4, 7, 3)), {}).shape == (4, 7)


@pytest.mark.parametrize("name", ["fetch/push", "maze/umaze"])
def test_a_paid_reward_is_that_of_hindsight_until_the_goal_is_reached(name: str) -> None:
    env = make(name, end_on_success=False)
    seen, rewards, *_ = play(env, 2, expert_of(name, env))
    computed = [float(env.compute_reward(o["achieved_goal"], o["goal"])) for o in seen[1:]]
    first = computed.index(1.0)
    assert sum(computed) > 1 and rewards == [float(step == first) for step in range(len(computed))]


@pytest.mark.parametrize("name", ["fetch/pick-and-place", "maze/medium"])
def test_pictures_change_nothing(name: str) -> None:
    blind, seeing = make(name, max_steps=12), make(name, max_steps=12, observation=("image", "state"))
    episode, filmed = play(blind, 5)[0], play(seeing, 5)[0]
    assert same(episode, [{key: o[key] for key in ("state", "goal", "achieved_goal")} for o in filmed])
    seeing.close()


def test_a_picture_shows_a_fetch_goal_where_it_is() -> None:
    """The goal is a red ball; 0.2 m higher it is drawn higher."""

    def row_of_red() -> float:
        red, green, blue = np.moveaxis(env.render().astype(int), -1, 0)
        return float(np.nonzero((red > 100) & (green < 40) & (blue < 40))[0].mean())

    env = FetchEnv("pick-and-place")
    env.reset(seed=5)
    low = row_of_red()
    env.inner.goal[2] += 0.2
    assert low - row_of_red() > 10
    env.close()


def test_a_maze_starts_where_it_is_told_to() -> None:
    """5 x 5 cells of 1 m, the middle one at the origin: cell (1, 1) is at (-1, 1), (3, 1) at (-1, -1)."""
    env = MazeEnv("umaze")
    for goal in ([3, 1], np.array([3, 1])):
        observation, _ = env.reset(seed=0, options={"reset_cell": (1, 1), "goal_cell": goal})
        assert np.abs(observation["achieved_goal"] - [-1, 1]).max() <= 0.25
        assert np.abs(observation["goal"] - [-1, -1]).max() <= 0.25


@pytest.mark.parametrize("option", ["goal_cell", "reset_cell"])
def test_a_cell_that_is_not_free_is_refused_in_one_line(option: str) -> None:
    cells: list[Any] = [(99, 1), (-1, 1), (0, 0), (2, 1), (1,), (1, 1, 1), (1.5, 1), 3, None, "x", [[1], 1], "11"]
    with closing(MazeEnv()) as env:
        for cell in cells:
            with pytest.raises(SettingsError, match=rf"^reset option {option} = .*: must be \(row, column\) of a free"):
                env.reset(options={option: cell})


def test_mujoco_still_needs_plain_numbers_for_joints() -> None:
    """When this fails, MuJoCo compares its names with NumPy's numbers again: take the detour out of `envs/fetch.py`."""
    assert mujoco.mjtJoint.mjJNT_HINGE != np.int32(3)
    FetchEnv("reach")
    assert mujoco.mjtJoint.mjJNT_HINGE != np.int32(3)  # and nobody else's MuJoCo was changed


def test_making_tasks_says_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    names = ["fetch/reach", "maze/umaze", "locomotion/half-cheetah", "drawer/open"]
    code = f"from lotj.envs.registry import make_task; [make_task(name) for name in {names}]"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    here = {"cwd": tmp_path, "env": environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())


# ---- experts --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,least,most",
    [
        ("fetch/reach", 0.95, 1.0),
        ("fetch/push", 0.95, 1.0),
        ("fetch/pick-and-place", 0.95, 1.0),
        ("fetch/slide", 0.1, 0.5),  # poor on purpose
        ("fetch/pick-and-place-air", 0.95, 1.0),
        ("fetch/stack-2", 0.95, 1.0),
        ("fetch/stack-3", 0.9, 1.0),
        ("maze/umaze", 0.95, 1.0),
        ("maze/medium", 0.95, 1.0),
        ("maze/large", 0.95, 1.0),
        ("maze/umaze-toy", 0.95, 1.0),
    ],
)
def test_experts_succeed_as_often_as_they_say(name: str, least: float, most: float) -> None:
    env = make_task(name)
    expert = expert_of(name, env)
    share = np.mean([play(env, seed, expert)[4]["is_success"] for seed in range(200)])
    assert least <= share <= most, f"{share:.3f}"


def fetch_state(gripper: tuple, thing: tuple = (0.0, 0.0, 0.0), fingers: float = 0.1) -> np.ndarray:
    """ "state" of a Fetch task at rest."""
    state = np.zeros(25)
    state[:3], state[3:6], state[6:9], state[9:11] = gripper, thing, np.subtract(thing, gripper), fingers / 2
    return state


def act(expert: Any, state: np.ndarray, goal: tuple) -> list[float]:
    return expert({"state": state, "goal": np.array(goal)}, {}).round(6).tolist()


def test_a_reach_goes_half_of_the_error_in_a_step() -> None:
    """40 mm in x are 0.8 of the 5 cm of a full action: half is 0.4; 300 mm in z are more than an action can do."""
    assert act(Reach(), fetch_state((1.0, 0.5, 0.5)), (1.04, 0.5, 0.2)) == [0.4, 0.0, -1.0, -1.0]


def test_a_block_is_approached_from_above_taken_and_carried() -> None:
    expert, block, goal = PickAndPlace(), (1.3, 0.7, 0.42), (1.3, 0.75, 0.5)
    assert act(expert, fetch_state((1.3, 0.65, 0.48), block), goal) == [0.0, 0.5, 0.2, 1.0]  # to 80 mm above it, open
    assert act(expert, fetch_state((1.3, 0.705, 0.45), block), goal) == [0.0, -0.05, -0.3, 1.0]  # down
    assert act(expert, fetch_state((1.3, 0.7, 0.425), block), goal) == [0.0, 0.0, -0.05, -1.0]  # between: close
    assert act(expert, fetch_state((1.3, 0.7, 0.425), block, 0.05), goal) == [0.0, 0.5, 0.8, -1.0]  # held: to the goal


def test_a_block_is_pushed_from_behind_and_slower_near_the_goal() -> None:
    expert, block = Push(), (1.3, 0.7, 0.42)
    behind = fetch_state((1.3, 0.64, 0.42), block)
    assert act(expert, behind, (1.3, 0.95, 0.42)) == [0.0, 1.0, 0.0, -1.0]
    assert act(expert, behind, (1.3, 0.8, 0.42)) == [0.0, 0.6, 0.0, -1.0]  # 6 x 100 mm
    # From the far side: over the block at 80 mm to 70 mm behind it, 0.13 m away in y.
    assert act(expert, fetch_state((1.3, 0.76, 0.42), block), (1.3, 0.8, 0.42)) == [0.0, -1.0, 0.8, -1.0]


def test_a_shove_is_as_the_root_of_the_distance_and_lets_go() -> None:
    """A goal 250 mm ahead: 1.2 x 0.5 = 0.6; once the puck has gone 61 mm the gripper rises."""
    expert, puck, goal = Slide(), (1.3, 0.7, 0.42), (1.55, 0.7, 0.42)
    expert.reset(0)
    assert act(expert, fetch_state((1.2, 0.7, 0.44), puck), goal) == [0.0, 0.0, -0.2, -1.0]  # down, 100 mm behind
    assert act(expert, fetch_state((1.2, 0.7, 0.43), puck), goal) == [0.6, 0.0, 0.0, -1.0]
    assert act(expert, fetch_state((1.3, 0.7, 0.43), (1.361, 0.7, 0.42)), goal) == [0.0, 0.0, 0.5, -1.0]


def test_a_way_through_a_maze_by_hand() -> None:
    """3 free cells in an L: (1, 1), (2, 1), (2, 2). 4 x 4 cells: (1, 1) has its middle at (-0.5, 0.5)."""
    walls = np.ones((4, 4), bool)
    walls[1, 1] = walls[2, 1] = walls[2, 2] = False
    expert = Waypoints(walls)
    assert expert.middle((1, 1)).tolist() == [-0.5, 0.5] and expert.cell(np.array([-0.9, 0.1])) == (1, 1)

    def force(position: tuple, velocity: tuple, goal: tuple) -> list[float]:
        state = np.array([*position, *velocity])
        return expert({"state": state, "goal": np.array(goal)}, {}).round(6).tolist()

    # From (1, 1) down to the middle of (2, 1) at (-0.5, -0.5): 10 x -0.06 and clipped, damped by 0.2.
    assert force((-0.44, 0.5), (0.2, 0.0), (0.5, -0.45)) == [-0.8, -1.0]
    assert force((0.45, -0.5), (0.0, 0.0), (0.5, -0.45)) == [0.5, 0.5]  # in the goal's cell: to the goal itself
    assert force((0.5, -0.5), (0.0, 0.0), (-0.5, 0.5)) == [-1.0, 0.0]  # another goal, the other way


# ---- wrappers -------------------------------------------------------------------------------------------------------


def test_wrapped_tasks_keep_their_expert() -> None:
    env = gym.wrappers.TimeLimit(make_task("fetch/reach"), 5)
    assert isinstance(expert_of("fetch/reach", env), Reach) and find_task("fetch/reach")[0].name == "fetch"
    env.close()


def test_an_action_that_is_repeated_is_held_and_ends_at_the_goal() -> None:
    """Five steps of 10 ms are one of 50 ms, to the last digit; and on the way the goal is not passed over."""
    with closing(make_task("maze/medium")) as once, closing(make_task("maze/medium,repeat=5")) as held:
        assert (spec_of(held).rate_hz, spec_of(held).max_steps) == (20.0, 120)
        for env in (once, held):
            env.reset(seed=0)
        push = np.array([0.3, -0.2], np.float32)
        single = [once.step(push)[0]["state"] for _ in range(5)]
        np.testing.assert_array_equal(held.step(push)[0]["state"], single[-1])
        cells = {"reset_cell": (1, 1), "goal_cell": (1, 2)}
        seen, _ = held.reset(seed=1, options=cells)
        steps, terminated = 0, False
        while not terminated:
            seen, _, terminated, truncated, _ = held.step(np.array([1.0, 0.0], np.float32))
            steps += 1
            assert not truncated
        assert np.linalg.norm(seen["achieved_goal"] - seen["goal"]) > 0.4  # as soon as it was within 0.45 m
    with pytest.raises(SettingsError, match="repeat = 0: must be a whole number of at least 1"):
        make_task("maze/medium,repeat=0")


@pytest.mark.parametrize(("name", "repeat"), [("medium", 1), ("large", 1), ("medium", 5), ("large", 5)])
def test_no_push_straight_for_the_goal_gets_through_a_whole_maze(name: str, repeat: int) -> None:
    with closing(make_task(f"maze/{name},whole_route=True,max_steps={400 // repeat},repeat={repeat}")) as env:
        for seed in range(5):
            (seen, _), rng = env.reset(seed=seed), np.random.default_rng(seed)
            over = False
            while not over:
                push = 3.0 * (seen["goal"] - seen["achieved_goal"]) + 0.7 * rng.normal(size=2)
                seen, _, terminated, truncated, info = env.step(push.clip(-1.0, 1.0).astype(np.float32))
                over = terminated or truncated
            assert not info["is_success"]
