"""What the bottleneck is worth to the reward: a cue that it must not learn, and the regimes in which it may matter.

What was expected, and what counts as yes and as no, was written down before (docs/predictions.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.data.part import PartStore
from lotj.data.store import DiskStore, Store
from lotj.distributed import Job
from lotj.experiments.bottleneck_control import Place, control_job
from lotj.experiments.parts import choose_training
from lotj.experiments.reward_ablation import choose_split
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import known_mean, markdown, mean_words
from lotj.nets.augment import COLOURLESS, AugmentConfig
from lotj.nets.encoder import EncoderConfig
from lotj.rewards.classifier import RewardConfig
from lotj.rewards.held_out import bottleneck_report, held_out_report, score_frames
from lotj.rewards.model import RewardModel
from lotj.rewards.threshold import choose_threshold
from lotj.rewards.training import RewardTrainer
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection

LOOKS: dict[str, dict[str, Any]] = {
    "one": {}, "laboratory": {"laboratory_benches": 4}, "many": {"domains_per_connector": 4},
}  # fmt: skip
"""Looks of a connector on a robot: its own one; one of four that all connectors share, as in a laboratory; four own."""

AUGMENTS = {"full": RewardConfig().augment, "shift": AugmentConfig(**COLOURLESS)}
"""Changes of the training images, by name."""

PLACES: tuple[Place, ...] = ("apart", "together")
STRENGTHS = (0.5, 0.8, 0.9, 1.0)
"""Shares of the training frames in which the cue is right; the first is none at all."""

CUE = 0.9
"""The strength that remedies are compared at."""

ERM, DAIB, MENDED = "erm", "daib", "mended"
REMEDIES: dict[str, dict[str, Any]] = {
    "dann": {"variant": "dann"},
    "z_S-1": {"settings": {"kl_weight": 1.0}},
    "adversary-3": {"settings": {"adversarial_weight": 3.0}},
    "adversary-10": {"settings": {"adversarial_weight": 10.0}},
    "chase-5": {"chase": 5},
    "z_I-16": {"settings": {"invariant_dim": 16}},
    "told": {"told": True},
    "no-ramp": {"ramp": False},
}
"""Arguments of `control_job` against the bottleneck's default: weight of z_S, the adversary's weight and steps, a
narrow z_I, two classes instead of the domains."""

ARMS: dict[str, dict[str, Any]] = {ERM: {"variant": ERM}, DAIB: {}, MENDED: REMEDIES["adversary-3"], **REMEDIES}
"""Without bottleneck, with it by the default settings, with those that the remedies led to, and each remedy."""

LOOKED_INTO: dict[str, dict[str, Any]] = {
    "dann": {"variant": "dann"}, MENDED: {"variant": DAIB, "adversarial_weight": 3.0},
}  # fmt: skip
"""Further arms of the regime, where `BottleneckStudy.looked_into` says: arguments of `regime_job`."""

TUNED_ON = (0, 1)
"""Splits that remedies are compared on; all else is measured on those after them."""

INNER = 5
"""Every so many-th episode of a connector on a robot is kept from training: its frames are new, its domain is not."""

PARTS = ("train", "inner", "held_out")
"""Frames trained on, other episodes of the same domains, held-out connectors."""


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        connectors, train_on, hold_out: of the regime: recorded, trained on and held out of them.
        robots, image_size: see `CollectConfig`.
        episodes: of the expert for a connector on a robot, whatever its looks.
        updates: of the regime.
        looks: names of `LOOKS`.
        splits: choices of held-out connectors, of regime and control.
        width, stages, batch: of the regime's encoder and training.
        control: arguments of all of `control_job`.
    """

    connectors: int = 32
    train_on: int = 25
    hold_out: int = 5
    robots: tuple[str, ...] = ("duo", "trio")
    image_size: int = 48
    episodes: tuple[int, ...] = (9, 100)
    updates: tuple[int, ...] = (1000, 4000, 10_000)
    looks: tuple[str, ...] = tuple(LOOKS)
    splits: int = 6
    width: int = 16
    stages: int = 2
    batch: int = 64
    control: Mapping[str, int] = field(default_factory=lambda: {"domains": 24, "updates": 800})


SIZES = {
    "quick": Size(72, 50, 10, ("duo",), episodes=(12,), updates=(500,), looks=("one",), splits=3),
    "laptop": Size(),
    "full": Size(image_size=64, updates=(1000, 4000, 16_000), splits=10, width=32, stages=3, batch=128),
}
"""By name. `quick` takes some 15 minutes of a core, `laptop` some 24 hours, nearly all for the regime; `full` has the
encoder of the laptop preset and is for a GPU."""


