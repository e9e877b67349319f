"""Tables in Markdown: counts over units with the best of each row marked and the paper beside, and means over units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from lotj.evaluation.statistics import sign_flip, unit_interval

SIGNIFICANCE = 0.05
"""A method whose difference to the best, over the units that both have, has a smaller p-value is worse."""

PAPER_N = 20
"""Trials of each of the paper's cells."""

ALL = "all"
"""The row of all rows together."""

NOTE = (
    "True successes; the paper's in brackets; 95 % interval of the mean over units, beta-binomial. A unit is a\n"
    "pretraining on a bench: seed, robot, seed of the bench; in the row of all, of each connector, near and far added\n"
    "up. Bold: the best, and what sign flips over shared units at 5 % do not tell from it (p, not corrected for the\n"
    "number of methods). No bold: cannot tell, as below 6 units.\n"
)
"""What a `SuccessTable` shows."""


@dataclass(frozen=True)
class Cell:
    """One method on one connector, or on all.

    Attributes:
        counts: unit, a pretraining on a bench, e.g. ``0-duo-3`` -> successes, of how many trials.
        paper, paper_n: the paper's successes (None where it has none), of how many.
    """

    counts: Mapping[str, tuple[int, int]]
    paper: int | None = None
    paper_n: int = PAPER_N

    @property
    def rates(self) -> dict[str, float]:
        """Unit -> rate of success."""
        return {unit: k / n for unit, (k, n) in self.counts.items()}

    def words(self, bold: bool = False, p: float | None = None) -> str:
        """e.g. ``31/40 [15] (62-88 %)``: the paper's in brackets, of 20 unless it is said; 95 % interval over units, of
        a single one "one run"; with p if it is given."""
        k, n = zip(*self.counts.values(), strict=True)
        of = "" if self.paper_n == PAPER_N else f"/{self.paper_n}"
        beside = "" if self.paper is None else f" [{self.paper}{of}]"
        ends = "{:.0f}-{:.0f} %".format(*(100 * end for end in unit_interval(k, n))) if len(k) > 1 else "one run"
        return f"{f'**{sum(k)}**' if bold else sum(k)}/{sum(n)}{beside} ({ends}{'' if p is None else f'; p {p:.2g}'})"

    def p_against(self, other: Cell) -> float:
        """`sign_flip` over the units that both have, by which methods are paired; 1 where they share none."""
        theirs = other.rates
        return sign_flip([rate - theirs[unit] for unit, rate in self.rates.items() if unit in theirs])


@dataclass(frozen=True)
class SuccessTable:
    """Rows are starts (a connector, a scenario), columns methods; a cell is None where it is not measured (yet)."""

    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell | None]]

    @cached_property
    def shown(self) -> dict[str, Sequence[Cell | None]]:
        """The rows and, of more than one, `ALL`: there are units enough to tell methods apart, if anywhere. There near
        and far of a connector are one unit, for they share policy and bench. Its paper's count is of what is measured.
        """
        if len(self.rows) < 2:
            return dict(self.rows)
        pooled: list[Cell | None] = []
        for column in zip(*self.rows.values(), strict=True):
            known = {name: cell for name, cell in zip(self.rows, column, strict=True) if cell}
            counts: dict[str, tuple[int, int]] = {}
            for name, cell in known.items():
                for unit, (k, n) in cell.counts.items():
                    successes, trials = counts.get(key := f"{name.split(',')[0]} {unit}", (0, 0))
                    counts[key] = (successes + k, trials + n)
            papers = [cell.paper for cell in known.values() if cell.paper is not None]
            paper = (sum(papers), PAPER_N * len(papers)) if papers else ()
            pooled.append(Cell(counts, *paper) if known else None)
        return {**self.rows, ALL: pooled}

    def against_best(self, row: str) -> list[float | None]:
        """p-value of each method of a row of `shown` against the best of them; None for that, and where nothing is
        measured."""
        cells = self.shown[row]
        best = max((cell for cell in cells if cell), key=lambda cell: np.mean([*cell.rates.values()]), default=None)
        return [cell.p_against(best) if cell and best and cell is not best else None for cell in cells]

    def as_markdown(self) -> str:
        """Bold where some are worse: the best and what cannot be told from it; p of all rows together. Whichever are
        fewer, starts or methods, are the columns."""
        words: dict[str, list[str]] = {}
        for name, cells in self.shown.items():
            ps = self.against_best(name)
            worse = [p is not None and p < SIGNIFICANCE for p in ps]
            words[name] = [
                cell.words(any(worse) and not low, p if name == ALL else None) if cell else "-"
                for cell, low, p in zip(cells, worse, ps, strict=True)
            ]
        if len(self.columns) <= len(words):
            return markdown(["start", *self.columns], [[name, *row] for name, row in words.items()])
        return markdown(["method", *words], zip(self.columns, *words.values(), strict=True))

    def by_unit(self) -> str:
        """Counts of each unit of each row."""
        lines = []
        for name, cells in self.rows.items():
            for unit in dict.fromkeys(unit for cell in cells if cell for unit in cell.counts):
                counts = [cell and cell.counts.get(unit) for cell in cells]
                lines.append([name, unit, *("{}/{}".format(*count) if count else "-" for count in counts)])
        return markdown(["start", "unit", *self.columns], lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other in plain text, too."""
    lines = [list(head), *map(list, rows)]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(map(str.ljust, line, widths))} |\n" for line in lines)


def mean_interval(values: Sequence[float | None] | np.ndarray) -> tuple[float, float | None] | None:
    """Mean over units and half width of Student's 95 % interval; None without any, no width of one value. None and NaN
    are left out."""
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return (float(known[0]), None) if len(known) else None
    mean, width = known.mean(), stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)
    return float(mean), float(width)


def known_mean(values: Sequence[float | None] | np.ndarray) -> float | None:
    """Mean of those that are neither None nor NaN."""
    return (mean_interval(values) or (None,))[0]


def mean_words(values: Sequence[float | None] | np.ndarray) -> str:
    """`mean_interval` as e.g. ``0.912 ± 0.021``."""
    mean, width = mean_interval(values) or (None, None)
    if mean is None:
        return "-"
    # twice: "140", not "1.4e+02"
    return f"{float(f'{mean:.3g}'):g}" + ("" if width is None else f" \u00b1 {float(f'{round(width, 9):.2g}'):g}")
