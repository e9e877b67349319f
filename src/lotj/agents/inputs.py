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
        self._augment = Augment(augment).to(device)
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

    def bring(self, batch: Batch) -> dict[str, Tensor]:
        """A batch on the device, looked at before, so that the device need not be waited for.

        Args:
            batch: images or features.

        Returns:
            name -> tensor: ``action``, ``reward``, ``terminated``, ``domain``; ``imitated`` (row numbers; not where the
            policy imitates all), ``position`` (where the batch has it) and ``practised`` (B,) bool (where some rows
            are not of the prior data); ``observation`` and ``next_observation``, or, for each kind of features that is
            read, ``now `` and ``next `` and its name.

        Raises:
            NumericsError: an action, a reward or a position is not finite.
        """
        looked_at = {"action": batch.action, "reward": batch.reward}
        if batch.position is not None:
            looked_at["position"] = batch.position
        brought = {
            name: check_finite(name, torch.as_tensor(values).float()).to(self._device)
            for name, values in looked_at.items()
        }
        domain = torch.as_tensor(batch.domain)
        brought["terminated"] = torch.as_tensor(batch.terminated).to(self._device, torch.bool)
        brought["domain"] = domain.to(self._device, torch.int64)
        if batch.policy is not None:
            brought["imitated"] = torch.as_tensor(batch.policy).nonzero()[:, 0].to(self._device)
        if isinstance(batch.observation, Mapping):
            seen, v_key = batch.observation, self._critic.v_key
            names = dict.fromkeys(("policy", self._critic.q_key, v_key))
            brought |= {f"now {name}": self.features(seen, name) for name in names}
            brought[f"next {v_key}"] = self.features(batch.next_observation, v_key)
        else:
            if bool((domain < 0).any()):
                brought["practised"] = (domain < 0).to(self._device)
            brought["observation"] = to_tensor(batch.observation, self._device)
            brought["next_observation"] = to_tensor(batch.next_observation, self._device)
        return brought

    def make(
        self, brought: Mapping[str, Tensor], frozen: bool, generator: torch.Generator, all_rows: bool = False
    ) -> Inputs:
        """The inputs of one update.

        Args:
            brought: a batch on the device, from `bring`.
            frozen: whether the convolutions are; features can be used only then.
            generator: random numbers of the augmentation.
            all_rows: the policy is trained on all rows, not only on those that it imitates.
        """
        everything = slice(None)
        chosen = brought.get("imitated", everything)
        rows, imitated = (everything, chosen) if all_rows else (chosen, everything)
        position = brought.get("position")
        if "observation" in brought:
            maps = self._encoded(brought, rows, frozen, generator)
        elif frozen:
            maps = self._cached(brought, rows)
        else:
            raise ValueError("update on cached features: freeze_convolutions first, or the features go stale")
        return Inputs(
            **maps,
            rows=rows,
            imitated=imitated,
            action=brought["action"],
            reward=brought["reward"],
            terminated=brought["terminated"],
            domain=brought["domain"],
            position=None if position is None else position / POSITION_SCALE,
        )

    def _cached(self, brought: Mapping[str, Tensor], rows: Any) -> dict[str, Tensor]:
        policy, q = brought["now policy"], brought[f"now {self._critic.q_key}"]
        return {
            "policy": policy if isinstance(rows, slice) else policy[rows],
            "q": q,
            "v": brought[f"now {self._critic.v_key}"],
            "target": q,
            "v_next": brought[f"next {self._critic.v_key}"],
        }

    def _encoded(
        self, brought: Mapping[str, Tensor], rows: Any, frozen: bool, generator: torch.Generator
    ) -> dict[str, Tensor]:
        observed, following = self._augmented(brought, generator)
        q_key, v_key = self._critic.q_key, self._critic.v_key
        with autocast(self._device, self._half), torch.set_grad_enabled(not frozen):
            maps = {"policy": self.encoders["policy"](observed[rows]), "q": self.encoders[q_key](observed)}
            maps["v"] = maps["q"] if v_key == q_key else self.encoders[v_key](observed)
            with torch.no_grad():
                maps["v_next"] = self.encoders[v_key](following)
                maps["target"] = maps["q"] if frozen else self._target.encoder(observed)
        return {name: value.float() for name, value in maps.items()}

    def _augmented(self, brought: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Observations and next observations as images; those of the prior data are augmented."""
        practised = brought.get("practised")
        start = generator.get_state() if self._alike else None
        observed = self._change(brought["observation"], practised, generator)
        if start is not None:
            generator.set_state(start)
        return observed, self._change(brought["next_observation"], practised, generator)

    def _change(self, pixels: Tensor, practised: Tensor | None, generator: torch.Generator) -> Tensor:
        if practised is None:
            return self._augment(pixels, generator)
        mixed = pixels.clone()
        mixed[~practised] = self._augment(pixels[~practised], generator)
        return mixed
