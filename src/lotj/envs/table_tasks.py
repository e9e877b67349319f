"""The tasks of the table: which skills, in which scenes, and from which start to which goal.

Start and goal of a task are a pair, the same for whoever plays it: the goal is where the scripted hand has got from the
start, so it can be reached, hand and all. Pairs are numbered, drawn from their number, and kept in memory. Those of one
scene share shapes, colours and light; its layout, which of the things are there and where, is each pair's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from zlib import crc32

import numpy as np

from lotj.controllers.table_skills import Skill, Skills, Straight
from lotj.errors import NumericsError
from lotj.sim.table import Scene, Table, inside
from lotj.sim.table_scenes import CLEAR, draw_scene, free_spot, occupied

THINGS = ("drawer", "button drawer", "small object", "large object")
CHANGES = {"open": 0, "close": 0, "press": 1, "shut": 1, "put": 2, "slide": 3}  # skill -> which of `THINGS`
PLACES = ("table", "tray", "top", "drawer", "air")
WITHIN = (0.02, 0.02, 0.05, 0.08)  # a thing is at its goal within this [m]
ABSENT = -1.0  # height of what is not there, as it is observed [m]
MOST = 150  # steps that a skill may take


@dataclass(frozen=True)
class Job:
    """One task: its title, skills, and what its scene needs, see `draw_scene`; usual steps, and split of the shapes."""

    title: str
    skills: Sequence[str]
    need: Mapping[str, str]
    steps: int = 75
    split: str = "test"


def _long(title: str, skills: Sequence[str], cabinet: str, small: str, large: str) -> Job:
    need = {"cabinet": cabinet, "unit": "absent", "small": small, "large": large}
    return Job(title, skills, need, 75 * len(skills), "train")


JOBS: Mapping[str, Job] = {
    "open-drawer": Job("pull a drawer open by its handle", ["open"], {"cabinet": "closed", "large": "absent"}),
    "close-drawer": Job("push the drawer with the handle shut", ["close"], {"cabinet": "open"}),
    "button": Job("press the button, which opens the other drawer", ["press"], {"unit": "closed"}),
    "close-button-drawer": Job("push the button's drawer shut", ["shut"], {"unit": "open"}),
    "pick-place": Job("put an object into the tray or drawer, on top or elsewhere", ["put"], {"small": "any"}),
    "slide": Job("slide the large object to the next quarter of the table", ["slide"], {"large": "free"}),
    "play": Job("change all that is there, in any order", [], {}, 200, "train"),
    "primitives": Job("change one thing", [], {"unit": "absent"}, 150, "train"),
    "slide-then-open": _long("clear the drawer's way, open it", ["slide", "open"], "closed", "any", "blocking"),
    "close-then-slide": _long("close, slide the large one before it", ["close", "slide"], "open", "any", "beside"),
    "out-then-close": _long("object from drawer to top, close", ["put top", "close"], "open", "drawer", "free"),
    "open-then-in": _long("open, put the object in", ["open", "put drawer"], "closed", "table", "free"),
    "slide-open-in": _long("clear, open, put in", ["slide", "open", "put drawer"], "closed", "table", "blocking"),
    "out-close-slide": _long("take out, close, block", ["put top", "close", "slide"], "open", "drawer", "beside"),
}
"""Task -> what it is. Those of one skill have shapes that no training scene has; those of several have the training
shapes, and no trajectory of `primitives` goes from their start to their goal."""


def things(table: Table) -> np.ndarray:
    """(9,) what a task is judged by: openings of the drawers [m], the small object's place as a number of `PLACES`, its
    position (3) and that of the large object (3) [m]; `ABSENT` in height where there is none."""
    now, nothing = table.look(), (0.0, 0.0, ABSENT)
    small, large = (now[name][:3] if getattr(table.scene, name) else nothing for name in ("small", "large"))
    place = PLACES.index(table.place()) if table.scene.small else 0
    return np.array([now["opening"], now["popped"], place, *small, *large])


def reached(achieved: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(..., 4) bool, each of `THINGS`: of (..., 9) `achieved` and `goal`, see `things`. The small object must be in or
    on the same thing, the large one upright and in the same quarter of the table."""
    apart = np.abs(achieved - goal)
    across = np.linalg.norm(apart[..., [[3, 4], [6, 7]]], axis=-1)
    quarter = ((achieved[..., 6:8] > [0.0, -0.02]) == (goal[..., 6:8] > [0.0, -0.02])).all(-1)
    near = np.concatenate([apart[..., :2], across], -1) < WITHIN
    near[..., 2] &= apart[..., 2] < 0.5
    near[..., 3] &= quarter & (apart[..., 8] < 0.02)
    return near


@dataclass(frozen=True)
class Pair:
    """A start and a goal of a task: the simulator's states, and `things` of each. Without a goal that is the start, and
    success is that what the plan changes is otherwise."""

    scene: Scene
    plan: Sequence[Skill]
    start: np.ndarray
    goal: np.ndarray
    goal_things: np.ndarray

    @property
    def changes(self) -> list[int]:
        """Which of `THINGS` the plan changes."""
        return sorted({CHANGES[skill[0]] for skill in self.plan})


