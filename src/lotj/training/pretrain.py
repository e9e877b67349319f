"""The offline phase (LOTJ section V-B): the reward model and the agent are trained on prior data, one after the other.

What a finished pretraining leaves in its run folder: `REWARD_FILE` (the reward model), the checkpoint `AGENT`,
``reward_report.json`` and ``agent_report.json`` (figures on validation domains), and one stream of metrics for each.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
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
from lotj.errors import CheckpointError, DataError, SettingsError
from lotj.experience import KINDS, Batch, is_kind
from lotj.nets.schedule import warmup_cosine
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.model import RewardModel
from lotj.rewards.training import RewardTrainer
from lotj.runs import Run, atomic_write
from lotj.training.policy_report import ASIDE_M, policy_report
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


@dataclass(frozen=True)
class PretrainConfig:
    """How the agent is trained on prior data. Networks and losses are set in `IQLConfig`."""

    steps: int = 6000
    """Updates of the agent. Not a time: only a number of updates can be resumed exactly."""
    batch: int = 128
    """Transitions in a batch."""
    policy_kinds: tuple[str, ...] = ("expert", "recover")
    """Kinds of episodes that the policy learns from; the critics learn from all. Where a plug is held half inserted or
    withdrawn, or pressed beside the socket, most actions are not worth imitating, and with a small advantage scale
    they would be."""
    policy_share: float | None = 0.6
    """Share of these kinds in a batch, where the data hold others too; None draws all transitions evenly. The near
    misses' episodes are long: evenly, a third of a batch would be left for the policy."""
    aside_share: float | None = 0.65
    """Share of the policy's rows in which the plug is more than 2 mm beside the socket's axis; None leaves it as in the
    data (about a third), and so does a `policy_share` of None. A policy that cannot tell does what is most frequent,
    and nearer that is to go down."""
    lr: float = 1e-3
    """Largest learning rate (IQL: 3e-4, for a million updates)."""
    advantage_scale: float = 20.0
    """Multiplies the advantage in the exponent of equation 3; practice has `IQLConfig`'s. At 100 an eighth of the rows
    carries all weight, and the policy of a short training does not learn to see (lab notes); an expert's data need
    less."""
    warmup: int = 100
    """Updates over which the learning rate rises from 0."""
    cosine: bool = True
    """Let the learning rate fall to 0 along a cosine; otherwise it stays."""
    log_every: int = 50
    """Updates whose mean makes one line of metrics."""
    save_minutes: float = 3.0
    """Time between checkpoints [min]."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"pretrain {name} {getattr(self, name)}: must be at least 1")
        for name in ("lr", "advantage_scale"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"pretrain {name} {getattr(self, name)}: must be above 0")
        if self.warmup < 0 or self.save_minutes < 0:
            raise SettingsError(
                f"pretrain warmup {self.warmup}, save_minutes {self.save_minutes}: must not be negative"
            )
        for name in ("policy_share", "aside_share"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise SettingsError(f"pretrain {name} {share}: must be above 0 and at most 1")
        unknown = set(self.policy_kinds) - set(KINDS)
        if unknown or not self.policy_kinds:
            raise SettingsError(f"pretrain policy_kinds {self.policy_kinds}: must be some of {', '.join(KINDS)}")

    def learning_rate(self, step: int) -> float:
        """Learning rate of update `step` (from 0)."""
        if self.cosine:
            return warmup_cosine(step, self.steps, self.lr, self.warmup)
        return self.lr * min(1.0, (step + 1) / max(1, min(self.warmup, self.steps // 2)))


class TransitionBatches:
    """Batches of images for the agent. Batch k is drawn from (seed, k), so that it is the same in a resumed run.

    Args:
        dataset: training domains.
        config: size of a batch, and which of its rows are for the policy.
        seed: of the run.

    Raises:
        DataError: no transition is of a kind that the policy learns from.
    """

    def __init__(self, dataset: Dataset, config: PretrainConfig, seed: int) -> None:
        self._dataset = dataset
        self._held = dataset.transitions()
        self._seed = seed
        self._for_policy = is_kind(self._held.kind, config.policy_kinds)
        if not self._for_policy.any():
            raise DataError(
                f"{dataset.root} holds no episode of kind {', '.join(config.policy_kinds)}: collect some, or set "
                "policy_kinds to kinds that it holds"
            )
        aside = np.linalg.norm(dataset.frame_state[self._held.frame, :2], axis=1) > ASIDE_M
        self._pools: list[tuple[np.ndarray, int]] = []  # row numbers, and how many of a batch are of them
        for rows, count in _parts(np.arange(len(self._held)), self._for_policy, config.policy_share, config.batch):
            share = config.aside_share if self._for_policy[rows].all() else None
            self._pools += _parts(rows, aside, share, count)

    def load(self, step: int) -> Batch:
        """Batch number `step`."""
        held, rng = self._held, np.random.default_rng([self._seed, step])
        index = np.concatenate([rows[rng.integers(len(rows), size=count)] for rows, count in self._pools])
        frame = held.frame[index]
        observation, next_observation = self._observe(frame)
        return Batch(
            observation=observation,
            action=held.action[index],
            reward=held.reward[index],
            terminated=held.terminated[index],
            truncated=held.truncated[index],
            next_observation=next_observation,
            domain=held.domain[index],
            policy=self._for_policy[index],
            position=self._dataset.frame_state[frame, :3],
        )

    def _observe(self, frame: np.ndarray) -> tuple[Any, Any]:
        """What the agent sees in the (B,) frames, and in the next ones."""
        images = self._dataset.images(np.concatenate([frame, frame + 1]))
        return images[: len(frame)], images[len(frame) :]


def _parts(rows: np.ndarray, chosen: np.ndarray, share: float | None, count: int) -> list[tuple[np.ndarray, int]]:
    """Divide `count` draws from `rows` between those that are `chosen` (by row number), which get `share` of them, and
    the others; undivided where the share is None or one part is empty."""
    first, second = rows[chosen[rows]], rows[~chosen[rows]]
    if share is None or not len(first) or not len(second):
        return [(rows, count)]
    of_first = max(1, round(share * count))
    return [(first, of_first), (second, count - of_first)]


class PositionBatches(TransitionBatches):
    """The same transitions for an agent that sees where the plug truly is."""

    def __init__(self, dataset: Dataset, config: PretrainConfig, seed: int, agent: StateIQL) -> None:
        super().__init__(dataset, config, seed)
        self._agent = agent

    def _observe(self, frame: np.ndarray) -> tuple[Any, Any]:
        position = self._dataset.frame_state[:, :3]
        return self._agent.features_of(position[frame]), self._agent.features_of(position[frame + 1])


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
            f"{run.path} holds no {name} agent: train it with `lotj pretrain --resume --run-folder {run.path} "
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
