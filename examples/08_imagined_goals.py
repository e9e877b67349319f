"""Goals that the robot sets itself: RIG (Nair et al. 2018), or CC-RIG where the puck's colour changes by the episode.

    python examples/08_imagined_goals.py --trials 200
    python examples/08_imagined_goals.py --task push/one,vary=colour --model cc-vae

A random walk is recorded, a model of its pictures learnt, and TD3 practises to reach what the model imagines. Nobody
tells it a reward. Takes 10 minutes on a core. Prints a line a trial, then how far from goals that it is shown object
and hand end, and how far they would if nothing were done.
"""

import argparse
from pathlib import Path

import numpy as np

from lotj.agents import Learner, find_agent
from lotj.data.goal_replay import GoalShares, choose_goals
from lotj.data.store import DiskStore
from lotj.envs.base import spec_of
from lotj.envs.registry import make_task
from lotj.experience import batch_of_one
from lotj.goals.encoder import Latent
from lotj.goals.proposer import Prior
from lotj.goals.reward import LatentReward
from lotj.nets.front import Vector
from lotj.runs import Run
from lotj.training.collect import TaskCollection, collect
from lotj.training.encoders import Modeller, ModelTraining, pairs, picture_model
from lotj.training.imagined import READS, Imagined
from lotj.training.practice import practice
from lotj.training.practice_config import PracticeConfig
from lotj.training.rewarded import Rewarded


def distances(env: Imagined, learner: Learner | None, episodes: int) -> np.ndarray:
    """(2,) mean distances of object and hand [m] at the end of episodes whose goals are the task's own pictures."""
    ends = []
    for seed in range(episodes):
        seen, info = env.reset(seed=10_000 + seed, options={"goal": "task"})
        over = False
        while not over:
            action = learner.act(batch_of_one(seen))[0] if learner else np.zeros(2, np.float32)
            seen, _, _, over, info = env.step(action)
        ends.append([info["object_distance"], info["hand_distance"]])
    return np.mean(ends, 0)


def main() -> None:
    """Record, model, practise, try."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--task", default="push/one", help="a task whose goal is a picture")
    parser.add_argument("--model", default="vae", help="vae or cc-vae")
    parser.add_argument("--episodes", type=int, default=200, help="of the random walk")
    parser.add_argument("--updates", type=int, default=3000, help="of the model")
    parser.add_argument("--trials", type=int, default=200, help="of practice")
    asked = parser.parse_args()
    walk = TaskCollection((f"{asked.task},observation=image",), count=asked.episodes, recipe="random")
    collect(Path("data/walk"), walk, workers=1)
    model = picture_model(asked.model, {"size": 8})
    Modeller(model, ModelTraining(asked.updates)).learn(pairs(DiskStore.open(Path("data/walk"))))
    encoder, reward = Latent(model), LatentReward()
    env = Imagined(make_task(asked.task, observation="image"), encoder, Prior(encoder), reward)
    spec, kind = spec_of(env), find_agent("td3")
    names = tuple(name for name in READS if name in spec.observation)
    learner = Learner(kind, spec, Vector(names), kind.CONFIG(discount=0.99, critic_projection=0), tasks=1)
    relabel = choose_goals(GoalShares(future=0.5, proposed=0.5), env.proposer.propose, False, reward)
    settings = PracticeConfig(
        trials=asked.trials, updates_per_step=1, warmup_trials=5, exploration_noise=0.3, threads=1
    )
    run = Run.create(Path("runs"), "practice", {}, seed=0)
    practice(Rewarded(env, spec.max_steps, seed=0), learner, [], settings, run, relabel=[relabel])
    for who, found in (("practised", distances(env, learner, 20)), ("nothing done", distances(env, None, 20))):
        print(f"{who}: object {100 * found[0]:.1f} cm, hand {100 * found[1]:.1f} cm from the goals shown")


if __name__ == "__main__":
    main()
