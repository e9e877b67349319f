"""Connectors from CAD: dimensions come back from meshes, and a mesh that is no connector's is refused in one line."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lotj.cli import main
from lotj.errors import MeshError
from lotj.sim.cad.measure import measure
from lotj.sim.cad.seating import AXES, assembled_seat, find_seat
from lotj.sim.cad.solid import Solid, load_solid, solid_of, write_stl
from lotj.sim.connector import CATALOGUE, load_connector_file, parse_connector
from lotj.sim.solids import Piece, plug_pieces, socket_pieces

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "from_mesh.py"
spec = importlib.util.spec_from_file_location("from_mesh", SCRIPT)
assert spec is not None and spec.loader is not None
from_mesh = importlib.util.module_from_spec(spec)
spec.loader.exec_module(from_mesh)


def block(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Piece:
    """A box between bounds [mm]."""
    corners = 1e-3 * np.array([[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]]])
    return Piece("block", ((corners, 1e-3 * z[0]), (corners, 1e-3 * z[1])))


def pin() -> tuple[Solid, Solid]:
    """A pin of 6 x 4 x 10 mm below a body of 12 x 10 x 20, and a block 16 x 14 x 14, its hole 6.6 x 4.4 x 11."""
    plug = solid_of("plug.stl", [block((-6, 6), (-5, 5), (0, 20)), block((-3, 3), (-2, 2), (-10, 0))])
    walls = [
        block((-8, -3.3), (-7, 7), (-14, 0)),
        block((3.3, 8), (-7, 7), (-14, 0)),
        block((-8, 8), (-7, 7), (-14, -11)),
    ]
    walls += [block((-3.3, 3.3), (-7, -2.2), (-14, 0)), block((-3.3, 3.3), (2.2, 7), (-14, 0))]
    return plug, solid_of("socket.stl", walls)


def test_sections_count_what_shells_enclose_together() -> None:
    """Two boxes of 2 x 2 that overlap by 1 x 2, and a box of 1 x 1 turned inside out within a third of 4 x 4."""
    void = solid_of("", [block((11, 12), (1, 2), (1, 2))]).triangles[:, ::-1]
    boxes = [block((0, 2), (0, 2), (0, 3)), block((1, 3), (0, 2), (0, 3)), block((10, 14), (0, 4), (0, 3))]
    solid = Solid("", np.concatenate([solid_of("", boxes).triangles, void]))
    assert solid.section(1.5).area == pytest.approx(6 + 15, abs=1e-6)
    assert solid.section(2.5).area == pytest.approx(6 + 16, abs=1e-6)
    assert solid.section(3.5).is_empty
    x = np.array([0.5, 5.0])
    assert solid.heights(x, np.array([0.6]), lowest=False).tolist() == [[3.0, -np.inf]]
    assert solid.heights(x, np.array([0.6]), lowest=True).tolist() == [[0.0, np.inf]]


@pytest.mark.parametrize("name", ["usb-b", "cap-round-16"])
def test_a_connector_comes_back_from_its_meshes(name: str) -> None:
    part = load_connector_file(CATALOGUE / f"{name}.toml")
    seat = assembled_seat(solid_of("plug", plug_pieces(part)), solid_of("socket", socket_pieces(part)))
    text = measure(seat, name).text()
    off = from_mesh.differences(part, parse_connector(tomllib.loads(text), name))
    assert max(off.values()) <= 0.05
    assert "seating_force_n = 5  # guessed" in text


def test_a_connector_comes_back_from_meshes_that_lie_anywhere(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    part = load_connector_file(CATALOGUE / "key-car.toml")
    off = from_mesh.differences(part, from_mesh.recovered(part, tmp_path, np.random.default_rng(1)))
    assert max(off.values()) <= 0.05


def test_the_hand_made_pin_is_measured() -> None:
    """Gaps (6.6 - 6) / 2 = 0.3 and (4.4 - 4) / 2 = 0.2: the smaller one counts; the body stops it."""
    plug, socket = pin()
    lifted = plug.moved(np.eye(3), np.array([20.0, -7.0, 33.0]))
    entries = tomllib.loads(measure(find_seat(lifted, socket), "pin").text())
    feature = entries["feature"][0]
    assert len(entries["feature"]) == 1 and feature["shape"] == "rect"
    assert feature["size_mm"] == pytest.approx([6, 4], abs=2e-3)
    assert (feature["length_mm"], feature["clearance_mm"]) == pytest.approx((10, 0.2), abs=5e-3)
    assert entries["insertion_depth_mm"] == pytest.approx(10, abs=5e-3)
    assert entries["housing_mm"] == pytest.approx([16, 14], abs=0.02) and entries["body_mm"] == [12, 10]


@pytest.mark.slow
def test_a_plug_on_its_side_is_found_or_named() -> None:
    plug, socket = pin()
    lying = plug.moved(AXES["x"].T, np.zeros(3))  # its z is now along x
    assert find_seat(lying, socket).plug_axis == "x"
    with pytest.raises(MeshError, match="upside down or on its side: it does with --plug-axis x --socket-axis z"):
        find_seat(lying, socket, plug_axis="z")


@pytest.mark.slow
def test_two_that_do_not_mate_are_named() -> None:
    _, socket = pin()
    with pytest.raises(MeshError, match=r"do not mate|at most"):
        find_seat(socket, socket)


def test_a_plug_that_is_gone_in_its_socket_is_named() -> None:
    """The pin alone, its top 3 mm below the face."""
    alone = solid_of("plug.stl", [block((-3, 3), (-2, 2), (-11, -3))])
    with pytest.raises(MeshError, match=r"plug.stl: seated, its top is 3.00 mm below the face of socket.stl"):
        measure(assembled_seat(alone, pin()[1]), "pin")


def test_parts_that_lie_beside_one_another_are_named() -> None:
    """Said to be assembled, 50 mm apart: nothing of the one is over the other, whatever the axis."""
    plug, socket = pin()
    beside = plug.moved(np.eye(3), np.array([50.0, 0, 0]))
    for axis in ("z", "-z", "y"):
        with pytest.raises(MeshError, match="do not mate: nothing of the one is over the other") as caught:
            assembled_seat(beside, socket, axis)
        assert "inf" not in str(caught.value)


@pytest.mark.slow
def test_plug_and_socket_that_are_mistaken_for_one_another_are_named(tmp_path: Path) -> None:
    """Of all pairs of the two, each found by searching: a line with numbers in it, no infinite ones."""
    part = load_connector_file(CATALOGUE / "usb-b.toml")
    plug, socket = solid_of("plug", plug_pieces(part)), solid_of("socket", socket_pieces(part))
    for one, other in ((socket, plug), (plug, plug)):
        with pytest.raises(MeshError, match=r"the plug first\?|at most") as caught:
            find_seat(one, other)
        assert "inf " not in str(caught.value)


def test_an_undercut_is_named() -> None:
    plug, socket = pin()
    barb = solid_of("barb", [block((-3.8, 3.8), (-2, 2), (-10, -9))])
    barbed = Solid("plug.stl", np.concatenate([plug.triangles, barb.triangles]))
    with pytest.raises(MeshError, match="an undercut, a latch, a thread"):
        assembled_seat(barbed, socket)


def test_files_that_cannot_be_are_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    plug, _ = pin()
    write_stl(tmp_path / "plug.stl", plug)
    write_stl(tmp_path / "open.stl", Solid("", plug.triangles[:-1]))
    (tmp_path / "bad.stl").write_bytes(b"not a mesh")
    (tmp_path / "plug.sldprt").write_bytes(b"")
    (tmp_path / "torn.stl").write_bytes((tmp_path / "plug.stl").read_bytes()[:400])
    for name, unit, part in (
        ("open.stl", "mm", "is not closed: 3 open edges"),
        ("plug.stl", "m", r"largest must be 4 to 250 mm; is it in mm\? \(--unit mm\)"),
        ("bad.stl", "mm", "bad.stl: "),
        ("plug.sldprt", "mm", "must end in one of .stl"),
        ("none.stl", "mm", "no such file"),
        ("torn.stl", "mm", "holds no triangles that can be read; export the solid body whole"),
    ):
        with pytest.raises(MeshError, match=part) as caught:
            load_solid(tmp_path / name, unit)
        assert "\n" not in str(caught.value)


def test_the_commands_write_a_connector_and_its_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trimesh")
    assert main(["connectors", "to-mesh", "hex-10", "--out", str(tmp_path)]) == 0
    plug, socket, out = (tmp_path / name for name in ("hex-10-plug.stl", "hex-10-socket.stl", "my.toml"))
    words = [str(plug), str(socket), "-o", str(out), "--assembled", "--no-check"]
    assert main(["connectors", "from-mesh", *words, "-o", str(tmp_path / "my.png")]) == 2
    assert "my.png: must end in .toml" in capsys.readouterr().err and not out.exists()
    assert main(["connectors", "from-mesh", *words]) == 0
    assert load_connector_file(out).clearance == pytest.approx(0.06e-3, abs=2e-6)
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert "guessed" in capsys.readouterr().out
    assert main(["connectors", "from-mesh", *words]) == 0  # the same again
    corrected = out.read_text("utf-8").replace("clearance_mm = 0.06", "clearance_mm = 0.08")
    out.write_text(corrected, "utf-8")
    assert main(["connectors", "from-mesh", *words]) == 2
    assert "is there already and says other things" in capsys.readouterr().err
    assert out.read_text("utf-8") == corrected
