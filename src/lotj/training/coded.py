"""Prior data and tasks as an encoder sees them: codes in place of images, and goals that are codes, too. The learner
sees nothing else: rewards are distances of codes, and what the simulator says of success stays outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch

from lotj.agents import Learner
from lotj.data.layout import Schema
from lotj.data.replay import Relabel, Segment
from lotj.data.store import Store
from lotj.errors import NumericsError
from lotj.experience import Batch
from lotj.goals.codes import CodeEncoder
from lotj.goals.encoder import Encoder
from lotj.goals.planner import Pursuit, Value
from lotj.goals.proposer import GoalProposer
from lotj.goals.reward import GoalReward
from lotj.goals.sparse import SparseReward
from lotj.ranges import SHARE, Checked

CHUNK = 512
"""Images that are read and encoded at once."""


class CodedStore(Store):
    """Prior data of which each frame is kept as the numbers of its codes, 288 bytes of an image of 48 pixels, looked up
    when it is drawn: observation ``code`` (D,), and for ``goal`` the last of its episode. Nothing ends by success.

    Attributes:
        numbers: (F, h, w) uint16.
    """

    def __init__(self, of: Store, encoder: CodeEncoder) -> None:
        self.tasks, self.kinds, self.episodes = of.tasks, of.kinds, of.episodes.copy()
        self.episodes["terminated"] = False
        code = np.dtype(("<f4", (encoder.size,)))
        self.schema = Schema(of.schema.action, {"code": code, "goal": code}, {}, of.schema.truth)
        self._of, self._encoder = of, encoder
        self.numbers = np.concatenate([encoder.numbers(images) for images in images_of(of)])

    def column(self, name: str) -> np.ndarray:
        """``action`` and ``reward``."""
        return self._of.column(name)

    def truth(self, name: str) -> np.ndarray:
        """As of the data that are seen."""
        return self._of.truth(name)

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        if name == "goal":
            frames = self.last_frames[self.frame_episode[frames]]
        return self._encoder.look_up(self.numbers[frames])


def images_of(store: Store, chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """All frames of a store's first camera, (B, H, W, 3) uint8 at a time."""
    for first in range(0, store.n_frames, chunk):
        yield store.observe(np.arange(first, min(first + chunk, store.n_frames)), ["image"])["image"][:, 0]


