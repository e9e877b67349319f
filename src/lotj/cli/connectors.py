"""``lotj connectors``: the catalogue as a table, file by file and as a picture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from lotj.ranges import Checked, Interval
from lotj.sim.connector import catalogue, connector_text, find_connector, training_connectors


@dataclass(frozen=True)
class List:
    """One line for each connector of the catalogue."""

    def run(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("name", "family", "split"):
            table.add_column(title, no_wrap=True)
        for title in ("depth", "clearance"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("title", min_width=16)
        trained_on = {c.name for c in training_connectors()}
        for c in catalogue().values():
            split = "held out" if c.split == "train" and c.name not in trained_on else c.split
            depth, clearance = (f"{1e3 * length:.4g}" for length in (c.insertion_depth, c.clearance))
            table.add_row(c.name, c.family, split, depth, clearance, c.title)
        families = len({c.family for c in catalogue().values()})
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(table)
        console.print(
            f"\n{len(catalogue())} connectors in {families} families. depth, clearance: mm; the tightest clearance, "
            "per side. held out: a close variant of a validation or test connector, in no training set; blind: for "
            "one final run, opened by name alone; challenge: unlike anything trained on, for fine-tuning."
        )


@dataclass(frozen=True)
class Show:
    """The file of one connector, checked: all dimensions, with units and where they come from; a start for your own."""

    name: tyro.conf.Positional[str]
    """A catalogue name, or the path of a .toml file of your own."""

    def run(self) -> None:
        find_connector(self.name)
        print(connector_text(self.name).decode("utf-8-sig"), end="")


@dataclass(frozen=True)
class Sheet(Checked):
    """A picture of all connectors: each plug above its socket, with name, family and split."""

    out: Path = Path("connectors.png")
    """The PNG file to write."""
    size: Annotated[int, Interval(1, 2000)] = 200
    """Side of one connector's picture [pixels]."""
    columns: Annotated[int, Interval(1, 2000)] = 8
    """Pictures in a row."""

    def run(self) -> None:
        from lotj.files import atomic_file
        from lotj.sim.gallery import contact_sheet

        with atomic_file(self.out) as file:
            contact_sheet(catalogue().values(), self.size, self.columns).save(file, format="PNG")
        print(self.out)


Command = List | Show | Sheet
