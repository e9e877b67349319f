"""Training the success classifier, one update at a time, so that whoever drives it can log, save, stop and resume."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.data.prefetch import Prefetcher
from lotj.data.store import Store
from lotj.errors import CheckpointError, DataError
from lotj.nets.average import follow
from lotj.nets.precision import autocast, check_finite
from lotj.nets.recording import Recording
from lotj.nets.schedule import warmup_cosine
from lotj.rewards.classifier import RewardConfig, SuccessClassifier
from lotj.rewards.held_out import held_out_report, score_frames
from lotj.rewards.model import RewardModel
from lotj.rewards.sampling import BalancedSampler
from lotj.rewards.threshold import choose_threshold

LARGEST_GRADIENT = 10.0
"""Gradients are scaled down to this norm."""


class RewardTrainer:
    """Trains R(s) with binary cross-entropy and L_DAIB (LOTJ, equation 5).

    Every random number of update k is drawn from generators seeded with (seed, k): the same seed gives the same result,
    interrupted or not, and batches can be read ahead. Close it, or use it as a context manager, to end the reading
    thread.

    Args:
        train: training tasks only, observed by ``image`` (V, H, W, 3); the adversary tells these apart.
        validation: validation tasks, on which the threshold is chosen.
        config: its settings.
        seed: fixes initial weights, batches, augmentation and codes.
        device: where to compute.

    Attributes:
        step_count: updates done.
        classifier: so far, in evaluation mode: the running average of the weights.

    Raises:
        DataError: no training task has both successes and other frames, the validation tasks lack one of these, or
            they show other images.
    """

    def __init__(
        self,
        train: Store,
        validation: Store,
        config: RewardConfig,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.train, self.validation = train, validation
        self.step_count = 0
        shape = _check(train, validation)
        self._sampler = BalancedSampler(train, config.near_miss_share, config.near_miss_kinds)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._online = SuccessClassifier(config, shape, len(train.tasks)).to(self.device).train()
        self.classifier = copy.deepcopy(self._online).eval()
        self._success, self._task = train.success, train.frame_task
        self._trained = list(self._online.parameters())
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
            **self.config.front.bring(batch, self.device),
            "success": torch.from_numpy(batch["success"]).to(self.device, torch.float32),
            "task": torch.from_numpy(batch["task"]).to(self.device),
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
        # Early on the average is shorter, or it would remember the initial weights.
        decay = min(self.config.ema, (1.0 + self.step_count) / (10.0 + self.step_count))
        follow(self.classifier, self._online, 1.0 - decay)
        return {**figures, "lr": lr}

    def _gradients(self, brought: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
        """Leave the clipped gradients behind; names and numbers of the update. It must not wait, see `Recording`."""
        images = self.config.front.change({"image": brought["image"]}, None, self._generator)["image"]
        success = brought["success"]
        with autocast(self.device):
            code = self._online.encode(images, sample=True, generator=self._generator)
            logits = self._online.judge(code.z)
            penalty, terms = self._online.bottleneck.penalty(code, brought["task"], brought["progress"])
        success_loss = F.binary_cross_entropy_with_logits(logits, success)
        loss = success_loss + penalty
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._trained, LARGEST_GRADIENT)
        accuracy = ((logits > 0) == (success > 0.5)).float().mean()
        named = {"loss": loss, "success_loss": success_loss, **terms, "accuracy": accuracy, "gradient_norm": norm}
        return tuple(named), torch.stack([number.detach().float() for number in named.values()])

    def model(self) -> RewardModel:
        """The reward model so far, with its threshold chosen and its figures taken on the validation tasks."""
        model = RewardModel(self.classifier, self.config, 0.5, device=self.device)
        frames = score_frames(model, self.validation)
        model.threshold = choose_threshold(
            frames.score, frames.success, frames.near, frames.task, self.config.min_precision
        )
        model.report = held_out_report(model, self.validation, frames)
        return model

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on as if never interrupted."""
        return {
            "step": self.step_count,
            "seed": self.seed,
            "config": asdict(self.config),
            "tasks": [task.name for task in self.train.tasks],
            "online": self._online.state_dict(),
            "average": self.classifier.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            CheckpointError: it was taken with another seed, configuration or set of tasks.
        """
        mine = {"seed": self.seed, "config": asdict(self.config), "tasks": [task.name for task in self.train.tasks]}
        for name, value in mine.items():
            if state[name] != value:
                raise CheckpointError(
                    f"the reward checkpoint was made with another {name}: resume with the settings and data it was "
                    "started with, or start a new run"
                )
        self._online.load_state_dict(state["online"])
        self.classifier.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step_count = state["step"]

    def _load(self, step: int) -> dict[str, np.ndarray]:
        index = self._sampler.draw(self.config.batch, np.random.default_rng([self.seed, step]))
        seen = self.train.observe(index, ["image"])
        return {**seen, "success": self._success[index], "task": self._task[index]}


def train_reward(
    train: Store,
    validation: Store,
    config: RewardConfig,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[RewardTrainer, dict[str, float]], None] | None = None,
    resume: dict[str, Any] | None = None,
) -> RewardModel:
    """Train to the end and choose the threshold.

    Args:
        train, validation, config, seed, device: see `RewardTrainer`.
        on_step: called after each update with the trainer and its named floats: log, save, show.
        resume: a `RewardTrainer.state_dict` to go on from.
    """
    with RewardTrainer(train, validation, config, seed, device) as trainer:
        if resume is not None:
            trainer.load_state_dict(resume)
        while not trainer.done:
            terms = trainer.step()
            if on_step is not None:
                on_step(trainer, terms)
        return trainer.model()


def _check(train: Store, validation: Store) -> tuple[int, ...]:
    """What both show, (V, H, W, 3), before hours are spent on them."""
    success = validation.success
    if not success.any() or success.all():
        raise DataError(
            f"the validation tasks have {int(success.sum())} successes of {len(success)} frames, and the threshold "
            "needs both sorts: collect validation episodes of both"
        )
    shown, other = (store.schema.observation.get("image", np.dtype("u1")).shape for store in (train, validation))
    if not shown or shown != other:
        raise DataError(
            f"images of the training tasks are {shown}, of the validation tasks {other}: both must be observed by the "
            "same cameras; collect them alike"
        )
    return shown


def _torch_seed(seed: int, step: int) -> int:
    return int(np.random.default_rng([seed, step, 1]).integers(2**63))
