"""Connector files: units and defaults worked by hand, and every error names field, value and rule."""

from __future__ import annotations

import copy
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lotj.errors import CatalogueError, SettingsError
from lotj.sim import connector as module
from lotj.sim.connector import catalogue, find_connector, load_connector_file, parse_connector

BARE = """
name = "toy"
title = "Toy plug"
family = "toy"
source = "none: a test"
insertion_depth_mm = 10
housing_mm = [20, 18]
housing_height_mm = 15
body_mm = [16, 12]
body_height_mm = 20

[[feature]]
name = "pin"
shape = "round"
diameter_mm = 4
length_mm = 12
clearance_mm = 0.25
"""


def toy(**changes: Any) -> dict[str, Any]:
    """A small valid table; `changes` replace entries, None removes one."""
    return _changed(tomllib.loads(BARE), changes)


def toy_pin(**changes: Any) -> dict[str, Any]:
    """The small valid table with changes to its one feature."""
    table = tomllib.loads(BARE)
    _changed(table["feature"][0], changes)
    return table


def _changed(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if value is None:
            del table[key]
        else:
            table[key] = value
    return table


def refusal(table: dict[str, Any]) -> str:
    """The one line that a bad table is refused with."""
    with pytest.raises(CatalogueError) as caught:
        parse_connector(table, "toy.toml")
    message = str(caught.value)
    assert message.startswith("toy.toml: ")
    assert "\n" not in message
    return message


def mm(*values: float) -> Any:
    """Metres from millimetres, for comparison."""
    metres = [v * 1e-3 for v in values]
    return pytest.approx(metres if len(metres) > 1 else metres[0])


def test_millimetres_and_degrees_become_metres_and_radians() -> None:
    table = toy(body_gap_mm=1.5, seating_force_n=8)
    table["feature"] = [
        {
            "name": "blade",
            "shape": "rect",
            "centre_mm": [6.35, -3],
            "size_mm": [1.5, 6.3],
            "length_mm": 11,
            "base_mm": 1,
            "clearance_mm": 0.35,
            "chamfer_mm": 0.5,
            "lead_in_mm": 0.6,
            "angle_deg": 30,
        }
    ]
    part = parse_connector(table, "toy.toml")
    blade = part.features[0]
    assert part.insertion_depth == mm(10)
    assert part.housing_size == mm(20, 18)
    assert part.housing_height == mm(15)
    assert part.body_gap == mm(1.5)
    assert part.seating_force == 8.0
    assert blade.centre == mm(6.35, -3)
    assert blade.size == mm(1.5, 6.3)
    assert (blade.length, blade.base) == (mm(11), mm(1))
    assert (blade.clearance, blade.chamfer, blade.lead_in) == (mm(0.35), mm(0.5), mm(0.6))
    assert blade.angle == pytest.approx(0.5235987755982988)


def test_polygon_size_is_its_bounding_box() -> None:
    corners = [[-3, -1], [3, -1], [2, 1.5], [-2, 1.5]]
    shape = parse_connector(toy_pin(shape="polygon", diameter_mm=None, points_mm=corners), "toy.toml").features[0]
    assert shape.size == mm(6, 2.5)
    assert shape.points[2] == mm(2, 1.5)


def test_defaults() -> None:
    part = parse_connector(toy(), "toy.toml")
    pin = part.features[0]
    assert (part.variant_of, part.split, part.seating_force, part.friction) == ("", "train", 0.0, 0.25)
    assert (part.housing_shape, part.body_gap) == ("rect", 0.0)
    assert (part.plug_colour, part.socket_colour) == ((0.1, 0.1, 0.1), (0.8, 0.8, 0.8))
    assert (pin.on, pin.centre, pin.base, pin.angle) == ("plug", (0.0, 0.0), 0.0, 0.0)
    assert (pin.chamfer, pin.lead_in, pin.wall, pin.cavity, pin.visual) == (0.0, 0.0, 0.0, True, False)
    assert (part.source, pin.source) == ("none: a test", "")


def test_a_feature_keeps_its_own_source() -> None:
    pin = parse_connector(toy_pin(source="pin gauge, 2024-05-03"), "toy.toml").features[0]
    assert pin.source == "pin gauge, 2024-05-03"
    assert "source = 5: must be a text" in refusal(toy_pin(source=5))


def test_clearance_is_the_tightest_of_what_collides() -> None:
    table = toy()
    table["feature"] += [
        {**table["feature"][0], "name": "tight", "centre_mm": [-6, 0], "diameter_mm": 2, "clearance_mm": 0.1},
        {**table["feature"][0], "name": "seen", "diameter_mm": 1, "clearance_mm": 0.05, "visual": True},
    ]
    assert parse_connector(table, "toy.toml").clearance == mm(0.1)


@pytest.mark.parametrize("key", ["name", "title", "family", "source", "insertion_depth_mm", "housing_mm", "body_mm"])
def test_missing_field(key: str) -> None:
    message = refusal(toy(**{key: None}))
    assert key in message
    assert "missing" in message
    assert "must be" in message


@pytest.mark.parametrize("key", ["name", "shape", "diameter_mm", "length_mm", "clearance_mm"])
def test_missing_field_of_a_feature(key: str) -> None:
    message = refusal(toy_pin(**{key: None}))
    assert "feature 1" in message
    assert f"{key} is missing: must be" in message


def test_a_misspelt_field_is_recognised() -> None:
    message = refusal(toy_pin(diameter_mm=None, diamter_mm=4.0))
    assert "diameter_mm is missing (there is 'diamter_mm': is that it?): must be" in message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "../toy"}, ["name = '../toy'", "small letters, digits, hyphens and dots"]),
        ({"name": "My Plug"}, ["name = 'My Plug'", "small letters, digits, hyphens and dots"]),
        ({"title": "  "}, ["title = '  '", "must be a text"]),
        ({"title": 5}, ["title = 5", "must be a text"]),
        ({"insertion_depth_mm": "deep"}, ["insertion_depth_mm = 'deep'", "number between 1 and 60"]),
        ({"insertion_depth_mm": True}, ["insertion_depth_mm = True", "number between 1 and 60"]),
        ({"insertion_depth_mm": math.nan}, ["insertion_depth_mm = nan", "number between 1 and 60"]),
        ({"insertion_depth_mm": 61}, ["insertion_depth_mm = 61", "between 1 and 60"]),
        ({"seating_force_n": -1}, ["seating_force_n = -1", "between 0 and 25"]),
        ({"friction": 0}, ["friction = 0", "between 0.05 and 1"]),
        ({"housing_mm": 20}, ["housing_mm = 20", "2 numbers between 3 and 140"]),
        ({"housing_mm": [20]}, ["housing_mm = [20]", "2 numbers"]),
        ({"housing_mm": [20, 500]}, ["housing_mm = [20, 500]", "between 3 and 140"]),
        ({"body_mm": [16, "wide"]}, ["body_mm = [16, 'wide']", "2 numbers"]),
        ({"plug_colour": [0, 0, 255]}, ["plug_colour = [0, 0, 255]", "3 numbers between 0 and 1"]),
        ({"split": "holdout"}, ["split = 'holdout'", "train, validation, test, blind, challenge"]),
        ({"housing_shape": "oval"}, ["housing_shape = 'oval'", "rect, round"]),
        ({"feature": []}, ["feature = []", "at least one"]),
        ({"feature": None}, ["feature is missing", "at least one"]),
    ],
)
def test_wrong_value(changes: dict[str, Any], parts: list[str]) -> None:
    message = refusal(toy(**changes))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"shape": "oval"}, ["'pin'", "shape = 'oval'", "rect, round, polygon"]),
        ({"on": "both"}, ["'pin'", "on = 'both'", "plug, socket"]),
        ({"length_mm": 0.1}, ["length_mm = 0.1", "between 0.3 and 80"]),
        ({"clearance_mm": 0}, ["clearance_mm = 0", "between 0.02 and 5"]),
        ({"cavity": 1}, ["cavity = 1", "true or false"]),
        ({"centre_mm": [0, 0, 0]}, ["centre_mm = [0, 0, 0]", "2 numbers"]),
        ({"angle_deg": 270}, ["angle_deg = 270", "between -180 and 180"]),
        ({"chamfer_mm": 2.0}, ["chamfer_mm = 2.0", "half the width", "2 mm"]),
        ({"wall_mm": 2.0}, ["wall_mm = 2.0", "half the width", "2 mm"]),
    ],
)
def test_wrong_value_of_a_feature(changes: dict[str, Any], parts: list[str]) -> None:
    message = refusal(toy_pin(**changes))
    assert all(part in message for part in parts), message


