"""The phases of the whole job as functions: collect, pretrain, practise (LOTJ section V-A); `evaluate` is beside."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from lotj.agents import Learner, find_agent
from lotj.agents.base import AgentConfig
from lotj.data.replay import Relabel, Source, hindsight
from lotj.data.store import DiskStore, Store
from lotj.distributed import actors
from lotj.envs.base import spec_of
from lotj.envs.demonstrated import DemonstratedStarts
from lotj.envs.push import GoalPicture
from lotj.envs.registry import folder_name, make_task
from lotj.errors import SettingsError, unknown
from lotj.evaluation.truth import TRUTH, ToldTruth
from lotj.experiments import state_iql
from lotj.experiments.benches import bench_settings, benches_of, pairs, practising, practitioners, prior_data
from lotj.experiments.parts import choose_training, of_split, refuse_variants
from lotj.experiments.practised import copy_of, part_of
from lotj.experiments.presets import Preset
from lotj.experiments.state_iql import STATE_IQL, Positions
from lotj.files import write_json
from lotj.nets.augment import COLOURLESS, AugmentConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Front, Pixels, Vector
from lotj.ranges import SEED
from lotj.rewards.judge import Judge
from lotj.rewards.training import check_data
from lotj.robots.client import is_address
from lotj.robots.robot import PRACTICE, Setup
from lotj.runs import BASE, Run, atomic_write, read_timings, typed_command
from lotj.sim.connector import Connector, connector_text, find_connector
from lotj.training.collect import Progress, Recording, TaskCollection, collect
from lotj.training.collect_insertion import InsertionCollection
from lotj.training.live_view import Watcher
from lotj.training.localize import LOCALIZER, pretrain_localizer
from lotj.training.practice import PracticeResult, practice
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig, TaskPracticeConfig
from lotj.training.pretrain import (
    keep_features,
    load_agent,
    load_reward,
    pretrain_agent,
    pretrain_reward,
    spec_of_data,
    take_over,
)
from lotj.training.rewarded import Rewarded

SMALL_PIXELS = Pixels(EncoderConfig(width=16, stages=1, standardise=False), 16, AugmentConfig(**COLOURLESS))
"""Perception of tasks whose environments reward and show images."""


def collect_phase(
    preset: Preset,
    data: Path,
    workers: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    left_out: Sequence[Connector] = (),
    robot: str = "",
    on: str = "processes",
) -> None:
    """Record a preset's prior data into `data`; goes on where it was stopped. On the served `robot` at an address there
    is one worker; `on` Ray as many as are asked for, or as the cluster has room for, and data are written here."""
    for collection in collections(preset, left_out, robot):
        if on == "ray":
            tasks = len(collection.tasks())
            room = workers or (tasks if os.environ.get("RAY_ADDRESS") else os.cpu_count() or 1)
            with actors([partial(Recording, collection)] * min(tasks, room), on, all_of_them=False) as elsewhere:
                collect(data, collection, report=report, elsewhere=elsewhere)
        else:
            collect(data, collection, 1 if robot else workers or os.cpu_count() or 1, report)


def collections(
    preset: Preset, left_out: Sequence[Connector] = (), robot: str = ""
) -> Sequence[InsertionCollection | TaskCollection]:
    """What a preset collects: its own tasks, or the training and the validation connectors."""
    if preset.tasks is not None:
        return [preset.tasks]
    return [
        InsertionCollection(choose_training(preset.training_connectors, left_out), preset.collect, robot),
        InsertionCollection(of_split("validation"), preset.collect_validation, robot),
    ]


def agent_settings(preset: Preset, name: str, returns: tuple[float, float] | None = None) -> AgentConfig:
    """A preset's settings of an agent: its own for IQL, and of these what others have and do not call `own`; those of
    `Preset.agent`; and, where the preset does not know them, the range of the task's `returns`."""
    if name == STATE_IQL:  # a position is no picture: nothing of it is specific to how a connector looks
        return replace(preset.iql, bottleneck=replace(preset.iql.bottleneck, variant="erm"), position_weight=0.0)
    kind = find_agent(name).CONFIG
    known = {field.name for field in fields(kind)}
    if odd := preset.agent.keys() - known:
        raise unknown(f"setting of {name}", min(odd), sorted(known))
    common = {name: value for name, value in vars(preset.iql).items() if name in known - kind.own}
    if returns is not None and "target_bounds" in known - kind.own:
        common["target_bounds"] = returns
    return kind(**{**common, **preset.agent})


