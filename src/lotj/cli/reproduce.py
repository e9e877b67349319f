"""``lotj reproduce``: the paper's tables, from one command each."""

from __future__ import annotations

import dataclasses
import io
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import tyro
from rich.console import Console

from lotj.cli.job import announce_renderer, find_device, say
from lotj.errors import SettingsError, check_number, check_seed, unknown
from lotj.files import atomic_write


@dataclass(frozen=True)
class _Plan:
    """The jobs of a table, and what makes it and, for a figure, its picture of their results."""

    jobs: list[Any]
    table: Callable[[Mapping[str, Any]], Any]
    picture: Callable[[Mapping[str, Any]], bytes | None] | None = None

    def has_any(self, results: Mapping[str, Any]) -> bool:
        """Whether anything is done that the table shows."""
        shown = {job.name for job in self.jobs}.difference(*(job.needs for job in self.jobs))
        return not shown.isdisjoint(results)

    def write(self, results: Mapping[str, Any], stem: Path, console: Console) -> None:
        """Write the table to files of this name and print it."""
        table = self.table(results)
        text = Console(width=200, record=True, file=io.StringIO())
        text.print(table.as_text())
        files = {"txt": text.export_text().encode(), "csv": table.as_csv().encode()}
        picture = self.picture(results) if self.picture else None
        files |= {"png": picture} if picture else {}
        for ending, content in files.items():
            atomic_write(stem.with_suffix(f".{ending}"), content)
        console.print(table.as_text())
        missing = sum(job.name not in results for job in self.jobs)
        if missing:
            console.print(f"{missing} of {len(self.jobs)} jobs are not done yet", style="yellow")
        say(console, f"{stem}: .{', .'.join(files)}")
        if self.picture and not picture:
            say(
                console,
                f"{stem}.png is not drawn anew: its maps are not here, the results are another machine's. With another "
                "--out all is done anew",
            )


def _holds_data(folder: Path) -> bool:
    return (folder / "meta.json").exists()


