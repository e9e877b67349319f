"""``lotj pretrain``: the offline phase."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from rich.console import Console

from lotj.agents.iql_config import IQLConfig
from lotj.agents.localizer import LocalizerConfig
from lotj.cli.job import RUNS, begun_run, find_device, flag_value, run_to_resume
from lotj.errors import check_seed
from lotj.experiments.presets import find_preset
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run, restore_settings
from lotj.training.pretrain_config import PretrainConfig


@dataclass(frozen=True)
class Command:
    """Train the success classifier (the reward) and the policy on a recorded data set.

    The threshold of the reward is chosen on the validation connectors, and its held-out figures are reported there.
    """

    interrupted: ClassVar[str] = "stopped; all updates are kept: `lotj pretrain --resume` goes on"

    data: Path
    """Folder of the data set that `lotj collect` made."""
    reward: RewardConfig
    iql: IQLConfig
    pretrain: PretrainConfig
    localizer: LocalizerConfig
    preset: str = "laptop"
    """Size of the job: demo, laptop or paper. It sets the defaults of all other flags."""
    also: tuple[Literal["localizer", "state-iql", "sac"], ...] = ()
    """Also train what baselines need: the model of where the socket is, State-IQL, SAC. With --resume, a finished
    pretraining can be given them."""
    seed: int = 0
    """Fixes weights, batches and augmentation."""
    runs: Path = RUNS
    """Folder that the run's own folder is made in."""
    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""
    resume: bool = False
    """Go on with a stopped run, with its settings; the result is that of an unstopped one."""
    run_folder: Path | None = None
    """With --resume: the run to go on with; the newest pretraining by default."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the run that is resumed, else of the preset that the flags name."""
        run = run_to_resume(flags, "pretrain")
        if run is not None:
            return cls.of_run(run)
        preset = find_preset(flag_value(flags, "--preset") or cls.preset)
        parts = (preset.reward, preset.iql, preset.pretrain, preset.localizer)
        return cls(Path("data") / preset.name, *parts, preset.name)

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """The command that a run was begun with."""
        config, where = run.config, str(run.path)
        # A run from before there was one begins its localisation model with the preset's settings.
        localizer = config.get("localizer") or dataclasses.asdict(find_preset(config["preset"]).localizer)
        return cls(
            data=Path(config["data"]),
            reward=restore_settings(RewardConfig, config["reward"], where),
            iql=restore_settings(IQLConfig, config["iql"], where),
            pretrain=restore_settings(PretrainConfig, config["pretrain"], where),
            localizer=restore_settings(LocalizerConfig, localizer, where),
            preset=config["preset"],
            seed=run.seed,
            runs=run.path.parent,
            run_folder=run.path,
        )

    def run(self) -> None:
        """Train."""
        from lotj.experiments.stages import pretrain_phase

        check_seed(self.seed)
        begun = begun_run(self)
        parts = {name: getattr(self, name) for name in ("reward", "iql", "pretrain", "localizer")}
        preset = dataclasses.replace(find_preset(self.preset), **parts)
        device = find_device(self.device)
        run = pretrain_phase(preset, self.data, self.runs, self.seed, device, begun, also=self.also)
        run.close()
        Console().print(f"{run.path}: practise with `lotj practice --connector NAME`", markup=False, highlight=False)
