"""The tasks of the table: which skills, in which scenes, and from which start to which goal.

Start and goal of a task are a pair, the same for whoever plays it: the goal is where the scripted hand has got from the
start, so it can be reached, hand and all. Pairs are numbered, drawn from their number, and kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np

from lotj.controllers.table_skills import Skill, Skills
from lotj.sim.table import Scene, Table
from lotj.sim.table_scenes import CLEAR, Need, draw_scene, free_spot, inside, occupied

THINGS = ("drawer", "button drawer", "small object", "large object")
CHANGES = {"open": 0, "close": 0, "press": 1, "shut": 1, "put": 2, "slide": 3}  # skill -> which of `THINGS`
PLACES = ("table", "tray", "top", "drawer", "air")
WITHIN = (0.03, 0.03, 0.05, 0.08)  # a thing is at its goal within this [m]
ABSENT = -1.0  # height of what is not there, as it is observed [m]
MOST = 150  # steps that a skill may take, and the pair is dropped


@dataclass(frozen=True)
class Job:
    """One task: its title, the scene that it needs, its skills, steps, and of which split its shapes are."""

    title: str
    need: Need
    skills: tuple[str, ...] = ()
    steps: int = 75
    split: str = "test"


JOBS: Mapping[str, Job] = {
    "open-drawer": Job("take the handle and pull the drawer open", Need(cabinet="closed", large="absent"), ("open",)),
    "close-drawer": Job("push the drawer with the handle shut", Need(cabinet="open"), ("close",)),
    "button": Job("press the button, which opens the other drawer", Need(unit="closed"), ("press",)),
    "close-button-drawer": Job("push the button's drawer shut", Need(unit="open"), ("shut",)),
    "pick-place": Job("put an object into the tray or drawer, on top or elsewhere", Need(small="any"), ("put",)),
    "slide": Job("slide the large object to the next quarter of the table", Need(large="free"), ("slide",)),
    "play": Job("change all things that are there, in any order", Need(), (), 200, "train"),
    "primitives": Job("change one thing", Need(unit="absent"), (), 150, "train"),
    "slide-then-open": Job(
        "slide the large object out of the drawer's way, and open it",
        Need("closed", "absent", None, "any", "blocking"), ("slide", "open"), 150, "train",
    ),
    "close-then-slide": Job(
        "close the drawer, and slide the large object in front of it",
        Need("open", "absent", None, "any", "beside"), ("close", "slide"), 150, "train",
    ),
    "out-then-close": Job(
        "take the object out of the drawer onto its top, and close it",
        Need("open", "absent", None, "drawer", "free"), ("put top", "close"), 150, "train",
    ),
    "open-then-in": Job(
        "open the drawer, and put the object into it",
        Need("closed", "absent", None, "table", "free"), ("open", "put drawer"), 150, "train",
    ),
    "slide-open-in": Job(
        "slide the large object out of the way, open the drawer, and put the small one into it",
        Need("closed", "absent", None, "table", "blocking"), ("slide", "open", "put drawer"), 225, "train",
    ),
    "out-close-slide": Job(
        "take the object out, close the drawer, and slide the large one in front of it",
        Need("open", "absent", None, "drawer", "beside"), ("put top", "close", "slide"), 225, "train",
    ),
}  # fmt: skip
"""Task -> what it is. Those of one skill have shapes that no training scene has; those of several have the training
shapes, and no prior trajectory of `primitives` goes from start to goal."""


def things(table: Table) -> np.ndarray:
    """(9,) what a task is judged by: openings of the drawers [m], the small object's place as a number of `PLACES`, its
    position (3) and that of the large object (3) [m]; `ABSENT` in height where there is none."""
    now, scene = table.look(), table.scene
    small = now["small"][:3] if scene.small else np.array([0.0, 0.0, ABSENT])
    large = now["large"] if scene.large else np.array([0.0, 0.0, ABSENT])
    place = PLACES.index(table.place(small, now["opening"])) if scene.small else 0
    return np.array([now["opening"], now["popped"], place, *small, *large])


def reached(achieved: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(..., 4) bool, each of `THINGS`: of (..., 9) `achieved` and `goal`, see `things`. The small object must be in or on
    the same thing, the large one in the same quarter of the table."""
    apart = np.abs(achieved - goal)
    across = [np.linalg.norm(apart[..., first : first + 2], axis=-1) for first in (3, 6)]
    same = apart[..., 2] < 0.5
    quarter = ((achieved[..., 6:8] > [0.0, -0.02]) == (goal[..., 6:8] > [0.0, -0.02])).all(-1)
    upright = apart[..., 8] < WITHIN[0]
    return np.stack(
        [
            apart[..., 0] < WITHIN[0],
            apart[..., 1] < WITHIN[1],
            same & (across[0] < WITHIN[2]),
            quarter & upright & (across[1] < WITHIN[3]),
        ],
        axis=-1,
    )


@dataclass(frozen=True)
class Pair:
    """A start and a goal of a task: the simulator's states, and `things` of each. Of a task without a goal `goal` is the
    start, and something else than that is wanted."""

    scene: Scene
    plan: Sequence[Skill]
    start: np.ndarray
    goal: np.ndarray
    start_things: np.ndarray
    goal_things: np.ndarray

    @property
    def changes(self) -> list[int]:
        """Which of `THINGS` the plan changes."""
        return sorted({CHANGES[skill[0]] for skill in self.plan})


