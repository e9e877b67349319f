r"""Where a plug truly is on its way out of the socket: what `practice_withdrawal` makes of it must be right.

    python benchmarks/withdrawal.py --out results/withdrawal_validation.json

The scripted expert seats the plug, a touch is made, and then the ways out are taken, on validation connectors.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers.expert import towards
from lotj.envs.insertion import InsertionEnv
from lotj.training.practice_touch import PRESS, PUSHES
from lotj.training.practice_withdrawal import ways_out

CONNECTORS = ("as-3112", "d-sub-da-15", "usb-b", "duplo-2x2", "bs-4573")


def lifted(env: InsertionEnv, seed: int) -> dict[str, float] | None:
    """Where the plug is after the lift [mm]; None if the expert has not seated it.

    Returns:
        ``beside`` the axis, ``above_start``, and whether it was ``dislodged`` on the lift or the first way.
    """
    _, info = env.reset(seed=seed)
    start, actions = info["position"][2], []
    while not info["is_success"] and len(actions) < env.max_steps:
        action = towards(info["position"], np.zeros(2), env.action_scale, env.bench.contact_height)
        actions.append(action.astype(np.float32))
        *_, info = env.step(actions[-1])
    for motion in (PRESS, PRESS, PRESS, *PUSHES):
        *_, info = env.step(np.array(motion))
    if not info["is_success"]:
        return None
    *_, info = env.relax()
    ways = ways_out(actions, 1, env.action_scale, np.random.default_rng(seed))
    for action in ways.up:
        *_, info = env.step(action)
    at = 1e3 * (info["position"] - [0.0, 0.0, start])
    for action in ways.aside[0]:
        *_, info = env.step(action)
    return {"beside": float(np.hypot(*at[:2])), "above_start": float(at[2]), "dislodged": float(info["dislodged"])}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Where a plug truly is on its way out of the socket.")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for connector in CONNECTORS:
        env = InsertionEnv(connector, scenario="far", observation="state", max_steps=30, end_on_success=False)
        found = [place for seed in range(options.trials) if (place := lifted(env, seed))]
        env.close()
        ranges = {name: [round(f([p[name] for p in found]), 2) for f in (min, max)] for name in found[0]}
        rows.append({"domain": env.domain.name, "seeds": [0, options.trials - 1], "n": len(found), **ranges})
        print(rows[-1])
    command = f"python benchmarks/withdrawal.py --trials {options.trials} --out {options.out}"
    what = "after the lift, least and largest: beside the axis and above the trial's start [mm]; dislodged, 0 or 1"
    options.out.write_text(json.dumps({"what": what, "command": command, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
