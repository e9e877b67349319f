"""One-step offline reinforcement learning (Brandfonbrener et al. 2021): the behaviour policy's Q is evaluated, and
improved upon once, by weighted imitation. It is IQL with the expectile at 0.5.

There V is the mean of Q over the data's actions. SARSA from the next one has the same fixed point, but takes one draw,
has none where an episode was cut off, and the weights need V anyway. One critic is enough, for nothing is maximised.
The policy never enters the critics, so learning it beside them ends where learning it afterwards does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lotj.agents.iql import IQL, IQLConfig
from lotj.ranges import COUNT, INSIDE


@dataclass(frozen=True)
class OneStepConfig(IQLConfig):
    """Settings of one-step reinforcement learning: those of IQL."""

    own = frozenset({"critics", "expectile"})
    critics: Annotated[int, COUNT] = 1
    """Number of Q functions; of their values the lowest counts."""
    expectile: Annotated[float, INSIDE] = 0.5
    """The mean."""


class OneStep(IQL):
    """Attributes: those of IQL."""

    CONFIG = OneStepConfig