@dataclass(frozen=True)
class Command:
    """Do what a table or figure of the paper needs and is not done yet, and write it: a table as text and CSV, a
    figure as PNG with its table."""

    interrupted: ClassVar[str] = "stopped; finished jobs are kept: the same command goes on"

    table: tyro.conf.Positional[str]
    """table1: all methods, starts near the socket; table2: the same, starts far; table3: without the bottleneck in
    policy, or in policy and reward; table4: the reward with each bottleneck on connectors it has not seen; parts: what
    each part of our practice adds, on validation connectors; fig3, fig4: where the reward looks with and without the
    bottleneck, and the policy before and after practice; all: all of these."""
    preset: str = "laptop"
    """Size of the trainings: demo, laptop or paper."""
    data: Path | None = None
    """Folder of the data set (`lotj collect`); data/<preset> by default."""
    seeds: tuple[int, ...] = ()
    """Training seeds; by default 0 and 1, in table4 0 to 4, in parts 0."""
    robots: tuple[str, ...] = ()
    """table1 to table3, parts: robots, each with each seed. By default they alternate with the seeds, so that neither
    can be told from the other."""
    benches: tuple[int, ...] = (0,)
    """table1 to table3, parts: seeds of the connectors' benches (look and mount), each with each seed and robot."""
    connectors: tuple[str, ...] = ()
    """All but table4: connectors; by default the paper's four, in parts four of the validation connectors."""
    trials: int | None = None
    """All but table4: trials of practice; by default 200, in parts 100."""
    evaluation_trials: int = 20
    """All but table4: trials of each evaluation."""
    splits: int = 2
    """table4: how many choices of held-out connectors."""
    steps: int = 1000
    """table4: updates of each reward model."""
    domains: int = 1
    """table4: domains of each connector and robot that are trained on. With many, every variant generalises."""
    show: bool = False
    """Do nothing more: make the table of what is done."""
    on: Literal["here", "processes", "ray"] = "processes"
    """Where jobs run: one after the other here, in several processes, or on the Ray cluster of RAY_ADDRESS (extra
    `cluster`)."""
    workers: int = 2
    """Processes; or workers of a Ray cluster on this machine."""
    device: str = "auto"
    """Where each job computes: auto, cpu or cuda. Jobs side by side share a GPU."""
    runs: Path | None = None
    """Folder of the jobs' runs; runs/reproduce-<preset> by default."""
    out: Path | None = None
    """Folder of the jobs' results and the table; results/reproduce-<preset> by default."""

    def run(self) -> None:
        from lotj.distributed import Job, read_results, run_jobs
        from lotj.experiments.comparisons import COMPARISONS
        from lotj.experiments.figures import FIGURES

        known = (*COMPARISONS, "table4", *FIGURES)
        if self.table not in (*known, "all"):
            raise unknown("table", self.table, (*known, "all"))
        names = known if self.table == "all" else (self.table,)
        plans = {name: dataclasses.replace(self, table=name)._plan() for name in names}
        jobs: list[Job] = list({job.name: job for plan in plans.values() for job in plan.jobs}.values())
        console = Console(highlight=False)
        if not self.show:
            announce_renderer(console)
        out = self.out or Path("results") / f"reproduce-{self.preset}"
        results, data = read_results(jobs, out), self._data()
        if len(results) < len(jobs) and not self.show and not _holds_data(data):
            make = f"lotj collect --preset {self.preset} --data {shlex.quote(str(data))}"
            raise SettingsError(f"{data} holds no data set: `{make}` makes it")
        begun, finished = time.monotonic(), []

        def report(job: Job, state: str) -> None:
            if state != "started":
                finished.append(job)
            minutes = (time.monotonic() - begun) / 60
            console.print(f"{len(finished)}/{len(jobs)}  {minutes:5.1f} min  {state:8s} {job.name}", markup=False)

        if not self.show:
            results = run_jobs(jobs, out, self.on, self.workers, report)
        shown = [name for name, plan in plans.items() if plan.has_any(results)]
        if not shown:
            raise SettingsError(f"{out} holds nothing to show of {self.table} yet: leave out --show, and it is done")
        for name in shown:
            plans[name].write(results, out / name, console)
        for name in plans:
            if name not in shown:
                console.print(f"{name}: nothing is done yet", style="yellow")

    def _data(self) -> Path:
        """Folder of the data set."""
        return self.data or Path("data") / self.preset

    def _plan(self) -> _Plan:
        """What is to be done for one table.

        Raises:
            SettingsError, CatalogueError, DataError: something that the flags name will not do.
        """
        from lotj.experiments import reward_ablation
        from lotj.experiments.comparisons import COMPARISONS, units
        from lotj.experiments.figures import FIGURES
        from lotj.experiments.presets import find_preset
        from lotj.sim.arm import find_arm
        from lotj.sim.connector import find_connector

        preset = find_preset(self.preset)
        for name in ("trials", "evaluation_trials", "splits", "steps", "domains", "workers"):
            number = getattr(self, name)
            if number is not None:
                check_number(name.replace("_", "-"), number, 1)
        figure = FIGURES.get(self.table)
        comparison = COMPARISONS.get(figure.learning if figure else self.table)
        seeds = self.seeds or (comparison.seeds if comparison else reward_ablation.SEEDS)
        for name, numbers in (("seeds", seeds), ("benches", self.benches)):
            if not numbers or len(set(numbers)) < len(numbers):
                raise SettingsError(f"{name} {numbers}: at least one, none twice")
            for number in numbers:
                check_seed(number, name)
        for robot in self.robots:
            find_arm(robot)
        if len(set(self.robots)) < len(self.robots):
            raise SettingsError(f"robots {self.robots}: none twice")
        for connector in self.connectors:
            if find_connector(connector).name != connector:  # results are kept by name: a changed file would go unseen
                raise SettingsError(f"connectors {connector}: must be in the catalogue; `lotj practice` takes files")
        data = self._data()
        cores, device = os.cpu_count() or 1, find_device(self.device)
        machine = {"threads": max(1, cores // self.workers), "device": device}
        if comparison is None:
            splits = range(self.splits)
            for split in splits if _holds_data(data) else ():
                reward_ablation.choose_split(data, split)
            jobs = reward_ablation.jobs(preset.name, data, seeds, splits, self.steps, self.domains, machine)
            return _Plan(jobs, lambda results: reward_ablation.table(results, seeds, splits))
        runs = self.runs or Path("runs") / f"reproduce-{preset.name}"
        connectors = self.connectors or comparison.connectors
        sizes = (self.trials or comparison.trials, self.evaluation_trials)
        # While trainings run, often no more jobs than seeds are ready.
        training = {"threads": max(1, cores // min(self.workers, len(seeds))), "device": device}
        of_table = units(seeds) if figure else units(seeds, self.robots, self.benches)
        jobs = comparison.jobs(preset.name, data, runs, of_table, *sizes, connectors, machine, training)
        if figure:
            jobs = figure.jobs(jobs, runs, seeds, connectors, machine)
            of = (seeds, connectors)
            return _Plan(jobs, lambda results: figure.table(results, *of), lambda results: figure.picture(results, *of))
        return _Plan(jobs, lambda results: comparison.table(results, of_table, connectors))
