r"""What the verification's pull shows of plugs in their true seats, on all training connectors.

    python benchmarks/play.py --out results/benchmarks/play.json

The scripted expert inserts, the verification's press and pushes are made, the hand lets go, pulls and pushes again, as
in `lotj.training.self_judged`: how far the hand rises on the pull, and the largest motion of the hand on these pushes,
the play [mm]. Both robots, bench 0, `--trials` starts each. A rise above `HELD` is taken for no seat where the part has
a seating force, a play above `LOOSE` on all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from false_success import Bench, true_seat
from side_by_side import record

from lotj.controllers.verification import HELD, LOOSE, PULL, PUSHES, SHIFTS
from lotj.experiments.comparisons import ROBOTS
from lotj.sim.connector import training_connectors


def pulled(bench: Bench) -> tuple[float, float]:
    """Rise and play of a plug that has been pressed home [mm]."""
    for motion in PUSHES:
        bench.step(motion)
    bench.env.relax()
    before, moved = bench.state[2], []
    bench.step(PULL)
    rise = 1e3 * (bench.state[2] - before)
    for motion in SHIFTS:
        place = bench.state[:2]
        bench.step(motion)
        moved.append(1e3 * np.abs(bench.state[:2] - place).max())
    return round(float(rise), 2), round(float(max(moved)), 2)


def summary(seats: list[tuple[float, str]], limit: float) -> dict[str, Any]:
    """Of figures [mm] and the connectors that they are of."""
    values = [value for value, _ in seats]
    quantiles = {str(q): round(float(np.quantile(values, q)), 2) for q in (0, 0.05, 0.5, 0.95, 0.99, 1)}
    above = sorted({name for value, name in seats if value > limit})
    return {"seats": len(seats), "quantiles": quantiles, "limit": limit, "above_it": above}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows, seats = [], {"play": [], "rise, held": [], "rise, without seating force": []}
    for part in training_connectors():
        force = part.seating_force
        for robot in ROBOTS:
            bench = Bench(part.name, robot, 0)
            found = [pulled(bench) for seed in range(asked.trials) if true_seat(bench, seed)]
            bench.env.close()
            rises, plays = zip(*found, strict=True) if found else ((), ())
            seats["rise, held" if force else "rise, without seating force"] += [(rise, part.name) for rise in rises]
            seats["play"] += [(play, part.name) for play in plays]
            about = {"connector": part.name, "robot": robot, "seating_force_n": force}
            rows.append(about | {"rise_mm": rises, "play_mm": plays})
    found = {name: summary(values, LOOSE if name == "play" else HELD) for name, values in seats.items()}
    print(json.dumps(found, indent=1))
    record({"summary": found, "rows": rows}, asked.out)


if __name__ == "__main__":
    main()
