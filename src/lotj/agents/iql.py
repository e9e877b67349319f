"""Implicit Q-learning from images with the bottleneck on the policy (LOTJ sections V-B and V-E; Kostrikov et al. 2022)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.agents.networks import Actor, Critic, ImageEncoder, TargetQ
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import Batch
from lotj.nets.augment import Augment, AugmentConfig
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig, to_tensor
from lotj.nets.precision import autocast, check_finite

STATE_FORMAT = 1
_CHUNK = 256  # images encoded at once when nothing is learnt from them


@dataclass(frozen=True)
class IQLConfig:
    """Settings of IQL. The defaults are the laptop preset; `IQLConfig.paper()` gives the paper's."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Image encoder, the same for policy and critics."""
    feature_channels: int = 32
    """Channels kept of each cell of the encoder's map by a last 1 x 1 convolution; 0 keeps all."""
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    """Bottleneck between the policy's encoder and its head."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of images of the prior data; images of the practised domain are left alone (LOTJ section V-C)."""
    augment_alike: bool = False
    """Change observation and next observation in the same way; otherwise each on its own."""
    shared_critic_encoder: bool = True
    """One encoder for Q and V instead of one each (paper: independent ones)."""
    hidden: tuple[int, ...] = (256,)
    """Hidden layers of the policy head."""
    critic_projection: int = 128
    """Size to which features are projected before a critic's head joins them with the action."""
    critic_hidden: int = 128
    """Width of the two hidden layers of a critic's head."""
    critic_layer_norm: bool = True
    """Layer normalisation in the critics' heads."""
    critics: int = 2
    """Number of Q functions."""
    critics_in_minimum: int = 2
    """How many of them, drawn anew for each update, the minimum in equations 2 and 3 is taken over."""
    expectile: float = 0.7
    """tau of equation 2, in (0, 1)."""
    advantage_scale: float = 100.0
    """Multiplies the advantage in the exponent of equation 3. Returns of 20-step episodes differ by less than 0.2, so that
    the 3 to 10 of other tasks would weight nothing."""
    weight_clip: float = 100.0
    """Largest weight in equation 3."""
    normalise_weights: bool = False
    """Divide the weights by their batch mean, which keeps the strength of the bottleneck's penalty beside them fixed."""
    q_gradient_weight: float = 0.0
    """Weight of -Q(s, mean action) in the policy's loss; 0 is pure advantage-weighted regression."""
    discount: float = 0.97
    """gamma of equation 1, per step."""
    target_bounds: tuple[float, float] = (0.0, 1.0)
    """Range of returns, to which targets are clamped: [0, 1] for a reward of 1 at the end."""
    ema: float = 0.005
    """Share of the online Q that enters the target Q at each update."""
    initial_std: float = 0.4
    """Standard deviation of the policy at the start [share of the largest action]."""
    std_range: tuple[float, float] = (0.05, 1.0)
    """Limits of the learned standard deviation."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices and kernels; biases and norms have none."""
    gradient_clip: float = 10.0
    """Largest gradient norm, for policy and critics separately; 0 for no limit."""
    half_precision: bool = True
    """Compute encoders in bf16 where the device is fast at it."""

    def __post_init__(self) -> None:
        _between("expectile", self.expectile, 0, 1, strictly=True)
        _between("discount", self.discount, 0, 1)
        _between("ema", self.ema, 0, 1)
        for name in ("advantage_scale", "weight_clip", "initial_std", "lr"):
            _between(name, getattr(self, name), 0, math.inf, strictly=True)
        for name in ("q_gradient_weight", "weight_decay", "gradient_clip"):
            _between(name, getattr(self, name), 0, math.inf)
        if not 1 <= self.critics_in_minimum <= self.critics:
            raise SettingsError(f"iql critics_in_minimum {self.critics_in_minimum}: must be 1 to critics ({self.critics})")
        if not 0 < self.std_range[0] <= self.initial_std <= self.std_range[1]:
            raise SettingsError(f"iql std_range {self.std_range}: must be positive and hold initial_std {self.initial_std}")

    @classmethod
    def paper(cls) -> IQLConfig:
        """LOTJ's: an independent ResNet-18 for pi, Q and V at 96 px, plain heads. Where the paper is silent: IQL's own values."""
        encoder = EncoderConfig(image_size=96, width=64, stages=4)
        return cls(encoder=encoder, feature_channels=0, hidden=(256, 256), shared_critic_encoder=False,
                   critic_projection=256, critic_hidden=256, critic_layer_norm=False)  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IQLConfig:
        """The config that `dataclasses.asdict` took apart."""
        parts = {"encoder": EncoderConfig, "bottleneck": BottleneckConfig, "augment": AugmentConfig}
        return cls(**{**values, **{name: part(**values[name]) for name, part in parts.items()}})


