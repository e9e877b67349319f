"""Figures 3 and 4 of *Learning on the Job*: where reward and policy look, as pictures and as a number.

The number is the share of a heat map that lies on plug and socket, as the simulator's segmentation shows them.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.data.pictures import draw_rows, spread
from lotj.distributed import Job
from lotj.envs.insertion import InsertionEnv
from lotj.envs.registry import expert_of
from lotj.errors import DataError
from lotj.experience import Controller, rollout
from lotj.experiments.comparisons import COMPARISONS, CONNECTORS, OURS, PAPER, Unit, job_name, units
from lotj.experiments.evaluation import FIRST_EVALUATION_SEED, PolicyController, policy_heat, reward_heat
from lotj.experiments.practised import bench_of, practised_agent, pretraining_of
from lotj.experiments.study import Asked, page, pretrain_name, with_needs
from lotj.experiments.tables import known_mean, markdown, mean_words
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

_PICTURES, _PICTURE = 8, "picture.png"


def reward_maps_job(
    full: str, plain: str, folder: str, connector: str, robot: str, domains: int, threads: int = 1, device: str = "cpu"
) -> dict[str, Any]:
    """Figure 3: two reward models, of pretrainings with and without (`plain`) the bottleneck, on the same positives of
    an unseen connector, one of each domain; see `keep_shares`."""
    torch.set_num_threads(threads)
    runs = {name: find_run(Path(path), "pretrain") for name, path in (("ERM", plain), ("DAIB", full))}
    models = {name: load_reward(run, device) for name, run in runs.items()}
    size = models["DAIB"].shape[2]
    seen = [positive(connector, robot, seed, size) for seed in range(domains)]
    frames, masks = np.stack([frame for frame, _ in seen]), np.stack([mask for _, mask in seen])
    heat = {name: reward_heat(model, frames) for name, model in models.items()}
    return keep_shares(Path(folder), frames, masks, heat, np.arange(domains), shown=domains)


def policy_maps_job(
    practised: str, folder: str, trajectories: int, threads: int = 1, device: str = "cpu"
) -> dict[str, Any]:
    """Figure 4: the policy's Y action before and after practice, on trials of the practised one; see `keep_shares`."""
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
    return keep_shares(Path(folder), frames, masks, heat, groups, shown=len(seen[0][0]))


def positive(connector: str, robot: str, domain_seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The image of a seated plug and which of its pixels are plug or socket: (V, H, W, 3) uint8 and (V, H, W)
    bool of V cameras.

    Raises:
        DataError: the expert does not insert it in any of ten trials.
    """
    with closing(InsertionEnv(connector, robot, domain_seed, "near", size)) as env:
        for seed in range(10):
            frames, masks, success = trajectory(env, expert_of(env.task.env, env), seed)
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


def keep_shares(
    folder: Path, frames: np.ndarray, masks: np.ndarray, heat: Mapping[str, np.ndarray], groups: np.ndarray, shown: int
) -> dict[str, Any]:
    """``shares``: row of the table -> share of the heat of each group of frames; ``picture``: a PNG in `folder` of at
    most 8 of the first `shown` frames, and the maps below them."""
    shares = {name: share_inside(maps, masks) for name, maps in heat.items()} | {AREA: masks.mean((1, 2, 3))}
    few = spread(shown, _PICTURES)
    pictures = {"image": frames[few], **{name: overlay(frames[few], maps[few]) for name, maps in heat.items()}}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / _PICTURE, draw_rows([("", [*pictures], [*pictures.values()])]))
    means = {name: [known_mean(values[groups == k]) for k in np.unique(groups)] for name, values in shares.items()}
    return {"shares": means, "picture": str(folder / _PICTURE)}


@dataclass(frozen=True)
class SaliencyFigure:
    """One of the figures, a study like `lotj.experiments.comparisons.Comparison`.

    Attributes:
        name, title: as a command names it; for people.
        rows: maps that are compared, as their jobs name them.
        work: makes the maps of a connector and unit.
        learning: the comparison that trains what `work` looks at.
    """

    name: str
    title: str
    rows: tuple[str, str]
    work: Callable[..., dict[str, Any]]
    learning: str
    connectors: tuple[str, ...] = tuple(CONNECTORS)
    benches: tuple[int, ...] = (0,)
    cells: str = PAPER

    def asked(self, asked: Asked) -> SaliencyFigure:
        """With the connectors and benches that are asked for, where some are."""
        return replace(self, connectors=asked.connectors or self.connectors, benches=asked.benches or self.benches)

    def jobs(self, asked: Asked) -> list[Job]:
        """The maps of each connector and unit, and of `learning` the trainings that they look at."""
        learning, made = COMPARISONS[self.learning].asked(asked).jobs(asked), []
        folders = {job.name: job.arguments["folder"] for job in learning}
        for connector, unit in itertools.product(self.connectors, units(self.benches)):
            if self.work is reward_maps_job:
                pair = {"full": "full", "plain": "no-daib"}
                names = {which: pretrain_name(variant, unit.pretraining) for which, variant in pair.items()}
                more = {"connector": connector, "robot": unit.robot, "domains": DOMAINS}
            else:
                names = {"practised": job_name("far", connector, ("iql", OURS, OURS), unit)}
                more = {"trajectories": TRAJECTORIES}
            more |= {key: folders[of] for key, of in names.items()}
            rest = (self._job_name(connector, unit), self.work, more, names.values(), asked.machine)
            made.append(Job.in_folder(asked.runs / self.cells, *rest))
        return with_needs(made, learning)

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """See `Comparison`; of each connector a picture of the first unit that is done, where its job has left it."""
        made = {"table.md": page(f"{self.title}: share of the heat on plug and socket", [self.table(results)], results)}
        for connector in self.connectors:
            pictures = [Path(result["picture"]) for result in self._done(connector, results)]
            if pictures and pictures[0].exists():
                made[f"{connector}.png"] = pictures[0].read_bytes()
        return made

    def _job_name(self, connector: str, unit: Unit) -> str:
        return f"{self.name}-{connector}-{unit}"

    def _done(self, connector: str, results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        names = [self._job_name(connector, unit) for unit in units(self.benches)]
        return [results[name] for name in names if name in results]

    def table(self, results: Mapping[str, Any]) -> str:
        """Share of the heat on plug and socket, of all connectors and of each; the difference is of the same pictures.
        A mean is over units, each the mean of its pictures; a map without preference scores the area."""
        first, second = self.rows
        difference = f"{second} - {first}"
        means: dict[str, list[list[float | None]]] = {row: [] for row in (first, second, difference, AREA)}
        for connector in self.connectors:
            done = [result["shares"] for result in self._done(connector, results)]
            shares = [{row: np.array(values, float) for row, values in share.items()} for share in done]
            for share in shares:
                share[difference] = share[second] - share[first]
            for row, of_connectors in means.items():
                of_connectors.append([known_mean(share[row]) for share in shares])
        head = ["heat", "all", *(CONNECTORS.get(name, name) for name in self.connectors)]
        return markdown(head, [[row, *map(mean_words, [sum(of, []), *of])] for row, of in means.items()])


FIGURES = {
    figure.name: figure
    for figure in (
        SaliencyFigure(
            "fig3", "Figure 3: the reward with and without the bottleneck", ("ERM", "DAIB"), reward_maps_job, "table3"
        ),
        SaliencyFigure(
            "fig4", "Figure 4: the policy before and after practice", ("before", "after"), policy_maps_job, "table2"
        ),
    )
}
"""By name."""
