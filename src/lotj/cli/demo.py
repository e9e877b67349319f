"""``lotj demo``: the whole job, small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.markup import escape

from lotj.cli import job
from lotj.cli.collect import collect_with_bar
from lotj.cli.evaluate import evaluate_with_bar
from lotj.cli.job import OnDevice, check_connector, check_scenario, find_device, say
from lotj.errors import SettingsError, check_seed
from lotj.experiments.presets import find_preset
from lotj.runs import Run, find_run


@dataclass(frozen=True)
class Command(OnDevice):
    """Run the whole job small: collect, pretrain, practise on an unseen connector, evaluate, report."""

    interrupted: ClassVar[str] = "stopped; finished work is kept: the same command with --resume goes on"

    connector: str = "usb-b"
    """The unseen connector: a catalogue name, or the path of a .toml file of your own."""
    scenario: str = "near"
    """Where trials start: near (within 10 mm of the socket's axis) or far (10 to 20 mm beside), from where so small a
    training inserts less."""
    preset: str = "demo"
    """Size of the job: demo, laptop or paper."""
    seed: int = 0
    """Fixes training and practice."""
    data: Path | None = None
    """Folder of the data set; data/<preset> by default. Episodes that are there already are used."""
    runs: Path | None = None
    """Folder that the runs' own folders are made in; runs/<preset> by default."""
    resume: bool = False
    """Go on with the stopped job."""

    def run(self) -> None:
        preset, console = find_preset(self.preset), Console()
        check_seed(self.seed)
        part = check_connector(self.connector, console)
        check_scenario(self.scenario)
        device = find_device(self.device)
        data = self.data or Path("data") / preset.name
        runs = self.runs or Path("runs") / preset.name
        if self.resume and not (data.exists() or runs.exists()):
            raise SettingsError(f"neither {data} nor {runs} is there: nothing to resume; leave --resume out")
        job.announce_renderer(console)
        from lotj.experiments.stages import practice_phase, pretrain_phase, refuse_seen
        from lotj.report import build_report

        if part.split != "train":
            refuse_seen(part, data)
        console.rule("1 of 4: collect", align="left")
        collect_with_bar(preset, data, None, console, [part] if part.split != "train" else [])
        console.rule("2 of 4: pretrain", align="left")
        pretrained = pretrain_phase(preset, data, runs, self.seed, device, self._begun(runs, "pretrain"))
        console.rule(f"3 of 4: practise on {escape(self.connector)}, {self.scenario}", align="left")
        bench, begun = (self.connector, self.scenario), self._begun(runs, "practice")
        run, practised = practice_phase(preset, pretrained, runs, *bench, seed=self.seed, device=device, resume=begun)
        job.print_alarm(practised, console)
        console.rule("4 of 4: evaluate and report", align="left")
        results = evaluate_with_bar(run, preset.evaluation_trials, device, console)
        run.close()
        console.print(job.results_table(results))
        say(console, f"report: {build_report(run.path)}")

    def _begun(self, runs: Path, kind: str) -> Run | None:
        """The stopped run of this job that ``--resume`` goes on with; None if it had not come that far."""
        if not self.resume:
            return None
        try:
            run = find_run(runs, kind)
        except SettingsError:
            return None
        wanted = {"connector": self.connector, "scenario": self.scenario} if kind == "practice" else {}
        same = run.seed == self.seed and all(run.config.get(key) == value for key, value in wanted.items())
        return run if same else None