@dataclass(frozen=True)
class Fractions(Checked):
    """Where the goals of a batch's rows come from; they add up to 1. VAL's text has 0.2, 0, 0.4, 0.4; PTP's code,
    offline, 0, 0.1, 0.9, 0."""

    keep: Annotated[float, SHARE] = 0.2
    """The goal pursued; in prior data the last frame."""
    next: Annotated[float, SHARE] = 0.0
    """The next frame, which is always reached."""
    future: Annotated[float, SHARE] = 0.4
    """Any later frame of the episode, evenly."""
    proposed: Annotated[float, SHARE] = 0.4
    """A goal proposed for the episode's own scene."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(sum(self.all) - 1.0) > 1e-9:
            self._refuse("keep", f"fractions {self.all} must add up to 1")

    @property
    def all(self) -> tuple[float, ...]:
        """In their order."""
        return self.keep, self.next, self.future, self.proposed


def regoaled(fractions: Fractions, reward: GoalReward, proposer: GoalProposer | None = None) -> Relabel:
    """Relabelling of transitions with observations ``code`` and ``goal``: each row draws where its goal comes from, and
    its reward follows from that and the code it leads to. Nothing ends, for a goal that is reached can be left."""
    if fractions.proposed and proposer is None:
        raise ValueError("regoaled: proposed goals need a proposer")

    def relabel(segment: Segment, rng: np.random.Generator) -> Batch:
        batch, store, count = segment.batch, segment.store, len(segment.frame)
        source = rng.choice(4, size=count, p=fractions.all)
        goal = np.array(batch.observation["goal"], np.float32)
        ahead = np.where(source == 1, 1, 1 + rng.integers(segment.last - segment.frame))
        seen = (source == 1) | (source == 2)
        goal[seen] = store.observe((segment.frame + ahead)[seen], ["code"])["code"]
        rows = np.flatnonzero(source == 3)
        if len(rows) and proposer is not None:
            episode = np.searchsorted(store.episodes["first_frame"], segment.frame[rows], "right") - 1
            numbers, place = np.unique(episode, return_inverse=True)
            contexts = store.observe(store.episodes["first_frame"][numbers].astype(np.int64), ["code"])["code"]
            for number, context in enumerate(contexts):
                chosen = rows[place == number]
                goal[chosen] = proposer.propose(context, len(chosen), rng)
        gained = reward({"code": batch.next_observation["code"]}, goal)
        observed = ({**batch.observation, "goal": goal}, {**batch.next_observation, "goal": goal})
        ended = np.zeros(count, bool)
        return replace(batch, observation=observed[0], next_observation=observed[1], reward=gained, terminated=ended)

    relabel.reads = ("code", "goal")  # type: ignore[attr-defined]
    return relabel


class CodedTask(gym.Wrapper):
    """A task that shows ``code`` and ``goal`` (D,) float32, and for a reward 1 in the step in which the final goal is
    first within eps. Its time limit alone ends an episode.

    Args:
        env: observes ``image`` (1, H, W, 3) and, where it is tried, the picture ``goal``.
        encoder, reward: of codes.
        proposer: says the goal of each episode; None takes the task's own picture.
        pursuit: by which subgoals; None goes straight for the goal.
        told: `info` says ``is_success``, of the last step alone, for an evaluation. Practice is told nothing.

    Attributes:
        final: code of the running episode's goal.
    """

    def __init__(
        self, env: gym.Env, encoder: Encoder, reward: SparseReward, proposer: GoalProposer | None = None,
        pursuit: Pursuit | None = None, told: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(env)
        self._encoder, self._reward, self._told = encoder, reward, told
        self._proposer, self._pursuit = proposer, pursuit
        box = gym.spaces.Box(-np.inf, np.inf, (encoder.size,), np.float32)
        self.observation_space = gym.spaces.Dict({"code": box, "goal": box})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode, with a goal and a plan."""
        observation, _ = self.env.reset(seed=seed, options=options)
        first = observation["image"][:1]
        self._rng = np.random.default_rng(seed)
        code = self._encoder.encode(first)[0]
        if self._proposer is None:
            self.final = self._encoder.encode(observation["goal"][:1])[0]
        else:
            self.final = self._proposer.propose(self._encoder.context(first)[0], 1, self._rng)[0]
        if self._pursuit is not None:
            self._pursuit.begin(code, self.final)
        self._reached = False
        return self._seen(code), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act."""
        observation, _, terminated, truncated, info = self.env.step(action)
        code = self._encoder.encode(observation["image"][:1])[0]
        there = bool(self._reward({"code": code[None]}, self.final[None])[0] == 0)
        gained, self._reached = float(there and not self._reached), self._reached or there
        truncated = truncated or terminated
        told = {"is_success": bool(info["is_success"]) and truncated} if self._told else {}
        return self._seen(code), gained, False, truncated, told

    def _seen(self, code: np.ndarray) -> dict[str, np.ndarray]:
        return {"code": code, "goal": self.final if self._pursuit is None else self._pursuit.goal(code)}


def value_of(learner: Learner) -> Value:
    """What a planner asks an agent that observes ``code`` and ``goal``."""
    return lambda states, goals: learner.value({"code": states, "goal": goals})


def fit(model: Any, draw: Any, steps: int, lr: float, seed: int, clip: float = 1.0) -> Mapping[str, float]:
    """Trains a model of `lotj.nets` that has `losses`, with Adam and gradients of norm at most `clip`.

    Args:
        model: changed in place, in evaluation mode afterwards.
        draw: random numbers -> what `losses` is called with.
        steps, lr: updates, and their rate, which falls to 0 along a cosine.
        seed: of all that is drawn.

    Returns:
        Means of the losses over the last tenth.

    Raises:
        NumericsError: a loss is not finite.
    """
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    told: dict[str, list[float]] = {}
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            losses = model.losses(*draw(rng))
            loss = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(loss):
                raise NumericsError(f"loss of update {step} is {loss.item()}; lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimiser.step()
            schedule.step()
            if step >= 0.9 * steps:
                for name, value in losses.items():
                    told.setdefault(name, []).append(value.item())
    model.eval()
    return {name: float(np.mean(values)) for name, values in told.items()}
