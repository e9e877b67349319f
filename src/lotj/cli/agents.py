"""``lotj agents``: who can learn, as a table and one by one."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.table import Table

from lotj.agents import AGENTS, Algorithm, find_agent


@dataclass(frozen=True)
class List:
    """One line for each agent: what it is, what it learns from, and which columns of a batch it reads."""

    def run(self) -> None:
        table = Table("name", "learns from", "columns", "what it is", box=None, pad_edge=False, header_style="bold")
        for name, kind in AGENTS.items():
            text = _text(kind)
            table.add_row(name, *_reads(kind), text[: text.find(")") + 1] or text)  # up to its first reference
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(table)
        console.print("\n* needed. imitate: may be imitated; demo: prior data that may; return: Monte-Carlo, not with")
        console.print("hindsight; next_action: the one that follows in the data; position: true one of a plug")


@dataclass(frozen=True)
class Show:
    """One agent: what it is, and its settings with their defaults."""

    name: tyro.conf.Positional[str]
    """An agent, e.g. iql or rebrac."""

    def run(self) -> None:
        kind, console = find_agent(self.name), Console(highlight=False, soft_wrap=True, markup=False)
        source, columns = _reads(kind)
        console.print(f"{self.name}: {_text(kind)}\nlearns from {source}; columns: {columns or 'none'}\n")
        for name, value in vars(kind.CONFIG()).items():
            console.print(f"  {name:<24}{value}")


Command = List | Show
USUAL = List()
"""What is done where nothing more is said."""


def _reads(kind: type[Algorithm]) -> tuple[str, str]:
    """What it learns from, and which columns, with the default settings."""
    columns = [f"{name}*" for name in sorted(kind.requires)] + sorted(kind.needs - kind.requires)
    return "prior data, practice" if kind.offline else "practice", ", ".join(columns)


def _text(kind: type[Algorithm]) -> str:
    """The first paragraph of its module."""
    return " ".join((inspect.getdoc(sys.modules[kind.__module__]) or "").partition("\n\n")[0].split())
