"""Residual actions: what is carried out, what is kept, on which tasks, and that they can cancel a bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lotj.controllers.blocks import StraightDown
from lotj.controllers.expert import Expert
from lotj.data.store import DiskStore
from lotj.envs.registry import expert_of, folder_name, make_task, named_options
from lotj.envs.residual import ResidualAction
from lotj.errors import SettingsError
from lotj.experience import rollout
from lotj.training.collect import TaskCollection, collect


class Plant(gym.Env):
    """Remembers what it was told to carry out; the state is (step, 1)."""

    observation_space = gym.spaces.Dict({"state": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        self.done: list[np.ndarray] = []
        return {"state": np.array([0.0, 1.0], np.float32)}, {"truth": 1.0}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.done.append(action)
        return {"state": np.array([len(self.done), 1.0], np.float32)}, 0.0, False, False, {"truth": 1.0}


class Ramp:
    """(0, .5), (.4, .5), (.8, .5), ... by the step that is observed."""

    def reset(self, seed: int) -> None: ...

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        assert not info  # nothing but what is observed
        return np.array([0.4 * observation["state"][0], 0.5])


class Always:
    def __init__(self, action: np.ndarray) -> None:
        self.action = action

    def reset(self, seed: int) -> None: ...

    def __call__(self, observation: Any, info: Any) -> np.ndarray:
        return self.action


def test_the_sum_is_carried_out_clipped_and_the_agents_action_is_kept() -> None:
    plant = Plant()
    env = ResidualAction(plant, Ramp(), 0.5)
    episode = rollout(env, Always(np.array([0.8, -1.0])), 0, task="t", kind="practice", max_steps=4)
    # 0.5 x (.8, -1) = (.4, -.5): (0 + .4, 0), (.8, 0), (1.2, 0) and (1.6, 0), of which 1 is carried out
    assert np.allclose(plant.done, [[0.4, 0.0], [0.8, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert np.allclose(episode.action, [[0.8, -1.0]] * 4)


def test_equal_observations_get_equal_controller_actions_whatever_came_before() -> None:
    env = make_task("blocks/assembly", residual=0.3, tags=True, noise=0.05)
    controller, observation = env.get_wrapper_attr("controller"), env.reset(seed=1)[0]
    first = controller(observation, {})
    for _ in range(9):
        env.step(env.action_space.sample())
    assert np.array_equal(controller(observation, {}), first)
    again = make_task("blocks/assembly").reset(seed=2)[0]["state"]
    again[:3], again[-3:] = observation["state"][:3], observation["state"][-3:]  # hand and goal; other blocks
    assert np.array_equal(controller({"state": again}, {}), first)


def test_the_optimum_residual_cancels_a_bias() -> None:
    """Executed is clip(P + 0.5 a) + 0.2, so a = -0.4 leaves P alone, and the block goes where it goes without bias;
    with a = 0 it stays 0.2 x 10 mm / 0.3 = 6.7 mm above the goal, of which 5 are allowed."""
    ended = []
    for bias, action in ((0.0, 0.0), (0.2, 0.0), (0.2, -0.4)):
        env: Any = make_task(f"blocks/assembly,residual=0.5,bias={bias}")
        env.reset(seed=0)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(np.full(3, action))
            over = terminated or truncated
        ended.append((info["is_success"], env.unwrapped.hand - env.unwrapped.measure()["state"][-3:]))
    (plain, there), (biased, off), (corrected, back) = ended
    assert (plain, biased, corrected) == (True, False, True)
    assert off[2] == pytest.approx(0.2 * 0.01 / 0.3, abs=2e-4) and off[:2] == pytest.approx(0.2 * 0.01, abs=2e-4)
    assert back == pytest.approx(there, abs=1e-3)


@pytest.mark.parametrize("name", ["blocks/assembly", "drawer/open", "fetch/reach", "fetch/push", "maze/umaze"])
def test_any_task_whose_expert_sees_the_observation_alone_can_be_corrected(name: str) -> None:
    bare, env = make_task(name), make_task(f"{name},residual=0.3")
    observation, info = bare.reset(seed=0)
    env.reset(seed=0)
    expert, none = expert_of(name, bare), expert_of(name, env)
    for _ in range(5):  # the scripted line of a residual task is the controller itself
        observation, *_ = bare.step(np.asarray(expert(observation, info)))
        corrected, *_ = env.step(np.asarray(none({}, {})))
        assert all(np.array_equal(observation[array], corrected[array]) for array in observation)
    bare.close()
    env.close()


@pytest.mark.parametrize("name", ["fetch/slide", "insertion/usb-b"])
def test_an_expert_that_needs_more_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"residual = 0.3 on {name},residual=0.3: its expert, .*remembers or feels"):
        make_task(f"{name},residual=0.3")


def test_what_is_not_observed_cannot_be_corrected() -> None:
    env = ResidualAction(Plant(), Expert(np.random.default_rng(0), 1.0, 0.0, noise=0.0), 0.3)
    env.reset()
    with pytest.raises(SettingsError, match="a residual of Expert: it reads 'position', and what is observed is state"):
        env.step(np.zeros(2))


@pytest.mark.parametrize("scale", [0, -0.1, 2.5, "much", True, float("nan")])
def test_a_bad_scale_is_refused(scale: Any) -> None:
    with pytest.raises(SettingsError, match="residual = .*: must be a number above 0, up to 2"):
        make_task("blocks/assembly", residual=scale)


def test_it_must_be_reset_first_and_refuses_bad_actions() -> None:
    env = ResidualAction(Plant(), Ramp(), 1.0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2))
    env.reset()
    with pytest.raises(SettingsError, match="finite"):
        env.step(np.array([np.nan, 0.0]))


def test_options_follow_a_name() -> None:
    named = named_options("blocks/assembly,yaw=0.3,tags=True,reward=dense,max_steps=9")
    assert named == {"yaw": 0.3, "tags": True, "reward": "dense", "max_steps": 9} and named_options("fetch/push") == {}
    env: Any = make_task("blocks/assembly,max_steps=9,residual=0.3", max_steps=7)
    assert env.unwrapped.max_steps == 7 and type(env.controller) is StraightDown and env.scale == 0.3
    assert folder_name("blocks/assembly,yaw=0.3") == "blocks.assembly.yaw.0.3"
    refused = {"yaw": "'yaw' in .*: must be option=value", "jaw=1": "unknown option of blocks/assembly 'jaw'"}
    for bad, words in refused.items():
        with pytest.raises(SettingsError, match=words):
            make_task(f"blocks/assembly,{bad}")


def test_prior_data_of_a_task_with_options_are_recorded_and_read(tmp_path: Path) -> None:
    name = "blocks/assembly,residual=0.3,max_steps=3"
    collect(tmp_path, TaskCollection((name,), count=1, noise=0.0), workers=1)
    [task] = DiskStore.open(tmp_path, split="train").tasks
    assert (task.name, task.env) == ("blocks.assembly.residual.0.3.max_steps.3", name)
