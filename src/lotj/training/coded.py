"""Prior data as the codes of a VQ-VAE, and tasks by subgoals (VAL, PTP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import gymnasium as gym
import numpy as np

from lotj.agents import Learner
from lotj.data.layout import Schema
from lotj.data.store import Store
from lotj.errors import DataError
from lotj.goals.codes import CodeEncoder
from lotj.goals.planner import Pursuit, Value
from lotj.goals.proposer import GoalProposer
from lotj.goals.reward import GoalReward
from lotj.training.imagined import READS, Imagined

OWN = "state"
"""What a robot knows of itself: pose of the hand, gap between its fingers."""

CHUNK = 512
"""Images that are read and encoded at once."""


class CodedStore(Store):
    """Prior data of which each frame is kept as the numbers of its codes, 288 bytes of an image of 48 pixels, looked up
    when it is drawn: observation ``code`` (D,), for ``goal`` the last of its episode and for ``context`` the first; and
    the robot's own ``state``, where the data have it.
    Nothing ends by success, and every reward is 0: it follows from the goal that is drawn.

    Args:
        of: with images.
        encoder: of these.
        numbers: where they are known already; else all images are encoded.

    Attributes:
        numbers: (F, h, w) uint16.
    """

    def __init__(self, of: Store, encoder: CodeEncoder, numbers: np.ndarray | None = None) -> None:
        self.tasks, self.kinds, self.episodes = of.tasks, of.kinds, of.episodes.copy()
        self.episodes["terminated"] = False
        code = np.dtype(("<f4", (encoder.size,)))
        own = {name: kind for name, kind in of.schema.observation.items() if name == OWN}
        self.schema = Schema(of.schema.action, {**dict.fromkeys(READS, code), **own}, {}, of.schema.truth)
        self._of, self._encoder = of, encoder
        if numbers is not None:
            if len(numbers) != of.n_frames:
                raise DataError(f"codes of {len(numbers)} frames for data of {of.n_frames}: they are not of these data")
            self.numbers = numbers
            return
        parts = [slice(first, first + CHUNK) for first in range(0, of.n_frames, CHUNK)]
        frames = np.arange(of.n_frames)
        images = (of.observe(frames[part], ["image"])["image"][:, 0] for part in parts)
        self.numbers = np.concatenate([encoder.numbers(encoder.encode(some)) for some in images])

    @property
    def firsts(self) -> np.ndarray:
        """(E, D) codes of the episodes' first frames."""
        return self._encoder.look_up(self.numbers[self.episodes["first_frame"].astype(np.int64)])

    def column(self, name: str) -> np.ndarray:
        """``action``, and ``reward``, which is 0."""
        column = self._of.column(name)
        return np.zeros_like(column) if name == "reward" else column

    def truth(self, name: str) -> np.ndarray:
        """As of the data that are seen."""
        return self._of.truth(name)

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        if name == OWN:
            return self._of.observe(frames, [OWN])[OWN]
        if name == "goal":
            frames = self.last_frames[self._episode(frames)]
        if name == "context":
            frames = self.episodes["first_frame"][self._episode(frames)]
        return self._encoder.look_up(self.numbers[frames])

    def _episode(self, frames: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.episodes["first_frame"], frames, "right") - 1


class Pursued(Imagined):
    """`Imagined` by subgoals: ``goal`` is the one that is pursued now; and `OWN`, where the task shows it.

    Args:
        env, encoder, proposer, reward: as there.
        pursuit: by which subgoals; None goes straight for the goal.
        told: `info` says ``is_success``, of the last step alone: for an evaluation. Practice is told nothing.
    """

    def __init__(
        self, env: gym.Env, encoder: Any, proposer: GoalProposer, reward: GoalReward, pursuit: Pursuit | None = None,
        told: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(env, encoder, proposer, reward)
        self._pursuit, self._told, self._fresh = pursuit, told, True
        boxes = dict(self.observation_space.spaces)  # type: ignore[attr-defined]
        boxes["context"] = gym.spaces.Box(-np.inf, np.inf, (encoder.size,))  # goals of prior data may go by it
        if OWN in (shown := cast(gym.spaces.Dict, env.observation_space).spaces):
            boxes[OWN] = shown[OWN]
            self._kept |= {OWN}
        self.observation_space = gym.spaces.Dict(boxes)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode, with a goal and a plan."""
        self._fresh = True
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Act."""
        seen, _, _, truncated, info = self.env.step(action)
        coded = self._coded(seen)
        reward = self._reward({"code": coded["code"][None]}, self.goal[None])
        told = {"is_success": bool(info["is_success"]) and truncated} if self._told else {}
        return coded, float(reward[0]), False, truncated, told

    @property
    def met(self) -> float:
        """Share of the subgoals left so far that were reached; NaN before there is one."""
        pursuit = self._pursuit
        return pursuit.met / pursuit.left if pursuit is not None and pursuit.left else float("nan")

    def _coded(self, seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        coded = super()._coded(seen)
        if self._pursuit is None:
            return coded
        if self._fresh:
            self._pursuit.begin(coded["code"], self.goal)
            self._fresh = False
        return {**coded, "goal": self._pursuit.goal(coded["code"])}


def value_of(learner: Learner) -> Value:
    """What a planner asks an agent that observes ``code`` and ``goal``."""
    return lambda states, goals: learner.value({"code": states, "goal": goals})
