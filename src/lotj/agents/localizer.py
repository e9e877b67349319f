"""Where the plug is over its socket, predicted from images: the learned perception of the localising baselines.

LOTJ, section VI-A: a model trained on the same offline data predicts the socket's position; a hand-made controller
goes there, and State-IQL takes it for the state. State-IQL is `IQL` behind a `Vector` front that reads ``position``: of
prior data the true one, in practice what `Localizer.locate` sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lotj.agents import losses
from lotj.errors import CheckpointError, LotjError
from lotj.nets.front import Pixels
from lotj.nets.heads import mlp
from lotj.nets.precision import check_finite
from lotj.nets.schedule import warmup_cosine
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Checked
from lotj.runs.settings import restore_settings
from lotj.spaces import Spec

BATCH = 256
"""Images located at once."""


@dataclass(frozen=True)
class LocalizerConfig(Checked):
    """How the localisation model is made and trained."""

    front: Pixels = field(default_factory=lambda: Pixels(feature_channels=0))
    """What it sees through. Without mirror images, in which the position would be another."""
    hidden: Annotated[tuple[int, ...], COUNT] = (256,)
    """Hidden layers of the head."""
    steps: Annotated[int, COUNT] = 3000
    """Updates."""
    batch: Annotated[int, COUNT] = 128
    """Frames per update."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Learning rate of AdamW after the warm-up; falls to 0 along a cosine."""
    warmup: Annotated[int, NOT_NEGATIVE] = 100
    """Updates over which the learning rate rises from 0."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front.augment.flip:
            self._refuse("front", "its augment flip must be 0, a mirror changes the position")


class Localizer:
    """Regression of the plug's position in the socket frame.

    Args:
        config: settings.
        spec: what is observed; it is asked for ``image``.
        seed: of the weights and, with the number of an update, of its augmentation.
        device: where it computes.

    Attributes:
        network: images, as the front brings them, to positions in units of `losses.POSITION_SCALE`.
        updates: number of updates so far.
    """

    def __init__(self, config: LocalizerConfig, spec: Spec, seed: int = 0, device: str | torch.device = "cpu") -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.updates = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = config.front.encoder(spec, "position")
            self.network = nn.Sequential(encoder, mlp(encoder.size, config.hidden, 3)).to(self.device)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), config.lr, weight_decay=config.weight_decay)

    def update(self, images: np.ndarray, position: np.ndarray) -> dict[str, float]:
        """One gradient step on `losses.position_loss`.

        Args:
            images: (B, V, H, W, 3) uint8.
            position: (B, 3) of the plug in the socket frame [m].

        Returns:
            ``loss``, ``lateral_mm`` (mean error beside the axis) and ``lr``.

        Raises:
            NumericsError: a position or a loss is not finite; the weights are as before.
        """
        true = torch.as_tensor(position).to(self.device, torch.float32)
        target = check_finite("position", true) / losses.POSITION_SCALE
        lr = warmup_cosine(self.updates, self.config.steps, self.config.lr, self.config.warmup)
        self._optimiser.param_groups[0]["lr"] = lr
        self.network.train()
        predicted = self.network(self._augmented(images))
        loss = check_finite("localizer loss", losses.position_loss(predicted, target))
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.updates += 1
        error = (predicted - target)[:, :2].detach().norm(dim=1).mean() * losses.POSITION_SCALE * 1e3
        return {"loss": float(loss.detach()), "lateral_mm": float(error), "lr": lr}

    def _augmented(self, images: np.ndarray) -> Mapping[str, Tensor]:
        generator = torch.Generator(self.device)
        generator.manual_seed(int(np.random.SeedSequence((self.seed, self.updates)).generate_state(1)[0]))
        return self.config.front.change(self.config.front.bring({"image": images}, self.device), None, generator)

    @torch.no_grad()
    def locate(self, images: np.ndarray) -> np.ndarray:
        """Position of the plug in the socket frame [m], (N, 3) float32, of (N, V, H, W, 3) uint8 images."""
        self.network.eval()
        parts: list[Tensor] = [torch.zeros(0, 3)]
        for first in range(0, len(images), BATCH):
            predicted = self.network(self.config.front.bring({"image": images[first : first + BATCH]}, self.device))
            parts.append(check_finite("located position", predicted).cpu() * losses.POSITION_SCALE)
        return torch.cat(parts).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that `restore` needs, also to go on training."""
        return {
            "config": dataclasses.asdict(self.config),
            "spec": self.spec.to_json(),
            "seed": self.seed,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "updates": self.updates,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], device: str | torch.device = "cpu") -> Self:
        """What `state_dict` was taken of.

        Raises:
            CheckpointError: it does not fit this program.
        """
        try:
            config = restore_settings(LocalizerConfig, state["config"], "the localisation model")
            made = cls(config, Spec.from_json(state["spec"]), state["seed"], device)
            made.network.load_state_dict(state["network"])
            made._optimiser.load_state_dict(state["optimiser"])
            made.updates = int(state["updates"])
        except (KeyError, TypeError, ValueError, RuntimeError, LotjError) as error:
            raise CheckpointError(f"the localisation model does not fit this program ({error}): train anew") from error
        return made
