"""``lotj reproduce``: the paper's tables, from one command each."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import tyro
from rich.console import Console

from lotj.cli.job import announce_renderer
from lotj.errors import SettingsError


@dataclass(frozen=True)
class Command:
    """Do what a table of the paper needs and is not done yet, and write the table: as text, CSV and HTML."""

    interrupted: ClassVar[str] = "stopped; finished jobs are kept: the same command goes on"

    table: tyro.conf.Positional[Literal["table1", "table2"]]
    """table1: all methods, starts near the socket; table2: the same, starts far."""
    preset: str = "laptop"
    """Size of the trainings: demo, laptop or paper."""
    data: Path | None = None
    """Folder of the data set (`lotj collect`); data/<preset> by default."""
    seeds: tuple[int, ...] = (0, 1)
    """Pretraining seeds; robots alternate with them."""
    connectors: tuple[str, ...] = ()
    """Connectors; the paper's four by default."""
    trials: int = 200
    """Trials of practice."""
    evaluation_trials: int = 20
    """Trials of each evaluation."""
    on: Literal["here", "processes", "ray"] = "processes"
    """Where jobs run: one after the other here, in several processes, or on the Ray cluster of RAY_ADDRESS (extra
    `cluster`)."""
    workers: int = 2
    """Processes; or workers of a Ray cluster on this machine."""
    runs: Path | None = None
    """Folder of the jobs' runs; runs/reproduce-<preset> by default."""
    out: Path | None = None
    """Folder of the jobs' results and the table; results/reproduce-<preset> by default."""

    def run(self) -> None:
        """Do the jobs and print the table."""
        from lotj.distributed import Job, run_jobs
        from lotj.experiments.comparisons import COMPARISONS, CONNECTORS
        from lotj.experiments.presets import find_preset
        from lotj.files import atomic_write
        from lotj.sim.connector import find_connector

        preset = find_preset(self.preset)
        for name, value in (("trials", self.trials), ("evaluation-trials", self.evaluation_trials)):
            if value < 1:
                raise SettingsError(f"{name} {value}: must be at least 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise SettingsError(f"seeds {self.seeds}: need at least one, none twice, none negative")
        connectors = self.connectors or tuple(CONNECTORS)
        for connector in connectors:
            find_connector(connector)
        data = self.data or Path("data") / preset.name
        if not (data / "meta.json").exists():
            raise SettingsError(
                f"{data} holds no data set: `lotj collect --preset {preset.name} --data {data}` makes it"
            )
        console, comparison = Console(highlight=False), COMPARISONS[self.table]
        announce_renderer(console)
        out = self.out or Path("results") / f"reproduce-{preset.name}"
        jobs = comparison.jobs(
            preset.name,
            data,
            self.runs or Path("runs") / f"reproduce-{preset.name}",
            self.seeds,
            self.trials,
            self.evaluation_trials,
            max(1, (os.cpu_count() or 1) // self.workers),
            connectors,
        )
        begun, finished = time.monotonic(), []

        def report(job: Job, state: str) -> None:
            if state != "started":
                finished.append(job)
            minutes = (time.monotonic() - begun) / 60
            console.print(f"{len(finished)}/{len(jobs)}  {minutes:5.1f} min  {state:8s} {job.name}", markup=False)

        results = run_jobs(jobs, out, self.on, self.workers, report)
        table = comparison.table(results, self.seeds, connectors)
        text = Console(width=200, record=True, file=io.StringIO())
        text.print(table.as_text())
        for ending, content in (("txt", text.export_text()), ("csv", table.as_csv()), ("html", table.as_html())):
            atomic_write(out / f"{self.table}.{ending}", content.encode())
        console.print(table.as_text())
        console.print(f"{out}/{self.table}.txt, .csv and .html", markup=False, soft_wrap=True)