def _between(name: str, value: float, low: float, high: float, strictly: bool = False) -> None:
    if not (low < value < high if strictly else low <= value <= high):
        raise SettingsError(f"iql {name} {value}: must be {'strictly ' if strictly else ''}between {low} and {high}")


@dataclass
class _Inputs:
    """Features and numbers of one update. P of the B rows train the policy; D is the size of a flattened map."""

    policy: Tensor  # (P, D)
    rows: Tensor | slice  # which of the B rows those are
    q: Tensor  # (B, D)
    v: Tensor  # (B, D)
    target: Tensor  # (B, D), without gradient
    v_next: Tensor  # (B, D), without gradient
    action: Tensor  # (B, 3)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    domain: Tensor  # (B,) int64


class IQL:
    """The learner: actor, twin Q, V and target Q.

    One update evaluates the three losses at the same weights and takes one optimiser step on their sum. Their
    parameters do not overlap (but for the encoder that Q and V share in the laptop preset), so this is the reference's
    V, then policy, then Q, but for V moving by one learning-rate step between them.

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

    def __init__(self, config: IQLConfig, domains: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.domains = domains
        self.device = torch.device(device)
        self.updates = 0
        self.frozen = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)

            def encoder() -> ImageEncoder:
                return ImageEncoder(config.encoder, config.feature_channels)

            self.actor = Actor(encoder(), config.bottleneck, domains, config.hidden, config.initial_std)
            self.critic = Critic(
                encoder,
                config.shared_critic_encoder,
                config.critics,
                config.critic_projection,
                config.critic_hidden,
                config.critic_layer_norm,
            )
        self.target = TargetQ(self.critic)
        for module in self._modules().values():
            module.to(self.device)
        self._augment = Augment(config.augment)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimiser = torch.optim.AdamW(self._parameter_groups(), lr=config.lr, fused=True)

    @property
    def image_size(self) -> int:
        """Side of the images it was made for [pixels]."""
        return self.config.encoder.image_size

    def freeze_convolutions(self, frozen: bool = True) -> None:
        """Fix the convolutions of all encoders (LOTJ section V-E), or let them learn again.

        Frozen is the paper's online phase: updates follow equations 1 to 3 alone, with deterministic codes, for there is
        no representation left that L_DAIB could shape; the target Q reads the online Q's features, so that features can
        be cached. The convolutions' optimiser moments are dropped.
        """
        if frozen == self.frozen:
            return
        self.frozen = frozen
        for encoder in self._encoders().values():
            encoder.requires_grad_(not frozen)
            encoder.train(not frozen)
            for parameter in encoder.parameters():
                parameter.grad = None
                self._optimiser.state.pop(parameter, None)
        self.target.encoder.load_state_dict(self.critic.encoder(self.critic.q_key).state_dict())
        self.target.encoder.train(not frozen)

    # Acting

    def act(self, observation: Any, explore: bool = False, generator: torch.Generator | None = None) -> np.ndarray:
        """Actions for observations, with the deterministic code (LOTJ section V-E).

        Args:
            observation: (B, H, W, 3) uint8 images or features from `encode`.
            explore: draw from the policy's Gaussian instead of taking its mean.
            generator: random numbers of the draw, on the CPU; needed with `explore`.

        Returns:
            (B, 3) float32 in [-1, 1].
        """
        if not isinstance(observation, Mapping):
            observation = self.encode(observation, ("policy",))
        return self.act_from_features(observation, explore, generator)

    @torch.no_grad()
    def act_from_features(
        self, observation: Mapping[str, Any], explore: bool = False, generator: torch.Generator | None = None
    ) -> np.ndarray:
        """`act` on features from `encode`, of which ``policy`` is read."""
        mean = self.actor.decide(self._features(observation, "policy"), sample=False)[0].cpu()
        if explore:
            if generator is None:
                raise ValueError("act: exploring needs a torch.Generator")
            mean = mean + self.actor.log_std.exp().cpu() * torch.randn(mean.shape, generator=generator)
        return mean.clamp(-1.0, 1.0).numpy()

    @torch.no_grad()
    def value(self, observation: Any) -> np.ndarray:
        """V(s): (B,) float32 of (B, H, W, 3) uint8 images or of features from `encode`."""
        if not isinstance(observation, Mapping):
            observation = self.encode(observation, (self.critic.v_key,))
        return self.critic.v(self._features(observation, self.critic.v_key))[0].cpu().numpy()

    @torch.no_grad()
    def encode(
        self, images: Any, names: tuple[str, ...] | None = None, augment: bool = False, generator: Any = None
    ) -> dict[str, Tensor]:
        """Features of images, to be cached while the convolutions are frozen.

        Args:
            images: (B, H, W, 3) uint8, any B.
            names: which encoders: ``policy`` and ``critic`` (shared) or ``q`` and ``v``; all by default.
            augment: change the images first, as in training.
            generator: torch.Generator on the agent's device for `augment`; the agent's own by default.

        Returns:
            name -> (B, D) float16 on the CPU, the flattened feature map. Computed as in evaluation.
        """
        encoders = {name: e for name, e in self._encoders().items() if names is None or name in names}
        parts: dict[str, list[Tensor]] = {name: [] for name in encoders}
        for start in range(0, len(images), _CHUNK):
            pixels = to_tensor(images[start : start + _CHUNK], self.device)
            if augment:
                pixels = self._augment(pixels, generator or self._generator)
            for name, encoder in encoders.items():
                training = encoder.training
                encoder.eval()
                with autocast(self.device, self.config.half_precision):
                    parts[name].append(encoder(pixels).to("cpu", torch.float16))
                encoder.train(training)
        sizes = {name: encoder.size for name, encoder in encoders.items()}
        return {name: torch.cat(p) if p else torch.zeros(0, sizes[name]).half() for name, p in parts.items()}

    # Learning

    def update(
        self, batch: Batch, progress: float = 1.0, lr_scale: float = 1.0, policy_rows: Any = None
    ) -> dict[str, float]:
        """One gradient step on all losses.

        Args:
            batch: images, or features from `encode` (needs frozen convolutions; `next_observation` needs V's only).
                Images of rows with a domain >= 0 are augmented, those of the practised domain (-1) are not.
            progress: fraction of the pretraining done, for the adversary's ramp; 1 in practice.
            lr_scale: multiplies the learning rate, for a schedule.
            policy_rows: (B,) bool, the rows that train the policy; all by default. The critics learn from every row.

        Returns:
            Named numbers, see the keys of `_metrics`; losses in the order V, policy, Q.

        Raises:
            NumericsError: the batch, a loss or a gradient is not finite; weights and optimiser are as before.
        """
        random_state = self._generator.get_state()
        try:
            inputs = self._inputs(batch, policy_rows)
            terms, metrics = self._losses(inputs, progress)
            return self._step(terms, metrics, lr_scale)
        except NumericsError as error:
            self._generator.set_state(random_state)
            self._optimiser.zero_grad(set_to_none=True)
            raise _with_cause(error, batch) from None

    def _losses(self, x: _Inputs, progress: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss terms, to be summed, and what else is worth a look."""
        config = self.config
        value = self.critic.v(x.v)[0]
        with torch.no_grad():
            target_q = self._minimum(self.target.head(x.target, x.action))
            advantage = target_q - value
            weight = losses.advantage_weights(advantage, config.advantage_scale, config.weight_clip)[x.rows]
            next_value = self.critic.v(x.v_next)[0]
            target = losses.td_target(x.reward, x.terminated, next_value, config.discount, config.target_bounds)
        terms = {"loss_v": losses.value_loss(value, target_q, config.expectile)}
        metrics: dict[str, Tensor] = {}
        if len(x.policy):
            terms |= self._policy_losses(x, weight, progress, metrics)
        q = self.critic.q(x.q, x.action)
        terms["loss_q"] = losses.q_loss(q, target)
        metrics |= {
            "advantage_mean": advantage.mean(),
            "advantage_std": advantage.std(correction=0),
            "q_mean": q.detach().mean(),
            "v_mean": value.detach().mean(),
            "target_mean": target.mean(),
        }
        return terms, metrics

    def _policy_losses(
        self, x: _Inputs, weight: Tensor, progress: float, metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Equation 3 and L_DAIB(z^pi) on the policy's rows."""
        config = self.config
        mean, code = self.actor.decide(x.policy, not self.frozen, self._generator)
        action = x.action[x.rows]
        error = mean.detach() - action
        metrics |= {
            "weight_mean": weight.mean(),
            "weight_max": weight.max(),
            "weight_clipped": (weight >= config.weight_clip * 0.999).float().mean(),
            "policy_std": self.actor.log_std.detach().exp().mean(),
            "policy_error": error.square().mean().sqrt(),
        }
        if config.normalise_weights:
            weight = weight / weight.mean()
        terms = {"loss_policy": losses.policy_loss(losses.log_probability(mean, self.actor.log_std, action), weight)}
        if not self.frozen:
            terms["loss_daib"], parts = self.actor.bottleneck.penalty(code, x.domain[x.rows], progress)
            metrics |= parts
        if config.q_gradient_weight > 0:
            q_of_mean = self._minimum(self.target.head(x.target[x.rows], mean)).mean()
            terms["loss_q_of_mean"] = -config.q_gradient_weight * q_of_mean
        return terms

    def _minimum(self, q: Tensor) -> Tensor:
        """(E, B) -> (B,) minimum over all critics or a random few."""
        if self.config.critics_in_minimum < len(q):
            order = torch.randperm(len(q), generator=self._generator, device=self.device)
            q = q[order[: self.config.critics_in_minimum]]
        return q.amin(0)

    def _step(self, terms: dict[str, Tensor], metrics: dict[str, Tensor], lr_scale: float) -> dict[str, float]:
        self._optimiser.zero_grad(set_to_none=True)
        sum(terms.values(), torch.zeros((), device=self.device)).backward()
        for name, module in (("policy", self.actor), ("critic", self.critic)):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            if self.config.gradient_clip and gradients:
                nn.utils.clip_grads_with_norm_(module.parameters(), self.config.gradient_clip, norm)
            metrics[f"gradient_norm_{name}"] = norm
        named = {name: term.detach() for name, term in (terms | metrics).items()}
        numbers = dict(zip(named, torch.stack([n.float() for n in named.values()]).tolist(), strict=True))
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise NumericsError(f"{name} is {number} in update {self.updates + 1}")
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.lr * lr_scale
        self._optimiser.step()
        with torch.no_grad():
            self.actor.log_std.clamp_(*(math.log(std) for std in self.config.std_range))
        self.target.follow(self.critic, self.config.ema, not self.frozen)
        self.updates += 1
        return numbers

    # From a batch to features

    def _inputs(self, batch: Batch, policy_rows: Any) -> _Inputs:
        def bring(values: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values).to(self.device, dtype)

        rows = slice(None) if policy_rows is None else bring(policy_rows, torch.bool).nonzero()[:, 0]
        action = check_finite("action", bring(batch.action, torch.float32))
        reward = check_finite("reward", bring(batch.reward, torch.float32))
        domain = bring(batch.domain, torch.int64)
        maps = self._cached(batch, rows) if isinstance(batch.observation, Mapping) else self._encoded(batch, rows, domain)
        return _Inputs(**maps, rows=rows, action=action, reward=reward, domain=domain,
                       terminated=bring(batch.terminated, torch.bool))  # fmt: skip

    def _cached(self, batch: Batch, rows: Any) -> dict[str, Tensor]:
        if not self.frozen:
            raise ValueError("update on cached features: freeze_convolutions first, or the features go stale")
        policy = torch.as_tensor(batch.observation["policy"])[rows]
        q = self._features(batch.observation, self.critic.q_key)
        v = q if self.critic.v_key == self.critic.q_key else self._features(batch.observation, self.critic.v_key)
        v_next = self._features(batch.next_observation, self.critic.v_key)
        return {"policy": self._features({"policy": policy}, "policy"), "q": q, "v": v, "target": q, "v_next": v_next}

    def _features(self, observation: Mapping[str, Any], name: str) -> Tensor:
        if name not in observation:
            raise ValueError(f"features {sorted(observation)} lack {name!r}: make them with this agent's encode()")
        return torch.as_tensor(observation[name]).to(self.device, torch.float32)

    def _encoded(self, batch: Batch, rows: Any, domain: Tensor) -> dict[str, Tensor]:
        observed, following = self._augmented(batch, domain)
        critic, q_key, v_key = self.critic, self.critic.q_key, self.critic.v_key
        with autocast(self.device, self.config.half_precision), torch.set_grad_enabled(not self.frozen):
            maps = {"policy": self.actor.encoder(observed[rows]), "q": critic.encoder(q_key)(observed)}
            maps["v"] = maps["q"] if v_key == q_key else critic.encoder(v_key)(observed)
            with torch.no_grad():
                maps["v_next"] = critic.encoder(v_key)(following)
                maps["target"] = maps["q"] if self.frozen else self.target.encoder(observed)
        return {name: value.float() for name, value in maps.items()}

    def _augmented(self, batch: Batch, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Observations and next observations as images, those of the prior data augmented."""
        images = to_tensor(batch.observation, self.device), to_tensor(batch.next_observation, self.device)
        prior = domain >= 0
        if not self.config.augment.enabled or not bool(prior.any()):
            return images
        start = self._generator.get_state()
        changed = []
        for pixels in images:
            if self.config.augment_alike:
                self._generator.set_state(start)
            if bool(prior.all()):
                changed.append(self._augment(pixels, self._generator))
            else:
                mixed = pixels.clone()
                mixed[prior] = self._augment(pixels[prior], self._generator)
                changed.append(mixed)
        return changed[0], changed[1]

    # State

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critic": self.critic, "target": self.target}

    def _encoders(self) -> dict[str, Any]:
        return {"policy": self.actor.encoder, **dict(self.critic.encoders.items())}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        trained = [named for module in (self.actor, self.critic) for named in module.named_parameters()]
        decays = [p.ndim > 1 and not name.endswith("bias") for name, p in trained]
        matrices = [p for (_, p), decay in zip(trained, decays, strict=True) if decay]
        others = [p for (_, p), decay in zip(trained, decays, strict=True) if not decay]
        return [{"params": matrices, "weight_decay": self.config.weight_decay}, {"params": others, "weight_decay": 0.0}]

    def state_dict(self) -> dict[str, Any]:
        """Everything that further updates depend on, as plain values and tensors; also what `restore` needs."""
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
            raise CheckpointError(f"agent of format {state.get('format')!r}: this lotj reads {STATE_FORMAT}; train it again")
        size = state["config"]["encoder"]["image_size"]
        if size != self.image_size:
            raise CheckpointError(f"agent for {size} px images, needed is one for {self.image_size} px: choose another run")
        if state["domains"] != self.domains:
            raise CheckpointError(f"agent of {state['domains']} domains, data of {self.domains}: use the data it began with")
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state["modules"][name])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError("agent with other networks: give the settings it was trained with") from error
        self.freeze_convolutions(state["frozen"])
        self.target.load_state_dict(state["modules"]["target"])  # freezing copied the online encoder
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["random"].cpu())
        self.updates = state["updates"]

    @classmethod
    def restore(cls, state: dict[str, Any], device: str | torch.device = "cpu", **settings: Any) -> Self:
        """The agent of a checkpoint.

        Args:
            state: from `state_dict`.
            device: where it computes from now on.
            settings: fields of `IQLConfig` to change, e.g. ``lr`` or ``advantage_scale`` for practice; not network shapes.
        """
        config = dataclasses.replace(IQLConfig.from_dict(state["config"]), **settings)
        agent = cls(config, state["domains"], device=device)
        agent.load_state_dict(state)
        return agent


def _with_cause(error: NumericsError, batch: Batch) -> NumericsError:
    """The error, with the part of the batch that is to blame if it is one."""
    for where, observation in (("observation", batch.observation), ("next observation", batch.next_observation)):
        for name, values in observation.items() if isinstance(observation, Mapping) else ():
            if not bool(torch.isfinite(torch.as_tensor(values)).all()):
                return NumericsError(f"{where} {name!r} holds values that are not finite ({error}): the batch was not learnt")
    return error
