"""``lotj reproduce``: every figure that README and docs cite, from one command each."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from lotj.cli.job import announce_renderer, find_device, say
from lotj.errors import SettingsError, find, unknown
from lotj.files import atomic_write, storage_errors
from lotj.ranges import PROCESSES, SEED, Checked


@dataclass(frozen=True)
class Command(Checked):
    """Do what a table or figure needs and is not done yet, each job with a result file of its own, and write the table
    from these files."""

    interrupted: ClassVar[str] = "stopped; finished jobs are kept: the same command goes on"

    what: tyro.conf.Positional[str]
    """headline: practice on the test connectors, with the leaderboard; validation: on the validation connectors;
    panda: on the same with an arm of seven joints that no training has seen, from the base that comes with lotj; blind:
    the one final run on those that nobody has practised on; table1, table2: all methods, near and far; table3:
    without the bottleneck in policy, or in policy and reward; table4: the reward with each bottleneck on connectors it
    has not seen; parts: what each part of our practice adds; disturbances: practice under each of what goes wrong on
    real benches; fig3, fig4: where the reward looks with and without the bottleneck, and the policy before and after
    practice; all: all of these in turn, but blind. By themselves: bottleneck: a control for that of the reward, and
    where it may matter; detectors: what tells a seated plug from near misses; policy-bottleneck and cameras (--preset
    small --data data/laptop), reward-sources, brick, paper-size, fewer-trials: what the paper leaves open
    (docs/predictions.md); and the chapters iql, awac, ddpg-demos,
    residual, natural-rewards, oda, rig, cc-rig, val, ptp (docs/chapters.md)."""
    preset: str = "laptop"
    """Size of the trainings: demo, small, laptop or paper; of bottleneck, detectors and chapters quick, laptop or full.
    """
    data: Path | None = None
    """Folder of the data set (`lotj collect`); data/<preset> by default."""
    connectors: tuple[str, ...] = ()
    """Connectors of the catalogue, instead of what is usual; not for table4."""
    benches: Annotated[tuple[int, ...], SEED] = ()
    """Seeds of the connectors' benches (what is randomized), each with each robot and one of two pretrainings; by
    default 0 to 4 for the headline, else 0; not for table4."""
    trials: tuple[int, ...] = ()
    """Trials after which the practised policy is evaluated; the last is where practice ends. By default 25 50 100 for
    headline, validation, panda and blind, 100 200 for the tables, 100 for parts and disturbances; not for table4."""
    practice: str = ""
    """validation: a named change of practice's settings (PRACTICES in lotj/experiments/comparisons.py)."""
    changed: str = ""
    """headline: what has changed since the last one, for the leaderboard."""
    show: bool = False
    """Do nothing more: make the table of what is done. With connectors, benches or trials, here as without this flag,
    it goes into the folder `part`, beside that of all."""
    on: Literal["here", "processes", "ray"] = "processes"
    """Where jobs run: one after the other here, in several processes, or on the Ray cluster of RAY_ADDRESS (extra
    `cluster`)."""
    workers: Annotated[int, PROCESSES] = 2
    """Processes; or workers of a Ray cluster on this machine."""
    device: str = "auto"
    """Where each job computes: auto, cpu or cuda. Jobs side by side share a GPU."""
    runs: Path | None = None
    """Folder of the jobs' runs; runs/reproduce-<preset> by default."""
    out: Path = Path("results")
    """Folder of the jobs' results and the tables."""

    def run(self) -> None:
        """SettingsError for an unknown table, for flags that it does not take, and where there is nothing to show."""
        from lotj.experiments.bottleneck import BOTTLENECK
        from lotj.experiments.chapter import SIZES
        from lotj.experiments.chapters import chapters
        from lotj.experiments.comparisons import COMPARISONS
        from lotj.experiments.detectors import DETECTOR_STUDY
        from lotj.experiments.figures import FIGURES
        from lotj.experiments.presets import PRESETS
        from lotj.experiments.questions import QUESTIONS
        from lotj.experiments.reward_ablation import TABLE4
        from lotj.experiments.robustness import ROBUSTNESS

        usual: dict[str, Any] = {**COMPARISONS, "disturbances": ROBUSTNESS, "table4": TABLE4, **FIGURES}
        known = usual | QUESTIONS
        alone: dict[str, Any] = {**chapters(), "bottleneck": BOTTLENECK, "detectors": DETECTOR_STUDY}
        if self.what not in (*known, *alone, "all"):
            raise unknown("table", self.what, (*known, *alone, "all"))
        names = [name for name in usual if name != "blind"] if self.what == "all" else [self.what]
        known |= alone
        if self.data and self.what in alone:
            raise SettingsError(f"data {self.data}: {self.what} makes its own; leave it out")
        if self.changed and self.what not in ("headline", "all"):
            raise SettingsError(f"changed {self.changed!r}: is for the leaderboard, of headline alone; leave it out")
        asked = self._asked(SIZES if self.what in alone else PRESETS)
        studies = {name: known[name].asked(asked) for name in names}
        shown = [name for name, study in studies.items() if self._do(name, study, asked)]
        if not shown:
            raise SettingsError(f"{self.out} holds nothing of {self.what} yet: leave out --show, and it is done")

    def _asked(self, presets: Mapping[str, Any]) -> Any:
        """What the flags say; SettingsError or CatalogueError for something among them that will not do."""
        from lotj.experiments.study import Asked
        from lotj.sim.connector import find_connector

        find("preset", self.preset, presets)
        if list(self.trials) != sorted({*self.trials} - {0}):
            raise SettingsError(f"trials {self.trials}: must be at least 1, and rise")
        for name, numbers in (("benches", self.benches), ("connectors", self.connectors)):
            if len(set(numbers)) < len(numbers):
                raise SettingsError(f"{name} {numbers}: none twice")
        for connector in self.connectors:
            if find_connector(connector).name != connector:  # results are kept by name: a changed file would go unseen
                raise SettingsError(f"connectors {connector}: must be in the catalogue; `lotj practice` takes files")
        cores, device = os.cpu_count() or 1, find_device(self.device)
        machine = {"threads": max(1, cores // self.workers), "device": device}
        runs = self.runs or Path("runs") / f"reproduce-{self.preset}"
        chosen = (self.connectors, self.benches, self.trials, self.practice)
        return Asked(self.preset, self.data or Path("data") / self.preset, runs, *chosen, machine)

    def _do(self, name: str, study: Any, asked: Any) -> bool:
        """Do a study's jobs and write its table; whether there is anything to show."""
        from lotj.distributed import Job, read_results, run_jobs
        from lotj.experiments.chapter import overview
        from lotj.experiments.chapters import chapters
        from lotj.experiments.headline import leaderboard

        jobs, cells = study.jobs(asked), self.out / study.cells
        results = read_results(jobs, cells)
        if len(results) < len(jobs) and not self.show:
            recorded = any(job.arguments.get("data") == str(asked.data) for job in jobs)
            if recorded and not (asked.data / "meta.json").exists():
                make = f"lotj collect --preset {self.preset} --data {shlex.quote(str(asked.data))}"
                raise SettingsError(f"{asked.data} holds no data set: `{make}` makes it")
            announce_renderer()
            begun, finished = time.monotonic(), []

            def report(job: Job, state: str) -> None:
                if state != "started":
                    finished.append(job)
                minutes = (time.monotonic() - begun) / 60
                say(f"{len(finished)}/{len(jobs)}  {minutes:5.1f} min  {state:8s} {job.name}")

            results = run_jobs(jobs, cells, self.on, self.workers, report)
        needed = {need for job in jobs for need in job.needs}
        if needed >= results.keys():
            say(f"{name}: nothing is done yet")
            return False
        part = bool(asked.connectors or asked.benches or asked.trials)
        folder, missing = self.out / name / ("part" if part else ""), len(jobs) - len(results)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for file, content in study.files(results).items():
            atomic_write(folder / file, content)
            if file.endswith(".md"):
                say(content.decode())
        say(f"{folder}: " + (f"{missing} of {len(jobs)} jobs are not done yet" if missing else "done"))
        if name in chapters():
            atomic_write(self.out / "chapters.md", overview(chapters(), self.out).encode())
        if name == "headline" and not (missing or part):
            board = self.out / "leaderboard.md"
            before = board.read_text(encoding="utf-8") if board.exists() else ""
            atomic_write(board, leaderboard(before, study.practised(results), self.changed).encode())
            say(f"{board}: has this run's row")
        return True
