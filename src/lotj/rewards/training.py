"""Training the success classifier, one update at a time, so that whoever drives it can log, save, stop and resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lotj.agents.base import Algorithm, At, Losses
from lotj.agents.learner import Learner
from lotj.agents.supervised import labelled
from lotj.data.prefetch import Prefetcher
from lotj.data.store import Store
from lotj.errors import DataError
from lotj.experience import Batch
from lotj.nets.front import Front
from lotj.nets.precision import autocast
from lotj.rewards.classifier import RewardConfig, SuccessClassifier
from lotj.rewards.held_out import held_out_report, score_frames
from lotj.rewards.model import RewardModel
from lotj.rewards.sampling import BalancedSampler
from lotj.rewards.threshold import choose_threshold
from lotj.spaces import Array, Spec


class Success(Algorithm):
    """Binary cross-entropy of success, a batch's reward, and L_DAIB (LOTJ, equation 5).

    Attributes:
        classifier: R(s). Its slow copy is the running average of its weights.
    """

    CONFIG = RewardConfig
    trained = {"classifier": ("success", "daib")}
    followed = ("classifier",)

    def __init__(self, spec: Spec, front: Front, config: RewardConfig, tasks: int) -> None:
        super().__init__(spec, front, config, tasks)
        self.classifier = SuccessClassifier(config, spec.observation["image"].shape, tasks)

    def losses(self, batch: Batch, target: Mapping[str, Any], at: At, generator: torch.Generator) -> Losses:
        """``success`` and ``daib``."""
        images, success = batch.observation["image"], batch.reward
        with autocast(images.device):
            code = self.classifier.encode(images, sample=True, generator=generator)
            logits = self.classifier.judge(code.z)
            penalty, parts = self.classifier.bottleneck.penalty(code, batch.task, at.progress)
        accuracy = ((logits > 0) == (success > 0.5)).float().mean()
        terms = {"success": F.binary_cross_entropy_with_logits(logits, success), "daib": penalty}
        return terms, {**parts, "accuracy": accuracy}

    def follow_rate(self, update: int) -> float:
        """Early on the average is shorter, or it would remember the initial weights."""
        return 1.0 - min(self.config.ema, (2.0 + update) / (11.0 + update))


class RewardTrainer:
    """Trains R(s) on `train`, observed by ``image`` (V, H, W, 3), whose tasks the adversary tells apart; the threshold
    is chosen on `validation`.

    Every random number of update k is drawn from generators seeded with (seed, k): on a processor the same seed gives
    the same result, interrupted or not. Batches are read ahead, by a thread that ends with the context.

    Attributes:
        learner: of `Success`; its state is all that a training goes on from.
        classifier: so far, in evaluation mode: the running average of the weights.
        made_with: what must be the same when a training is resumed, as plain values.

    Raises:
        DataError: no training task has both successes and other frames, the validation tasks lack one of these, or
            they show other images.
    """

    def __init__(
        self, train: Store, validation: Store, config: RewardConfig, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.seed = config, seed
        self.train, self.validation = train, validation
        spec = Spec({"image": Array(check_data(train, validation), "uint8", 0, 255)}, (0,))
        self._sampler = BalancedSampler(train, config.near_miss_share, config.near_miss_kinds)
        self.learner = Learner(Success, spec, config.front, config, len(train.tasks), seed, device)
        self.classifier: Any = self.learner.target["classifier"]
        tasks = [task.name for task in train.tasks]
        self.made_with = {"seed": seed, "settings": asdict(config), "tasks": tasks}
        self._success, self._task = train.success.astype(np.float32), train.frame_task
        self._batches = Prefetcher(self._load)

    def __enter__(self) -> RewardTrainer:
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.close()

    @property
    def done(self) -> bool:
        """Whether all updates are done."""
        return self.learner.updates >= self.config.steps

    def step(self) -> dict[str, float]:
        """One update.

        Returns:
            ``loss`` (of all), ``success_loss`` (cross-entropy), ``kl``, ``domain_loss`` [nats], ``domain_accuracy``,
            ``accuracy`` (of this batch), ``gradient_norm`` and ``lr``.

        Raises:
            NumericsError: a loss or gradient that is not finite; the weights are as before the update.
        """
        step, config = self.learner.updates, self.config
        lr, progress = config.learning_rate(step), min(1.0, step / config.steps)
        numbers = self.learner.update(self._batches.get(step), At(step, progress, lr))
        success, daib = numbers.pop("loss_success"), numbers.pop("loss_daib")
        norm = numbers.pop("gradient_norm_classifier")
        return {"loss": success + daib, "success_loss": success, **numbers, "gradient_norm": norm, "lr": lr}

    def run(self) -> RewardModel:
        """Do all updates; the reward model, whose threshold is not chosen yet."""
        while not self.done:
            self.step()
        return RewardModel(self.classifier, self.config, 0.5, device=self.learner.device)

    def model(self) -> RewardModel:
        """The reward model so far, with its threshold chosen and its figures taken on the validation tasks."""
        model = RewardModel(self.classifier, self.config, 0.5, device=self.learner.device)
        frames = score_frames(model, self.validation)
        model.threshold = choose_threshold(
            frames.score, frames.success, frames.near, frames.task, self.config.min_precision
        )
        model.report = held_out_report(model, self.validation, frames)
        return model

    def _load(self, step: int) -> Batch:
        index = self._sampler.draw(self.config.batch, np.random.default_rng([self.seed, step]))
        images = self.train.observe(index, ["image"])["image"]
        return labelled(images, reward=self._success[index], task=self._task[index])


def check_data(train: Store, validation: Store) -> tuple[int, ...]:
    """What both show, (V, H, W, 3); before hours are spent on them, what would be stumbled over at the end.

    Raises:
        DataError: only successes, or none, among the frames of one of them, or they show other images.
    """
    for split, store in (("training", train), ("validation", validation)):
        successes = int(store.success.sum())
        if not 0 < successes < store.n_frames:
            raise DataError(
                f"{successes} of the {store.n_frames} frames of {split} tasks show success, and the reward needs both "
                "kinds: collect more"
            )
    shown, other = (store.schema.observation.get("image", np.dtype("u1")).shape for store in (train, validation))
    if not shown or shown != other:
        raise DataError(
            f"images of the training tasks are {shown}, of the validation tasks {other}: both must be observed by the "
            "same cameras; collect them alike"
        )
    return shown
