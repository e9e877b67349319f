"""From a batch of images or cached features to what the losses read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lotj.agents.networks import POSITION_SCALE, Actor, Critic, ImageEncoder, TargetQ
from lotj.experience import Batch
from lotj.nets.augment import Augment, AugmentConfig
from lotj.nets.encoder import to_tensor
from lotj.nets.precision import autocast, check_finite

_CHUNK = 256  # images encoded at once when nothing is learnt from them


@dataclass
class Inputs:
    """Features and numbers of one update. P of the B rows train the policy, which imitates some or all of these; an
    encoder gives D features."""

    policy: Tensor  # (P, D)
    q: Tensor  # (B, D)
    v: Tensor  # (B, D), the same tensor as q where they share an encoder
    target: Tensor  # (B, D), without gradient
    v_next: Tensor  # (B, D), without gradient
    rows: Tensor | slice  # which of the B rows are the policy's
    imitated: Tensor | slice  # which of these P it imitates
    action: Tensor  # (B, 3)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    domain: Tensor  # (B,) int64
    position: Tensor | None  # (B, 3) in units of POSITION_SCALE


class InputMaker:
    """Runs the encoders of an agent; they belong to the agent and change under its hands.

    Args:
        actor: the policy, whose features are called ``policy``.
        critic: Q and V, whose features are called ``critic``, or ``q`` and ``v``.
        target: the target Q.
        augment: changes of images of the prior data.
        alike: change observation and next observation in the same way.
        half: bf16 where the device is fast at it.
        device: where all of them are.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        target: TargetQ,
        augment: AugmentConfig,
        alike: bool,
        half: bool,
        device: torch.device,
    ) -> None:
        keys = dict.fromkeys((critic.q_key, critic.v_key))
        self.encoders: dict[str, ImageEncoder] = {"policy": actor.encoder} | {key: critic.encoder(key) for key in keys}
        self._critic = critic
        self._target = target
        self._augment = Augment(augment)
        self._alike = alike
        self._half = half
        self._device = device

    @torch.no_grad()
    def encode(
        self, images: Any, names: tuple[str, ...] | None, augment: bool, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See `IQL.encode`."""
        encoders = {name: encoder for name, encoder in self.encoders.items() if names is None or name in names}
        out = {name: torch.empty(len(images), e.size, dtype=torch.float16) for name, e in encoders.items()}
        training = {name: encoder.training for name, encoder in encoders.items()}
        for start in range(0, len(images), _CHUNK):
            pixels = to_tensor(images[start : start + _CHUNK], self._device)
            if augment:
                pixels = self._augment(pixels, generator)
            with autocast(self._device, self._half, images=len(pixels)):
                for name, encoder in encoders.items():
                    out[name][start : start + _CHUNK] = encoder.eval()(pixels)
        for name, encoder in encoders.items():
            encoder.train(training[name])
        return out

    def features(self, observation: Mapping[str, Any], name: str) -> Tensor:
        """(B, D) float32 on the device, from a mapping that `encode` made."""
        if name not in observation:
            raise ValueError(f"features {sorted(observation)} lack {name!r}: make them with this agent's encode()")
        return torch.as_tensor(observation[name]).to(self._device, torch.float32)

    def make(self, batch: Batch, frozen: bool, generator: torch.Generator, all_rows: bool = False) -> Inputs:
        """The inputs of one update.

        Args:
            batch: images or features.
            frozen: whether the convolutions are; features can be used only then.
            generator: random numbers of the augmentation.
            all_rows: the policy is trained on all rows, not only on those that it imitates.

        Raises:
            NumericsError: an action or a reward is not finite.
        """
        everything = slice(None)
        chosen = everything if batch.policy is None else self._bring(batch.policy, torch.bool).nonzero()[:, 0]
        rows, imitated = (everything, chosen) if all_rows else (chosen, everything)
        domain = self._bring(batch.domain, torch.int64)
        if isinstance(batch.observation, Mapping):
            if not frozen:
                raise ValueError("update on cached features: freeze_convolutions first, or the features go stale")
            maps = self._cached(batch, rows)
        else:
            maps = self._encoded(batch, rows, domain, frozen, generator)
        return Inputs(
            **maps,
            rows=rows,
            imitated=imitated,
            action=check_finite("action", self._bring(batch.action, torch.float32)),
            reward=check_finite("reward", self._bring(batch.reward, torch.float32)),
            terminated=self._bring(batch.terminated, torch.bool),
            domain=domain,
            position=self._position(batch),
        )

    def _position(self, batch: Batch) -> Tensor | None:
        if batch.position is None:
            return None
        return check_finite("position", self._bring(batch.position, torch.float32)) / POSITION_SCALE

    def _bring(self, values: Any, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values).to(self._device, dtype)

    def _cached(self, batch: Batch, rows: Any) -> dict[str, Tensor]:
        seen, q_key, v_key = batch.observation, self._critic.q_key, self._critic.v_key
        policy = self.features(seen, "policy")
        q = self.features(seen, q_key)
        return {
            "policy": policy if isinstance(rows, slice) else policy[rows],
            "q": q,
            "v": q if v_key == q_key else self.features(seen, v_key),
            "target": q,
            "v_next": self.features(batch.next_observation, v_key),
        }

    def _encoded(
        self, batch: Batch, rows: Any, domain: Tensor, frozen: bool, generator: torch.Generator
    ) -> dict[str, Tensor]:
        observed, following = self._augmented(batch, domain, generator)
        q_key, v_key = self._critic.q_key, self._critic.v_key
        with autocast(self._device, self._half), torch.set_grad_enabled(not frozen):
            maps = {"policy": self.encoders["policy"](observed[rows]), "q": self.encoders[q_key](observed)}
            maps["v"] = maps["q"] if v_key == q_key else self.encoders[v_key](observed)
            with torch.no_grad():
                maps["v_next"] = self.encoders[v_key](following)
                maps["target"] = maps["q"] if frozen else self._target.encoder(observed)
        return {name: value.float() for name, value in maps.items()}

    def _augmented(self, batch: Batch, domain: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Observations and next observations as images; those of the prior data are augmented."""
        start = generator.get_state()
        observed = self._change(to_tensor(batch.observation, self._device), domain >= 0, generator)
        if self._alike:
            generator.set_state(start)
        return observed, self._change(to_tensor(batch.next_observation, self._device), domain >= 0, generator)

    def _change(self, pixels: Tensor, prior: Tensor, generator: torch.Generator) -> Tensor:
        if bool(prior.all()):
            return self._augment(pixels, generator)
        mixed = pixels.clone()
        mixed[prior] = self._augment(pixels[prior], generator)
        return mixed
