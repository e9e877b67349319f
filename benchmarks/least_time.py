r"""How long an insertion takes at least, whoever moves the hand, beside the scripted expert's.

    python benchmarks/least_time.py --out results/benchmarks/least_time.json

For each validation connector, far, so many starts. A motion moves the hand by at most `STEP_LIMIT` along each axis, so
a plug that is at once as low as its socket's mouth and near enough to its axis, and then goes down its depth, needs at
least these motions; that neither inertia nor friction slows it is assumed in its favour. The question is whether half
of the expert's time can be reached at all: not where the least is above it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import numpy as np
from side_by_side import report

from lotj.controllers.expert import Expert
from lotj.envs.insertion import InsertionEnv
from lotj.experiments.parts import of_split
from lotj.sim.bench import RATE_HZ, STEP_LIMIT

NEAR_ENOUGH = 2e-3
"""From its axis a plug may enter its socket, in its favour: the widest play and chamfer are less [m]."""


def motions(connector: str, robot: str, starts: int) -> list[tuple[int, int]]:
    """Least and the expert's, of each start."""
    found = []
    with InsertionEnv(connector, robot, scenario="far", observation="state") as env:
        expert = Expert(np.random.default_rng(0), STEP_LIMIT, env.bench.contact_height, noise=0.0)
        for seed in range(starts):
            (seen, info), over, count = env.reset(seed=seed), False, 0
            least = least_motions(info["position"], env.bench.contact_height, env.bench.seated_within)
            while not over:
                seen, _, terminated, truncated, info = env.step(expert(seen, info))
                over, count = terminated or truncated, count + 1
            if info["is_success"]:
                found.append((least, count))
    return found


def least_motions(position: np.ndarray, mouth: float, seated_within: float) -> int:
    """Of a plug at a (3,) position in the socket frame, down to `seated_within` by way of the `mouth`'s height [m]."""
    above = max(np.abs(position[:2]).max() - NEAR_ENOUGH, position[2] - mouth, 0.0)
    return int(np.ceil((above + mouth - seated_within) / STEP_LIMIT))


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=50)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    parts, every = {}, []
    for number, name in enumerate(of_split("validation")):
        found = motions(name, ("duo", "trio")[number % 2], options.starts)
        every += found
        parts[name] = _seconds(found)
        print(name, parts[name], flush=True)
    report({"starts": options.starts, "all": _seconds(every), "connectors": parts}, options.out)


def _seconds(found: list[tuple[int, int]]) -> dict[str, float]:
    least, expert = (median(column) / RATE_HZ for column in zip(*found, strict=True))
    within = float(np.mean([2 * low <= count for low, count in found]))
    return {"n": len(found), "least": least, "expert": expert, "starts with least at most half": round(within, 3)}


if __name__ == "__main__":
    main()
