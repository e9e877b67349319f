"""The offline phase (LOTJ section V-B): the reward model and the agent are trained on prior data, one after the other.

What a finished pretraining leaves in its run folder: `REWARD_FILE` (the reward model), the checkpoint `AGENT`,
``reward_report.json`` and ``agent_report.json`` (figures on validation domains), and one stream of metrics for each.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

import numpy as np
import torch

from lotj.agents.iql import IQL
from lotj.agents.iql_config import IQLConfig
from lotj.agents.localizer import Localizer
from lotj.agents.sac import SAC, SACConfig
from lotj.agents.state_iql import StateIQL
from lotj.data.dataset import Dataset
from lotj.data.prefetch import Prefetcher
from lotj.errors import CheckpointError, SettingsError
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.model import RewardModel
from lotj.rewards.training import RewardTrainer
from lotj.runs import Run, atomic_write
from lotj.training.policy_report import policy_report
from lotj.training.pretrain_batches import PositionBatches, TransitionBatches
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.pretrain_loop import Loop

REWARD = "reward"
"""Checkpoint of the reward model's training, and its stream of metrics."""

AGENT = "agent"
"""Checkpoint of the agent, and its stream of metrics."""

STATE_IQL = "state-iql"
"""Checkpoint of State-IQL, and its stream of metrics."""

SAC_AGENT = "sac"
"""Checkpoint of SAC, and its stream of metrics."""

AGENTS: dict[str, tuple[str, type[IQL] | type[SAC]]] = {
    "iql": (AGENT, IQL),
    "state-iql": (STATE_IQL, StateIQL),
    "sac": (SAC_AGENT, SAC),
}
"""Agents by name: their checkpoint and its class."""

REWARD_FILE = "reward.pt"
"""The finished reward model, in the run folder."""

_LEFT_BY = {
    REWARD: (REWARD_FILE, "reward_report.json", "reward.jsonl"),
    AGENT: ("agent_report.json", "agent.jsonl", "agent-train.jsonl", "agent-validation.jsonl"),
}
"""What each training leaves in the run folder beside its checkpoint."""

REPORT_FRAMES = 200
"""Frames a domain that the agent's report looks at."""


def pretrain(
    train: Dataset,
    validation: Dataset,
    reward: RewardConfig,
    iql: IQLConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    resume: bool = False,
    live: bool = True,
) -> tuple[RewardModel, IQL]:
    """Train the reward model, then the agent; both are in the run folder afterwards.

    Args:
        train: training domains.
        validation: validation domains, on which the threshold is chosen and figures are taken.
        reward, iql, config: settings.
        run: where everything goes; its seed fixes everything random.
        device: where to compute.
        resume: go on where the run was stopped; with the same settings the result is that of an unstopped run.
        live: show progress.

    Raises:
        CheckpointError: the run holds a pretraining already and `resume` is False, or it has other settings or data.
        NumericsError: a loss or a gradient is not finite; the last checkpoint is from before.
        StorageError: the disk is full.
        KeyboardInterrupt: Ctrl-C; the last update is saved.
    """
    if not resume and (run.has(REWARD) or run.has(AGENT)):
        raise CheckpointError(f"{run.path} holds a pretraining already: give --resume or start a new run")
    _check_images(train, iql)  # before the reward model's training, not after
    model = pretrain_reward(train, validation, reward, config, run, device, live)
    return model, pretrain_agent(train, validation, iql, config, run, device, live)


def take_over(run: Run, other: Run, training: str) -> None:
    """Take a finished training out of another run, unless the run has begun its own: `pretrain` does not do it again.

    Whether it has been made with the run's settings and data is seen when it is taken up.

    Args:
        run: takes.
        other: gives.
        training: `REWARD` or `AGENT`.

    Raises:
        CheckpointError: the other run has not finished it.
    """
    if run.has(training):
        return
    files = [other.path / name for name in _LEFT_BY[training]]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise CheckpointError(f"{other.path} has no finished {training} training ({missing[0]} is missing): resume it")
    for file in files:
        atomic_write(run.path / file.name, file.read_bytes())
    run.save(training, other.load(training))  # last: with it, the training is there


