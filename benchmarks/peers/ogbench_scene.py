r"""An outside check: the learners of `val` and `ptp`, and HIQL, on OGBench's `scene` from play of its own oracles.

    MUJOCO_GL=egl .cache/peers/ogbench/bin/python benchmarks/peers/ogbench_scene.py \
        --data .cache/ogbench-play --out results/benchmarks/ogbench_scene.json

How to make that Python: benchmarks/peers/README.md. The play is recorded as OGBench records its `scene-play` (Park et
al. 2025, data_gen_scripts): its oracles one after the other, noise of 0.1, episodes of 1,000 steps, those thrown away
in which the cube is lost to sight. Of states, since its pictures take a quarter of a second each without a GPU, and
smaller: a fifth of the episodes, batches of 256 instead of 1,024, networks of 256 instead of 512. Goals, of values and
policies alike: the state itself in 0.2 of the rows, a later one of the episode in 0.5, any in 0.3; the reward is -1
where the step does not lead to the goal. Evaluated on its five tasks, success by its word, at four points of the
training; last and best are told. Each (agent, seed) is written when it is done, and the same command goes on with those
that are missing.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import itertools
import json
import sys
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ogbench.manipspace.oracles.plan.button_plan import ButtonPlanOracle
from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
from ogbench.manipspace.oracles.plan.drawer_plan import DrawerPlanOracle
from ogbench.manipspace.oracles.plan.window_plan import WindowPlanOracle

from lotj.agents import At, Learner, find_agent
from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.layout import Schema
from lotj.data.store import DiskStore, Store
from lotj.data.writer import EpisodeWriter
from lotj.experience import Episode, Task
from lotj.experiments.evaluation import PolicyController
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import agent_settings
from lotj.goals.proposer import Seen
from lotj.goals.sparse import SparseReward
from lotj.nets.front import Vector
from lotj.training.pretrain import spec_of_data
from lotj.training.prior import batches

sys.path.append(str(Path(__file__).parents[1]))
from side_by_side import record

READS = ("code", "goal")
STEPS = 1000
ORACLES = {"cube": CubePlanOracle, "button": ButtonPlanOracle, "drawer": DrawerPlanOracle, "window": WindowPlanOracle}
DISCOUNT = 0.99
_ALL = {"lr": 3e-4, "discount": DISCOUNT, "ema": 0.005, "target_bounds": (-1.0 / (1.0 - DISCOUNT), 0.0)}
_ALL |= {"hidden": (256, 256, 256), "critic_hidden": 256}
_LIKE_PTP = {"weight_clip": 100.0, "initial_std": 0.15, "std_range": (0.135, 0.37)}
AGENTS: dict[str, dict[str, Any]] = {
    "awac": {**_ALL, "advantage_scale": 1.0 / 0.3},
    "iql": {**_ALL, **_LIKE_PTP, "expectile": 0.9, "advantage_scale": 100.0, "q_gradient_weight": 0.0},
    "hiql": {**_ALL, "waypoint_steps": 10},
}
"""As in the chapters, but for the networks, the discount and HIQL's waypoints, which are OGBench's for `scene`."""
PUBLISHED = {"GCIVL": 42, "GCIQL": 51, "QRL": 5, "CRL": 19, "HIQL": 38}
"""Success on `scene-play` after 1,000,000 updates on 1,000 episodes, 8 seeds (Park et al. 2025) [%]."""


def play(env: Any, seed: int) -> Episode | None:
    """An episode of the oracles; None where the cube is lost to sight."""
    np.random.seed(seed)  # the oracles and their targets draw from here
    seen, info = env.reset(seed=seed)
    oracles = {name: kind(env=env, noise=0.1, noise_smoothing=0.5) for name, kind in ORACLES.items()}
    oracle, states, actions, cubes = oracles[info["privileged/target_task"]], [seen], [], []
    oracle.reset(seen, info)
    for _ in range(STEPS):
        actions.append(np.clip(oracle.select_action(seen, info), -1.0, 1.0))
        seen, _, _, _, info = env.step(actions[-1])
        states.append(seen)
        cubes.append(info["privileged/block_0_pos"])
        if oracle.done:
            begun = env.unwrapped.set_new_target(p_stack=0.5)
            oracle = oracles[begun[1]["privileged/target_task"]]
            oracle.reset(*begun)
    _, y, z = np.array(cubes).T
    if (y >= 0.29).any() or ((y <= -0.3) & ((z < 0.06) | (z > 0.08))).any():
        return None
    code, action = np.array(states, np.float32), np.array(actions, np.float32)
    observation = {"code": code, "goal": np.zeros_like(code)}
    return Episode(observation, action, np.zeros(STEPS, np.float32), False, True, "scene-play", "play", seed)


def recorded(folder: Path, episodes: int) -> Store:
    """Play of so many episodes, recorded as far as it is not yet."""
    env, task = make(mode="data_collection", terminate_at_goal=False), Task("scene-play", "ogbench/scene-play")
    size = env.observation_space.shape
    schema = Schema(env.action_space.shape[0], {name: np.dtype((np.float32, size)) for name in READS})
    with closing(env), EpisodeWriter(folder, task, schema) as writer:
        held = len(DiskStore.open(folder)) if writer.finished else 0
        for seed in itertools.count(len(writer.finished)):
            if held >= episodes:
                break
            if episode := play(env, seed):
                writer.append(episode)
                held += 1
            else:
                writer.discard("play", seed, "the cube is out of sight")
    return DiskStore.open(folder)


def make(**options: Any) -> Any:
    """The scene, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gym.make("scene-v0", max_episode_steps=STEPS + 1 if options else 750, **options)


