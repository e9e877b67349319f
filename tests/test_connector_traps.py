"""Validation connectors with a false seat: the plug can be brought there, and stands the verification."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "false_success.py"
spec = importlib.util.spec_from_file_location("false_success", SCRIPT)
assert spec is not None and spec.loader is not None
false_success = importlib.util.module_from_spec(spec)
spec.loader.exec_module(false_success)


@pytest.mark.parametrize(
    ("part", "short_of_seat"), [("vacuum-dock", 5.0), ("volume-knob", -8.0), ("wall-charger", 0.0)]
)
def test_a_trap_holds_the_plug_and_lets_go_of_it_more_easily_than_the_seat(part: str, short_of_seat: float) -> None:
    """Depths from the drawings: 14 - 9 mm of guide pin, a slot of 8 mm below the face, a gap as deep as the nose."""
    bench = false_success.Bench(part, "duo", 0)
    assert false_success.true_seat(bench, seed=0)
    seated = false_success.verification(bench)
    seat = bench.info["position"]
    assert seated is not None and bench.info["is_success"]
    pulled = false_success.withdrawal(bench)

    assert false_success.false_seat(bench, 2, false_success.FALSE[part])
    assert bench.steps <= 20  # within the steps of a trial
    held = false_success.verification(bench)
    assert held is not None and not bench.info["is_success"] and not bench.info["lost"]
    assert 1e3 * (bench.info["position"] - seat)[2] == pytest.approx(short_of_seat, abs=0.4)
    loose = false_success.withdrawal(bench)
    bench.env.close()
    assert held["push_motion"] > seated["push_motion"] + 0.1
    assert loose["raised_motion"] > pulled["raised_motion"] + 0.1
