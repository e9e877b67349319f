"""What commands share: a preset's defaults, going on with a run, the device, what they print and progress."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich import get_console
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TaskID
from rich.table import Table

from lotj.errors import SettingsError, counted
from lotj.ranges import Checked
from lotj.runs import BASE, Run, base_run, find_run
from lotj.sim.connector import Connector, find_connector, training_connectors
from lotj.training.practice_config import PracticeConfig

if TYPE_CHECKING:  # SciPy and torch are slow to import
    from lotj.evaluation.results import EvaluationResult
    from lotj.training.practice import PracticeResult

RUNS = Path("runs")
"""Folder of all runs unless told otherwise."""

_FOLDERS = "*", "train-*/*"
"""Where runs lie in it; `lotj train` gives each job a folder of its own."""

_RESULT = "checkpoints/practice.pt"
"""What a run of practice holds when others can build on it."""


@dataclass(frozen=True, kw_only=True)
class OnDevice(Checked):
    """The flag of commands that compute."""

    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""


@dataclass(frozen=True, kw_only=True)
class Tracked(OnDevice):
    """The flags of commands whose metrics can be sent to Weights & Biases."""

    wandb: Literal["no", "online", "offline"] = "no"
    """Metrics to Weights & Biases, too: to your account, or offline, into the run folder, for `wandb sync` later."""


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """The flags of commands that are about a run that there is."""

    folder: tyro.conf.Positional[Path | None] = None
    """Folder of the run; the newest under --runs by default."""
    runs: Path = RUNS
    """Folder of all runs."""


@dataclass(frozen=True, kw_only=True)
class Resume(Tracked, OfRun):
    """Go on with a stopped run, with the settings that it was begun with."""

    @classmethod
    def words(cls, flags: Sequence[str]) -> list[str]:
        """The flags beside ``--resume``, as tyro takes them; SettingsError if one is a setting of the run."""
        free = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(cls) if field.name != "folder"]
        words = [word for flag in flags if (word := re.sub(r"^--resume(=|$)", "", flag))]
        for name in (word.partition("=")[0] for word in words):
            if name.startswith("--") and name not in (*free, "--help"):
                raise SettingsError(
                    f"{name}: a resumed run keeps the settings it was begun with; beside --resume [FOLDER] there may "
                    f"be {', '.join(free)}; leave it out, or start a new run"
                )
        return words


def flag_value(flags: Sequence[str], name: str) -> str | None:
    """The value of a flag before tyro reads them all: a preset sets the defaults of the other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(name, nargs="?")
    return vars(parser.parse_known_args(flags)[0])[name.removeprefix("--")]


def pick_run(folder: str | Path | None, runs: Path, kind: str, begun: bool = False) -> Run:
    """The run in `folder`, or the newest of its kind under `runs`: of practice with a finished trial, or just `begun`;
    SettingsError if there is none, or it is of another kind."""
    result, inside = "" if begun else _RESULT, None
    if folder is None:
        return find_run(runs, kind, result, _FOLDERS)
    with suppress(SettingsError):
        if not (Path(folder) / "run.json").exists():
            inside = find_run(Path(folder), kind, result, _FOLDERS).path
    if inside:
        raise SettingsError(f"{folder}: is a folder of runs; name one of them, e.g. {inside}")
    run = Run.open(Path(folder))
    if run.kind != kind:
        raise SettingsError(f"{folder}: a {kind} run is needed, this is a {run.kind} run; name one, or leave it out")
    if kind == "practice" and "task" in run.config and "preset" not in run.config:
        rule = "which goes on with it, tries it and tells of it; name a run of `lotj practice` or `lotj train`"
        raise SettingsError(f"{folder}: is a part of a chapter of `lotj reproduce`, {rule}")
    return run


def unfinished(runs: Path, kind: str, seed: int, wanted: Mapping[str, Any] | None = None) -> Run | None:
    """The newest run of its kind under `runs`, where it is of this seed and has these settings; else None."""
    with suppress(SettingsError):
        run = find_run(runs, kind)
        if run.seed == seed and all(run.config.get(key) == value for key, value in (wanted or {}).items()):
            return run
    return None


