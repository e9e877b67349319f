"""How generative models learn: those of pictures, from frames and the first frames of their episodes, and all others
that say their losses for what they are shown."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from lotj.data.store import Store
from lotj.errors import NumericsError
from lotj.goals.encoder import Latent, pixels
from lotj.nets.cc_vae import CCVAE, CCVAEConfig
from lotj.nets.vae import VAE, PictureModel, VAEConfig
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Checked
from lotj.runs import Run
from lotj.training.loop import train
from lotj.training.pretrain_config import PretrainConfig

MODELS: Mapping[str, tuple[type[PictureModel], type[Any]]] = {"vae": (VAE, VAEConfig), "cc-vae": (CCVAE, CCVAEConfig)}
"""Name -> model and its settings."""

Draw = Callable[[np.random.Generator], tuple[Tensor, ...]]
"""Random numbers -> what a model's `losses` are asked about."""

Losses = Callable[..., Mapping[str, Tensor]]
"""What a model is shown -> terms whose sum is the loss, () each."""


@dataclass(frozen=True)
class ModelTraining(Checked):
    """How a model is trained: by Adam, at a rate that falls to 0 along a cosine."""

    steps: Annotated[int, COUNT] = 4000
    """Updates."""
    lr: Annotated[float, POSITIVE] = 4e-3
    """Learning rate at the beginning."""
    clip: Annotated[float, NOT_NEGATIVE] = 0.0
    """Largest norm of the gradient; 0 leaves it as it is, as losses that are sums over pixels want it."""
    ramp: Annotated[float, SHARE] = 0.5
    """Share of the updates in which the weight of a ``divergence`` rises from 0 to its own: with all of it from the
    start entries fall silent before the second thing that moves is found."""


class Modeller:
    """A model that learns. It has what `lotj.training.loop.train` asks of a learner.

    Args:
        model: changed in place; in evaluation mode but for its updates.
        training: settings.
        seed: of all that is drawn; a draw depends on it and on the number of the update alone.
        device: where it computes.
        losses: asked instead of the model's own.

    Attributes:
        model, updates: the networks; updates so far.
    """

    model: Any

    def __init__(
        self, model: nn.Module, training: ModelTraining, seed: int = 0, device: str = "cpu",
        losses: Losses | None = None,
    ) -> None:  # fmt: skip
        self.model, self.device = model.to(device).eval(), torch.device(device)
        self._training, self._seed = training, seed
        self._losses: Losses = losses or model.losses  # type: ignore[assignment]
        self._optimiser = torch.optim.Adam(model.parameters())
        self.updates = 0

    def update(self, *shown: Tensor) -> dict[str, float]:
        """One step of Adam; the terms of the loss. NumericsError where it is not finite."""
        training, number = self._training, self.updates
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1_000_003 * self._seed + number)
            terms = self._losses(*shown)
        share = min(1.0, (number + 1) / max(1.0, training.ramp * training.steps))
        loss = torch.stack([term * share if name == "divergence" else term for name, term in terms.items()]).sum()
        if not torch.isfinite(loss):
            raise NumericsError(f"loss of update {number} is {loss.item()}; lower the learning rate")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if training.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), training.clip)
        left = 1.0 - number / training.steps
        self._optimiser.param_groups[0]["lr"] = training.lr * 0.5 * (1.0 - math.cos(math.pi * left))
        self._optimiser.step()
        self.model.eval()
        self.updates += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    def learn(self, draw: Draw, run: Run | None = None, name: str = "encoder", **made_with: Any) -> None:
        """The updates still to do, on what is drawn; in a run metrics and the checkpoint go by `name`, with what the
        model is `made_with`."""

        def update(number: int) -> dict[str, float]:
            return self.update(*draw(np.random.default_rng([self._seed, number])))

        if run is None:
            for number in range(self.updates, self._training.steps):
                update(number)
            return
        learner: Any = self
        if run.has(name):
            self.restore(run.load(name, str(self.device))["agent"])
        made_with = {"training": asdict(self._training), **made_with}
        train(run, name, learner, made_with, self._training.steps, update, PretrainConfig(), False, ())

    def state(self) -> dict[str, Any]:
        """All that further updates depend on, copied."""
        parts = {"model": self.model.state_dict(), "optimiser": self._optimiser.state_dict()}
        return copy.deepcopy({"updates": self.updates, **parts})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`."""
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.updates = state["updates"]


def picture_model(kind: str, settings: Mapping[str, Any], seed: int = 0) -> PictureModel:
    """One of `MODELS`, untrained."""
    network, config = MODELS[kind]
    torch.manual_seed(seed)
    return network(config(**settings))


def pairs(store: Store, count: int = 64, device: str = "cpu") -> Draw:
    """Draws so many frames of a store, evenly, and the first ones of their episodes: (B, 3, H, W) in [0, 1] each."""
    starts, episode = store.episodes["first_frame"].astype(np.int64), store.frame_episode

    def draw(rng: np.random.Generator) -> tuple[Tensor, ...]:
        frame = rng.integers(store.n_frames, size=count)
        both = store.observe(np.concatenate([frame, starts[episode[frame]]]), ["image"])["image"][:, 0]
        return pixels(both[:count]).to(device), pixels(both[count:]).to(device)

    return draw


def load_encoder(run: Run, device: str = "cpu", name: str = "encoder") -> Latent:
    """A trained model of pictures, of the checkpoint that `Modeller.learn` made with its ``kind`` and ``settings``."""
    state = run.load(name, device)
    model = picture_model(state["kind"], state["settings"])
    model.load_state_dict(state["agent"]["model"])
    return Latent(model, device)