def pretrain_phase(
    preset: Preset,
    data: Path,
    runs: Path,
    seed: int,
    device: str = "cpu",
    resume: Run | None = None,
    live: bool = True,
    also: Sequence[str] = (),
    done: Mapping[str, Run] | None = None,
    agent: str = "iql",
) -> Run:
    """Train on a recorded data set: a reward model where it shows a robot that is to judge itself, and an agent, for
    whose practice features of the data are kept then.

    Args:
        runs, seed: where a new run's folder is made, and its seed.
        resume: the run to go on with.
        live: show progress.
        also: what else to train: `LOCALIZER`, `STATE_IQL`, or further agents by name.
        done: trainings that another run has done with the same settings and data, see `take_over`.
        agent: who learns.

    Raises:
        SettingsError: no such agent, or one that these data are not for.
    """
    train = DiskStore.open(data, split="train")
    judged = all(task.self_judged for task in train.tasks)
    for name in (agent, *also):
        if name not in (LOCALIZER, STATE_IQL) or name == agent:
            find_agent(name)
        elif not judged:
            raise SettingsError(f"{name}: {data} holds no connectors, of which it sees where the plug is; leave it out")
        if not judged:  # made once before any of them learns: what it cannot see is refused here
            front, observation, _, own = _for_task(preset, name, train)
            Learner(find_agent(name), spec_of_data(train.schema, observation), front, own, 1, seed, device)
    validation = DiskStore.open(data, split="validation") if judged else None
    if validation is not None:
        check_data(train, validation)
    settings: dict[str, Any] = asdict(preset.pretraining)
    settings |= {"preset": preset.name, "data": str(data.resolve()), "agent": agent}
    settings |= {"agent_settings": dict(preset.agent)} if preset.agent else {}
    run = resume or Run.create(runs, "pretrain", settings, seed)
    for training, other in (done or {}).items():
        take_over(run, other, training)
    with timed(run, "pretrain"):
        if validation is not None:
            pretrain_reward(train, validation, preset.reward, preset.pretrain, run, device, live)
        _pretrain(agent, preset, train, validation, run, device, live)
    if not also:
        return run
    with timed(run, "baselines"):
        if validation is not None and {LOCALIZER, STATE_IQL} & set(also):
            pretrain_localizer(train, validation, preset.localizer, preset.pretrain, run, device, live)
        for name in also:
            if name != LOCALIZER:
                _pretrain(name, preset, train, validation, run, device, live)
    return run


def _pretrain(
    name: str, preset: Preset, train: DiskStore, validation: DiskStore | None, run: Run, device: str, live: bool
) -> None:
    """Trains one agent."""
    seen: tuple[Store, Store | None] = (train, validation)
    front, observation, relabel, kind = preset.front, ("image",), [], name
    if validation is None:
        front, observation, relabel, settings = _for_task(preset, name, train)
    else:
        settings = agent_settings(preset, name)
    if name == STATE_IQL:
        assert validation is not None
        seen = Positions(train), Positions(validation)
        front, observation, kind = state_iql.FRONT, ("position",), "iql"
    rest = (run, device, live, relabel, observation, name)
    learner = pretrain_agent(kind, *seen, front, settings, preset.pretrain, *rest)
    if validation is not None and name != STATE_IQL:
        keep_features(learner, name, train, preset.features, preset.pretrain.policy_kinds, run, live)


def _for_task(preset: Preset, name: str, train: DiskStore) -> tuple[Front, tuple[str, ...], list[Relabel], AgentConfig]:
    """What an agent sees of data of a registered task, see `_of_task`, and its settings there."""
    share = _rewarded(preset.practice).hindsight
    front, observation, relabel, returns = _of_task(train.tasks[0].env, name, share)
    return front, observation, relabel, agent_settings(preset, name, returns)


def _rewarded(practice: PracticeConfig) -> TaskPracticeConfig:
    """Settings of practice where the environment rewards, of a preset that may be for connectors."""
    if isinstance(practice, TaskPracticeConfig):
        return practice
    return TaskPracticeConfig(**{of.name: getattr(practice, of.name) for of in fields(PracticeConfig)})


def _of_task(name: str, agent: str, share: float) -> tuple[Front, tuple[str, ...], list[Relabel], tuple[float, float]]:
    """What an agent sees of a registered task, images alone where there are some, what must be recorded for it; how its
    transitions are relabelled, a `share` by hindsight, none for one that learns from returns, which are those of whole
    episodes; and the range of returns."""
    with closing(make_task(name)) as env:
        shown, returns = spec_of(env).observation, getattr(env.unwrapped, "returns", (-math.inf, math.inf))
        seen = tuple(array for array in ("state", "goal") if array in shown)
        if "image" in shown:
            bare: Any = env.unwrapped
            if isinstance(bare, GoalPicture) or len(getattr(shown.get("goal"), "shape", ())) > 1:
                rule = "which no agent here is shown; choose observation=state, or see `lotj reproduce rig` and `val`"
                raise SettingsError(f"{name}: its goal is a picture, {rule}")
            return SMALL_PIXELS, ("image",), [], returns
        relabelled = "achieved_goal" in shown and env.has_wrapper_attr("compute_reward")
        if not relabelled or not share or "return" in find_agent(agent).requires:
            return Vector(seen), seen, [], returns
        relabel = [hindsight(env.get_wrapper_attr("compute_reward"), share)]
        return Vector(seen), (*seen, "achieved_goal"), relabel, returns


