"""Tables of success counts as the paper prints them: seeds summed up, the best of each row marked, the paper beside."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table
from scipy import stats

from lotj.errors import SettingsError
from lotj.evaluation import Aggregate, aggregate, barnard, wilson

SIGNIFICANCE = 0.05
"""Methods whose difference to the best has a larger p-value are marked as best, too."""

PAPER_N = 20
"""Trials of each of the paper's cells."""


@dataclass(frozen=True)
class Cell:
    """One method on one connector.

    Attributes:
        successes: of each seed.
        n: trials of each seed.
        paper: the paper's successes of `PAPER_N`; None where it has none.
    """

    successes: tuple[int, ...]
    n: tuple[int, ...]
    paper: int | None = None

    @property
    def total(self) -> Aggregate:
        """All seeds together."""
        return aggregate(self.successes, self.n)


@dataclass(frozen=True)
class SuccessTable:
    """Rows are connectors, columns methods. Text and page show it the other way round: there are more methods.

    Attributes:
        title: what it shows.
        columns: titles of the methods.
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

    def best(self, row: str) -> list[bool]:
        """Which methods of a row are best: that of the highest rate, and those that Barnard's exact test does not tell
        from it (LOTJ, table I). None is, where nothing has succeeded."""
        totals = [cell.total if cell else None for cell in self.rows[row]]
        known = [total for total in totals if total]
        top = max(known, key=lambda total: total.successes / total.n, default=None)
        if top is None or top.successes == 0:
            return [False] * len(totals)
        return [
            total is not None and barnard(top.successes, top.n, total.successes, total.n) >= SIGNIFICANCE
            for total in totals
        ]

    def as_text(self) -> Table:
        """For 80 columns: counts of all seeds, in brackets the paper's of 20, 95 % interval; best marked."""
        table = Table(title=self.title, title_justify="left", caption="\n".join(self.notes), caption_justify="left")
        table.add_column("method")
        for name in self.rows:
            table.add_column(name, justify="right")
        for title, cells in self._by_method().items():
            words = [_words(cell).replace(" (", "\n(") for cell, _ in cells]
            marked = [f"[bold]*{w}[/bold]" if best else w for w, (_, best) in zip(words, cells, strict=True)]
            table.add_row(title, *marked)
        return table

    def as_csv(self) -> str:
        """One line a connector and method: counts of each seed and of all, interval, the paper's count."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("connector", "method", "successes", "n", "low", "high", "by_seed", "best", "paper_of_20"))
        for name, cells in self.rows.items():
            for title, cell, mark in zip(self.columns, cells, self.best(name), strict=True):
                if cell is None:
                    continue
                total = cell.total
                by_seed = " ".join(f"{k}/{n}" for k, n in zip(cell.successes, cell.n, strict=True))
                numbers = (total.successes, total.n, f"{total.low:.3f}", f"{total.high:.3f}", by_seed)
                writer.writerow((name, title, *numbers, int(mark), "" if cell.paper is None else cell.paper))
        return out.getvalue()

    def as_html(self) -> str:
        """A `<table>` without anything from outside, best in `<strong>`."""
        rows = {
            title: [f"<strong>{_words(cell)}</strong>" if best else _words(cell) for cell, best in cells]
            for title, cells in self._by_method().items()
        }
        return _html(self.title, list(self.rows), rows, self.notes)

    def _by_method(self) -> dict[str, list[tuple[Cell | None, bool]]]:
        """Method -> for each connector its cell, and whether it is a best one there."""
        marks = [self.best(name) for name in self.rows]
        cells = list(self.rows.values())
        return {
            title: [(row[k], mark[k]) for row, mark in zip(cells, marks, strict=True)]
            for k, title in enumerate(self.columns)
        }


@dataclass(frozen=True)
class FigureTable:
    """Rows are methods, columns figures with their intervals.

    Attributes:
        title: what it shows.
        columns: titles of the figures.
        rows: method -> for each figure its mean and half width of the interval (None: there is none), or None.
        notes: lines below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[tuple[float, float | None] | None]]
    notes: Sequence[str] = field(default_factory=tuple)

    def as_text(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left", caption="\n".join(self.notes), caption_justify="left")
        table.add_column("method")
        for title in self.columns:
            table.add_column(title, justify="right")
        for name, cells in self.rows.items():
            table.add_row(name, *map(_figure, cells))
        return table

    def as_csv(self) -> str:
        """One line a method and figure."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("method", "figure", "mean", "half_width"))
        for name, cells in self.rows.items():
            for title, cell in zip(self.columns, cells, strict=True):
                if cell is not None:
                    mean, width = cell
                    writer.writerow((name, title, f"{mean:.4f}", "" if width is None else f"{width:.4f}"))
        return out.getvalue()

    def as_html(self) -> str:
        """A `<table>` without anything from outside."""
        rows = {name: [_figure(cell) for cell in cells] for name, cells in self.rows.items()}
        return _html(self.title, self.columns, rows, self.notes)


def mean_interval(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    """Mean and half width of its 95 % interval; None where a variant lacks the figure, no width of one value."""
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return None
    if len(known) == 1:
        return float(known[0]), None
    width = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return float(known.mean()), float(width)


def count_words(successes: int, n: int, paper: str = "", mark: str = "") -> str:
    """Of n, the paper's in brackets if it has any, Wilson's 95 % interval; e.g. ``**9**/10 [19] (60-98 %)``.

    Args:
        successes, n: counts.
        paper: its own, as it is to be shown.
        mark: to the left and right of the successes.
    """
    low, high = wilson(successes, n)
    beside = f" [{paper}]" if paper else ""
    return f"{mark}{successes}{mark}/{n}{beside} ({100 * low:.0f}-{100 * high:.0f} %)"


def _figure(cell: tuple[float, float | None] | None) -> str:
    """e.g. ``0.912 +- 0.021``."""
    if cell is None:
        return "-"
    mean, width = cell
    return f"{mean:.3f}" if width is None else f"{mean:.3f} \u00b1 {width:.3f}"


def _html(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], notes: Sequence[str]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    lines = [f"<table><caption>{html.escape(title)}</caption><thead><tr><td></td>{head}</tr></thead><tbody>"]
    for name, cells in rows.items():
        data = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{data}</tr>')
    lines.append("</tbody></table>")
    return "\n".join(lines + [f"<p>{html.escape(note)}</p>" for note in notes]) + "\n"


def _words(cell: Cell | None) -> str:
    """e.g. ``31/40 [15] (62-88 %)``."""
    if cell is None:
        return "-"
    return count_words(cell.total.successes, cell.total.n, "" if cell.paper is None else str(cell.paper))
