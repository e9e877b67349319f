r"""What bold exploration is for: how often the offline policy inserts on an unseen part, timid and bold, and why.

    python benchmarks/exploration.py --pretrained runs/pretrain-a runs/pretrain-b \
        --out results/exploration_validation.json

On validation connectors, far, before anything is learnt there. Beside the successes, where its mean action touches
down: the slope of that place over the start's says which share of the way to the socket it leaves undone (0: none).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from practice_table import counts

from lotj.envs.insertion import InsertionEnv
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.parts import of_split
from lotj.experiments.stages import load_agent
from lotj.geometry import mosaic
from lotj.runs import Run
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_exploration import Actor, explore

WAYS: dict[str, dict[str, Any]] = {
    "timid": {"bold_sideways": 1.0, "bold_press": 0.0, "bold_noise": 0.0},
    "noise": {"bold_sideways": 1.0, "bold_press": 0.0},
    "press": {"bold_sideways": 1.0, "bold_noise": 0.0},
    "sideways": {"bold_press": 0.0, "bold_noise": 0.0},
    "bold": {},
}
"""Settings of practice that are not the default's: what is left of boldness, which is 1 throughout. All have the noise
of the first trial and the policy's own spread."""

TOUCH = -0.5e-3
"""Depth from which the plug has touched down [m]."""


def inserts(env: InsertionEnv, agent: Actor, config: PracticeConfig, seed: int) -> bool:
    """Whether a trial has the plug seated at some time."""
    observation, info = env.reset(seed=seed)
    rng, policy = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for _ in range(config.max_steps):
        image = mosaic(observation["image"])[None]
        observation, *_, info = env.step(explore(agent, image, config, 0.0, 1.0, rng, policy))
        if info["is_success"] or info["dislodged"]:
            break
    return bool(info["is_success"])


def touches_down(env: InsertionEnv, agent: Actor, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The plug's (2,) places beside the axis at the start and where the mean action sets it down [m]; the last place
    where it never does or dislodges the plug."""
    observation, info = env.reset(seed=seed)
    start = info["position"][:2]
    for _ in range(steps):
        observation, *_, info = env.step(agent.act(mosaic(observation["image"])[None])[0])
        if info["depth"] > TOUCH or info["dislodged"]:
            break
    return start, info["position"][:2]


def left_undone(places: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """What touch-downs as `touches_down` gives them leave of the way to the socket.

    Returns:
        ``undone``, mean slope of the touch-down's x and y over the start's; ``offset_mm``, where a start over the
        socket would touch down (x, y); ``beside_mm``, median distance from the axis.
    """
    start, end = (np.array(column) for column in zip(*places, strict=True))
    fit = np.linalg.lstsq(np.c_[start, np.ones(len(start))], end, rcond=None)[0]
    beside = np.median(np.linalg.norm(end, axis=1))
    return {
        "undone": round(float((fit[0, 0] + fit[1, 1]) / 2), 2),
        "offset_mm": [round(1e3 * float(x), 1) for x in fit[2]],
        "beside_mm": round(1e3 * float(beside), 1),
    }


def measure(run: Run, connector: str, trials: int) -> dict[str, Any]:
    """One part on the run's robot."""
    agent = load_agent(run, "cpu", "iql")
    env = InsertionEnv(connector, ROBOTS[run.seed % len(ROBOTS)], 0, "far", agent.image_size, end_on_success=False)
    base, seeds = PracticeConfig(), range(5000, 5000 + trials)
    row: dict[str, Any] = {"domain": env.domain.name, "pretrain_seed": run.seed, "n": trials}
    row |= left_undone([touches_down(env, agent, base.max_steps, seed) for seed in seeds])
    for name, changes in WAYS.items():
        config = dataclasses.replace(base, **changes)
        row[name] = sum(inserts(env, agent, config, seed) for seed in seeds)
    env.close()
    return row


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", nargs="+", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in options.pretrained:
        for connector in of_split("validation"):
            rows.append(measure(Run.open(path), connector, options.trials))
            print(rows[-1], flush=True)
    n = sum(row["n"] for row in rows)
    whole = {name: counts(sum(row[name] for row in rows), n) for name in WAYS}
    what = "true successes of n trials of the offline policy, far; where its mean action touches down, see left_undone"
    found = {"what": what, "command": " ".join(["python", *sys.argv]), "seeds": [5000, 5000 + options.trials - 1]}
    options.out.write_text(json.dumps(found | {"all": whole, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
