"""What *Learning on the Job* leaves open, as comparisons of practice, each of a size that two cores do in one sitting.

What counts as yes and as no was written down before (docs/predictions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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


def answers(methods: Mapping[str, Sequence[Practised]], pairs: Sequence[tuple[str, str]] = ()) -> str:
    """Of each pair of titles the difference in successes of 20, first less second, by shared unit, each scenario by
    itself, with the verdict of `LEAST`, which two that have both learnt nothing do not get; and what each practice was
    rewarded for."""
    rows = []
    for pair in pairs:
        ours, theirs = ({(of.start, of.unit): _of_20(of, title) for of in methods.get(title, ())} for title in pair)
        more = {unit: ours[unit] - theirs[unit] for unit in ours if unit in theirs}
        for scenario in dict.fromkeys(start.partition(", ")[2] for start, _ in more):
            units = [unit for unit in more if unit[0].partition(", ")[2] == scenario]
            each = np.array([more[unit] for unit in units])
            of_seed = np.array([unit[1].split("-")[0] for unit in units])
            seeds = [float(each[of_seed == seed].mean()) for seed in np.unique(of_seed)]
            level = max(float(np.mean([of[unit] for unit in units])) for of in (ours, theirs))
            told = level >= LEAST or pair[1] == BEFORE + pair[0]
            words = [
                ", ".join(f"{mean:.1f}" for mean in seeds),
                verdict(each.tolist(), seeds) if told else "cannot tell",
            ]
            asked = " less ".join(pair) + (scenario and f", {scenario}")
            rows.append([asked, str(len(each)), mean_words(each), *words])
    head = ["question", "units", "of 20 more", "by pretraining", f"{LEAST:g} or more"]
    return f"## Answers\n\n{markdown(head, rows)}\n{_ANSWERS}\n## Rewards\n\n{rewards(methods)}"


def verdict(more: Sequence[float], seeds: Sequence[float]) -> str:
    """Of differences by unit, and their mean by pretraining."""
    mean, width = mean_interval(more) or (0.0, None)
    if width is None:
        return "cannot tell"
    if mean >= LEAST and mean > width and min(seeds) > 0:
        return "yes"
    below = mean + width < 0 and max(seeds) < 0
    return "**no**" if below or abs(mean) + width <= LEAST else "cannot tell"


def rewards(methods: Mapping[str, Sequence[Practised]]) -> str:
    """What of each practice's predicted successes was false, and where the plug was."""
    rows = []
    for title, units in methods.items():
        of = [unit.practice for unit in units if not title.startswith(BEFORE) and unit.practice["predicted"]]
        counts = [sum(one.get(name, 0) for one in of) for name in ("predicted", "false", "half_in")]
        shares = mean_words([100.0 * one["false"] / one["predicted"] for one in of])
        told = "the truth" if any(unit.result.get("reward") == TRUTH for unit in units) else "itself"
        rows += [[title, told, f"{len(of)} of {len(units)}", shares, *map(str, counts)]] if of else []
    head = ["practice", "rewarded by", "units", "% false", "predicted", "of them false", "of these half in"]
    return f"{markdown(head, rows)}\n{_REWARDS}"


def sooner(methods: Mapping[str, Sequence[Practised]]) -> str:
    """Each practice beside the first, and how many of its units are reliable after the fewest trials."""
    told = [f"- {title}: {headline.reliable_words(units, 0)}\n" for title, units in methods.items() if units]
    return f"{headline.against_first(methods)}\n## 19 of 20, the sooner\n\n{''.join(told)}\n"


def _of_20(unit: Practised, title: str) -> float:
    outcome = unit.outcome("offline" if title.startswith(BEFORE) else -1)
    return 20.0 * outcome["successes"] / outcome["n"]


_ANSWERS = f"""Means over shared units, half width of Student's 95 % interval over them; beside it the mean of each
pretraining, whose units are not independent. Yes: {LEAST:g} or more, the interval above 0 and each pretraining above 0.
No: the interval within {LEAST:g} either way, or it and each pretraining below 0; but of two policies both below
{LEAST:g} nothing can be told.
"""

_REWARDS = """Of units that predicted a success; the share is a mean over them, with Student's 95 % interval. Half in:
below the mouth of the socket, but not seated; the others are beside or above. Who is told the truth cannot be wrong: no
robot has that.
"""


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

# On benches 0 and 1 of the validation connectors the rewards' thresholds were chosen.
_SMALL: dict[str, Any] = {"connectors": SMALL_PARTS, "benches": (2, 3, 4), "pretrainings": 3, "cells": "small"}
_FROM_BASE: dict[str, Any] = {"connectors": (), "split": "validation"}
_BRICKS: dict[str, Any] = {"connectors": ("duplo-2x2", "mega-brick-1x1"), "benches": (0, 1, 2, 3, 4)}


def _study(
    name: str, title: str, practices: Mapping[str, tuple[str, str]], before: Sequence[str],
    pairs: Sequence[tuple[str, str]], **how: Any,
) -> Comparison:  # fmt: skip
    """A comparison of practices, title -> variant and practice; of those `before` also what they are before it."""
    made = {title: Method(title, variant=of[0], practice=of[1]) for title, of in practices.items()}
    offline = tuple(replace(made[name], title=BEFORE + name, controller="offline") for name in before)
    usual: dict[str, Any] = {"scenarios": ("far",), "trials": (50, 100), "cells": name}
    usual["beside"] = partial(answers, pairs=pairs)
    return Comparison(name, title, methods=(*offline, *made.values()), **{**usual, **how})


_PAPERS = [("paper's, told", "paper's"), ("paper's, touch", "paper's, told")]

QUESTIONS = {
    study.name: study
    for study in (
        _study(
            "policy-bottleneck", "What the bottleneck of the policy adds, far", _POLICIES, _TOLD,
            [*((f"{when}DAIB{colours}, told", f"{when}ERM{colours}, told")
               for when in (BEFORE, "") for colours in ("", " without colours")),
             ("reward alone", "neither"), ("both", "reward alone")], **_SMALL,
        ),
        _study(
            "cameras", "Cameras, and data as the paper's, far", _CAMERAS, [*_CAMERAS][:3],
            [(name, "two at the wrist") for name in [*_CAMERAS][1:]], **_SMALL,
        ),
        _study(
            "reward-sources", "Where the reward comes from, far", _SOURCES, ["paper's", "ours"],
            [*_PAPERS, ("ours, picture", "ours")], **_FROM_BASE,
        ),
        _study(
            "brick", "Why bricks fail by the paper's practice, far",
            {title: of for title, of in _SOURCES.items() if "paper" in title}, ["paper's"], _PAPERS,
            cells="reward-sources", **_BRICKS,
        ),
        _study(
            "paper-size", "The paper's losses, practice and kind of data", {"LOTJ": ("lotj", PAPER)}, ["LOTJ"],
            [("LOTJ", BEFORE + "LOTJ")], scenarios=("near", "far"),
        ),
        _study("fewer-trials", "Fewer trials, far", _FEWER, [], [], trials=(25, 50), benches=(2,), beside=sooner,
               **_FROM_BASE),
    )
}  # fmt: skip
"""By name."""
