"""Implicit Q-learning (Kostrikov et al. 2021; chapter 8 of Nair's thesis): stitching, and fine-tuning after it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lotj.envs.grid import Grid
from lotj.experiments.chapter import LINES, Arm, Chapter, Problem
from lotj.experiments.claims import Claim, at_least, end_over, higher, level
from lotj.experiments.tables import markdown

DISCOUNT = {"medium": 0.99, "large": 0.995}


def _maze(name: str, arms: tuple[Arm, ...], updates: int, trials: int) -> Problem:
    """A point maze, of which no episode of the prior data shows more than a third of the route."""
    return Problem(
        name=name,
        task=f"maze/{name},whole_route=True",
        data={"stitched": {"count": 500, "recipe": "stitched"}},
        arms=arms,
        updates=updates,
        trials=trials,
        points=(0.1, 0.25, 0.5, 0.75),
        practice={"updates_per_step": 0.5, "hindsight": 0.0, "exploration_noise": 0.1, "warmup_trials": 1},
    )


def _iql(expectile: float, discount: float, **more: Any) -> dict[str, Any]:
    """The paper's settings for mazes. Rewards are 1 at the goal instead of -1 before it, which makes all advantages
    1 / (1 - discount) times smaller: the paper's scale of 10 times that."""
    scale = 10.0 / (1.0 - discount)
    return {"expectile": expectile, "advantage_scale": scale, "discount": discount, "ema": 0.005, **more}


def _arms(name: str) -> tuple[Arm, ...]:
    gamma = DISCOUNT[name]
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "BC": ("bc", {}),
        "one-step": ("one-step", _iql(0.5, gamma)),
        "AWAC": ("awac", {"discount": gamma, "ema": 0.005, "advantage_scale": 1.0 / (1.0 - gamma)}),
        "ReBRAC": ("rebrac", {"discount": gamma, "ema": 0.005}),
        **{f"IQL {tau}": ("iql", _iql(tau, gamma)) for tau in (0.5, 0.7, 0.9)},
        "IQL 0.9, one Q": ("iql", _iql(0.9, gamma, critics=1)),
    }
    practised = ("IQL 0.9", "AWAC")
    learnt = (
        Arm(title, agent, values, data="stitched", trials=float(title in practised))
        for title, (agent, values) in settings.items()
    )
    return (*learnt, *(Arm(line, line) for line in LINES))


SHOWN = {"start": (8, 1), "beside the goal": (1, 2), "upper corner": (2, 8), "lower corner": (5, 7), "below": (6, 4)}
"""Cells of the toy maze whose values are told: row and column."""


def toy_values() -> dict[str, bytes]:
    """What expectiles make of the toy maze, solved exactly: V of uniformly random moves for each, V*, and what comes
    without a network for V, which takes lucky transitions for skill. A table and a map of each."""
    grid = Grid()
    solved = {f"IQL, expectile {tau}": grid.expectile(tau) for tau in (0.5, 0.7, 0.9, 0.95, 0.99)}
    solved |= {"V*": grid.optimal(), "without V, expectile 0.95": grid.lucky(0.95)}
    places = {name: int(np.flatnonzero((grid.cells == cell).all(1))[0]) for name, cell in SHOWN.items()}
    rows = [[title, *(f"{values[place]:.2f}" for place in places.values())] for title, values in solved.items()]
    figure = Figure((2.2 * len(solved), 2.6), layout="constrained")
    for axes, (title, values) in zip(np.atleast_1d(figure.subplots(1, len(solved))), solved.items(), strict=True):
        drawn = np.full(grid.walls.shape, np.nan)
        drawn[tuple(grid.cells.T)] = values
        axes.imshow(drawn, vmin=0.0, vmax=10.0)
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    words = (
        "# The toy maze, solved exactly\n\nValues of entering the goal (10), discount 0.9. The larger the expectile, "
    )
    words += "the nearer V is to V*, and never above it; without V it is.\n\n"
    table = words + markdown(["values", *places], rows) + "\n![Maps](toy-values.png)\n"
    return {"toy-values.md": table.encode(), "toy-values.png": file.getvalue()}


_TAUS = ("IQL 0.5", "IQL 0.7", "IQL 0.9")


def _whole(of: Problem) -> Problem:
    """The same maze, of which the prior data are near the optimum: the scripted expert goes the whole route. Offline
    alone."""
    kept = ("BC", "one-step", *_TAUS, *LINES)
    arms = tuple(replace(arm, data="whole", trials=0.0) for arm in of.arms if arm.title in kept)
    data = {"whole": {"count": 200, "noise": 0.2}}
    return replace(of, name=f"{of.name}-whole", data=data, arms=arms, updates=5_000, trials=0)


_MEDIUM = _maze("medium", _arms("medium"), 10_000, 40)
_STITCHES = [("medium", "IQL 0.5"), ("large", "IQL 0.5"), ("medium", "BC"), ("medium", "one-step"), ("medium", "AWAC")]

CHAPTER = Chapter(
    name="iql",
    title="Implicit Q-learning: stitching",
    problems=(_MEDIUM, _whole(_MEDIUM), _maze("large", _arms("large"), 15_000, 40)),
    claims=(
        *(
            Claim(f"{maze}: offline, IQL 0.9 stitches better than {other}", higher(maze, "IQL 0.9", other, 15, at=0))
            for maze, other in _STITCHES
        ),
        Claim("large: practice ends higher than it begins", end_over("large", "IQL 0.9", 0)),
        Claim("large: practice does not dip", at_least("large", "IQL 0.9", -15)),
        Claim("whole routes in the data: the expectile hardly matters", level("medium-whole", _TAUS, 15)),
        Claim("whole routes in the data: cloning does as well", level("medium-whole", ("BC", "IQL 0.9"), 15)),
        Claim("large: AWAC stays behind after practice", higher("large", "IQL 0.9", "AWAC", 15)),
    ),
    exact=toy_values,
)
