"""``lotj practice``: learn one unseen connector on the job."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import tyro

from lotj.cli import job
from lotj.errors import SettingsError, counted
from lotj.experience import INSERTION
from lotj.experiments.presets import Preset, find_preset
from lotj.ranges import NOT_NEGATIVE, PROCESSES, SEED
from lotj.runs import Run, restore_settings
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig, TaskPracticeConfig

if TYPE_CHECKING:  # torch is slow to import
    from lotj.training.live_view import Watcher


@dataclass(frozen=True, kw_only=True)
class Watched(job.Tracked):
    """The flags of who looks on."""

    page: bool = False
    """Serve a page on which practice is followed, paused, stopped, and the robot corrected (docs/page.md)."""
    page_at: str = "127.0.0.1:0"
    """Where: host:port, port 0 for a free one; other machines see it with --page-cert and --page-key alone."""
    page_cert: Path | None = None
    """Certificate in PEM, for TLS."""
    page_key: Path | None = None
    """Its key in PEM."""

    @contextmanager
    def watched(self) -> Iterator[Watcher | None]:
        """The page, if one is wanted."""
        host, _, port = self.page_at.rpartition(":")
        if not host or not port.isdecimal() or int(port[:6]) > 65535:
            raise SettingsError(f"page-at {self.page_at!r}: must be host:port, e.g. 127.0.0.1:8751")
        if not self.page:
            yield None
            return
        from lotj.page.page import Page

        with closing(Page(host.strip("[]"), int(port), self.page_cert, self.page_key)) as page:
            job.say(f"page: {page.address}")
            sys.stdout.flush()
            yield page


@dataclass(frozen=True)
class Command(Watched):
    """Practise on one connector that was not in the training data, with the robot's own verdict as the only reward,
    from the base that comes with lotj or from a pretraining of your own; or on another task, whose environment rewards.

    `lotj practice --resume [FOLDER]` goes on with a stopped run, the newest by default, with its settings.
    """

    resumable: ClassVar[str] = "stopped; all finished trials are kept: `lotj practice --resume` goes on"

    settings: Annotated[PracticeConfig, tyro.conf.arg(name="")]
    connector: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Catalogue name, or the path of a .toml file of your own. Given several times, these are practised on at once, by
    one robot each; one policy learns from all."""
    task: str | None = None
    """Another task instead, e.g. fetch/reach (`lotj tasks`); from a pretraining only if --pretrained names it."""
    scenario: str = "far"
    """Where evaluation starts: near (within 10 mm of the socket's axis) or far (10 to 20 mm beside). In practice the
    estimate of the socket's position is that far off."""
    robot: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Which of the simulated robots, duo (the default), trio or panda; or the address of a robot that is served
    elsewhere, host:port, see `lotj robot`. Given several times, these practise at once."""
    robots: Annotated[int, PROCESSES] = 1
    """So many at once of the one --robot, each on a bench of its own: of --domain-seed and the seeds that follow."""
    on: Literal["processes", "ray"] = "processes"
    """Where several robots practise: in processes here, or on the Ray cluster of RAY_ADDRESS (extra `cluster`)."""
    domain_seed: Annotated[int, SEED] = 0
    """Fixes the bench: mount, grasp, camera, light, materials, clutter."""
    disturbance: str = ""
    """One thing that goes wrong on the bench, in evaluation too, e.g. late-frame (docs/tasks.md lists them)."""
    ask: Annotated[int, NOT_NEGATIVE] = 0
    """Show a person so many trials of which the robot is least sure, and learn from the answers; with --page."""
    seed: Annotated[int, SEED] = 0
    """Fixes start poses, exploration and batches."""
    pretrained: Path | None = None
    """Run folder of a pretraining, which `lotj pretrain` has printed; on a connector the base that comes with lotj by
    default."""
    agent: str | None = None
    """Who practises: by default the agent of the pretraining; or another that `lotj pretrain --also` has trained. On
    another task without a pretraining any agent that needs no examples, td3 by default."""
    preset: str = "laptop"
    """Sets the defaults of the other flags: demo, laptop, paper or state; by default that of the pretraining, or state
    for another task."""
    runs: Path = job.RUNS
    """Folder that the run's own folder is made in."""

    @classmethod
    def default_for(cls, flags: list[str]) -> Self:
        """Defaults of the preset that the flags or the pretraining name."""
        task = job.flag_value(flags, "--task")
        usual = "state" if task else cls.preset
        if not task:
            with suppress(SettingsError):  # there may be no pretraining
                usual = job.pick_pretraining(job.flag_value(flags, "--pretrained")).config.get("preset") or usual
        preset = find_preset(job.flag_value(flags, "--preset") or usual)
        return cls(preset.practice, preset=preset.name)

    def run(self) -> None:
        """SettingsError, before any trial, for flags that do not go together, or with nothing to practise on."""
        task = self.task or ""
        preset = dataclasses.replace(find_preset(self.preset), practice=self.settings)
        bench: dict[str, Any] = {}
        if not task or task.startswith(INSERTION):
            if self.connector and task:
                raise SettingsError(f"task {task}: names a connector, and so does --connector; leave one out")
            connector = self.connector or ((task.removeprefix(INSERTION),) if task else ())
            if not connector:
                raise SettingsError(
                    "practise on what? name a --connector (`lotj connectors list`) or a --task (`lotj tasks`)"
                )
            for name in connector:
                job.check_connector(name)
            bench = {name: getattr(self, name) for name in ("scenario", "domain_seed", "disturbance", "on", "ask")}
            bench |= {"connector": connector, "robot": self._fleet()}
        else:
            for name in ("connector", "scenario", "robot", "robots", "on", "domain_seed", "disturbance"):
                if (given := getattr(self, name)) != getattr(Command, name):
                    said = " ".join(given) if isinstance(given, tuple) else given
                    way = f"name the task {task},disturbance={said}" if name == "disturbance" else "leave it out"
                    raise SettingsError(f"{name} {said}: is for connectors, {task} is an environment; {way}")
            if not isinstance(self.settings, TaskPracticeConfig):
                raise SettingsError(f"preset {self.preset}: is for connectors; for {task} choose state, or none")
            job.check_limit(task, self.settings)
        if self.ask and not (bench and self.page):
            raise SettingsError(f"ask {self.ask}: is answered on the page, of a connector; give --page and --connector")
        pretrained = job.pick_pretraining(self.pretrained) if bench or self.pretrained else None
        agent = self.agent or (pretrained.setting("agent") if pretrained else "td3")  # there is nothing to imitate
        how = {"agent": agent, "seed": self.seed, **bench}
        with self.watched() as watcher:
            _practise(preset, task, pretrained, self.runs, self.device, watcher=watcher, **how)

    def _fleet(self) -> tuple[str, ...]:
        """Each of the robots."""
        if self.robots > 1 and len(self.robot) > 1:
            raise SettingsError(f"robots {self.robots}: is for one --robot, {len(self.robot)} are named; leave one out")
        return (self.robot or ("duo",)) * self.robots


