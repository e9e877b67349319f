"""Implicit Q-learning (Kostrikov et al. 2021) with the bottleneck on the policy (LOTJ sections V-B and V-E)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.base import Algorithm, At, CriticConfig, GaussianConfig, Losses, rows, select
from lotj.experience import Batch
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.encoder import Encoder
from lotj.nets.front import Front, Seen
from lotj.nets.heads import Values, mlp
from lotj.ranges import INSIDE, NOT_NEGATIVE, POSITIVE
from lotj.spaces import Spec


@dataclass(frozen=True)
class IQLConfig(GaussianConfig, CriticConfig):
    """Settings of IQL. The defaults are the laptop preset; `IQLConfig.paper()` gives the paper's."""

    target_bounds: tuple[float, float] = (0.0, 1.0)
    """Range of returns, to which the targets of Q are clamped: (0, 1) for a reward of 1 at the end."""
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    """Bottleneck between the policy's encoder and its head."""
    shared_critic_encoder: bool = True
    """One encoder for Q and V instead of one each (paper: independent ones)."""
    expectile: Annotated[float, INSIDE] = 0.7
    """tau of equation 2."""
    advantage_scale: Annotated[float, POSITIVE] = 20.0
    """Multiplies the advantage in the exponent of equation 3, in pretraining; practice has its own. At 100 an eighth of
    the rows carries all weight, and the policy of a short training does not learn to see (lab notes)."""
    weight_clip: Annotated[float, POSITIVE] = 100.0
    """Largest weight in equation 3."""
    q_gradient_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of -Q(s, mean action) in the policy's loss, on all rows, imitated or not (as in TD3+BC, Fujimoto and Gu
    2021; Park et al. 2024 find it the better extraction); 0: weighted regression alone. Practice has its own."""
    position_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of an auxiliary loss where a batch has the column ``position``: features of policy and Q are to tell where
    the plug is over its socket, which prior data know. Expert's actions alone teach it too slowly: they are noisy, and
    half of them say no more than down. 0 in the paper."""

    @classmethod
    def paper(cls) -> IQLConfig:
        """LOTJ's: independent networks for pi, Q and V, without what later work added (with `Pixels.paper`)."""
        size: dict[str, Any] = {"hidden": (256, 256), "critic_projection": 256, "critic_hidden": 256}
        plain = {"critic_layer_norm": False, "shared_critic_encoder": False, "position_weight": 0.0}
        return cls(ema=0.005, lr=3e-4, **size, **plain)