def pretrain_reward(
    train: Dataset,
    validation: Dataset,
    reward: RewardConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> RewardModel:
    """Train the reward model, from the run's checkpoint if it has one; see `pretrain`."""
    with RewardTrainer(train, reward, run.seed, device) as trainer:
        if run.has(REWARD):
            trainer.load_state_dict(run.load(REWARD, str(device)))
        if trainer.done and (run.path / REWARD_FILE).exists():
            return load_reward(run, device)
        loop = Loop(REWARD, ("success_loss", "accuracy"), config.log_every, config.save_minutes, live)

        def save() -> None:
            run.save(REWARD, trainer.state_dict())

        loop.run(run, trainer.step_count, reward.steps, lambda _: trainer.step(), save)
        model = trainer.model(validation)
    _write_report(run, "reward_report.json", model.report)
    model.save(run.path / REWARD_FILE)
    return model


def pretrain_agent(
    train: Dataset,
    validation: Dataset,
    iql: IQLConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> IQL:
    """Train the agent, from the run's checkpoint if it has one; see `pretrain`.

    Raises:
        SettingsError: the data set has another image size than the agent.
    """
    _check_images(train, iql)
    agent = IQL(iql, len(train.domains), run.seed, device)
    _train_agent(AGENT, agent, TransitionBatches(train, config, run.seed), train, validation, config, run, live)
    return agent


def pretrain_state_iql(
    train: Dataset,
    validation: Dataset,
    localizer: Localizer,
    iql: IQLConfig,
    config: PretrainConfig,
    run: Run,
    live: bool = True,
) -> StateIQL:
    """Train State-IQL on the true positions, from the run's checkpoint if it has one.

    Args:
        train: training domains.
        validation: validation domains, on which figures are taken, from images.
        localizer: trained; what the agent will see through.
        iql, config: settings, those of the agent that learns from images.
        run: where everything goes.
        live: show progress.
    """
    agent = StateIQL.of(localizer, iql, len(train.domains), run.seed)
    batches = PositionBatches(train, config, run.seed, agent)
    _train_agent(STATE_IQL, agent, batches, train, validation, config, run, live)
    return agent


def pretrain_sac(
    train: Dataset,
    validation: Dataset,
    sac: SACConfig,
    config: PretrainConfig,
    run: Run,
    device: str | torch.device = "cpu",
    live: bool = True,
) -> SAC:
    """Train SAC on the transitions that IQL learns from, from the run's checkpoint if it has one; see `pretrain_agent`.

    Raises:
        SettingsError: the data set has another image size than the agent.
    """
    _check_images(train, sac)
    agent = SAC(sac, len(train.domains), run.seed, device)
    _train_agent(SAC_AGENT, agent, TransitionBatches(train, config, run.seed), train, validation, config, run, live)
    return agent


def _train_agent(
    name: str,
    agent: IQL | SAC,
    source: TransitionBatches,
    train: Dataset,
    validation: Dataset,
    config: PretrainConfig,
    run: Run,
    live: bool,
) -> None:
    """Train an agent to the end, from the run's checkpoint `name` if there is one."""
    made_with = _made_with(train, agent.config, config)
    if run.has(name):
        state = run.load(name, str(agent.device))
        for what, value in made_with.items():
            if state[what] != value:
                raise CheckpointError(
                    f"the {name} in {run.path} was begun with other {what}: resume with those it was begun with, "
                    "or start a new run"
                )
        agent.load_state_dict(state["agent"])
        if agent.updates >= config.steps and (run.path / _report_name(name)).exists():
            return
    batches = Prefetcher(source.load)

    def update(step: int) -> dict[str, float]:
        lr = config.learning_rate(step)
        return agent.update(batches.get(step), step / config.steps, lr, config.advantage_scale)

    def save() -> None:
        run.save(name, {"agent": agent.state_dict(), **made_with})

    shown = ("loss_v", "loss_policy", "loss_q", "v_mean", "q_mean")
    loop = Loop(name, shown, config.log_every, config.save_minutes, live)
    try:
        loop.run(run, agent.updates, config.steps, update, save)
    finally:
        batches.close()
    _report_agent(name, agent, train, validation, run)


def load_reward(run: Run, device: str | torch.device = "cpu", image_size: int | None = None) -> RewardModel:
    """The reward model of a finished pretraining.

    Raises:
        CheckpointError: there is none, or it is for another image size.
    """
    return RewardModel.load(run.path / REWARD_FILE, device, image_size)


def load_agent(run: Run, device: str | torch.device = "cpu", name: str = "iql", **settings: Any) -> IQL | SAC:
    """The agent of a pretraining, as of its last checkpoint.

    Args:
        run: of the pretraining.
        device: where to compute.
        name: which agent, a key of `AGENTS`.
        settings: fields of its config to change, e.g. ``lr`` for practice.

    Raises:
        CheckpointError: there is none.
    """
    checkpoint, kind = find_agent(name)
    if name != "iql" and not run.has(checkpoint):
        raise CheckpointError(
            f"{run.path} holds no {name} agent: train it with `lotj pretrain --resume {shlex.quote(str(run.path))} "
            f"--also {name}`"
        )
    return kind.restore(run.load(checkpoint, str(device))["agent"], device, **settings)


def find_agent(name: str) -> tuple[str, type[IQL] | type[SAC]]:
    """Checkpoint and class of an agent by name.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in AGENTS:
        raise SettingsError(f"unknown agent {name!r}; known are {', '.join(AGENTS)}")
    return AGENTS[name]


def _check_images(train: Dataset, config: IQLConfig | SACConfig) -> None:
    if train.image_size != config.encoder.image_size:
        raise SettingsError(
            f"agent image size {config.encoder.image_size}: {train.root} holds {train.image_size} px images; "
            f"set it to {train.image_size}"
        )


def _made_with(train: Dataset, agent: IQLConfig | SACConfig, config: PretrainConfig) -> dict[str, Any]:
    """What must be the same when a training is resumed, as plain values."""
    settings = dataclasses.asdict(config)
    for free in ("log_every", "save_minutes"):
        del settings[free]
    return {
        "pretrain settings": settings,
        "agent settings": dataclasses.asdict(agent),
        "domains": [domain.name for domain in train.domains],
        "episodes": len(train),
    }


def _report_agent(name: str, agent: IQL | SAC, train: Dataset, validation: Dataset, run: Run) -> None:
    rng = np.random.default_rng([run.seed, 1])
    data = {"validation": (validation, REPORT_FRAMES), "train": (train, REPORT_FRAMES // 5)}
    found = {
        split: policy_report(agent, dataset, agent.config.discount, frames, rng)
        for split, (dataset, frames) in data.items()
    }
    _write_report(run, _report_name(name), found)
    for split, report in found.items():
        run.log(agent.updates, report["overall"], f"{name}-{split}")


def _report_name(agent: str) -> str:
    return f"{agent.replace('-', '_')}_report.json"


def _write_report(run: Run, name: str, report: dict[str, Any]) -> None:
    atomic_write(run.path / name, json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")