def collect_job(folder: str, looks: str, connectors: int, episodes: int, robots: Sequence[str], image_size: int) -> Any:
    """Record so many `episodes` of the expert for each connector and robot, spread over their looks."""
    more = LOOKS[looks]
    each = -(-episodes // more.get("domains_per_connector", 1))
    how = {"robots": tuple(robots), "robots_per_connector": len(robots), "image_size": image_size, **more}
    config = CollectConfig(expert_episodes=each, near_miss_share=0.0, **how)
    collect(Path(folder), InsertionCollection(choose_training(connectors), config), workers=1)
    return {"episodes": len(DiskStore.open(folder))}


def regime_job(
    data: str, split: int, train_on: int, hold_out: int, episodes: int, updates: int, augment: str, variant: str,
    network: Mapping[str, int], adversarial_weight: float = 1.0, threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train a reward model on some connectors and measure it on others.

    Args:
        data: folder of a data set.
        split, train_on, hold_out: see `choose_split`; the split is the seed of everything, too.
        episodes: of each connector on each robot, of which some are kept to be measured on.
        augment: name of `AUGMENTS`.
        variant, adversarial_weight: of the bottleneck.
        network: ``width``, ``stages`` and ``batch``.

    Returns:
        `figures` of ``train`` (frames trained on), ``inner`` (other episodes of these domains) and ``held_out``
        connectors; ``bottleneck``, see `bottleneck_report`.
    """
    torch.set_num_threads(threads)
    names = choose_split(Path(data), split, train_on, hold_out)
    seen, held_out = (DiskStore.open(data, lambda task, own=own: task.attributes["connector"] in own) for own in names)
    train, inner = parts_of(seen, episodes)
    config = RewardConfig(
        encoder=EncoderConfig(width=network["width"], stages=network["stages"]), augment=AUGMENTS[augment],
        batch=network["batch"], steps=updates,
    )  # fmt: skip
    bottleneck = replace(config.bottleneck, variant=variant, adversarial_weight=adversarial_weight)
    config = replace(config, bottleneck=bottleneck)
    with RewardTrainer(train, inner, config, split, device) as trainer:
        model = trainer.run()
    frames = score_frames(model, inner)
    cut = choose_threshold(frames.score, frames.success, frames.near, frames.task, config.min_precision)
    parts: dict[str, Store] = {"train": train, "inner": inner, "held_out": held_out}
    found: dict[str, Any] = {name: figures(model, part, cut) for name, part in parts.items()}
    return found | {"inner_cut": cut, "bottleneck": bottleneck_report(model, train, held_out, split, 512)}


def parts_of(seen: Store, episodes: int) -> tuple[PartStore, PartStore]:
    """What is trained on and what is kept from it, every `INNER`-th, of so many `episodes` of each connector on each
    robot, spread over its looks: whatever these are, as many are kept."""
    looks = len(seen.tasks) // len({(task.attributes["connector"], task.attributes["robot"]) for task in seen.tasks})
    look = np.array([task.attributes["seed"] % 1000 for task in seen.tasks])[seen.episodes["task"]]
    number, each = seen.episodes["seed"], max(2, round(episodes / looks))
    kept = (each * look + number + 1) % min(INNER, each * looks) == 0
    return PartStore(seen, (number < each) & ~kept), PartStore(seen, (number < each) & kept)


def figures(model: RewardModel, store: Store, cut: float) -> dict[str, Any]:
    """Mean over connectors: ``accuracy``, ``recall`` and ``false_positives`` at 0.5, ``auc``, and ``accuracy_at_cut``,
    that at a cut chosen elsewhere."""
    frames, at = score_frames(model, store), {}
    for threshold in (cut, 0.5):
        model.threshold = threshold
        at[threshold] = held_out_report(model, store, frames)["overall"]
    found = {name: at[0.5][name] for name in ("accuracy", "recall", "auc")}
    found["false_positives"] = at[0.5]["false_positive_rate"]["expert"]
    return found | {"accuracy_at_cut": at[cut]["accuracy"]}


@dataclass(frozen=True)
class BottleneckStudy:
    """A study like `lotj.experiments.comparisons.Comparison`, in one of `SIZES`."""

    title = "What the bottleneck is worth to the reward"
    cells = "bottleneck"
    size: Size = field(default_factory=Size)

    def asked(self, asked: Asked) -> BottleneckStudy:
        """In the size asked for; SettingsError for what it does not know."""
        asked.refuse_choices(self.cells)
        return replace(self, size=SIZES[asked.preset])

    @property
    def splits(self) -> range:
        """Units of control and regime."""
        return range(len(TUNED_ON), len(TUNED_ON) + self.size.splits)

    @property
    def regime(self) -> list[tuple[str, int, int, str]]:
        """Cells: augmentation, episodes, updates, looks."""
        size = self.size
        return [*itertools.product(AUGMENTS, size.episodes, size.updates, size.looks)]

    @property
    def looked_into(self) -> tuple[int, int, str]:
        """Episodes, updates and looks of the cells in which further arms are measured and z_I is told of."""
        return self.size.episodes[-1], self.size.updates[0], self.size.looks[0]

    def jobs(self, asked: Asked) -> list[Job]:
        """See `Comparison`: data, remedies, control, regime; split by split, so that all arms have as many runs."""
        size, made = self.size, []
        root, threads = asked.runs / self.cells, {"threads": asked.machine.get("threads", 1)}
        tuned = itertools.product(TUNED_ON, PLACES, (CUE,), (ERM, DAIB, *REMEDIES))
        measured = itertools.product(self.splits, PLACES, STRENGTHS, (ERM, DAIB, MENDED))
        for split, place, strength, arm in (*tuned, *measured):
            how: dict[str, Any] = {"variant": DAIB, "settings": {}, **size.control, **ARMS[arm]}
            how |= {"split": split, "place": place, "strength": strength}
            how["probes"] = strength == CUE and split == self.splits[0]
            made.append(Job(control_name(place, strength, arm, split), control_job, how, (), threads))
        for looks in size.looks:
            how = {"folder": str(root / looks), "looks": looks, "connectors": size.connectors}
            how |= {"episodes": max(size.episodes), "robots": list(size.robots), "image_size": size.image_size}
            made.append(Job(f"data-{looks}", collect_job, how, leaves=root / looks))
        network = {"width": size.width, "stages": size.stages, "batch": size.batch}
        for split, cell, arm in itertools.product(self.splits, self.regime, (ERM, DAIB, *LOOKED_INTO)):
            augment, episodes, updates, looks = cell
            if arm in LOOKED_INTO and (episodes, updates, looks) != self.looked_into:
                continue
            how = {"data": str(root / looks), "train_on": size.train_on, "hold_out": size.hold_out, "network": network}
            how |= {"split": split, "episodes": episodes, "updates": updates, "augment": augment}
            how |= {"variant": arm} if arm in (ERM, DAIB) else LOOKED_INTO[arm]
            made.append(Job(regime_name(cell, arm, split), regime_job, how, (f"data-{looks}",), asked.machine))
        return made

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """The page: control, remedies, diagnostics, regime."""
        tables = {"Positive control": self.control_table, "Remedies": self.remedy_table}
        tables |= {"Probes": self.probe_table, "Regime": self.regime_table, "Pictures": self.diagnostic_table}
        parts = [f"## {title}\n\n{table(results)}" for title, table in tables.items()]
        return {"table.md": page(self.title, [_NOTE, *parts], results)}

    def control_table(self, results: Mapping[str, Any]) -> str:
        """Accuracy on held-out connectors of each place and strength."""
        rows = []
        for place, strength in itertools.product(PLACES, STRENGTHS):
            arms = (ERM, DAIB, MENDED)
            found = {arm: self._held_out(results, partial(control_name, place, strength, arm)) for arm in arms}
            fell = [self._held_out(results, partial(control_name, place, STRENGTHS[0], arm)) for arm in arms]
            falls = [mean_words(found[arm] - before) for arm, before in zip(arms, fell, strict=True)]
            gains = [mean_words(found[arm] - found[ERM]) for arm in (DAIB, MENDED)]
            rows.append([place, f"{strength:.0%}", *map(mean_words, found.values()), *falls, *gains])
        head = ["cue", "right in", ERM, DAIB, MENDED, *(f"{arm} to 50 %" for arm in (ERM, DAIB, MENDED))]
        return markdown([*head, f"{DAIB} - {ERM}", f"{MENDED} - {ERM}"], rows)

    def remedy_table(self, results: Mapping[str, Any]) -> str:
        """Each remedy alone, on the splits that it may be chosen on."""
        rows = []
        for place, arm in itertools.product(PLACES, (ERM, DAIB, *REMEDIES)):
            names = [control_name(place, CUE, arm, split) for split in TUNED_ON]
            done = [results[name] for name in names if name in results]
            kinds = ("flips", "flips_z_I", "flips_z_S")
            flips = [mean_words([100 * one["inner"][kind] for one in done]) for kind in kinds]
            found = [mean_words([100 * one[part]["accuracy"] for one in done]) for part in PARTS[1:]]
            rows.append([place, arm, *found, *flips])
        return markdown(["cue", "arm", *PARTS[1:], "flips with the cue", "by z_I", "by z_S"], rows)

    def probe_table(self, results: Mapping[str, Any]) -> str:
        """What fresh probes find in z_I, and in the answer alone."""
        keys, rows = ("probe_linear", "probe_two_layers", "probe_answer", "probe_chance", "kl"), []
        for place, arm in itertools.product(PLACES, (ERM, DAIB, MENDED)):
            done = [results.get(control_name(place, CUE, arm, split), {}) for split in self.splits]
            rows.append([place, arm, *(mean_words([one.get(key) for one in done]) for key in keys)])
        return markdown(["cue", "arm", "linear", "two layers", "the answer alone", "chance", "KL of z_S"], rows)

    def diagnostic_table(self, results: Mapping[str, Any]) -> str:
        """What each arm of the regime has learnt from pictures, and what its z_I tells."""
        rows, probes = [], ("probe_linear", "probe_two_layers", "probe_chance", "kl", "auc", "auc_without_invariant")
        for augment, arm in itertools.product(AUGMENTS, (ERM, DAIB, *LOOKED_INTO)):
            name = partial(regime_name, (augment, *self.looked_into), arm)
            shown = [(part, "accuracy") for part in PARTS]
            shown += [("held_out", measure) for measure in ("recall", "false_positives", "accuracy_at_cut", "auc")]
            found = [self._figure(results, name, *of) for of in shown]
            *told, auc, silent = (self._figure(results, name, "bottleneck", probe) for probe in probes)
            found += [*(of / 100 for of in told), auc - silent]
            rows.append([augment, arm, *map(mean_words, found)])
        head = [*PARTS, "recall", "false positives", "at the inner cut", "AUC", "domain from z_I, linear", "two layers"]
        return markdown(["augmentation", "arm", *head, "chance", "KL of z_S", "AUC lost without z_I"], rows)

    def regime_table(self, results: Mapping[str, Any]) -> str:
        """Accuracy, and the difference by split, of each cell and over all."""
        rows, gains = [], []
        for cell in self.regime:
            by = {arm: partial(regime_name, cell, arm) for arm in (ERM, DAIB)}
            shown = [mean_words(self._figure(results, by[arm], part, "accuracy")) for part in PARTS for arm in by]
            measures = [("held_out", measure) for measure in ("accuracy", "accuracy_at_cut", "auc")]
            found = [[self._figure(results, by[arm], *of) for arm in (DAIB, ERM)] for of in measures]
            differences = [ours - theirs for ours, theirs in found]
            gains.append(differences)
            rows.append([", ".join(map(str, cell)), *shown, *map(mean_words, differences)])
        over_all = [mean_words([*map(known_mean, np.array(of).T)]) for of in zip(*gains, strict=True)]
        rows.append(["all", *["-"] * (2 * len(PARTS)), *over_all])
        measured = [f"{arm}, {part}" for part in PARTS for arm in (ERM, DAIB)]
        head = ["augmentation, episodes, updates, looks", *measured]
        return markdown([*head, "difference at 0.5", "at the inner cut", "of AUC"], rows)

    def _held_out(self, results: Mapping[str, Any], name: Callable[[int], str]) -> np.ndarray:
        return self._figure(results, name, "held_out", "accuracy")

    def _figure(self, results: Mapping[str, Any], name: Callable[[int], str], part: str, measure: str) -> np.ndarray:
        """(splits,) [points]; NaN where it is not done."""
        done = [results.get(name(split), {}).get(part, {}).get(measure) for split in self.splits]
        return 100 * np.array(done, float)


def control_name(place: str, strength: float, arm: str, split: int) -> str:
    """Name of a job of the control."""
    return f"cue-{place}-{round(100 * strength)}-{arm}-split{split}"


def regime_name(cell: tuple[str, int, int, str], variant: str, split: int) -> str:
    """Name of a job of the regime."""
    return f"{'-'.join(map(str, cell))}-{variant}-split{split}"


_NOTE = """Accuracy [points] at the cut 0.5, successes and others equally frequent: mean over splits, half width of
Student's 95 % interval over splits. In the control frames are made up: a sign of success that is right in 80 %
everywhere, and a cue that tells it by a map private to each domain, right in so many of the frames trained on, random
in held-out domains; at 50 % it says nothing. *Apart*: domain and cue meet in the bottleneck; *together*: in the encoder
before it. *Flips*: predictions in the domains trained on that change with the cue [%], and that change where z_I alone,
or z_S alone, is told the other cue. Probes: how often a fresh classifier tells the domain from the frozen z_I, or from
the predicted logit alone. In the regime frames are the expert's, held out are connectors, of which splits share some:
intervals are rather too narrow. AUC is the mean of each connector's own; that lost without z_I is of all together.
"""

BOTTLENECK = BottleneckStudy()
