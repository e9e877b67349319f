"""Practice under each disturbance, beside practice without any: which of them it stands, and which break it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lotj.distributed import Job
from lotj.envs.disturbances import DISTURBANCES
from lotj.experiments.comparisons import CURVE, Comparison
from lotj.experiments.headline import Practised
from lotj.experiments.study import Asked, page, practice_job
from lotj.experiments.tables import Cell, SuccessTable, markdown, mean_words

NONE = "none"
"""The row without a disturbance."""

ROWS = (NONE, *DISTURBANCES)

BREAKS_SUCCESS, BREAKS_FALSE = 10.0, 0.03
"""A disturbance breaks practice that costs more of its successes than this, in points of 100, on average over units, or
with more than this share of the predicted successes false (docs/predictions.md)."""

_NOTE = """True successes, % of the trials of a unit: mean over units, half width of Student's 95 % interval. A unit is
a connector with a pretraining on a bench. Before and after practice, and the scripted expert, who knows where the
socket is: all under the disturbance. The difference is that of after practice to the same units without disturbance,
in points, with p by sign flips. False: predicted successes in practice that were none; missed: successes that the
robot did not see. Wrong socket: predicted successes that sat in the second one. Lost: parts lost in practice. Alarm:
units under alarm at the end. Breaks: more than 10 points below, or more than 3 in 100 predicted successes false.
"""


class Robustness(Comparison):
    """A comparison whose practices are all done under each disturbance and without."""

    def jobs(self, asked: Asked) -> list[Job]:
        plain = super().jobs(asked)
        practices = [job for job in plain if job.work is practice_job]
        made = [job for job in plain if job not in practices]
        for job, row in itertools.product(practices, ROWS):
            arguments = {**job.arguments, "disturbance": "" if row == NONE else row}
            rest = (practice_job, arguments, job.needs, job.machine)
            made.append(Job.in_folder(asked.runs / self.cells, f"{row}-{job.name}", *rest))
        return made

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        done: dict[str, list[Practised]] = {}
        for row in ROWS:
            own = {name.removeprefix(f"{row}-"): of for name, of in results.items() if name.startswith(f"{row}-")}
            done[row] = self.practised(own)
        head = ["disturbance", "units", "before", f"after {self.trials[-1]}", "difference to none", "expert"]
        head += ["false", "missed", "wrong socket", "lost", "alarm", "breaks"]
        table = markdown(head, [_line(row, units, _cell(done[NONE])) for row, units in done.items()])
        what = "".join(f"- {row}: {DISTURBANCES[row].what}\n" for row in ROWS[1:])
        shown = {"before": "offline", "after": -1, "expert": "expert"}
        cells = {row: [_cell(units, name) for name in shown.values()] for row, units in done.items() if units}
        by_unit = "## By unit\n\n" + SuccessTable([*shown], cells).by_unit()
        return {"table.md": page(self.title, [table, _NOTE, what, by_unit], results)}


def _line(row: str, units: Sequence[Practised], calm: Cell) -> list[str]:
    """A row of the table."""
    if not units:
        return [row, "0", *10 * ["-"]]
    after = _cell(units)
    before, now, expert = (
        mean_words([100 * rate for rate in _cell(units, name).rates.values()]) for name in ("offline", -1, "expert")
    )
    worse = [round(100 * (rate - calm.rates[unit]), 6) for unit, rate in after.rates.items() if unit in calm.rates]
    difference = f"{mean_words(worse)}; p {after.p_against(calm):.2g}" if worse and row != NONE else "-"
    keys = ("predicted", "false", "missed", "wrong_socket", "lost")
    said, false, missed, wrong, lost = (sum(of.practice[key] for of in units) for key in keys)
    breaks = false > BREAKS_FALSE * said or (bool(worse) and sum(worse) < -BREAKS_SUCCESS * len(worse))
    counts = [f"{false} of {said}", str(missed), f"{wrong} of {said}" if row == "second-socket" else "-", str(lost)]
    alarms = f"{sum(of.practice['alarm'] for of in units)} of {len(units)}"
    told = "**yes**" if breaks else "no" if worse else "-"
    return [row, str(len(units)), before, now, difference, expert, *counts, alarms, told]


def _cell(units: Sequence[Practised], name: str | int = -1) -> Cell:
    """Successes of an evaluation, unit by unit."""
    outcomes = {f"{of.start} {of.unit}": of.outcome(name) for of in units}
    return Cell({unit: (outcome["successes"], outcome["n"]) for unit, outcome in outcomes.items()})


ROBUSTNESS = Robustness(
    "disturbances", "Practice under disturbances, far", ("far",), CURVE,
    ("as-3112", "d-sub-da-15", "duplo-2x2"), trials=(100,), cells="disturbances",
)  # fmt: skip
"""On three validation connectors: long pins in an outlet, a shallow shell, a brick that can sit beside its studs."""
