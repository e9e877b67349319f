"""The toy maze: its values against those that the thesis' chapter gives, and against playing it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lotj.envs.grid import MOVES, Grid, GridEnv, expectile
from lotj.envs.registry import expert_of

PLACES = [(8, 1), (1, 2), (2, 8), (5, 7), (6, 4)]  # the start, beside the goal, two corners, half of the way


def at_places(grid: Grid, values: np.ndarray) -> np.ndarray:
    cells = grid.cells.tolist()
    return values[[cells.index(list(place)) for place in PLACES]]


def test_the_layout_by_hand() -> None:
    """4 rows of 8 cells, 3 of 2 and the start: 39; 7 rows up, and 6 columns to the passage and back: 19 moves."""
    grid, moves, here = Grid(), 0, {Grid().start}
    assert (
        len(grid.cells) == 39 and grid.cells[grid.start].tolist() == [8, 1] and grid.cells[grid.goal].tolist() == [1, 1]
    )
    while grid.goal not in here:
        here, moves = {int(cell) for known in here for cell in grid.following[known]}, moves + 1
    assert moves == 19
    np.testing.assert_allclose(grid.transition.sum(-1), 1.0)
    # From the start, walled on three sides, up: 0.75, and a quarter of the slips; else it stays.
    up = grid.transition[grid.start, 0]
    assert up[grid.following[grid.start, 0]] == 0.75 + 0.25 / 4 and up[grid.start] == 0.25 * 3 / 4


@pytest.mark.parametrize(
    "tau,printed",
    [
        (0.5, (0.000, 5.07, 0.09, 0.02, 0.00)),
        (0.7, (0.01, 7.21, 0.71, 0.28, 0.05)),
        (0.9, (0.32, 8.96, 2.56, 1.63, 0.69)),
        (0.95, (0.54, 9.30, 3.19, 2.20, 1.08)),
        (0.99, (0.79, 9.55, 3.72, 2.72, 1.48)),
    ],
)
def test_values_of_expectiles_are_those_that_were_worked_out_before(tau: float, printed: tuple) -> None:
    np.testing.assert_allclose(at_places(Grid(), Grid().expectile(tau)), printed, atol=0.0051)


def test_optimal_values_and_those_that_take_luck_for_skill() -> None:
    grid = Grid()
    optimal, lucky = grid.optimal(), grid.lucky(0.95)
    np.testing.assert_allclose(at_places(grid, optimal), (0.86, 9.61, 3.86, 2.86, 1.60), atol=0.0051)
    np.testing.assert_allclose(at_places(grid, lucky), (1.04, 9.97, 4.24, 3.24, 1.88), atol=0.0051)
    others = np.arange(39) != grid.goal
    assert (lucky > optimal)[others].all() and optimal[grid.goal] == lucky[grid.goal] == 0.0


def test_larger_expectiles_give_larger_values_up_to_the_optimum() -> None:
    """Lemma 2 and the theorem of the paper, in every state."""
    grid = Grid()
    ladder = [grid.expectile(tau) for tau in (0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.99999)]
    others = np.arange(39) != grid.goal
    assert all((high - low)[others].min() > 0 for low, high in zip(ladder, ladder[1:], strict=False))
    assert (ladder[-1] <= grid.optimal()).all() and np.abs(ladder[-1] - grid.optimal()).max() < 1e-3


def test_the_value_of_the_behaviour_solves_its_linear_equations() -> None:
    grid = Grid()
    step = grid.transition.mean(1)
    step[grid.goal] = 0.0
    reward = 10.0 * step[:, grid.goal]
    solved = np.linalg.solve(np.eye(39) - 0.9 * step, reward)
    np.testing.assert_allclose(grid.expectile(0.5), solved, atol=1e-9)


def test_an_expectile_by_hand() -> None:
    """Of 0 and 1 alike with tau 0.8: 0.8 (1 - m) = 0.2 m, so 0.8; weighed 3 : 1, 0.8 (1 - m) = 0.6 m, so 4 / 7."""
    values = np.array([0.0, 1.0])
    assert expectile(values, np.array([0.5, 0.5]), 0.8) == pytest.approx(0.8)
    assert expectile(values, np.array([0.75, 0.25]), 0.8) == pytest.approx(4 / 7)
    assert expectile(values, np.array([0.75, 0.25]), 0.5) == pytest.approx(0.25)


def test_the_environment_moves_and_slips_as_the_table_says() -> None:
    """The four moves from beside the middle of the lower passage, each of 800 times: within 4 standard deviations."""
    env = GridEnv()
    env.reset(seed=0)
    cell = env.grid.cells.tolist().index([6, 4])
    for move, (down, right) in enumerate(MOVES):
        counts = np.zeros(39)
        for _ in range(800):
            env._cell = cell
            observation, *_ = env.step(np.array([right, -down]) * 0.3 + [0.1, -0.1])
            place = observation["state"][::-1] * (-1, 1) + 4.5
            counts[env.grid.cells.tolist().index(place.astype(int).tolist())] += 1
        expected = env.grid.transition[cell, move]
        assert (np.abs(counts / 800 - expected) <= 4 * np.sqrt(expected * (1 - expected) / 800)).all()


def test_the_best_moves_bring_the_return_that_the_table_says() -> None:
    """V* at the start is 0.863, a tenth of it in rewards of 1; 400 episodes lie within 4 standard errors. The expert
    takes a shortest way, which costs a little near walls."""
    env = GridEnv(max_steps=400)
    best = env.grid.action_values(env.grid.optimal()).argmax(1)

    def mean_return(controller: Callable[[dict], np.ndarray]) -> tuple[float, float]:
        returns = []
        for seed in range(400):
            observation, ended, steps, reward = env.reset(seed=seed)[0], False, 0, 0.0
            while not ended:
                observation, reward, ended, _, _ = env.step(controller(observation))
                steps += 1
            returns.append(0.9 ** (steps - 1) * reward)
        return float(np.mean(returns)), float(np.std(returns)) / 20

    mean, error = mean_return(lambda observation: (MOVES[best[env._cell]] * (-1, 1))[::-1])
    assert abs(mean - 0.0863) < 4 * error and error < 0.005
    expert = expert_of("maze/umaze-toy", env)
    assert 0.8 * mean < mean_return(lambda observation: expert(observation, {}))[0] < mean


def test_pictures_show_cell_and_goal() -> None:
    env = GridEnv(observation=("image", "state"), image_size=20)
    picture = env.reset(seed=0)[0]["image"][0]  # 2 pixels a cell
    blue, red = ((picture == colour).all(-1) for colour in ((30, 90, 200), (200, 30, 30)))
    assert np.argwhere(blue)[0].tolist() == [16, 2] and np.argwhere(red)[0].tolist() == [2, 2]
    assert blue.sum() == red.sum() == 4
