"""What is evaluated against what: the learned policies and the hand-made baselines of LOTJ, section VI-A, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lotj.controllers.localize import Localize, LocalizeFirst, Locate
from lotj.controllers.search import RandomSearch, SpiralSearch, StraightDown
from lotj.envs.insertion import FAMILY, NEAR_BOX, InsertionEnv
from lotj.errors import SettingsError, unknown
from lotj.evaluation import LABELS, Controller
from lotj.evaluation.results import EXPERT, POLICIES, USUAL


def choose_entrants(names: Sequence[str], insertion: bool, pretrained: bool) -> tuple[str, ...]:
    """What is to be evaluated.

    Args:
        names: what is asked for; nothing: what is usual.
        insertion: the task is a connector; any other has its policies and its expert alone.
        pretrained: practice began from a pretraining.

    Raises:
        SettingsError: one is unknown, or not for this task or run.
    """
    known = tuple(LABELS) if insertion else (*POLICIES, EXPERT)
    if not pretrained:
        known = tuple(name for name in known if name != "offline")
    for name in names:
        if name not in LABELS:
            raise unknown("controller", name, LABELS)
        if name not in known:
            raise SettingsError(f"controller {name!r} is not for this run: there are {', '.join(known)}")
    return tuple(names) or (USUAL if insertion else known)


def baseline(name: str, env: InsertionEnv, locate: Callable[[], Locate]) -> Controller:
    """A hand-made baseline for the part and the robot of an environment; the expert is told the truth, to compare with.

    Args:
        name: one of `LABELS`, but no policy.
        env: gives the part's dimensions, which an engineer knows, and the size of an action.
        locate: brings the localisation model; called where the baseline needs it.
    """
    if name == "localize":
        return Localize(locate(), env.action_scale, env.bench.contact_height)
    if name.startswith("localize-"):
        return LocalizeFirst(locate(), baseline(name.removeprefix("localize-"), env, locate), env.action_scale)
    if name == EXPERT:
        return FAMILY.expert(env)
    if name == "straight-down":
        return StraightDown()
    if name == "random-search":
        return RandomSearch(NEAR_BOX, env.action_scale)
    capture = min(f.clearance + f.chamfer + f.lead_in for f in env.bench.connector.features if not f.visual)
    return SpiralSearch(2 * capture, env.action_scale)
