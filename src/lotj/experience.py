"""What a robot lives through: episodes as they are recorded, batches as they are learnt from (NumPy only).

The same for prior data, practice and evaluation, whatever the task. Nothing here knows how many axes an action has or
what an observation shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SUCCESS = "success"
"""Note of an episode whose frames are labelled, (T+1,) bool: the task is accomplished in this frame. A success is
absorbing: nothing that starts in one is learnt from, however long the episode was recorded."""

PRACTISED = -1
"""`Batch.task` of what is being practised; prior data count from 0."""


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
        for group in (self.observation, self.notes, self.truth):
            for name, values in group.items():
                if len(values) != steps + 1:
                    raise ValueError(f"{steps} actions need {steps + 1} frames of {name!r}, not {len(values)}")

    def __len__(self) -> int:
        """Number of steps T."""
        return len(self.action)


@dataclass
class Batch:
    """B transitions. Arrays are NumPy as a `Replay` gives them; the learner makes tensors of them.

    Attributes:
        observation: name -> (B, ...).
        action: (B, A) float32.
        reward: (B,) float32.
        terminated: (B,) bool; only these cut the bootstrap.
        next_observation: name -> (B, ...).
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
