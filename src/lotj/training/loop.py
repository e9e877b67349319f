"""A loop of updates that shows progress, logs, saves now and then, and stops cleanly on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lotj.runs import Run


class StopRequest:
    """Ctrl-C, a termination signal or a hangup, kept until the running update is done; a second Ctrl-C stops at once.

    Attributes:
        made: whether there was one.
    """

    def __init__(self) -> None:
        self.made = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(name) != signal.SIG_IGN:  # as `nohup` has it
                    self._before[name] = signal.signal(name, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.made:
            raise KeyboardInterrupt
        self.made = True


class Means:
    """Means of named numbers since they were last taken. A name may be missing in some of the updates."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, numbers: dict[str, float]) -> None:
        """Take in the numbers of one update."""
        for name, number in numbers.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + number, count + 1

    def take(self) -> dict[str, float]:
        """The means; the next ones start from nothing."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means


@dataclass(frozen=True)
class Loop:
    """One training: what it is called and how often it reports.

    Attributes:
        name: of the stream of metrics and in the progress bar.
        shown: numbers to show beside the bar.
        log_every: updates whose mean makes one line of metrics.
        save_minutes: time between checkpoints [min].
        live: show a progress bar in a terminal, or else a line at each checkpoint.
    """

    name: str
    shown: tuple[str, ...]
    log_every: int
    save_minutes: float
    live: bool

    def run(
        self, run: Run, done: int, steps: int, update: Callable[[int], dict[str, float]], save: Callable[[], None]
    ) -> None:
        """Do the updates `done` to `steps` - 1.

        Args:
            run: where metrics go. Lines beyond `done`, of updates that a kill has lost, are dropped.
            done: updates done earlier.
            steps: updates in all.
            update: does update number k and returns named numbers.
            save: writes a checkpoint of the updates done so far. Called now and then, at the end, and when stopped.

        Raises:
            KeyboardInterrupt: Ctrl-C; the checkpoint is saved.
        """
        run.rewind(done, self.name)
        means, saved, started = Means(), time.monotonic(), time.monotonic()
        console = Console()
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        text = TextColumn("{task.fields[figures]}", style="dim")
        bar = Progress(
            TextColumn("{task.description}"),
            *columns,
            text,
            console=console,
            disable=not self.live or not console.is_terminal,
        )
        with StopRequest() as stop, bar:
            task = bar.add_task(self.name, total=steps, completed=done, figures="")
            for step in range(done, steps):
                means.add(update(step))
                bar.advance(task)
                finished = step + 1
                if finished % self.log_every == 0 or finished == steps or stop.made:
                    row = means.take() | {"updates_per_second": (finished - done) / (time.monotonic() - started)}
                    run.log(finished, row, self.name)
                    figures = "  ".join(f"{name} {row[name]:.3g}" for name in self.shown if name in row)
                    bar.update(task, figures=figures)
                    due = time.monotonic() - saved > 60.0 * self.save_minutes
                    if due or finished == steps or stop.made:
                        save()
                        saved = time.monotonic()
                        if self.live and not console.is_terminal:
                            console.print(f"{self.name} {finished}/{steps}  {figures}", highlight=False, soft_wrap=True)
                if stop.made:
                    raise KeyboardInterrupt(f"{self.name}: stopped after update {finished} of {steps}, which is saved")
