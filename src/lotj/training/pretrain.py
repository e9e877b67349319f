"""The offline phase (LOTJ section V-B): models and agents are trained on prior data, one after the other.

What a finished pretraining leaves in its run folder: `REWARD_FILE` (the reward model), a checkpoint for each agent,
``reward_report.json`` and ``<agent>_report.json`` (figures on validation tasks), a stream of metrics for each, and
``<agent>_features.npz``, the prior data on which an agent that sees images practises.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.agents import find_agent
from lotj.agents.base import AgentConfig, At
from lotj.agents.learner import Learner
from lotj.data.layout import Schema
from lotj.data.prefetch import Prefetcher
from lotj.data.replay import Relabel
from lotj.data.store import DiskStore, Store
from lotj.errors import CheckpointError, SettingsError
from lotj.files import write_json
from lotj.nets.front import Front
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.model import RewardModel
from lotj.rewards.training import RewardTrainer
from lotj.runs import BASE, Run, atomic_write, plain
from lotj.spaces import Array, Spec
from lotj.training import loop
from lotj.training.features import FeatureConfig, FeatureStore, prepare_features
from lotj.training.policy_report import policy_report
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.prior import batches

REWARD = "reward"
"""Checkpoint of the reward model's training, and its stream of metrics."""

REWARD_FILE = "reward.pt"
"""The finished reward model, in the run folder."""

REPORT_FRAMES = 200
"""Frames a task that an agent's report looks at."""


def take_over(run: Run, other: Run, training: str) -> None:
    """Take a finished training, `REWARD` or an agent by name, out of another run, unless the run has begun its own.

    Whether it has been made with the run's settings and data is seen when it is taken up.

    Raises:
        CheckpointError: the other run has not finished it.
    """
    if run.has(training):
        return
    left = [f"{training}_report.json", *(f"{training}{end}.jsonl" for end in ("", "-train", "-validation"))]
    left = [REWARD_FILE, *left[:2]] if training == REWARD else left
    files = [other.path / name for name in left]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise CheckpointError(f"{other.path} has no finished {training} training ({missing[0]} is missing): resume it")
    for file in files:
        atomic_write(run.path / file.name, file.read_bytes())
    run.save(training, other.load(training))  # last: with it, the training is there


