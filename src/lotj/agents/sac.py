"""Soft actor-critic from images (Haarnoja et al. 2018), the learned baseline without a bottleneck (LOTJ section VI-A).

As is usual from images (DrQ, Kostrikov et al. 2021), critic and actor share one encoder, which the critic's loss alone
shapes, and the temperature is learned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents.image_agent import ImageAgent, ImageAgentConfig
from lotj.agents.losses import q_loss
from lotj.agents.networks import EnsembleHead, ImageEncoder
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import ACTION_DIM, Batch
from lotj.nets.augment import Augment
from lotj.nets.encoder import to_tensor
from lotj.nets.generator import restore_generator
from lotj.nets.heads import mlp
from lotj.nets.precision import autocast, check_finite

STATE_FORMAT = 1

FEATURES = "critic"
"""Name of the encoder's features."""

_CHUNK = 256  # images encoded at once when nothing is learnt from them


@dataclass(frozen=True)
class SACConfig(ImageAgentConfig):
    """Settings of SAC. Networks, discount and rates are those of IQL (`of`)."""

    initial_temperature: float = 0.1
    """Weight of the entropy at the start; learned from then on."""
    target_entropy: float = -float(ACTION_DIM)
    """Entropy that the temperature is to keep [nats]; minus the number of actions is the authors' choice."""
    log_std_range: tuple[float, float] = (-5.0, 1.0)
    """Limits of the policy's log standard deviation before the squashing."""

    def __post_init__(self) -> None:
        for name in ("initial_temperature", "lr", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"sac {name} {getattr(self, name)}: must be above 0")
        for name in ("discount", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"sac {name} {getattr(self, name)}: must be in [0, 1]")
        if not self.log_std_range[0] < self.log_std_range[1]:
            raise SettingsError(f"sac log_std_range {self.log_std_range}: the first must be below the second")

    @classmethod
    def of(cls, shared: ImageAgentConfig) -> Self:
        """The settings that all agents have, taken from another's."""
        return cls(**{f.name: getattr(shared, f.name) for f in dataclasses.fields(ImageAgentConfig)})


