"""``lotj pretrain``: the offline phase."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import tyro

from lotj.cli import job
from lotj.experiments.presets import Preset, PretrainSettings, find_preset
from lotj.ranges import SEED
from lotj.runs import Run, restore_settings
from lotj.training.features import FeatureConfig


@dataclass(frozen=True)
class Command(job.Tracked):
    """Train the success classifier (the reward) and the policy on a recorded data set.

    The threshold of the reward is chosen on the validation connectors, and its held-out figures are reported there. At
    the end features of the data are kept in the run: practice needs the run alone, named by `--pretrained`.
    `lotj pretrain --resume [FOLDER]` goes on with a stopped run, the newest by default, with its settings.
    """

    resumable: ClassVar[str] = "stopped; all updates are kept: `lotj pretrain --resume` goes on"

    data: Path
    """Folder of the data set that `lotj collect` made."""
    settings: Annotated[PretrainSettings, tyro.conf.arg(name="")]
    preset: str = "laptop"
    """Size of the job: demo, laptop, paper or state. It sets the defaults of all other flags."""
    also: tuple[str, ...] = ()
    """Also train what baselines need: localizer, the model of where the plug is; state-iql, IQL on what that model
    says; other agents by name, e.g. sac.
    With --resume, a finished pretraining can be given them."""
    agent: str = "iql"
    """Who learns, e.g. iql, bc, awac, td3 or sac."""
    seed: Annotated[int, SEED] = 0
    """Fixes weights, batches and augmentation."""
    runs: Path = job.RUNS
    """Folder that the run's own folder is made in."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the preset that the flags name."""
        preset = find_preset(job.flag_value(flags, "--preset") or cls.preset)
        return cls(Path("data") / preset.name, preset.pretraining, preset.name)

    def run(self) -> None:
        preset = dataclasses.replace(find_preset(self.preset), **vars(self.settings))
        _train(self, preset, self.data, self.runs, self.seed, self.agent)


@dataclass(frozen=True)
class Resume(job.Resume):
    """Go on with a stopped pretraining, with its settings; the result is that of an unstopped one."""

    interrupted: ClassVar[str] = Command.resumable

    also: tuple[str, ...] = ()
    """Also train what baselines need, see `lotj pretrain --help`; a finished pretraining can be given it."""

    def run(self) -> None:
        run = job.pick_run(self.folder, self.runs, "pretrain", begun=True)
        where = str(run.path / "config.json")
        run.config.setdefault("features", dataclasses.asdict(FeatureConfig()))  # an older run has none
        parts = {part.name: run.setting(part.name, dict) for part in dataclasses.fields(PretrainSettings)}
        preset = Preset(name=run.setting("preset"), **vars(restore_settings(PretrainSettings, parts, where)))
        data = run.locate("data", "meta.json")
        _train(self, preset, data, run.path.parent, run.seed, run.setting("agent"), run)


def _train(
    asked: Command | Resume, preset: Preset, data: Path, runs: Path, seed: int, agent: str, begun: Run | None = None
) -> None:
    from lotj.experiments.stages import pretrain_phase

    device = job.find_device(asked.device)
    run = pretrain_phase(preset, data, runs, seed, device, begun, also=asked.also, agent=agent)
    run.close()
    on = "--connector NAME" if (run.path / "reward.pt").exists() else "--task NAME"
    job.say(f"{run.path}: practise with `lotj practice {on} --pretrained {shlex.quote(str(run.path))}`")
