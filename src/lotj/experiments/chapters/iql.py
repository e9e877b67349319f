"""Implicit Q-learning (Kostrikov et al. 2021; chapter 8 of Nair's thesis): stitching, and fine-tuning after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lotj.controllers.waypoints import Waypoints
from lotj.data.pictures import figure_png
from lotj.distributed import Job
from lotj.envs.grid import Grid
from lotj.envs.registry import make_task
from lotj.experiments.chapter import AFTER_PRETRAINING, Arm, Chapter, Problem, job_name
from lotj.experiments.chapter_jobs import LINES
from lotj.experiments.claims import Claim, Curves, at_least, end_over, gate, higher, level
from lotj.experiments.study import Asked
from lotj.experiments.tables import markdown
from lotj.runs import find_run
from lotj.training.pretrain import load_agent

DISCOUNT = {"medium": 0.97, "large": 0.98}
EMA = 0.02
"""For all: with the usual 0.005, ten thousand updates do not carry the goal's value back to the start."""
FINE = 3
"""Places of a cell at which V is asked, along each axis."""
BEST = 0.1
"""Share of the prior data that is best (the papers' 10 % BC)."""


def _maze(name: str, arms: tuple[Arm, ...], updates: int, trials: int) -> Problem:
    """A point maze, of which no episode of the prior data shows more than a third of the route."""
    return Problem(
        name=name,
        task=f"maze/{name},whole_route=True,repeat=5",
        data={"stitched": {"count": 500, "recipe": "stitched"}, "best": {"of": "stitched", "share": BEST}},
        arms=arms,
        updates=updates,
        trials=trials,
        points=(0.1, 0.25, 0.5, 0.75),
        practice={"updates_per_step": 1.0, "hindsight": 0.0, "exploration_noise": 0.1, "warmup_trials": 1},
    )


def _iql(expectile: float, discount: float, **more: Any) -> dict[str, Any]:
    """The paper's settings for mazes. Rewards are 1 at the goal instead of -1 before it, which makes all advantages
    1 / (1 - discount) times smaller: the paper's scale of 10 times that."""
    scale = 10.0 / (1.0 - discount)
    return {"expectile": expectile, "advantage_scale": scale, "discount": discount, "ema": EMA, **more}


def _arms(name: str) -> tuple[Arm, ...]:
    gamma = DISCOUNT[name]
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "BC": ("bc", {}),
        "BC on the best tenth": ("bc", {}),
        "AWR": ("awr", {"discount": gamma}),
        "TD3+BC": ("td3", {"discount": gamma, "ema": EMA, "bc_weight": 0.4 / 2, "normalize_q": True}),
        "one-step": ("one-step", _iql(0.5, gamma)),
        "AWAC": ("awac", {"discount": gamma, "ema": EMA, "advantage_scale": 1.0 / (1.0 - gamma)}),
        "ReBRAC": ("rebrac", {"discount": gamma, "ema": EMA}),
        **{f"IQL {tau}": ("iql", _iql(tau, gamma)) for tau in (0.5, 0.7, 0.9)},
        "IQL 0.9, one Q": ("iql", _iql(0.9, gamma, critics=1)),
    }
    practised = ("IQL 0.9", "AWAC")
    learnt = (
        Arm(
            title, agent, values, AFTER_PRETRAINING if title in practised else {},
            data="best" if "best" in title else "stitched", trials=float(title in practised),
        )
        for title, (agent, values) in settings.items()
    )  # fmt: skip
    return (*learnt, *(Arm(line, line) for line in LINES))


SHOWN = {"start": (8, 1), "beside the goal": (1, 2), "upper corner": (2, 8), "lower corner": (5, 7), "below": (6, 4)}
"""Cells of the toy maze whose values are told: row and column."""


def arrives(grid: Grid, values: np.ndarray, scale: float, steps: int = 100) -> float:
    """Probability that the policy which random moves make, weighted by min(exp(scale x advantage), 100), is at the goal
    within so many steps, exactly; a `scale` of infinity takes the best move."""
    gain = grid.action_values(values)
    gain = gain - (values if np.isfinite(scale) else gain.max(1))[:, None]
    weights = np.minimum(np.exp(scale * gain), 100.0) if np.isfinite(scale) else (gain > -1e-12).astype(float)
    chain = np.einsum("sa,sat->st", weights / weights.sum(1, keepdims=True), grid.transition)
    chain[grid.goal] = np.eye(len(values))[grid.goal]
    return float(np.linalg.matrix_power(chain, steps)[grid.start, grid.goal])


