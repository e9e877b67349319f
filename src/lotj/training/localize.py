"""Training of the localisation model on prior data, and how far off it is on validation connectors."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import numpy as np
import torch

from lotj.agents.localizer import Localizer, LocalizerConfig
from lotj.data.prefetch import Prefetcher
from lotj.data.store import DiskStore
from lotj.errors import CheckpointError
from lotj.runs import Run
from lotj.training.loop import Loop
from lotj.training.pretrain import spec_of_data

LOCALIZER = "localizer"
"""Checkpoint of the localisation model, and its stream of metrics."""

REPORT_FRAMES = 200
"""Frames an environment that the report looks at."""


def pretrain_localizer(
    train: DiskStore,
    validation: DiskStore,
    config: LocalizerConfig,
    run: Run,
    log_every: int = 50,
    save_minutes: float = 3.0,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> Localizer:
    """Train it, from the run's checkpoint if that has one. Batch k is drawn from (seed of the run, k).

    Args:
        train: training tasks; frames of all kinds of episodes are used.
        validation: validation tasks, on which the errors are taken.
        config: settings.
        run: where everything goes.
        log_every: updates whose mean makes one line of metrics.
        save_minutes: time between checkpoints [min].
        device: where to compute.
        live: show progress.

    Raises:
        CheckpointError: the run's was begun with other settings.
        KeyboardInterrupt: Ctrl-C; the last update is saved.
    """
    spec = spec_of_data(train.schema, ("image",))
    localizer = _begun(config, run, device) if run.has(LOCALIZER) else Localizer(config, spec, run.seed, device)

    def load(step: int) -> tuple[np.ndarray, np.ndarray]:
        frames = np.random.default_rng([run.seed, step]).integers(train.n_frames, size=config.batch)
        return train.observe(frames, ["image"])["image"], train.truth("position")[frames]

    def save() -> None:
        run.save(LOCALIZER, localizer.state_dict())

    batches = Prefetcher(load)
    loop = Loop(LOCALIZER, ("loss", "lateral_mm"), log_every, save_minutes, live)
    try:
        loop.run(run, localizer.updates, config.steps, lambda step: localizer.update(*batches.get(step)), save)
    finally:
        batches.close()
    for name, figures in localizer_report(localizer, validation, np.random.default_rng([run.seed, 1])).items():
        run.log(localizer.updates, {"task": name, **figures}, f"{LOCALIZER}-validation")
    return localizer


def _begun(config: LocalizerConfig, run: Run, device: str | torch.device) -> Localizer:
    """The run's own, to go on with."""
    localizer = load_localizer(run, device)
    if localizer.config != config:
        raise CheckpointError(
            f"the localisation model in {run.path} was begun with other settings: resume with those it was begun "
            "with, or start a new run"
        )
    return localizer


def load_localizer(run: Run, device: str | torch.device = "cpu") -> Localizer:
    """The localisation model of a pretraining, as of its last checkpoint.

    Raises:
        CheckpointError: there is none, or it does not fit this program.
    """
    if not run.has(LOCALIZER):
        raise CheckpointError(
            f"{run.path} holds no localisation model: train it with "
            f"`lotj pretrain --resume {shlex.quote(str(run.path))} --also localizer`"
        )
    return Localizer.restore(run.load(LOCALIZER, str(device)), device)


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
