"""Two small worlds to practise in, and agents for them. In the first a robot judges itself: a red dot is to be moved
onto a green field, and the truth stays in the robot. In the second an environment rewards."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from lotj.agents import Learner
from lotj.agents.iql import IQL, IQLConfig
from lotj.agents.td3 import TD3, TD3Config
from lotj.data.layout import Schema
from lotj.data.replay import Source
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import LostError
from lotj.experience import SUCCESS, Episode, Recorder, Task
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels, Vector
from lotj.runs import Run
from lotj.spaces import Array, Spec
from lotj.training.features import FeatureConfig, imitated, prepare_features
from lotj.training.fleet import Elsewhere, Hand
from lotj.training.practice import PracticeResult, practice
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.self_judged import Memory, SelfJudged

SIZE = 16
"""Side of the image [pixels]."""
STEP = 4.0
"""Pixels of an action of 1; the third action does nothing."""
REACH = 2.5
"""The dot is home within this distance of the field's centre [pixels]."""
TARGETS = {"left": (4.0, 8.0), "right": (11.0, 5.0)}
"""Tasks of the prior data: where the green field is (x, y)."""
UNSEEN = (8.0, 11.0)
"""The field of the task that is practised."""
SPEC = Spec({"image": Array((1, SIZE, SIZE, 3), "uint8", 0, 255)}, (3,), 10.0, 20)
FELT = replace(SPEC, observation={**SPEC.observation, "state": Array((9,), "float32", -np.inf, np.inf)})


