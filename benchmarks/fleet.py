"""One learner and 1, 2 or 4 robots: after how many trials, and how long, does it insert 19 of 20?

    python benchmarks/fleet.py --out results/benchmarks/fleet.json

Each run practises one validation connector from the base, with so many robots, each on a bench of its own, as fast
as this machine simulates them. Once it is over, the policies after every `--every` trials are evaluated on the first
robot's bench, all from the same starts; asked is after how many trials of all robots together, and after how many
seconds, 19 of 20 of these succeed first. Runs that are done are in the file and are not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from side_by_side import record

from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practice_phase
from lotj.runs import base_run


def practise(part: str, robots: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run, and its policies evaluated."""
    preset = find_preset("laptop")
    config = replace(preset.practice, trials=options.trials, threads=options.threads)
    snapshots = [*range(options.every, options.trials + 1, options.every)]
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"robot": ["duo"] * robots, "seed": seed, "live": False, "snapshots": snapshots}
        practising = replace(preset, practice=config)
        run, _ = practice_phase(practising, base_run(), Path(folder), part, "far", **how, on=options.on)
        rows = run.metrics()
        began = rows[0]["time"] - rows[0]["seconds"]
        curve = []
        for after in snapshots:
            (result,) = evaluate_phase(run, options.starts, controllers=["practice"], after=after)
            seconds = round(rows[after - 1]["time"] - began, 1)
            curve.append({"trials": after, "seconds": seconds, "successes": result.successes})
        run.close()
    enough = 0.95 * options.starts
    reached = next((point for point in curve if point["successes"] >= enough), None)
    by = [sum(row.get("robot", 1) == k for row in rows) for k in range(1, robots + 1)]
    return {
        "reached": reached,
        "curve": curve,
        "trials_of_each_robot": by,
        "motions": sum(row["moves"] for row in rows),
    }


def main() -> None:
    """Practise what is missing and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectors", nargs="+", default=["as-3112", "d-sub-da-15", "deutsch-dt-6"])
    parser.add_argument("--robots", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--every", type=int, default=10, help="trials between evaluations")
    parser.add_argument("--starts", type=int, default=20, help="of an evaluation")
    parser.add_argument("--threads", type=int, default=2, help="of the learner")
    parser.add_argument("--on", default="processes", choices=["processes", "ray"])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    done = json.loads(options.out.read_text())["runs"] if options.out.exists() else {}
    for part in options.connectors:
        for seed in options.seeds:
            for robots in options.robots:
                name = f"{part}, {robots} robots, seed {seed}, {options.trials} trials"
                if name not in done:
                    done[name] = practise(part, robots, seed, options)
                    record({"runs": done}, options.out)
                print(name, json.dumps(done[name]["reached"]), flush=True)


if __name__ == "__main__":
    main()
