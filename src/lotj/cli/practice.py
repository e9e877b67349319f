"""``lotj practice``: learn one unseen connector on the job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro
from rich.console import Console

from lotj.cli.job import (
    RUNS,
    announce_renderer,
    begun_run,
    check_connector,
    check_scenario,
    find_device,
    flag_value,
    pick_run,
    print_alarm,
    run_to_resume,
)
from lotj.errors import SettingsError, check_seed
from lotj.experiments.presets import find_preset
from lotj.runs import Run, find_run, restore_settings
from lotj.training.practice_config import PracticeConfig


@dataclass(frozen=True)
class Command:
    """Practise on one connector that was not in the training data; the learned reward is the only judge."""

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
    resume: bool = False
    """Go on after the last finished trial of a stopped run, with its settings."""
    run_folder: Path | None = None
    """With --resume: the run to go on with; the newest practice run by default."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the run that is resumed, else of the preset that the flags or the pretraining name."""
        run = run_to_resume(flags, "practice")
        if run is not None:
            return cls.of_run(run)
        preset = find_preset(flag_value(flags, "--preset") or _preset_of_pretraining(flags) or cls.preset)
        return cls(tyro.MISSING, preset.practice, preset=preset.name)

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """The command that a run was begun with."""
        config = run.config
        names = ("connector", "scenario", "robot", "domain_seed", "preset")
        return cls(
            settings=restore_settings(PracticeConfig, config["practice"], str(run.path)),
            seed=run.seed,
            agent=config.get("agent", "iql"),
            pretrained=Path(config["pretrain_run"]),
            runs=run.path.parent,
            run_folder=run.path,
            **{name: config[name] for name in names},
        )

    def run(self) -> None:
        """Practise."""
        console = Console()
        check_seed(self.seed)
        check_seed(self.domain_seed, "domain-seed")
        check_connector(self.connector, console)
        check_scenario(self.scenario)
        begun = begun_run(self)
        pretrained = pick_run(self.pretrained, self.runs, "pretrain")
        announce_renderer(console)
        from lotj.experiments.stages import practice_phase

        run, result = practice_phase(
            dataclasses.replace(find_preset(self.preset), practice=self.settings),
            pretrained,
            self.runs,
            self.connector,
            self.scenario,
            self.robot,
            self.domain_seed,
            self.seed,
            find_device(self.device),
            begun,
            agent=self.agent,
        )
        run.close()
        print_alarm(result, console)
        console.print(
            f"{result.trials} trials, {result.predicted_successes} of them successes by the learned reward, "
            f"{result.discarded} ended by a dislodged plug\n"
            f"{run.path}: count true successes with `lotj evaluate {run.path}`",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _preset_of_pretraining(flags: list[str]) -> str | None:
    """Preset of the pretraining that practice will start from; None if there is none yet."""
    folder, runs = flag_value(flags, "--pretrained"), Path(flag_value(flags, "--runs") or RUNS)
    try:
        return (Run.open(Path(folder)) if folder else find_run(runs, "pretrain")).config.get("preset")
    except SettingsError:
        return None
