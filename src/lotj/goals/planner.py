"""Plans of subgoals (PTP, Fang et al. 2022): sequences of latents are decoded to states, judged by where they end and
what the value function says of each step, and refined by model predictive path integral control (MPPI), one level of
time after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Checked

Value = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(B, D) states and (B, D) goals -> (B,) V(s, g), float32."""


class Planner(Protocol):
    """Says by which states a goal is to be reached."""

    def plan(self, h: np.ndarray, h_goal: np.ndarray, value: Value) -> np.ndarray:
        """(K, D) subgoals from state `h` (D,), of which the last is `h_goal` (D,)."""
        ...


class Generator(Protocol):
    """What may come, of so many contexts.

    Attributes:
        latent: Z.
    """

    latent: int

    def __call__(self, contexts: tuple[Tensor, ...], z: Tensor) -> Tensor:
        """(B, D) states of contexts (B, D) and z (B, Z)."""
        ...


@dataclass(frozen=True)
class PlanConfig(Checked):
    """Settings of planning. The defaults are the authors' code, but for `samples`: 1024 there."""

    samples: Annotated[int, COUNT] = 64
    """N, sequences of latents looked at in each iteration; one level of one gap."""
    noise: Annotated[tuple[float, ...], NOT_NEGATIVE] = (1.0, 0.5, 0.2, 0.1, 0.1)
    """Deviation of the latents around their weighted mean, in each iteration after the first draw."""
    temperature: Annotated[float, POSITIVE] = 0.1
    """Of the weights exp(-(c - min c) / temperature)."""
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.001
    """w_V: of V(s_i, s_i+1), summed over the steps. Value is at most 0 and lowers the cost (equation 52 is printed with
    the other sign, which would favour what cannot be reached)."""
    prior_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """w_p: of ||z||^2, summed over the steps."""
    buffer: Annotated[int, NOT_NEGATIVE] = 0
    """Chosen latents that each level remembers; 0 remembers none, PTP 1000. It presumes that one task is repeated."""
    buffer_share: Annotated[float, SHARE] = 0.5
    """Share of the first draws that are taken from there."""
    buffer_after: Annotated[int, NOT_NEGATIVE] = 32
    """Plans before it is used."""
    buffer_skip: Annotated[float, SHARE] = 0.1
    """Chance that a plan does without."""


@dataclass(frozen=True)
class Chain:
    """Goes from a start to a goal by `count` states, each generated from the one before; the last is meant to be the
    goal, and is replaced by it."""

    generator: Generator
    count: int = 2

    @property
    def drawn(self) -> int:
        """Latents of a sequence."""
        return self.count

    def unroll(self, start: Tensor, goal: Tensor, z: Tensor) -> Tensor:
        """(B, count, D) of (B, D), (B, D) and (B, drawn, Z)."""
        states = [start]
        for step in range(self.count):
            states.append(self.generator((states[-1],), z[:, step]))
        return torch.stack(states[1:], 1)


