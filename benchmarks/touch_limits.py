r"""How much the picture changes on a press and on pushes, of plugs that sit and of plugs that do not.

    python benchmarks/touch_limits.py --out results/benchmarks/touch_limits.json

The limits of `lotj.controllers.verification` are chosen by it, on every third training connector. All changes are
shares of the domain's typical change in free motion sideways.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers.expert import Expert
from lotj.controllers.verification import PRESS, PRESS_LIMIT, PUSH_LIMIT, PUSHES, FreeMotion, picture_change
from lotj.envs.insertion import InsertionEnv
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.parts import choose_training

QUANTILES = (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 1.0)

SHORT = (1e-3, 4e-3)
"""Travel left of a plug that counts as short of its seat [m]."""

BESIDE = (4e-3, 20e-3)
"""Distance from the axis of a plug that is pressed beside its socket [m]."""


def answers(env: InsertionEnv, frame: np.ndarray, motions: Any) -> list[float]:
    """Change of the picture on each of the motions, one after another."""
    changes = []
    for motion in motions:
        observation, *_ = env.step(np.array(motion))
        following = observation["image"]
        changes.append(picture_change(frame, following))
        frame = following
    return changes


def insert(env: InsertionEnv, seed: int, free: FreeMotion, found: dict[str, list[float]]) -> None:
    """The expert inserts; what the picture does on its way, then on a press and on pushes of the seated plug."""
    expert = Expert(np.random.default_rng(seed), env.action_scale, env.bench.contact_height, noise=0.0)
    observation, info = env.reset(seed=seed)
    frame = observation["image"]
    frames, actions = [frame], []
    while not info["is_success"] and not info["dislodged"]:
        action = expert(observation, info)
        left = env.bench.connector.insertion_depth - info["depth"]
        observation, _, ended, over, info = env.step(action)
        following = observation["image"]
        frames.append(following)
        actions.append(action)
        if action[2] == -1.0 and SHORT[0] + env.bench.seated_within < left < SHORT[1]:
            found["press, short"].append(picture_change(frame, following))
        frame = following
        if ended or over:
            return
    free.see(frames, actions)
    found["press, seated"] += answers(env, frame, [PRESS, PRESS])[1:]
    found["pushes, seated"].append(max(answers(env, env.bench.render(), PUSHES)))


def press_beside(env: InsertionEnv, seed: int, found: dict[str, list[float]]) -> None:
    """A plug pressed beside its socket, then pushed."""
    rng = np.random.default_rng([seed, 1])
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*BESIDE)
    place = {"offset": distance * np.array([np.cos(angle), np.sin(angle)]), "height": 4e-3}
    env.reset(seed=seed, options=place)
    for _ in range(4):
        observation, *_, info = env.step(np.array([0.0, 0.0, -0.8]))
    frame = observation["image"]
    if not info["is_success"] and not info["dislodged"]:
        found["pushes, beside"].append(max(answers(env, frame, PUSHES)))


def measure(connector: str, number: int, trials: int) -> dict[str, list[float]]:
    """Shares of the typical change of one domain; the k-th connector has robot and bench of its own."""
    env = InsertionEnv(connector, ROBOTS[number % 2], number, "far", 64, end_on_success=False, max_steps=60)
    free, found = FreeMotion(), {f"press, {kind}": [] for kind in ("seated", "short")}
    found |= {f"pushes, {kind}": [] for kind in ("seated", "beside")}
    for seed in range(trials):
        insert(env, seed, free, found)
        press_beside(env, seed, found)
    env.close()
    typical = free.typical
    assert typical is not None, f"{connector}: the expert never moved sideways"
    return {name: [change / typical for change in changes] for name, changes in found.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="take every n-th training connector")
    parser.add_argument("--trials", type=int, default=3, help="of each connector")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pooled: dict[str, list[float]] = {}
    connectors = choose_training(None)[:: options.every]
    for number, connector in enumerate(connectors):
        for name, shares in measure(connector, number, options.trials).items():
            pooled.setdefault(name, []).extend(shares)
    limits = {"press": PRESS_LIMIT, "pushes": PUSH_LIMIT}
    rows = {}
    for name, shares in pooled.items():
        limit = limits[name.split(",")[0]]
        quantiles = {f"{q:g}": round(float(np.quantile(shares, q)), 3) for q in QUANTILES}
        rows[name] = {"n": len(shares), "above_limit": int(np.sum(np.array(shares) > limit)), "quantiles": quantiles}
        print(f"{name:16s} n {len(shares):3d}, above {limit}: {rows[name]['above_limit']:3d}  {quantiles}")
    content = {"command": " ".join(["python", *sys.argv]), "connectors": connectors, "limits": limits, "rows": rows}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
