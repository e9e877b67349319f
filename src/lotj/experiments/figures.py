"""Figures 3 and 4 of *Learning on the Job*: where reward and policy look, as pictures and as a number.

The number is the share of a heat map that lies on plug and socket, as the simulator's segmentation shows them.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.controllers.expert import Expert
from lotj.distributed import Job
from lotj.envs.insertion import InsertionEnv
from lotj.errors import DataError
from lotj.evaluation import Controller
from lotj.experiments.comparisons import CONNECTORS, job_name, pretrain_name, units
from lotj.experiments.evaluation import FIRST_EVALUATION_SEED, PolicyController, policy_heat, reward_heat
from lotj.experiments.stages import bench_of, practised_agent, pretraining_of
from lotj.experiments.tables import FigureTable, mean_interval
from lotj.files import atomic_write
from lotj.runs import find_run
from lotj.saliency.overlay import overlay, share_inside
from lotj.saliency.rows import draw_rows
from lotj.training.pretrain import load_agent, load_reward

DOMAINS = 5
"""Figure 3: domains of each connector and robot, one positive each."""

TRAJECTORIES = 5
"""Figure 4: trials of the practised policy on each connector and seed."""

AREA = "area of plug and socket"
"""The row of what a map without preference would score."""

_SHOWN = 8  # pictures in a row
_MAPS = "maps.npz"


def reward_maps_job(
    full: str,
    plain: str,
    folder: str,
    connector: str,
    robot: str,
    domains: int,
    threads: int = 1,
    device: str = "cpu",
) -> dict[str, Any]:
    """Figure 3: two reward models on the same positives of an unseen connector.

    Args:
        full, plain: folders of the pretrainings with and without the bottleneck.
        folder: for the maps.
        connector, robot: whose positives.
        domains: how many, one positive of each.
        threads: processor threads.
        device: where to compute.

    Returns:
        ``shares``: row of the table -> one share a positive; ``maps``, the file of pictures and maps.
    """
    torch.set_num_threads(threads)
    runs = {name: find_run(Path(path), "pretrain") for name, path in (("ERM", plain), ("DAIB", full))}
    models = {name: load_reward(run, device) for name, run in runs.items()}
    size = models["DAIB"].shape[2]
    seen = [positive(connector, robot, seed, size) for seed in range(domains)]
    frames, masks = np.stack([frame for frame, _ in seen]), np.stack([mask for _, mask in seen])
    heat = {name: reward_heat(model, frames) for name, model in models.items()}
    return keep_maps(Path(folder), frames, masks, heat, groups=range(domains))


def policy_maps_job(
    practised: str, folder: str, trajectories: int, threads: int = 1, device: str = "cpu"
) -> dict[str, Any]:
    """Figure 4: the policy's Y action before and after practice, on trials of the practised one.

    Args:
        practised: folder of the practice job.
        folder: for the maps.
        trajectories: trials.
        threads: processor threads.
        device: where to compute.

    Returns:
        ``shares``: row of the table -> the mean share of each trial; ``maps``, the file of pictures and maps.
    """
    torch.set_num_threads(threads)
    run = find_run(Path(practised), "practice")
    before = load_agent(pretraining_of(run), device)
    agents = {"before": before, "after": practised_agent(run, device)}
    env = InsertionEnv(*bench_of(run), image_size=before.spec.observation["image"].shape[2])
    try:
        seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trajectories)
        seen = [trajectory(env, PolicyController(agents["after"]), seed) for seed in seeds]
    finally:
        env.close()
    frames, masks = (np.concatenate(parts) for parts in list(zip(*seen, strict=True))[:2])
    heat = {name: policy_heat(agent, frames) for name, agent in agents.items()}
    groups = np.repeat(np.arange(trajectories), [len(images) for images, _, _ in seen])
    return keep_maps(Path(folder), frames, masks, heat, groups)


def positive(connector: str, robot: str, domain_seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The image of a seated plug and which of its pixels are plug or socket: (V, H, W, 3) uint8 and (V, H, W)
    bool of V cameras.

    Raises:
        DataError: the expert does not insert it in any of ten trials.
    """
    env = InsertionEnv(connector, robot, domain_seed, "near", size)
    try:
        for seed in range(10):
            expert = Expert(np.random.default_rng(seed), env.action_scale, env.bench.contact_height, noise=0.0)
            frames, masks, success = trajectory(env, expert, seed)
            if success:
                return frames[-1], masks[-1]
    finally:
        env.close()
    raise DataError(f"{env.task.name}: the expert inserts it in none of 10 trials, so there is no positive to show")


