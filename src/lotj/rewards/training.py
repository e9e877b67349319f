"""Training the success classifier, one update at a time, so that whoever drives it can log, save, stop and resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.data.dataset import Dataset
from lotj.data.prefetch import Prefetcher
from lotj.errors import CheckpointError, SettingsError
from lotj.nets.augment import Augment
from lotj.nets.encoder import to_tensor
from lotj.nets.precision import autocast, check_finite
from lotj.nets.recording import Recording
from lotj.nets.schedule import warmup_cosine
from lotj.rewards.classifier import RewardConfig, SuccessClassifier
from lotj.rewards.held_out import held_out_report, score_frames
from lotj.rewards.model import RewardModel
from lotj.rewards.sampling import BalancedSampler, LabelledBatch
from lotj.rewards.threshold import choose_threshold

LARGEST_GRADIENT = 10.0
"""Gradients are scaled down to this norm."""


class RewardTrainer:
    """Trains R(s) with binary cross-entropy and L_DAIB (LOTJ, equation 5).

    Every random number of update k is drawn from generators seeded with (seed, k): the same seed gives the same result,
    interrupted or not, and batches can be read ahead. Close it, or use it as a context manager, to end the reading
    thread.

    Args:
        dataset: training domains only; the adversary tells these apart.
        config: its settings.
        seed: fixes initial weights, batches, augmentation and codes.
        device: where to compute.

    Attributes:
        step_count: updates done.

    Raises:
        SettingsError: the data set has another image size than the encoder.
        DataError: no domain has both successes and other frames.
    """

    def __init__(self, dataset: Dataset, config: RewardConfig, seed: int, device: torch.device | str = "cpu") -> None:
        if dataset.image_size != config.encoder.image_size:
            raise SettingsError(
                f"encoder image size {config.encoder.image_size}: {dataset.root} holds {dataset.image_size} px images; "
                f"set it to {dataset.image_size}"
            )
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.dataset = dataset
        self.step_count = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._online = SuccessClassifier(config, len(dataset.domains)).to(self.device).train()
            self._average = SuccessClassifier(config, len(dataset.domains)).to(self.device).eval()
        self._average.load_state_dict(self._online.state_dict())
        self._augment = Augment(config.augment).to(self.device)
        self._sampler = BalancedSampler(dataset, config.near_miss_share, config.almost_share)
        self._trained, self._averaged = list(self._online.parameters()), list(self._average.parameters())
        self._optimiser = torch.optim.AdamW(self._trained, config.lr, weight_decay=config.weight_decay)
        self._generator = torch.Generator(self.device)
        cuda = self.device.type == "cuda"
        self._differentiate = Recording(self._gradients, self._generator) if cuda else self._gradients
        self._batches = Prefetcher(self._load)

    def __enter__(self) -> RewardTrainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread that reads batches."""
        self._batches.close()

    @property
    def progress(self) -> float:
        """Fraction of the updates done, in [0, 1]."""
        return min(1.0, self.step_count / self.config.steps)

    @property
    def done(self) -> bool:
        """Whether all updates are done."""
        return self.step_count >= self.config.steps

    @property
    def classifier(self) -> SuccessClassifier:
        """The classifier so far, in evaluation mode: the running average of the weights, or the last ones without."""
        return self._average if self.config.ema else self._online

    def step(self) -> dict[str, float]:
        """One update.

        Returns:
            ``loss`` (of all), ``success_loss`` (cross-entropy), ``kl``, ``domain_loss`` [nats], ``domain_accuracy``,
            ``accuracy`` (of this batch), ``gradient_norm`` and ``lr``.

        Raises:
            NumericsError: a loss or gradient that is not finite; the weights are as before the update.
        """
        batch = self._batches.get(self.step_count)
        self._generator.manual_seed(_torch_seed(self.seed, self.step_count))
        brought = {
            "images": to_tensor(batch.images, self.device),
            "success": torch.from_numpy(batch.success).to(self.device, torch.float32),
            "domain": torch.from_numpy(batch.domain).to(self.device),
            "progress": torch.full((), self.progress, device=self.device),
        }
        self._online.train()
        names, numbers = self._differentiate(brought)
        figures = dict(zip(names, numbers.tolist(), strict=True))  # all at once: a GPU is waited for
        for name in ("loss", "gradient_norm"):
            check_finite(f"reward {name}", torch.tensor(figures[name]))
        lr = warmup_cosine(self.step_count, self.config.steps, self.config.lr, self.config.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()
        self.step_count += 1
        self._follow()
        return {**figures, "lr": lr}

    def _gradients(self, brought: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
        """Leave the clipped gradients behind; names and numbers of the update. It must not wait, see `Recording`."""
        images, success = self._augment(brought["images"], self._generator), brought["success"]
        with autocast(self.device):
            code = self._online.encode(images, sample=True, generator=self._generator)
            logits = self._online.judge(code.z)
            penalty, terms = self._online.bottleneck.penalty(code, brought["domain"], brought["progress"])
        smooth = self.config.label_smoothing
        success_loss = F.binary_cross_entropy_with_logits(logits, success * (1.0 - smooth) + smooth / 2.0)
        loss = success_loss + penalty
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._trained, LARGEST_GRADIENT)
        accuracy = ((logits > 0) == (success > 0.5)).float().mean()
        named = {"loss": loss, "success_loss": success_loss, **terms, "accuracy": accuracy, "gradient_norm": norm}
        return tuple(named), torch.stack([number.detach().float() for number in named.values()])

    def model(self, validation: Dataset) -> RewardModel:
        """The reward model so far, with its threshold chosen and its figures taken on validation domains.

        Raises:
            CheckpointError: other image size than the training data's.
            DataError: validation data without successes or without other frames.
        """
        model = RewardModel(self.classifier, self.config, 0.5, device=self.device)
        frames = score_frames(model, validation)
        model.threshold = choose_threshold(
            frames.score, frames.success, frames.kind, frames.domain, self.config.min_precision
        )
        model.report = held_out_report(model, validation, frames)
        return model

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on as if never interrupted."""
        return {
            "step": self.step_count,
            "seed": self.seed,
            "config": asdict(self.config),
            "domains": [domain.name for domain in self.dataset.domains],
            "online": self._online.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            CheckpointError: it was taken with another seed, configuration or set of domains.
        """
        mine = {"seed": self.seed, "config": asdict(self.config), "domains": [d.name for d in self.dataset.domains]}
        for name, value in mine.items():
            if state[name] != value:
                raise CheckpointError(
                    f"the reward checkpoint was made with another {name}: resume with the settings and data it was "
                    "started with, or start a new run"
                )
        self._online.load_state_dict(state["online"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step_count = state["step"]

    def _load(self, step: int) -> LabelledBatch:
        index = self._sampler.draw(self.config.batch, np.random.default_rng([self.seed, step]))
        return LabelledBatch(
            self.dataset.images(index),
            self.dataset.frame_success[index],
            self.dataset.frame_domain[index].astype(np.int64),
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average. Early on it is shorter, or it would remember the initial weights."""
        if not self.config.ema:
            return
        decay = min(self.config.ema, (1.0 + self.step_count) / (10.0 + self.step_count))
        for mean, value in zip(self._averaged, self._trained, strict=True):
            mean.lerp_(value, 1.0 - decay)
        for mean, value in zip(self._average.buffers(), self._online.buffers(), strict=True):
            mean.copy_(value)


def train_reward(
    train: Dataset,
    validation: Dataset,
    config: RewardConfig,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[RewardTrainer, dict[str, float]], None] | None = None,
    resume: dict[str, Any] | None = None,
) -> RewardModel:
    """Train to the end and choose the threshold.

    Args:
        train: training domains.
        validation: validation domains, none of them in `train`.
        config: its settings.
        seed: fixes everything random.
        device: where to compute.
        on_step: called after each update with the trainer and its named floats: log, save, show.
        resume: a `RewardTrainer.state_dict` to go on from.
    """
    with RewardTrainer(train, config, seed, device) as trainer:
        if resume is not None:
            trainer.load_state_dict(resume)
        while not trainer.done:
            terms = trainer.step()
            if on_step is not None:
                on_step(trainer, terms)
        return trainer.model(validation)


def _torch_seed(seed: int, step: int) -> int:
    return int(np.random.default_rng([seed, step, 1]).integers(2**63))
