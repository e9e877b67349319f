"""Tables of success counts: the best of a row by the paper's test, seeds summed up, three forms of the same numbers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lotj.errors import SettingsError
from lotj.experiments.tables import Cell, SuccessTable

TABLE = SuccessTable(
    "Near",
    ("Straight", "Spiral", "Ours"),
    {
        # With 20 against 20, 15 is better than 8 at most (Barnard, two-sided 5 %); 9 may be chance.
        "usb <b>": (Cell((8,), (20,), 1), Cell((9,), (20,)), Cell((7, 8), (10, 10), 15)),
        "key": (Cell((0,), (20,), 0), None, Cell((0, 0), (10, 10), 18)),
    },
    notes=["n = 20 & more"],
)


def test_best_are_all_that_chance_may_have_made_worse() -> None:
    assert TABLE.best("usb <b>") == [False, True, True]
    assert TABLE.best("key") == [False, False, False]


def test_csv_holds_every_number() -> None:
    lines = TABLE.as_csv().splitlines()
    assert lines[0] == "connector,method,successes,n,low,high,by_seed,best,paper_of_20"
    assert lines[3] == "usb <b>,Ours,15,20,0.531,0.888,7/10 8/10,1,15"
    assert lines[4] == "key,Straight,0,20,0.000,0.161,0/20,0,0"
    assert len(lines) == 1 + 3 + 2  # what is not measured has no line


def test_text_and_html_show_the_paper_beside_and_mark_the_best() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(TABLE.as_text())
    text = console.export_text()
    lines = {line.split("│")[1].strip(): line.split("│")[2:4] for line in text.splitlines() if "│" in line}
    assert [cell.strip() for cell in lines["Straight"]] == ["8/20 [1]", "0/20 [0]"]
    assert [cell.strip() for cell in lines["Ours"]] == ["*15/20 [15]", "0/20 [18]"]
    assert "(53-89 %)" in text and "n = 20 & more" in text
    page = TABLE.as_html()
    assert "<strong>15/20 [15] (53-89 %)</strong>" in page and "<td>8/20 [1] (22-61 %)</td>" in page
    assert "usb &lt;b&gt;" in page and "n = 20 &amp; more" in page and "<td>-</td>" in page


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(SettingsError, match="table row 'usb': 1 cells for 2 columns"):
        SuccessTable("t", ("a", "b"), {"usb": (Cell((1,), (2,)),)})
