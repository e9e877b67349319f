"""Figures 3 and 4 of *Learning on the Job*: where reward and policy look, as pictures and as a number.

The number is the share of a heat map that lies on plug and socket, as the simulator's segmentation shows them.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.controllers.expert import Expert
from lotj.data.pictures import draw_rows, spread
from lotj.distributed import Job
from lotj.envs.insertion import InsertionEnv
from lotj.errors import DataError
from lotj.evaluation import Controller
from lotj.experience import rollout
from lotj.experiments.comparisons import CONNECTORS, Unit, job_name, pretrain_name, units, with_needs
from lotj.experiments.evaluation import FIRST_EVALUATION_SEED, PolicyController, policy_heat, reward_heat
from lotj.experiments.stages import bench_of, practised_agent, pretraining_of
from lotj.experiments.tables import FigureTable, known_mean, mean_interval
from lotj.files import atomic_write
from lotj.runs import find_run
from lotj.saliency.overlay import overlay, share_inside
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
    full: str, plain: str, folder: str, connector: str, robot: str, domains: int, threads: int = 1, device: str = "cpu"
) -> dict[str, Any]:
    """Figure 3: two reward models, of pretrainings with and without (`plain`) the bottleneck, on the same positives of
    an unseen connector, one of each domain; see `keep_maps`."""
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
    """Figure 4: the policy's Y action before and after practice, on trials of the practised one; see `keep_maps`."""
    torch.set_num_threads(threads)
    run = find_run(Path(practised), "practice")
    before = load_agent(pretraining_of(run), device)
    agents = {"before": before, "after": practised_agent(run, device)}
    with closing(InsertionEnv(*bench_of(run), image_size=before.spec.observation["image"].shape[2])) as env:
        seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + trajectories)
        seen = [trajectory(env, PolicyController(agents["after"]), seed) for seed in seeds]
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
    with closing(InsertionEnv(connector, robot, domain_seed, "near", size)) as env:
        for seed in range(10):
            expert = Expert(np.random.default_rng(seed), env.action_scale, env.bench.contact_height, noise=0.0)
            frames, masks, success = trajectory(env, expert, seed)
            if success:
                return frames[-1], masks[-1]
    raise DataError(f"{env.task.name}: the expert inserts it in none of 10 trials, so there is no positive to show")


