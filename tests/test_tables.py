"""Tables of success counts: the best of a row over units, units summed up, means over units."""

from __future__ import annotations

import numpy as np
import pytest

from lotj.evaluation.statistics import barnard, unit_interval
from lotj.experiments.tables import ALL, NOTE, Cell, SuccessTable, markdown, mean_interval, mean_words

TWO, SIX = ("0-duo-0", "1-duo-0"), tuple(f"{k}-duo-0" for k in range(6))


def of_six(*successes: int, paper: int | None = None) -> Cell:
    return Cell({unit: (k, 20) for unit, k in zip(SIX, successes, strict=True)}, paper)


def of_two(first: int, second: int, paper: int | None = None) -> Cell:
    return Cell({TWO[0]: (first, 20), TWO[1]: (second, 20)}, paper)


TABLE = SuccessTable(
    ("Straight", "Spiral", "Ours"),
    {
        "usb": (of_six(1, 2, 3, 4, 5, 6, paper=1), of_six(20, 20, 20, 20, 20, 0), of_six(19, 18, 20, 20, 19, 20)),
        "key": (of_two(0, 0, 0), None, of_two(20, 20, 18)),
    },
)


def test_best_are_all_that_the_shared_units_do_not_tell_apart() -> None:
    # Straight is lower than ours on all six units: p = 2 / 64. Spiral differs by +1 +2 0 0 +1 -20, a sum of -16, which
    # no flip brings nearer to 0: p = 1.
    assert TABLE.against_best("usb") == [2 / 64, 1.0, None]


def test_two_policies_of_twenty_equal_trials_each_tell_nothing_of_their_methods() -> None:
    table = SuccessTable(("a", "b"), {"key": (Cell({"0-duo-0": (20, 20)}), Cell({"0-duo-0": (0, 20)}))})
    assert barnard(20, 20, 0, 20) < 1e-9
    assert table.against_best("key") == [None, 1.0]
    assert TABLE.against_best("key") == [0.5, None, None]  # (1/2)^2 twice
    assert "20/20 (one run)" in table.as_markdown() and "*" not in table.as_markdown()


def test_methods_are_paired_by_unit_not_by_place() -> None:
    ours = of_six(10, 11, 12, 13, 14, 15)
    theirs = Cell({unit: (9 + place, 20) for place, unit in reversed([*enumerate(SIX)])})  # one less on each
    assert ours.p_against(theirs) == theirs.p_against(ours) == 2 / 64
    assert ours.p_against(Cell({"9-duo-0": (0, 20)})) == 1.0  # nothing shared


def test_all_connectors_are_a_row_of_their_own() -> None:
    straight, spiral, ours = TABLE.shown[ALL]
    assert straight is not None and spiral is not None and ours is not None
    assert [k for k, _ in straight.counts.values()] == [1, 2, 3, 4, 5, 6, 0, 0]
    assert (straight.paper, straight.paper_n, ours.paper, ours.paper_n) == (1, 40, 18, 20)
    assert [*straight.counts][-1] == "key 1-duo-0" and len(spiral.counts) == 6
    assert TABLE.against_best(ALL)[0] == 2 / 256  # eight units, all of one sign
    assert list(SuccessTable(("a",), {"key": (of_two(1, 2),)}).shown) == ["key"]


def test_markdown_shows_the_paper_beside_marks_the_best_and_says_p_over_all() -> None:
    lines = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in TABLE.as_markdown().splitlines()}
    low, high = unit_interval([1, 2, 3, 4, 5, 6], [20] * 6)
    assert [cell.strip() for cell in lines["start"]] == ["Straight", "Spiral", "Ours"]
    assert lines["usb"][0].strip() == f"21/120 [1] ({100 * low:.0f}-{100 * high:.0f} %)"
    assert lines["usb"][1].strip().startswith("**100**/120 (") and lines["usb"][2].strip().startswith("**116**/120 (")
    assert lines["key"][1].strip() == "-" and "*" not in "".join(lines["key"])
    assert lines["all"][0].strip().endswith("; p 0.0078)") and "[1/40]" in lines["all"][0]


def test_near_and_far_of_a_connector_are_one_unit_of_all() -> None:
    """20 + 18 and 10 + 0 of 40 are two units, not four; another connector's is a third. Two methods differ by 38 - 30
    = 8, 10 - 11 = -1 and 20 - 18 = 2 successes, of 40, 40 and 20 trials: 0.2, -0.025 and 0.1, of sum 0.275. Of the 8
    flips those are as far from 0 that leave 0.2 and 0.1 of one sign: 4."""
    rows = {"a, near": (of_two(20, 10), of_two(20, 10)), "a, far": (of_two(18, 0), of_two(10, 1))}
    rows["b, far"] = (Cell({"0-duo-0": (20, 20)}), Cell({"0-duo-0": (18, 20)}))
    table = SuccessTable(("one", "other"), rows)
    one, _ = table.shown[ALL]
    assert one and one.counts == {"a 0-duo-0": (38, 40), "a 1-duo-0": (10, 40), "b 0-duo-0": (20, 20)}
    low, high = unit_interval([38, 10, 20], [40, 40, 20])
    assert one.words() == f"68/100 ({100 * low:.0f}-{100 * high:.0f} %)"
    assert table.against_best(ALL) == [None, 0.5]
    assert "near and far added" in " ".join(NOTE.split())


def test_the_fewer_are_the_columns() -> None:
    wide = SuccessTable([f"m{k}" for k in range(5)], {"usb": [of_two(k, k) for k in range(5)]}).as_markdown()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in wide.splitlines()]
    assert lines[0] == ["method", "usb"] and [line[0] for line in lines[2:]] == ["m0", "m1", "m2", "m3", "m4"]


def test_each_unit_has_its_line() -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.by_unit().splitlines()]
    assert lines[0] == ["start", "unit", "Straight", "Spiral", "Ours"]
    assert lines[2] == ["usb", "0-duo-0", "1/20", "20/20", "19/20"]
    assert lines[-1] == ["key", "1-duo-0", "0/20", "-", "20/20"] and len(lines) == 2 + 6 + 2


def test_interval_over_units() -> None:
    # Mean 0.8, standard deviation 0.1, t of 2 degrees of freedom 4.303: 4.303 * 0.1 / sqrt 3 = 0.248.
    assert mean_interval([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.248), abs=1e-3)
    assert mean_interval([0.7, None]) == mean_interval(np.array([0.7, np.nan])) == (0.7, None)
    assert mean_interval([None]) is None
    assert [mean_words(values) for values in ([0.7, 0.8, 0.9], [0.7], [None], [0.0, 100.0])] == [
        "0.8 \u00b1 0.25",
        "0.7",
        "-",
        "50 \u00b1 640",  # t of one degree of freedom: 12.7 * 70.7 / sqrt(2) = 635
    ]


def test_columns_stand_below_each_other() -> None:
    assert markdown(["a", "bcde"], [["1234", "5"]]) == "| a    | bcde |\n| ---- | ---- |\n| 1234 | 5    |\n"
