"""Updates a second of agents that learn from states: lotj's, d3rlpy's and Stable-Baselines3's, in turns in one run.

    python benchmarks/peer_state_updates.py --d3rlpy-python .cache/peers/d3rlpy/bin/python \
        --sb3-python .cache/peers/sb3/bin/python --out results/benchmarks/peer_state_updates.json

How to make their Pythons: benchmarks/peers/README.md. Two hidden layers of 256 in every network, batches of 256 from a
replay of noise (17 numbers, 6 axes: a half-cheetah's), one process for each package and number of threads. A second
holds what a user waits for: drawing the batch and the update. Stable-Baselines3 has neither IQL nor AWAC.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report
from turns import Worker, peer_python, spread, take_turns

AGENTS = {"lotj": ("iql", "awac", "td3", "sac"), "d3rlpy": ("iql", "awac", "td3", "sac"), "sb3": ("td3", "sac")}
TARGET = 1.5
"""Times as fast as the peer lotj shall be."""

DIFFERS = [
    "lotj: the losses of all networks in one backward pass, both Q as one batched product, one fused step of Adam "
    "for all parameters; d3rlpy and Stable-Baselines3: network after network, at the weights so far",
    "lotj: freed memory stays with the process (lotj.processes.keep_memory), as under the command lotj",
    "d3rlpy: its replay buffer makes a batch of objects, one a transition",
    "TD3: the policy learns in every second update, everywhere",
]


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """What each process is, and the rounds of each way, ``package agent threads``."""
    pythons = {"lotj": Path(sys.executable)}
    pythons |= {"d3rlpy": peer_python(options.d3rlpy_python, "d3rlpy")} if options.d3rlpy_python else {}
    pythons |= {"sb3": peer_python(options.sb3_python, "stable_baselines3")} if options.sb3_python else {}
    about, workers, requests = {}, {}, {}
    with ExitStack() as stack:
        for threads in options.threads:
            for package, python in pythons.items():
                settings = {"package": package, "threads": threads, "agents": AGENTS[package]}
                spin = {"GOMP_SPINCOUNT": "20000"} if package == "lotj" else {}  # as the command does
                worker = stack.enter_context(Worker(python, "state_updates.py", settings, spin))
                about[f"{package} {threads}"] = worker.about
                for agent in AGENTS[package]:
                    workers[way := f"{package} {agent} {threads}"] = worker
                    requests[way] = {"agent": agent, "count": options.updates}
        take_turns(workers, {way: {**request, "count": 20} for way, request in requests.items()}, 1)  # warm-up
        return about, take_turns(workers, requests, options.repeats)


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d3rlpy-python", type=Path)
    parser.add_argument("--sb3-python", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--updates", type=int, default=300, help="in a round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not (options.d3rlpy_python or options.sb3_python):
        parser.error("name --d3rlpy-python, --sb3-python or both")
    about, found = measure(options)
    rates = {way: [one["count"] / one["seconds"] for one in rounds] for way, rounds in found.items()}
    ratios = {}
    for way in rates:
        package, agent, threads = way.split()
        if package != "lotj":
            ratio = np.divide(rates[f"lotj {agent} {threads}"], rates[way]).tolist()
            ratios[f"{agent}, {threads} threads, against {package}"] = {"target": TARGET, **spread(ratio, 2)}
    result = {
        "command": " ".join(["python", *sys.argv]),
        "cores": os.cpu_count(),
        "repeats": options.repeats,
        "differs": DIFFERS,
        "ratio": ratios,
        "updates_per_s": {way: spread(values, 1) for way, values in rates.items()},
        "about": about,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
