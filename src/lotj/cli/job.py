"""What the commands of the job's phases share: defaults from a preset or a run, the device, and what they print."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lotj.errors import SettingsError, did_you_mean
from lotj.evaluation import EvaluationResult
from lotj.experience import SCENARIOS
from lotj.runs import Run, find_run
from lotj.sim.connector import find_connector, training_connectors

if TYPE_CHECKING:
    from lotj.training.practice import PracticeResult  # torch is slow to import

RUNS = Path("runs")
"""Folder of all runs unless told otherwise."""

FREE_ON_RESUME = ("resume", "run_folder", "runs", "device", "also")
"""What may differ between a run and its continuation."""


def flag_value(flags: Sequence[str], name: str) -> str | None:
    """The value of a flag before tyro reads them all: presets and runs set the defaults of the other flags."""
    for place, flag in enumerate(flags):
        if flag == name:
            return flags[place + 1] if place + 1 < len(flags) else None
        if flag.startswith(f"{name}="):
            return flag.partition("=")[2]
    return None


def run_to_resume(flags: Sequence[str], kind: str) -> Run | None:
    """The run that ``--resume`` goes on with: that of ``--run-folder``, or the newest of its kind. None without it.

    Raises:
        SettingsError: there is no such run, or it is of another kind.
    """
    if "--resume" not in flags:
        return None
    return pick_run(flag_value(flags, "--run-folder"), Path(flag_value(flags, "--runs") or RUNS), kind)


def pick_run(folder: str | Path | None, runs: Path, kind: str) -> Run:
    """The run in `folder`, or the newest of its kind under `runs`.

    Raises:
        SettingsError: there is no such run, or it is of another kind.
    """
    if folder is None:
        return find_run(runs, kind)
    run = Run.open(Path(folder))
    if run.kind != kind:
        raise SettingsError(
            f"{folder}: a {kind} run is needed, this is a {run.kind} run; name one, or leave it out for the newest"
        )
    return run


def begun_run(command: Any) -> Run | None:
    """The run that a command with `resume`, `run_folder` and `of_run` goes on with; None without ``--resume``.

    Raises:
        SettingsError: the flags ask for other settings than those that the run was begun with.
    """
    if not command.resume:
        if command.run_folder is not None:
            raise SettingsError(f"run-folder {command.run_folder}: it is for --resume; leave it out or add --resume")
        return None
    run = Run.open(command.run_folder)
    _refuse_changes(command, command.of_run(run), run)
    return run


def _refuse_changes(asked: Any, begun: Any, run: Run) -> None:
    """Raises SettingsError where `asked` differs from `begun`: the result of a mixture would be that of neither."""
    for field in dataclasses.fields(asked):
        new, old = getattr(asked, field.name), getattr(begun, field.name)
        same = new.resolve() == old.resolve() if isinstance(new, Path) and isinstance(old, Path) else new == old
        if field.name in FREE_ON_RESUME or same:
            continue
        if dataclasses.is_dataclass(new):
            _refuse_changes(new, old, run)
        name = field.name.replace("_", "-")
        raise SettingsError(
            f"{run.path}: begun with {name} {old}, not {new}: leave the flag out, start a new run, "
            "or name another run with --run-folder"
        )


def check_scenario(scenario: str) -> None:
    """Raises SettingsError for an unknown scenario."""
    if scenario not in SCENARIOS:
        raise SettingsError(
            f"unknown scenario {scenario!r}: {did_you_mean(scenario, SCENARIOS)}known are {', '.join(SCENARIOS)}"
        )


def check_connector(name: str, console: Console) -> None:
    """Say it where practice would be on a part of the training set.

    Raises:
        SettingsError, CatalogueError: no such connector, or its file will not do.
    """
    part = find_connector(name)
    if part.name in {known.name for known in training_connectors()}:
        console.print(
            f"note: {part.name} is a training connector: its result will not be that of an unseen one", soft_wrap=True
        )


def find_device(name: str) -> str:
    """Where to compute: `name`, or for ``auto`` the GPU if there is one.

    Raises:
        SettingsError: no such device here.
    """
    import torch

    gpu = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if gpu else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda") or (name != "cpu" and not gpu):
        raise SettingsError(f"device {name!r}: must be auto, cpu{' or cuda' if gpu else ' (torch sees no GPU here)'}")
    return name


def announce_renderer(console: Console) -> None:
    """Say which renderer draws and how fast, before any time is spent.

    Raises:
        RendererError: there is none.
    """
    from lotj.sim.renderer import renderer_info

    console.print(f"renderer: {renderer_info()}", markup=False, highlight=False)


def print_alarm(result: PracticeResult, console: Console) -> None:
    """Says it where practice's self-reward is not to be trusted."""
    if result.alarm:
        console.print(
            "ALARM: what looks seated often slides on a push or lies elsewhere. Do not trust the self-reward on this "
            "part: look at the report, and at the plug.",
            style="bold red",
            soft_wrap=True,
        )


def results_table(results: Sequence[EvaluationResult]) -> Table:
    """True successes of each controller with their Wilson 95 % intervals, time and force."""
    context = results[0].context
    table = Table(
        title=f"{escape(context['connector'])}, {context['scenario']}: true success of {len(results[0])} trials",
        title_justify="left",
    )
    table.add_column("controller")
    for title in ("success", "rate", "95 % interval", "mean time, s", "peak force, N"):
        table.add_column(title, justify="right")
    for result in results:
        s = result.summary()
        table.add_row(
            result.label,
            f"{s.successes}/{s.n}",
            f"{s.successes / s.n:.0%}",
            f"{s.low:.0%} - {s.high:.0%}",
            f"{s.mean_seconds:.1f}",
            f"{s.max_peak_force_n:.0f}",
        )
    return table
