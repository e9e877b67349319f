"""What a robot lives through: episodes as they are recorded, batches as they are learnt from (NumPy only).

The same for prior data, practice and evaluation, however many axes an action has and whatever an observation shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lotj.errors import NumericsError

SUCCESS = "success"
"""Note of an episode whose frames are labelled, (T+1,) bool: the task is accomplished in this frame. Where a
robot judges itself a success is absorbing: nothing that starts in one is learnt from, however long the episode is."""

INTERVENTION = "intervention"
"""Note of an episode, (T+1,) bool: the motion that led to this frame was a person's, who corrected the robot."""

Observation = Mapping[str, np.ndarray]
"""What is observed at a time: name -> array, e.g. ``image`` (V, H, W, 3) uint8 of V cameras."""

PRACTISED = -1
"""`Batch.task` of what is being practised; prior data count from 0."""


def batch_of_one(observation: Observation) -> Observation:
    """The arrays of a single observation with a leading axis of length 1, as networks read them."""
    return {name: values[None] for name, values in observation.items()}


INSERTION = "insertion/"
"""Beginning of the names of tasks in which a robot judges itself."""


@dataclass(frozen=True)
class Task:
    """Where episodes come from: one environment with everything that is fixed from episode to episode (a *domain*).

    Attributes:
        name: unique within a data set, e.g. ``usb-b.duo.0``; also the name of a folder.
        env: name of the environment, e.g. ``insertion/usb-b``.
        split: ``train``, ``validation`` or ``test``.
        attributes: what else tells it from others (JSON values), e.g. connector, family, robot, seed.
    """

    name: str
    env: str
    split: str = "train"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def self_judged(self) -> bool:
        """Whether the robot says itself what is a success, which then ends what counts of an episode. Elsewhere the
        environment rewards, and says what ends."""
        return self.env.startswith(INSERTION)


@dataclass(frozen=True, eq=False)
class Episode:
    """One finished episode of T steps, thus T+1 frames. What is observed is stored once: step t leads from frame t to
    frame t+1.

    Attributes:
        observation: name -> (T+1, ...), e.g. ``image`` (T+1, V, H, W, 3) uint8 of V cameras, ``state``, ``goal``.
        action: (T, A) float32, as the environment takes it.
        reward: (T,) float32, of the step that leads to the next frame.
        terminated: the last step ended the task: it was accomplished, or made impossible.
        truncated: the last step was cut off by a limit; its value goes on (the last frame still bootstraps).
        task: name of the `Task`.
        kind: how it came about, e.g. ``expert`` or ``practice``; each environment has its own.
        seed: of its start; with `kind` it names the episode within its task.
        notes: name -> (T+1, ...), what the robot itself knows of each frame, e.g. `SUCCESS`, ``score``.
        truth: name -> (T+1, ...), what only a simulator knows. In a file of its own, and in no batch unless named.
    """

    observation: Mapping[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminated: bool
    truncated: bool
    task: str
    kind: str
    seed: int
    notes: Mapping[str, np.ndarray] = field(default_factory=dict)
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = len(self.action)
        if self.action.ndim != 2 or self.reward.shape != (steps,):
            raise ValueError(f"actions {self.action.shape}, rewards {self.reward.shape}: must be (T, A) and (T,)")
        if not steps or not self.observation:
            raise ValueError(f"an episode of {steps} steps that observes {sorted(self.observation)}: at least one each")
        if self.terminated and self.truncated:
            raise ValueError("an episode is terminated or truncated, not both")
        for name, values in (*self.observation.items(), *self.notes.items(), *self.truth.items()):
            if len(values) != steps + 1:
                raise ValueError(f"{steps} actions need {steps + 1} frames of {name!r}, not {len(values)}")

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.action)


@dataclass
class Batch:
    """B transitions. Arrays are NumPy as a `Replay` gives them; the learner makes tensors of them.

    Attributes:
        observation, next_observation: name -> (B, ...).
        action, reward: (B, A) and (B,) float32.
        terminated: (B,) bool; only these cut the bootstrap.
        task: (B,) int64, which task of the prior data; `PRACTISED` for the one being practised.
        columns: name -> (B, ...), what an agent asks for besides: ``imitate``, ``demo``, ``weight``, ``position`` ...
    """

    observation: Mapping[str, Any]
    action: Any
    reward: Any
    terminated: Any
    next_observation: Mapping[str, Any]
    task: Any
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)


