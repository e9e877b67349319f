"""Generative models of pictures, learnt from prior data: pairs of a frame and the first frame of its episode."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import torch

from lotj.data.store import Store
from lotj.errors import NumericsError
from lotj.goals.encoder import Latent, pixels
from lotj.nets.cc_vae import CCVAE, CCVAEConfig
from lotj.nets.vae import VAE, PictureModel, VAEConfig
from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Checked
from lotj.runs import Run
from lotj.training.loop import train
from lotj.training.pretrain_config import PretrainConfig

MODELS: Mapping[str, tuple[type[PictureModel], type[Any]]] = {"vae": (VAE, VAEConfig), "cc-vae": (CCVAE, CCVAEConfig)}
"""Name -> model and its settings."""


@dataclass(frozen=True)
class EncoderTraining(Checked):
    """How a model of pictures is trained."""

    steps: Annotated[int, COUNT] = 4000
    """Updates."""
    batch: Annotated[int, COUNT] = 128
    """Pictures in a batch."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Learning rate of Adam."""
    beta_ramp: Annotated[float, NOT_NEGATIVE] = 0.3
    """Share of the updates in which the weight of the divergence rises from 0 to its own."""


class Modeller:
    """A model of pictures that learns. It has what `lotj.training.loop.train` asks of a learner.

    Attributes:
        model, updates: the networks; updates so far.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        network, config = MODELS[kind]
        torch.manual_seed(seed)
        self.kind, self.config, self.device, self._seed = kind, config(**settings), torch.device(device), seed
        self.model: PictureModel = network(self.config).to(self.device)
        self._optimiser = torch.optim.Adam(self.model.parameters())
        self.updates = 0

    def update(self, images: np.ndarray, first: np.ndarray, lr: float, divergence: float = 1.0) -> dict[str, float]:
        """One step of Adam on pictures (B, H, W, 3) uint8 and the first ones of their episodes, with so much of the
        divergence's weight; the terms of the loss. NumericsError where it is not finite."""
        generator = torch.Generator(self.device).manual_seed(1_000_003 * self._seed + self.updates)
        brought = [pixels(array).to(self.device) for array in (images, first)]
        self.model.train()
        terms = self.model.losses(brought[0], brought[1], generator)
        loss = sum(term * (divergence if name == "divergence" else 1.0) for name, term in terms.items())
        assert isinstance(loss, torch.Tensor)
        if not torch.isfinite(loss):
            raise NumericsError(f"loss of update {self.updates} is {float(loss)}; lower the learning rate")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.param_groups[0]["lr"] = lr
        self._optimiser.step()
        self.model.eval()
        self.updates += 1
        return {name: float(term.detach()) for name, term in terms.items()}

    def learn(self, store: Store, training: EncoderTraining, run: Run | None = None) -> None:
        """The updates still to do, on pictures of a store; saved in a run as the checkpoint ``encoder``."""
        starts = store.episodes["first_frame"].astype(np.int64)
        episode = store.frame_episode

        def update(number: int) -> dict[str, float]:
            rng = np.random.default_rng([self._seed, number])
            frame = rng.integers(store.n_frames, size=training.batch)
            both = store.observe(np.concatenate([frame, starts[episode[frame]]]), ["image"])["image"][:, 0]
            ramp = min(1.0, (number + 1) / max(1.0, training.beta_ramp * training.steps))
            return self.update(both[: len(frame)], both[len(frame) :], training.lr, ramp)

        if run is None:
            for number in range(self.updates, training.steps):
                update(number)
            return
        made_with, often = {"training": asdict(training)}, PretrainConfig()
        learner: Any = self
        train(run, "encoder", learner, made_with, training.steps, update, often, False, ("reconstruction",))

    def latent(self) -> Latent:
        """The model as an encoder; it goes on being this one's."""
        return Latent(self.model, self.device)

    def state(self) -> dict[str, Any]:
        """All that further updates depend on, copied."""
        made = {"kind": self.kind, "config": asdict(self.config), "seed": self._seed, "updates": self.updates}
        return copy.deepcopy({**made, "model": self.model.state_dict(), "optimiser": self._optimiser.state_dict()})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`."""
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.updates = state["updates"]

    @classmethod
    def load(cls, run: Run, device: str = "cpu") -> Modeller:
        """From the checkpoint ``encoder`` of a run."""
        state = run.load("encoder", device)["agent"]
        made = cls(state["kind"], state["config"], state["seed"], device)
        made.restore(state)
        made.model.eval()
        return made
