"""Goals of practised transitions, chosen anew each time that they are drawn (RIG, Nair et al. 2018; NumPy only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Annotated

import numpy as np

from lotj.data.replay import Relabel, Segment, waypoints, with_goal
from lotj.errors import SettingsError
from lotj.experience import Batch
from lotj.ranges import SHARE, Checked

Propose = Callable[[np.ndarray | None, int, np.random.Generator], np.ndarray]
"""Context code (C,) or None, n, random numbers -> (n, D) goals."""

Worth = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]
"""What is observed after the step, name -> (B, ...), and goals (B, D) -> rewards (B,)."""


@dataclass(frozen=True)
class GoalShares(Checked):
    """Whence goals come; shares that add up to 1. The defaults are the thesis's text; its algorithm 1 says half
    ``proposed`` and half ``keep``, the released script 0.1 ``keep``, 0.5 ``proposed`` and 0.4 ``future``."""

    CALLED = "goals"
    keep: Annotated[float, SHARE] = 0.0
    """The goal that the episode was practised with."""
    next: Annotated[float, SHARE] = 0.0
    """What the step itself led to."""
    future: Annotated[float, SHARE] = 0.5
    """What the episode led to at the end of this step or later, evenly."""
    proposed: Annotated[float, SHARE] = 0.5
    """A proposer's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(sum(astuple(self)) - 1.0) > 1e-9:
            raise SettingsError(f"goals {astuple(self)}: shares to keep, next, future, proposed must add up to 1")


def choose_goals(shares: GoalShares, propose: Propose, by_context: bool, worth: Worth) -> Relabel:
    """Draws where each row's goal comes from, and its reward anew.

    The observation must hold ``code`` (D,) and ``goal`` (D,), and ``context`` (C,) where goals depend on it. Nothing
    terminates: a goal that is reached goes on being worth what it is. What is made says what it ``reads``. A column
    ``waypoint`` lies no later than a goal of the same episode. A row with a proposed goal is not to be imitated, as
    what was done was not done for it: values alone learn from it.

    Args:
        shares: whence.
        propose: new goals; where they go `by_context` it is asked once for each context in the batch.
        worth: the reward.
    """

    def relabel(segment: Segment, rng: np.random.Generator) -> Batch:
        batch, count = segment.batch, len(segment.frame)
        source = np.searchsorted(np.cumsum(astuple(shares))[:3], rng.random(count), "right")
        goal = np.array(batch.observation["goal"], np.float32)
        goal[source == 1] = batch.next_observation["code"][source == 1]
        later = segment.frame + 1 + rng.integers(segment.last - segment.frame)
        goal[source == 2] = segment.store.observe(later[source == 2], ["code"])["code"]
        rows = np.flatnonzero(source == 3)
        if len(rows):
            goal[rows] = _proposed(rows, batch.observation.get("context") if by_context else None, propose, rng)
        columns = dict(batch.columns)
        if "waypoint" in columns:
            until = np.where(source == 1, segment.frame + 1, np.where(source == 2, later, segment.last))
            nearer = np.flatnonzero(until < np.minimum(segment.frame + segment.ahead, segment.last))
            columns["waypoint"] = np.array(columns["waypoint"])
            columns["waypoint"][nearer] = waypoints(segment.store, segment.frame[nearer], segment.ahead, until[nearer])
        if "imitate" in columns:
            columns["imitate"] = columns["imitate"] & (source != 3)
        batch = replace(batch, columns=columns)
        return with_goal(batch, goal, worth(batch.next_observation, goal), np.zeros(count, bool))

    scene = ("context",) if by_context else ()
    relabel.reads = ("code", "goal", *scene, *getattr(worth, "reads", ()))  # type: ignore[attr-defined]
    return relabel


def _proposed(
    rows: np.ndarray, context: np.ndarray | None, propose: Propose, rng: np.random.Generator
) -> Sequence[np.ndarray] | np.ndarray:
    if context is None:
        return propose(None, len(rows), rng)
    given = np.ascontiguousarray(context[rows])
    whole = given.view(np.dtype((np.void, given.itemsize * given.shape[1])))[:, 0]  # found 30 times as fast as rows are
    _, places, which, counts = np.unique(whole, return_index=True, return_inverse=True, return_counts=True)
    drawn = [iter(propose(given[place], int(n), rng)) for place, n in zip(places, counts, strict=True)]
    return [next(drawn[number]) for number in which]
