"""Implicit Q-learning from images, with the bottleneck on the policy (LOTJ sections V-B and V-E)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.image_agent import ImageAgent
from lotj.agents.inputs import InputMaker, Inputs
from lotj.agents.iql_config import IQLConfig
from lotj.agents.networks import Actor, Critic, ImageEncoder, TargetQ
from lotj.errors import CheckpointError, NumericsError
from lotj.experience import Batch
from lotj.nets.generator import restore_generator
from lotj.nets.recording import Recording

STATE_FORMAT = 1


class IQL(ImageAgent):
    """The learner: actor, twin Q, V and target Q.

    One update evaluates the three losses at the same weights and takes one optimiser step on their sum. Their
    parameters do not overlap (but for the encoder that Q and V share in the laptop preset), so this is the original's
    V, then policy, then Q, except that V has not yet moved by its one step when the other two read it.

    Args:
        config: settings.
        domains: number of domains of the prior data; the bottleneck's adversary tells them apart.
        seed: of the weights and of all random numbers drawn in updates.
        device: where it computes.

    Attributes:
        actor: the policy; a module from images to mean actions.
        critic: Q and V.
        updates: number of updates so far.
        frozen: whether the convolutions are.
    """

    config: IQLConfig
    CONFIG = IQLConfig
    SEES = ("policy",)

    def __init__(self, config: IQLConfig, domains: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.domains = domains
        self.device = torch.device(device)
        self.updates = 0
        self.frozen = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor, self.critic = self._networks()
        self.target = TargetQ(self.critic)
        for module in self._modules().values():
            module.to(self.device)  # changes the parameters in place
        self._inputs = InputMaker(
            self.actor,
            self.critic,
            self.target,
            config.augment,
            config.augment_alike,
            config.half_precision,
            self.device,
        )
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._trained = {"policy": list(self.actor.parameters()), "critic": list(self.critic.parameters())}
        self._optimiser = torch.optim.AdamW(self._parameter_groups(), lr=config.lr, fused=True)
        self._recorded: Recording[tuple[tuple[str, ...], Tensor]] | None = None
        self.record(self.device.type == "cuda")

    def freeze_convolutions(self, frozen: bool = True) -> None:
        """Fix the convolutions of all encoders (LOTJ section V-E), or let them learn again.

        Frozen is the paper's online phase: updates follow equations 1 to 3 alone, with deterministic codes, for there
        is no representation left that L_DAIB could shape. The target Q reads the online Q's features, so that features
        can be cached. The convolutions' optimiser moments are dropped.
        """
        if frozen == self.frozen:
            return
        self.frozen = frozen
        for encoder in self._inputs.encoders.values():
            encoder.requires_grad_(not frozen)
            encoder.train(not frozen)
            for parameter in encoder.parameters():
                self._optimiser.state.pop(parameter, None)
        self._forget_gradients()
        self.target.encoder.load_state_dict(self.critic.encoder(self.critic.q_key).state_dict())
        self.target.encoder.train(not frozen)

    def record(self, recorded: bool) -> None:
        """Whether updates from images of the prior data are recorded and replayed, as they are on a GPU (see
        `Recording`); their results are the same either way. Settings that draw the same numbers twice, or choose
        critics at random, exclude it."""
        config = self.config
        possible = not config.augment_alike and config.critics_in_minimum == config.critics
        self._recorded = Recording(self._differentiate, self._generator) if recorded and possible else None

    # Acting

    def _gaussian(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """With the deterministic code (LOTJ section V-E)."""
        mean = self.actor.decide(self._inputs.features(features, "policy"), sample=False)[0]
        return mean, self.actor.log_std.exp()

    def _squash(self, action: Tensor) -> Tensor:
        return action.clamp(-1.0, 1.0)

    @torch.no_grad()
    def value(self, observation: Any) -> np.ndarray:
        """V(s), (B,) float32, of (B, H, W, 3) uint8 images or of features from `encode`."""
        key = self.critic.v_key
        seen = observation if isinstance(observation, Mapping) else self.encode(observation, (key,))
        return self.critic.v(self._inputs.features(seen, key))[0].cpu().numpy()

    def encode(
        self,
        images: Any,
        names: tuple[str, ...] | None = None,
        augment: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """See `ImageAgent.encode`. Names: ``policy``; ``critic`` where Q and V share one, else ``q`` and ``v``."""
        return self._inputs.encode(images, names, augment, generator or self._generator)

    # Learning

    def update(
        self,
        batch: Batch,
        progress: float = 1.0,
        lr: float | None = None,
        advantage_scale: float | None = None,
        q_gradient_weight: float | None = None,
    ) -> dict[str, float]:
        """One gradient step on all losses.

        Args:
            batch: B transitions as images, or as features from `encode` (with frozen convolutions only;
                `next_observation` then needs V's alone). Images are augmented where the domain is >= 0.
            progress: fraction of the pretraining done, for the adversary's ramp; without effect when frozen.
            lr: learning rate; default: the setting.
            advantage_scale, q_gradient_weight: see `IQLConfig`; default: the setting.

        Returns:
            Named numbers: ``loss_v``, ``loss_policy``, ``loss_daib``, ``loss_position`` (where the batch has
            positions), ``loss_q``; means and spreads of value, advantage and weights; ``weight_effective``, the share
            of rows that carry the weights; ``kl``, ``domain_loss``, ``domain_accuracy``; gradient norms before
            clipping.

        Raises:
            NumericsError: the batch, a loss or a gradient is not finite; nothing was changed.
        """
        random_state = self._generator.get_state()
        try:
            scale = self.config.advantage_scale if advantage_scale is None else advantage_scale
            pull = self.config.q_gradient_weight if q_gradient_weight is None else q_gradient_weight
            brought = self._inputs.bring(batch) | {"progress": torch.full((), progress, device=self.device)}
            # With features and where some rows are practised the shapes change from batch to batch.
            recorded = None if self.frozen or "practised" in brought else self._recorded
            names, numbers = (recorded or self._differentiate)(brought, scale, pull)
            return self._step(names, numbers.tolist(), self.config.lr if lr is None else lr)
        except NumericsError as error:
            self._generator.set_state(random_state)
            self._forget_gradients()
            raise _with_cause(error, batch) from None

    def _differentiate(
        self, brought: Mapping[str, Tensor], scale: float, pull: float
    ) -> tuple[tuple[str, ...], Tensor]:
        """Leave clipped gradients of all losses behind. Returns names and numbers of one update, the latter as one
        tensor: on a GPU each would have to be waited for. Nothing in here may wait, see `Recording`."""
        self._optimiser.zero_grad(set_to_none=True)
        inputs = self._inputs.make(brought, self.frozen, self._generator, all_rows=pull > 0)
        terms, metrics = self._losses(inputs, brought["progress"], scale, pull)
        sum(terms.values(), torch.zeros((), device=self.device)).backward()
        for name, parameters in self._trained.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:
                metrics[f"gradient_norm_{name}"] = _clip(gradients, self.config.gradient_clip)
        named = terms | metrics
        return tuple(named), torch.stack([number.detach() for number in named.values()])

    def _losses(
        self, x: Inputs, progress: Tensor, scale: float, pull: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The terms of the loss, to be summed, and other numbers worth a look."""
        config = self.config
        value = self.critic.v(x.v)[0]
        with torch.no_grad():
            read = self.target.head.read(x.target)
            target_q = self._minimum(self.target.head.judge(read, x.action))
            advantage = target_q - value
            next_value = self.critic.v(x.v_next)[0]
            target = losses.td_target(x.reward, x.terminated, next_value, config.discount, config.target_bounds)
        terms = {"loss_v": losses.value_loss(value, target_q, config.expectile)}
        metrics: dict[str, Tensor] = {}
        if len(x.policy):
            weight = losses.advantage_weights(advantage[x.rows][x.imitated], scale, config.weight_clip)
            terms |= self._policy_losses(x, weight, read, pull, progress, metrics)
        if x.position is not None and config.position_weight > 0 and not self.frozen:
            terms["loss_position"] = config.position_weight * self._position_loss(x, x.position)
        q = self.critic.q(x.q, x.action)
        terms["loss_q"] = losses.q_loss(q, target)
        metrics |= {
            "advantage_mean": advantage.mean(),
            "advantage_std": advantage.std(correction=0),
            "q_mean": q.mean(),
            "v_mean": value.mean(),
            "target_mean": target.mean(),
        }
        return terms, metrics

    def _position_loss(self, x: Inputs, position: Tensor) -> Tensor:
        """How well the features of policy and Q tell the (B, 3) positions, each by a head of its own."""
        assert self.actor.position is not None and self.critic.position is not None
        loss = losses.position_loss(self.critic.position(x.q), position)
        if len(x.policy):
            loss = loss + losses.position_loss(self.actor.position(x.policy), position[x.rows])
        return loss

    def _policy_losses(
        self, x: Inputs, weight: Tensor, read: Tensor, pull: float, progress: Tensor, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Equation 3 on the rows that are imitated, with their weights; L_DAIB(z^pi) and -Q on all of the policy's. The
        target has `read` the features of all rows."""
        mean, code = self.actor.decide(x.policy, not self.frozen, self._generator)
        terms = {}
        if len(weight):
            terms["loss_policy"] = self._imitation(mean[x.imitated], x.action[x.rows][x.imitated], weight, metrics)
        if not self.frozen:
            terms["loss_daib"], parts = self.actor.bottleneck.penalty(code, x.domain[x.rows], progress)
            metrics |= parts
        if pull > 0:
            terms["loss_q_of_mean"] = -pull * self._minimum(self.target.head.judge(read[:, x.rows], mean)).mean()
        return terms

    def _imitation(self, mean: Tensor, action: Tensor, weight: Tensor, metrics: dict[str, Tensor]) -> Tensor:
        """Equation 3."""
        metrics |= {
            "weight_mean": weight.mean(),
            "weight_max": weight.max(),
            "weight_clipped": (weight > 0.999 * self.config.weight_clip).float().mean(),
            "weight_effective": losses.effective_share(weight),
            "policy_std": self.actor.log_std.exp().mean(),
            "policy_error": (mean - action).square().mean().sqrt(),
        }
        if self.config.normalise_weights:
            weight = weight / weight.mean()
        return losses.policy_loss(losses.log_probability(mean, self.actor.log_std, action), weight)

    def _minimum(self, q: Tensor) -> Tensor:
        """(E, B) -> (B,), the minimum over all critics or over a random few."""
        if self.config.critics_in_minimum < len(q):
            order = torch.randperm(len(q), generator=self._generator, device=self.device)
            q = q[order[: self.config.critics_in_minimum]]
        return q.amin(0)

    def _step(self, names: tuple[str, ...], numbers: list[float], lr: float) -> dict[str, float]:
        """Move the weights along the gradients, unless one of the numbers is not finite."""
        for name, number in zip(names, numbers, strict=True):
            if not math.isfinite(number):
                raise NumericsError(f"{name} of update {self.updates + 1} is {number}; lower the learning rate")
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()
        with torch.no_grad():
            self.actor.log_std.clamp_(*(math.log(std) for std in self.config.std_range))
        self.target.follow(self.config.ema, encoder_too=not self.frozen)
        self.updates += 1
        return dict(zip(names, numbers, strict=True))

    def _forget_gradients(self) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        if self._recorded is not None:
            self._recorded.forget()  # it would fill gradients that nobody holds any more

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices and kernels, which decay if anything does, and the rest, which never does."""
        trained = [named for module in (self.actor, self.critic) for named in module.named_parameters()]
        decaying = {name for name, p in trained if p.ndim > 1 and not name.endswith("bias")}
        return [
            {"params": [p for name, p in trained if name in decaying], "weight_decay": self.config.weight_decay},
            {"params": [p for name, p in trained if name not in decaying], "weight_decay": 0.0},
        ]

    # State

    def _encoder(self) -> ImageEncoder:
        """A new encoder."""
        return ImageEncoder(self.config.encoder, self.config.feature_channels)

    def _networks(self) -> tuple[Actor, Critic]:
        config = self.config
        locating = config.position_weight > 0
        actor = Actor(self._encoder(), config.bottleneck, self.domains, config.hidden, config.initial_std, locating)
        critic = Critic(
            self._encoder,
            config.shared_critic_encoder,
            config.critics,
            config.critic_projection,
            config.critic_hidden,
            config.critic_layer_norm,
            locating,
        )
        return actor, critic

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic, "target": self.target}

    def state_dict(self) -> dict[str, Any]:
        """Everything that further updates depend on, as tensors and plain values; also what `restore` needs."""
        return {
            "format": STATE_FORMAT,
            "config": dataclasses.asdict(self.config),
            "domains": self.domains,
            "updates": self.updates,
            "frozen": self.frozen,
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "optimiser": self._optimiser.state_dict(),
            "random": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; further updates are then the same as those of the agent that it is from.

        Raises:
            CheckpointError: made by another format, image size or network shape.
        """
        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(f"agent of format {state.get('format')!r}, not {STATE_FORMAT}: train it again")
        size = state["config"]["encoder"]["image_size"]
        if size != self.image_size:
            raise CheckpointError(f"agent for {size} px images where {self.image_size} px are used: choose another run")
        if state["domains"] != self.domains:
            raise CheckpointError(f"agent of {state['domains']} domains, data of {self.domains}: use its own data")
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state["modules"][name])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError("agent with other networks: give the settings it was trained with") from error
        self.freeze_convolutions(state["frozen"])
        self.target.load_state_dict(state["modules"]["target"])  # freezing made it a copy of the online one
        self._optimiser.load_state_dict(state["optimiser"])
        restore_generator(self._generator, state["random"])
        self.updates = state["updates"]


def _clip(gradients: list[Tensor], limit: float) -> Tensor:
    """Scale gradients down to a joint norm of `limit` (0: leave them); returns what the norm was, ().

    torch's own does the same; on a CPU its bookkeeping costs as much again as the work.
    """
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    if limit > 0:
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
    return norm


def _with_cause(error: NumericsError, batch: Batch) -> NumericsError:
    """The error, naming the features that are to blame if they are."""
    for where, seen in (("observation", batch.observation), ("next observation", batch.next_observation)):
        for name, values in seen.items() if isinstance(seen, Mapping) else ():
            if not bool(torch.isfinite(torch.as_tensor(values)).all()):
                return NumericsError(f"features {name!r} of the {where} are not finite: encode the images again")
    return error