def trajectory(env: InsertionEnv, controller: Controller, seed: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images (T+1, V, H, W, 3), masks of plug and socket (T+1, V, H, W) and true success of one trial."""
    observation, info = env.reset(seed=seed)
    controller.reset(seed)
    frames, masks, over = [observation["image"]], [env.bench.parts_mask()], False
    while not over:
        observation, _, terminated, truncated, info = env.step(controller(observation, info))
        frames.append(observation["image"])
        masks.append(env.bench.parts_mask())
        over = terminated or truncated
    return np.stack(frames), np.stack(masks), bool(info["is_success"])


def keep_maps(
    folder: Path, frames: np.ndarray, masks: np.ndarray, heat: Mapping[str, np.ndarray], groups: Iterable[int]
) -> dict[str, Any]:
    """Put pictures and maps into a file, and take the mean share of each group of frames."""
    shares = {name: share_inside(maps, masks) for name, maps in heat.items()} | {AREA: masks.mean((1, 2, 3))}
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays = {f"heat {name}": maps.astype(np.float16) for name, maps in heat.items()}
    group = np.array(list(groups))
    np.savez_compressed(buffer, allow_pickle=False, frames=frames, groups=group, **arrays)
    atomic_write(folder / _MAPS, buffer.getvalue())
    means = {name: [_mean(values[group == k]) for k in np.unique(group)] for name, values in shares.items()}
    return {"shares": means, "maps": str(folder / _MAPS)}


def _difference(first: Sequence[float | None], second: Sequence[float | None]) -> list[float | None]:
    """second - first, one by one; None where a map has no heat."""
    return [None if a is None or b is None else b - a for a, b in zip(first, second, strict=True)]


def _mean(values: np.ndarray) -> float | None:
    """Of those that there are: a map without any heat has no share."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


@dataclass(frozen=True)
class SaliencyFigure(ABC):
    """One of the figures.

    Attributes:
        name: as a command names it.
        title: for people.
        rows: maps that are compared, as their jobs name them.
        learning: what must be trained first, for its jobs: `Comparison.jobs` of which table.
        unit: what the share of a training on a bench is a mean over.
    """

    name: str
    title: str
    rows: tuple[str, str]
    learning: str
    unit: str

    def jobs(
        self,
        learning: Sequence[Job],
        runs: Path,
        seeds: Sequence[int],
        connectors: Sequence[str],
        machine: Mapping[str, Any] | None = None,
    ) -> list[Job]:
        """What must be done, of which `learning` holds the trainings."""
        made = [self._job(runs, seed, connector, machine or {}) for seed in seeds for connector in connectors]
        wanted = {need for job in made for need in job.needs}
        for job in reversed(learning):  # a job stands after what it needs
            wanted |= set(job.needs) if job.name in wanted else set()
        return [job for job in learning if job.name in wanted] + made

    @abstractmethod
    def _job(self, runs: Path, seed: int, connector: str, machine: Mapping[str, Any]) -> Job:
        """What makes the maps of a connector and seed."""

    @abstractmethod
    def _drawn(self, groups: np.ndarray) -> np.ndarray:
        """Which of the frames, of which `keep_maps` has kept the (N,) groups, the picture is made of."""

    def _job_name(self, connector: str, seed: int) -> str:
        return f"{self.name}-{connector}-seed{seed}"

    def table(self, results: Mapping[str, Any], seeds: Sequence[int], connectors: Sequence[str]) -> FigureTable:
        """Share of the heat on plug and socket, of all connectors and of each."""
        shares = {
            connector: [
                dict(results[name]["shares"]) for seed in seeds if (name := self._job_name(connector, seed)) in results
            ]
            for connector in connectors
        }
        rows = {}
        first, second = self.rows
        difference = f"{second} - {first}"
        for share in (share for of_connector in shares.values() for share in of_connector):
            share[difference] = _difference(share[first], share[second])
        for row in (first, second, difference, AREA):
            of_each = [[_mean(np.array(share[row], float)) for share in shares[name]] for name in connectors]
            rows[row] = [mean_interval([value for values in of_each for value in values]), *map(mean_interval, of_each)]
        columns = ["all", *(CONNECTORS.get(name, name) for name in connectors)]
        notes = (
            f"Share of Grad-CAM's heat on plug and socket; mean over {self.unit} of each training and bench, with "
            "Student's 95 % interval over these units (of one there is none); the difference is that of the same "
            "pictures. A map without preference scores the area.",
        )
        return FigureTable(f"{self.title}: share of the heat on plug and socket", columns, rows, notes)

    def picture(self, results: Mapping[str, Any], seeds: Sequence[int], connectors: Sequence[str]) -> bytes | None:
        """The figure as PNG: for each connector images, and below them both maps. Of the first seed that is done.

        Returns:
            None where the maps are not there: they stay in the jobs' folders and do not travel with the results.

        Raises:
            DataError: a file of maps is damaged.
        """
        maps = {}
        for connector in connectors:
            done = [name for seed in seeds if (name := self._job_name(connector, seed)) in results]
            if done:
                maps[CONNECTORS.get(connector, connector)] = Path(results[done[0]]["maps"])
        if not all(path.exists() for path in maps.values()):
            return None
        return draw_rows([(title, *self._rows(path)) for title, path in maps.items()])

    def _rows(self, path: Path) -> tuple[list[str], list[np.ndarray]]:
        try:
            with np.load(path) as held:
                frames, drawn = held["frames"], self._drawn(held["groups"])
                heat = {row: held[f"heat {row}"] for row in self.rows}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path}: not the maps of a figure ({error}): remove the job's result, and do it again"
            ) from error
        shown = drawn[np.unique(np.linspace(0, len(drawn) - 1, min(_SHOWN, len(drawn))).round().astype(int))]
        pictures = [frames[shown], *(overlay(frames[shown], maps[shown]) for maps in heat.values())]
        return ["image", *heat], pictures


