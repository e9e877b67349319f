"""``lotj evaluate``: count true successes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.progress import Progress

from lotj.cli.job import OfRun, OnDevice, announce_renderer, find_device, is_insertion, pick_run, results_table, say
from lotj.evaluation import EvaluationResult
from lotj.ranges import COUNT, Interval
from lotj.runs import Run


@dataclass(frozen=True)
class Command(OnDevice, OfRun):
    """Count true successes before and after practice, and of hand-made baselines, from the same starts."""

    trials: Annotated[int, COUNT] = 20
    """Trials of each controller."""
    controllers: tuple[str, ...] = ()
    """Which to evaluate: offline, practice, and the scripted expert. On connectors also straight-down, random-search,
    spiral-search, localize, and each of the three searches with localize- before its name, to start from where a model
    says the socket is. By default the policies and, on connectors, straight-down and spiral-search, else expert."""
    spread: Annotated[float, Interval(0, 2)] = 1.0
    """Share of the learned policy's standard deviation that its actions vary by; 0 takes its mean action."""

    def run(self) -> None:
        run = pick_run(self.folder, self.runs, "practice")
        console = Console()
        say(console, f"practice: {run.path}")
        if is_insertion(run):
            announce_renderer(console)
        device = find_device(self.device)
        results = evaluate_with_bar(run, self.trials, device, console, self.spread, self.controllers)
        console.print(results_table(results))
        say(console, f"{run.path}: make its page with `lotj report {shlex.quote(str(run.path))}`")


def evaluate_with_bar(
    run: Run, trials: int, device: str, console: Console, spread: float = 1.0, controllers: Sequence[str] = ()
) -> list[EvaluationResult]:
    """Evaluate a practice run behind a progress bar."""
    from lotj.experiments.evaluation import evaluate_phase

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, int] = {}

        def on_trial(name: str) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=trials)
            bar.advance(tasks[name])  # type: ignore[arg-type]

        return evaluate_phase(run, trials, device, on_trial, spread, controllers)
