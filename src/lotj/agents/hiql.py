"""Hierarchical implicit Q-learning (HIQL, Park et al. 2023): of one value of goals two policies are made, one that says
where to be some steps from now, and one that goes there.

V is learnt by an expectile from states alone, without Q. Where to be is said by the unit vector that V itself reads of
a goal, seen from here; so the upper policy proposes few numbers, however many a goal has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, CriticConfig, GaussianConfig, Losses
from lotj.errors import SettingsError
from lotj.experience import Batch
from lotj.nets.front import Front, Seen, Vector
from lotj.nets.heads import mlp
from lotj.ranges import COUNT, INSIDE, POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class HIQLConfig(GaussianConfig, CriticConfig):
    """Settings of HIQL; expectile, scale, steps and sizes as OGBench (Park et al. 2025) has them."""

    own = frozenset({"advantage_scale", "expectile"})
    waypoint_steps: Annotated[int, COUNT] = 25
    """k: the upper policy says where to be after so many steps."""
    expectile: Annotated[float, INSIDE] = 0.7
    """tau of V."""
    advantage_scale: Annotated[float, POSITIVE] = 3.0
    """Multiplies both policies' advantages in the exponent."""
    weight_clip: Annotated[float, POSITIVE] = 100.0
    """Largest weight."""
    representation: Annotated[int, COUNT] = 10
    """Numbers of the vector that stands for a goal."""


class GoalValues(nn.Module):
    """V(s, g) as an ensemble that reads s and a unit vector, made of s and g."""

    def __init__(self, spec: Spec, state: Front, goal: Front, config: HIQLConfig) -> None:
        super().__init__()
        self.state, self.goal = state.encoder(spec, "value"), goal.encoder(spec, "value-goal")
        hidden = (config.critic_hidden,) * 2
        self.read = mlp(self.state.size + self.goal.size, hidden, config.representation)
        self.head = config.ensemble(self.state.size + config.representation, 0, config.critics)

    def represent(self, seen: Seen) -> Tensor:
        """(B, R) of length 1: what stands for the goal."""
        return F.normalize(self.read(torch.cat([self.state(seen), self.goal(seen)], 1)), dim=1)

    def judge(self, seen: Seen, mark: Tensor) -> Tensor:
        """(E, B) values for goals that (B, R) stands for."""
        return self.head(torch.cat([self.state(seen), _scaled(mark)], 1))

    def forward(self, seen: Seen) -> Tensor:
        """(E, B) values."""
        return self.judge(seen, self.represent(seen))


class Actor(nn.Module):
    """A Gaussian on a state and a vector beside it."""

    def __init__(self, spec: Spec, front: Front, role: str, beside: int, config: HIQLConfig, outputs: int) -> None:
        super().__init__()
        self.state = front.encoder(spec, role)
        self.head = config.gaussian(self.state.size + beside, outputs)

    def forward(self, seen: Seen, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean (B, outputs) and log standard deviation (outputs,)."""
        state = self.state(seen)
        return self.head(state if beside is None else torch.cat([state, beside], 1))


class HIQL(Algorithm):
    """Attributes:
    values: V.
    policy: goes to where `upper` says; `upper` reads state and goal.
    """

    CONFIG = HIQLConfig
    trained = {"values": ("v",), "policy": ("policy",), "upper": ("upper",)}
    followed = ("values",)
    requires = frozenset({"waypoint"})
    offline = True

    def __init__(self, spec: Spec, front: Front, config: HIQLConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        shapes = {name: spec.observation[name].shape for name in ("code", "goal") if name in spec.observation}
        alike = len(shapes) == 2 and shapes["code"] == shapes["goal"]
        if not isinstance(front, Vector) or not {"code", "goal"} <= {*front.names} or not alike:
            raise SettingsError(f"agent hiql: observes code and goal of one shape, as goal pictures have; not {shapes}")
        state = replace(front, names=tuple(name for name in front.names if name != "goal"))
        self.values = GoalValues(spec, state, replace(front, names=("goal",)), config)
        self.policy = Actor(spec, state, "policy", config.representation, config, self.axes)
        self.upper = Actor(spec, front, "upper", 0, config, config.representation)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``v``, ``policy`` and ``upper``, on all rows."""
        config, slow, now, then = self.config, target["values"], batch.observation, batch.next_observation
        there = batch.columns["waypoint"]
        value = self.values(now)
        with torch.no_grad():
            goal = losses.td_target(batch, slow(then), config.discount, config.target_bounds)  # (E, B), of each its own
            upward = torch.where(goal.amin(0) < slow(now).mean(0), 1.0 - config.expectile, config.expectile)
            towards, onwards = ({**seen, "goal": there} for seen in (now, then))  # the lower policy's goal
            wanted = self.values.represent(towards)
            here, next_ = self.values.judge(towards, wanted).mean(0), self.values(onwards).mean(0)
            ahead = self.values({**now, "code": there}).mean(0) - value.mean(0)
        weight, high = (
            losses.advantage_weights(gain, config.advantage_scale, config.weight_clip) for gain in (next_ - here, ahead)
        )
        terms = {"v": (upward * (goal - value).square()).mean(1).sum(0)}
        (mean, log_std), (wish, wish_std) = self.policy(now, _scaled(wanted)), self.upper(now)
        terms["policy"], numbers = losses.imitation(mean, log_std, batch.action, weight)
        terms["upper"], more = losses.imitation(wish, wish_std, wanted, high)
        numbers |= {f"upper_{name}": number for name, number in more.items()}
        numbers |= {"v_mean": value.mean(), "target_mean": goal.mean(), "advantage_mean": (next_ - here).mean()}
        return terms, numbers

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """Towards the mean of what the upper policy says."""
        mean, log_std = self.policy(observation, _scaled(F.normalize(self.upper(observation)[0], dim=1)))
        return mean, log_std.exp()

    def value(self, observation: Seen) -> Tensor:
        return self.values(observation).amin(0)


def _scaled(vector: Tensor) -> Tensor:
    """Of length 1 (B, R), with entries of about 1, as networks read it."""
    return vector * math.sqrt(vector.shape[1])
