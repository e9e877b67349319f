"""Where robots practise, and what they begin with: benches, which can be sent to other processes, and learners."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from lotj.agents import Learner, find_agent
from lotj.data import layout
from lotj.data.replay import Relabel, Source
from lotj.data.store import DiskStore, Store
from lotj.distributed import actors
from lotj.envs.disturbances import disturbed
from lotj.envs.settled import Settled
from lotj.errors import SettingsError, unknown
from lotj.evaluation.truth import ToldTruth
from lotj.experience import INSERTION, INTERVENTION
from lotj.experiments.state_iql import STATE_IQL, Located, Positions
from lotj.rewards.ask import Ask
from lotj.rewards.judge import GoalPictures, Judge
from lotj.rewards.model import RewardModel
from lotj.robots.client import RemoteRobot, is_address
from lotj.robots.robot import Setup
from lotj.robots.simulated import SimulatedRobot, simulated_bench
from lotj.runs import Run, restore_settings
from lotj.sim.arm import ARMS
from lotj.sim.connector import Connector, connector_text
from lotj.training.corrections import Corrections
from lotj.training.features import Encoder, imitated
from lotj.training.fleet import Elsewhere, Hand
from lotj.training.localize import load_localizer
from lotj.training.practice import finished_trials
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig
from lotj.training.pretrain import load_agent, load_features, load_reward
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.prior import sources
from lotj.training.self_judged import Memory, SelfJudged


@dataclass(frozen=True)
class Bench:
    """Where one robot practises, and what it needs for that; can be sent to another process."""

    robot: str  # ``duo`` or ``trio``, or the address of a robot that is served
    setup: Setup
    pretrained: Path
    agent: str
    config: SelfJudgedConfig
    device: str
    disturbance: str = ""
    done: int = 0  # trials of the run that it has gone wrong in already
    delay: int | None = None  # of the simulated robot [steps], if that is known
    truth: Path | None = None  # see `SimulatedRobot`

    def __post_init__(self) -> None:
        """SettingsError where what is to go wrong is on a bench elsewhere."""
        if self.disturbance and is_address(self.robot):
            raise SettingsError(
                f"disturbance {self.disturbance}: is of a bench simulated here, {self.robot} is served; leave it out"
            )

    def open(self) -> tuple[RemoteRobot | SimulatedRobot, int]:
        """The robot, to be closed, and by how many steps it is late."""
        setup = self.setup
        if is_address(self.robot):
            return RemoteRobot(self.robot, setup), 0

        def bench() -> gym.Env:
            env = simulated_bench(setup, self.robot)
            return disturbed(env, self.disturbance, setup.seed, self.config.trials, self.done)

        env = Settled(bench, self.delay)
        return SimulatedRobot(env, self.truth), env.delay

    def make(self) -> Hand:
        """The robot with all that it needs, in a process of its own."""
        torch.set_num_threads(1)  # its nets look at one picture at a time
        pretrained = Run.open(self.pretrained)
        before, learner = acting(pretrained, self.agent, self.config, self.device)
        reward = load_reward(pretrained, self.device)
        robot, _ = self.open()
        return Hand(SelfJudged(robot, before, learner, reward, self.config, self.setup.seed), learner, robot.close)


def benches_of(
    robots: Sequence[str], sources: Sequence[str], parts: Sequence[Connector], setup: Setup, resume: Run | None = None,
    *, config: SelfJudgedConfig, disturbance: str = "", **of_each: Any,
) -> list[Bench]:  # fmt: skip
    """Where robots practise, each on a part and for its share of the trials; `setup` is the first one's, but for its
    part, and the others have a domain's seed that is one higher each. A run resumed keeps its own disturbance."""
    config, benches, done, delay = replace(config, trials=math.ceil(config.trials / len(robots))), [], 0, None
    if resume:
        disturbance, delay = (resume.config.get(name, usual) for name, usual in (("disturbance", ""), ("delay", 0)))
        done = finished_trials(resume) // len(robots) if disturbance else 0
    rest: dict[str, Any] = {**of_each, "disturbance": disturbance, "done": done}
    for k, (name, source, part) in enumerate(zip(robots, sources, parts, strict=True)):
        # Known of a peg or a screw as its kind is, by whoever has it in hand.
        own = config if part.seating_force else replace(config, retention=False)
        there = replace(setup, part=connector_text(source).decode(), domain_seed=setup.domain_seed + k)
        benches.append(Bench(name, there, config=own, delay=None if k else delay, **rest))
    return benches


