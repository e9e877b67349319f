"""Training of the localisation model on prior data, and how far off it is on validation connectors."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import closing

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
from lotj.training.pretrain import REPORT_FRAMES, begun_otherwise, spec_of_data
from lotj.training.pretrain_config import PretrainConfig

LOCALIZER = "localizer"
"""Checkpoint of the localisation model, and its stream of metrics."""


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
    if run.has(LOCALIZER):
        model = load_localizer(run, device)
        if model.config != localizer:
            raise begun_otherwise("localisation model", run, "settings")
    else:
        spec = spec_of_data(train.schema, ("image",))
        model = Localizer(Position, spec, localizer.front, localizer, 1, run.seed, device)

    def load(step: int) -> Batch:
        frames = np.random.default_rng([run.seed, step]).integers(train.n_frames, size=localizer.batch)
        columns = {"position": train.truth("position")[frames]}
        return labelled(train.observe(frames, ["image"])["image"], *model.spec.action, columns=columns)

    def update(step: int) -> dict[str, float]:
        return model.update(batches.get(step), At(step, lr=localizer.learning_rate(step)))

    with closing(Prefetcher(load)) as batches:
        shown = ("loss_position", "lateral_mm")
        loop.train(run, LOCALIZER, model.updates, localizer.steps, update, model.state, config, live, shown)
    for name, figures in localizer_report(model, validation, np.random.default_rng([run.seed, 1])).items():
        run.log(model.updates, {"task": name, **figures}, f"{LOCALIZER}-validation")
    return model


def load_localizer(run: Run, device: str | torch.device = "cpu") -> Localizer:
    """The localisation model of a pretraining, as of its last checkpoint; CheckpointError if none fits."""
    if not run.has(LOCALIZER):
        raise CheckpointError(
            f"{run.path} holds no localisation model: train it with "
            f"`lotj pretrain --resume {shlex.quote(str(run.path))} --also localizer`"
        )
    return Localizer.load(run.load(LOCALIZER, str(device)), device, Position)


def localizer_report(
    localizer: Localizer, data: DiskStore, rng: np.random.Generator
) -> Mapping[str, Mapping[str, float]]:
    """How far off it is, for each environment, on frames of the expert's episodes.

    Returns:
        environment -> ``lateral_mm`` and ``lateral_mm_90`` (median and 90 % quantile of the error beside the axis),
        ``height_mm`` (median error along it), ``lateral_mm_blind`` (median error of the best constant), ``frames``.
    """
    expert = np.flatnonzero(data.of_frames(data.of_kind(["expert"])))
    names = np.array([task.env for task in data.tasks])[data.frame_task[expert]]
    found: dict[str, dict[str, float]] = {}
    for name in np.unique(names):
        frames = expert[names == name]
        frames = np.sort(rng.permutation(frames)[:REPORT_FRAMES])
        true = data.truth("position")[frames]
        error = localizer.locate(data.observe(frames, ["image"])["image"]) - true
        lateral = np.linalg.norm(error[:, :2], axis=1)
        found[str(name)] = {
            "lateral_mm": 1e3 * float(np.median(lateral)),
            "lateral_mm_90": 1e3 * float(np.quantile(lateral, 0.9)),
            "height_mm": 1e3 * float(np.median(np.abs(error[:, 2]))),
            "lateral_mm_blind": 1e3 * float(np.median(np.linalg.norm(true[:, :2] - true[:, :2].mean(0), axis=1))),
            "frames": len(frames),
        }
    return found
