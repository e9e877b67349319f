"""``lotj demo``: practice with all that follows, and with ``--all`` all that comes before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich import get_console
from rich.markup import escape

from lotj.cli import job
from lotj.cli.collect import collect_with_bar
from lotj.envs.insertion import SCENARIOS
from lotj.errors import SettingsError, unknown
from lotj.experiments.presets import Preset, find_preset
from lotj.ranges import SEED
from lotj.runs import Run, base_run
from lotj.sim.connector import Connector, training_connectors


@dataclass(frozen=True)
class Command(job.OnDevice):
    """Practise on an unseen connector from the base that comes with lotj, evaluate, report: minutes. With --all the
    whole job from nothing, small: collect, pretrain, and then the same from that."""

    interrupted: ClassVar[str] = "stopped; recorded episodes are kept: the same command goes on"
    resumable: ClassVar[str] = "stopped; finished work is kept: the same command with --resume goes on"

    all: bool = False
    """Collect and pretrain, too, instead of beginning from the base."""
    connector: str = "as-3112"
    """The unseen connector: a catalogue name, or the path of a .toml file of your own."""
    scenario: str = "near"
    """Where trials start: near (within 10 mm of the socket's axis) or far (10 to 20 mm beside), from where a training
    as small as that of --all inserts less."""
    preset: str = "demo"
    """Size of what is done: demo, laptop or paper."""
    seed: Annotated[int, SEED] = 0
    """Fixes training and practice."""
    data: Path | None = None
    """With --all: folder of the data set; data/<preset> by default. Episodes that are there already are used."""
    runs: Path | None = None
    """Folder that the runs' own folders are made in; runs/<preset> by default."""
    resume: bool = False
    """Go on with the stopped job."""

    def run(self) -> None:
        """SettingsError, before any work, for flags that do not go together, or where nothing is there to resume."""
        preset = find_preset(self.preset)
        part = job.check_connector(self.connector)
        if self.scenario not in SCENARIOS:  # said before there is anything to practise with
            raise unknown("scenario", self.scenario, SCENARIOS)
        device = job.find_device(self.device)
        if self.data and not self.all:
            raise SettingsError(f"data {self.data}: the base needs none; leave it out, or give --all")
        runs, data = self.runs or Path("runs") / preset.name, self.data or Path("data") / preset.name
        begun = (data, runs) if self.all else (runs,)
        if self.resume and not any(folder.exists() for folder in begun):
            raise SettingsError(f"nothing to resume in {' or '.join(map(str, begun))}: leave --resume out")
        base = None if self.all else base_run()
        job.announce_renderer()
        from lotj.experiments.stages import practice_phase

        pretrained = base or self._pretrain(preset, data, runs, part, device)
        job.say_pretraining(pretrained)
        get_console().rule(f"practise on {escape(self.connector)}, {self.scenario}", align="left")
        bench: dict[str, Any] = {"connector": self.connector, "scenario": self.scenario}
        resume = self._begun(runs, "practice", bench | {"pretrain_created": pretrained.created})
        how = bench | {"seed": self.seed, "device": device, "resume": resume}
        run, practised = practice_phase(preset, pretrained, runs, **how)
        job.print_alarm(practised)
        job.evaluate_and_report(run, preset.evaluation_trials, device)

    def _pretrain(self, preset: Preset, data: Path, runs: Path, part: Connector, device: str) -> Run:
        """All that comes before practice."""
        from lotj.experiments.parts import refuse_seen
        from lotj.experiments.stages import pretrain_phase

        refuse_seen(part, data)
        get_console().rule("collect", align="left")
        collect_with_bar(preset, data, None, [] if part in training_connectors() else [part])
        get_console().rule("pretrain", align="left")
        return pretrain_phase(preset, data, runs, self.seed, device, self._begun(runs, "pretrain", {}))

    def _begun(self, runs: Path, kind: str, wanted: dict[str, Any]) -> Run | None:
        """The stopped run of this job that ``--resume`` goes on with; None if it had not come that far."""
        return job.unfinished(runs, kind, self.seed, wanted) if self.resume else None