def bench_settings(
    benches: Sequence[Bench], parts: Sequence[Connector], machine: RemoteRobot | SimulatedRobot
) -> tuple[list[str], dict[str, Any]]:
    """The names of benches, and what a run keeps of the first, its part and its robot, which is open as `machine`."""
    first, part, others = benches[0], parts[0], enumerate(benches[1:], 2)
    kinds = [machine.name, *(f"robot-{k}" if is_address(of.robot) else of.robot for k, of in others)]
    of_each = zip(parts, kinds, benches, strict=True)
    names = [f"{own.name}.{kind}.{bench.setup.domain_seed}" for own, kind, bench in of_each]
    delay = first.delay or 0
    return names, {
        "task": INSERTION + part.name,
        "connector_title": part.title,
        "family": part.family,
        "insertion_depth_mm": round(1e3 * part.insertion_depth, 3),
        "scenario": first.setup.scenario,
        "robot": first.robot,
        "domain": names[0],
        "domain_seed": first.setup.domain_seed,
        "disturbance": first.disturbance,
        "delay": delay,
        "rate_hz": machine.spec.rate_hz / (1 + delay),
    }


@contextmanager
def practitioners(
    benches: Sequence[Bench], machine: RemoteRobot | SimulatedRobot, before: Encoder, learner: Learner,
    reward: RewardModel | ToldTruth, run: Run, judges: Sequence[Judge], on: str,
) -> Iterator[Any]:  # fmt: skip
    """Who practises, for `practice`: the robot of the only bench, which is open as `machine`; or, where there are
    several, their robots, each in a process of its own, which opens its bench anew."""
    truth = run.path / "truth.jsonl"
    if len(benches) > 1:
        machine.close()
        away = [replace(bench, truth=truth) for bench in benches]
        with actors([bench.make for bench in away], on) as starts:
            made = zip(starts, away, strict=True)
            yield [Elsewhere(start, learner, Memory.empty(reward.threshold, bench.config)) for start, bench in made]
    else:
        if isinstance(machine, SimulatedRobot):
            machine.truth_file = truth
        person = with_person(run, learner.spec.action[0], machine.spec.rate_hz)
        yield SelfJudged(machine, before, learner, reward, benches[0].config, run.seed, judges, **person)


def with_person(run: Run, axes: int, rate_hz: float) -> dict[str, Any]:
    """How a person takes part in what a robot that judges itself does, for `SelfJudged`."""
    how, recorded = dict[str, Any](), run.path / "trials"
    if count := run.config.get("ask", 0):
        how["together"] = partial(Ask, count=count, answers=run.path / "answers.jsonl")
    if not (recorded / layout.META).exists() or INTERVENTION in layout.read_meta(recorded).schema.notes:
        how["corrections"] = Corrections(axes, rate_hz)
    return how


def pairs(connector: str | Sequence[str], robot: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Connector and robot of each bench."""
    connectors, robots = ([given] if isinstance(given, str) else [*given] for given in (connector, robot))
    if 1 not in (len(connectors), len(robots)) and len(connectors) != len(robots):
        rule = "name one of the one kind, or as many of both"
        raise SettingsError(f"{len(connectors)} connectors and {len(robots)} robots: {rule}")
    for name in robots:
        if not is_address(name) and name not in ARMS:
            raise unknown("robot", name, ARMS, f"must be one of {', '.join(ARMS)}, or host:port of a served one")
    count = max(len(connectors), len(robots))
    return connectors * (count // len(connectors)), robots * (count // len(robots))


def practising(
    pretrained: Run, agent: str, config: PracticeConfig, device: str
) -> tuple[Encoder, Learner, list[Source]]:
    """What stands before the practising learner, the learner, and its prior data."""
    before, learner = acting(pretrained, agent, config, device)
    if agent == STATE_IQL:
        return before, learner, prior_data(pretrained, config, Positions)
    known = load_features(pretrained, agent)
    return before, learner, [Source(known, 1.0 - config.online_fraction, columns={"imitate": imitated(known)})]


def acting(pretrained: Run, agent: str, config: PracticeConfig, device: str) -> tuple[Encoder, Learner]:
    """What stands before the practising learner, and the learner; SettingsError where pictures shall verify that it
    does not read."""
    tuned = {"advantage_scale": config.advantage_scale, "q_gradient_weight": config.q_gradient_weight}
    if agent == STATE_IQL:
        before, learner = Located(load_localizer(pretrained, device)), load_agent(pretrained, device, agent, **tuned)
    else:
        find_agent(agent)  # one that there is not cannot be pretrained either
        before = load_agent(pretrained, device, agent)
        learner = before.on_features(**tuned)
    blind = GoalPictures.FEATURES not in learner.reads
    if blind and isinstance(config, SelfJudgedConfig) and config.verify == "picture":
        raise SettingsError(f"verify picture: compares what the policy sees, {agent} sees none; try verify touch")
    return before, learner


def prior_data(
    pretrained: Run,
    config: PracticeConfig,
    seen: Callable[[DiskStore], Store] = lambda data: data,
    relabel: Sequence[Relabel] = (),
) -> list[Source]:
    """The prior data in the shares of the pretraining, as far as practice leaves room for them."""
    data = seen(DiskStore.open(pretrained.locate("data", "meta.json"), split="train"))
    trained = restore_settings(PretrainConfig, pretrained.setting("pretrain", dict), str(pretrained.path))
    return sources(data, trained, relabel, 1.0 - config.online_fraction)