@dataclass(frozen=True, kw_only=True)
class Resume(Watched, job.Resume):
    """Go on after the last finished trial of a stopped run, with its settings."""

    interrupted: ClassVar[str] = Command.resumable

    def run(self) -> None:
        run = job.pick_run(self.folder, self.runs, "practice", begun=True)
        kind = SelfJudgedConfig if run.self_judged else TaskPracticeConfig
        practice = restore_settings(kind, run.setting("practice", dict), str(run.path / "config.json"))
        from lotj.experiments.practised import pretraining_of

        pretrained = pretraining_of(run) if run.setting("pretrain_run") else None
        how: dict[str, Any] = {"agent": run.setting("agent"), "seed": run.seed, "resume": run}
        if run.self_judged:
            how |= {"scenario": run.setting("scenario"), "on": run.config.get("on", "processes")}
            how |= {name: run.config.get(f"{name}s") or [run.setting(name)] for name in ("connector", "robot")}
            how["domain_seed"] = run.setting("domain_seed", int)
        name = run.setting("preset")
        preset = dataclasses.replace(Preset(name=name) if pretrained else find_preset(name), practice=practice)
        with self.watched() as watcher:
            _practise(preset, run.setting("task"), pretrained, run.path.parent, self.device, watcher=watcher, **how)


def _practise(preset: Preset, task: str, pretrained: Run | None, runs: Path, device: str, **how: Any) -> None:
    """Practise and say what came of it. `how` is what `practice_phase` wants besides, where it names a connector, or
    `practise_task_phase`."""
    job.say_pretraining(pretrained)
    if "connector" in how and not all(":" in robot for robot in how["robot"]):  # a served one draws for itself
        job.announce_renderer()
    from lotj.experiments.stages import practice_phase, practise_task_phase

    how["device"] = job.find_device(device)
    if "connector" in how and pretrained is not None:
        run, result = practice_phase(preset, pretrained, runs, **how)
        job.print_alarm(result)
        seen = f"of them successes by the learned reward, {result.lost} ended by a lost plug"
    else:
        run, result = practise_task_phase(preset, task, runs, pretrained=pretrained, **how)
        seen = "of them successes"
    run.close()
    if result.trials < preset.practice.trials:
        job.say(f"stopped on the page; `lotj practice --resume {shlex.quote(str(run.path))}` goes on")
    evaluate = f"lotj evaluate {shlex.quote(str(run.path))}"
    job.say(f"{counted(result.trials, 'trial')}, {result.predicted_successes} {seen}")
    job.say(f"{run.path}: count true successes with `{evaluate}`")
