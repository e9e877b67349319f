"""Environments of Gymnasium by their ids, locomotion, options behind a task's name, and `lotj train` on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lotj.cli import main
from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, make_task
from lotj.errors import SettingsError


class Slope(gym.Env[np.ndarray, np.ndarray]):
    """A position is moved by twice the action, from -1 to 3; reaching 2 ends the episode; it earns where it is."""

    observation_space = gym.spaces.Box(-5.0, 5.0, (1, 1))
    action_space = gym.spaces.Box(-1.0, 3.0, (1,))
    at = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0.0
        return np.array([[self.at]]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.at += 0.5 * float(action[0])
        return np.array([[self.at]]), self.at, self.at >= 2.0, False, {"success": self.at >= 2.0}


@pytest.fixture(autouse=True, scope="module")
def slope() -> None:
    gym.register("lotj-test/Slope-v0", lambda **_: Slope(), max_episode_steps=7)
    gym.register("lotj-test/Steps-v0", lambda **_: _with(gym.spaces.Discrete(3)))
    gym.register("lotj-test/Level-v0", lambda level, **_: Slope())
    gym.register("lotj-test/Nothing-v0", lambda **_: _seeing(gym.spaces.Box(-1.0, 1.0, (0,))))
    gym.register("lotj-test/Boundless-v0", lambda **_: _with(gym.spaces.Box(-np.inf, np.inf, (1,))))


class Doubled(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> float:
        return 2.0 * float(reward)


class Broken(Slope):
    """Its steps give something else, or raise."""

    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def step(self, action: np.ndarray) -> Any:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


def _with(space: gym.Space) -> Slope:
    made = Slope()
    made.action_space = space  # type: ignore[assignment]
    return made


def _seeing(space: gym.Space) -> Slope:
    made = Slope()
    made.observation_space = space  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("name", ["gym:lotj-test/Slope-v0", "gym/lotj-test/Slope-v0"])
def test_an_environment_by_its_id(name: str) -> None:
    """-1 is theirs, -1, and 1 is 3; 0 is the middle, 1: half of it a step. Four steps of 0 come to 2."""
    env = make_task(name)
    assert spec_of(env).max_steps == 7 and env.observation_space["state"].shape == (1,)  # type: ignore[index]
    seen, info = env.reset(seed=0)
    assert seen["state"].tolist() == [0.0] and info == {"is_success": False, "lost": False}
    for step in range(1, 5):
        seen, reward, terminated, truncated, info = env.step(np.zeros(1, np.float32))
        assert seen["state"].tolist() == [0.5 * step] and reward == 0.5 * step
        assert (terminated, truncated, info["is_success"]) == (step == 4, False, step == 4)
    env.reset()
    ends = [env.step(np.array([-1.0], np.float32))[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]


@pytest.mark.filterwarnings("ignore:.*(Overriding environment|Using the latest versioned).*:UserWarning")
def test_a_module_registers_it_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``module:ID`` imports the module, as `gymnasium.make` does; an id without its version is the latest."""
    (tmp_path / "lotj_own_slope.py").write_text(
        "import gymnasium\nfrom test_foreign import Slope\n"
        "gymnasium.register('lotj-own/Slope-v3', lambda **_: Slope(), max_episode_steps=4)\n"
    )
    for folder in (tmp_path, Path(__file__).parent):
        monkeypatch.syspath_prepend(folder)
    for name in ("gym:lotj_own_slope:lotj-own/Slope-v3", "gym/lotj-own/Slope"):
        env = make_task(name)
        assert spec_of(env).max_steps == 4
        env.reset(seed=0)
        assert [env.step(np.array([-1.0], np.float32))[3] for _ in range(4)] == [False] * 3 + [True]
    assert spec_of(make_task("gym:lotj_own_slope:lotj-own/Slope-v3", max_steps=9)).max_steps == 9


def test_wrappers_that_it_is_registered_with_stay() -> None:
    """Twice 0.5, the place after a step of 0 (1 of theirs, half of it)."""
    gym.register("lotj-test/Doubled-v0", lambda **_: Doubled(Slope()))
    env = make_task("gym:lotj-test/Doubled-v0")
    env.reset(seed=0)
    assert env.step(np.zeros(1, np.float32))[1] == 1.0


