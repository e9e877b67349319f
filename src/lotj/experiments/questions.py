"""What *Learning on the Job* leaves open, as comparisons of practice, each of a size that two cores do in one sitting.

What counts as yes and as no was written down before (docs/predictions.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lotj.evaluation.truth import TRUTH
from lotj.experiments import headline
from lotj.experiments.comparisons import OURS, PAPER, Comparison, Method
from lotj.experiments.headline import Practised
from lotj.experiments.study import BASE
from lotj.experiments.tables import markdown, mean_interval, mean_words

SMALL_PARTS = ("as-3112", "d-sub-da-15", "duplo-2x2")
"""Validation connectors of the studies that train: those of the practice under disturbances."""

LEAST = 2.0
"""Successes of 20 that count."""

BEFORE = "before, "
"""Begins the title of a method that is shown before its practice."""


Pairs = Sequence[tuple[str, str]]
"""Titles of methods: is the first better than the second?"""


def answers(methods: Mapping[str, Sequence[Practised]], pairs: Pairs = ()) -> str:
    """Each pair's difference in successes of 20 by shared unit, each scenario by itself, with the verdict of `LEAST`;
    and what each practice was rewarded for."""
    rows = []
    for better, than in pairs:
        ours, theirs = (
            {(of.start, of.unit): _of_20(of, title) for of in methods.get(title, ())} for title in (better, than)
        )
        more = {unit: ours[unit] - theirs[unit] for unit in ours if unit in theirs}
        for scenario in dict.fromkeys(start.partition(", ")[2] for start, _ in more):
            by_seed = defaultdict[str, list[float]](list)
            for (start, unit), one in more.items():
                if start.partition(", ")[2] == scenario:
                    by_seed[unit.split("-")[0]].append(one)
            each, seeds = (
                [one for of in by_seed.values() for one in of],
                [float(np.mean(of)) for of in by_seed.values()],
            )
            asked = f"{better} less {than}" + (f", {scenario}" if scenario else "")
            words = ", ".join(f"{mean:.1f}" for mean in seeds)
            rows.append([asked, str(len(each)), mean_words(each), words, verdict(each, seeds)])
    head = ["question", "units", "of 20 more", "by pretraining", f"{LEAST:g} or more"]
    return f"## Answers\n\n{markdown(head, rows)}\n{_ANSWERS}\n## Rewards\n\n{rewards(methods)}"


def verdict(more: Sequence[float], seeds: Sequence[float]) -> str:
    """Of differences by unit, and their mean by pretraining."""
    mean, width = mean_interval(more) or (0.0, None)
    if width is None:
        return "cannot tell"
    if mean >= LEAST and mean > width and min(seeds) > 0:
        return "yes"
    return "**no**" if mean + width < 0 or abs(mean) + width <= LEAST else "cannot tell"


def rewards(methods: Mapping[str, Sequence[Practised]]) -> str:
    """What of each practice's predicted successes was false, and where the plug was."""
    rows = []
    for title, units in methods.items():
        of = [unit.practice for unit in units if not title.startswith(BEFORE) and unit.practice["predicted"]]
        if of:
            shares = [100.0 * one["false"] / one["predicted"] for one in of]
            said, false, half = (sum(one.get(name, 0) for one in of) for name in ("predicted", "false", "half_in"))
            told = "the truth" if units[0].result.get("reward") == TRUTH else "itself"
            rows.append(
                [title, told, f"{len(of)} of {len(units)}", str(said), mean_words(shares), *map(str, (false, half))]
            )
    head = ["practice", "rewarded by", "units", "predicted", "% of them false", "false", "of these half in"]
    return f"{markdown(head, rows)}\n{_REWARDS}"


def sooner(methods: Mapping[str, Sequence[Practised]]) -> str:
    """Each practice beside the first, and how many of its units are reliable, the sooner the better."""
    told = []
    for title, units in methods.items():
        stages = enumerate(units[0].trials if units else ())
        words = [f"after {count}, {headline.reliable_words(units, place)}" for place, count in stages]
        told += [f"- {title}: {'; '.join(words)}"] if words else []
    return headline.against_first(methods) + "\n19 of 20:\n\n" + "\n".join(told) + "\n"


def _of_20(unit: Practised, title: str) -> float:
    outcome = unit.outcome("offline" if title.startswith(BEFORE) else -1)
    return 20.0 * outcome["successes"] / outcome["n"]


