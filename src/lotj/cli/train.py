"""``lotj train``: any agent on any task whose environment rewards."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro
from rich import get_console

from lotj.agents import find_agent
from lotj.cli import job
from lotj.cli.collect import collect_with_bar
from lotj.envs.registry import find_task, folder_name
from lotj.errors import SettingsError
from lotj.experiments.presets import Preset, find_preset
from lotj.files import first_difference, read_object, storage_errors, write_json
from lotj.ranges import COUNT, NOT_NEGATIVE, SEED
from lotj.runs import Run
from lotj.training.collect import TaskCollection
from lotj.training.practice_config import TaskPracticeConfig

_FREE = "device", "wandb", "evaluation_trials", "runs", "resume"
"""Flags that may be others when a job is gone on with."""


@dataclass(frozen=True)
class Command(job.Tracked):
    """Record demonstrations of a task's scripted expert, learn from them, practise with them, evaluate and report; or,
    without --demos, learn from practice alone.

    `lotj train ... --resume` goes on with the stopped job, which must have had the same flags.
    """

    interrupted: ClassVar[str] = "stopped; finished work is kept: the same command with --resume goes on"

    settings: Annotated[TaskPracticeConfig, tyro.conf.arg(name="")]
    task: str
    """What is learnt, e.g. fetch/push, with options behind it: fetch/push,max_steps=20; or gym:ID (`lotj tasks`)."""
    agent: str = "td3"
    """Who learns (`lotj agents`)."""
    set: tuple[str, ...] = ()
    """Settings of the agent, e.g. expectile=0.9 (`lotj agents show NAME`)."""
    demos: Annotated[int, NOT_NEGATIVE] = 0
    """Demonstrations to record."""
    recipe: Literal["expert", "human", "stitched", "random"] = "human"
    """How they are made, see `lotj collect --help`."""
    updates: Annotated[int, NOT_NEGATIVE] = 0
    """Updates on the demonstrations before practice."""
    evaluation_trials: Annotated[int, COUNT] = 100
    """Episodes in which what has been learnt is tried."""
    seed: Annotated[int, SEED] = 0
    """Fixes demonstrations, weights, starts and batches."""
    runs: Path = job.RUNS
    """Folder that the job's own folder is made in, named by task, agent and seed."""
    resume: bool = False
    """Go on with the stopped job."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Practice as of the preset `state`."""
        practice = find_preset("state").practice
        assert isinstance(practice, TaskPracticeConfig)
        return cls(practice, task=tyro.MISSING)

    def run(self) -> None:
        """SettingsError for flags that do not go together, or for a job that is there and not to be resumed."""
        family, _ = find_task(self.task)
        if family.name == "insertion":
            raise SettingsError(f"{self.task}: there a robot judges itself: `lotj practice --connector NAME` does that")
        job.check_limit(self.task, self.settings)
        if self.updates and not self.demos:
            raise SettingsError(f"updates {self.updates}: before practice there are demonstrations alone; give --demos")
        if self.demos and self.recipe != "random" and family.expert is None:
            raise SettingsError(
                f"demos {self.demos}: {self.task} has no scripted expert to record; give --recipe random"
            )
        kind, device = find_agent(self.agent).CONFIG, job.find_device(self.device)
        preset = dataclasses.replace(find_preset("state"), practice=self.settings, agent=parsed(self.set, kind()))
        preset = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, steps=self.updates))
        folder = self.runs / f"train-{folder_name(self.task)}-{self.agent}-{self.seed}"
        from lotj.experiments.stages import agent_settings, practise_task_phase

        agent_settings(preset, self.agent)  # as long as nothing is recorded
        self._begin(folder)
        pretrained = self._learn_from_demos(preset, folder, device) if self.demos else None
        get_console().rule(f"practise {self.task}", align="left")
        how: dict[str, Any] = {"pretrained": pretrained, "seed": self.seed, "device": device}
        resume = job.unfinished(folder, "practice", self.seed) if self.resume else None
        run, _ = practise_task_phase(preset, self.task, folder, self.agent, resume=resume, **how)
        job.evaluate_and_report(run, self.evaluation_trials, device, spread=0.0)

    def _begin(self, folder: Path) -> None:
        """Keep the flags of the job, or compare them with those that it was begun with."""
        file = folder / "job.json"
        begun = any(path != file for path in folder.glob("*"))
        if begun and not self.resume:
            raise SettingsError(f"{folder} holds a job: give --resume, or another --seed or --runs")
        flags = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        flags = {name: value for name, value in flags.items() if name not in _FREE}
        if not (begun and file.exists()):  # a new job, or one of an older lotj
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_json(file, flags)
        elif other := first_difference(read_object(file), flags, strictly=True):
            raise SettingsError(f"{folder} was begun with {other}: give the same, or another --seed or --runs")

    def _learn_from_demos(self, preset: Preset, folder: Path, device: str) -> Run:
        """What comes before practice."""
        from lotj.experiments.stages import pretrain_phase

        data = folder / "demos"
        get_console().rule("record demonstrations", align="left")
        tasks = TaskCollection((self.task,), self.demos, seed=self.seed, recipe=self.recipe)
        collect_with_bar(dataclasses.replace(preset, tasks=tasks), data, None)
        get_console().rule("learn from them", align="left")
        resume = job.unfinished(folder, "pretrain", self.seed) if self.resume else None
        return pretrain_phase(preset, data, folder, self.seed, device, resume, agent=self.agent)


def parsed(settings: tuple[str, ...], defaults: Any) -> dict[str, Any]:
    """Settings of an agent from ``name=value``; SettingsError for a value of another type than the default's."""
    found: dict[str, Any] = {}
    for text in settings:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            found[name] = value
        if isinstance(found[name], list):
            found[name] = tuple(found[name])
        usual = getattr(defaults, name, found[name])  # an unknown one is told of by whoever knows them all
        number = isinstance(usual, float) and isinstance(found[name], int)
        if not (number or isinstance(found[name], type(usual))):
            raise SettingsError(f"set {text}: {name} is a {type(usual).__name__}, e.g. {usual!r}")
    return found
