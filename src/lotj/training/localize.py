"""Training of the localisation model on prior data, and how far off it is on validation connectors."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import numpy as np
import torch

from lotj.agents import At
from lotj.agents.localizer import Localizer, LocalizerConfig, Position
from lotj.agents.supervised import labelled
from lotj.data.prefetch import Prefetcher
from lotj.data.store import DiskStore
from lotj.errors import CheckpointError
from lotj.experience import Batch
from lotj.runs import Run
from lotj.training import loop
from lotj.training.pretrain import remedy, spec_of_data
from lotj.training.pretrain_config import PretrainConfig

LOCALIZER = "localizer"
"""Checkpoint of the localisation model, and its stream of metrics."""

VALIDATION_FRAMES = 2000
"""Frames of the expert on validation connectors over which its error beside the axis is taken."""


def pretrain_localizer(
    train: DiskStore,
    validation: DiskStore,
    localizer: LocalizerConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> Localizer:
    """Train it on frames of all kinds of episodes; see `lotj.training.pretrain.pretrain_reward`."""
    spec = spec_of_data(train.schema, ("image",))
    model = Localizer(Position, spec, localizer.front, localizer, 1, run.seed, device)
    made_with = {"settings": asdict(localizer), "tasks": [task.name for task in train.tasks]}
    loop.resume(run, LOCALIZER, model, made_with)

    def load(step: int) -> Batch:
        frames = np.random.default_rng([run.seed, step]).integers(train.n_frames, size=localizer.batch)
        columns = {"position": train.truth("position")[frames]}
        return labelled(train.observe(frames, ["image"])["image"], *model.spec.action, columns=columns)

    def update(step: int) -> dict[str, float]:
        return model.update(batches.get(step), At(step, lr=localizer.learning_rate(step)))

    with closing(Prefetcher(load)) as batches:
        shown = ("loss_position", "lateral_mm")
        loop.train(run, LOCALIZER, model, made_with, localizer.steps, update, config, live, shown)
    expert = np.flatnonzero(validation.of_frames(validation.of_kind(["expert"])))
    frames = np.sort(np.random.default_rng([run.seed, 1]).permutation(expert)[:VALIDATION_FRAMES])
    error = model.locate(validation.observe(frames, ["image"])["image"]) - validation.truth("position")[frames]
    median, most = 1e3 * np.quantile(np.linalg.norm(error[:, :2], axis=1), [0.5, 0.9])
    run.log(model.updates, {"lateral_mm": median, "lateral_mm_90": most}, f"{LOCALIZER}-validation")
    return model


def load_localizer(run: Run, device: str | torch.device = "cpu") -> Localizer:
    """The localisation model of a pretraining, as of its last checkpoint; CheckpointError if none fits."""
    if not run.has(LOCALIZER):
        raise CheckpointError(f"{run.path} holds no localisation model: {remedy(run, LOCALIZER)}")
    return Localizer.load(run.load(LOCALIZER, str(device))["agent"], device, Position)
