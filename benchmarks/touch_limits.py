r"""How far the hand follows a press and pushes, of plugs that sit and of plugs that do not.

    python benchmarks/touch_limits.py --out results/benchmarks/touch_limits.json

The limits of `lotj.controllers.verification` are chosen by it, on every third training connector. All in mm along the
motion, as the robot measures it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from side_by_side import record

from lotj.controllers.expert import Expert
from lotj.controllers.verification import PRESS, PRESS_LIMIT, PUSH_LIMIT, PUSHES
from lotj.envs.insertion import InsertionEnv
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.parts import choose_training

QUANTILES = (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0)

SHORT = (1e-3, 4e-3)
"""Travel left of a plug that counts as short of its seat [m]."""

BESIDE = (4e-3, 20e-3)
"""Distance from the axis of a plug that is pressed beside its socket [m]."""


def answer(env: InsertionEnv, hand: np.ndarray, motion: Sequence[float]) -> tuple[float, np.ndarray]:
    """How far the hand goes [mm], down under a press, sideways under a push, and its (3,) position then [m]."""
    observation, *_ = env.step(np.array(motion))
    moved = 1e3 * (observation["state"][:3] - hand)
    return float(-moved[2] if motion == PRESS else np.abs(moved[:2]).max()), observation["state"][:3]


def largest_push(env: InsertionEnv, hand: np.ndarray) -> float:
    """Of the four [mm]."""
    moved = []
    for motion in PUSHES:
        along, hand = answer(env, hand, motion)
        moved.append(along)
    return max(moved)


def insert(env: InsertionEnv, seed: int, found: dict[str, list[float]]) -> None:
    """The expert inserts; how far the hand follows a press on the way, then a second press and pushes of the seated
    plug."""
    expert = Expert(np.random.default_rng(seed), env.action_scale, env.bench.contact_height, noise=0.0)
    observation, info = env.reset(seed=seed)
    while not info["is_success"]:
        action, hand = expert(observation, info), observation["state"][:3]
        left = env.bench.connector.insertion_depth - info["depth"]
        observation, _, ended, over, info = env.step(action)
        if action[2] == -1.0 and SHORT[0] + env.bench.seated_within < left < SHORT[1]:
            found["press, short"].append(1e3 * float(hand[2] - observation["state"][2]))
        if ended or over:
            return
    _, hand = answer(env, observation["state"][:3], PRESS)
    again, hand = answer(env, hand, PRESS)
    found["press, seated"].append(again)
    found["pushes, seated"].append(largest_push(env, hand))


def press_beside(env: InsertionEnv, seed: int, found: dict[str, list[float]]) -> None:
    """A plug pressed beside its socket, then pushed."""
    rng = np.random.default_rng([seed, 1])
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*BESIDE)
    place = {"offset": distance * np.array([np.cos(angle), np.sin(angle)]), "height": 4e-3}
    env.reset(seed=seed, options=place)
    for _ in range(4):
        observation, *_, info = env.step(np.array([0.0, 0.0, -0.8]))
    if not info["is_success"] and not info["dislodged"]:
        found["pushes, beside"].append(largest_push(env, observation["state"][:3]))


def measure(connector: str, number: int, trials: int, found: dict[str, list[float]]) -> None:
    """One domain; the k-th connector has robot and bench of its own."""
    robot = ROBOTS[number % 2]
    env = InsertionEnv(connector, robot, number, "far", 64, "state", end_on_success=False, max_steps=60)
    for seed in range(trials):
        insert(env, seed, found)
        press_beside(env, seed, found)
    env.close()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="take every n-th training connector")
    parser.add_argument("--trials", type=int, default=3, help="of each connector")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pooled: dict[str, list[float]] = {f"press, {kind}": [] for kind in ("seated", "short")}
    pooled |= {f"pushes, {kind}": [] for kind in ("seated", "beside")}
    connectors = choose_training(None)[:: options.every]
    for number, connector in enumerate(connectors):
        measure(connector, number, options.trials, pooled)
    limits = {"press": PRESS_LIMIT, "pushes": PUSH_LIMIT}
    rows = {}
    for name, moved in pooled.items():
        limit = limits[name.split(",")[0]]
        quantiles = {f"{q:g}": round(float(np.quantile(moved, q)), 2) for q in QUANTILES}
        rows[name] = {"n": len(moved), "above_limit": int(np.sum(np.array(moved) > limit)), "quantiles": quantiles}
        print(f"{name:16s} n {len(moved):3d}, above {limit}: {rows[name]['above_limit']:3d}  {quantiles}")
    record({"connectors": connectors, "limits": limits, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
