"""``lotj collect``: record prior insertions."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from lotj.cli.job import announce_renderer, flag_value, progress_bars, say
from lotj.errors import SettingsError, counted
from lotj.experiments.presets import Preset, find_preset
from lotj.ranges import COUNT, PROCESSES, Checked
from lotj.sim.connector import Connector, find_connector
from lotj.training.collect import Progress, TaskCollection
from lotj.training.collect_insertion import CollectConfig


@dataclass(frozen=True)
class Command(Checked):
    """Record insertions of the training and the validation connectors with the scripted expert, in parallel processes.

    Goes on where it was stopped: the same command again records what is missing.
    """

    interrupted: ClassVar[str] = "stopped; recorded episodes are kept: the same command goes on"

    data: Path
    """Folder of the data set."""
    settings: Annotated[CollectConfig, tyro.conf.arg(name="")]
    validation: CollectConfig
    """The same for the validation connectors, on which thresholds are chosen."""
    training_connectors: Annotated[int | None, COUNT]
    """How many of the training connectors to use, spread over the families; all by default."""
    leave_out: tuple[str, ...] = ()
    """Connectors, e.g. .toml files of your own, whose close variants are not to be trained on: that they are practised
    on as unseen ones."""
    tasks: tuple[str, ...] = ()
    """Other tasks instead of connectors, e.g. fetch/reach, recorded by the --recipe."""
    episodes: Annotated[int, COUNT] = 200
    """Episodes of each of these tasks."""
    recipe: Literal["expert", "human", "stitched", "random", "play", "primitives", "policy"] = "expert"
    """How they are made. expert: by the scripted expert, with random actions in between (--noise). human: by
    the expert with the flaws of a person. stitched, of mazes: stretches of the way, never all of it. random: a random
    walk. play, primitives, of table/play and table/primitives: the hand's skills, all or one. policy: by the policy of
    --policy."""
    policy: str = ""
    """Run folder of the policy that plays."""
    preset: str = "laptop"
    """Size of the job: demo, laptop, paper or state, which is for --tasks. It sets the defaults of all other flags."""
    on: Literal["processes", "ray"] = "processes"
    """Where episodes are recorded: in processes here, or on the Ray cluster of RAY_ADDRESS (extra `cluster`), whose
    machines send them here; the data set is the same, byte for byte."""
    workers: Annotated[int | None, PROCESSES] = None
    """Processes; by default one a core, or a CPU of the cluster."""
    robot: str = ""
    """Address of a served robot to record on, host:port, see `lotj robot`; by default the simulated ones, here."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the preset that the flags name."""
        usual = "state" if any(flag.partition("=")[0] == "--tasks" for flag in flags) else cls.preset
        preset = find_preset(flag_value(flags, "--preset") or usual)
        return cls(
            data=Path("data") / preset.name,
            settings=preset.collect,
            validation=preset.collect_validation,
            training_connectors=preset.training_connectors,
            preset=preset.name,
        )

    def run(self) -> None:
        """SettingsError for flags that do not go together, RendererError where nothing draws; the rest as `collect`."""
        if self.settings.image_size != self.validation.image_size:
            raise SettingsError(
                f"image-size {self.settings.image_size}, validation.image-size {self.validation.image_size}: must be "
                "the same, one data set holds one size"
            )
        left_out = [find_connector(name) for name in self.leave_out]
        noise, seed = self.settings.noise, self.settings.seed
        if not self.tasks and (self.recipe, self.policy) != ("expert", ""):
            raise SettingsError(f"recipe {self.recipe}: is for --tasks; name some, or leave it out")
        made = self.tasks, self.episodes, noise, seed, self.recipe, self.policy
        tasks = TaskCollection(*made) if self.tasks else None
        if tasks is not None and self.robot:
            raise SettingsError(f"robot {self.robot}: inserts connectors; leave --tasks or --robot out")
        if self.on == "ray" and self.robot:
            raise SettingsError(f"robot {self.robot}: one robot records here alone; leave --on ray or --robot out")
        if tasks is None and not self.robot:
            announce_renderer()
        preset = dataclasses.replace(
            find_preset(self.preset),
            collect=self.settings,
            collect_validation=self.validation,
            training_connectors=self.training_connectors,
            tasks=tasks,
        )
        collect_with_bar(preset, self.data, self.workers, left_out, self.robot, self.on)
        say(f"{self.data}: look at it with `lotj data info {shlex.quote(str(self.data))}`")


def collect_with_bar(
    preset: Preset,
    data: Path,
    workers: int | None,
    left_out: Sequence[Connector] = (),
    robot: str = "",
    on: str = "processes",
) -> None:
    """Record a preset's episodes behind a progress bar; where there is no terminal, one line at the end."""
    from lotj.experiments.stages import collect_phase, collections

    counts: Counter[str] = Counter()
    planned = sum(len(part.tasks()) * len(part.episodes()) for part in collections(preset, left_out))
    before = recorded_episodes(data)
    with progress_bars() as show:

        def report(done: Progress) -> None:
            counts["lost" if done.discarded else "success" if done.success else "other"] += 1
            show("collect", before + counts.total(), planned)

        collect_phase(preset, data, workers, report, left_out, robot, on)
    ends = f"{counts['success']:,} with success, {counts['other']:,} without, {counts['lost']:,} discarded"
    say(f"collected {counted(counts.total(), 'episode')}: {ends}")


def recorded_episodes(data: Path) -> int:
    """Episodes that a data set holds already, discarded ones too; 0 if there is none yet."""
    from lotj.data import layout

    if not (data / layout.META).exists():
        return 0
    folders = [layout.task_folder(data, name) for name in layout.task_names(data)]
    return sum(len(layout.read_index(folder / layout.INDEX).finished) for folder in folders)
