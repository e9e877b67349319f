"""Prior insertions: the paper's scripted expert and, as a setting, its near misses (LOTJ section IV)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from lotj.controllers.expert import Expert, Partial, Press
from lotj.envs.insertion import SCENARIOS, InsertionEnv, insertion_task
from lotj.errors import SettingsError, find
from lotj.experience import SUCCESS, Episode, Observation, Recorder, Task
from lotj.ranges import COUNT, NOT_NEGATIVE, SEED, SHARE, Checked, Interval
from lotj.robots.client import RemoteRobot
from lotj.robots.robot import COLLECTION, Setup, WitnessedEnv
from lotj.robots.simulated import simulated_bench
from lotj.sim.arm import ARMS
from lotj.sim.connector import Connector, connector_text, find_connector
from lotj.training.collect import Record

KINDS = ("expert", "press", "withdraw", "half", "recover")
"""How an episode came about. `expert`: the paper's scripted expert (section IV). `recover`: the same expert taking over
where a `press` has left the plug. The near misses: `press`, a wrong calibration by 1-30 mm and pressing there;
`withdraw`, inserted and pulled out again; `half`, held at a partial depth."""

RECOVERED_MISTAKE = (1e-3, 15e-3)
"""Range of the wrong calibration that the expert is shown to recover from [m]."""


@dataclass(frozen=True)
class CollectConfig(Checked):
    """What to collect. Counts are per domain."""

    image_size: Annotated[int, Interval(16, 1024)] = 64
    """Width of each camera's view, which is half as high [pixels]."""
    robots: tuple[str, ...] = ("duo", "trio")
    """Robots to collect with; see `robots_per_connector`."""
    robots_per_connector: Annotated[int, COUNT] = 1
    """1: connectors alternate between the robots; 2: every connector on both."""
    domains_per_connector: Annotated[int, COUNT] = 1
    """Domains (draws of mount, camera, light, materials, clutter) per connector and robot."""
    laboratory_benches: Annotated[int, NOT_NEGATIVE] = 0
    """Benches of one laboratory that all connectors share in turn: background, clutter, light, cameras, hand and clamp.
    0: each domain has its own."""
    expert_episodes: Annotated[int, COUNT] = 120
    """Episodes of the paper's expert."""
    near_miss_share: Annotated[float, Interval(0, 0.95)] = 0.4
    """Near misses as a share of all episodes; 0 in the paper. Half of them press beside, the rest half insert or
    insert and withdraw."""
    recover_episodes: Annotated[int, NOT_NEGATIVE] = 0
    """Episodes in which the expert takes over from a plug that was pressed beside the socket, or dragged there: its own
    start well above, so that it never shows the way back. None in the paper."""
    max_steps: Annotated[int, COUNT] = 20
    """Time limit of an episode [steps]."""
    noise: Annotated[float, SHARE] = 0.2
    """Probability of a random action of the expert."""
    seed: Annotated[int, SEED] = 0
    """Shifts every domain and episode seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for robot in self.robots:
            find("robot", robot, ARMS)
        if len(set(self.robots)) < len(self.robots):
            self._refuse("robots", "each must be named once")
        if self.robots_per_connector > len(self.robots):
            self._refuse("robots_per_connector", f"must be at most {len(self.robots)}, the number of robots")

    def counts(self) -> dict[str, int]:
        """Episodes of each kind per domain."""
        misses = round(self.expert_episodes * self.near_miss_share / (1.0 - self.near_miss_share))
        press, half = round(0.5 * misses), round(0.25 * misses)
        near_misses = {"press": press, "half": half, "withdraw": misses - press - half}
        return {"expert": self.expert_episodes, **near_misses, "recover": self.recover_episodes}


@dataclass(frozen=True)
class InsertionCollection:
    """Insertions of some connectors, a task for each domain; see `lotj.training.collect.Collection`."""

    connectors: tuple[str, ...]  # catalogue names or TOML paths
    config: CollectConfig  # how many of what
    robot: str = ""  # address of a served robot that inserts, the first of `config.robots`; by default all, simulated

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"noise": self.config.noise, "max_steps": self.config.max_steps}

    def tasks(self) -> Sequence[Task]:
        """One for each connector, robot and domain; robots, and benches of a laboratory, take turns."""
        config = self.config
        robots, of_each = (config.robots[:1], 1) if self.robot else (config.robots, config.robots_per_connector)
        benches = config.laboratory_benches
        return [
            insertion_task(
                connector, robots[(i + k) % len(robots)], config.seed * 1000 + domain,
                (i + k + domain) % benches if benches else None,
            )
            for i, connector in enumerate(self.connectors)
            for k in range(of_each)
            for domain in range(config.domains_per_connector)
        ]  # fmt: skip

    def episodes(self) -> Sequence[tuple[str, int]]:
        """As `CollectConfig.counts` says; the n-th of a kind, from 0, has the seed 1 000 000 `config.seed` + n."""
        first = self.config.seed * 1_000_000
        return [(kind, first + number) for kind, count in self.config.counts().items() for number in range(count)]

    @contextmanager
    def open(self, task: Task) -> Iterator[Record]:
        """See `Collection`; SettingsError for benches of a laboratory on a served robot, or as of `ServedEnv`."""
        connector, arm, seed = (task.attributes[name] for name in ("connector", "robot", "seed"))
        part, size = find_connector(connector), (self.config.image_size, self.config.max_steps)
        setup = Setup(COLLECTION, connector_text(connector).decode(), seed, "far", *size)
        laboratory = task.attributes.get("laboratory")
        if self.robot and laboratory is not None:
            own = f"robot {self.robot}: has a bench of its own"
            raise SettingsError(f"{own}; leave --laboratory-benches or --robot out")
        env = ServedEnv(self.robot, setup, arm, part) if self.robot else simulated_bench(setup, arm, laboratory)
        with closing(env):
            yield lambda kind, seed: record_insertion(env, task, kind, seed, self.config)


class ServedEnv(WitnessedEnv):
    """A served robot, as `record_insertion` needs it: its scenario may be set. SettingsError where a simulated one is
    served and it is not the `arm` that the data are to be of."""

    def __init__(self, address: str, setup: Setup, arm: str, part: Connector) -> None:
        self.setup, robot = setup, RemoteRobot(address, setup)
        if robot.name in ARMS and robot.name != arm:
            robot.close()
            raise SettingsError(f"{address} serves a {robot.name}, not the {arm} that --robots names first")
        super().__init__(robot, part, end_on_success=False)

    @property
    def scenario(self) -> str:
        """Where episodes start, ``near`` or ``far``."""
        return self.setup.scenario

    @scenario.setter
    def scenario(self, name: str) -> None:
        robot: Any = self.robot
        self.setup = replace(self.setup, scenario=name)
        robot.prepare(self.setup)


def record_insertion(
    env: InsertionEnv | ServedEnv, task: Task, kind: str, seed: int, config: CollectConfig
) -> tuple[Episode, str]:
    """Roll out one scripted episode. Start, mistakes and noise are drawn from task, kind and seed: were it the seed
    alone, all tasks would hold the same few. Scenarios take turns.

    Returns:
        the episode, and ``lost`` where the plug was (the episode is then not to be used).
    """
    drawn = np.random.SeedSequence([zlib.crc32(task.name.encode()), KINDS.index(kind), seed])
    start, way = (int(number) for number in drawn.generate_state(2))
    controller = _controller(env, kind, config)
    controller.reset(way)
    env.scenario = SCENARIOS[seed % len(SCENARIOS)]
    observation, info = env.reset(seed=start)
    if kind == "recover":
        observation, info = _press_beside(env, observation, info, way)
    recorder = Recorder(observation, *_labels(env, info))
    goes_on = kind in ("withdraw", "half")
    lost = False
    while len(recorder) < config.max_steps and not lost:
        before = info["is_success"]
        action = np.asarray(controller(observation, info), np.float32)
        observation, _, _, _, info = env.step(action)
        lost = bool(info["dislodged"])
        recorder.add(action, info["is_success"] and not before, observation, *_labels(env, info))
        if info["is_success"] and not goes_on:
            break
    terminated = bool(info["is_success"]) and not goes_on
    return recorder.finish(terminated, not terminated, task.name, kind, seed), "lost" if lost else ""


def _labels(env: InsertionEnv | ServedEnv, info: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Notes of a frame, and its truth: plug origin in the socket frame [m] (z = 0 when seated, positive outside) and
    contact force [N]."""
    truth = {name: np.asarray(info[name], np.float32) for name in ("position", "force")}
    return {SUCCESS: bool(info["is_success"]), "far": env.scenario == "far"}, truth


def _press_beside(
    env: InsertionEnv | ServedEnv, observation: Observation, info: Mapping[str, Any], seed: int
) -> tuple[Observation, Mapping[str, Any]]:
    """What is seen after some steps of a wrong calibration, which are not recorded."""
    rng = np.random.default_rng([seed, 1])
    wrong = Press(rng, env.action_scale, env.part.contact_height, RECOVERED_MISTAKE)
    wrong.reset(int(rng.integers(2**32)))
    for _ in range(rng.integers(3, 11)):
        if info["is_success"] or info["dislodged"]:
            break
        observation, _, _, _, info = env.step(np.asarray(wrong(observation, info), np.float32))
    return observation, info


def _controller(env: InsertionEnv | ServedEnv, kind: str, config: CollectConfig) -> Expert | Press | Partial:
    rng = np.random.default_rng(0)  # replaced by reset(seed)
    common = (rng, env.action_scale, env.part.contact_height)
    if kind in ("expert", "recover"):
        return Expert(*common, noise=config.noise)
    if kind == "press":
        return Press(*common)
    return Partial(*common, insertion_depth=env.part.insertion_depth, full=kind == "withdraw")
