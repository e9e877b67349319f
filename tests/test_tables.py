"""Tables of success counts: the best of a row over units, units summed up, two forms of the same numbers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lotj.errors import SettingsError
from lotj.evaluation import barnard, unit_interval
from lotj.experiments.tables import ALL, Cell, SuccessTable

TWO, SIX = ("seed0.duo.0", "seed1.duo.0"), tuple(f"seed{k}.duo.0" for k in range(6))


def of_six(*successes: int, paper: int | None = None) -> Cell:
    return Cell(SIX, successes, (20,) * 6, paper)


TABLE = SuccessTable(
    "Near",
    ("Straight", "Spiral", "Ours"),
    {
        "usb <b>": (of_six(1, 2, 3, 4, 5, 6, paper=1), of_six(20, 20, 20, 20, 20, 0), of_six(19, 18, 20, 20, 19, 20)),
        "key": (Cell(TWO, (0, 0), (20, 20), 0), None, Cell(TWO, (20, 20), (20, 20), 18)),
    },
    notes=["n = 20 & more"],
)


def test_best_are_all_that_the_shared_units_do_not_tell_apart() -> None:
    # Straight is lower than ours on all six units: p = 2 / 64. Spiral differs by +1 +2 0 0 +1 -20, a sum of -16, which
    # no flip brings nearer to 0: p = 1.
    assert TABLE.verdicts("usb <b>") == [("worse", 2 / 64), ("cannot tell", 1.0), ("best", None)]


def test_two_policies_of_twenty_equal_trials_each_tell_nothing_of_their_methods() -> None:
    one = ("seed0.duo.0",)
    table = SuccessTable("t", ("a", "b"), {"key": (Cell(one, (20,), (20,)), Cell(one, (0,), (20,)))})
    assert barnard(20, 20, 0, 20) < 1e-9
    assert table.verdicts("key") == [("cannot tell", None), ("cannot tell", 1.0)]
    assert TABLE.verdicts("key") == [("cannot tell", 0.5), ("", None), ("cannot tell", None)]  # (1/2)^2 twice
    assert "20/20\n(one run)" in str(next(iter(table.as_text().columns[1].cells))) and "*" not in printed(table)


def test_methods_are_paired_by_unit_not_by_place() -> None:
    ours = Cell(SIX, (10, 11, 12, 13, 14, 15), (20,) * 6)
    theirs = Cell(SIX[::-1], (14, 13, 12, 11, 10, 9), (20,) * 6)  # one less on each
    assert ours.p_against(theirs) == theirs.p_against(ours) == 2 / 64
    assert ours.p_against(Cell(("seed9.duo.0",), (0,), (20,))) == 1.0  # nothing shared


def test_all_connectors_are_a_row_of_their_own() -> None:
    straight, spiral, ours = TABLE.shown[ALL]
    assert straight is not None and spiral is not None and ours is not None
    assert straight.successes == (1, 2, 3, 4, 5, 6, 0, 0) and (straight.paper, straight.paper_n) == (1, 40)
    assert straight.units[-1] == "key.seed1.duo.0" and len(spiral.units) == 6
    assert straight.paper_words == "1/40" and ours.paper_words == "18"
    assert TABLE.verdicts(ALL)[0] == ("worse", 2 / 256)  # eight units, all of one sign
    assert list(SuccessTable("t", ("a",), {"key": (Cell(TWO, (1, 2), (5, 5)),)}).shown) == ["key"]


def test_csv_holds_every_number() -> None:
    lines = TABLE.as_csv().splitlines()
    assert lines[0] == "connector,method,successes,n,low,high,units,by_unit,verdict,p,paper"
    low, high = unit_interval([0, 0], [20, 20])
    units = "seed0.duo.0=0/20 seed1.duo.0=0/20"
    assert lines[4] == f"key,Straight,0,40,{low:.3f},{high:.3f},2,{units},cannot tell,0.5000,0"
    assert lines[1].endswith(",worse,0.0312,1") and lines[3].endswith(",best,,")
    assert len(lines) == 1 + 3 + 2 + 3  # what is not measured has no line


def printed(table: SuccessTable) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table.as_text())
    return console.export_text()


def test_text_shows_the_paper_beside_and_marks_the_best() -> None:
    text = printed(TABLE)
    lines = {line.split("│")[1].strip(): line.split("│")[2:5] for line in text.splitlines() if "│" in line}
    assert [cell.strip() for cell in lines["Straight"]] == ["21/120 [1]", "0/40 [0]", "21/160 [1/40]"]
    assert [cell.strip() for cell in lines["Spiral"]] == ["*100/120", "-", "*100/120"]
    assert [cell.strip() for cell in lines["Ours"]] == ["*116/120", "40/40 [18]", "*156/160 [18]"]
    low, high = unit_interval([20, 20], [20, 20])
    assert f"({100 * low:.0f}-{100 * high:.0f} %)" in text and "n = 20 & more" in text


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(SettingsError, match="table row 'usb': 1 cells for 2 columns"):
        SuccessTable("t", ("a", "b"), {"usb": (Cell(("u",), (1,), (2,)),)})