def test_unknown_field_is_refused_and_the_known_ones_listed() -> None:
    message = refusal(toy(insertion_depth=10))
    assert "unknown entry 'insertion_depth'" in message
    assert "insertion_depth_mm" in message


def test_unknown_field_of_a_feature() -> None:
    message = refusal(toy_pin(radius_mm=2))
    assert "'pin'" in message
    assert "unknown entry 'radius_mm'" in message
    assert "diameter_mm" in message


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0], [4, 0]],  # too few
        [[0, 0], [0, 4], [4, 4], [4, 0]],  # clockwise
        [[-2, -2], [2, -2], [0, 0], [2, 2], [-2, 2]],  # a notch
        [[0, 0], [2, 0], [4, 0], [4, 4]],  # three in a line
        [[0, 0], [4, 0, 1], [4, 4]],  # three numbers
        "square",
        [[math.nan, 0], [2, 0], [0, 2]],
        [[True, False], [2, 0], [0, 2]],
        [[0, 0], [81, 0], [0, 2]],  # beyond 80 mm
        # a pentagram: five left turns of 144 degrees, twice round
        [[5 * math.cos(0.8 * math.pi * k), 5 * math.sin(0.8 * math.pi * k)] for k in range(5)],
    ],
)
def test_polygon_must_be_convex_and_counter_clockwise(corners: Any) -> None:
    message = refusal(toy_pin(shape="polygon", diameter_mm=None, points_mm=corners))
    assert "points_mm = " in message
    assert "convex polygon, counter-clockwise" in message


