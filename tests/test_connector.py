"""The catalogue that ships: its size, hand-checked dimensions, splits, and what every connector must keep to."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lotj.envs.insertion import insertion_task
from lotj.errors import SettingsError
from lotj.experiments.comparisons import COMPARISONS
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.presets import PRESETS
from lotj.experiments.stages import collections
from lotj.experiments.study import Asked
from lotj.sim.connector import SPLITS, Connector, Feature, catalogue, training_connectors
from lotj.training.collect_insertion import InsertionCollection

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "connectors.md"
BLIND = {
    "cee-50v-16", "din-43650-a", "faston-6-3", "gx16-4", "lamp-gu5-3", "lightning", "mc4", "pcie-x1", "powerpole-2",
    "sc-fibre", "speakon-nl4", "toslink",
}  # fmt: skip
TRAPS = {"vacuum-dock", "volume-knob", "wall-charger"}
TABLE_ROW = r"^\| `([a-z0-9-]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|"


def feature(connector: Connector, name: str) -> Feature:
    """A feature by name."""
    return next(f for f in connector.features if f.name == name)


def mm(*values: float) -> Any:
    """Metres from millimetres, for comparison."""
    metres = [v * 1e-3 for v in values]
    return pytest.approx(metres if len(metres) > 1 else metres[0])


def test_size_of_the_catalogue() -> None:
    splits = Counter(c.split for c in catalogue().values())
    assert len(catalogue()) >= 62
    assert len({c.family for c in catalogue().values()}) >= 14
    assert splits["test"] == 4
    assert splits["validation"] >= 7
    assert len(training_connectors()) >= 51


def test_test_split_is_the_four_connectors_of_the_paper() -> None:
    test = {name for name, c in catalogue().items() if c.split == "test"}
    assert test == {"deutsch-dt-12", "mega-brick-1x1", "nema-5-15", "europlug"}


def test_blind_connectors_are_of_families_that_nothing_else_is_of() -> None:
    known = catalogue().values()
    assert {c.name for c in known if c.split == "blind"} == BLIND
    families = [c.family for c in known if c.split == "blind"]
    assert len(set(families)) == len(BLIND)
    assert not set(families) & {c.family for c in known if c.split != "blind"}
    assert not any(c.variant_of for c in known if c.split == "blind")


def test_a_blind_connector_is_opened_by_name_alone() -> None:
    """No way of choosing connectors yields one, but the run that is named for them; what is recorded says blind."""
    chosen = {*choose_training(None), *(name for split in SPLITS[:3] for name in of_split(split))}
    for preset in PRESETS.values():
        for made in collections(preset):
            chosen |= set(made.connectors) if isinstance(made, InsertionCollection) else set()
    for table in COMPARISONS.values():
        asked = Asked("laptop", Path("data"), Path("runs"))
        chosen |= set(table.asked(asked).connectors) if table.name != "blind" else set()
    assert {"usb-a", "usb-b", "europlug"} <= chosen and not chosen & BLIND
    with pytest.raises(SettingsError, match="split blind: is opened by the names of its connectors alone"):
        of_split("blind")
    assert {insertion_task(name).split for name in BLIND} == {"blind"}  # neither `train` nor `validation` picks it up


def test_no_program_names_a_blind_connector() -> None:
    programs = [path for folder in ("src", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert len(programs) > 50
    for path in (*programs, ROOT / "Makefile"):
        named = {name for name in BLIND - {"lightning"} if name in path.read_text()}
        assert not named, path
        assert not re.search(r"[\"']lightning[\"']", path.read_text()), path


def test_the_list_of_the_predictions_is_the_blind_split() -> None:
    page = (ROOT / "docs" / "predictions.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (?:easy|hard) \|$", page, re.MULTILINE)) == BLIND


def test_challenges_are_for_nothing_else() -> None:
    """No training set, no comparison; and of families of their own."""
    assert of_split("challenge") == ("complex-key", "ddr4-dimm")
    others = {c.family for c in catalogue().values() if c.split != "challenge"}
    assert not {catalogue()[name].family for name in of_split("challenge")} & others
    assert not {c.name for c in training_connectors()} & {"complex-key", "ddr4-dimm"}
    assert insertion_task("ddr4-dimm").split == "challenge"


def test_a_ddr4_module_has_77_and_67_contacts_0_85_mm_apart_beside_its_key() -> None:
    module = catalogue()["ddr4-dimm"]
    edges = [feature(module, name) for name in ("edge-long", "edge-short")]
    assert [edge.size for edge in edges] == [mm(76 * 0.85 + 1.2, 1.4), mm(66 * 0.85 + 1.2, 1.4)]
    key = edges[1].centre[0] - edges[1].size[0] / 2 - (edges[0].centre[0] + edges[0].size[0] / 2)
    assert key == mm(3.4) and module.body_size[0] == mm(133.35)


def test_traps_are_for_validation() -> None:
    assert set(of_split("validation")) >= TRAPS


def test_nema_5_15_blades_stand_12_7_mm_apart_and_the_pin_is_longer() -> None:
    plug = catalogue()["nema-5-15"]
    line, neutral, ground = (feature(plug, n) for n in ("line", "neutral", "ground"))
    assert line.centre[0] - neutral.centre[0] == mm(12.7)
    assert line.centre[1] - ground.centre[1] == mm(11.9)
    assert line.size == mm(1.5, 6.3)
    assert ground.size == mm(4.8, 4.8)
    assert ground.length > line.length


def test_europlug_pins_are_4_mm_thick_19_mm_long_and_19_mm_apart() -> None:
    plug = catalogue()["europlug"]
    left, right = feature(plug, "left"), feature(plug, "right")
    assert right.centre[0] - left.centre[0] == mm(19)
    assert left.size == right.size == mm(4, 4)
    assert left.length == mm(19)
    assert plug.body_size == mm(35.3, 13.7)


def test_deutsch_dt_12_has_two_rows_of_six_size_16_pins_that_the_hood_guides() -> None:
    plug = catalogue()["deutsch-dt-12"]
    pins = [f for f in plug.features if f.name.startswith("pin")]
    assert len(pins) == 12
    assert len({f.centre[1] for f in pins}) == 2
    assert all(f.size == mm(1.57, 1.57) and f.visual and f.on == "socket" for f in pins)
    assert [f.name for f in plug.features if not f.visual] == ["nose"]


def test_mega_brick_skirt_leaves_the_stated_gap_to_its_stud() -> None:
    brick = catalogue()["mega-brick-1x1"]
    skirt, stud = feature(brick, "skirt"), feature(brick, "stud")
    inside = skirt.size[0] - 2 * skirt.wall
    assert inside == mm(21.8)  # 31.5 - 2 x 4.85
    assert (inside - stud.size[0]) / 2 == mm(0.4)
    assert skirt.base - skirt.length == pytest.approx(0.0)  # the skirt's rim rests on the mating face


@pytest.mark.parametrize(
    ("name", "element", "size"),
    [
        ("bs-1363", "earth", (4.0, 8.0)),
        ("usb-a", "shell", (12.0, 4.5)),
        ("usb-c", "shell", (8.25, 2.4)),
        ("rj45", "plug", (11.68, 6.5)),
        ("dc-5-5x2-1", "barrel", (5.5, 5.5)),
        ("jack-3-5", "plug", (3.5, 3.5)),
        ("hdmi-a", "shell", (13.9, 4.45)),
        ("d-sub-db-25", "shell", (38.38, 7.9)),
        ("socket-wrench-13", "head", (15.011, 13.0)),  # 13 mm across flats, 13 / cos 30 deg across corners
    ],
)
def test_hand_checked_sizes(name: str, element: str, size: tuple[float, float]) -> None:
    measured = feature(catalogue()[name], element).size
    assert measured == pytest.approx([s * 1e-3 for s in size], abs=2e-6)


def test_training_never_sees_a_close_variant_of_a_held_out_connector() -> None:
    held = {c.variant_of or c.name for c in catalogue().values() if c.split != "train"}
    assert not {c.variant_of or c.name for c in training_connectors()} & held
    names = {c.name for c in training_connectors()}
    assert not names & {"nema-1-15", "nema-5-20", "nema-6-15", "cee-7-17", "cee-7-7", "sev-1011-t12"}
    assert all(c.split == "train" for c in training_connectors())


def test_a_given_test_connector_takes_its_variants_out_of_training() -> None:
    vga, all_names = catalogue()["d-sub-de-15"], {c.name for c in training_connectors()}
    without = {c.name for c in training_connectors(vga)}
    assert all_names - without == {"d-sub-de-9", "d-sub-de-15"}  # the same shell
    own = dataclasses.replace(catalogue()["peg-round-8"], name="own", variant_of="d-sub-de-9")
    assert {c.name for c in training_connectors(own)} == without - {"peg-round-8"}  # whose elements it has


def test_every_kind_of_test_connector_has_kin_in_training_and_validation() -> None:
    for family in ("deutsch-dt", "brick"):
        splits = {c.split for c in catalogue().values() if c.family == family}
        assert splits == {"train", "validation", "test"}
    assert {c.split for c in catalogue().values() if c.name in ("as-3112", "bs-4573")} == {"validation"}


def test_sizes_are_plausible_metres_and_newtons() -> None:
    for c in catalogue().values():
        assert 1.5e-3 <= c.insertion_depth <= 25e-3, c.name
        assert 0 <= c.seating_force <= 15, c.name
        assert 0.05e-3 <= c.clearance <= 0.5e-3, c.name
        assert max(c.housing_size) <= (140e-3 if c.name == "ddr4-dimm" else 60e-3), c.name
        assert min(c.body_size) >= 6e-3, c.name
        assert c.body_size[1] <= 45e-3, c.name  # the fingers close along y


def _mouth(f: Feature, mouth: bool = True) -> tuple[float, float, float, float]:
    """Bounds (x0, y0, x1, y1) of a cavity, with or without its lead-in [m]."""
    half = [s / 2 + f.clearance + f.lead_in * mouth for s in f.size]
    cos, sin = abs(math.cos(f.angle)), abs(math.sin(f.angle))
    hx, hy = half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos
    return f.centre[0] - hx, f.centre[1] - hy, f.centre[0] + hx, f.centre[1] + hy


def _cavities(c: Connector) -> list[Feature]:
    return [f for f in c.features if f.on == "plug" and f.cavity and not f.visual]


def test_cavities_keep_half_a_millimetre_apart() -> None:
    for c in catalogue().values():
        cells = [_mouth(f) for f in _cavities(c)]
        for i, (ax0, ay0, ax1, ay1) in enumerate(cells):
            for bx0, by0, bx1, by1 in cells[i + 1 :]:
                gap = max(max(ax0, bx0) - min(ax1, bx1), max(ay0, by0) - min(ay1, by1))
                assert gap >= 0.5e-3 - 1e-9, c.name


def test_funnels_do_not_catch_a_plug_three_millimetres_beside() -> None:
    for c in catalogue().values():
        for f in c.features:
            taper = min(f.chamfer, 0.8 * f.wall) if f.wall else f.chamfer
            assert f.visual or taper + f.lead_in + f.clearance <= 2.21e-3, c.name


def test_the_body_is_wider_than_a_lone_cavity_so_that_the_faces_stop_the_plug() -> None:
    for c in catalogue().values():
        cavities = _cavities(c)
        if len(cavities) == 1 and c.body_gap == 0:
            x0, y0, x1, y1 = _mouth(cavities[0])
            assert c.body_size[0] > x1 - x0 or c.body_size[1] > y1 - y0, c.name


def test_names_can_be_typed() -> None:
    for c in catalogue().values():
        assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", word) for word in (c.name, c.family)), c.name


def test_the_table_in_the_docs_counts_right() -> None:
    held = {c.name for c in catalogue().values() if c.split == "train"} - {c.name for c in training_connectors()}
    counts: dict[str, list[int]] = {}
    for c in catalogue().values():
        row = counts.setdefault(c.family, [0, 0, 0, 0, 0, 0])
        row[5 if c.name in held else SPLITS.index(c.split)] += 1
    rows = re.findall(TABLE_ROW, DOCS.read_text(), re.MULTILINE)
    assert {family: [int(n) for n in numbers] for family, *numbers in rows} == counts
