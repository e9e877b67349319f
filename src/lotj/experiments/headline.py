"""What is said of practice besides success: robot time, false successes, the targets, predictions and the leaderboard.

A unit is a connector with one pretraining on one bench: its practices near and far, which share policy and bench.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lotj.data.pictures import figure_svg
from lotj.evaluation.statistics import reliable_units, sign_flip
from lotj.experiments.study import RESET_S, after
from lotj.experiments.tables import ALL, markdown, mean_words

PREDICTIONS = Path("docs/predictions.md")
"""Says which of the blind connectors are expected to be hard; no program names them."""

BLIND_UNITS = 24
"""As predicted there."""

RELIABLE = 0.95
"""A unit is reliable that succeeds in this share of its trials: 19 of 20."""

SHARE = 0.8
"""The leaderboard is about when this share of units is reliable."""

_LEADERBOARD = f"""# Leaderboard

How soon practice gets there: trials, and minutes of robot time, until 19 of 20 succeed on 80 % of the units of `lotj
reproduce headline`, which adds a row when all of them are done. A unit is a test connector with one of two pretrainings
on one bench: two practices, near and far, whose counts are added and whose minutes are averaged. Robot time is motions
and {RESET_S:g} s a reset, without the computer's.

| begun | commit | what changed | trials | robot minutes | units at 19 or 20 of 20 |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Practised:
    """One practice and its evaluations.

    Attributes:
        start: connector and scenario, as the table's row.
        unit: pretraining, robot and bench.
        trials: after which the policy was evaluated.
        result: of `practice_job`.
    """

    start: str
    unit: str
    trials: tuple[int, ...]
    result: Mapping[str, Any]

    def outcome(self, name: str | int = -1) -> Mapping[str, Any]:
        """An evaluation, of a controller or at a place among `trials`."""
        return self.result["evaluations"][name if isinstance(name, str) else after(self.trials[name])]

    def minutes(self, place: int = -1) -> float:
        """Robot time of practice up to a place among `trials`."""
        return self.practice["robot_minutes"][after(self.trials[place])]

    @property
    def true_successes(self) -> int:
        """Trials of practice that truly were successes, seen or not."""
        return self.practice["predicted"] - self.practice["false"] + self.practice["missed"]

    def reliable(self, name: str | int = -1) -> bool:
        """Whether 19 of 20 succeed."""
        return self.outcome(name)["successes"] >= RELIABLE * self.outcome(name)["n"]

    @property
    def practice(self) -> Mapping[str, Any]:
        """What `practice_job` says of practice."""
        return self.result["practice"]


def by_unit(practices: Sequence[Practised]) -> list[Practised]:
    """Near and far of one unit as one: counts and seconds added, robot time averaged."""
    groups: defaultdict[tuple[str, str], list[Practised]] = defaultdict(list)
    for one in practices:
        groups[one.start.split(",")[0], one.unit].append(one)
    units = []
    for (connector, name), group in groups.items():
        found, went = [one.result["evaluations"] for one in group], [one.practice for one in group]
        evaluations = {of: {key: sum(one[of][key] for one in found) for key in found[0][of]} for of in found[0]}
        minutes = {at: float(np.mean([of["robot_minutes"][at] for of in went])) for at in went[0]["robot_minutes"]}
        practice = {key: sum(of[key] for of in went) for key in ("predicted", "false")} | {"robot_minutes": minutes}
        units.append(Practised(connector, name, group[0].trials, {"evaluations": evaluations, "practice": practice}))
    return units


def robot_time(units: Sequence[Practised]) -> str:
    """Means over units: minutes of practice on the robot, seconds of an insertion, insertions in ten minutes."""
    starts = dict.fromkeys(unit.start for unit in units)
    groups = {start: [unit for unit in units if unit.start == start] for start in starts} | {ALL: by_unit(units)}
    places, rows = range(len(units[0].trials)), []
    for start, group in groups.items():
        columns = [[unit.minutes(place) for unit in group] for place in places]
        for figure in (_insertion, _throughput):
            columns += [[figure(unit.outcome(name)) for unit in group] for name in (-1, "expert")]
        rows.append([start, *map(mean_words, columns)])
    head = ["start", *(f"minutes of {count} trials" for count in units[0].trials)]
    return (
        "## Robot time\n\n"
        + markdown([*head, "s an insertion", "expert's", "insertions in 10 min", "expert's"], rows)
        + "\nMean over units, half width of Student's 95 % interval. Practice: ten motions a second, with those of\n"
        f"verification and extraction, and {RESET_S:g} s a reset, without the computer's. An insertion: motions of\n"
        "the evaluation trials that succeed after practice, beside those of the scripted expert, who knows where\n"
        "the socket is. In ten minutes: with resets and failures.\n"
    )


