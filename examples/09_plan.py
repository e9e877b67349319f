"""Plans of subgoals around a wall: a generator, a value, a planner.

    python examples/09_plan.py

It takes a second and trains nothing. Prints the points of a flat plan and of one of two levels. The generator says
where one may be some steps from here, the value what a step costs. A learnt generator of codes
(`lotj.goals.codes.CodeGenerator`) and a learnt value (`lotj.training.coded.value_of`) take their places in PTP.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lotj.goals.planner import Chain, PlanConfig, SubgoalPlanner


class Walk:
    """g(s, z) = s + reach z, in the plane."""

    latent = 2

    def __init__(self, reach: float) -> None:
        self.reach = reach

    def __call__(self, contexts: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return contexts[0] + self.reach * z


def value(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Minus the squared distance; and nobody passes through the wall."""
    way = states[:, None] + np.linspace(0.0, 1.0, 9)[:, None] * (goals - states)[:, None]
    wall = ((np.abs(way[..., 0] - 2.0) < 0.5) & (np.abs(way[..., 1]) < 1.0)).any(1)
    return -np.square(states - goals).sum(1) - 100.0 * wall


start, goal = np.zeros(2, np.float32), np.array([4.0, 0.0], np.float32)
config = PlanConfig(samples=2048, value_weight=0.1, prior_weight=0.0)
for name, levels in (("flat", [Chain(Walk(1.0), 4)]), ("two levels", [Chain(Walk(2.0)), Chain(Walk(1.0))])):
    planner = SubgoalPlanner(levels, config, np.random.default_rng(0))
    plan = planner.plan(start, goal, value)
    print(f"{name}: {' -> '.join(f'({x:.1f}, {y:.1f})' for x, y in [start, *plan])}")
