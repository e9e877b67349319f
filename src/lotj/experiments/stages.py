"""The four phases of the whole job as functions: collect, pretrain, practise, evaluate (LOTJ section V-A)."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.agents.iql import IQL
from lotj.agents.sac import SAC, SACConfig
from lotj.data.dataset import Dataset
from lotj.envs.insertion import InsertionEnv, make_domain
from lotj.errors import CheckpointError, SettingsError
from lotj.evaluation import (
    LABELS,
    Controller,
    EvaluationResult,
    FilmStrip,
    add_evaluation,
    evaluate,
    load_filmstrips,
    save_filmstrips,
)
from lotj.experiments.entrants import DEFAULT, POLICIES, baseline, check_entrants
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.presets import PRESETS, Preset
from lotj.nets.encoder import to_tensor
from lotj.rewards.model import RewardModel
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run, atomic_write, changed_flags
from lotj.saliency.gradcam import gradcam
from lotj.sim.bench import RATE_HZ
from lotj.sim.connector import find_connector
from lotj.training.collect import Progress, collect
from lotj.training.localize import load_localizer, pretrain_localizer
from lotj.training.practice import CHECKPOINT, PracticeResult, practice
from lotj.training.pretrain import (
    find_agent,
    load_agent,
    load_reward,
    pretrain,
    pretrain_sac,
    pretrain_state_iql,
    take_over,
)

_WHEN = {"offline": "before", "practice": "after"}
"""Film strip of each learned policy."""

FIRST_EVALUATION_SEED = 10_000
"""Evaluation starts from poses of these seeds on; practice draws its own from another stream."""


class PolicyController:
    """The learnt policy as a controller, from the image and nothing else.

    Args:
        agent: acts.
        spread: share of the policy's standard deviation that its actions have; 0 takes the mean action. An image does
            not tell all (how high the plug stands, what it hides): a policy without memory that never varies its action
            stays stuck where it once is, a varying one comes free.
    """

    def __init__(self, agent: IQL | SAC, spread: float = 1.0) -> None:
        self._agent = agent
        self._spread = spread
        self._generator = torch.Generator()

    def reset(self, seed: int) -> None:
        """Start a trial; its random numbers depend on nothing else."""
        self._generator.manual_seed(seed)

    def __call__(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        """(3,) action in [-1, 1]."""
        return self._agent.act(observation[None], self._spread, self._generator)[0]


def collect_phase(
    preset: Preset, data: Path, workers: int | None = None, report: Callable[[Progress], None] = lambda progress: None
) -> None:
    """Record the training and validation connectors of a preset into `data`; goes on where it was stopped."""
    workers = workers or os.cpu_count() or 1
    collect(data, choose_training(preset.training_connectors), preset.collect, workers, report)
    collect(data, of_split("validation"), preset.collect_validation, workers, report)


def open_split(data: Path, split: str) -> Dataset:
    """The domains of one split of a data set."""
    return Dataset.open(data, domains=lambda domain: domain.split == split)


def pretrain_phase(
    preset: Preset,
    data: Path,
    runs: Path,
    seed: int,
    device: str = "cpu",
    resume: Run | None = None,
    live: bool = True,
    also: Sequence[str] = (),
    taken: Mapping[str, Run] | None = None,
) -> Run:
    """Train reward model and agent on a recorded data set.

    Args:
        preset: settings.
        data: folder of the data set.
        runs: where a new run's folder is made.
        seed: of a new run.
        device: where to compute.
        resume: the run to go on with.
        live: show progress.
        also: what else to train: ``localizer``, ``state-iql``, ``sac``.
        taken: trainings that another run has done with the same settings and data, see `take_over`.
    """
    train, validation = open_split(data, "train"), open_split(data, "validation")
    parts = ("reward", "iql", "pretrain", "localizer")
    settings = {"preset": preset.name, "data": str(data)} | {name: asdict(getattr(preset, name)) for name in parts}
    run = resume or Run.create(runs, "pretrain", settings, seed)
    for training, other in (taken or {}).items():
        take_over(run, other, training)
    begun = resume is not None or bool(taken)
    started = time.perf_counter()
    pretrain(train, validation, preset.reward, preset.iql, preset.pretrain, run, device, resume=begun, live=live)
    _add_timing(run, "pretrain", time.perf_counter() - started)
    started = time.perf_counter()
    if {"localizer", "state-iql"} & set(also):
        often = (preset.pretrain.log_every, preset.pretrain.save_minutes)
        localizer = pretrain_localizer(train, validation, preset.localizer, run, *often, device, live)
        if "state-iql" in also:
            pretrain_state_iql(train, validation, localizer, preset.iql, preset.pretrain, run, live)
    if "sac" in also:
        pretrain_sac(train, validation, SACConfig.of(preset.iql), preset.pretrain, run, device, live)
    if also:
        _add_timing(run, "baselines", time.perf_counter() - started)
    return run


def practice_phase(
    preset: Preset,
    pretrained: Run,
    runs: Path,
    connector: str,
    scenario: str,
    robot: str = "duo",
    domain_seed: int = 0,
    seed: int = 0,
    device: str = "cpu",
    resume: Run | None = None,
    live: bool = True,
    agent: str = "iql",
    until: int | None = None,
) -> tuple[Run, PracticeResult]:
    """Practise on one connector with the reward model as the only judge; `agent` is one of `AGENTS`, `until` the trial
    to stop after, if not the last."""
    part, domain = find_connector(connector), make_domain(connector, robot, domain_seed)
    train = open_split(Path(pretrained.config["data"]), "train")
    if part.split != "train":
        _refuse_seen(connector, train)
    settings = {
        "connector": connector,
        "connector_title": part.title,
        "family": part.family,
        "scenario": scenario,
        "robot": robot,
        "domain": domain.name,
        "domain_seed": domain_seed,
        "agent": agent,
        "preset": preset.name,
        "trials": preset.practice.trials,
        "insertion_depth_mm": round(1e3 * part.insertion_depth, 3),
        "pretrain_run": str(pretrained.path),
        "pretrain_seed": pretrained.seed,
        "practice": _plain(asdict(preset.practice)),
        "commands": [
            *_pretrain_commands(pretrained),
            f"lotj practice --preset {preset.name} --connector {shlex.quote(connector)} --scenario {scenario} "
            f"--robot {robot} --domain-seed {domain_seed} --seed {seed} --agent {agent}"
            + _flags(preset.name, {"practice": preset.practice}, named=False),
            "lotj evaluate runs/last",
            "lotj report runs/last",
        ],
    }
    reward, learner = load_reward(pretrained, device), load_agent(pretrained, device, agent)
    run = resume or Run.create(runs, "practice", settings, seed)
    atomic_write(run.path / "reward_report.json", json.dumps(reward.report).encode())
    env = InsertionEnv(connector, robot, domain_seed, scenario, reward.image_size, end_on_success=False)
    machine = SimulatedRobot(env, run.path / "truth.jsonl")
    started = time.perf_counter()
    try:
        resumed = resume is not None
        result = practice(machine, learner, reward, train, preset.practice, run, live, resumed, until)
    finally:
        machine.close()
    _add_timing(run, "practice", time.perf_counter() - started)
    return run, result


def _refuse_seen(connector: str, train: Dataset) -> None:
    variants = _variants(connector)
    seen = [d.connector for d in train.domains if variants & _variants(d.connector)]
    if seen:
        raise SettingsError(
            f"{connector}: {seen[0]!r} in the training data is a close variant of it, so the result would not be "
            "that of an unseen connector; collect without it"
        )


def _pretrain_commands(run: Run) -> list[str]:
    """The commands that make a pretraining run again. What the data set was collected with beside its preset's settings
    is not known."""
    config = run.config
    parts = {name: config[name] for name in ("reward", "iql", "pretrain", "localizer") if name in config}
    data = f"--preset {config['preset']} --data {shlex.quote(config['data'])}"
    return [f"lotj collect {data}", f"lotj pretrain {data} --seed {run.seed}{_flags(config['preset'], parts)}"]


def _flags(preset: str, parts: Mapping[str, Any], named: bool = True) -> str:
    """The flags that ask for settings other than a preset's; none for a preset that only a program knows.

    Args:
        preset: its name.
        parts: name of a part in `Preset` -> its settings.
        named: whether the flags bear the part's name.
    """
    usual = PRESETS.get(preset)
    words = [
        word
        for name, settings in parts.items()
        if usual is not None
        for word in changed_flags(settings, getattr(usual, name), f"{name}." if named else "")
    ]
    return "".join(f" {shlex.quote(word)}" for word in words)


def evaluate_phase(
    run: Run,
    trials: int = 20,
    device: str = "cpu",
    on_trial: Callable[[str], None] = lambda name: None,
    spread: float = 1.0,
    controllers: Sequence[str] = DEFAULT,
) -> list[EvaluationResult]:
    """True success of learned policies and hand-made baselines, all from the same start poses.

    Args:
        run: of practice.
        trials: of each.
        device: where to compute.
        on_trial: told the name after each trial.
        spread: of the learned policies, see `PolicyController`.
        controllers: which, see `lotj.experiments.entrants`.

    Raises:
        SettingsError: an unknown controller.
        CheckpointError: a model that one of them needs is missing.
    """
    check_entrants(controllers)
    settings, pretrained = run.config, Run.open(Path(run.config["pretrain_run"]))
    reward = load_reward(pretrained, device)
    agents = {name: _policy(name, run, pretrained, device) for name in POLICIES if name in controllers}
    env = InsertionEnv(
        settings["connector"], settings["robot"], settings["domain_seed"], settings["scenario"], reward.image_size
    )
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trials)
    context = {key: settings[key] for key in ("connector", "scenario", "robot", "domain")} | {"spread": spread}
    started, results = time.perf_counter(), []
    try:
        entrants: dict[str, Controller] = {
            name: PolicyController(agents[name], spread)
            if name in agents
            else baseline(name, env, lambda: load_localizer(pretrained, device).locate)
            for name in controllers
        }
        for name, controller in entrants.items():
            result = evaluate(
                env,
                controller,
                seeds,
                name=name,
                label=LABELS[name],
                context=context,
                rate_hz=RATE_HZ,
                film_seeds=seeds[:3] if name in agents else (),
                on_trial=lambda trial, success, name=name: on_trial(name),
            )
            add_evaluation(run.path / "evaluation.json", result)
            results.append(result)
    finally:
        env.close()
    _add_films(run, {_WHEN[r.name]: _film(r, agents[r.name], reward) for r in results if r.films})
    _add_timing(run, "evaluate", time.perf_counter() - started)
    return results


def _add_films(run: Run, films: Mapping[str, FilmStrip]) -> None:
    """Beside those that the run has."""
    if films:
        path = run.path / "filmstrips.npz"
        save_filmstrips(path, (load_filmstrips(path) if path.exists() else {}) | dict(films))


def _policy(name: str, run: Run, pretrained: Run, device: str) -> IQL | SAC:
    """The agent of one of `POLICIES`."""
    return load_agent(pretrained, device, _agent_of(run)) if name == "offline" else practised_agent(run, device)


def practised_agent(run: Run, device: str = "cpu") -> IQL | SAC:
    """The agent after the last finished trial of a practice run.

    Raises:
        CheckpointError: the run holds no finished trial.
    """
    if not run.has(CHECKPOINT):
        raise CheckpointError(f"{run.path} holds no finished trial: practise first, with `lotj practice`")
    return find_agent(_agent_of(run))[1].restore(run.load(CHECKPOINT, device)["agent"], device)


def _agent_of(run: Run) -> str:
    """Name of the agent that practised; runs from before there was a choice do not say."""
    return run.config.get("agent", "iql")


def _film(result: EvaluationResult, agent: IQL | SAC, reward: RewardModel) -> FilmStrip:
    """One evaluation trial with the reward's scores and Grad-CAM of reward and policy (its Y action)."""
    seed = min(result.films)
    frames = result.films[seed]
    images = to_tensor(frames, reward.device)
    classifier, actor = reward.classifier, agent.actor
    with torch.enable_grad():
        reward_heat = gradcam(classifier, classifier.encoder.saliency_stage, images, lambda logit: logit)
        policy_heat = gradcam(actor, actor.encoder.resnet.saliency_stage, images, lambda mean: mean[:, 1])
    return FilmStrip(
        frames=frames,
        scores=reward.score(frames),
        reward_heat=reward_heat,
        policy_heat=policy_heat,
        success=bool(result.success[list(result.seed).index(seed)]),
        seed=seed,
    )


def with_practice(preset: Preset, **changes: Any) -> Preset:
    """The preset with other practice settings."""
    return replace(preset, practice=replace(preset.practice, **changes))


def _variants(connector: str) -> set[str]:
    part = find_connector(connector)
    return {part.name, part.variant_of} - {""}


def _plain(value: Any) -> Any:
    """Settings as JSON values: paths as text."""
    return json.loads(json.dumps(value, default=str))


def _add_timing(run: Run, phase: str, seconds: float) -> None:
    """Add to the run's timings.json, which also names the machine."""
    path = run.path / "timings.json"
    timings: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seconds": {}}
    timings["machine"] = (
        f"{os.cpu_count()} cores, {platform.machine()}, {'GPU' if torch.cuda.is_available() else 'no GPU'}"
    )
    timings["seconds"][phase] = round(timings["seconds"].get(phase, 0.0) + seconds, 1)
    atomic_write(path, json.dumps(timings, indent=2).encode())