def in_practice(units: Sequence[Practised]) -> str:
    """What happened in practice, unit by unit."""
    said, false, lost = (sum(unit.practice[key] for unit in units) for key in ("predicted", "false", "lost"))
    counts = ["predicted", "false", "missed", "lost", "alarms"]
    rows = []
    for unit in units:
        of = unit.practice
        last = ["yes" if of["alarm"] else "no", f"of trial {of['kept']}", f"{unit.minutes():.1f}"]
        rows.append([unit.start, unit.unit, *(str(of[key]) for key in counts), *last])
    return (
        f"## In practice\n\n{said} predicted successes, {false} of them false; {lost} lost parts.\n\n"
        + markdown(["start", "unit", *counts, "alarm at the end", "policy kept", "robot minutes"], rows)
        + "\nPredicted: trials that the robot took for a success; false: those of them that were none; missed:\n"
        "successes that it did not see; alarms: trials under alarm.\n"
    )


def draw_judge(practices: Sequence[Practised]) -> bytes:
    """What the judge is worth against what practice makes of it, one point a practice, a colour a connector: share of
    the predicted successes that were true, and success after practice [%], as SVG. Points are moved apart a little."""
    rng = np.random.default_rng(0)
    figure = Figure((7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    connectors = dict.fromkeys(of.start.split(",")[0] for of in practices)
    axes.set_prop_cycle(color=mpl.colormaps["tab20"].colors[: max(len(connectors), 2)])  # type: ignore[attr-defined]
    for connector in connectors:
        own = [of for of in practices if of.start.split(",")[0] == connector and of.practice["predicted"]]
        true = [100.0 * (1.0 - of.practice["false"] / of.practice["predicted"]) for of in own]
        after = [100.0 * of.outcome()["successes"] / of.outcome()["n"] for of in own]
        moved = np.array([true, after]) + rng.uniform(-0.6, 0.6, (2, len(own)))
        axes.scatter(*moved, label=connector, alpha=0.7, linewidths=0)
    axes.set(xlabel="% of predicted successes that were true", ylabel="% success after practice")
    axes.set(xlim=(-3, 103), ylim=(-3, 103))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure_svg(figure)


def against_first(methods: Mapping[str, Sequence[Practised]]) -> str:
    """Each method of practice beside the first: how soon and how well it succeeds, and what it claims falsely."""
    ours = {(unit.start, unit.unit): unit for unit in next(iter(methods.values()))}
    rows = []
    for title, units in methods.items():
        pairs = [(unit, ours[unit.start, unit.unit]) for unit in units if (unit.start, unit.unit) in ours]
        more = [unit.true_successes - other.true_successes for unit, other in pairs]
        stages = [mean_words([unit.outcome(place)["successes"] for unit in units]) for place in range(-2, 0)]
        p = f"; p {sign_flip(more):.2g}" if any(more) else ""
        false, lost = (str(sum(unit.practice[key] for unit in units)) for key in ("false", "lost"))
        done = mean_words([unit.true_successes for unit in units])
        rows.append([title, str(len(units)), *stages, done, mean_words(more) + p, false, lost])
    trials = next((units[0].trials for units in methods.values() if units), (0, 0))
    head = [*(f"after {count}" for count in trials[-2:]), f"in the {trials[-1]} trials"]
    return (
        "## Beside the first\n\n"
        + markdown(["practice", "units", *head, "more than the first", "false", "lost parts"], rows)
        + "\nTrue successes, mean over units and half width of Student's 95 % interval: in the evaluation after so\n"
        "much practice, and in practice itself, where the difference is over shared units with p by sign flips. False\n"
        "successes and lost parts in practice, of all units together.\n"
    )


def targets(practices: Sequence[Practised]) -> str:
    """The headline's targets, each yes or no. What is asked of every unit must hold near and far."""
    units, half = by_unit(practices), max(len(practices[0].trials) - 2, 0)
    claiming = [unit for unit in units if unit.practice["predicted"]]
    false, doubtful = ([of for of in some if of.practice["false"] > 0.005 * of.practice["predicted"]]
                       for some in (claiming, practices))  # fmt: skip
    silent = [of for of in doubtful if not of.practice["alarm"]]
    worse = [of for of in practices if of.outcome()["successes"] < of.outcome("offline")["successes"]]
    told: list[tuple[str, bool | None, str]] = []
    for share, place in ((0.95, -1), (0.8, half)):
        met = sum(unit.reliable(place) for unit in units) >= share * len(units)
        what = f"19 of 20 after {units[0].trials[place]} trials on {100 * share:.0f} % of units"
        told.append((what, met, reliable_words(units, place)))
    found = f"{len(claiming) - len(false)} of {len(claiming)} units that predict any"
    rare = len(false) <= 0.05 * len(claiming) if claiming else None
    told.append(("false successes at most 0.5 % of predicted on 95 % of units", rare, found))
    alarmed = not silent if doubtful else None
    told.append(("an alarm on every unit with more", alarmed, _names(silent) if doubtful else "no unit has more"))
    told.append(("no unit worse after practice than before", not worse, _names(worse)))
    return _verdicts("Targets", told)


def predictions(units: Sequence[Practised], page: Path = PREDICTIONS) -> str:
    """What docs/predictions.md says of the blind run, each yes or no by its rules, under which a missing unit has not
    succeeded."""
    k = [unit.outcome()["successes"] for unit in units]
    before = sum(unit.outcome("offline")["successes"] for unit in units)
    said, false = (sum(unit.practice[key] for unit in units) for key in ("predicted", "false"))
    good = [unit.start.split(",")[0] for unit in units if unit.reliable()]
    low = sum(count < 10 for count in k) + BLIND_UNITS - len(units)
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    kinds = dict(re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (easy|hard) \|$", text, re.MULTILINE))
    easy, hard = (
        (sum(kinds.get(name) == kind for name in good), 2 * [*kinds.values()].count(kind)) for kind in ("easy", "hard")
    )
    told: list[tuple[str, bool | None, str]] = [
        (f"19 of 20 on 19 or more of {BLIND_UNITS} units", len(good) >= 19, reliable_words(units, -1)),
        (f"440 or more of {20 * BLIND_UNITS} after practice", sum(k) >= 440, str(sum(k))),
        (f"60 to 200 of {20 * BLIND_UNITS} before", 60 <= before <= 200, str(before)),
        ("at most 2 units below 10 of 20", low <= 2, str(low)),
        ("at most 3 in 100 predicted successes false", false <= 0.03 * said, f"{false} of {said}"),
    ]
    higher = easy[0] * hard[1] > hard[0] * easy[1] if kinds else None
    shares = "{} of {}, {} of {}".format(*easy, *hard)
    told.append(("the easy connectors' share of such units is higher than the hard ones'", higher, shares))
    both = sum(good.count(name) == 2 for name in set(good))
    return _verdicts("Predictions", told) + f"\nBoth units at 19 or 20: {both} of {BLIND_UNITS // 2} connectors.\n"


def leaderboard(text: str, units: Sequence[Practised], changed: str) -> str:
    """The page `text` with the row of a finished headline: a new one, or in the place of that of the same run.

    Args:
        text: the page as it is, or nothing.
        changed: what is new since the row before; "" keeps what the row says already.
    """
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if re.match(r"\| \d{4}-", line)}
    made, units = [unit.result["made"] for unit in units], by_unit(units)
    begun = min(of["begun"] for of in made)
    changed = changed.replace("|", "/") or (rows[begun].split("|")[3].strip() if begun in rows else "-")
    good = [sum(unit.reliable(place) for unit in units) for place in range(len(units[0].trials))]
    there = next((place for place, count in enumerate(good) if count >= SHARE * len(units)), None)
    more = "> " if there is None else ""
    minutes = np.mean([unit.minutes(-1 if there is None else there) for unit in units])
    counts = [f"{sum(unit.reliable('offline') for unit in units)} before"]
    counts += [f"{count} after {n}" for count, n in zip(good, units[0].trials, strict=True)]
    cells = [begun, ", ".join(dict.fromkeys(of["commit"] or "?" for of in made)), changed]
    cells += [f"{more}{units[0].trials[-1 if there is None else there]}", f"{more}{minutes:.1f}"]
    rows[begun] = f"| {' | '.join(cells)} | {', '.join(counts)}, of {len(units)} |"
    return _LEADERBOARD + "".join(f"{rows[key]}\n" for key in sorted(rows))


def reliable_words(units: Sequence[Practised], place: int) -> str:
    """How many units are reliable, with the interval of their share."""
    outcomes = [unit.outcome(place) for unit in units]
    good, low, high = reliable_units([of["successes"] for of in outcomes], [of["n"] for of in outcomes], RELIABLE)
    return f"{good} of {len(units)} units, Clopper-Pearson {100 * low:.0f}-{100 * high:.0f} %"


def _insertion(outcome: Mapping[str, Any]) -> float:
    """Seconds of motion of a trial that succeeded; NaN without any."""
    return outcome["success_seconds"] / outcome["successes"] if outcome["successes"] else float("nan")


def _throughput(outcome: Mapping[str, Any]) -> float:
    """Successes in ten minutes of robot time."""
    return 600.0 * outcome["successes"] / (outcome["seconds"] + RESET_S * outcome["n"])


def _names(units: Sequence[Practised]) -> str:
    return f"exceptions: {'; '.join(f'{unit.start}, {unit.unit}' for unit in units) or 'none'}"


def _verdicts(title: str, told: Sequence[tuple[str, bool | None, str]]) -> str:
    words = {True: "yes", False: "**no**", None: "cannot tell"}
    return f"## {title}\n\n" + "".join(f"- {what}: {words[met]} ({found})\n" for what, met, found in told)
