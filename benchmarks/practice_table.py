r"""Practice on a split's connectors, near and far, for each pretraining: offline and online success into one table.

    python benchmarks/practice_table.py --split test --pretrained runs/pretrain-a runs/pretrain-b \
        --out results/practice_test.json

Resumes: rows that are in the file already are not measured again. With ``--workers`` cells are measured side by side,
each on its share of the cores. The test split is for the end: choices are made on the validation split.
"""

from __future__ import annotations

import argparse
import concurrent.futures as futures
import dataclasses
import json
import multiprocessing as mp
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lotj.envs.insertion import SCENARIOS
from lotj.evaluation import wilson
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.parts import of_split
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practice_phase
from lotj.report.files import match_truth
from lotj.runs import Run

CONTROLLERS = ("offline", "practice", "straight-down", "spiral-search")
"""Those that are evaluated, as named in a row."""


def counts(k: int, n: int) -> dict[str, Any]:
    """k successes of n with the Wilson interval."""
    return {"successes": k, "n": n, "wilson95": [round(x, 3) for x in wilson(k, n)]}


def in_practice(run: Run) -> dict[str, Any]:
    """How far the self-reward was right: predicted against true success at the end of trials."""
    metrics = {row["trial"]: row for row in run.metrics()}
    truth = match_truth(metrics, [json.loads(line) for line in (run.path / "truth.jsonl").read_text().splitlines()])
    rows = [row for row in metrics.values() if row["trial"] in truth and not row["lost"]]
    predicted = np.array([bool(row["predicted_success"]) for row in rows])
    true = np.array([bool(truth[row["trial"]]["true_success"]) for row in rows])
    ever = np.array([bool(truth[row["trial"]]["ever_success"]) for row in rows])
    return {
        "trials": len(rows),
        "predicted": int(predicted.sum()),
        "true_positive": int((predicted & true).sum()),
        "false_positive": int((predicted & ~true).sum()),
        "missed": int((~predicted & ever).sum()),
        "last_50_true": int(true[-50:].sum()),
    }


def measure(options: argparse.Namespace, path: Path, connector: str, scenario: str) -> dict[str, Any]:
    """One cell of the table."""
    pretrained = Run.open(path)
    preset = find_preset(options.preset)
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    changes = {"trials": options.trials, "threads": threads, **json.loads(options.practice)}
    preset = dataclasses.replace(preset, practice=dataclasses.replace(preset.practice, **changes))
    started = time.perf_counter()
    robot = ROBOTS[pretrained.seed % len(ROBOTS)]
    run, _ = practice_phase(
        preset, pretrained, options.runs, connector, scenario, robot, options.domain_seed, pretrained.seed, live=False
    )
    with run:
        practised = time.perf_counter() - started
        results = {
            result.name: counts(int(result.success.sum()), len(result.success))
            for result in evaluate_phase(run, options.evaluation_trials, spread=options.spread)
        }
        return {
            "connector": connector,
            "scenario": scenario,
            "pretrain_seed": pretrained.seed,
            "domain": run.config["domain"],
            "practice_seconds": round(practised, 1),
            **results,
            "self_reward": in_practice(run),
            "run": run.path.name,
        }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled over all cells, by way and scenario."""
    found = {}
    for scenario in SCENARIOS:
        cells = [row for row in rows if row["scenario"] == scenario]
        for name in CONTROLLERS:
            k, n = (sum(row[name][key] for row in cells) for key in ("successes", "n"))
            if n:
                found[f"{scenario} {name}"] = counts(k, n)
    return found


def add(options: argparse.Namespace, table: dict[str, Any], row: dict[str, Any]) -> None:
    """Put a cell into the table and its file, and print it."""
    table["rows"] = sorted(
        [*table["rows"], row], key=lambda row: (row["pretrain_seed"], row["connector"], row["scenario"])
    )
    table |= {"command": " ".join(["python", *sys.argv]), "summary": summary(table["rows"])}
    preset = find_preset(options.preset)
    preset = dataclasses.replace(preset, practice=dataclasses.replace(preset.practice, **json.loads(options.practice)))
    table["settings"] = json.loads(json.dumps(dataclasses.asdict(preset), default=str))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(table, indent=1) + "\n")
    print(
        f"{row['connector']:18s} {row['scenario']:5s} seed {row['pretrain_seed']} "
        + " ".join(f"{key} {row[key]['successes']}" for key in CONTROLLERS)
        + f"  self-reward {row['self_reward']}  {row['practice_seconds']} s",
        flush=True,
    )


def main() -> None:
    """Measure what is missing, print, and keep the file up to date after each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--connectors", nargs="*", help="some of the split's; default all")
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--pretrained", nargs="+", type=Path, required=True)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--evaluation-trials", type=int, default=20)
    parser.add_argument("--spread", type=float, default=1.0, help="see `lotj evaluate --help`")
    parser.add_argument("--domain-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="cells measured at a time")
    parser.add_argument("--practice", default="{}", help="JSON of practice settings to change")
    parser.add_argument("--runs", type=Path, default=Path("runs/table"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    table: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"rows": []}
    done = {(row["connector"], row["scenario"], row["pretrain_seed"]) for row in table["rows"]}
    cells = [
        (path, connector, scenario)
        for path in options.pretrained
        for connector in options.connectors or of_split(options.split)
        for scenario in options.scenarios
        if (connector, scenario, Run.open(path).seed) not in done
    ]
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command does, see `lotj.cli.main`
    # Spawned, not forked: torch's threads do not survive a fork.
    with futures.ProcessPoolExecutor(options.workers, mp.get_context("spawn"), max_tasks_per_child=1) as pool:
        for future in futures.as_completed([pool.submit(measure, options, *cell) for cell in cells]):
            add(options, table, future.result())
    print(json.dumps(table.get("summary", {}), indent=1))


if __name__ == "__main__":
    main()