class Actor(nn.Module):
    """pi(a|s): encoder, code, Gaussian; and a head that tells positions from features, or None."""

    def __init__(self, encoder: Encoder, config: IQLConfig, axes: int, tasks: int, locating: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.bottleneck = Bottleneck(encoder.size, tasks, config.bottleneck)
        self.head = config.gaussian(self.bottleneck.code_size, axes)
        self.position: Any = mlp(encoder.size, config.hidden, 3) if locating else None

    def decide(self, features: Tensor, sample: bool, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Code]:
        """Mean (B, A), log standard deviation (A,) and code; `sample` draws z_S (training) instead of its mean."""
        code = self.bottleneck(features, sample, generator)
        return *self.head(code.z), code


class IQL(Algorithm):
    """One update evaluates the losses at the same weights. Their parameters do not overlap (but for the encoder that Q
    and V share in the laptop preset), so this is the original's V, then policy, then Q, except that V has not yet moved
    by its one step when the other two read it.

    Where a front does not learn, these are equations 1 to 3 alone, with deterministic codes, for there is no
    representation left that L_DAIB or positions could shape: the paper's online phase.

    Attributes:
        policy: the actor.
        critic: Q and V.
    """

    CONFIG = IQLConfig
    trained = {"policy": ("policy", "daib", "q_gradient", "policy_position"), "critic": ("v", "q", "q_position")}
    followed = ("critic.q",)
    needs = frozenset({"imitate", "position"})
    offline = True

    def __init__(self, spec: Spec, front: Front, config: IQLConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.shapes = front.learns
        locating = front.learns and config.position_weight > 0
        self.needs = frozenset({"imitate", "position"} if locating else {"imitate"})
        self.policy = Actor(front.encoder(spec, "policy"), config, self.axes, tasks, locating)
        q = config.critic(front.encoder(spec, "critic" if config.shared_critic_encoder else "q"), self.axes)
        encoder, size = None if config.shared_critic_encoder else front.encoder(spec, "v"), q.encoder.size
        v = config.ensemble(encoder.size if encoder else size, 0, 1)
        self.critic = Values(q, encoder, v, mlp(size, (config.critic_hidden,), 3) if locating else None)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``v``, ``q``, ``policy`` (where rows are imitated), ``daib``, ``q_gradient`` (with a weight of it), and of
        positions ``policy_position``, ``q_position``."""
        config, slow = self.config, target["critic.q"]
        features = self.critic.q.encoder(batch.observation)
        value = self.critic.value(batch.observation, features)
        with torch.no_grad():
            read = slow.head.read(slow.encoder(batch.observation))
            target_q = slow.head.judge(read, batch.action).amin(0)
            advantage = target_q - value
            after = self.critic.value(batch.next_observation)
            goal = losses.td_target(batch, after, config.discount, config.target_bounds)
        q = self.critic.q.head(features, batch.action)
        terms = {"v": losses.value_loss(value, target_q, config.expectile)}  # equation 2
        numbers = {"advantage_mean": advantage.mean(), "advantage_std": advantage.std(correction=0)}
        numbers |= {"q_mean": q.mean(), "v_mean": value.mean(), "target_mean": goal.mean()}
        pulled = config.q_gradient_weight > 0 and at.weights.get("q_gradient", 1.0) > 0
        chosen = slice(None) if pulled else rows(batch, "imitate")
        seen = self.policy.encoder(select(batch.observation, chosen))
        if len(seen):
            mean, log_std, code = self.policy.decide(seen, self.shapes, generator)
            imitated = rows(batch, "imitate") if pulled else slice(None)
            if len(action := batch.action[chosen][imitated]):  # equation 3
                above = advantage[chosen][imitated]
                weight = losses.advantage_weights(above, config.advantage_scale, config.weight_clip)
                terms["policy"], more = losses.imitation(mean[imitated], log_std, action, weight)
                numbers |= more | {"weight_mean": weight.mean()}
                numbers["weight_clipped"] = (weight > 0.999 * config.weight_clip).float().mean()
            if self.shapes:
                terms["daib"], parts = self.policy.bottleneck.penalty(code, batch.task[chosen], at.progress)
                numbers |= parts
            if pulled:
                terms["q_gradient"] = -config.q_gradient_weight * slow.head.judge(read, mean).amin(0).mean()
        terms["q"] = losses.q_loss(q, goal)  # equation 1
        if "position" in batch.columns:
            terms |= self._positions(batch.columns["position"], chosen, seen, features)
        return terms, numbers

    def _positions(self, position: Tensor, chosen: Tensor | slice, seen: Tensor, features: Tensor) -> dict[str, Tensor]:
        """How well the features of policy and Q tell the (B, 3) positions [m], each by its own head."""
        weight, true = self.config.position_weight, position / losses.POSITION_SCALE
        terms = {"q_position": weight * losses.position_loss(self.critic.position(features), true)}
        if len(seen):
            terms["policy_position"] = weight * losses.position_loss(self.policy.position(seen), true[chosen])
        return terms

    def decide(self, observation: Seen) -> tuple[Tensor, Tensor]:
        """With the deterministic code (LOTJ section V-E)."""
        mean, log_std, _ = self.policy.decide(self.policy.encoder(observation), sample=False, generator=None)
        return mean, log_std.exp()

    def value(self, observation: Seen) -> Tensor:
        """V(s), (B,), which is learnt beside Q."""
        return self.critic.value(observation)