def test_a_polygon_is_as_wide_as_any_other_feature() -> None:
    """A triangle 20 mm long and h high has 10 h mm2 on a rim of some 40 mm: 0.05 mm x 40 mm are reached at 0.2 mm."""
    for height, good in ((0.21, True), (0.19, False)):
        table = toy_pin(shape="polygon", diameter_mm=None, points_mm=[[-10, 0], [10, 0], [0, height]])
        table["housing_mm"] = [24, 18]
        if good:
            parse_connector(table, "toy.toml")
        else:
            assert "must enclose more: at least 0.2 mm" in refusal(table)


def test_the_chamfer_of_a_polygon_leaves_every_edge() -> None:
    """The edges of a right triangle with legs of 3 and 4 mm meet 1 mm within: its inscribed circle."""
    triangle = {"shape": "polygon", "diameter_mm": None, "points_mm": [[0, 0], [4, 0], [0, 3]]}
    parse_connector(toy_pin(**triangle, chamfer_mm=0.99), "toy.toml")
    assert "chamfer_mm = 1.01: must be below half the width and the length (1 mm)" in refusal(
        toy_pin(**triangle, chamfer_mm=1.01)
    )


def test_duplicate_feature_name() -> None:
    table = toy()
    table["feature"].append(copy.deepcopy(table["feature"][0]))
    message = refusal(table)
    assert "names must differ" in message
    assert "'pin'" in message


def test_something_must_collide() -> None:
    assert "at least one feature must collide" in refusal(toy_pin(visual=True))


