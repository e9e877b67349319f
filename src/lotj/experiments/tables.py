"""Tables of success counts as the paper prints them: units summed up, the best of each row marked, the paper beside."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from rich.table import Table
from scipy import stats

from lotj.errors import SettingsError
from lotj.evaluation import sign_flip, unit_interval

SIGNIFICANCE = 0.05
"""A method whose difference to the best, over the units that both have, has a smaller p-value is worse."""

PAPER_N = 20
"""Trials of each of the paper's cells."""

ALL = "all"
"""The row of all connectors together."""


@dataclass(frozen=True)
class Cell:
    """One method on one connector, or on all.

    Attributes:
        units: what each count is of, a pretraining on a bench, e.g. ``seed0.duo.0``; methods are paired by them.
        successes, n: of each unit, of how many trials.
        paper, paper_n: the paper's successes (None where it has none), of how many.
    """

    units: tuple[str, ...]
    successes: tuple[int, ...]
    n: tuple[int, ...]
    paper: int | None = None
    paper_n: int = PAPER_N

    @property
    def rates(self) -> dict[str, float]:
        """Unit -> rate of success."""
        return {unit: k / n for unit, k, n in zip(self.units, self.successes, self.n, strict=True)}

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """`unit_interval`; None of a single unit."""
        return unit_interval(self.successes, self.n) if len(self.units) > 1 else None

    @property
    def paper_words(self) -> str:
        """e.g. ``15``, of more than one of the paper's cells ``65/80``; empty where it has none."""
        count = "" if self.paper is None else str(self.paper)
        return f"{count}/{self.paper_n}" if count and self.paper_n != PAPER_N else count

    @property
    def words(self) -> str:
        """e.g. ``31/40 [15] (62-88 %)``."""
        return count_words(sum(self.successes), sum(self.n), self.interval, self.paper_words)

    def p_against(self, other: Cell) -> float:
        """`sign_flip` over the units that both have; 1 where they share none."""
        theirs = other.rates
        differences = [rate - theirs[unit] for unit, rate in self.rates.items() if unit in theirs]
        return sign_flip(differences, np.random.default_rng(0))


@dataclass(frozen=True)
class SuccessTable:
    """Rows are connectors, columns methods. Text shows it the other way round: there are more methods.

    Attributes:
        title, columns: of the table, of the methods.
        rows: connector -> a cell for each method; None where it is not measured (yet).
        notes: lines below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Cell | None]]
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for name, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise SettingsError(f"table row {name!r}: {len(cells)} cells for {len(self.columns)} columns")

    @cached_property
    def shown(self) -> dict[str, Sequence[Cell | None]]:
        """The rows and, of more than one, `ALL`: there are units enough to tell methods apart, if anywhere."""
        if len(self.rows) < 2:
            return dict(self.rows)
        columns = zip(*self.rows.values(), strict=True)
        return {**self.rows, ALL: [_pooled(dict(zip(self.rows, column, strict=True))) for column in columns]}

    def verdicts(self, row: str) -> list[tuple[str, float | None]]:
        """What can be said of each method of a row of `shown`, and its p-value against the best of them.

        Returns:
            ``best``; ``cannot tell`` from the best; ``worse``; empty where it is not measured. Where none is worse, or
            nothing has succeeded, all are ``cannot tell``: so it is always with fewer than 6 units.
        """
        cells = self.shown[row]
        top = max((cell for cell in cells if cell), key=lambda cell: np.mean([*cell.rates.values()]), default=None)
        ps = [None if cell is None or top is None or cell is top else top.p_against(cell) for cell in cells]
        worse = [p is not None and p < SIGNIFICANCE for p in ps]
        best = "best" if any(worse) else "cannot tell"
        words = ["worse" if low else best if p is None else "cannot tell" for low, p in zip(worse, ps, strict=True)]
        return [("" if cell is None else word, p) for cell, word, p in zip(cells, words, ps, strict=True)]

    def as_text(self) -> Table:
        """For 80 columns: counts of all units, in brackets the paper's, 95 % interval over units; best marked."""
        marks = {}
        for name in self.shown:
            verdicts = [verdict for verdict, _ in self.verdicts(name)]
            marks[name] = ["best" in verdicts and verdict in ("best", "cannot tell") for verdict in verdicts]
        rows = {}
        for place, title in enumerate(self.columns):
            cells = {name: row[place] for name, row in self.shown.items()}
            words = {name: cell.words.replace(" (", "\n(") if cell else "-" for name, cell in cells.items()}
            rows[title] = [f"[bold]*{w}[/bold]" if marks[name][place] else w for name, w in words.items()]
        return _text(self.title, list(self.shown), rows, self.notes)

    def as_csv(self) -> str:
        """One line a connector and method: counts of all and of each unit, interval, verdict, the paper's count."""
        lines = []
        for name, cells in self.shown.items():
            for title, cell, (verdict, p) in zip(self.columns, cells, self.verdicts(name), strict=True):
                if cell is None:
                    continue
                by_unit = " ".join(f"{u}={k}/{n}" for u, k, n in zip(cell.units, cell.successes, cell.n, strict=True))
                ends = [f"{end:.3f}" for end in cell.interval or unit_interval(cell.successes, cell.n)]
                numbers = (sum(cell.successes), sum(cell.n), *ends, len(cell.units), by_unit)
                lines.append((name, title, *numbers, verdict, "" if p is None else f"{p:.4f}", cell.paper_words))
        return _csv("connector method successes n low high units by_unit verdict p paper", lines)