def resolve(scene: Scene, goal: np.ndarray, skills: Sequence[str], rng: np.random.Generator) -> list[Skill] | None:
    """Skills with what they need to know of a scene; "put" goes to another of the places at hand. None if there is no
    room for it."""
    plan: list[Skill] = []
    for skill in skills:
        name, _, where = skill.partition(" ")
        if name == "put" and not where:
            spots = {place: inside(scene, place, scene.opening) for place in ("tray", "top", "drawer")}
            if scene.opening < 0.05 or "close" in skills[: skills.index(skill)]:
                del spots["drawer"]
            far = [p for p, at in spots.items() if at is not None and np.linalg.norm(at - scene.small_at[:3]) > 0.03]
            where = str(rng.choice([*far, "table"]))
        if where == "table":
            spot = free_spot(rng, [*occupied(scene, goal), (*scene.small_at[:2], 0.1)], CLEAR)
            if spot is None:
                return None
            plan.append((name, spot.tolist()))
        else:
            plan.append((name, goal.tolist()) if name == "slide" else (name, where) if where else (name,))
    return plan


def _playful(scene: Scene, goal: np.ndarray, rng: np.random.Generator) -> list[Skill] | None:
    """A plan that changes everything that is there, in random order; None if there is nothing."""
    skills = ["close" if scene.opening else "open"] * bool(scene.cabinet) + ["put"] * bool(scene.small)
    skills += ["shut" if scene.popped else "press"] * bool(scene.unit) + ["slide"] * bool(scene.large)
    order = [str(skill) for skill in rng.permutation(skills)]
    if scene.cabinet and scene.large and np.linalg.norm(goal - scene.cabinet[:2]) < 0.2:  # it would block the drawer
        order.sort(key="slide".__eq__)
    return resolve(scene, goal, order, rng) if order else None


def start_of(job: str, split: str, rng: np.random.Generator, table: Table, looks: Sequence[int] = ()) -> Pair | None:
    """A start of a task, on the table, with its plan and itself for a goal; None if this draw does not make one. For
    `looks` see `draw_scene`."""
    need, skills = {**JOBS[job].need}, JOBS[job].skills
    if job == "primitives":
        need["cabinet"], need["large"] = (
            str(rng.choice(["open", "closed"])),
            str(rng.choice(["blocking", "beside", "free"])),
        )
    scene, goal = draw_scene(rng, split, need, looks)
    plan = resolve(scene, goal, skills, rng) if skills else _playful(scene, goal, rng)
    if not plan:
        return None
    if job == "primitives":
        plan = [plan[int(rng.integers(len(plan)))]]
    table.load(scene)
    if plan == [("open",)] and table.blocked and rng.random() < 0.8:  # most of what is tried is possible
        return None
    return Pair(scene, plan, table.state(), table.state(), things(table))


def _goes(hand: Skills, plan: Sequence[Skill], table: Table) -> Iterator[None]:
    """Plays a plan, step by step, from what is on the table."""
    hand.reset(0)
    for _ in range(MOST * len(plan)):
        if hand.finished:
            return
        table.act(np.asarray(hand(None, {}), float))
        yield


def straight_does(found: Pair, table: Table) -> bool:
    """Whether going straight to what is to be moved, and on, gets to a pair's goal; its scene is on the table."""
    table.set_state(found.start)
    steps = _goes(Straight(table, lambda: found.plan), found.plan, table)
    return any(reached(things(table), found.goal_things).all() for _ in steps)


def attempt(
    job: str, split: str, rng: np.random.Generator, table: Table, looks: Sequence[int] = ()
) -> tuple[Pair | None, str]:
    """A draw of a pair, and why it is to be dropped, empty where it is not: the scripted hand does not get there, it
    moves something else, start and goal are the same to `reached`, or going straight gets there, as it always does with
    a button, which stays. None if the draw does not even make a start. For `looks` see `draw_scene`."""
    start = start_of(job, split, rng, table, looks)
    if start is None:
        return None, ""
    for _ in _goes(Skills(table, lambda: start.plan), start.plan, table):
        pass
    goal, why = things(table), ""
    same = reached(goal, start.goal_things)
    wanted = {"open": goal[0] > 0.09, "close": goal[0] < 0.01, "press": goal[1] > 0.07, "shut": goal[1] < 0.01}
    for name, *to in start.plan:
        if name == "put":
            wanted[name] = PLACES[int(goal[2])] == (to[0] if isinstance(to[0], str) else "table")
        elif name == "slide":
            wanted[name] = np.linalg.norm(goal[6:8] - to[0]) < 0.03 and abs(goal[8]) < 0.02
        why = why or f"not done: {name}" * (not wanted[name])
    why = why or "start is goal" * bool(same[start.changes].any())
    why = why or "moved something else" * (not np.delete(same, start.changes).all())
    found = replace(start, goal=table.state(), goal_things=goal)
    if not why and found.plan != [("press",)] and straight_does(found, table):
        why = "going straight gets there"
    return found, why


_DROPPED: Counter[tuple[str, str]] = Counter()
_workshop = cache(Table)


def dropped(job: str) -> dict[str, int]:
    """Why draws of a task's pairs were thrown away in this process so far, and how many."""
    return {why: count for (name, why), count in _DROPPED.items() if name == job}


@cache
def pair(job: str, split: str, number: int, scene: int) -> Pair:
    """The start and goal of that number in that scene, the first draw that is not to be dropped; those dropped are
    counted."""
    of = crc32(job.encode()), int(split == "test")
    for draw in range(1000):
        rng = np.random.default_rng([*of, number, draw])
        found, why = attempt(job, split, rng, _workshop(), (*of, scene))
        if found and not why:
            return found
        if why:
            _DROPPED[job, why] += 1
    raise NumericsError(f"table/{job}: none of 1000 draws makes a pair of start and goal; this should not happen")
