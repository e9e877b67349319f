"""A loop of updates that shows progress, logs, saves now and then, and stops cleanly on Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lotj.agents import Learner
from lotj.errors import CheckpointError
from lotj.runs import Run
from lotj.training.pretrain_config import PretrainConfig


class StopRequest:
    """Ctrl-C, a termination signal or a hangup, kept until the running update is done; a second stops at once."""

    def __init__(self) -> None:
        self.made = False  # whether there was one
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


def means(updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the numbers of updates, by name; each over those that have it."""
    found: dict[str, list[float]] = {}
    for numbers in updates:
        for name, number in numbers.items():
            found.setdefault(name, []).append(number)
    return {name: sum(values) / len(values) for name, values in found.items()}


def resume(run: Run, name: str, learner: Learner, made_with: Mapping[str, Any]) -> None:
    """Take up the run's checkpoint of a training, if it has one; CheckpointError where it was begun with other settings
    or data."""
    if not run.has(name):
        return
    state = run.load(name, str(learner.device))
    for what, value in made_with.items():
        if state.get(what) != value:
            raise CheckpointError(
                f"the {name} in {run.path} was begun with other {what}: resume with those it was begun with, or start "
                "a new run"
            )
    learner.restore(state["agent"])


def train(
    run: Run,
    name: str,
    learner: Learner,
    made_with: Mapping[str, Any],
    steps: int,
    update: Callable[[int], dict[str, float]],
    often: PretrainConfig,
    live: bool,
    shown: Sequence[str],
) -> None:
    """Do the updates of a training that are still to do.

    Args:
        run: where metrics go. Lines of updates that a kill has lost are dropped.
        name: of the checkpoint, of the stream of metrics and in the progress bar.
        learner: its state is saved now and then, at the end, and when stopped, see `resume`.
        made_with: what must be the same when the training is resumed, as plain values.
        steps: updates in all.
        update: does update number k and returns named numbers.
        often: when to log and save.
        live: show a progress bar in a terminal, or else a line at each checkpoint.
        shown: numbers to show beside the bar.

    Raises:
        KeyboardInterrupt: Ctrl-C; the checkpoint is saved.
    """
    done = learner.updates
    run.rewind(done, name)
    if not steps:
        run.save(name, {"agent": learner.state(), **made_with})
    numbers: list[dict[str, float]] = []
    saved = started = time.monotonic()
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    figures_column = TextColumn("{task.fields[figures]}", style="dim")
    hidden = not live or not console.is_terminal
    bar = Progress(*columns, TimeRemainingColumn(), figures_column, console=console, disable=hidden)
    with StopRequest() as stop, bar:
        task = bar.add_task(name, total=steps, completed=done, figures="")
        for finished in range(done + 1, steps + 1):
            numbers.append(update(finished - 1))
            bar.advance(task)
            last = finished == steps or stop.made
            if finished % often.log_every == 0 or last:
                row = means(numbers) | {"updates_per_second": (finished - done) / (time.monotonic() - started)}
                numbers.clear()
                run.log(finished, row, name)
                figures = "  ".join(f"{key} {row[key]:.3g}" for key in shown if key in row)
                bar.update(task, figures=figures)
                if last or time.monotonic() - saved > 60.0 * often.save_minutes:
                    run.save(name, {"agent": learner.state(), **made_with})
                    saved = time.monotonic()
                    if live and hidden:
                        console.print(f"{name} {finished}/{steps}  {figures}", highlight=False, soft_wrap=True)
            if stop.made:
                raise KeyboardInterrupt(f"{name}: stopped after update {finished} of {steps}, which is saved")