@pytest.mark.filterwarnings("ignore:.*(Overriding environment|Using the latest versioned).*:UserWarning")
@pytest.mark.parametrize(
    ("space", "action", "theirs"),
    [
        (gym.spaces.Box(-1.0, 3.0, (2, 2)), [-1.0, 0.0, 0.5, 1.0], [[-1.0, 1.0], [2.0, 3.0]]),
        (gym.spaces.Box(0.0, 4.0, ()), [0.5], 3.0),
        (gym.spaces.Box(0, 5, (2,), np.int64), [0.1, 1.0], [3, 5]),  # 2.75 and 5
    ],
)
def test_actions_of_any_shape(space: gym.Space, action: list[float], theirs: Any) -> None:
    """Flattened for agents; of whole numbers the nearest is meant."""
    done: list[Any] = []

    class Seen(Slope):
        action_space = space  # type: ignore[assignment]

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            done.append(action.tolist())
            return np.zeros((1, 1)), 0.0, False, False, {"success": np.array([True, False])}

    gym.register("lotj-test/Seen-v0", lambda **_: Seen())
    env = make_task("gym:lotj-test/Seen-v0")
    env.reset(seed=0)
    assert not env.step(np.array(action, np.float32))[4]["is_success"] and done == [theirs]  # not all of it is reached


@pytest.mark.filterwarnings("ignore:.*(Overriding environment|Using the latest versioned).*:UserWarning")
@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (ValueError("no\nway"), "ValueError: no way"),
        ((np.zeros((1, 1)), 0.0, False, {}), "not enough values to unpack"),  # of gym, before Gymnasium
        ((np.zeros((1, 1)), None, False, False, {}), "TypeError"),
        ((np.zeros((1, 1)), np.nan, False, False, {}), "a reward of nan, which must be finite"),
        ((np.zeros((1, 2)), 0.0, False, False, {}), "must be finite numbers of Box(-5.0, 5.0, (1, 1)"),
        ((np.full((1, 1), np.inf), 0.0, False, False, {}), "must be finite numbers of Box"),
    ],
)
def test_a_fault_of_theirs_is_told_as_theirs(gives: Any, words: str) -> None:
    gym.register("lotj-test/Broken-v0", lambda **_: Broken(gives))
    env = make_task("gym:lotj-test/Broken-v0")
    env.reset(seed=0)
    with pytest.raises(SettingsError) as caught:
        env.step(np.zeros(1, np.float32))
    told = str(caught.value)
    assert told.startswith("gym/lotj-test/Broken-v0: its step() fails (") and words in told and "\n" not in told
    assert "mend the environment" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gym:lotj-test/Level-v0", ("to make it fails", "'level'")),
        ("gym:lotj-test/Nothing-v0", ("observations Box", "must be arrays")),
        ("gym:a:b:c", ("to make it fails", "too many values")),
        ("gym:no_such_module:X-v0", ("no such environment", "No module named 'no_such_module'")),
        ("gym:lotj-test/Steps-v0", ("Discrete(3)", "Box with bounds")),
        ("gym:lotj-test/Boundless-v0", ("Box with bounds",)),
        ("gym:Nowhere-v0", ("gym/Nowhere-v0", "no such environment")),
        ("gym:lotj-test/Slope-v0,max_steps=0", ("max_steps = 0", "at least 1")),
        ("gym:lotj-test/Slope-v0,speed=1", ("'speed'", "max_steps")),
        ("gym:", ("unknown task 'gym:'",)),
    ],
)
def test_what_cannot_be_is_told_in_one_line(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        make_task(name)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


def test_locomotion_earns_and_falls() -> None:
    """A hopper that does nothing falls before its time is up, and a cheetah never does; neither succeeds."""
    for name, falls in (("locomotion/hopper", True), ("locomotion/half-cheetah,max_steps=200", False)):
        env = make_task(name)
        env.reset(seed=0)
        steps, earned, terminated, truncated = 0, 0.0, False, False
        while not (terminated or truncated):
            _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape or (), np.float32))
            steps, earned = steps + 1, earned + float(reward)
        assert (terminated, truncated) == (falls, not falls) and not info["is_success"] and earned != 0
        with pytest.raises(SettingsError, match="no scripted expert"):
            expert_of(name, env)
        env.close()