class RewardFigure(SaliencyFigure):
    """Of two reward models, on positives."""

    def _job(self, runs: Path, seed: int, connector: str, machine: Mapping[str, Any]) -> Job:
        name = self._job_name(connector, seed)
        full, plain = needs = tuple(pretrain_name(variant, seed) for variant in ("full", "no-daib"))
        arguments = {"folder": str(runs / name), "full": str(runs / full), "plain": str(runs / plain)}
        arguments |= {"connector": connector, "robot": units((seed,))[0].robot, "domains": DOMAINS}
        return Job(name, reward_maps_job, arguments, needs, machine)

    def _drawn(self, groups: np.ndarray) -> np.ndarray:
        return np.arange(len(groups))


class PolicyFigure(SaliencyFigure):
    """Of a policy before and after practice, on trials."""

    def _job(self, runs: Path, seed: int, connector: str, machine: Mapping[str, Any]) -> Job:
        name, practised = (
            self._job_name(connector, seed),
            job_name("far", connector, "iql", units((seed,))[0], "ours", "ours"),
        )
        arguments = {"folder": str(runs / name), "practised": str(runs / practised), "trajectories": TRAJECTORIES}
        return Job(name, policy_maps_job, arguments, (practised,), machine)

    def _drawn(self, groups: np.ndarray) -> np.ndarray:
        return np.flatnonzero(groups == groups[0])  # one trial


FIGURES: dict[str, SaliencyFigure] = {
    "fig3": RewardFigure(
        "fig3",
        "Figure 3: the reward with and without the bottleneck",
        ("ERM", "DAIB"),
        "table3",
        "positives, each of a domain of its own",
    ),
    "fig4": PolicyFigure(
        "fig4", "Figure 4: the policy's Y action before and after practice", ("before", "after"), "table2", "trials"
    ),
}
"""By name."""
