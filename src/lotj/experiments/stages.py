"""The four phases of the whole job as functions: collect, pretrain, practise, evaluate (LOTJ section V-A)."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.agents.iql import IQL
from lotj.agents.sac import SAC, SACConfig
from lotj.data import layout
from lotj.data.dataset import Dataset
from lotj.envs.insertion import InsertionEnv, make_domain
from lotj.errors import CheckpointError, DataError, SettingsError, check_seed
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
from lotj.experience import Domain
from lotj.experiments.entrants import DEFAULT, POLICIES, baseline, check_entrants
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.presets import Preset
from lotj.nets.encoder import to_tensor
from lotj.rewards.model import RewardModel
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run, atomic_write, typed_command
from lotj.saliency.gradcam import gradcam
from lotj.sim.bench import RATE_HZ
from lotj.sim.connector import Connector, connector_text, find_connector
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


PART = "connector.toml"
"""In a practice run: the connector that it practises on, as it was then."""


def collect_phase(
    preset: Preset,
    data: Path,
    workers: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    left_out: Sequence[Connector] = (),
) -> None:
    """Record the training and validation connectors of a preset into `data`; goes on where it was stopped."""
    workers = workers or os.cpu_count() or 1
    collect(data, choose_training(preset.training_connectors, left_out), preset.collect, workers, report)
    collect(data, of_split("validation"), preset.collect_validation, workers, report)


def open_split(data: Path, split: str) -> Dataset:
    """The domains of one split of a data set.

    Raises:
        DataError: no data set, or none of its domains is of this split.
    """
    splits: list[str] = []

    def chosen(domain: Domain) -> bool:
        splits.append(domain.split)
        return domain.split == split

    try:
        return Dataset.open(data, chosen)
    except DataError:
        if splits and split not in splits:
            raise DataError(f"{data} holds no {split} connectors: `lotj collect` records both kinds") from None
        raise


def _check_data(train: Dataset, validation: Dataset, preset: Preset) -> None:
    """Before the first update, what pretraining would stumble over at its end.

    Raises:
        DataError: only successes, or none, among the frames of one split.
        SettingsError: images of another size than a network is made for.
    """
    for split, dataset in (("training", train), ("validation", validation)):
        successes = int(dataset.frame_success.sum())
        if not 0 < successes < dataset.n_frames:
            raise DataError(
                f"{dataset.root}: {successes} of the {dataset.n_frames} frames of {split} connectors show success, the "
                "reward needs both kinds: collect more"
            )
    for part in ("reward", "iql"):
        size = getattr(preset, part).encoder.image_size
        if size != train.image_size:
            raise SettingsError(
                f"{part}.encoder.image-size {size}: {train.root} holds images of {train.image_size} pixels; set it to "
                "that"
            )


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
    check_seed(seed)
    train, validation = open_split(data, "train"), open_split(data, "validation")
    _check_data(train, validation, preset)
    parts = ("reward", "iql", "pretrain", "localizer")
    settings = {name: asdict(getattr(preset, name)) for name in parts}
    settings |= {"preset": preset.name, "data": str(data.resolve())}
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
    check_seed(seed)
    check_seed(domain_seed, "domain_seed")
    source = part_of(resume) if resume else connector
    part, domain = find_connector(source), make_domain(source, robot, domain_seed)
    train = open_split(pretrained.locate("data", "meta.json"), "train")
    if part.split != "train":
        _refuse_seen(part, train.domains)
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
            *dict.fromkeys((pretrained.command, typed_command())),
            "lotj evaluate runs/last",
            "lotj report runs/last",
        ],
    }
    reward, learner = load_reward(pretrained, device), load_agent(pretrained, device, agent)
    env = InsertionEnv(source, robot, domain_seed, scenario, reward.image_size, end_on_success=False)
    run = resume or Run.create(runs, "practice", settings, seed)
    if not resume:
        atomic_write(run.path / PART, connector_text(connector))
    atomic_write(run.path / "reward_report.json", json.dumps(reward.report).encode())
    machine = SimulatedRobot(env, run.path / "truth.jsonl")
    started = time.perf_counter()
    try:
        resumed = resume is not None
        result = practice(machine, learner, reward, train, preset.practice, run, live, resumed, until)
    finally:
        machine.close()
    _add_timing(run, "practice", time.perf_counter() - started)
    return run, result


def pretraining_of(run: Run) -> Run:
    """The pretraining that a practice run has begun from, also where both have been moved."""
    return Run.open(run.locate("pretrain_run", "run.json"))


def part_of(run: Run) -> str:
    """The connector of a practice run, for `find_connector`: the run's copy, whatever has become of the file since."""
    copy = run.path / PART
    return str(copy) if copy.exists() else run.setting("connector")


def bench_of(run: Run) -> tuple[str, str, int, str]:
    """Connector, robot, seed of the domain and scenario of a practice run, as `InsertionEnv` takes them."""
    return part_of(run), run.setting("robot"), run.setting("domain_seed", int), run.setting("scenario")


def refuse_seen(part: Connector, data: Path) -> None:
    """Raises SettingsError where `data`, if there is any yet, holds training connectors that are variants of `part`."""
    if (data / layout.META).exists():
        domains = [layout.read_domain(layout.domain_folder(data, name)) for name in layout.domain_names(data)]
        _refuse_seen(part, [domain for domain in domains if domain.split == "train"])


def _refuse_seen(part: Connector, trained_on: Iterable[Domain]) -> None:
    variants = {part.name, part.variant_of} - {""}
    for name in sorted({domain.connector for domain in trained_on}):
        seen = find_connector(name)
        if variants & {seen.name, seen.variant_of}:
            raise SettingsError(
                f"{part.name}: {name!r} in the training data is a close variant of it, so the result would not be that "
                "of an unseen connector; collect into another folder, with `lotj collect --leave-out`"
            )


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
    pretrained = pretraining_of(run)
    bench = bench_of(run)
    reward = load_reward(pretrained, device)
    agents = {name: _policy(name, run, pretrained, device) for name in POLICIES if name in controllers}
    env = InsertionEnv(*bench, image_size=reward.image_size)
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trials)
    context = {key: run.setting(key) for key in ("connector", "scenario", "robot", "domain")} | {"spread": spread}
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


def _plain(value: Any) -> Any:
    """Settings as JSON values: paths as text."""
    return json.loads(json.dumps(value, default=str))


def _add_timing(run: Run, phase: str, seconds: float) -> None:
    """Add to the run's timings.json, which also names the machine."""
    path = run.path / "timings.json"
    try:
        timings = json.loads(path.read_text(encoding="utf-8"))
        before = timings["seconds"]
    except FileNotFoundError:
        timings, before = {}, {}
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path}: damaged; remove it or restore it from a copy") from None
    gpu = "GPU" if torch.cuda.is_available() else "no GPU"
    machine = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, {gpu}"
    timings |= {"machine": machine, "seconds": before | {phase: round(before.get(phase, 0.0) + seconds, 1)}}
    atomic_write(path, json.dumps(timings, indent=2).encode())