def practice_phase(
    preset: Preset,
    pretrained: Run,
    runs: Path,
    connector: str | Sequence[str],
    scenario: str,
    robot: str | Sequence[str] = "duo",
    domain_seed: int = 0,
    seed: int = 0,
    device: str = "cpu",
    resume: Run | None = None,
    live: bool = True,
    agent: str = "iql",
    snapshots: Sequence[int] = (),
    judges: Sequence[Judge] = (),
    disturbance: str = "",
    on: str = "processes",
    ask: int = 0,
    watcher: Watcher | None = None,
    truth: bool = False,
) -> tuple[Run, PracticeResult]:
    """Practise on a connector, or on several at once, with the robot's own verdict as the only reward.

    Args:
        pretrained: reward model, agent, and features of prior data.
        runs, seed: where a new run's folder is made, and its seed, which also draws how wrong the socket's position is
            estimated.
        connector, scenario, domain_seed: the bench.
        robot: ``duo`` or ``trio``, or the address of a robot that is served. Where several connectors or robots are
            given, or as many of both, they are practised on at once, with `domain_seed` and the seeds that follow it.
        resume: the run to go on with.
        live, snapshots: show progress; trials after which a copy of the policy stays, for `practised_agent`.
        judges: the robot's own, besides those that it always has, see `lotj.rewards.judge`; of one robot alone.
        disturbance: what goes wrong, in evaluation too, see `lotj.envs.disturbances`; a run resumed keeps its own.
        on: where several robots practise, see `lotj.distributed.actors`.
        ask: how many questions a person is asked, see `lotj.rewards.ask`, of one robot alone; a run resumed keeps its
            own.
        watcher: see `practice`.
        truth: of a study alone: the simulator's word in place of the reward model, which the run's settings say.
            SettingsError where such a run is resumed without, or the other way round; and but for one simulated robot
            that verifies by its score.
    """
    for name, value in (("seed", seed), ("domain_seed", domain_seed)):
        SEED.check(name, value)
    connectors, robots = pairs(connector, robot)
    several, reward = len(robots) > 1, load_reward(pretrained, device)
    config = _self_judged(preset, robots, resume, ask, truth)
    sources = [part_of(resume, k) for k in range(1, len(robots) + 1)] if resume else connectors
    parts = [find_connector(source) for source in sources]
    before, learner, prior = practising(pretrained, agent, config, device)
    for part in parts:
        refuse_variants(part, prior[0].store.tasks)
    setup = Setup(PRACTICE, "", domain_seed, scenario, reward.shape[2], config.max_steps, seed)
    of_each: dict[str, Any] = {"pretrained": pretrained.path, "agent": agent, "device": device, "config": config}
    benches = benches_of(robots, sources, parts, setup, resume, disturbance=disturbance, **of_each)
    machine, delay = benches[0].open()
    benches[0] = replace(benches[0], delay=delay)
    names, settings = bench_settings(benches, parts, machine)
    settings |= {"connector": connectors[0], "ask": ask, **_practice_settings(preset, agent, pretrained)}
    settings |= {"connectors": connectors, "robots": robots, "on": on} if several else {}
    settings |= {"reward": TRUTH} if truth else {}
    with closing(machine):
        run = resume or Run.create(runs, "practice", settings, seed)
        for k, source in enumerate([] if resume else sources, 1):
            atomic_write(copy_of(run, k), connector_text(source))
        atomic_write(run.path / "reward_report.json", json.dumps(reward.report).encode())
        where, how = names if several else names[0], {"resume": resume is not None, "snapshots": snapshots}
        judge = ToldTruth(run.path / "truth.jsonl") if truth else reward
        with timed(run, "practice"), practitioners(benches, machine, before, learner, judge, run, judges, on) as made:
            return run, practice(made, learner, prior, config, run, where, live=live, watcher=watcher, **how)


def _self_judged(preset: Preset, robots: Sequence[str], resume: Run | None, ask: int, truth: bool) -> SelfJudgedConfig:
    """A preset's settings of practice; SettingsError where these, the questions or what rewards will not do."""
    config, told = preset.practice, resume is not None and resume.config.get("reward") == TRUTH
    if ask and len(robots) > 1:
        raise SettingsError(f"ask {ask}: questions are about one robot, here are {len(robots)}; leave ask out")
    if not isinstance(config, SelfJudgedConfig):
        raise SettingsError(f"preset {preset.name}: is for tasks that reward; for a connector choose laptop, or none")
    if resume and told != truth:
        other = "the simulator's truth, which only the study may that began it" if told else "what the robot sees"
        raise SettingsError(f"{resume.path}: was rewarded by {other}; begin another run")
    if truth and (config.verify != "score" or len(robots) > 1 or is_address(robots[0])):
        raise SettingsError(f"truth as reward: one simulated robot, verify score; here {robots}, {config.verify}")
    return config


