"""Phase 1: collect prior insertions with the scripted expert and, as a setting, its near misses (LOTJ section IV)."""

from __future__ import annotations

import concurrent.futures as futures
import multiprocessing as mp
import os
import signal
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers.expert import Expert, Partial, Press
from lotj.data.store import EpisodeWriter
from lotj.envs.insertion import InsertionEnv, make_domain
from lotj.errors import SettingsError
from lotj.experience import KINDS, SCENARIOS, Domain, Episode
from lotj.geometry import mosaic
from lotj.sim.arm import find_arm

RECOVERED_MISTAKE = (1e-3, 15e-3)
"""Range of the wrong calibration that the expert is shown to recover from [m]."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect. Counts are per domain."""

    image_size: int = 64
    """Side of the camera image [pixels]."""
    robots: tuple[str, ...] = ("duo", "trio")
    """Robots to collect with; see `robots_per_connector`."""
    robots_per_connector: int = 1
    """1: connectors alternate between the robots; 2: every connector on both."""
    looks_per_connector: int = 1
    """Domains (draws of mount, camera, light, materials, clutter) per connector and robot."""
    expert_episodes: int = 120
    """Episodes of the paper's expert."""
    near_miss_share: float = 0.4
    """Near misses as a share of all episodes; 0 in the paper. Half of them press beside, the rest half insert or
    insert and withdraw."""
    recover_episodes: int = 0
    """Episodes in which the expert takes over from a plug that was pressed beside the socket, or dragged there: its own
    start well above, so that it never shows the way back. None in the paper."""
    max_steps: int = 20
    """Time limit of an episode [steps]."""
    noise: float = 0.2
    """Probability of a random action of the expert."""
    seed: int = 0
    """Shifts every domain and episode seed."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.near_miss_share < 1.0:
            raise SettingsError(f"near_miss_share = {self.near_miss_share}: must be in [0, 1)")
        if self.expert_episodes < 1:
            raise SettingsError(f"expert_episodes = {self.expert_episodes}: must be at least 1")
        if self.recover_episodes < 0:
            raise SettingsError(f"recover_episodes = {self.recover_episodes}: must not be negative")
        for robot in self.robots:
            find_arm(robot)
        if len(set(self.robots)) < len(self.robots):
            raise SettingsError(f"robots = {' '.join(self.robots)}: each must be named once")
        if not 1 <= self.robots_per_connector <= len(self.robots):
            raise SettingsError(
                f"robots_per_connector = {self.robots_per_connector}: must be 1 to {len(self.robots)}, since robots = "
                f"{' '.join(self.robots)}"
            )

    def counts(self) -> dict[str, int]:
        """Episodes of each kind per domain."""
        misses = round(self.expert_episodes * self.near_miss_share / (1.0 - self.near_miss_share))
        press, half = round(0.5 * misses), round(0.25 * misses)
        near_misses = {"press": press, "half": half, "withdraw": misses - press - half}
        return {"expert": self.expert_episodes, **near_misses, "recover": self.recover_episodes}


@dataclass(frozen=True)
class Progress:
    """What a worker reports after each episode: domain, steps, and whether it was stored, or else why not."""

    domain: str
    kind: str
    steps: int
    success: bool
    discarded: str = ""


def plan_domains(connectors: Sequence[str], config: CollectConfig) -> list[Domain]:
    """The domains to collect, in a fixed order."""
    domains = []
    for i, connector in enumerate(connectors):
        for k in range(config.robots_per_connector):
            robot = config.robots[(i + k) % len(config.robots)]
            domains += [
                make_domain(connector, robot, config.seed * 1000 + look) for look in range(config.looks_per_connector)
            ]
    return domains


def collect(
    root: Path,
    connectors: Sequence[str],
    config: CollectConfig,
    workers: int = 2,
    report: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Collect in parallel processes, one domain at a time each. Resumes: finished episodes are not done again.

    Args:
        root: folder of the data set; made if missing.
        connectors: catalogue names or TOML paths.
        config: what to collect.
        workers: processes.
        report: called in this process after each episode.

    Raises:
        DataError, StorageError: the folder holds something else, or the disk is full.
        KeyboardInterrupt: after the workers stopped; finished episodes are kept.
    """
    domains = plan_domains(connectors, config)
    if workers <= 1:
        for domain in domains:
            for progress in collect_domain(root, domain, config):
                report(progress)
        return
    context = mp.get_context("spawn")
    queue: Any = context.Manager().Queue()
    with futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_worker_signals) as pool:
        jobs = {pool.submit(_collect_into_queue, root, domain, config, queue) for domain in domains}
        try:
            while jobs:
                done, jobs = futures.wait(jobs, timeout=0.2, return_when=futures.FIRST_COMPLETED)
                while not queue.empty():
                    report(queue.get_nowait())
                for job in done:
                    job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        while not queue.empty():
            report(queue.get_nowait())


