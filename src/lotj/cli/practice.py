"""``lotj practice``: learn one unseen connector on the job."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro
from rich.console import Console

from lotj.cli import job
from lotj.cli.job import (
    RUNS,
    announce_renderer,
    check_connector,
    check_scenario,
    find_device,
    flag_value,
    pick_run,
    print_alarm,
)
from lotj.errors import SettingsError, check_seed
from lotj.experiments.presets import Preset, find_preset
from lotj.runs import Run, restore_settings
from lotj.training.practice_config import PracticeConfig


@dataclass(frozen=True)
class Command:
    """Practise on one connector that was not in the training data; the learned reward is the only judge.

    `lotj practice --resume [FOLDER]` goes on with a stopped run, the newest by default, with its settings.
    """

    interrupted: ClassVar[str] = "stopped; all finished trials are kept: `lotj practice --resume` goes on"

    connector: str
    """Catalogue name, or the path of a .toml file of your own."""
    settings: Annotated[PracticeConfig, tyro.conf.arg(name="")]
    scenario: str = "far"
    """Where trials start: near (within 10 mm of the socket's axis) or far (10 to 20 mm beside)."""
    robot: str = "duo"
    """Which of the simulated robots."""
    domain_seed: int = 0
    """Fixes the bench: mount, grasp, camera, light, materials, clutter."""
    seed: int = 0
    """Fixes start poses, exploration and batches."""
    pretrained: Path | None = None
    """Run folder of the pretraining; the newest under --runs by default."""
    agent: Literal["iql", "state-iql", "sac"] = "iql"
    """Who practises: iql; or a baseline that `lotj pretrain --also` has trained: state-iql, which sees where a
    localisation model says the plug is, or sac."""
    preset: str = "laptop"
    """Sets the defaults of the other flags: demo, laptop or paper; by default that of the pretraining."""
    runs: Path = RUNS
    """Folder that the run's own folder is made in."""
    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the preset that the flags or the pretraining name."""
        preset = find_preset(flag_value(flags, "--preset") or _preset_of_pretraining(flags) or cls.preset)
        return cls(tyro.MISSING, preset.practice, preset=preset.name)

    def run(self) -> None:
        """Practise."""
        check_seed(self.seed)
        check_seed(self.domain_seed, "domain-seed")
        console = Console()
        check_connector(self.connector, console)
        check_scenario(self.scenario)
        pretrained = pick_run(self.pretrained, self.runs, "pretrain")
        preset = dataclasses.replace(find_preset(self.preset), practice=self.settings)
        names = ("connector", "scenario", "robot", "domain_seed", "seed", "agent")
        _practise(preset, pretrained, self.runs, self.device, console, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Resume(job.Resume):
    """Go on after the last finished trial of a stopped run, with its settings."""

    interrupted: ClassVar[str] = Command.interrupted

    def run(self) -> None:
        """Practise on."""
        run = pick_run(self.folder, self.runs, "practice", begun=True)
        where = str(run.path / "config.json")
        practice = restore_settings(PracticeConfig, run.setting("practice", dict), where)
        pretrained = Run.open(run.locate("pretrain_run", "run.json"))
        bench: dict[str, Any] = {name: run.setting(name) for name in ("connector", "scenario", "robot", "agent")}
        bench |= {"domain_seed": run.setting("domain_seed", int), "seed": run.seed}
        preset = Preset(run.setting("preset"), practice=practice)
        _practise(preset, pretrained, run.path.parent, self.device, Console(), **bench, resume=run)


def _practise(preset: Preset, pretrained: Run, runs: Path, device: str, console: Console, **bench: Any) -> None:
    """Practise and say what came of it; `bench` is what `practice_phase` wants besides."""
    console.print(f"pretraining: {pretrained.path}", markup=False, highlight=False, soft_wrap=True)
    announce_renderer(console)
    from lotj.experiments.stages import practice_phase

    run, result = practice_phase(preset, pretrained, runs, device=find_device(device), **bench)
    run.close()
    print_alarm(result, console)
    console.print(
        f"{result.trials} trials, {result.predicted_successes} of them successes by the learned reward, "
        f"{result.discarded} ended by a dislodged plug\n"
        f"{run.path}: count true successes with `lotj evaluate {shlex.quote(str(run.path))}`",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _preset_of_pretraining(flags: list[str]) -> str | None:
    """Preset of the pretraining that practice will start from; None if there is none yet."""
    folder, runs = flag_value(flags, "--pretrained"), Path(flag_value(flags, "--runs") or RUNS)
    try:
        return pick_run(folder, runs, "pretrain").config.get("preset")
    except SettingsError:
        return None