_ANSWERS = f"""Means over shared units, half width of Student's 95 % interval over them; beside it the mean of each
pretraining, whose units are not independent. Yes: {LEAST:g} or more, the interval above 0 and each pretraining above 0.
No: the interval within {LEAST:g} either way, or below 0.
"""

_REWARDS = """Of units that predicted a success; the share is a mean over them, with Student's 95 % interval. Half in:
below the mouth of the socket, but not seated; the others are beside or above. Who is told the truth cannot be wrong: no
robot has that.
"""


def _arms(practices: Mapping[str, tuple[str, str]], offline: Sequence[str] = ()) -> tuple[Method, ...]:
    """Methods by title, of variant and practice; of those named in `offline` what they are before practice, too."""
    made = [Method(title, variant=variant, practice=practice) for title, (variant, practice) in practices.items()]
    before = [Method(BEFORE + m.title, "iql", "offline", None, m.variant, m.practice) for m in made]
    return (*(method for method in before if method.title.removeprefix(BEFORE) in offline), *made)


def _asks(*pairs: tuple[str, str]) -> Callable[[Mapping[str, Sequence[Practised]]], str]:
    return partial(answers, pairs=pairs)


_POLICIES = {
    "DAIB, told": (OURS, TRUTH),
    "ERM, told": ("policy-erm", TRUTH),
    "DAIB without colours, told": ("colourless", TRUTH),
    "ERM without colours, told": ("colourless-policy-erm", TRUTH),
    "both": (OURS, PAPER),
    "reward alone": ("policy-erm", PAPER),
    "neither": ("both-erm", PAPER),
}
_TOLD = [title for title in _POLICIES if title.endswith("told")]
_SOURCES = {
    "paper's": (BASE, PAPER),
    "paper's, told": (BASE, TRUTH),
    "paper's, touch": (BASE, "paper-touch"),
    "ours": (BASE, OURS),
    "ours, picture": (BASE, "picture"),
}
_CAMERAS = {"two at the wrist": ("wrist-two", PAPER), "one at the wrist": ("wrist-one", PAPER)}
_CAMERAS |= {"one fixed": ("fixed", PAPER), "two, our data": (OURS, PAPER)}
_FEWER = {"ours": (BASE, OURS)} | {
    name.replace("-", " "): (BASE, name)
    for name in ("4-updates-a-step", "warm-up-of-1", "20-reversed-extractions", "90-percent-online")
}

_SMALL: dict[str, Any] = {"connectors": SMALL_PARTS, "benches": (0, 1, 2), "pretrainings": 3, "cells": "small"}
_FROM_BASE: dict[str, Any] = {"connectors": (), "split": "validation"}
_LOTJ = {"LOTJ": ("lotj", PAPER)}

QUESTIONS = {
    study.name: study
    for study in (
        Comparison(
            "policy-bottleneck", "What the bottleneck of the policy adds, far", ("far",), _arms(_POLICIES, _TOLD),
            trials=(50, 100), **_SMALL, beside=_asks(
                (BEFORE + _TOLD[0], BEFORE + _TOLD[1]), (BEFORE + _TOLD[2], BEFORE + _TOLD[3]), (_TOLD[0], _TOLD[1]),
                (_TOLD[2], _TOLD[3]), ("reward alone", "neither"), ("both", "reward alone"),
            ),
        ),
        Comparison(
            "cameras", "Cameras, and data as the paper's, far", ("far",), _arms(_CAMERAS, [*_CAMERAS][:3]),
            trials=(50, 100), **_SMALL, beside=_asks(
                ("one fixed", "two at the wrist"), ("one at the wrist", "two at the wrist"),
                ("two, our data", "two at the wrist"),
            ),
        ),
        Comparison(
            "reward-sources", "Where the reward comes from, far", ("far",), _arms(_SOURCES, ["paper's", "ours"]),
            trials=(50, 100), **_FROM_BASE, cells="reward-sources", beside=_asks(
                ("paper's, told", "paper's"), ("paper's, touch", "paper's, told"), ("ours, picture", "ours"),
            ),
        ),
        Comparison(
            "paper-size", "The paper's losses, practice and kind of data", ("near", "far"), _arms(_LOTJ, [*_LOTJ]),
            trials=(50, 100), cells="paper-size", beside=_asks(("LOTJ", BEFORE + "LOTJ")),
        ),
        Comparison(
            "fewer-trials", "Fewer trials, far", ("far",), _arms(_FEWER), trials=(25, 50), **_FROM_BASE,
            cells="fewer-trials", beside=sooner,
        ),
    )
}  # fmt: skip
"""By name."""