def successes(learner: Learner, episodes: int) -> list[float]:
    """Share of the episodes that succeed, of each of the five tasks."""
    found, acts = [], PolicyController(learner, 0.0)
    with closing(make()) as env:
        for task in range(1, 6):
            reached = 0
            for seed in range(episodes):
                seen, info = env.reset(seed=1000 * task + seed, options={"task_id": task, "render_goal": False})
                goal, over = np.asarray(info["goal"], np.float32), False
                acts.reset(seed)
                while not over:
                    action = acts({"code": np.asarray(seen, np.float32), "goal": goal}, {})
                    seen, _, terminated, truncated, info = env.step(action)
                    over = terminated or truncated
                reached += bool(info["success"])
            found.append(reached / episodes)
    return found


def learn(store: Store, agent: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Success at each point of a training."""
    config = agent_settings(replace(find_preset("state"), agent=AGENTS[agent]), agent)
    training = replace(find_preset("state").pretrain, steps=options.updates, lr=config.lr, cosine=False)
    learner = Learner(find_agent(agent), spec_of_data(store.schema, READS), Vector(READS), config, 1, seed)
    states = store.observe(np.arange(store.n_frames), ["code"])["code"]
    shares = GoalShares(keep=0.0, next=0.2, future=0.5, proposed=0.3)
    relabel = choose_goals(shares, Seen(lambda: states).propose, False, SparseReward(1e-6))
    drawn = batches(store, training, seed, learner.needs, READS, [relabel], learner.discount, learner.ahead)
    points = [round(options.updates * part / 4) for part in range(1, 5)]
    curve = []
    for step in range(options.updates):
        learner.update(drawn(step), At(step, step / options.updates, config.lr))
        if step + 1 in points:
            tasks = successes(learner, options.episodes)
            curve.append({"updates": step + 1, "success": round(100 * float(np.mean(tasks)), 1), "tasks": tasks})
            print(agent, seed, curve[-1], flush=True)
    return curve


def main() -> None:
    """Record, learn, evaluate, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--play", type=int, default=200, help="episodes")
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--episodes", type=int, default=5, help="of each task at each point")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--agents", nargs="+", default=list(AGENTS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = recorded(options.data, options.play)
    done = json.loads(options.out.read_text())["curves"] if options.out.exists() else {}
    for seed in options.seeds:
        for agent in options.agents:
            if f"{agent}-{seed}" not in done:
                done[f"{agent}-{seed}"] = learn(store, agent, seed, options)
                record(summary(done, options), options.out)


def summary(curves: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    """Last and best of each agent, over seeds [%]."""
    size = {"play": options.play, "updates": options.updates, "episodes of a task": options.episodes}
    told: dict[str, dict[str, Any]] = {}
    for agent in AGENTS:
        own = [[point["success"] for point in curve] for name, curve in curves.items() if name.split("-")[0] == agent]
        if own:
            told[agent] = {"last": [of[-1] for of in own], "best": [max(of) for of in own]}
    return {"size": size, "success": told, "published": PUBLISHED, "curves": curves}


if __name__ == "__main__":
    main()
