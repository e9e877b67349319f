"""What `mujoco.batch` (many simulations on threads of one process) could gain on tasks of states, and what a policy
does that is asked about many at a time.

python benchmarks/batch_simulation.py --out results/benchmarks/batch_simulation.json

Times of one step of one simulation, medians of rounds in turns [us]: of the environment; of its physics alone; of that
in a batch of 16 on two threads; and of the policy, asked about one observation and about 25 at a time. From them steps
a second: of two processes, which is how data are collected and arms are run; and at most of one process whose physics
were a batch, the rest being as it is.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from side_by_side import rates, report

from lotj.agents import Learner, find_agent
from lotj.envs.base import spec_of
from lotj.envs.registry import make_task
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import agent_settings
from lotj.nets.front import Vector

TASKS = {
    "maze/medium": "inner.point_env",
    "locomotion/half-cheetah": "inner",
    "fetch/push": "inner",
    "push/one": "",
    "drawer/open": "",
    "blocks/assembly": "",
    "force-insertion/usb-a": "bench",
}
"""Task -> where its environment keeps model and data."""
SIMULATIONS, THREADS, ASKED = 16, 2, 25


def holder(env: Any, path: str) -> Any:
    """What keeps model and data."""
    found = env.unwrapped
    for name in filter(None, path.split(".")):
        found = getattr(found, name)
    return found


def measured(task: str, path: str, steps: int, repeats: int) -> dict[str, Any]:
    """The times of a task, and what follows from them."""
    with closing(make_task(task)) as env:
        spec, (seen, _) = spec_of(env), env.reset(seed=0)
        keeps = holder(env, path)
        model, data, before = keeps.model, keeps.data, keeps.data.time
        rng, axes = np.random.default_rng(0), env.action_space.shape

        def step() -> None:
            _, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, axes).astype(np.float32))
            if terminated or truncated:
                env.reset()

        step()
        substeps = round((data.time - before) / model.opt.timestep)
        batch = mujoco.batch.Batch(model, SIMULATIONS, THREADS)
        batch.state[:] = _state(model, data)
        copy = mujoco.MjData(model)
        mujoco.mj_setState(model, copy, _state(model, data), mujoco.mjtState.mjSTATE_INTEGRATION)
        names = tuple(name for name in ("state", "goal") if name in spec.observation)
        settings = agent_settings(find_preset("state"), "iql")
        policy = Learner(find_agent("iql"), spec, Vector(names), settings, 1)
        one = {name: seen[name][None] for name in names}
        many = {name: np.repeat(values, ASKED, 0) for name, values in one.items()}
        ways = {
            "environment": step,
            "physics": partial(mujoco.mj_step, model, copy, substeps),
            "physics in a batch": partial(batch.step, None, substeps),
            "policy": partial(policy.act, one),
            f"policy, {ASKED} at a time": partial(policy.act, many),
        }
        at_a_time = {"physics in a batch": SIMULATIONS, f"policy, {ASKED} at a time": ASKED}
        found = {
            name: float(np.median(of)) * at_a_time.get(name, 1) for name, of in rates(ways, steps, repeats).items()
        }
    us = {name: 1e6 / rate for name, rate in found.items()}
    best = us["environment"] - us["physics"] + us["physics in a batch"]
    told = {"two processes": 2e6 / us["environment"], "one process, physics a batch, at most": 1e6 / best}
    return {
        "substeps": substeps,
        "us": {name: round(time, 1) for name, time in us.items()},
        "steps a second": {name: round(rate) for name, rate in told.items()},
    }


def _state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    state = np.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return state


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {task: measured(task, path, options.steps, options.repeats) for task, path in TASKS.items()}
    report({"tasks": found, "simulations": SIMULATIONS, "threads": THREADS}, options.out)


if __name__ == "__main__":
    main()
