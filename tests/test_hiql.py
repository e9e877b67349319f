"""What HIQL promises: waypoints from the replay, its losses against an independent computation, and that it arrives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lotj.agents import AGENTS, At, Learner
from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.replay import Replay, Source
from lotj.data.store import MemoryStore
from lotj.errors import SettingsError
from lotj.experience import Episode, Task
from lotj.nets.front import Vector
from lotj.spaces import Array, Spec
from small_agents import CODES, config_of, learner_of, make_batch

LINE = Spec(dict.fromkeys(("code", "goal"), Array((1,), "float32", -5.0, 5.0)), (1,), 10.0, 20)
STEPS = 12


def walked(code: np.ndarray, action: np.ndarray, number: int = 0) -> Episode:
    """An episode of places (T+1, 1) on a line, whose goal is its end."""
    seen = {"code": code.astype(np.float32), "goal": np.repeat(code[-1:], len(code), 0).astype(np.float32)}
    paid = np.zeros(len(action), np.float32)
    return Episode(seen, action.astype(np.float32), paid, False, True, "line", "random", number)


def arrived(seen: Any, goal: np.ndarray) -> np.ndarray:
    """0 within 0.5 of the goal, else -1."""
    return np.where(np.abs(seen["code"] - goal)[:, 0] < 0.5, 0.0, -1.0)


def replay_of(store: MemoryStore, shares: GoalShares, ahead: int, size: int = 64) -> Replay:
    def anywhere(context: Any, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-5, 5, (count, 1)).astype(np.float32)

    source = Source(store, relabel=[choose_goals(shares, anywhere, False, arrived)])
    return Replay([source], size, ["waypoint"], observation=["code", "goal"], ahead=ahead)


@pytest.mark.parametrize(
    ("shares", "bound"),
    [
        (GoalShares(1.0, 0.0, 0.0, 0.0), None),  # the episode's own goal, or its end
        (GoalShares(0.0, 1.0, 0.0, 0.0), None),
        (GoalShares(0.0, 0.0, 1.0, 0.0), None),
        (GoalShares(0.0, 0.0, 0.0, 1.0), 9.0),  # a goal that nobody reached: the end of the episode bounds it
    ],
)
def test_a_waypoint_lies_so_many_steps_ahead_and_not_beyond_the_goal(shares: GoalShares, bound: float | None) -> None:
    """Place k at frame k, of ten; four steps ahead."""
    store = MemoryStore([Task("line", "line")])
    store.append(walked(np.arange(10.0)[:, None], np.ones((9, 1))))
    batch = replay_of(store, shares, 4, 200).sample(np.random.default_rng(0))
    goal = batch.observation["goal"] if bound is None else np.full((200, 1), bound)
    np.testing.assert_array_equal(batch.columns["waypoint"], np.minimum(batch.observation["code"] + 4, goal))


def test_waypoints_are_looked_up_once() -> None:
    """Nine steps: a goal beyond the next four moves no waypoint, and one that is nearer moves its own alone."""
    store = MemoryStore([Task("line", "line")])
    store.append(walked(np.arange(10.0)[:, None], np.ones((9, 1))))
    asked, observe = [], store.observe
    store.observe = lambda frames, names=None: asked.append(len(frames)) or observe(frames, names)  # type: ignore
    replay_of(store, GoalShares(1.0, 0.0, 0.0, 0.0), 4, 200).sample(np.random.default_rng(0))
    assert asked[:2] == [400, 200] and sum(asked[2:]) == 0  # both ends of the steps, waypoints; none anew
    asked.clear()
    replay_of(store, GoalShares(0.0, 1.0, 0.0, 0.0), 4, 200).sample(np.random.default_rng(0))
    assert 0 < asked[-1] < 200  # the last step of the episode leads to its end already


def test_losses_are_those_of_the_paper() -> None:
    """Of one V, whose slow copy is V itself as yet: equations 1, 6 and 7 of Park et al. 2023, written out."""
    learner = learner_of("hiql", critics=1, discount=0.9, expectile=0.8, advantage_scale=2.0, ema=0.0)
    batch = make_batch(agent="hiql", rows=6)
    kind: Any = learner.algorithm
    code, goal, there = (torch.from_numpy(a) for a in (batch.observation["code"], batch.observation["goal"],
                                                       batch.columns["waypoint"]))  # fmt: skip
    after, reward = torch.from_numpy(batch.next_observation["code"]), torch.from_numpy(batch.reward)
    action, ended = torch.from_numpy(batch.action), torch.from_numpy(batch.terminated)
    with torch.no_grad():
        value = kind.values({"code": code, "goal": goal})[0]
        then = kind.values({"code": after, "goal": torch.from_numpy(batch.next_observation["goal"])})[0]
        missed = reward + 0.9 * then * ~ended - value
        v = (torch.where(missed < 0, 0.2, 0.8) * missed**2).mean()
        low = kind.values({"code": after, "goal": there})[0] - kind.values({"code": code, "goal": there})[0]
        high = kind.values({"code": there, "goal": goal})[0] - value
        mark = kind.values.represent({"code": code, "goal": there})
        mean, spread = kind.policy({"code": code}, mark * math.sqrt(10))
        wish, wish_spread = kind.upper({"code": code, "goal": goal})
    normal = torch.distributions.Normal
    policy = -(torch.exp(2 * low) * normal(mean, spread.exp()).log_prob(action).sum(1)).mean()
    upper = -(torch.exp(2 * high) * normal(wish, wish_spread.exp()).log_prob(mark).sum(1)).mean()
    told = learner.update(batch, At(0))
    assert [told["loss_v"], told["loss_policy"], told["loss_upper"]] == pytest.approx(
        [v.item(), policy.item(), upper.item()], rel=1e-4
    )
    assert torch.linalg.vector_norm(mark, dim=1).numpy() == pytest.approx(np.ones(6), abs=1e-5)


def test_it_goes_to_goals_further_than_any_episode_went() -> None:
    """A walk on a line, whose steps are random and of up to 1."""
    rng, store = np.random.default_rng(0), MemoryStore([Task("line", "line")])
    for number in range(200):
        action = rng.uniform(-1, 1, (STEPS, 1))
        code = np.clip(np.cumsum(np.vstack([rng.uniform(-5, 5, (1, 1)), action]), 0), -5, 5)
        store.append(walked(code, action, number))
        assert np.ptp(code) < 8.0
    config = config_of(AGENTS["hiql"], hidden=(32,), critic_hidden=32, lr=6e-3, discount=0.9, ema=0.2,
                       waypoint_steps=4, target_bounds=(-10.0, 0.0), critic_projection=0)  # fmt: skip
    learner = Learner(AGENTS["hiql"], LINE, CODES, config, 1)
    replay = replay_of(store, GoalShares(0.0, 0.1, 0.5, 0.4), learner.ahead)

    def left(towards: float) -> float:
        """Distance after 16 steps from the other side."""
        place = np.array([[-towards]], np.float32)
        for _ in range(16):
            place = np.clip(place + learner.act({"code": place, "goal": np.array([[towards]], np.float32)}), -5, 5)
        return abs(float(place[0, 0]) - towards)

    untrained = [left(goal) for goal in (4.0, -4.0)]
    for number in range(350):
        learner.update(replay.sample(np.random.default_rng(number)), At(number))
    assert max(left(goal) for goal in (4.0, -4.0)) < 1.5 < max(untrained)
    far, near = (learner.value({"code": np.zeros((1, 1)), "goal": np.full((1, 1), goal)})[0] for goal in (4.0, 1.0))
    assert far < near < 0  # further goals are worth less


@pytest.mark.parametrize("front", [Vector(("code",)), Vector(("goal",)), Vector(("state", "goal"))])
def test_it_needs_a_code_and_a_goal_of_its_shape(front: Vector) -> None:
    spec = Spec({**LINE.observation, "state": Array((3,), "float32", -1.0, 1.0)}, (1,), 10.0, 20)
    with pytest.raises(SettingsError, match="agent hiql: observes code and goal of one shape"):
        Learner(AGENTS["hiql"], spec, front, config_of(AGENTS["hiql"]), 1)
    unlike = Spec({**LINE.observation, "goal": Array((2,), "float32", -1.0, 1.0)}, (1,), 10.0, 20)
    with pytest.raises(SettingsError, match=r"not \{'code': \(1,\), 'goal': \(2,\)\}"):
        Learner(AGENTS["hiql"], unlike, CODES, config_of(AGENTS["hiql"]), 1)
