"""What is evaluated against what: the learned policies and the hand-made baselines of LOTJ, section VI-A, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lotj.controllers.expert import Expert
from lotj.controllers.localize import Localize, LocalizeFirst, Locate
from lotj.controllers.search import RandomSearch, SpiralSearch, StraightDown
from lotj.envs.insertion import NEAR_BOX, InsertionEnv
from lotj.errors import SettingsError, unknown
from lotj.evaluation import LABELS, Controller

POLICIES = ("offline", "practice")
"""The learned policies."""

DEFAULT = ("offline", "practice", "straight-down", "spiral-search")
"""Evaluated unless others are asked for."""


def check_entrants(names: Sequence[str]) -> None:
    """Raises SettingsError where a name is unknown or there is none."""
    if not names:
        raise SettingsError(f"controllers: none is named; known are {', '.join(LABELS)}")
    for name in names:
        if name not in LABELS:
            raise unknown("controller", name, LABELS)


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
    if name == "expert":
        return Expert(np.random.default_rng(), env.action_scale, env.bench.contact_height, noise=0.0)
    if name == "straight-down":
        return StraightDown()
    if name == "random-search":
        return RandomSearch(NEAR_BOX, env.action_scale)
    if name == "spiral-search":
        capture = min(f.clearance + f.chamfer + f.lead_in for f in env.bench.connector.features if not f.visual)
        return SpiralSearch(2 * capture, env.action_scale)
    raise SettingsError(f"controller {name!r} is no hand-made baseline")
