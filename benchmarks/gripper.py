"""How well the simulated gripper tells that the plug was lost: false alarms and misses under hard random pressing.

    python benchmarks/gripper.py --out results/benchmarks/gripper.json

The gripper's reading is blurred and late (`lotj.robots.simulated`). Four of five motions press down with 0.7 and push
aside at random, the others are random. A trial ends with the alarm, or after 20 steps.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report

from lotj.envs.insertion import InsertionEnv
from lotj.errors import LostError
from lotj.robots.simulated import GRIP_DELAY, GRIP_NOISE, SimulatedRobot

CONNECTORS = ("usb-b", "as-3112", "dc-4-0x1-7", "nema-5-15")
STEPS = 20


def trial(robot: SimulatedRobot, seed: int) -> dict[str, Any]:
    """Steps until the loss and until the alarm (None: there was none), and steps in all."""
    rng, lost, alarm, step = np.random.default_rng(seed), None, None, 0
    robot.reset(seed)
    while step < STEPS and alarm is None:
        press = np.array([*rng.uniform(-0.6, 0.6, 2), -0.7])
        try:
            robot.move(press if rng.random() < 0.8 else rng.uniform(-1, 1, 3))
        except LostError:
            alarm = step
        if lost is None and (robot._trial or {})["dislodged"]:
            lost = step
        step += 1
    return {"lost": lost, "alarm": alarm, "steps": step}


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=25, help="of each connector and scenario")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for connector in CONNECTORS:
        for scenario in ("near", "far"):
            env = InsertionEnv(connector, scenario=scenario, image_size=16, end_on_success=False)
            robot = SimulatedRobot(env)
            rows += [trial(robot, seed) for seed in range(options.trials)]
            robot.close()
    steps, lost = sum(row["steps"] for row in rows), [row for row in rows if row["lost"] is not None]
    false = [row for row in rows if row["alarm"] is not None and (row["lost"] is None or row["alarm"] < row["lost"])]
    late = Counter(row["alarm"] - row["lost"] for row in lost if row["alarm"] is not None)
    result = {
        "connectors": CONNECTORS,
        "noise": {"slip_m": GRIP_NOISE[0], "tilt_rad": round(float(GRIP_NOISE[1]), 4), "steps_late": GRIP_DELAY},
        "trials": len(rows),
        "steps": steps,
        "false_alarms": len(false),
        "false_alarms_per_1000_steps": round(1e3 * len(false) / steps, 2),
        "losses": len(lost),
        "losses_not_noticed_in_their_trial": sum(row["alarm"] is None for row in lost),
        "steps_from_loss_to_alarm": {str(delay): count for delay, count in sorted(late.items())},
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
