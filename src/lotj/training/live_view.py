"""What a person sees while a robot practises: a live table in a terminal, one plain line a trial elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WINDOW = 25
"""Trials over which the predicted success rate is taken."""

SPARK_TRIALS = 50
SPARKS = "▁▂▃▄▅▆▇█"


def clock(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def sparkline(rows: list[dict[str, float]]) -> Text:
    """One bar a trial: its height is the last frame's score, green where the trial counted as a success."""
    text = Text()
    for row in rows[-SPARK_TRIALS:]:
        height = round(min(max(row.get("score", 0.0), 0.0), 1.0) * (len(SPARKS) - 1))
        text.append(SPARKS[height], style="green" if row["predicted_success"] else "red")
    return text


def success_rate(rows: list[dict[str, float]]) -> float:
    """Share of predicted successes in the last `WINDOW` trials."""
    recent = rows[-WINDOW:]
    return sum(row["predicted_success"] for row in recent) / len(recent) if recent else 0.0


class LiveView:
    """Shows a practice run. It reads the rows that go to ``metrics.jsonl`` and nothing else.

    Args:
        title: heading, e.g. the run's folder.
        trials: number of trials of the whole run.
        past: rows of the trials already done, when a run is resumed.
        shown: False shows nothing at all.
        console: where to; the default is the standard output.
    """

    def __init__(
        self,
        title: str,
        trials: int,
        past: list[dict[str, float]] | None = None,
        shown: bool = True,
        console: Console | None = None,
    ) -> None:
        self._title = title
        self._trials = trials
        self._rows = list(past or [])
        self._past = len(self._rows)
        self._shown = shown
        self._console = console or Console()
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._shown and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._panel)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def trial(self, row: dict[str, float]) -> None:
        """Takes in the row of a finished trial."""
        self._rows.append(row)
        if self._live is not None:
            self._live.refresh()
        elif self._shown:
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a line that stays, above the table."""
        if self._shown:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _times(self) -> tuple[float, float]:
        """Seconds gone by in this sitting and seconds still to go at this pace."""
        elapsed = time.monotonic() - self._started
        done = len(self._rows) - self._past
        return elapsed, elapsed / done * (self._trials - len(self._rows)) if done else 0.0

    def _losses(self) -> dict[str, float]:
        for row in reversed(self._rows):
            losses = {name.removeprefix("loss/"): value for name, value in row.items() if name.startswith("loss/")}
            if losses:
                return losses
        return {}

    def _figures(self) -> dict[str, str]:
        row = self._rows[-1] if self._rows else {}
        elapsed, remaining = self._times()
        figures = {
            "predicted success"
            if "threshold" in row
            else "success": f"{success_rate(self._rows):.0%} of the last {min(WINDOW, len(self._rows))}",
            "score": f"{row.get('score', 0.0):.3f}",
        }
        if "threshold" in row:
            figures["score"] += f" (success from {row['threshold']:.3f})"
        if row.get("value") is not None:  # agents without values say NaN, which a file holds as null
            figures["value"] = f"{row['value']:.2f}"
        figures["losses"] = " ".join(f"{name} {value:.3g}" for name, value in self._losses().items()) or "none yet"
        figures["updates/s"] = f"{row.get('updates_per_second', 0.0):.0f}"
        figures["time"] = f"{clock(elapsed)} gone, {clock(remaining)} left"
        if row.get("alarm"):
            figures["alarm"] = "what looks seated often is not: do not trust the self-reward on this part"
        if lost := sum(row["lost"] for row in self._rows):
            figures["lost"] = f"{lost} (the part, in a trial)"
        return figures

    def _line(self) -> str:
        figures = "  ".join(f"{name} {value}" for name, value in self._figures().items())
        return f"trial {len(self._rows)}/{self._trials}  {figures}"

    def _panel(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        table.add_row("trial", Text(f"{len(self._rows)}/{self._trials}"))
        table.add_row("", ProgressBar(total=self._trials, completed=len(self._rows), width=SPARK_TRIALS))
        table.add_row("scores", sparkline(self._rows))
        for name, value in self._figures().items():
            table.add_row(name, Text(value))
        return Panel(table, title=Text(self._title), title_align="left", expand=False)
