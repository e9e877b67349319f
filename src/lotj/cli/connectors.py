"""``lotj connectors``: the catalogue as a table, file by file and as a picture; connectors from CAD and to CAD."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from lotj.errors import CatalogueError, MeshError
from lotj.ranges import Checked, Interval
from lotj.sim.connector import catalogue, connector_text, find_connector, parse_connector, training_connectors

Axis = Literal["auto", "z", "-z", "x", "-x", "y", "-y"]


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


@dataclass(frozen=True)
class Check:
    """Whether a connector is a task on the bench: the scripted expert inserts it from far away, and straight down 3 mm
    beside the socket it never enters. As for all connectors of the catalogue; some seconds, nothing is drawn."""

    name: tyro.conf.Positional[str]
    """A catalogue name, or the path of a .toml file of your own."""

    def run(self) -> None:
        """CatalogueError with the first fault that the bench shows."""
        from lotj.envs.bench_check import faults

        for fault in faults(find_connector(self.name)):
            raise CatalogueError(f"{self.name}: {fault}")
        print(f"{self.name}: passes")


@dataclass(frozen=True)
class FromMesh:
    """A connector file, measured from the meshes of a plug and its socket (STL, OBJ, PLY or STEP), and a picture of
    meshes and features, one over the other. Needs the extra `cad`: pip install 'lotj[cad]'."""

    plug: tyro.conf.Positional[Path]
    """The plug's mesh: one or more closed shells."""
    socket: tyro.conf.Positional[Path]
    """The socket's mesh, likewise, in a frame of its own or in the plug's."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The TOML file to write, by default the plug's name; the picture lies beside it, ending in .png."""
    unit: Literal["mm", "cm", "m", "inch"] = "mm"
    """Of STL, OBJ and PLY, which do not say it."""
    plug_axis: Axis = "auto"
    """Axis of the plug's file that leads from its tip to its body: the way it is pulled out. By default z, or the
    others where that does not mate."""
    socket_axis: Axis = "auto"
    """Axis of the socket's file that leads out of it."""
    assembled: bool = False
    """Both files show the parts seated, in one frame: no pose is searched for, --socket-axis leads out."""
    face: float | None = None
    """Where the mating face is along the socket's axis, in its file [mm]: where the guess is wrong."""
    check: bool = True
    """Hold the connector against the bench, as `check` does."""

    def run(self) -> None:
        """MeshError for meshes that do not mate or make no connector, and a file that cannot be written; as `Check`."""
        import tomllib

        from lotj.files import atomic_write
        from lotj.sim.cad.measure import measure
        from lotj.sim.cad.picture import draw_measured
        from lotj.sim.cad.seating import assembled_seat, find_seat
        from lotj.sim.cad.solid import file_name, load_solid

        out = self.out or self.plug.with_suffix(".toml")
        if out.suffix != ".toml":
            raise MeshError(f"out {out}: must end in .toml; the picture lies beside it")
        plug, socket = load_solid(self.plug, self.unit), load_solid(self.socket, self.unit)
        if self.assembled:
            seat = assembled_seat(plug, socket, self.socket_axis)
        else:
            seat = find_seat(plug, socket, self.plug_axis, self.socket_axis)
            print(
                f"seated: plug's {seat.plug_axis} and socket's {seat.socket_axis} upwards, plug turned by "
                f"{seat.turn:.2f} degrees"
            )
        measured = measure(seat, file_name(out), self.face)
        text = measured.text()
        try:
            connector = parse_connector(tomllib.loads(text), str(out))
        except CatalogueError as error:
            raise MeshError(f"measured, but no connector: {error}") from None
        if out.exists() and out.read_bytes() != text.encode():
            raise MeshError(f"{out}: is there already and says other things, maybe by hand; remove it, or use --out")
        atomic_write(out, text.encode())
        draw_measured(out.with_suffix(".png"), measured, connector)
        print(f"{out} and {out.with_suffix('.png')}: {len(connector.features)} features")
        for name, remarks in measured.remarks.items():
            for remark in remarks:
                print(f"  {name}: {remark}")
        if self.check:
            Check(str(out)).run()


@dataclass(frozen=True)
class ToMesh:
    """The meshes of a connector, as simulated and seated in one frame: NAME-plug.stl and NAME-socket.stl, in mm. What
    is only seen is left out, circles have 16 or 32 corners."""

    name: tyro.conf.Positional[str]
    """A catalogue name, or the path of a .toml file of your own."""
    out: Path = Path(".")
    """The folder to write to."""

    def run(self) -> None:
        from lotj.sim.cad.solid import solid_of, write_stl
        from lotj.sim.solids import plug_pieces, socket_pieces

        part = find_connector(self.name)
        for side, pieces in (("plug", plug_pieces(part)), ("socket", socket_pieces(part))):
            path = self.out / f"{part.name}-{side}.stl"
            write_stl(path, solid_of(f"{part.name} {side}", pieces))
            print(path)


Command = List | Show | Sheet | Check | FromMesh | ToMesh