@dataclass(frozen=True)
class Unconditional:
    """By `count` - 1 states that are possible anywhere, then the goal (LEAP, Nasiriany et al. 2019)."""

    generator: Generator
    count: int = 8

    @property
    def drawn(self) -> int:
        """Latents of a sequence."""
        return self.count - 1

    def unroll(self, start: Tensor, goal: Tensor, z: Tensor) -> Tensor:
        """As of `Chain`."""
        made = self.generator((), z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return torch.cat([made, goal[:, None]], 1)


@dataclass(frozen=True)
class Midpoint:
    """By a state half way, generated from start and goal, then the goal (GCP, Pertsch et al. 2020)."""

    generator: Generator
    drawn: int = 1
    count: int = 2

    def unroll(self, start: Tensor, goal: Tensor, z: Tensor) -> Tensor:
        """As of `Chain`."""
        return torch.stack([self.generator((start, goal), z[:, 0]), goal], 1)


Step = Chain | Unconditional | Midpoint


class SubgoalPlanner:
    """Plans level by level: the gaps that one level leaves are each planned anew by the next, all at once. Without
    levels the goal alone is the plan; one level is flat; PTP has three of two states each, 60, 30 and 15 steps apart,
    of eight states together.

    Its cost is c = ||s_g - s_K|| - w_V sum_i V(s_i, s_i+1) + w_p sum_i ||z_i||^2, of a level's states s_1 ... s_K, with
    s_0 where the gap begins and s_g where it ends.

    Args:
        levels: from coarse to fine.
        config: settings.
        rng: of all draws.

    Attributes:
        memory: of each level the latents (drawn, Z) chosen so far, at most `PlanConfig.buffer`.
        cost: of the last plan, the sum over the gaps of each level, (L,).
    """

    def __init__(self, levels: Sequence[Step], config: PlanConfig, rng: np.random.Generator) -> None:
        self.levels, self.config, self._rng = tuple(levels), config, rng
        self.memory: list[deque[np.ndarray]] = [deque(maxlen=config.buffer) for _ in levels]
        self.plans, self.cost = 0, np.zeros(len(self.levels))

    def state(self) -> dict[str, Any]:
        """All that further plans depend on, copied."""
        memory = [[torch.from_numpy(z) for z in chosen] for chosen in self.memory]
        return {"plans": self.plans, "memory": memory, "draws": self._rng.bit_generator.state}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`."""
        self.plans, self._rng.bit_generator.state = state["plans"], state["draws"]
        for chosen, known in zip(self.memory, state["memory"], strict=True):
            chosen.clear()
            chosen.extend(z.numpy() for z in known)

    @torch.no_grad()
    def plan(self, h: np.ndarray, h_goal: np.ndarray, value: Value) -> np.ndarray:
        """See `Planner`."""
        goal = torch.as_tensor(h_goal, dtype=torch.float32)
        begins, ends = torch.as_tensor(h, dtype=torch.float32)[None], goal[None]
        for number in range(len(self.levels)):
            z, states, cost = self._search(number, begins, ends, value)
            self.memory[number].extend(z.numpy())
            self.cost[number] = float(cost.sum())
            states[:, -1] = ends
            begins = torch.cat([begins[:, None], states[:, :-1]], 1).flatten(0, 1)
            ends = states.flatten(0, 1)
        self.plans += 1
        return ends.numpy()

    def _search(self, number: int, start: Tensor, goal: Tensor, value: Value) -> tuple[Tensor, Tensor, Tensor]:
        """The best latents (G, drawn, Z) found for G gaps of a level, their states (G, K, D), and costs (G,)."""
        level, config = self.levels[number], self.config
        gaps, each = len(start), torch.arange(len(start))
        shape = gaps, config.samples, level.drawn, level.generator.latent
        z = self._draw(number, shape)
        best_z, best, least = z[:, 0], start[:, None], torch.full((gaps,), torch.inf)
        for noise in (*config.noise, None):
            states, cost = self._cost(level, start, goal, z, value)
            lowest, place = cost.min(1)
            better = lowest < least
            least = torch.where(better, lowest, least)
            best_z = torch.where(better[:, None, None], z[each, place], best_z)
            best = torch.where(better[:, None, None], states[each, place], best)
            if noise is None:
                break
            weight = torch.softmax((lowest[:, None] - cost) / config.temperature, 1)
            mean = (weight[:, :, None, None] * z).sum(1, keepdim=True)
            z = mean + noise * self._normal(shape)
            z[:, 0] = mean[:, 0]
        return best_z, best, least

    def _cost(self, level: Step, start: Tensor, goal: Tensor, z: Tensor, value: Value) -> tuple[Tensor, Tensor]:
        """States (G, N, K, D) and costs (G, N) of latents (G, N, drawn, Z)."""
        gaps, samples = z.shape[:2]
        begin, end = (of.repeat_interleave(samples, 0) for of in (start, goal))
        states = level.unroll(begin, end, z.flatten(0, 1)).cpu()
        cost = (states[:, -1] - end).norm(dim=1) + self.config.prior_weight * z.square().sum((2, 3)).flatten()
        if self.config.value_weight:
            before = torch.cat([begin[:, None], states[:, :-1]], 1)
            worth = value(before.flatten(0, 1).numpy(), states.flatten(0, 1).numpy())
            cost = cost - self.config.value_weight * torch.as_tensor(worth).view(len(states), -1).sum(1)
        return states.unflatten(0, (gaps, samples)), cost.view(gaps, samples)

    def _draw(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """First latents (G, N, drawn, Z): from N(0, I), some of them remembered."""
        z, config, known = self._normal(shape), self.config, self.memory[number]
        if known and self.plans >= config.buffer_after and self._rng.random() >= config.buffer_skip:
            count = round(config.buffer_share * config.samples)
            chosen = self._rng.integers(len(known), size=(shape[0], count))
            z[:, :count] = torch.from_numpy(np.stack(known)[chosen])
        return z

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(self._rng.standard_normal(shape, np.float32))


class Pursuit:
    """Which subgoal is pursued now: the next one as soon as this is within `eps`, or its time is up; the last to the
    end. One plan an episode.

    Args:
        planner: of the subgoals.
        value: what it asks.
        eps: distance within which a subgoal is reached.
        patience: steps for each but the last; PTP has 30.

    Attributes:
        subgoals: the plan, (K, D).
        current: number of the one pursued.
        reached: of each that was left in this episode, whether it was within `eps` then.
        left, met: how many were left, and within `eps`, in all episodes.
    """

    def __init__(self, planner: Planner, value: Value, eps: float, patience: int = 30) -> None:
        POSITIVE.check("pursuit eps", eps)
        COUNT.check("pursuit patience", patience)
        self._planner, self._value, self.eps, self.patience = planner, value, eps, patience
        self.left = self.met = 0

    def begin(self, h: np.ndarray, h_goal: np.ndarray) -> None:
        """Plan from the first state (D,) of an episode to its goal (D,)."""
        self.subgoals = self._planner.plan(h, h_goal, self._value)
        self.current, self._since, self.reached = 0, 0, list[bool]()

    def goal(self, h: np.ndarray) -> np.ndarray:
        """(D,), what to pursue in state `h` (D,); to be asked once a step."""
        while self.current + 1 < len(self.subgoals):
            there = bool(np.linalg.norm(h - self.subgoals[self.current]) <= self.eps)
            if not there and self._since < self.patience:
                break
            self.reached.append(there)
            self.left, self.met = self.left + 1, self.met + there
            self.current, self._since = self.current + 1, 0
        self._since += 1
        return self.subgoals[self.current]