def resolve(scene: Scene, goal: np.ndarray, skills: Sequence[str], rng: np.random.Generator) -> list[Skill] | None:
    """Skills with what they need to know of a scene; "put" goes to one of the places at hand. None if there is none."""
    plan: list[Skill] = []
    for skill in skills:
        name, _, where = skill.partition(" ")
        if name == "slide":
            plan.append(("slide", [float(at) for at in goal]))
        elif name == "put":
            if not where:
                here = [place for place in ("tray", "top", "drawer") if _is_in(scene, place)]
                there = {"tray": scene.tray, "top": scene.cabinet, "drawer": scene.cabinet and scene.opening > 0.05}
                where = str(
                    rng.choice([*(place for place, has in there.items() if has and place not in here), "table"])
                )
            spot = free_spot(rng, [*occupied(scene, goal if scene.large else None), (*scene.small_at[:2], 0.1)], CLEAR)
            if where == "table" and spot is None:
                return None
            plan.append(("put", spot.tolist() if where == "table" and spot is not None else where))
        else:
            plan.append((name,))
    return plan


def _is_in(scene: Scene, place: str) -> bool:
    """Whether the small object starts in or on something."""
    at = inside(scene, place)
    return at is not None and bool(np.linalg.norm(at - scene.small_at[:3]) < 0.03)


def playful(scene: Scene, goal: np.ndarray, rng: np.random.Generator) -> list[Skill] | None:
    """A plan that changes everything that is there, in random order."""
    skills = []
    if scene.cabinet:
        skills.append("close" if scene.opening else "open")
    if scene.unit:
        skills.append("shut" if scene.popped else "press")
    skills += ["put"] * bool(scene.small) + ["slide"] * bool(scene.large)
    order = [str(skill) for skill in rng.permutation(skills)]
    if scene.cabinet and scene.large and np.linalg.norm(goal - scene.cabinet[:2]) < 0.2:  # it would block the drawer
        order.sort(key="slide".__eq__)
    if "close" in order[: order.index("put")] if "put" in order else False:
        order[order.index("put")] = "put table"
    return resolve(scene, goal, order, rng) if order else None


def start_of(job: str, split: str, rng: np.random.Generator, table: Table) -> Pair | None:
    """A start of a task, on the table, with its plan and itself for a goal; None if this draw does not make one."""
    wanted = JOBS[job]
    need, skills = wanted.need, wanted.skills
    if job == "primitives":
        need = Need(
            str(rng.choice(["open", "closed"])), "absent", None, None, str(rng.choice(["blocking", "beside", "free"]))
        )
    target = "drawer" if "put drawer" in skills else ""
    scene, goal = draw_scene(rng, split, need, target)
    plan = resolve(scene, goal, skills, rng) if skills else playful(scene, goal, rng)
    if not plan:
        return None
    if job == "primitives":
        plan = [plan[int(rng.integers(len(plan)))]]
    table.load(scene)
    if plan == [("open",)] and table.blocked and rng.random() < 0.8:  # most of what is tried is possible
        return None
    state, now = table.state(), things(table)
    return Pair(scene, plan, state, state, now, now)


_DROPPED: Counter[tuple[str, str]] = Counter()


def dropped(job: str) -> dict[str, int]:
    """Why draws of a task's pairs were thrown away so far, and how many."""
    return {why: count for (name, why), count in _DROPPED.items() if name == job}


@cache
def _workshop() -> Table:
    return Table()


@cache
def pair(job: str, split: str, number: int) -> Pair:
    """The start and goal of that number. Draws are dropped, and counted, where the scripted hand does not get there,
    where it moves something else, and where start and goal are the same to `reached`."""
    table = _workshop()
    for attempt in range(1000):
        rng = np.random.default_rng([crc32(job.encode()), split == "test", number, attempt])
        start = start_of(job, split, rng, table)
        if start is None:
            continue
        hand = Skills(table, start.plan)
        hand.reset(attempt)
        for _ in range(MOST * len(start.plan)):
            if hand.finished:
                break
            table.act(np.asarray(hand(None, {}), float))
        goal = things(table)
        why = _fault(start, goal, table)
        if not why:
            return Pair(start.scene, start.plan, start.start, table.state(), start.start_things, goal)
        _DROPPED[job, why] += 1
    raise RuntimeError(f"table/{job}: no pair in 1000 draws")


def _fault(start: Pair, goal: np.ndarray, table: Table) -> str:
    """Why a draw does not make a pair; empty if it does."""
    same = reached(goal, start.start_things)
    wanted: dict[str, Any] = {
        "open": goal[0] > 0.09,
        "close": goal[0] < 0.01,
        "press": goal[1] > 0.07,
        "shut": goal[1] < 0.01,
    }
    for name, *arguments in start.plan:
        if name == "put":
            place = arguments[0] if isinstance(arguments[0], str) else "table"
            wanted[name] = PLACES[int(goal[2])] == place
        elif name == "slide":
            wanted[name] = np.linalg.norm(goal[6:8] - arguments[0]) < 0.03
        if not wanted[name]:
            return f"not done: {name}"
    if goal[8] > 0.02:
        return "toppled"
    if same[start.changes].any():
        return "start is goal"
    return "" if np.delete(same, start.changes).all() else "moved something else"
