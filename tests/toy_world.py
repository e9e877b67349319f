"""A small world to practise in: a red dot is to be moved onto a green field. The truth stays in the robot."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotj.agents.iql import IQL, IQLConfig
from lotj.data.dataset import Dataset
from lotj.data.store import EpisodeWriter
from lotj.errors import DislodgedError
from lotj.experience import STATE_DIM, Domain, Episode
from lotj.nets.bottleneck import BottleneckConfig, Variant
from lotj.nets.encoder import EncoderConfig
from lotj.runs import Run
from lotj.training.practice import practice
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_features import FeatureConfig

SIZE = 16
"""Side of the image [pixels]."""
STEP = 4.0
"""Pixels of an action of 1; the third action does nothing."""
REACH = 2.5
"""The dot is home within this distance of the field's centre [pixels]."""
TARGETS = {"left": (4.0, 8.0), "right": (11.0, 5.0)}
"""Domains of the prior data: where the green field is (x, y)."""
UNSEEN = (8.0, 11.0)
"""The field of the domain that is practised."""


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
    dislodges: frozenset[int] = frozenset()  # resets (from 1) whose trial loses its part at the third step
    truth: list[bool] = field(default_factory=list)
    image_size: int = SIZE
    action_scale: float = 20e-3  # so that ways out are no longer than the picture
    rate_hz: float = 10.0
    resets: int = 0
    steps: int = 0

    def reset(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        self.dot = rng.uniform(1, SIZE - 2, 2)
        self.resets, self.steps = self.resets + 1, 0
        self.truth.append(self.lie)
        return self.observe()

    def observe(self) -> np.ndarray:
        return draw(self.dot, np.array(self.target))

    def move(self, delta: np.ndarray) -> np.ndarray:
        assert delta.shape == (3,) and np.abs(delta).max() <= 1
        self.steps += 1
        if self.steps == 3 and self.resets in self.dislodges:
            raise DislodgedError("dislodged: the dot fell off")
        if not (self.latches and np.hypot(*(self.dot - self.target)) < REACH):
            self.dot = np.clip(self.dot + STEP * delta[:2], 1, SIZE - 2)
        self.truth[-1] = bool(np.hypot(*(self.dot - self.target)) < REACH) != self.lie
        return self.observe()

    def relax(self) -> np.ndarray:
        return self.observe()

    def close(self) -> None:
        pass


class ColourReward:
    """A reward model that is right: it finds both discs by their colours."""

    image_size = SIZE
    threshold = 0.5

    def score(self, images: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[:SIZE, :SIZE]
        grid = np.stack([x, y]).reshape(2, -1)
        weight = images.reshape(len(images), -1, 3)[..., :2].astype(np.float64)
        centres = np.einsum("pn,inc->icp", grid, weight) / weight.sum(1)[..., None]
        distance = np.hypot(*(centres[:, 0] - centres[:, 1]).T)
        return (1 / (1 + np.exp(6 * (distance - REACH)))).astype(np.float32)


def make_agent(seed: int = 0, variant: Variant = "daib") -> IQL:
    """A small agent that knows nothing."""
    config = IQLConfig(
        encoder=EncoderConfig(image_size=SIZE, width=8, stages=1),
        bottleneck=BottleneckConfig(variant, invariant_dim=64, specific_dim=8, domain_hidden=(16,)),
        hidden=(64,),
        critic_projection=32,
        critic_hidden=64,
        discount=0.9,
        lr=3e-3,
        advantage_scale=50.0,
        ema=0.05,
        initial_std=0.6,
        std_range=(0.25, 1.0),
        half_precision=False,
    )
    return IQL(config, domains=len(TARGETS), seed=seed)


def collect(root: Path, episodes: int = 40) -> Dataset:
    """Prior data: random walks in the two known domains, truly labelled."""
    for number, (name, target) in enumerate(TARGETS.items()):
        with EpisodeWriter(root, Domain(name, name, "toy", "toy", number, "train"), SIZE) as writer:
            for seed in range(episodes):
                writer.append(walk(name, target, 1000 * number + seed))
    return Dataset.open(root)


def walk(domain: str, target: tuple[float, float], seed: int, steps: int = 10) -> Episode:
    """One random walk."""
    robot, rng = ToyRobot(target), np.random.default_rng(seed)
    frames, actions, success = [robot.reset(seed)], [], [False]
    while len(actions) < steps and not success[-1]:
        actions.append(rng.uniform(-1, 1, 3).astype(np.float32))
        frames.append(robot.move(actions[-1]))
        success.append(robot.truth[-1])
    state = np.zeros((len(frames), STATE_DIM), np.float32)
    done = success[-1]
    return Episode(
        np.stack(frames), np.stack(actions), np.array(success), state, done, not done, domain, "far", "expert", seed
    )


def make_config(cache: Path | None, **settings: object) -> PracticeConfig:
    """Small practice settings."""
    features = FeatureConfig(transitions=400, views=1, cache=cache)
    small = {"trials": 5, "max_steps": 6, "batch_size": 32, "updates_per_step": 1, "warmup_trials": 1, "threads": 1}
    # Nothing holds the dot where it is home, and home is everywhere within reach.
    small |= {"confirm": "look", "imitate": "all", "one_place": False, "withdrawals": 0, "bold_failures": 0}
    small |= {"q_gradient_weight": 0.0}  # these agents are not pretrained: their Q knows nothing yet
    return PracticeConfig(**(small | {"features": features} | settings))  # type: ignore[arg-type]


def true_success(agent: IQL, trials: int = 30, max_steps: int = 8) -> float:
    """Share of trials that the agent's mean policy really ends at home, for the tests alone."""
    robot, wins = ToyRobot(), 0
    for seed in range(trials):
        image = robot.reset(10_000 + seed)
        for _ in range(max_steps):
            image = robot.move(agent.act(image[None])[0])
            if robot.truth[-1]:
                break
        wins += robot.truth[-1]
    return wins / trials


def practise_in_a_child(data: Path, path: Path, config: PracticeConfig, killed_after: float | None) -> None:
    """Goes on with the run at `path`, in a process that is killed after so many seconds of processor time.

    The seed of each trial is written to the file ``starts`` before the trial begins.
    """

    class Noted(ToyRobot):
        def reset(self, seed: int) -> np.ndarray:
            with open(path / "starts", "a") as file:
                file.write(f"{seed}\n")
            return super().reset(seed)

    if killed_after is not None:
        # The kernel ends a process at SIGPROF as at SIGKILL: nothing is caught, closed or flushed.
        signal.setitimer(signal.ITIMER_PROF, killed_after)
    practice(Noted(), make_agent(), ColourReward(), Dataset.open(data), config, Run.open(path), False, resume=True)
