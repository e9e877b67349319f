"""Plans on a plane, where a generator adds z to where it is and the best plan is known; subgoals and their time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lotj.errors import SettingsError
from lotj.goals.planner import Chain, Midpoint, PlanConfig, Pursuit, SubgoalPlanner, Unconditional
from lotj.goals.planner import Step as Level


class Walk:
    """g(s, z) = s + scale z; without a context from the origin, with two from half way between."""

    def __init__(self, scale: float = 1.0) -> None:
        self.latent, self.scale = 2, scale

    def __call__(self, contexts: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return (sum(contexts) / len(contexts) if contexts else 0.0) + self.scale * z


START, GOAL = np.zeros(2, np.float32), np.array([4.0, 0.0], np.float32)


def none(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return np.zeros(len(states), np.float32)


def squared(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Minus the squared distance: equal steps are best."""
    return -np.square(states - goals).sum(1)


def around(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Nothing passes between y = -1 and 1 at x = 2 but at a great cost."""
    inside = (np.abs(goals[:, 0] - 2.0) < 0.7) & (np.abs(goals[:, 1]) < 1.0)
    return squared(states, goals) - 100.0 * inside


def planner(levels: list[Level], seed: int = 0, **settings) -> SubgoalPlanner:
    config = PlanConfig(**({"samples": 512, "prior_weight": 0.0, "value_weight": 0.1} | settings))
    return SubgoalPlanner(levels, config, np.random.default_rng(seed))


def test_without_levels_the_goal_is_the_plan() -> None:
    assert planner([]).plan(START, GOAL, none).tolist() == [[4.0, 0.0]]


@pytest.mark.parametrize(
    ("levels", "count"),
    [
        ([Chain(Walk(), 4)], 4),
        ([Chain(Walk(2.0), 2), Chain(Walk(), 2)], 4),
        ([Midpoint(Walk())] * 2, 4),
        ([Unconditional(Walk(4.0), 4)], 4),
        ([Chain(Walk(4.0), 2), Chain(Walk(2.0), 2), Chain(Walk(), 2)], 8),
    ],
)
def test_every_kind_of_plan_finds_the_known_optimum(levels: list[Level], count: int) -> None:
    found = planner(levels, temperature=0.02, samples=2048).plan(START, GOAL, squared)
    even = np.stack([np.arange(1, count + 1) * 4.0 / count, np.zeros(count)], 1)
    assert found.shape == (count, 2)
    assert found[-1].tolist() == [4.0, 0.0]  # the goal itself, not what was generated
    np.testing.assert_allclose(found, even, atol=0.45)


def test_value_keeps_a_plan_out_of_what_cannot_be_passed() -> None:
    straight = planner([Chain(Walk(2.0), 2)]).plan(START, GOAL, squared)
    bent = planner([Chain(Walk(2.0), 2)]).plan(START, GOAL, around)
    blind = planner([Chain(Walk(2.0), 2)], value_weight=0.0, prior_weight=0.2).plan(START, GOAL, around)
    assert abs(straight[0, 1]) < 0.5
    assert abs(bent[0, 1]) >= 1.0 or abs(bent[0, 0] - 2.0) >= 0.7
    assert abs(blind[0, 1]) < 0.9  # the prior alone prefers the straight way through


def test_costs_by_hand() -> None:
    # One sample, no refinement: from (0, 0) by z = (1, 0) and (2, 0) to (1, 0) and (3, 0), one short of the goal.
    made = planner([Chain(Walk(), 2)], samples=1, noise=(), value_weight=0.1, prior_weight=0.01)
    z = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]]]])
    states, cost = made._cost(made.levels[0], torch.zeros(1, 2), torch.from_numpy(GOAL)[None], z, squared)
    assert states[0, 0].tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert cost.item() == pytest.approx(1.0 + 0.1 * (1 + 4) + 0.01 * (1 + 4))


def test_refinement_lowers_the_cost_and_a_seed_says_everything() -> None:
    costs = []
    for noise in ((), (1.0, 0.5, 0.2, 0.1, 0.1)):
        made = planner([Chain(Walk(), 4)], samples=64, noise=noise)
        again = planner([Chain(Walk(), 4)], samples=64, noise=noise)
        assert np.array_equal(made.plan(START, GOAL, squared), again.plan(START, GOAL, squared))
        costs.append(made.cost[0])
    assert costs[1] < 0.7 * costs[0]


def test_who_was_stopped_plans_on() -> None:
    levels: list[Level] = [Chain(Walk(2.0), 2), Chain(Walk(), 2)]
    whole, resumed = (planner(levels, seed, samples=8, buffer=4, buffer_after=1) for seed in (0, 1))
    for _ in range(3):
        whole.plan(START, GOAL, none)
    state = whole.state()
    expected = whole.plan(START, GOAL, none)
    resumed.restore(state)  # copied: the plan since then is not in it
    np.testing.assert_array_equal(resumed.plan(START, GOAL, none), expected)
    assert resumed.plans == 4 and [len(chosen) for chosen in resumed.memory] == [4, 4]


def test_a_buffer_brings_back_what_was_chosen() -> None:
    settings = {"samples": 8, "noise": (), "buffer_after": 1, "buffer_skip": 0.0}
    far = np.array([9.0, 0.0], np.float32)  # three deviations in each of two steps: hardly ever drawn
    plain, with_buffer = (planner([Chain(Walk(), 2)], buffer=size, **settings) for size in (0, 4))
    costs = np.array(
        [[one.plan(START, far, none) is None or one.cost[0] for one in (plain, with_buffer)] for _ in range(60)]
    )
    assert np.median(costs[30:, 1]) < np.median(costs[30:, 0]) - 1.0
    assert [len(one.memory[0]) for one in (plain, with_buffer)] == [0, 4]  # flat in memory


def test_settings_are_checked() -> None:
    bads: tuple[dict[str, Any], ...] = ({"samples": 0}, {"temperature": 0.0}, {"buffer_share": 1.5}, {"noise": (-1.0,)})
    for bad in bads:
        with pytest.raises(SettingsError, match="must be"):
            PlanConfig(**bad)


class Fixed:
    def plan(self, h: np.ndarray, h_goal: np.ndarray, value: object) -> np.ndarray:
        return np.array([[1.0], [2.0], [3.0]], np.float32)


def test_a_subgoal_is_left_when_it_is_reached_or_its_time_is_up() -> None:
    pursuit = Pursuit(Fixed(), none, eps=0.1, patience=3)
    pursuit.begin(np.zeros(1), np.array([3.0]))
    at = [0.0, 0.5, 0.95, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
    goals = [float(pursuit.goal(np.array([h]))[0]) for h in at]
    # Within 0.1 of 1 at the third step; then three steps of trying 2, and the last goal stays for good.
    assert goals == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert pursuit.reached == [True, False]
    pursuit.begin(np.zeros(1), np.array([3.0]))
    assert [float(pursuit.goal(np.array([2.0]))[0]) for _ in range(4)] == [1.0, 1.0, 1.0, 3.0]  # 2 is reached already
    assert pursuit.reached == [False, True]
    with pytest.raises(SettingsError, match="patience"):
        Pursuit(Fixed(), none, 0.1, 0)