def toy_values() -> dict[str, bytes]:
    """What expectiles make of the toy maze, solved exactly: V of uniformly random moves for each, V*, and what comes
    without a network for V, which takes lucky transitions for skill. A table, with how often policies that are made of
    these values arrive, and a map of each."""
    grid = Grid()
    solved = {f"IQL, expectile {tau}": grid.expectile(tau) for tau in (0.5, 0.7, 0.9, 0.95, 0.99)}
    solved |= {"V*": grid.optimal(), "without V, expectile 0.95": grid.lucky(0.95)}
    places = {name: int(np.flatnonzero((grid.cells == cell).all(1))[0]) for name, cell in SHOWN.items()}
    kinds = {"weighted": 10.0, "best move": np.inf}
    rows = [
        [title, *(f"{values[place]:.2f}" for place in places.values())]
        + [f"{100 * arrives(grid, values, scale):.1f}" for scale in kinds.values()]
        for title, values in solved.items()
    ]
    figure = Figure((2.2 * len(solved), 2.6), layout="constrained")
    for axes, (title, values) in zip(np.atleast_1d(figure.subplots(1, len(solved))), solved.items(), strict=True):
        drawn = np.full(grid.walls.shape, np.nan)
        drawn[tuple(grid.cells.T)] = values
        axes.imshow(drawn, vmin=0.0, vmax=10.0)
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    by_chance = f"{100 * arrives(grid, solved['V*'], 0.0):.1f}"
    table = _TOY.format(by_chance) + markdown(["values", *places, *kinds], rows) + "\n![Maps](toy-values.png)\n"
    return {"toy-values.md": table.encode(), "toy-values.png": figure_png(figure, 110)}


_TOY = """# The toy maze, solved exactly

Values of entering the goal (10), discount 0.9. The larger the expectile, the nearer V is to V*, and never above it; \
without V it is.

The last columns: what share of the episodes arrives within 100 steps [%] by a policy made of these values, of moves \
weighted by min(exp(10 (Q - V)), 100) and of the best move; by random moves it is {}.

"""

_TAUS = ("IQL 0.5", "IQL 0.7", "IQL 0.9")
VALUES = "values"
"""Name of what is known of V, among the arms of a maze."""


class MazeChapter(Chapter):
    """As of `Chapter`; and the toy maze; and of each maze whose data are stitched, V as learnt before practice, seed 0
    of each expectile: a picture, and where it rises with the expectile."""

    def jobs(self, asked: Asked) -> list[Job]:
        made = super().jobs(asked)
        for problem in (problem for problem in self.problems if problem.trials):
            names = {title: job_name(problem, problem.arm(title), 0) for title in _TAUS}
            runs = {title: str(asked.runs / self.name / name) for title, name in names.items()}
            given = {"task": problem.task, "trained": runs}
            made.append(Job(f"{problem.name}-{VALUES}", values_job, given, tuple(names.values()), asked.machine))
        return made

    def curves(self, results: Mapping[str, Any]) -> Curves:
        of = {problem.name: results.get(f"{problem.name}-{VALUES}") for problem in self.problems}
        known = {(name, VALUES): [found] for name, found in of.items() if found}
        return {**super().curves(results), **known}

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        known = {name: found[0]["values"] for (name, title), found in self.curves(results).items() if title == VALUES}
        return super().files(results) | toy_values() | ({"values.png": draw_values(known)} if known else {})