def draw(dot: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(16, 16, 3) uint8: a red disc at `dot` and a green one at `target`, which do not hide each other."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for channel, (centre, radius) in enumerate(((dot, 1.8), (target, 3.0))):
        image[..., channel] = 255 * (np.hypot(x - centre[0], y - centre[1]) <= radius)
    return image


@dataclass
class ToyRobot:
    """Moves the dot. It keeps the truth of each trial in `truth`, flipped if `lie`: nobody else may notice."""

    target: tuple[float, float] = UNSEEN
    lie: bool = False
    latches: bool = False  # a dot that is home stays there
    held_after: int = 10**6  # steps of a trial after which the dot is held fast
    loses: frozenset[int] = frozenset()  # resets (from 1) whose trial loses its part at the third step
    truth: list[bool] = field(default_factory=list)
    resets: int = 0
    steps: int = 0
    spec: Spec = FELT
    height: float = 0.0  # in actions
    action_scale: float = 20e-3  # so that ways out are no longer than the picture
    estimate_error: float = 0.0
    height_error: float = 0.0

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        self.dot = rng.uniform(1, SIZE - 2, 2)
        self.resets, self.steps, self.height = self.resets + 1, 0, 0.0
        self.truth.append(self.lie)
        return self.observe()

    def observe(self) -> dict[str, np.ndarray]:
        """The picture, and where the hand is: an action of 1 is 6 mm."""
        state = 6e-3 * np.array([*self.dot / STEP, self.height, *[0.0] * 6], np.float32)
        return {"image": self.picture()[None], "state": state}

    def picture(self) -> np.ndarray:
        return draw(self.dot, np.array(self.target))

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        assert action.shape == (3,) and np.abs(action).max() <= 1
        self.steps += 1
        if self.steps == 3 and self.resets in self.loses:
            raise LostError("the dot fell off")
        home = bool(np.hypot(*(self.dot - self.target)) < REACH)
        if self.steps <= self.held_after and not (self.latches and home):
            self.dot = np.clip(self.dot + STEP * action[:2], 1, SIZE - 2)
            self.height += float(action[2])
        self.truth[-1] = bool(np.hypot(*(self.dot - self.target)) < REACH) != self.lie
        return self.observe()

    def relax(self) -> dict[str, np.ndarray]:
        return self.observe()

    def park(self) -> None:
        pass

    def close(self) -> None:
        pass


class ColourReward:
    """A reward model that is right: it finds both discs by their colours. With `wrong` it says the contrary."""

    threshold = 0.5

    def __init__(self, wrong: bool = False) -> None:
        self._sign = -1 if wrong else 1

    def score(self, images: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[:SIZE, :SIZE]
        grid = np.stack([x, y]).reshape(2, -1)
        weight = images.reshape(len(images), -1, 3)[..., :2].astype(np.float64)
        centres = np.einsum("pn,inc->icp", grid, weight) / weight.sum(1)[..., None]
        distance = np.hypot(*(centres[:, 0] - centres[:, 1]).T)
        return (1 / (1 + np.exp(6 * self._sign * (distance - REACH)))).astype(np.float32)


class AfterStart:
    """Says of each trial's start 0, of every other frame of trial k the k-th number, of the last one for good."""

    threshold = 0.5

    def __init__(self, robot: ToyRobot, *scores: float) -> None:
        self.robot, self.scores = robot, scores

    def score(self, images: np.ndarray) -> np.ndarray:
        number = min(self.robot.resets, len(self.scores)) - 1
        return np.full(len(images), self.scores[number] * (self.robot.steps > 0), np.float32)


class ListedReward:
    """A reward model that says the listed scores one after another, the start's included, then another for good."""

    threshold = 0.5

    def __init__(self, *scores: float, then: float = 0.0) -> None:
        self.scores, self.then = iter(scores), then

    def score(self, images: np.ndarray) -> np.ndarray:
        return np.array([next(self.scores, self.then) for _ in images], np.float32)


def make_agent(seed: int = 0, **changes: Any) -> Learner:
    """A small agent that knows nothing."""
    config = IQLConfig(
        bottleneck=BottleneckConfig(invariant_dim=64, specific_dim=8, domain_hidden=(16,)),
        hidden=(64,),
        critic_projection=32,
        critic_hidden=64,
        discount=0.9,
        lr=3e-3,
        ema=0.05,
        initial_std=0.6,
        std_range=(0.25, 1.0),
        position_weight=0.0,
    )
    front = Pixels(EncoderConfig(width=8, stages=1), feature_channels=0, half_precision=False)
    return Learner(IQL, SPEC, front, replace(config, **changes), len(TARGETS), seed)


def collect(root: Path, episodes: int = 40) -> DiskStore:
    """Prior data: random walks in the two known tasks, truly labelled."""
    for number, (name, target) in enumerate(TARGETS.items()):
        walks = [walk(name, target, 1000 * number + seed) for seed in range(episodes)]
        with EpisodeWriter(root, Task(name, "toy"), Schema.of(walks[0])) as writer:
            for episode in walks:
                writer.append(episode)
    return DiskStore.open(root)


def walk(task: str, target: tuple[float, float], seed: int, steps: int = 10) -> Episode:
    """One random walk. Every third is said to be one that presses beside."""
    robot, rng = ToyRobot(target), np.random.default_rng(seed)
    recorder, done = Recorder(robot.reset(seed), {SUCCESS: False}), False
    while len(recorder) < steps and not done:
        action = rng.uniform(-1, 1, 3).astype(np.float32)
        seen, done = robot.move(action), robot.truth[-1]
        recorder.add(action, done, seen, {SUCCESS: done})
    return recorder.finish(done, not done, task, "expert" if seed % 3 else "press", seed)


def make_config(**settings: Any) -> SelfJudgedConfig:
    """Small practice settings."""
    small = {"trials": 5, "max_steps": 6, "batch_size": 32, "updates_per_step": 1, "warmup_trials": 1, "threads": 1}
    # Nothing holds the dot where it is home, and home is everywhere within reach.
    small |= {"verify": "score", "imitate": "all", "withdrawals": 0, "boost": False}
    small |= {"q_gradient_weight": 0.0, "advantage_scale": 50.0}  # these agents are not pretrained: Q knows nothing yet
    return SelfJudgedConfig(**(small | settings))  # type: ignore[arg-type]


def practise(
    robot: Any,
    reward: Any,
    prior: DiskStore,
    config: SelfJudgedConfig,
    run: Run,
    agent: Learner | None = None,
    judging: Mapping[str, Any] | None = None,
    **more: Any,
) -> PracticeResult:
    """Practice as `lotj.experiments.stages` composes it; the agent has learnt then. `judging`: see `SelfJudged`."""
    agent = agent or make_agent()
    features = prepare_features(prior, agent, FeatureConfig(transitions=400), live=False)
    learner = agent.on_features(advantage_scale=config.advantage_scale, q_gradient_weight=config.q_gradient_weight)
    offline = Source(features, 1 - config.online_fraction, columns={"imitate": imitated(features)})
    judged = SelfJudged(robot, agent, learner, reward, config, run.seed, **(judging or {}))
    result = practice(judged, learner, [offline], config, run, live=False, **more)
    agent.take_heads(learner)
    return result


def steady_agent(x: float, y: float, z: float) -> Learner:
    """An agent whose mean action is the hyperbolic tangent of this everywhere, and that hardly strays from it."""
    agent = make_agent(initial_std=0.06, std_range=(0.05, 1.0))
    last = agent.algorithm.get_submodule("policy.head.mean.2")
    for parameter, value in zip(last.parameters(), (torch.zeros(()), torch.tensor([x, y, z])), strict=True):
        parameter.data[:] = value
    return agent


def trials_of(run: Run) -> dict[tuple[str, int], Episode]:
    """Kind and number -> episode, of all that a run has recorded."""
    store = DiskStore.open(run.path / "trials")
    episodes = [store.episode(number) for number in range(len(store))]
    return {(episode.kind, episode.seed): episode for episode in episodes}


def true_success(agent: Learner, trials: int = 30, max_steps: int = 8) -> float:
    """Share of trials that the agent's mean policy really ends at home, for the tests alone."""
    robot, wins = ToyRobot(), 0
    for seed in range(trials):
        seen = robot.reset(10_000 + seed)
        for _ in range(max_steps):
            seen = robot.move(agent.act({"image": seen["image"][None]})[0])
            if robot.truth[-1]:
                break
        wins += robot.truth[-1]
    return wins / trials


def practise_in_a_child(data: Path, path: Path, config: SelfJudgedConfig, killed_after: float | None) -> None:
    """Goes on with the run at `path`, in a process that is killed after so many seconds of processor time.

    The seed of each trial is written to the file ``starts`` before the trial begins.
    """

    class Noted(ToyRobot):
        def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
            with open(path / "starts", "a") as file:
                file.write(f"{seed}\n")
            return super().reset(seed)

    if killed_after is not None:
        # The kernel ends a process at SIGPROF as at SIGKILL: nothing is caught, closed or flushed.
        signal.setitimer(signal.ITIMER_PROF, killed_after)
    practise(Noted(), ColourReward(), DiskStore.open(data), config, Run.open(path), resume=True)


class PointEnv(gym.Env):
    """A point in [-1, 1]^2 is to go to a goal; 0.2 a step, reached within 0.15. Beyond the edge it falls off: lost."""

    observation_space = gym.spaces.Dict(
        {name: gym.spaces.Box(-np.inf, np.inf, (2,), np.float32) for name in ("state", "goal", "achieved_goal")}
    )
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-0.8, 0.8, (2, 2)).astype(np.float32)
        return self._seen(), {"lost": False}

    def step(self, action: np.ndarray) -> Any:
        self.at = (self.at + 0.2 * np.asarray(action, np.float32)).astype(np.float32)
        lost = bool(np.abs(self.at).max() > 1)
        won = not lost and bool(reached(self.at, self.goal))
        return self._seen(), float(won), won or lost, False, {"lost": lost}

    def _seen(self) -> dict[str, np.ndarray]:
        return {"state": self.at, "goal": self.goal, "achieved_goal": self.at}


def reached(achieved: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(...) 1 where the goal is reached."""
    return (np.linalg.norm(achieved - goal, axis=-1) <= 0.15).astype(np.float32)


def make_td3(seed: int = 0, **settings: Any) -> Learner:
    """For `PointEnv`."""
    arrays = {name: Array((2,), "float32", -math.inf, math.inf) for name in ("state", "goal")}
    small = {"hidden": (32, 32), "critic_projection": 0, "critic_hidden": 32, "discount": 0.9, "ema": 0.05}
    small |= {"target_bounds": (0.0, 1.0), "lr": 3e-3}
    spec, front = Spec(arrays, (2,), 10.0, 15), Vector(("state", "goal"))
    return Learner(TD3, spec, front, TD3Config(**(small | settings)), 1, seed)


class DyingRobot(ToyRobot):
    """Its process dies in the course of its second trial."""

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        if self.resets == 2:
            os._exit(1)
        return super().move(action)


def toy_hand(config: SelfJudgedConfig, robot: type[ToyRobot] = ToyRobot) -> Hand:
    """One of a fleet, as `Bench.make` puts it together."""
    agent = make_agent()
    learner = agent.on_features(advantage_scale=config.advantage_scale, q_gradient_weight=config.q_gradient_weight)
    made = robot()
    return Hand(SelfJudged(made, agent, learner, ColourReward(), config, 0), learner, made.close)


def practise_at_once(
    starts: list[Any], prior: DiskStore, config: SelfJudgedConfig, run: Run, **more: Any
) -> PracticeResult:
    """As `practise`, on benches called a, b, ... of which each has a start, see `Elsewhere`."""
    agent = make_agent()
    features = prepare_features(prior, agent, FeatureConfig(transitions=400), live=False)
    learner = agent.on_features(advantage_scale=config.advantage_scale, q_gradient_weight=config.q_gradient_weight)
    offline = Source(features, 1 - config.online_fraction, columns={"imitate": imitated(features)})
    fleet = [Elsewhere(start, learner, Memory.empty(ColourReward.threshold, config)) for start in starts]
    return practice(fleet, learner, [offline], config, run, [*"abcdef"][: len(fleet)], **{"live": False, **more})