def _practice_settings(preset: Preset, agent: str, pretrained: Run | None) -> dict[str, Any]:
    """What any run of practice keeps; of its commands those before its own evaluation."""
    remade = [pretrained.command] if pretrained and pretrained.path != BASE else []  # nobody need make the base
    return {
        "agent": agent,
        "preset": preset.name,
        "trials": preset.practice.trials,
        "pretrain_run": str(pretrained.path) if pretrained else "",
        **({"pretrain_seed": pretrained.seed, "pretrain_created": pretrained.created} if pretrained else {}),
        "practice": asdict(preset.practice),
        **({"agent_settings": dict(preset.agent)} if preset.agent else {}),
        "commands": [*dict.fromkeys((*remade, typed_command()))],
    }


def practise_task_phase(
    preset: Preset,
    name: str,
    runs: Path,
    agent: str,
    pretrained: Run | None = None,
    seed: int = 0,
    device: str = "cpu",
    resume: Run | None = None,
    live: bool = True,
    snapshots: Sequence[int] = (),
    make: Callable[[str], gym.Env] = make_task,
    watcher: Watcher | None = None,
    learner: Learner | None = None,
) -> tuple[Run, PracticeResult]:
    """Practise on a task whose environment rewards, from nothing, from a `learner`, or from a pretraining and its prior
    data; `make` makes it of its name. For the rest see `practice_phase`."""
    SEED.check("seed", seed)
    if "context" in find_agent(agent).requires:
        rule = "which practice on a single task does not hand on; `lotj reproduce oda` does, or take another agent"
        raise SettingsError(f"agent {agent}: is told its task by demonstrations, {rule}")
    env = make(name)
    practised = _rewarded(preset.practice)
    preset = replace(preset, practice=practised)
    spec, (front, _, relabel, returns) = spec_of(env), _of_task(name, agent, practised.hindsight)
    settings = {"task": name, "rate_hz": spec.rate_hz, **_practice_settings(preset, agent, pretrained)}
    config = replace(practised, max_steps=spec.max_steps)
    prior: list[Source] = []
    if learner is not None:
        config = replace(config, online_fraction=1.0)
    elif pretrained is None:
        seen = replace(spec, observation={array: spec.observation[array] for array in front.reads(spec.observation)})
        learner = Learner(find_agent(agent), seen, front, agent_settings(preset, agent, returns), 1, seed, device)
        config = replace(config, online_fraction=1.0)
    else:
        learner = load_agent(pretrained, device, agent, **preset.agent)
        prior = prior_data(pretrained, config, relabel=relabel)
        tasks = sorted({task.env for task in prior[0].store.tasks})
        then, now = ({array: of.shape for array, of in each.observation.items()} for each in (learner.spec, spec))
        if name not in tasks or learner.spec.action != spec.action or not then.items() <= now.items():
            seen = f"pretrained on {', '.join(tasks)}, with observations {then} and actions {learner.spec.action}"
            rule = f"not on {name} as it is; name another --pretrained, or none"
            raise SettingsError(f"{pretrained.path}: {seen}, {rule}")
    if config.demonstration_starts:
        if not prior:
            raise SettingsError("starts from demonstrations: need prior data; name a --pretrained")
        env = DemonstratedStarts(env, prior[0].store, config.demonstration_starts)
    run = resume or Run.create(runs, "practice", settings, seed)
    with closing(env), timed(run, "practice"):
        rewarded, title = Rewarded(env, spec.max_steps, run.seed), folder_name(name)
        how: dict[str, Any] = {"live": live, "resume": resume is not None, "snapshots": snapshots, "watcher": watcher}
        return run, practice(rewarded, learner, prior, config, run, title, relabel, **how)


@contextmanager
def timed(run: Run, phase: str) -> Iterator[None]:
    """Add what it takes to the run's timings.json, which also names the machine; see `Run.unless_refused`."""
    started = time.perf_counter()
    with run.unless_refused():
        yield
    seconds = time.perf_counter() - started
    path = run.path / "timings.json"
    before = read_timings(path)["seconds"] if path.exists() else {}
    gpu = "GPU" if torch.cuda.is_available() else "no GPU"
    machine = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, {gpu}"
    after = before | {phase: round(before.get(phase, 0.0) + seconds, 1)}
    write_json(path, {"machine": machine, "seconds": after})