@pytest.mark.filterwarnings("ignore:.*(Box observation space|alternative render modes).*:UserWarning")
@pytest.mark.parametrize("name", ["locomotion/half-cheetah", "locomotion/hopper", "gym:lotj-test/Slope-v0"])
def test_the_contract_of_all_environments(name: str) -> None:
    """Spaces, equal seeds, and a time limit that truncates and does not terminate."""
    env = make_task(name, max_steps=3)
    check_env(env, skip_render_check=True)
    action = np.full(env.action_space.shape or (), -0.1, np.float32)

    def play(seed: int) -> list[tuple[list[float], float, bool, bool]]:
        played = [(env.reset(seed=seed)[0]["state"].tolist(), 0.0, False, False)]
        for _ in range(3):
            seen, reward, terminated, truncated, _ = env.step(action)
            played.append((seen["state"].tolist(), float(reward), terminated, truncated))
        return played

    one = play(1)
    assert play(1) == one and [step[2:] for step in one] == [(False, False)] * 3 + [(False, True)]
    assert name.startswith("gym") or play(2) != one
    for bad in (np.full(env.action_space.shape or (), np.nan), np.zeros(17)):
        with pytest.raises(SettingsError, match="finite"):
            env.step(bad)
    with pytest.raises(SettingsError, match="unknown reset option 'height'"):
        env.reset(options={"height": 1.0})
    env.close()


def test_any_agent_is_trained_on_any_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without demonstrations, on an environment of Gymnasium's; with, on a goal; and what cannot be, in one line."""
    common = ["--runs", str(tmp_path), "--evaluation-trials", "2", "--trials", "2", "--warmup-trials", "1"]
    task = ["train", "--task", "gym:lotj-test/Slope-v0"]
    assert main([*task, "--agent", "sac", "--set", "critics=3", *common]) == 0
    [run] = (tmp_path / "train-gym.lotj-test.Slope-v0-sac-0").glob("practice-*")
    config = json.loads((run / "config.json").read_text())
    assert config["agent_settings"] == {"critics": 3} and (run / "report.html").exists()
    assert "true success of 2 trials" in capsys.readouterr().out
    assert main([*task, "--agent", "sac", *common]) == 2
    assert "give --resume" in capsys.readouterr().err
    assert main([*task, "--agent", "sac", "--set", "critics=3", *common, "--resume", "--trials", "3"]) == 2
    assert "was begun with settings.trials 2, not 3: give the same" in capsys.readouterr().err
    assert main([*task, "--agent", "sac", "--set", "critics=3", *common, "--resume"]) == 0
    assert main(["evaluate", "--runs", str(tmp_path), "--trials", "1"]) == 0  # the newest that there is
    assert f"practice: {run}" in capsys.readouterr().out
    demos = ["train", "--task", "maze/umaze-toy", "--agent", "iql", "--demos", "3", "--recipe", "expert"]
    assert main([*demos, "--updates", "3", "--updates-per-step", ".1", *common]) == 0
    folder = tmp_path / "train-maze.umaze-toy-iql-0"
    assert len(list(folder.glob("pretrain-*"))) == len(list(folder.glob("practice-*"))) == 1
    capsys.readouterr()
    # Of pictures alone: what is compared is left without the expert, which reads the state.
    assert main(["train", "--task", "maze/umaze-toy,observation=image,image_size=16,max_steps=3", *common]) == 0
    assert "Scripted expert" not in capsys.readouterr().out
    for flags, words in (
        (["--task", "insertion/usb-b"], "lotj practice --connector"),
        (["--task", "fetch/reach", "--updates", "5"], "give --demos"),
        (["--task", "fetch/reach", "--set", "criticz=3"], "did you mean 'critics'"),
        (["--task", "fetch/reach", "--set", "critics=many"], "critics is a int"),
        (["--task", "gym:lotj-test/Slope-v0", "--demos", "2"], "no scripted expert"),
        (["--task", "maze/umaze-toy", "--agent", "oda"], "agent oda: is told its task by demonstrations"),
        (["--task", "table/button"], "table/button: its goal is a picture, which no agent here is shown"),
        (["--task", "push/one,observation=image+state"], "choose observation=state"),
        (["--task", "maze/umaze-toy,observation=image", "--demos", "2"], "add observation=image+state"),
    ):
        assert main(["train", *flags, *common]) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1
