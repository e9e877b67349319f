"""``lotj evaluate``: count true successes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Any

from rich import get_console

from lotj.cli import job
from lotj.ranges import COUNT, Interval


@dataclass(frozen=True)
class Command(job.OnDevice, job.OfRun):
    """Count true successes before and after practice, and of hand-made baselines, from the same starts."""

    trials: Annotated[int, COUNT] = 20
    """Trials of each controller."""
    controllers: tuple[str, ...] = ()
    """Which to evaluate: offline, practice, and the scripted expert. On connectors also straight-down, random-search,
    spiral-search, localize, and each of the three searches with localize- before its name, to start from where a model
    says the socket is. By default the policies and, on connectors, straight-down and spiral-search, else expert."""
    spread: Annotated[float, Interval(0, 2)] = 1.0
    """Share of the learned policy's standard deviation that its actions vary by; 0 takes its mean action."""
    recover: bool = True
    """On connectors, help a learned policy that is stuck: where the hand has not moved for two steps it is lifted a
    little and shifted at random."""
    robot: str = ""
    """Address of a served robot to evaluate on, host:port, see `lotj robot`; by default the one practised on."""
    bench: Annotated[int, COUNT] = 1
    """Of a run of several robots: the bench of this one, with its part."""
    policy: str = ""
    """A policy server that speaks openpi's protocol, ws://host:port: one more to evaluate."""

    def run(self) -> None:
        run = job.pick_run(self.folder, self.runs, "practice")
        job.say(f"practice: {run.path}")
        if run.self_judged and not self.robot:
            job.announce_renderer()
        device = job.find_device(self.device)
        from lotj.experiments.evaluation import evaluate_phase

        with job.progress_bars() as show:
            settings = (self.trials, device, show, self.spread, self.controllers)
            how: dict[str, Any] = {"robot": self.robot, "policy": self.policy}
            results = evaluate_phase(run, *settings, **how, recover=self.recover, bench=self.bench)
        get_console().print(job.results_table(results))
        job.say(f"{run.path}: make its page with `lotj report {shlex.quote(str(run.path))}`")
