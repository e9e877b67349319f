r"""How well a pretrained policy sees where the plug is: its mean action against the expert's, and what it inserts.

    python benchmarks/perception.py --data data/laptop --pretrained runs/pretrain-a runs/pretrain-b \
        --out results/perception_validation.json

On frames of the expert's episodes, of training and of validation connectors. An expert who is more than a millimetre
beside the socket moves sideways only; a policy that cannot tell goes down too early and sideways too little. Successes
are those of drawn actions on the validation connectors, far, on the robot of the run's seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from practice_table import counts

from lotj.agents.iql import IQL
from lotj.agents.sac import SAC
from lotj.data.dataset import Dataset
from lotj.envs.insertion import InsertionEnv
from lotj.evaluation import evaluate
from lotj.experience import is_kind
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.parts import of_split
from lotj.experiments.stages import PolicyController, load_agent, open_split
from lotj.runs import Run

EDGES_MM = (0.0, 1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 40.0)
"""Edges of the ranges of distance [mm]."""

FRAMES = 4000
"""Frames of each split."""

CHUNK = 250


def by_distance(agent: IQL | SAC, dataset: Dataset, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One row for each range of distance: means of the actions' part towards the axis and of their part upwards.

    The frames turn little against the hand (`Look.clamp_yaw` is at most 1.5 degrees), which is neglected.
    """
    held = dataset.transitions()
    expert = np.flatnonzero(is_kind(held.kind, ("expert",)))
    chosen = np.sort(rng.choice(expert, min(FRAMES, len(expert)), replace=False))
    place = dataset.frame_state[held.frame[chosen], :2]
    distance = np.linalg.norm(place, axis=1)
    inwards = -place / distance[:, None]
    images = (dataset.images(held.frame[part]) for part in np.array_split(chosen, max(1, len(chosen) // CHUNK)))
    actions = {"policy": np.concatenate([agent.act(part) for part in images]), "expert": held.action[chosen]}
    rows = []
    for low, high in zip(EDGES_MM, EDGES_MM[1:], strict=False):
        here = (distance >= low * 1e-3) & (distance < high * 1e-3)
        row: dict[str, Any] = {"from_mm": low, "to_mm": high, "frames": int(here.sum())}
        for name, action in actions.items():
            row[name] = {
                "inwards": round(float((action[here, :2] * inwards[here]).sum(1).mean()), 3),
                "up": round(float(action[here, 2].mean()), 3),
            }
        rows.append(row)
    return rows


def inserted(agent: IQL | SAC, connector: str, robot: str, trials: int) -> int:
    """Successes of the policy as it is."""
    env = InsertionEnv(connector, robot, 0, "far", agent.image_size)
    try:
        seeds = range(5000, 5000 + trials)
        result = evaluate(env, PolicyController(agent), seeds, name="offline", label="offline")
    finally:
        env.close()
    return int(sum(result.success))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, nargs="+", required=True)
    parser.add_argument("--trials", type=int, default=20, help="of each validation connector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = []
    for path in args.pretrained:
        run = Run.open(path)
        agent, robot = load_agent(run), ROBOTS[run.seed % len(ROBOTS)]
        splits = {name: open_split(args.data, name) for name in ("train", "validation")}
        actions = {name: by_distance(agent, data, np.random.default_rng(0)) for name, data in splits.items()}
        successes = {name: inserted(agent, name, robot, args.trials) for name in of_split("validation")}
        total = counts(sum(successes.values()), args.trials * len(successes))
        found.append({"run": path.parent.name, "seed": run.seed, "updates": agent.updates, "all": total})
        found[-1] |= {"successes": successes, "actions": actions}
        print(path.parent.name, total, successes, flush=True)
    args.out.write_text(json.dumps({"command": ["python", *sys.argv], "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
