"""What an algorithm is: its settings, its networks and its losses. All else is the `Learner`'s."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.experience import Batch
from lotj.nets.encoder import Encoder
from lotj.nets.front import Front, Seen
from lotj.nets.heads import Critic, Ensemble, GaussianHead
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Checked
from lotj.spaces import Spec

Losses = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Terms of the losses by name, and other numbers worth a look, () each."""


@dataclass(frozen=True)
class AgentConfig(Checked):
    """Settings that all agents have. The defaults are the laptop preset."""

    hidden: Annotated[tuple[int, ...], COUNT] = (256,)
    """Hidden layers of the policy."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Learning rate of Adam where an update does not say another."""
    gradient_clip: Annotated[float, NOT_NEGATIVE] = 10.0
    """Largest gradient norm of each trained module; 0 for no limit."""
    weight_decay: ClassVar[float] = 0.0
    own: ClassVar[frozenset[str]] = frozenset()
    """Settings that mean something else than IQL's of the same name, whose value in a preset is not theirs."""


@dataclass(frozen=True)
class ValueConfig(AgentConfig):
    """Settings of agents that learn values."""

    critic_projection: Annotated[int, NOT_NEGATIVE] = 128
    """Size to which features are projected before a critic's head joins them with the action; 0 for states."""
    critic_hidden: Annotated[int, COUNT] = 128
    """Width of the two hidden layers of a critic's head."""
    critic_layer_norm: bool = True
    """Layer normalisation in the critics' heads."""
    discount: Annotated[float, SHARE] = 0.97
    """gamma, per step."""

    def ensemble(self, features: int, axes: int, members: int) -> Ensemble:
        """`members` values of so many `features` and of actions of so many `axes`; 0: of features alone."""
        return Ensemble(features, axes, members, self.critic_projection, self.critic_hidden, self.critic_layer_norm)


@dataclass(frozen=True)
class CriticConfig(ValueConfig):
    """Settings of agents that learn Q by bootstrapping."""

    critics: Annotated[int, COUNT] = 2
    """Number of Q functions; of their values the lowest counts."""
    ema: Annotated[float, SHARE] = 0.02
    """Share of the online network that enters its slow copy at each update. Value travels back from the goal one step
    in about 1 / ema updates: the usual 0.005 suits a million updates, not thousands."""
    target_bounds: tuple[float, float] = (-math.inf, math.inf)
    """Range of returns, to which the targets of Q are clamped: (0, 1) for a reward of 1 at the end."""

    def critic(self, encoder: Encoder, axes: int) -> Critic:
        """Q, `critics` members on one encoder, of actions of so many `axes`."""
        return Critic(encoder, self.ensemble(encoder.size, axes, self.critics))