class Controller(Protocol):
    """What moves: a policy, which looks at the observation; an expert or a search, which may feel what `info` holds."""

    def reset(self, seed: int) -> None:
        """Start an episode; its random numbers come from `seed`."""

    def __call__(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        """The action, (A,) in [-1, 1]."""
        ...


_Notes = Mapping[str, Any] | None


class Recorder:
    """An episode as it grows, frame by frame. Arrays are copied: environments may reuse theirs.

    It begins with what is observed at the start, name -> (...), and the notes and truth of it, see `Episode`; every
    later frame must have the same names.
    """

    def __init__(self, observation: Mapping[str, Any], notes: _Notes = None, truth: _Notes = None) -> None:
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self._groups: tuple[list[dict[str, np.ndarray]], ...] = ([], [], [])
        self._take(observation, notes, truth)

    def __len__(self) -> int:
        """Number of steps so far."""
        return len(self.actions)

    @property
    def first(self) -> Mapping[str, np.ndarray]:
        """What was observed at the start."""
        return self._groups[0][0]

    @property
    def observation(self) -> Mapping[str, np.ndarray]:
        """What was observed last."""
        return self._groups[0][-1]

    def noted(self, name: str) -> np.ndarray:
        """(T+1, ...), one kind of note so far."""
        return np.stack([frame[name] for frame in self._groups[1]])

    def add(
        self, action: Any, reward: float, observation: Mapping[str, Any], notes: _Notes = None, truth: _Notes = None
    ) -> None:
        """Takes in a step: the (A,) action and what came of it."""
        self.actions.append(np.array(action, np.float32))
        self.rewards.append(float(reward))
        self._take(observation, notes, truth)

    def note(self, name: str, value: Any, frames: slice = slice(None)) -> None:
        """Writes a note over in some frames, all by default."""
        for frame in self._groups[1][frames]:
            frame[name] = np.asarray(value, frame[name].dtype)

    def finish(self, terminated: bool, truncated: bool, task: str, kind: str, seed: int) -> Episode:
        """The episode; it must have a step."""
        observation, notes, truth = (
            {name: np.stack([frame[name] for frame in group]) for name in group[0]} for group in self._groups
        )
        action, reward = np.stack(self.actions), np.array(self.rewards, np.float32)
        return Episode(observation, action, reward, terminated, truncated, task, kind, seed, notes, truth)

    def _take(self, *groups: _Notes) -> None:
        for frames, group in zip(self._groups, groups, strict=True):
            frames.append({name: np.array(values) for name, values in (group or {}).items()})


def rollout(
    env: Any,
    controller: Controller,
    seed: int,
    *,
    task: str,
    kind: str,
    max_steps: int,
    on_step: Callable[[Mapping[str, Any]], None] = lambda info: None,
) -> Episode:
    """One episode of a controller in a `gymnasium.Env` with a mapping as observation.

    Args:
        env, controller: who plays.
        seed: of the start, and of the controller's random numbers.
        task, kind, max_steps: of the episode, which is truncated there at the latest.
        on_step: told the info of the start and of each step.

    Raises:
        NumericsError: the controller gave an action that is not finite.
    """
    observation, info = env.reset(seed=seed)
    controller.reset(seed)
    on_step(info)
    recorder, terminated, truncated = Recorder(observation), False, False
    while not (terminated or truncated):
        action = np.asarray(controller(observation, info), np.float32)
        if not np.isfinite(action).all():
            where = f"{task} (seed {seed}, step {len(recorder)})"
            raise NumericsError(f"action {action.tolist()} of {where}: must be finite")
        observation, reward, terminated, truncated, info = env.step(action)
        on_step(info)
        recorder.add(action, reward, observation)
        truncated = not terminated and (truncated or len(recorder) >= max_steps)
    return recorder.finish(terminated, truncated, task, kind, seed)