def values_job(task: str, trained: Mapping[str, str], threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """V of agents on the way to the end of a maze's route, standing still.

    Args:
        trained: title -> folder of a job of `learn_job`, in the order of rising expectiles.

    Returns:
        ``values``: title -> (N, M) of places from the top left, `FINE` to a cell, None in walls; ``rises``: share of
        the places at which V falls from none of them to the next.
    """
    torch.set_num_threads(threads)
    with closing(make_task(task)) as env:
        maze: Any = env.unwrapped
        way = Waypoints(maze.walls)
        free = np.kron(~maze.walls, np.ones((FINE, FINE), bool))
        row, column = (np.argwhere(free).T + 0.5) / FINE
        place = np.column_stack([column - maze.walls.shape[1] / 2, maze.walls.shape[0] / 2 - row])
        goal = np.tile(way.middle(maze.route[1]), (len(place), 1))
    seen = {"state": np.hstack([place, np.zeros_like(place)]), "goal": goal}
    seen = {name: values.astype(np.float32) for name, values in seen.items()}
    found = [load_agent(find_run(Path(folder), "pretrain"), device).value(seen) for folder in trained.values()]
    maps = np.full((len(found), *free.shape), np.nan)
    maps[:, free] = found
    shown = {title: [[None if np.isnan(at) else at for at in row] for row in of.round(4).tolist()]
             for title, of in zip(trained, maps, strict=True)}  # fmt: skip
    return {"values": shown, "rises": float((np.diff(found, axis=0) >= 0).all(0).mean())}


def draw_values(known: Mapping[str, Mapping[str, Sequence[Sequence[float | None]]]]) -> bytes:
    """A PNG of maps, one row a maze, one column an expectile, each maze with colours of its own."""
    figure = Figure((8.0, 2.8 * len(known)), layout="constrained")
    rows = figure.subplots(len(known), max(map(len, known.values())), squeeze=False)
    for (name, of), line in zip(known.items(), rows, strict=True):
        maps = {title: np.array(values, float) for title, values in of.items()}
        most = max(np.nanmax(values) for values in maps.values())
        for axes, (title, values) in zip(line, maps.items(), strict=True):
            drawn = axes.imshow(values, vmin=0.0, vmax=most)
            axes.set_title(f"{name}: V of {title}", fontsize=9)
            axes.set_axis_off()
        figure.colorbar(drawn, ax=line.tolist(), shrink=0.8)
    return figure_png(figure, 110)


def _whole(of: Problem) -> Problem:
    """The same maze, of which the prior data are near the optimum: the scripted expert goes the whole route. Offline
    alone."""
    kept = ("BC", "one-step", *_TAUS, *LINES)
    arms = tuple(replace(arm, data="whole", online={}, trials=0.0) for arm in of.arms if arm.title in kept)
    data = {"whole": {"count": 200, "noise": 0.2}}
    return replace(of, name=f"{of.name}-whole", data=data, arms=arms, updates=5_000, trials=0)


_MEDIUM = _maze("medium", _arms("medium"), 10_000, 40)
_FEWER = ("BC", "BC on the best tenth", "AWAC", *_TAUS, *LINES)
"""Arms on the large maze: those that claims ask about there."""
_STITCHES = [
    *((maze, other) for maze in DISCOUNT for other in ("IQL 0.5", "IQL 0.7", "BC", "BC on the best tenth")),
    *(("medium", other) for other in ("one-step", "AWAC", "AWR", "TD3+BC", "ReBRAC")),
]

CHAPTER = MazeChapter(
    name="iql",
    title="Implicit Q-learning: stitching",
    problems=(
        _MEDIUM,
        _whole(_MEDIUM),
        _maze("large", tuple(arm for arm in _arms("large") if arm.title in _FEWER), 10_000, 20),
    ),
    claims=(
        *(
            Claim(f"{maze}: offline, IQL 0.9 stitches better than {other}", higher(maze, "IQL 0.9", other, 15, at=0))
            for maze, other in _STITCHES
        ),
        *(
            Claim(f"{maze}: V rises with the expectile, in 90 % of places", gate(maze, VALUES, ("rises",), 0.9))
            for maze in DISCOUNT
        ),
        Claim("medium: offline, at 0.9 two Q are needed", higher("medium", "IQL 0.9", "IQL 0.9, one Q", 15, at=0)),
        Claim("large: practice ends higher than it begins", end_over("large", "IQL 0.9", 0)),
        Claim("large: practice does not dip", at_least("large", "IQL 0.9", -15)),
        Claim("whole routes in the data: the expectile hardly matters", level("medium-whole", _TAUS, 15)),
        Claim("whole routes in the data: cloning does as well", level("medium-whole", ("BC", "IQL 0.9"), 15)),
        Claim("large: AWAC stays behind after practice", higher("large", "IQL 0.9", "AWAC", 15)),
    ),
)