def pretrain_reward(
    train: DiskStore,
    validation: DiskStore,
    reward: RewardConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> RewardModel:
    """Train the reward model, from the run's checkpoint if it has one.

    Args:
        train: training tasks.
        validation: validation tasks, on which the threshold is chosen and figures are taken.
        reward: settings.
        config: how often to log and save.
        run: where everything goes; its seed fixes everything random.
        device: where to compute.
        live: show progress.

    Raises:
        DataError: the training or the validation tasks lack successes or other frames.
        CheckpointError: the run's was begun with other settings or data.
        NumericsError: a loss or a gradient is not finite; the last checkpoint is from before.
        StorageError: the disk is full.
        KeyboardInterrupt: Ctrl-C; the last update is saved.
    """
    with RewardTrainer(train, validation, reward, run.seed, device) as trainer:
        loop.resume(run, REWARD, trainer.learner, trainer.made_with)
        if trainer.done and (run.path / REWARD_FILE).exists():
            return load_reward(run, device)
        learner, shown, update = trainer.learner, ("success_loss", "accuracy"), lambda _: trainer.step()
        loop.train(run, REWARD, learner, trainer.made_with, reward.steps, update, config, live, shown)
        model = trainer.model()
    write_json(run.path / f"{REWARD}_report.json", plain(model.report))
    model.save(run.path / REWARD_FILE)
    return model


def pretrain_agent(
    name: str,
    train: Store,
    validation: Store | None,
    front: Front,
    agent: AgentConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
    relabel: Sequence[Relabel] = (),
    observation: Sequence[str] | None = None,
    checkpoint: str | None = None,
) -> Learner:
    """Train an agent, from the run's checkpoint if it has one; see `pretrain_reward`.

    Args:
        name: of the algorithm.
        train: training tasks.
        validation: validation tasks, on which figures are taken; None takes none.
        front: its perception.
        agent: its settings.
        config: how it is trained.
        run, device, live: as there.
        relabel: what is done to the transitions drawn, e.g. hindsight.
        observation: names of what it observes; default: all that the data have.
        checkpoint: name in the run, if not the algorithm's.

    Raises:
        SettingsError: the front cannot see what the data show.
    """
    kept, seen = checkpoint or name, tuple(observation or train.schema.observation)
    learner = Learner(
        find_agent(name), spec_of_data(train.schema, seen), front, agent, len(train.tasks), run.seed, device
    )
    made_with = _made_with(train, learner, config)
    if run.has(kept):
        loop.resume(run, kept, learner, made_with)
        reported = (run.path / f"{kept}_report.json").exists() or validation is None
        if learner.updates >= config.steps and reported:
            return learner
    drawn = batches(train, config, run.seed, learner.needs, seen, relabel, learner.discount, learner.ahead)
    with closing(Prefetcher(drawn)) as prefetched:

        def update(step: int) -> dict[str, float]:
            return learner.update(prefetched.get(step), At(step, step / config.steps, config.learning_rate(step)))

        shown = ("loss_v", "loss_policy", "loss_q", "v_mean")
        loop.train(run, kept, learner, made_with, config.steps, update, config, live, shown)
    if validation is not None:
        _report_agent(kept, learner, train, validation, run)
    return learner


def spec_of_data(schema: Schema, observation: Sequence[str]) -> Spec:
    """What an agent must know of a data set: images are bounded by 0 and 255, other observations by nothing."""

    def array(kind: np.dtype) -> Array:
        bounds = (0.0, 255.0) if kind.base == np.uint8 else (-np.inf, np.inf)
        return Array(kind.shape, kind.base.name, *bounds)

    missing = [name for name in observation if name not in schema.observation]
    if missing:
        raise SettingsError(f"observation {missing[0]!r}: the data have {', '.join(schema.observation)}")
    return Spec({name: array(schema.observation[name]) for name in observation}, (schema.action,))


def load_reward(run: Run, device: str | torch.device = "cpu") -> RewardModel:
    """The reward model of a pretraining; CheckpointError if there is none, SettingsError if it gets none."""
    if not (path := run.path / REWARD_FILE).is_file():
        missing, agent = f"{path}: there is no reward model here", str(run.config.get("agent"))
        if run.has(agent):  # agents come after the reward
            way = "name another --pretrained, or leave it out"
            raise SettingsError(f"{missing}, it is no pretraining on connectors; {way}")
        raise CheckpointError(f"{missing}: {remedy(run, agent)}")
    return RewardModel.load(path, device)


def load_agent(run: Run, device: str | torch.device = "cpu", name: str = "iql", **settings: Any) -> Learner:
    """The agent of a pretraining, as of its last checkpoint of that name; CheckpointError if there is none.

    `settings` are fields of its config to change, e.g. ``lr`` for practice.
    """
    if not run.has(name):
        raise CheckpointError(f"{run.path} holds no {name} agent: {remedy(run, name)}")
    return Learner.load(run.load(name, str(device))["agent"], device, **settings)


def keep_features(
    learner: Learner, name: str, train: DiskStore, config: FeatureConfig, imitated: Sequence[str] | None, run: Run,
    live: bool = True,
) -> None:  # fmt: skip
    """Keep features of prior data for practice with a pretrained agent, unless the run has them; `imitated` are the
    kinds of episodes that its policy imitates, None for all. Raises what `prepare_features` and its `save` do."""
    path = _features(run, name)
    if not path.exists():
        prepare_features(train, learner, config, live, imitated).save(path)


def load_features(run: Run, name: str = "iql") -> FeatureStore:
    """The features of prior data that a pretraining has kept for an agent; CheckpointError if there are none."""
    path = _features(run, name)
    if not path.exists():
        rule = f"the {name} agent has no features of prior data to practise on"
        raise CheckpointError(f"{path}: {rule}: {remedy(run, name)}")
    try:
        return FeatureStore.load(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: delete it; {remedy(run, name)}") from error


def _features(run: Run, name: str) -> Path:
    return run.path / f"{name}_features.npz"


def remedy(run: Run, name: str) -> str:
    """What helps where a pretraining has not the agent, or the other model, of that name."""
    also = "" if run.config.get("agent") == name else f" --also {name}"
    if run.path != BASE:
        return f"`lotj pretrain --resume {shlex.quote(str(run.path))}{also}` makes it"
    return f"`lotj pretrain{also}` makes a pretraining that has it" if also else "install lotj again"


def _made_with(train: Store, learner: Learner, config: PretrainConfig) -> dict[str, Any]:
    """What must be the same when a training is resumed, as plain values."""
    settings = dataclasses.asdict(config)
    for free in ("log_every", "save_minutes"):
        del settings[free]
    return {
        "pretrain settings": settings,
        "agent settings": dataclasses.asdict(learner.config) | {"front": dataclasses.asdict(learner.front)},
        "tasks": [task.name for task in train.tasks],
        "episodes": len(train),
    }


def _report_agent(name: str, learner: Learner, train: Store, validation: Store, run: Run) -> None:
    rng = np.random.default_rng([run.seed, 1])
    data = {"validation": (validation, REPORT_FRAMES), "train": (train, REPORT_FRAMES // 5)}
    found = {
        split: policy_report(learner, store, learner.discount, frames, rng) for split, (store, frames) in data.items()
    }
    write_json(run.path / f"{name}_report.json", found)
    for split, report in found.items():
        run.log(learner.updates, report["overall"], f"{name}-{split}")
