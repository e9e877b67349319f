"""What a person sees while a robot practises: a live table in a terminal, one plain line a trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lotj.runs import Run

WINDOW = 25
"""Trials over which the predicted success rate is taken."""

ALARM = (
    "the robot's own reward sees hardly any success, and the policy stays as it was before practice; if nothing holds "
    "the part in its seat (a peg, a screw), say --no-retention"
)
"""What an alarm says."""

SPARK_TRIALS = 50
SPARKS = "▁▂▃▄▅▆▇█"


class Watcher(Protocol):
    """Who else looks on while a robot practises. All is called in the thread of practice."""

    def begin(self, run: Run, practitioner: Any, trials: int) -> None:
        """Practice of so many trials in all begins, or goes on; what was recorded before is in the run. Of several
        robots the first is the `practitioner`."""

    def ready(self) -> bool:
        """Before each trial: waits as long as practice is to wait; False stops it."""
        ...

    def trial(self, row: dict[str, Any]) -> None:
        """A trial is finished, stored and learnt from."""

    def note(self, text: str) -> None:
        """A line about what has happened."""


class LiveView:
    """Shows a practice run. It reads the rows that go to ``metrics.jsonl`` and nothing else.

    Args:
        title: heading, e.g. the run's folder.
        trials: number of trials of the whole run.
        past: rows of the trials already done, when a run is resumed.
        shown: False shows nothing at all.
        console: where to; the default is the standard output.
        watcher: is told the same.
    """

    def __init__(
        self,
        title: str,
        trials: int,
        past: Sequence[dict[str, float]] = (),
        shown: bool = True,
        console: Console | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self._watcher = watcher
        self._title, self._trials, self._shown = title, trials, shown
        self._rows = list(past)
        self._past = len(self._rows)
        self._console = console or Console()
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._shown and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._panel)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def trial(self, row: dict[str, float]) -> None:
        """Takes in the row of a finished trial."""
        self._rows.append(row)
        if self._watcher is not None:
            self._watcher.trial(row)
        if self._live is not None:
            self._live.refresh()
        elif self._shown:
            figures = "  ".join(f"{name} {value}" for name, value in self.figures().items())
            self._print(f"trial {len(self._rows)}/{self._trials}  {figures}")

    def ready(self) -> bool:
        """See `Watcher.ready`."""
        return self._watcher is None or self._watcher.ready()

    def note(self, text: str) -> None:
        """Prints a line that stays, above the table."""
        if self._watcher is not None:
            self._watcher.note(text)
        self._print(text)

    def _print(self, text: str) -> None:
        if self._shown:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def figures(self) -> dict[str, str]:
        """What is shown, name -> text."""
        row = self._rows[-1] if self._rows else {}
        elapsed, done = time.monotonic() - self._started, len(self._rows) - self._past
        remaining = elapsed / done * (self._trials - len(self._rows)) if done else 0.0  # at the pace of this sitting
        recent = [row["predicted_success"] for row in self._rows[-WINDOW:]]
        figures = {
            "predicted success" if "threshold" in row else "success": f"{sum(recent) / max(len(recent), 1):.0%} of the "
            f"last {len(recent)}",
            "score": f"{row.get('score', 0.0):.3f}",
        }
        if "threshold" in row:
            figures["score"] += f" (success from {row['threshold']:.3f})"
        if row.get("value") is not None:  # agents without values say NaN, which a file holds as null
            figures["value"] = f"{row['value']:.2f}"
        learnt = next((row for row in reversed(self._rows) if any(name.startswith("loss/") for name in row)), {})
        losses = {name[5:]: value for name, value in learnt.items() if name.startswith("loss/")}
        figures["losses"] = " ".join(f"{name} {value:.3g}" for name, value in losses.items()) or "none yet"
        figures["updates/s"] = f"{row.get('updates_per_second', 0.0):.0f}"
        gone, left = (timedelta(seconds=int(seconds)) for seconds in (elapsed, remaining))
        figures["time"] = f"{gone} gone, {left} left"
        if row.get("alarm"):
            figures["alarm"] = ALARM
        if lost := sum(row["lost"] for row in self._rows):
            figures["lost"] = f"{lost} (the part, in a trial)"
        return figures

    def _panel(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        table.add_row("trial", Text(f"{len(self._rows)}/{self._trials}"))
        table.add_row("", ProgressBar(total=self._trials, completed=len(self._rows), width=SPARK_TRIALS))
        scores = Text()  # a bar a trial: the last frame's score, green where the trial counted as a success
        for row in self._rows[-SPARK_TRIALS:]:
            height = round(min(max(row.get("score", 0.0), 0.0), 1.0) * (len(SPARKS) - 1))
            scores.append(SPARKS[height], style="green" if row["predicted_success"] else "red")
        table.add_row("scores", scores)
        for name, value in self.figures().items():
            table.add_row(name, Text(value))
        return Panel(table, title=Text(self._title), title_align="left", expand=False)