def test_depth_beyond_the_longest_feature() -> None:
    message = refusal(toy(insertion_depth_mm=12.5))
    assert "insertion_depth_mm = 12.5" in message
    assert "(12 mm)" in message


def test_housing_too_shallow_names_the_feature_and_its_reach() -> None:
    message = refusal(toy(housing_height_mm=11))
    assert "housing_height_mm = 11" in message
    assert "'pin'" in message
    assert "12 mm" in message


def test_housing_too_narrow_names_the_width_that_is_needed() -> None:
    # 2 x (pin radius 2 + clearance 0.25 + lead-in 1 + wall 0.3) = 7.1 mm
    table = toy_pin(lead_in_mm=1)
    table["housing_mm"] = [20, 7]
    message = refusal(table)
    assert "housing_mm = " in message
    assert "'pin'" in message
    assert "7.10 mm along y" in message
    table["housing_mm"] = [20, 7.11]
    parse_connector(table, "toy.toml")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nowhere\.toml: no such file; give a catalogue name or the path"):
        load_connector_file(tmp_path / "nowhere.toml")


def test_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "plug.toml"
    path.write_text("name: plug\n")
    with pytest.raises(CatalogueError, match=r"plug\.toml: not a valid TOML file: .*line 1"):
        load_connector_file(path)
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(CatalogueError, match="not a valid TOML file"):
        load_connector_file(path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("feature = [1, 2]", "feature 1 = 1: must be a table, headed [[feature]]"),
        ('feature = ["left"]', "feature 1 = 'left': must be a table"),
        (BARE.replace("_depth_mm = 10", f"_depth_mm = {'9' * 400}"), "must be a number between 1 and 60"),
        (BARE.replace("_depth_mm = 10", f"_depth_mm = {'9' * 5000}"), "not a valid TOML file"),
        ("a = " + "[" * 5000, "not a valid TOML file"),
        (BARE.replace('"Toy plug"', r'"Toy \u001b[31mplug"'), "must be one line, without control characters"),
        (BARE.replace('"Toy plug"', r'"Toy\nplug"'), "must be one line, without control characters"),
        (BARE.replace('"pin"', r'"pin\u0007"'), "must be one line, without control characters"),
    ],
)
def test_an_odd_file_is_refused_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError) as caught:
        find_connector(str(path))
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_a_path_that_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for name, part in (("folder", "Is a directory"), ("loop", "symbolic links"), ("x" * 5000, "name too long")):
        with pytest.raises(CatalogueError, match=rf"cannot be read \(.*{part}\); give the path"):
            find_connector(str(tmp_path / f"{name}.toml"))


def test_a_file_is_read_as_editors_write_it_and_found_as_people_type_it(tmp_path: Path) -> None:
    path = tmp_path / "MINE.TOML"
    path.write_bytes(b"\xef\xbb\xbf" + BARE.replace("\n", "\r\n").encode())  # as Windows' Notepad does
    assert find_connector(str(path)).name == "toy"
    for name in ("base.toml ", "parts/base"):
        with pytest.raises(CatalogueError, match="no such file"):
            find_connector(name)
    with pytest.raises(SettingsError, match="unknown connector 'USB-B'; nearest: usb-b"):
        find_connector("USB-B")


def test_a_catalogue_file_must_be_called_as_its_connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text(BARE)
    monkeypatch.setattr(module, "CATALOGUE", tmp_path)
    with pytest.raises(CatalogueError, match=r"other\.toml: name = 'toy': must equal the file's name"):
        catalogue.__wrapped__()


def test_own_file_is_found_by_its_path_and_needs_no_matching_name(tmp_path: Path) -> None:
    path = tmp_path / "my_plug.toml"
    path.write_text(BARE)
    assert find_connector(str(path)).name == "toy"


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"unknown connector 'nema-5-51'; nearest: nema-5-15"):
        find_connector("nema-5-51")
