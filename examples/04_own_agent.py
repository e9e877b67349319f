"""An agent of your own: its networks and its losses; the rest is lotj's.

    python examples/04_own_agent.py --trials 100

The algorithm is DDPG (Lillicrap et al. 2016): a critic learns Q, and the policy climbs it. `Learner` does what all
algorithms share: acting, the optimiser, slow copies, clipping, seeds, checkpoints.

Takes 30 seconds. One line a trial (in a terminal a live view), then how many of 20 goals the arm reaches. Put the class
into src/lotj/agents/ddpg.py, and `lotj practice --task fetch/reach --agent ddpg` and the contract tests know it.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from lotj.agents import Learner, losses
from lotj.agents.base import Algorithm, At, CriticConfig, Losses
from lotj.data.replay import hindsight
from lotj.envs.base import spec_of
from lotj.envs.registry import make_task
from lotj.evaluation.rollout import evaluate
from lotj.experience import Batch
from lotj.experiments.evaluation import PolicyController
from lotj.nets.front import Front, Seen, Vector
from lotj.nets.heads import mlp
from lotj.runs import Run
from lotj.spaces import Spec
from lotj.training.practice import practice
from lotj.training.practice_config import PracticeConfig
from lotj.training.rewarded import Rewarded


class DDPG(Algorithm):
    """Deep deterministic policy gradient. `critic`: Q with its encoder; `policy`: features to actions before tanh."""

    CONFIG = CriticConfig
    trained = {"critic": ("q",), "policy": ("policy",)}  # module -> terms of the losses that move it
    followed = ("critic", "policy")  # modules with a slow copy, in `target`

    def __init__(self, spec: Spec, front: Front, config: CriticConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.critic = config.critic(front.encoder(spec, "critic"), self.axes)
        self.policy = mlp(self.critic.encoder.size, config.hidden, self.axes)

    def losses(self, batch: Batch, target: Any, at: At, generator: torch.Generator) -> Losses:
        with torch.no_grad():
            then = target["critic"].encoder(batch.next_observation)
            value = target["critic"].head(then, torch.tanh(target["policy"](then))).amin(0)
            goal = losses.td_target(batch, value, self.config.discount, self.config.target_bounds)
        now = self.critic.encoder(batch.observation)
        climbed = self.critic.head(now.detach(), torch.tanh(self.policy(now.detach()))).amin(0)
        terms = {"q": losses.q_loss(self.critic.head(now, batch.action), goal), "policy": -climbed.mean()}
        return terms, {"target_mean": goal.mean()}

    def decide(self, observation: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.tanh(self.policy(self.critic.encoder(observation)))
        return mean, torch.full_like(mean, 0.1)  # deviation of the actions that are tried


def main() -> None:
    """Practise on fetch/reach from nothing, then count."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--trials", type=int, default=100, help="trials of practice")
    asked = parser.parse_args()
    env, front = make_task("fetch/reach"), Vector(("state", "goal"))
    spec, config = spec_of(env), CriticConfig(hidden=(256, 256), critic_projection=0, discount=0.95, ema=0.05)
    learner = Learner(DDPG, spec, front, config, tasks=1)
    run, relabel = Run.create(Path("runs"), "practice", {}, seed=0), hindsight(env.get_wrapper_attr("compute_reward"))
    settings = PracticeConfig(trials=asked.trials, updates_per_step=1, warmup_trials=10, threads=1)
    practice(Rewarded(env, spec.max_steps, seed=0), learner, [], settings, run, relabel=[relabel])
    found = evaluate(env, PolicyController(learner, 0.0), range(20), name="own", max_steps=spec.max_steps)
    print(f"{run.path}: {found.success.sum()} of 20 goals reached")


if __name__ == "__main__":
    main()