def trajectory(env: InsertionEnv, controller: Controller, seed: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images (T+1, V, H, W, 3), masks of plug and socket (T+1, V, H, W) and true success of one trial."""
    seen: list[tuple[np.ndarray, bool]] = []
    how: dict[str, Any] = {"task": env.task.name, "kind": "evaluation", "max_steps": sys.maxsize}
    episode = rollout(
        env, controller, seed, **how, on_step=lambda info: seen.append((env.bench.parts_mask(), info["is_success"]))
    )
    masks, success = zip(*seen, strict=True)
    return episode.observation["image"], np.stack(masks), bool(success[-1])


def keep_maps(
    folder: Path, frames: np.ndarray, masks: np.ndarray, heat: Mapping[str, np.ndarray], groups: Iterable[int]
) -> dict[str, Any]:
    """Put pictures and maps into a file, ``maps``; ``shares``: row of the table -> share of each group of frames."""
    shares = {name: share_inside(maps, masks) for name, maps in heat.items()} | {AREA: masks.mean((1, 2, 3))}
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays = {f"heat {name}": maps.astype(np.float16) for name, maps in heat.items()}
    group = np.array(list(groups))
    np.savez_compressed(buffer, allow_pickle=False, frames=frames, groups=group, **arrays)
    atomic_write(folder / _MAPS, buffer.getvalue())
    means = {name: [known_mean(values[group == k]) for k in np.unique(group)] for name, values in shares.items()}
    return {"shares": means, "maps": str(folder / _MAPS)}


@dataclass(frozen=True)
class SaliencyFigure:
    """One of the figures.

    Attributes:
        name, title: as a command names it; for people.
        rows: maps that are compared, as their jobs name them.
        learning: what must be trained first, for its jobs: `Comparison.jobs` of which table.
        unit: what the share of a training on a bench is a mean over.
        work: makes the maps of a connector and seed.
        compared: unit, connector -> name of the job behind each argument of `work` that is a folder.
        settings: its other arguments.
        one_group: the picture is of the first of the groups of frames that `keep_maps` has kept, not of all.
    """

    name: str
    title: str
    rows: tuple[str, str]
    learning: str
    unit: str
    work: Callable[..., dict[str, Any]]
    compared: Callable[[Unit, str], dict[str, str]]
    settings: Callable[[Unit, str], dict[str, Any]]
    one_group: bool

    def jobs(
        self,
        learning: Sequence[Job],
        runs: Path,
        seeds: Sequence[int],
        connectors: Sequence[str],
        machine: Mapping[str, Any] | None = None,
    ) -> list[Job]:
        """What must be done, of which `learning` holds the trainings."""
        made = []
        for unit, connector in itertools.product(units(seeds), connectors):
            name, compared = self._job_name(connector, unit.seed), self.compared(unit, connector)
            folders = {argument: str(runs / job) for argument, job in ({"folder": name} | compared).items()}
            arguments = folders | self.settings(unit, connector)
            made.append(Job(name, self.work, arguments, tuple(compared.values()), machine or {}))
        return with_needs(made, learning)

    def _job_name(self, connector: str, seed: int) -> str:
        return f"{self.name}-{connector}-seed{seed}"

    def table(self, results: Mapping[str, Any], seeds: Sequence[int], connectors: Sequence[str]) -> FigureTable:
        """Share of the heat on plug and socket, of all connectors and of each."""
        first, second = self.rows
        difference = f"{second} - {first}"
        means: dict[str, list[list[float | None]]] = {row: [] for row in (first, second, difference, AREA)}
        for connector in connectors:
            names = [self._job_name(connector, seed) for seed in seeds]
            shares = [
                {row: np.array(values, float) for row, values in results[name]["shares"].items()}
                for name in names
                if name in results
            ]
            for row, of_connectors in means.items():
                of = [share[second] - share[first] if row == difference else share[row] for share in shares]
                of_connectors.append([known_mean(values) for values in of])
        rows = {
            row: [mean_interval([*itertools.chain(*of_connectors)]), *map(mean_interval, of_connectors)]
            for row, of_connectors in means.items()
        }
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
                frames, groups = held["frames"], held["groups"]
                heat = {row: held[f"heat {row}"] for row in self.rows}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path}: not the maps of a figure ({error}): remove the job's result, and do it again"
            ) from error
        drawn = np.flatnonzero(groups == groups[0]) if self.one_group else np.arange(len(groups))
        shown = drawn[spread(len(drawn), _SHOWN)]
        pictures = [frames[shown], *(overlay(frames[shown], maps[shown]) for maps in heat.values())]
        return ["image", *heat], pictures


FIGURES = {
    figure.name: figure
    for figure in (
        SaliencyFigure(
            "fig3",
            "Figure 3: the reward with and without the bottleneck",
            ("ERM", "DAIB"),
            "table3",
            "positives, each of a domain of its own",
            reward_maps_job,
            lambda unit, _: {k: pretrain_name(v, unit.seed) for k, v in (("full", "full"), ("plain", "no-daib"))},
            lambda unit, connector: {"connector": connector, "robot": unit.robot, "domains": DOMAINS},
            one_group=False,
        ),
        SaliencyFigure(
            "fig4",
            "Figure 4: the policy's Y action before and after practice",
            ("before", "after"),
            "table2",
            "trials",
            policy_maps_job,
            lambda unit, connector: {"practised": job_name("far", connector, "iql", unit, "ours", "ours")},
            lambda unit, connector: {"trajectories": TRAJECTORIES},
            one_group=True,
        ),
    )
}
"""By name."""
