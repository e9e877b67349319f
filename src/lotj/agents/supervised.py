"""What is learnt from labelled frames rather than from transitions, by the same `Learner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from lotj.experience import Batch
from lotj.nets.schedule import warmup_cosine
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Checked


@dataclass(frozen=True)
class SupervisedConfig(Checked):
    """How a model of labelled frames is trained."""

    hidden: Annotated[tuple[int, ...], COUNT] = (256,)
    """Hidden layers of the head."""
    steps: Annotated[int, COUNT] = 3000
    """Updates."""
    batch: Annotated[int, COUNT] = 128
    """Frames per update."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Learning rate of AdamW after the warm-up; falls to 0 along a cosine."""
    warmup: Annotated[int, NOT_NEGATIVE] = 100
    """Updates over which the learning rate rises from 0."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight decay of AdamW."""
    gradient_clip: ClassVar[float] = 10.0

    def learning_rate(self, step: int) -> float:
        """Of update `step`, from 0."""
        return warmup_cosine(step, self.steps, self.lr, self.warmup)


def labelled(images: np.ndarray, axes: int = 0, **given: Any) -> Batch:
    """B frames as a batch in which nothing follows.

    Args:
        images: (B, V, H, W, 3) uint8.
        axes: of the actions that the learner expects; they are 0.
        given: what else of a `Batch` is known.
    """
    rows = len(images)
    blank: dict[str, Any] = {"action": np.zeros((rows, axes), np.float32), "reward": np.zeros(rows, np.float32)}
    blank |= {"terminated": np.zeros(rows, bool), "task": np.zeros(rows, np.int64)}
    return Batch(observation={"image": images}, next_observation={}, **blank | given)
