"""``lotj connectors``: the catalogue as a table, as numbers and as a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lotj.errors import check_number
from lotj.sim.connector import Connector, Feature, catalogue, find_connector, training_connectors


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
            table.add_row(c.name, c.family, split, _mm(c.insertion_depth), _mm(c.clearance), c.title)
        families = len({c.family for c in catalogue().values()})
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(table)
        console.print(
            f"\n{len(catalogue())} connectors in {families} families. depth, clearance: mm; the tightest clearance, "
            "per side. held out: a close variant of a validation or test connector, in no training set; blind: for "
            "one final run, opened by name alone."
        )


@dataclass(frozen=True)
class Show:
    """All dimensions of one connector, with units and where they come from."""

    name: tyro.conf.Positional[str]
    """A catalogue name, or the path of a .toml file of your own."""

    def run(self) -> None:
        connector = find_connector(self.name)
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"[bold]{escape(connector.title)}[/bold] ({connector.name})")
        for key, value in _facts(connector):
            console.print(f"  {key:<16}{value}", markup=False)
        for feature in connector.features:
            console.print(f"\n[bold]{escape(feature.name)}[/bold], on the {feature.on}")
            for key, value in _dimensions(feature):
                console.print(f"  {key:<16}{value}", markup=False)


@dataclass(frozen=True)
class Sheet:
    """A picture of all connectors: each plug above its socket, with name, family and split."""

    out: Path = Path("connectors.png")
    """The PNG file to write."""
    size: int = 200
    """Side of one connector's picture [pixels]."""
    columns: int = 8
    """Pictures in a row."""

    def run(self) -> None:
        for name, value in (("size", self.size), ("columns", self.columns)):
            check_number(f"--{name}", value, 1, 2000)
        from lotj.files import atomic_file
        from lotj.sim.gallery import contact_sheet

        with atomic_file(self.out) as file:
            contact_sheet(catalogue().values(), self.size, self.columns).save(file, format="PNG")
        print(self.out)


@dataclass(frozen=True)
class Command:
    """The catalogue of connectors."""

    what: tyro.conf.OmitSubcommandPrefixes[List | Show | Sheet]

    def run(self) -> None:
        self.what.run()


def _mm(*lengths: float) -> str:
    return " x ".join(f"{1e3 * length:.4g}" for length in lengths)


def _facts(c: Connector) -> Iterator[tuple[str, str]]:
    """Name and value, with unit, of what belongs to the connector as a whole."""
    yield "family", c.family + (f", variant of {c.variant_of}" if c.variant_of else "")
    yield "split", c.split
    yield "insertion depth", f"{_mm(c.insertion_depth)} mm"
    yield "clearance", f"{_mm(c.clearance)} mm per side, the tightest"
    yield "seating force", f"{c.seating_force:g} N"
    yield "friction", f"{c.friction:g}"
    yield "socket block", f"{_mm(*c.housing_size, c.housing_height)} mm, {c.housing_shape}"
    yield "plug body", f"{_mm(*c.body_size, c.body_height)} mm, {_mm(c.body_gap)} mm above the mating face when seated"
    yield "source", c.source


def _dimensions(f: Feature) -> Iterator[tuple[str, str]]:
    """Name and value, with unit, of one feature's dimensions; those it does not have are left out."""
    yield "shape", f.shape + (", seen but not collided with" if f.visual else "")
    yield "size", f"{_mm(*f.size)} mm"
    if f.points:
        yield "corners", ", ".join(f"({1e3 * x:g}, {1e3 * y:g})" for x, y in f.points) + " mm"
    yield "centre", f"({1e3 * f.centre[0]:.4g}, {1e3 * f.centre[1]:.4g}) mm"
    if f.angle:
        yield "turned by", f"{f.angle * 57.29578:.4g} degrees"
    yield "length", f"{_mm(f.length)} mm from z = {1e3 * f.base:.4g} mm"
    yield "clearance", f"{_mm(f.clearance)} mm per side" if f.cavity else "goes around or beside the other side"
    for name, length in (("chamfer", f.chamfer), ("lead-in", f.lead_in), ("wall", f.wall)):
        if length:
            yield name, f"{_mm(length)} mm"
    yield "source", f.source or "see above"
