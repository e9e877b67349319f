r"""How practice went: true, predicted and falsely predicted successes of the trials of runs, in blocks of 25.

    python benchmarks/practice_curves.py runs/reproduce-laptop/far-*-ours-* --out results/practice_curves.json

Each argument is a run, or a folder that holds one (of a job of `lotj reproduce`). Trials whose plug was lost count
as no success.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lotj.evaluation import wilson
from lotj.report.files import read_run
from lotj.report.findings import judge
from lotj.runs import Run, find_run

BLOCK = 25
"""Trials of a block."""


def curve(run: Run) -> dict[str, Any]:
    """A run's row."""
    files = read_run(run.path)
    trials = files.trials
    judgement = judge(trials) if trials else None
    if trials is None or judgement is None:
        raise SystemExit(f"{run.path}: no trials of which the truth is known")
    said, true = trials.predicted > 0.5, trials.true > 0.5

    def blocks(which: np.ndarray) -> list[int]:
        return [int(which[k : k + BLOCK].sum()) for k in range(0, len(which), BLOCK)]

    return {
        "connector": run.config["connector"],
        "scenario": run.config["scenario"],
        "domain": run.config["domain"],
        "seed": run.seed,
        "trials": len(trials),
        "true": blocks(true),
        "predicted": blocks(said),
        "false": blocks(said & ~true),
        "predicted_in_all": judgement.claims,
        "false_in_all": judgement.false_alarms,
        "false_causes": {cause: count for cause, (count, _, _) in judgement.causes.items()},
        "lost": blocks(np.array([row["lost"] for row in run.metrics()])),
        "alarm_at_the_end": bool(trials.series["alarm"][-1] == 1),
    }


def main() -> None:
    """Write the file and print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = [
        Run.open(folder) if (folder / "run.json").exists() else find_run(folder, "practice")
        for folder in options.folders
    ]
    rows = [curve(run) for run in runs]
    for row in rows:
        print(f"{row['connector']:16s} {row['scenario']:5s} seed {row['seed']}  true {row['true']}", end="  ")
        print(f"false {row['false_in_all']} of {row['predicted_in_all']}", "ALARM" if row["alarm_at_the_end"] else "")
    false, said = (sum(row[key] for row in rows) for key in ("false_in_all", "predicted_in_all"))
    table = {"command": " ".join(["python", *sys.argv]), "block": BLOCK, "rows": rows}
    if said:
        interval = [round(x, 5) for x in wilson(false, said)]
        table["summary"] = {"false": false, "predicted": said, "wilson95": interval}
        print(f"false in all {false} of {said}, 95 % interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
