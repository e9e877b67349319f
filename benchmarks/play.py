r"""How much play a plug has in its true seat after the verification's pull, on all training connectors.

    python benchmarks/play.py --out results/benchmarks/play.json

The scripted expert inserts, the verification's press and pushes are made, the hand lets go, pulls and pushes again, as
in `lotj.training.self_judged`; the largest motion of the hand on these pushes is the play [mm]. Connectors take turns
between the robots, bench 0, `--trials` starts each. A play above `LOOSE` is taken for no seat.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from false_success import Bench, true_seat

from lotj.controllers.verification import LOOSE, PULL, PUSHES, SHIFTS
from lotj.sim.arm import ARMS
from lotj.sim.connector import training_connectors


def play(bench: Bench) -> float:
    """Of a plug that has been pressed home [mm]."""
    for motion in PUSHES:
        bench.step(motion)
    bench.env.relax()
    bench.step(PULL)
    moved = []
    for motion in SHIFTS:
        before = bench.state[:2]
        bench.step(motion)
        moved.append(1e3 * np.abs(bench.state[:2] - before).max())
    return round(float(max(moved)), 2)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    rows = []
    for number, part in enumerate(training_connectors()):
        robot = sorted(ARMS)[number % len(ARMS)]
        bench = Bench(part.name, robot, 0)
        plays = [play(bench) for seed in range(asked.trials) if true_seat(bench, seed)]
        bench.env.close()
        depth = round(1e3 * part.insertion_depth, 2)
        rows.append({"connector": part.name, "robot": robot, "insertion_depth_mm": depth, "play_mm": plays})
    every = np.concatenate([row["play_mm"] for row in rows])
    loose = [row["connector"] for row in rows if max(row["play_mm"], default=0.0) > LOOSE]
    quantiles = {str(q): round(float(np.quantile(every, q)), 2) for q in (0, 0.05, 0.5, 0.95, 0.99, 1)}
    summary = {"seats": len(every), "quantiles": quantiles, "limit": LOOSE, "above_it": loose}
    print(summary)
    asked.out.write_text(
        json.dumps({"command": " ".join(["python", *sys.argv]), **summary, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