class SquashedActor(nn.Module):
    """pi(a|s): features -> Gaussian, squashed by tanh; its spread depends on the state.

    Attributes:
        encoder: the critic's, whose features it reads.
    """

    def __init__(self, encoder: ImageEncoder, hidden: tuple[int, ...], log_std_range: tuple[float, float]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = mlp(encoder.size, hidden, 2 * ACTION_DIM)
        self._range = log_std_range

    def distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the squashing, (B, 3) each, of (B, D) features."""
        mean, raw = self.head(features).chunk(2, dim=1)
        low, high = self._range
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)

    def draw(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, 3) in (-1, 1) and their log-probabilities (B,), for (B, 3) standard normal numbers."""
        mean, log_std = self.distribution(features)
        raw = mean + log_std.exp() * noise
        gauss = -(0.5 * noise.square() + log_std + 0.5 * math.log(2.0 * math.pi)).sum(1)
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)), which does not underflow.
        squash = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw)).sum(1)
        return torch.tanh(raw), gauss - squash

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3) mean action of (B, 3, H, W) images (for Grad-CAM)."""
        return torch.tanh(self.distribution(self.encoder(images).float())[0])


class SAC(ImageAgent):
    """The learner: encoder, squashed Gaussian actor, twin Q with target heads, temperature.

    Args:
        config: settings.
        domains: of the prior data; nothing here tells them apart.
        seed: of the weights and of all random numbers drawn in updates.
        device: where it computes.

    Attributes:
        actor: the policy; a module from images to mean actions.
        updates: number of updates so far.
        frozen: whether the convolutions are.
    """

    config: SACConfig
    CONFIG = SACConfig
    SEES = (FEATURES,)

    def __init__(self, config: SACConfig, domains: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.domains = domains
        self.device = torch.device(device)
        self.updates = 0
        self.frozen = False
        shape = (config.critic_projection, config.critic_hidden, config.critic_layer_norm)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._encoder = ImageEncoder(config.encoder, config.feature_channels)
            self.actor = SquashedActor(self._encoder, config.hidden, config.log_std_range)
            self._q = EnsembleHead(self._encoder.size, 2, True, *shape)
            self._target = EnsembleHead(self._encoder.size, 2, True, *shape)
        self._target.load_state_dict(self._q.state_dict())
        self._target.requires_grad_(False)
        for module in self._modules().values():
            module.to(self.device)
        start = torch.full((), math.log(config.initial_temperature), device=self.device)
        self._log_temperature = start.requires_grad_()
        self._augment = Augment(config.augment).to(self.device)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimisers = {
            "critic": torch.optim.Adam([*self._encoder.parameters(), *self._q.parameters()], lr=config.lr),
            "policy": torch.optim.Adam(self.actor.head.parameters(), lr=config.lr),
            "temperature": torch.optim.Adam([self._log_temperature], lr=config.lr),
        }

    def freeze_convolutions(self, frozen: bool = True) -> None:
        """Fix the encoder, as IQL's is in practice, so that features can be cached; or let it learn again."""
        self.frozen = frozen
        self._encoder.requires_grad_(not frozen)
        self._encoder.train(not frozen)

    # Acting

    def _gaussian(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor.distribution(self._features(features))
        return mean, log_std.exp()

    def _squash(self, action: Tensor) -> Tensor:
        return torch.tanh(action)

    @torch.no_grad()
    def value(self, observation: Any) -> np.ndarray:
        """Value of the mean action, (B,) float32: the lower of both critics, without the entropy."""
        features = self._features(observation)
        action = torch.tanh(self.actor.distribution(features)[0])
        return self._q(features, action).amin(0).cpu().numpy()

    @torch.no_grad()
    def encode(
        self,
        images: Any,
        names: tuple[str, ...] | None = None,
        augment: bool = False,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """See `ImageAgent.encode`. There is one encoder only: `FEATURES`; it is always used."""
        out, training = torch.empty(len(images), self._encoder.size, dtype=torch.float16), self._encoder.training
        for start in range(0, len(images), _CHUNK):
            pixels = to_tensor(images[start : start + _CHUNK], self.device)
            if augment:
                pixels = self._augment(pixels, generator or self._generator)
            with autocast(self.device, self.config.half_precision, images=len(pixels)):
                out[start : start + _CHUNK] = self._encoder.eval()(pixels)
        self._encoder.train(training)
        return {FEATURES: out}

    # Learning

    def update(
        self,
        batch: Batch,
        progress: float = 1.0,
        lr: float | None = None,
        advantage_scale: float | None = None,
        q_gradient_weight: float | None = None,
    ) -> dict[str, float]:
        """One gradient step of critics, policy and temperature, all evaluated at the same weights.

        Args:
            batch: B transitions as images, or as features from `encode` (with frozen convolutions only). Images are
                augmented where the domain is >= 0.
            progress, advantage_scale, q_gradient_weight: for IQL; they have no meaning here.
            lr: learning rate; default: the setting.

        Returns:
            ``loss_q``, ``loss_policy``, ``loss_temperature``, ``temperature``, ``entropy``, ``q_mean``,
            ``target_mean`` and gradient norms before clipping.

        Raises:
            NumericsError: the batch, a loss or a gradient is not finite; nothing was changed.
        """
        random_state = self._generator.get_state()
        try:
            return self._update(batch, self.config.lr if lr is None else lr)
        except NumericsError:
            self._generator.set_state(random_state)
            for optimiser in self._optimisers.values():
                optimiser.zero_grad(set_to_none=True)
            raise

    def _update(self, batch: Batch, lr: float) -> dict[str, float]:
        action = check_finite("action", self._bring(batch.action, torch.float32))
        reward = check_finite("reward", self._bring(batch.reward, torch.float32))
        goes_on = 1.0 - self._bring(batch.terminated, torch.float32)
        features, following = self._observed(batch)
        temperature = self._log_temperature.detach().exp()
        with torch.no_grad():
            next_action, next_log_prob = self.actor.draw(following, self._noise(len(action)))
            next_value = self._target(following, next_action).amin(0) - temperature * next_log_prob
            target = reward + self.config.discount * goes_on * next_value
        q = self._q(features, action)
        still = features.detach()
        drawn, log_prob = self.actor.draw(still, self._noise(len(action)))
        entropy = -log_prob.detach().mean()
        losses = {
            "critic": q_loss(q, target),
            "policy": (temperature * log_prob - self._q(still, drawn).amin(0)).mean(),
            "temperature": self._log_temperature.exp() * (entropy - self.config.target_entropy),
        }
        norms = {}
        for name, loss in losses.items():
            check_finite(f"sac loss of the {name}", loss)
            trained = [p for group in self._optimisers[name].param_groups for p in group["params"] if p.requires_grad]
            # The gradient of one part alone: the policy's loss passes through the critics and must not move them.
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                parameter.grad = gradient
            norms[f"gradient_norm_{name}"] = check_finite(
                f"sac gradient of the {name}", nn.utils.clip_grad_norm_(trained, self.config.gradient_clip)
            )
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            for parameter, source in zip(self._target.parameters(), self._q.parameters(), strict=True):
                parameter.lerp_(source, self.config.ema)
        self.updates += 1
        named = {
            "loss_q": losses["critic"],
            "loss_policy": losses["policy"],
            "loss_temperature": losses["temperature"],
            "temperature": temperature,
            "entropy": entropy,
            "q_mean": q.mean(),
            "target_mean": target.mean(),
            **norms,
        }
        return dict(zip(named, torch.stack([number.detach() for number in named.values()]).tolist(), strict=True))

    def _observed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, D) features of observations and, without gradient, of next observations."""
        if isinstance(batch.observation, Mapping):
            if not self.frozen:
                raise ValueError("update on cached features: freeze_convolutions first, or the features go stale")
            return self._features(batch.observation), self._features(batch.next_observation)
        prior = self._bring(batch.domain, torch.int64) >= 0
        both = (batch.observation, batch.next_observation)
        now, then = (self._change(to_tensor(images, self.device), prior) for images in both)
        with autocast(self.device, self.config.half_precision):
            with torch.set_grad_enabled(not self.frozen):
                features = self._encoder(now)
            with torch.no_grad():
                following = self._encoder(then)
        return features.float(), following.float()

    def _change(self, pixels: Tensor, prior: Tensor) -> Tensor:
        if bool(prior.any()):
            pixels = pixels.clone()
            pixels[prior] = self._augment(pixels[prior], self._generator)
        return pixels

    def _features(self, observation: Any) -> Tensor:
        seen = observation if isinstance(observation, Mapping) else self.encode(observation)
        features = torch.as_tensor(seen[FEATURES]).to(self.device, torch.float32)
        return check_finite(f"features {FEATURES!r}", features)

    def _bring(self, values: Any, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values).to(self.device, dtype)

    def _noise(self, rows: int) -> Tensor:
        return torch.randn(rows, ACTION_DIM, generator=self._generator, device=self.device)

    # State

    def _modules(self) -> dict[str, nn.Module]:
        return {"encoder": self._encoder, "actor": self.actor.head, "q": self._q, "target": self._target}

    def state_dict(self) -> dict[str, Any]:
        """Everything that further updates depend on, as tensors and plain values; also what `restore` needs."""
        return {
            "format": STATE_FORMAT,
            "config": dataclasses.asdict(self.config),
            "domains": self.domains,
            "updates": self.updates,
            "frozen": self.frozen,
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "log_temperature": self._log_temperature.detach().clone(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self._optimisers.items()},
            "random": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state; further updates are then the same as those of the agent that it is from.

        Raises:
            CheckpointError: of another format or of other networks.
        """
        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(f"sac agent of format {state.get('format')!r}, not {STATE_FORMAT}: train it again")
        try:
            for name, module in self._modules().items():
                module.load_state_dict(state["modules"][name])
            for name, optimiser in self._optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError("sac agent with other networks: give the settings it was trained with") from error
        self.freeze_convolutions(state["frozen"])
        with torch.no_grad():
            self._log_temperature.copy_(state["log_temperature"])
        restore_generator(self._generator, state["random"])
        self.updates = state["updates"]