def _worker_signals() -> None:
    """Ctrl-C reaches the parent only; it ends the workers, whose finished episodes are on disk."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)


def _collect_into_queue(root: Path, domain: Domain, config: CollectConfig, queue: Any) -> None:
    for progress in collect_domain(root, domain, config):
        queue.put(progress)


def collect_domain(root: Path, domain: Domain, config: CollectConfig) -> Iterable[Progress]:
    """Collect one domain's missing episodes, yielding after each."""
    env = InsertionEnv(
        domain.connector,
        domain.robot,
        domain.seed,
        image_size=config.image_size,
        observation="image",
        max_steps=config.max_steps,
        end_on_success=False,
    )
    try:
        with EpisodeWriter(
            root, domain, config.image_size, {"noise": config.noise, "max_steps": config.max_steps}
        ) as writer:
            for kind, count in config.counts().items():
                for number in range(count):
                    seed = config.seed * 1_000_000 + number
                    if (kind, seed) in writer.finished:
                        continue
                    scenario = SCENARIOS[number % len(SCENARIOS)]
                    episode, dislodged = run_episode(env, kind, scenario, seed, config)
                    if dislodged:
                        writer.discard(kind, scenario, seed, "dislodged")
                        yield Progress(domain.name, kind, len(episode), False, "dislodged")
                    else:
                        writer.append(episode)
                        yield Progress(domain.name, kind, len(episode), bool(episode.success.any()))
    finally:
        env.close()


def run_episode(env: InsertionEnv, kind: str, scenario: str, seed: int, config: CollectConfig) -> tuple[Episode, bool]:
    """Roll out one scripted episode. Start, mistakes and noise are drawn from domain, kind and seed: were it the seed
    alone, all domains would hold the same few.

    Returns:
        the episode and whether the plug was dislodged (then the episode is not to be used).
    """
    drawn = np.random.SeedSequence([zlib.crc32(env.domain.name.encode()), KINDS.index(kind), seed])
    start, way = (int(number) for number in drawn.generate_state(2))
    controller = _controller(env, kind, config)
    controller.reset(way)
    env.scenario = scenario
    observation, info = env.reset(seed=start)
    observation = mosaic(observation["image"])
    if kind == "recover":
        observation, info = _press_beside(env, observation, info, way)
    frames, states, success, actions = [observation], [_state(info)], [bool(info["is_success"])], []
    dislodged = False
    goes_on = kind in ("withdraw", "half")
    for _ in range(config.max_steps):
        action = np.asarray(controller(observation, info), np.float32)
        observed, _, _, _, info = env.step(action)
        observation = mosaic(observed["image"])
        actions.append(action)
        frames.append(observation)
        states.append(_state(info))
        success.append(bool(info["is_success"]))
        dislodged = bool(info["dislodged"])
        if dislodged or (success[-1] and not goes_on):
            break
    terminated = success[-1] and not goes_on
    episode = Episode(
        frames=np.stack(frames),
        actions=np.stack(actions),
        success=np.array(success),
        state=np.stack(states),
        terminated=terminated,
        truncated=not terminated,
        domain=env.domain.name,
        scenario=scenario,
        kind=kind,
        seed=seed,
    )
    return episode, dislodged


def _press_beside(
    env: InsertionEnv, observation: np.ndarray, info: Mapping[str, Any], seed: int
) -> tuple[np.ndarray, Mapping[str, Any]]:
    """What is seen after some steps of a wrong calibration, which are not recorded."""
    rng = np.random.default_rng([seed, 1])
    wrong = Press(rng, env.action_scale, env.bench.contact_height, RECOVERED_MISTAKE)
    wrong.reset(int(rng.integers(2**32)))
    for _ in range(rng.integers(3, 11)):
        if info["is_success"] or info["dislodged"]:
            break
        observed, _, _, _, info = env.step(np.asarray(wrong(observation, info), np.float32))
        observation = mosaic(observed["image"])
    return observation, info


def _state(info: Mapping[str, Any]) -> np.ndarray:
    """See `lotj.experience.STATE_NAMES`."""
    return np.concatenate([info["position"], info["force"]]).astype(np.float32)


def _controller(env: InsertionEnv, kind: str, config: CollectConfig) -> Expert | Press | Partial:
    rng = np.random.default_rng(0)  # replaced by reset(seed)
    common = (rng, env.action_scale, env.bench.contact_height)
    if kind in ("expert", "recover"):
        return Expert(*common, noise=config.noise)
    if kind == "press":
        return Press(*common)
    return Partial(*common, insertion_depth=env.bench.connector.insertion_depth, full=kind == "withdraw")
