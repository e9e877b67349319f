"""Table IV of *Learning on the Job*: what the bottleneck is worth to the reward on connectors it has not seen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.data.store import DiskStore
from lotj.distributed import Job
from lotj.errors import DataError
from lotj.experience import Task
from lotj.experiments.comparisons import PAPER
from lotj.experiments.presets import find_preset
from lotj.experiments.study import Asked, page, with_bottleneck
from lotj.experiments.tables import known_mean, markdown, mean_words
from lotj.nets.bottleneck import Variant
from lotj.rewards.held_out import bottleneck_report, held_out_report, score_frames
from lotj.rewards.training import RewardTrainer
from lotj.sim.connector import find_connector

PAPER_ACCURACY: dict[str, int] = {"daib": 88, "dann": 71, "daib-lambda0": 77, "vib": 79, "erm": 76}
"""Accuracy in the paper [%], in its order."""

GAIN = "daib - erm"
"""The row of the difference."""

TRAIN, HELD_OUT = 25, 5
"""Connectors trained on, and held out (LOTJ section VI-B)."""

SEEDS, SPLITS = (0, 1), (0, 1, 2, 3, 4)
"""Of the trainings; choices of held-out connectors, over which intervals are."""

STEPS, DOMAINS = 1000, 1
"""Updates of each reward model; domains of each connector and robot that are trained on. With many, every variant
generalises."""

COLUMNS = {
    "accuracy": "accuracy",
    "near_miss_accuracy": "near misses",
    "auc": "AUC",
    "probe_linear": "domain told from z_I, linear",
    "probe_two_layers": "two layers",
    "probe_chance": "chance",
    "kl": "KL of z_S, nats",
    "invariant_drop": "AUC lost without z_I",
}
"""Figure of a job -> title of its column."""


def reward_job(
    preset: str, data: str, variant: Variant, split: int, seed: int, steps: int, domains: int,
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train the reward model on 25 connectors and measure it on 5 others.

    Args:
        preset: its name; gives the networks and all settings but `variant` and `steps`.
        data: folder of a data set; its training connectors are used.
        split, seed: which connectors are held out; fixes everything else.
        steps: updates.
        domains: of a connector and robot, how many are trained on: with many, every variant has to generalise.

    Returns:
        The figures of `COLUMNS`, each a mean over the held-out connectors, and which those were.
    """
    torch.set_num_threads(threads)
    train_names, held_names = choose_split(Path(data), split)

    def trained_on(task: Task) -> bool:
        return task.attributes["connector"] in train_names and task.attributes["seed"] % 1000 < domains

    train = DiskStore.open(Path(data), trained_on)
    held_out = DiskStore.open(Path(data), lambda task: task.attributes["connector"] in held_names)
    config = replace(with_bottleneck(find_preset(preset), variant, "reward").reward, steps=steps)
    with RewardTrainer(train, held_out, config, seed, device) as trainer:
        model = trainer.run()
    frames, bottleneck = score_frames(model, held_out), bottleneck_report(model, train, held_out, seed)
    if "auc_without_invariant" in bottleneck:
        bottleneck["invariant_drop"] = bottleneck["auc"] - bottleneck["auc_without_invariant"]
    figures = bottleneck | held_out_report(model, held_out, frames)["overall"]
    of_data = {"held_out": sorted(held_names), "domains": len(train.tasks)}
    return {name: figures.get(name) for name in COLUMNS} | of_data


def choose_split(data: Path, split: int, train_on: int = TRAIN, hold_out: int = HELD_OUT) -> tuple[set[str], set[str]]:
    """Names of so many training connectors of a data set to train on and to hold out, no close variants across.

    Raises:
        DataError: it holds too few.
    """
    names = sorted({task.attributes["connector"] for task in DiskStore.open(data, split="train").tasks})
    order = [names[k] for k in np.random.default_rng([split]).permutation(len(names))]
    held = order[:hold_out]
    kept_out, rest = [find_connector(name) for name in held], map(find_connector, order[hold_out:])
    train = [part.name for part in rest if not any(part.is_variant_of(other) for other in kept_out)][:train_on]
    if len(train) < train_on:
        raise DataError(
            f"{data} holds {len(names)} training connectors: table IV needs {train_on} and {hold_out} unlike them"
        )
    return set(train), set(held)


def job_name(variant: str, split: int, seed: int) -> str:
    """Name of a reward job."""
    return f"reward-{variant}-split{split}-seed{seed}"


class RewardAblation:
    """A study like `lotj.experiments.comparisons.Comparison`."""

    title = "Table IV: the reward on unseen connectors"
    cells = PAPER

    def asked(self, asked: Asked) -> RewardAblation:
        """As it is: connectors, benches, trials and practice cannot be chosen."""
        asked.refuse_choices("table4")
        return self

    def jobs(self, asked: Asked) -> list[Job]:
        """See `Comparison`; in an order in which all variants have as many runs wherever it is stopped."""
        fixed = {"preset": asked.preset, "data": str(asked.data), "steps": STEPS, "domains": DOMAINS}
        found = []
        for seed, split, variant in itertools.product(SEEDS, SPLITS, PAPER_ACCURACY):
            arguments = {**fixed, "variant": variant, "split": split, "seed": seed}
            found.append(Job(job_name(variant, split, seed), reward_job, arguments, machine=asked.machine))
        return found

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """See `Comparison`."""
        return {"table.md": page(self.title, [self.table(results), _NOTE], results)}

    def table(self, results: Mapping[str, Any]) -> str:
        """Mean and 95 % interval (Student's t over splits) of each figure.

        The unit is the split, for its held-out connectors are what the figures are of: seeds of a split are averaged.
        The last row is the difference that the bottleneck makes, of the runs of the same split and seed.
        """

        def measured(variant: str, name: str) -> np.ndarray:
            """(splits, seeds) of a figure; NaN where it is not measured."""
            of = [[results.get(job_name(variant, split, seed), {}).get(name) for seed in SEEDS] for split in SPLITS]
            return np.array(of, float)

        paper = {**PAPER_ACCURACY, GAIN: PAPER_ACCURACY["daib"] - PAPER_ACCURACY["erm"]}
        found = {variant: [measured(variant, name) for name in COLUMNS] for variant in PAPER_ACCURACY}
        found[GAIN] = [ours - theirs for ours, theirs in zip(found["daib"], found["erm"], strict=True)]
        rows = [
            [variant, *(mean_words([*map(known_mean, values)]) for values in figures), f"{paper[variant] / 100:.2f}"]
            for variant, figures in found.items()
        ]
        return markdown(["variant", *COLUMNS.values(), "paper"], rows)


_NOTE = (
    f"Means over {HELD_OUT} held-out connectors, {len(SEEDS)} seeds and {len(SPLITS)} splits; half width of Student's\n"
    "95 % interval over splits. Accuracy by chance is 0.5. A fresh probe tells the training domain from the frozen\n"
    "z_I, on other episodes: z_I is free of it only where probes are at chance.\n"
)

TABLE4 = RewardAblation()
