r"""How often the P-controller inserts where the goal is off by up to e along x and y, and a clumsy person who sees it.

    python benchmarks/goal_error.py --out results/benchmarks/goal_error.json

The part of *natural rewards* that stands for Model-E, and the goal error of its tables, are chosen by it: straight P
fails about half of the time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from side_by_side import report

from lotj.controllers.expert import Clumsy
from lotj.controllers.proportional import Proportional
from lotj.envs.force_insertion import ForceInsertionEnv

PARTS = ("usb-a", "d-sub-de-9", "m12-a-5", "seven-eighths-5", "deutsch-dt-3")
ERRORS = (0.0, 1.0, 1.5, 2.0)  # [mm]


def successes(env: ForceInsertionEnv, person: bool, episodes: int) -> int:
    """Of so many episodes."""
    clumsy = Clumsy(np.random.default_rng(0), env.action_scale, env.bench.contact_height)
    controller, count = clumsy if person else Proportional(env.action_scale), 0
    for seed in range(episodes):
        (observation, info), over = env.reset(seed=seed), False
        controller.reset(seed)
        while not over:
            observation, _, terminated, truncated, info = env.step(controller(observation, info))
            over = terminated or truncated
        count += info["is_success"]
    return count


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=PARTS)
    parser.add_argument("--errors", nargs="+", type=float, default=ERRORS)
    parser.add_argument("--step-mm", type=float, default=6.0)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--domain-seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    share: dict[str, dict[str, dict[str, float]]] = {}
    for part in options.parts:
        share[part] = {}
        for error in options.errors:
            env = ForceInsertionEnv(part, domain_seed=options.domain_seed, goal_error=error, step_mm=options.step_mm)
            count = {way: successes(env, way == "clumsy", options.episodes) for way in ("p", "clumsy")}
            share[part][f"{error:g} mm"] = {way: round(n / options.episodes, 2) for way, n in count.items()}
            print(part, error, share[part][f"{error:g} mm"], flush=True)
    settings = f"--episodes {options.episodes} --step-mm {options.step_mm:g} --domain-seed {options.domain_seed}"
    report({"settings": settings, "share of successes": share}, options.out)


if __name__ == "__main__":
    main()