@dataclass(frozen=True)
class DemonstrationConfig(CriticConfig):
    """Settings of agents whose policy follows Q and may clone demonstrations beside it (Nair et al. 2018)."""

    bc_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the cloning loss beside Q: lambda_2 / lambda_1 of equation 15, for a mean over the demonstrated rows of
    a batch (the paper's is 1000, for returns down to -50). Where it is above 0 the column ``demo`` is needed."""
    q_filter: bool = False
    """Clone only where Q of what was demonstrated exceeds Q of what the policy would do."""
    normalize_q: bool = False
    """Divide Q in the policy's loss by the mean of its absolute values over the batch, so that `bc_weight` does not
    depend on the rewards: TD3+BC (Fujimoto and Gu 2021), whose alpha of 2.5 is a `bc_weight` of 0.4 / A."""

    def objective(self, batch: Batch, gain: Tensor, q: Tensor, action: Tensor, own: Tensor) -> dict[str, Tensor]:
        """``policy`` and ``bc``, the terms of equation 15, of B transitions; all are demonstrations without a column
        ``demo``. `gain` (B,) is to be raised, Q and whatever is beside it; `q` is Q of what was done and `own` of what
        the policy would do, `action` (B, A): (B,), or (E, B), of which the filter takes the lowest."""
        scale = own.detach().abs().mean().clamp_min(1e-6) if self.normalize_q else 1.0
        terms = {"policy": -gain.mean() / scale}
        chosen = rows(batch, "demo")
        if self.bc_weight and len(demonstrated := batch.action[chosen]):
            lowest = [values.detach().reshape(-1, len(action)).amin(0) for values in (q, own)]
            better = (lowest[0] > lowest[1])[chosen] if self.q_filter else None
            terms["bc"] = self.bc_weight * losses.cloning_loss(action[chosen], demonstrated, better)
        return terms


@dataclass(frozen=True)
class GaussianConfig(AgentConfig):
    """Settings of agents whose policy is a Gaussian with the same spread in every state."""

    initial_std: float = 0.4
    """Standard deviation at the start [share of the largest action], strictly within `std_range`."""
    std_range: tuple[float, float] = (0.05, 1.0)
    """Limits of the learned standard deviation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.std_range[0] < self.initial_std < self.std_range[1]:
            self._refuse("std_range", f"must be positive and hold {self.initial_std}")

    def gaussian(self, inputs: int, axes: int) -> GaussianHead:
        """The policy's head: so many `inputs` to a Gaussian over actions of so many `axes`."""
        return GaussianHead(inputs, self.hidden, axes, self.initial_std, self.std_range)


@dataclass(frozen=True)
class At:
    """When an update is.

    Attributes:
        update: its number; with the learner's seed it fixes all random numbers of the update.
        progress: fraction of the training done, for ramps; within `Algorithm.losses` a () tensor.
        lr: learning rate; None for the setting.
        weights: name of a loss's term -> factor, where it is not 1.
    """

    update: int
    progress: Any = 1.0
    lr: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


class Algorithm(nn.Module):
    """An agent's networks and losses, for `spec` seen through `front`, with settings of class `CONFIG` and so many
    tasks of prior data. Class attributes say how the `Learner` treats them; `axes` is A, the number of axes of an
    action."""

    CONFIG: ClassVar[type[Any]]
    """Class of the settings."""
    trained: ClassVar[Mapping[str, tuple[str, ...]]]
    """Submodule -> terms of its loss. It is moved by the gradient of their sum alone, and not where none is given."""
    followed: ClassVar[tuple[str, ...]] = ()
    """Submodules that have a slow copy, their encoders included."""
    recordable: ClassVar[bool] = True
    """Whether all updates do the same work (see `Recording`): no `At.update`, nothing asked of a tensor."""
    needs: frozenset[str] = frozenset()
    """Columns that it reads if a batch has them."""
    requires: frozenset[str] = frozenset()
    """Columns without which it cannot learn."""
    offline: ClassVar[bool] = False
    """It learns from prior data alone: nothing draws its policy to actions that the data do not hold."""

    def __init__(self, spec: Spec, front: Front, config: Any, tasks: int) -> None:
        super().__init__()
        self.config = config
        self.axes = math.prod(spec.action)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """The losses of a batch.

        Args:
            batch: of tensors, observations as the front brought and changed them. Columns of bool come as the numbers
                of the rows that are true (see `rows`), others as they are.
            target: the slow copies of `followed`.
            at: when.
            generator: of all random numbers that are drawn.
        """
        raise NotImplementedError

    def follow_rate(self, update: int) -> float:
        """Share of the online networks that enters their slow copies at an update, in [0, 1]."""
        return self.config.ema

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """Mean (B, A) and standard deviation, (B, A) or (A,), of the policy before `squash`."""
        raise NotImplementedError

    def squash(self, action: Tensor) -> Tensor:
        """What is executed, (B, A) in [-1, 1]."""
        return action.clamp(-1.0, 1.0)

    def value(self, observation: Seen) -> Tensor:
        """Value of the state under the policy, (B,): the lowest Q of the mean action; NaN without a critic."""
        if isinstance(critic := getattr(self, "critic", None), Critic):
            return critic(observation, self(observation)).amin(0)
        return torch.full((len(next(iter(observation.values()))),), math.nan)

    def forward(self, observation: Seen) -> Tensor:
        """Mean action, (B, A) in [-1, 1]."""
        return self.squash(self.decide(observation)[0])


def rows(batch: Batch, column: str) -> Tensor | slice:
    """Numbers of the rows where a bool column is true; all where the batch does not have it."""
    return batch.columns.get(column, slice(None))


def select(observation: Seen, chosen: Tensor | slice) -> Seen:
    """Some rows of an observation."""
    return observation if isinstance(chosen, slice) else {name: values[chosen] for name, values in observation.items()}