def pick_pretraining(folder: str | Path | None) -> Run:
    """The pretraining in `folder`, or the base that has come with lotj; SettingsError as of `pick_run`."""
    return base_run() if folder is None else pick_run(folder, RUNS, "pretrain")


def say_pretraining(pretrained: Run | None) -> None:
    """Say what practice begins from."""
    base = pretrained is not None and pretrained.path == BASE
    whose = "the base that comes with lotj, described in " if base else ""
    path = pretrained.path / ("MODEL_CARD.md" if base else "") if pretrained else "none, the agent begins from nothing"
    say(f"pretraining: {whose}{path}")


def say(text: str) -> None:
    """Print a line as it is: folders and names hold no markup, and a terminal may break it, but nothing else."""
    get_console().print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars while the program is watched, each told its name, what is done, and of how much."""
    console, tasks = Console(stderr=True), dict[str, TaskID]()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield show


def check_connector(name: str) -> Connector:
    """The connector that practice is to be on; says it where that is a part of the training set."""
    part = find_connector(name)
    if part.name in {known.name for known in training_connectors()}:
        say(f"note: {part.name} is a training connector: its result will not be that of an unseen one")
    return part


def check_limit(task: str, settings: PracticeConfig) -> None:
    """SettingsError for a time limit of practice on a task whose environment has one."""
    if (steps := settings.max_steps) != PracticeConfig.max_steps:
        raise SettingsError(f"max_steps {steps}: {task} has its own; name the task {task},max_steps={steps}")


def find_device(name: str) -> str:
    """Where to compute: `name`, or for ``auto`` the GPU if there is one; SettingsError if it is not here."""
    import torch

    gpu = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if gpu else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda") or (name != "cpu" and not gpu):
        raise SettingsError(f"device {name!r}: must be auto, cpu{' or cuda' if gpu else ' (torch sees no GPU here)'}")
    return name


def announce_renderer() -> None:
    """Say which renderer draws and how fast, before any time is spent; RendererError if there is none."""
    from lotj.sim.renderer import renderer_info

    say(f"renderer: {renderer_info()}")


def print_alarm(result: PracticeResult) -> None:
    """Says it where practice sees hardly any success, and where not the last policy is kept."""
    from lotj.training.live_view import ALARM

    if result.alarm:
        get_console().print(f"ALARM: {ALARM}", style="bold red", soft_wrap=True)
    if result.kept < result.trials:
        kept = f"the policy after trial {result.kept}" if result.kept else "the policy that practice began with"
        say(f"kept: {kept}, for later trials do not show that theirs is better")


def evaluate_and_report(run: Run, trials: int, device: str, spread: float = 1.0) -> None:
    """The end of a job: true successes of what a practice run has learnt, and its page."""
    from lotj.experiments.evaluation import evaluate_phase
    from lotj.report import build_report

    get_console().rule("evaluate and report", align="left")
    with progress_bars() as show:
        results = evaluate_phase(run, trials, device, show, spread)
    run.close()
    get_console().print(results_table(results))
    say(f"report: {build_report(run.path)}")


def results_table(results: Sequence[EvaluationResult]) -> Table:
    """True successes of each controller with their Wilson 95 % intervals, time, and force where it is measured."""
    context, measured = results[0].context, any(bool(result.peak_force_n.any()) for result in results)
    where = f"{context['connector']}, {context['scenario']}" if "connector" in context else context["task"]
    earns = "connector" not in context and not any(result.success.any() for result in results)
    title = f"{escape(where)}: true success of {counted(len(results[0]), 'trial')}"
    table = Table("controller", title=title, title_justify="left")
    more = ["peak force, N"] * measured + ["reward"] * earns
    for name in ("success", "rate", "95 % interval", "mean time, s", *more):
        table.add_column(name, justify="right")
    for result in results:
        low, high = result.interval
        table.add_row(
            result.label,
            f"{result.successes}/{len(result)}",
            f"{result.success.mean():.0%}",
            f"{low:.0%} - {high:.0%}",
            f"{result.seconds.mean():.1f}",
            *([f"{result.peak_force_n.max():.0f}"] if measured else []),
            *(["-" if result.reward is None else f"{result.reward.mean():.4g}"] if earns else []),
        )
    return table
