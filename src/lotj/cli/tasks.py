"""``lotj tasks``: what can be learnt, as a table and one by one."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lotj.envs.base import spec_of
from lotj.envs.registry import expert_of, families, find_task, make_task
from lotj.spaces import Spec


@dataclass(frozen=True)
class List:
    """One line for each task, with what its environment shows and takes unless told otherwise."""

    def run(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("name", "observation", "action", "steps", "rate", "expert"):
            table.add_column(title, justify="right" if title in ("action", "steps", "rate") else "left")
        for family in families().values():
            names = [f"{family.name}/{member}" for member in family.members]
            if not names:
                table.add_row(f"{family.name}/{family.others}", "state", *4 * ["-"])
            for name in names[:1] if family.others else names:  # too many to list, and all alike
                shown = f"{family.name}/NAME or {family.others}" if family.others else name
                spec, expert = _spec_and_expert(name)
                observation = ", ".join(f"{name} {_shape(array.shape)}" for name, array in spec.observation.items())
                steps, rate = str(spec.max_steps), f"{spec.rate_hz:g} Hz"
                table.add_row(shown, observation, _shape(spec.action), steps, rate, expert)
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(table)
        console.print()
        for family in families().values():
            console.print(f"{family.name}: {family.title}", markup=False)


@dataclass(frozen=True)
class Show:
    """One task: what is observed, what an action is, and the options that may be set."""

    name: tyro.conf.Positional[str]
    """A task, e.g. fetch/push or insertion/usb-b."""

    def run(self) -> None:
        family, member = find_task(self.name)
        spec, expert = _spec_and_expert(self.name)
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"[bold]{escape(self.name)}[/bold]  {escape(family.members.get(member, member))}")
        for name, array in spec.observation.items():
            bounds = f"{array.low:g} to {array.high:g}" if array.low > -float("inf") else "unbounded"
            console.print(f"  {name:<16}{_shape(array.shape)} {array.dtype}, {bounds}", markup=False)
        console.print(f"  {'action':<16}{_shape(spec.action)} float32, -1 to 1")
        console.print(f"  {'time limit':<16}{spec.max_steps} steps at {spec.rate_hz:g} Hz")
        console.print(f"  {'expert':<16}{expert}\n\n[bold]options[/bold], with their defaults")
        for name, default in family.options().items():
            console.print(f"  {name:<16}{default}", markup=False)
        console.print(f"\nSet in the name: {self.name.partition(',')[0]},max_steps={spec.max_steps}", markup=False)


Command = List | Show
USUAL = List()
"""What is done where nothing more is said."""


def _spec_and_expert(name: str) -> tuple[Spec, str]:
    """What the environment of a task shows and takes, and the name of its expert."""
    env = make_task(name)
    spec = spec_of(env)
    expert = type(expert_of(name, env)).__name__ if find_task(name)[0].expert else "-"
    env.close()
    return spec, expert


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