@dataclass(frozen=True)
class FigureTable:
    """Rows are methods, columns figures with their intervals.

    Attributes:
        title, columns: of the table, of the figures.
        rows: method -> for each figure its mean and half width of the interval (None: there is none), or None.
        notes: lines below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[tuple[float, float | None] | None]]
    notes: Sequence[str] = field(default_factory=tuple)

    def as_text(self) -> Table:
        """For the terminal."""
        rows = {name: [_figure(cell) for cell in cells] for name, cells in self.rows.items()}
        return _text(self.title, self.columns, rows, self.notes)

    def as_csv(self) -> str:
        """One line a method and figure."""
        lines = [
            (name, title, f"{cell[0]:.4f}", "" if cell[1] is None else f"{cell[1]:.4f}")
            for name, cells in self.rows.items()
            for title, cell in zip(self.columns, cells, strict=True)
            if cell is not None
        ]
        return _csv("method figure mean half_width", lines)


def _text(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], notes: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", caption="\n".join(notes), caption_justify="left")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _csv(head: str, lines: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head.split(), *lines])
    return out.getvalue()


def known_mean(values: Sequence[float | None] | np.ndarray) -> float | None:
    """Mean of those that are neither None nor NaN."""
    return (mean_interval(values) or (None,))[0]


def mean_interval(values: Sequence[float | None] | np.ndarray) -> tuple[float, float | None] | None:
    """Mean over units and half width of Student's 95 % interval; None where a variant lacks the figure, no width of one
    value. None and NaN are left out."""
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return (float(known[0]), None) if len(known) else None
    mean, width = known.mean(), stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)
    return float(mean), float(width)


def count_words(successes: int, n: int, interval: tuple[float, float] | None, paper: str = "", mark: str = "") -> str:
    """Of n, the paper's in brackets if it has any, the interval over units; e.g. ``**9**/10 [19] (60-98 %)``.

    Args:
        successes, n: counts.
        interval: ends, in [0, 1]; None of a single unit, which is called one run.
        paper: its own, as it is to be shown.
        mark: to the left and right of the successes.
    """
    ends = "one run" if interval is None else f"{100 * interval[0]:.0f}-{100 * interval[1]:.0f} %"
    return f"{mark}{successes}{mark}/{n}{f' [{paper}]' if paper else ''} ({ends})"


def _pooled(cells: Mapping[str, Cell | None]) -> Cell | None:
    """A method's cells of all connectors as one; the paper's count is of those that are measured."""
    known = {name: cell for name, cell in cells.items() if cell is not None}
    if not known:
        return None
    papers = [cell for cell in known.values() if cell.paper is not None]
    return Cell(
        tuple(f"{name.replace(' ', '-')}.{unit}" for name, cell in known.items() for unit in cell.units),
        tuple(k for cell in known.values() for k in cell.successes),
        tuple(n for cell in known.values() for n in cell.n),
        sum(cell.paper or 0 for cell in papers) if papers else None,
        sum(cell.paper_n for cell in papers),
    )


def _figure(cell: tuple[float, float | None] | None) -> str:
    """e.g. ``0.912 +- 0.021``."""
    if cell is None:
        return "-"
    mean, width = cell
    return f"{mean:.3f}" if width is None else f"{mean:.3f} \u00b1 {width:.3f}"
