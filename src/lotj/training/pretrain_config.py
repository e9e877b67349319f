"""Settings of the agents' pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lotj.nets.schedule import warmup_cosine
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Checked


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """How the agent is trained on prior data. Networks and losses are the agent's settings."""

    steps: Annotated[int, NOT_NEGATIVE] = 6000
    """Updates of the agent; 0 leaves its data to practice. Not a time: only a number of updates can be resumed exactly.
    """
    batch: Annotated[int, COUNT] = 128
    """Transitions in a batch."""
    policy_kinds: tuple[str, ...] | None = ("expert", "recover")
    """Kinds of episodes that the policy imitates, None for all; the critics learn from all. Where a plug is held half
    inserted or withdrawn, or pressed beside the socket, most actions are not worth imitating, and with a small
    advantage scale they would be."""
    policy_share: Annotated[float | None, POSITIVE, SHARE] = 0.6
    """Share of these kinds in a batch, where the data hold others too; None draws all transitions evenly. The near
    misses' episodes are long: evenly, a third of a batch would be left for the policy."""
    aside_share: Annotated[float | None, POSITIVE, SHARE] = 0.65
    """Share of the policy's rows in which the plug is more than 2 mm beside the socket's axis; None leaves it as in the
    data (about a third), and so does a `policy_share` of None. A policy that cannot tell does what is most frequent,
    and nearer that is to go down."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Largest learning rate (IQL: 3e-4, for a million updates)."""
    warmup: Annotated[int, NOT_NEGATIVE] = 100
    """Updates over which the learning rate rises from 0."""
    cosine: bool = True
    """Let the learning rate fall to 0 along a cosine; otherwise it stays."""
    log_every: Annotated[int, COUNT] = 50
    """Updates whose mean makes one line of metrics."""
    save_minutes: Annotated[float, NOT_NEGATIVE] = 0.5
    """Time between checkpoints [min], each at the next line of metrics; a kill loses what came after the last one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy_kinds == ():
            self._refuse("policy_kinds", "must name a kind; None imitates all")

    def learning_rate(self, step: int) -> float:
        """Learning rate of update `step` (from 0)."""
        if self.cosine:
            return warmup_cosine(step, self.steps, self.lr, self.warmup)
        return self.lr * min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 2)))
