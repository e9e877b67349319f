"""How well a seated plug is told from near misses on connectors that nobody trained on: the baselines of the benchmark
`lotj.evaluation.detectors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.data.store import DiskStore, MemoryStore, Store
from lotj.distributed import Job
from lotj.evaluation.detectors import BESIDE, HALF_IN, PLACES, RECALL, Frames, figures
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.presets import find_preset
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import known_mean, markdown, mean_words
from lotj.rewards.calibration import clipped_logit
from lotj.rewards.model import RewardModel
from lotj.rewards.training import RewardTrainer
from lotj.runs import base_run
from lotj.sim.connector import find_connector
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.pretrain import load_agent, load_reward

SEED = 20
"""Of the data set, which neither training nor choice of a threshold has seen."""

SIZES = {"quick": (3, 6, 4, 20), "laptop": (12, 83, 8, 1500), "full": (12, 83, 100, 6000)}
"""By name: validation connectors; training connectors of what is trained here, episodes of the expert on each bench,
updates; there are 1.5 times as many near misses, to train on as many."""

MEMBERS = 3
"""Of the ensemble, and of each that is trained beside it: seeds from 0."""

FINE = 128
"""Image size of the pictures that are twice as fine as all others here [pixels]."""

SHIFT = 2
"""Pixels that a view is moved by: as far as training moves pictures."""

DETECTORS = {
    "classifier": "the success classifier of the base that comes with lotj",
    "classifier, three frames": "the mean of its logits of a frame and of the two before it in the episode",
    "classifier, shifted views": "the mean of its logits of a frame moved by two pixels to each side, and as it is",
    "steps to go": "the value that the base's critic gives the frame, its discount to the power of the steps to go",
    "goal picture, pixels": "minus the mean squared difference to a picture of the plug seated on this bench",
    "goal picture, pixels, worse camera": "the same of the camera that differs more",
    "goal picture, features": "the same of the features that the base's policy reads",
    "other bench's picture, features": "the same, of a picture from the other bench of this connector and robot",
    "height of the hand": "how far down the hand is, beside where it was when the plug sat on this bench",
    "classifier and goal picture": "the lower of two ranks, of the classifier and of the features' distance",
}
"""Name -> what gives a frame its score."""

SMALLER = "smaller classifier"
ENSEMBLE = {
    SMALLER: f"one of narrower layers and fewer data; means of the figures of {MEMBERS}, which differ by their seeds",
    "ensemble, mean": "the mean of their logits",
    "ensemble, lowest": "the lowest of their logits",
}
"""The same of those that are trained for it."""


def _coarse(images: np.ndarray) -> np.ndarray:
    """(B, V, H, W, 3) half as fine: means of 2 x 2 pixels."""
    b, v, high, across, colours = images.shape
    parts = images.reshape(b, v, high // 2, 2, across // 2, 2, colours)
    return np.round(parts.mean((3, 5))).astype(np.uint8)


def _middle(images: np.ndarray) -> np.ndarray:
    """(B, V, H / 2, W / 2, 3): where the plug's tip is, whatever the plug."""
    high, across = images.shape[2] // 4, images.shape[3] // 4
    return np.ascontiguousarray(images[:, :, high:-high, across:-across])


WHOLE, MIDDLE, FINER = (f"smaller classifier, {what}" for what in ("whole", "middle", "middle twice as fine"))
RESOLUTION: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    WHOLE: (f"as the smaller classifier, of views of {FINE} pixels made half as fine", _coarse),
    MIDDLE: (
        "of the middle half of each view, with the plug's tip, as fine as that",
        lambda images: _coarse(_middle(images)).repeat(2, 2).repeat(2, 3),
    ),
    FINER: ("of the same half as fine as it was drawn", _middle),
}
"""Name -> what it sees, (B, V, FINE / 2, FINE, 3) to (B, V, FINE / 4, FINE / 2, 3): all have the same network."""
AGAINST = dict.fromkeys(ENSEMBLE, SMALLER) | {MIDDLE: WHOLE, FINER: MIDDLE}
"""Whom a detector is held against, where it is not the classifier."""


def record_job(connectors: tuple[str, ...], episodes: int, folder: str, image_size: int = 64) -> dict[str, Any]:
    """Records the data set of the benchmark: two benches of each connector on each robot."""
    config = CollectConfig(
        image_size=image_size, robots_per_connector=2, domains_per_connector=2, expert_episodes=episodes,
        near_miss_share=0.6, seed=SEED,
    )  # fmt: skip
    collect(Path(folder) / "data", InsertionCollection(tuple(connectors), config), 1)
    frames = opened(Path(folder) / "data", connectors)
    counts = np.bincount(frames.place, minlength=len(PLACES)).tolist()
    return {"benches": len(frames.goal), "frames": dict(zip(PLACES, counts, strict=True))}


def opened(data: Path, connectors: tuple[str, ...]) -> Frames:
    """The data set of a `record_job`."""
    return Frames.open(data, {name: find_connector(name).insertion_depth for name in connectors})


def score_job(connectors: tuple[str, ...], folder: str, threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """``detectors``: figures of all `DETECTORS` on the frames of a `record_job`, by name and connector."""
    torch.set_num_threads(threads)
    frames, run = opened(Path(folder) / "data", connectors), base_run()
    reward, agent = load_reward(run, device), load_agent(run, device)

    def features(seen: Mapping[str, np.ndarray]) -> np.ndarray:
        return agent.encode({"image": seen["image"]})["feature/policy"].astype(np.float32)

    def pixels(seen: Mapping[str, np.ndarray]) -> np.ndarray:
        return seen["image"].astype(np.float32) / 255.0

    goals, others = frames.goals("image", "state"), _others(frames)
    wanted, shown = features(goals), pixels(goals)
    told = {name: np.empty(len(frames.rows)) for name in DETECTORS}
    for part, seen in frames.parts("image", "state"):
        bench, felt, drawn = frames.bench[part], features(seen), pixels(seen)
        scores = [reward.score(view) for view in _shifted(seen["image"])]
        logits = np.array([[clipped_logit(score) for score in view] for view in scores])
        told["classifier"][part], told["classifier, three frames"][part] = scores[0], logits[0]
        told["classifier, shifted views"][part] = logits.mean(0)
        told["steps to go"][part] = agent.value(seen)
        told["goal picture, pixels"][part] = _near(drawn, shown[bench])
        cameras = [_near(drawn[:, k], shown[bench, k]) for k in range(shown.shape[1])]
        told["goal picture, pixels, worse camera"][part] = np.min(cameras, 0)
        told["goal picture, features"][part] = _near(felt, wanted[bench])
        told["other bench's picture, features"][part] = _near(felt, wanted[others[bench]])
        told["height of the hand"][part] = goals["state"][bench, 2] - seen["state"][:, 2]
    own = told["classifier, three frames"]
    told["classifier, three frames"] = _over_time(own, frames.store.frame_episode[frames.rows])
    ranks = [told[name].argsort().argsort() for name in ("classifier", "goal picture, features")]
    told["classifier and goal picture"] = np.minimum(*ranks)
    return {"detectors": {name: figures(frames, told[name]) for name in DETECTORS}}


def ensemble_job(
    connectors: tuple[str, ...], folder: str, trained_on: tuple[str, ...], episodes: int, updates: int,
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """``detectors``: the same of `ENSEMBLE`, which is trained on other connectors, one bench each."""
    torch.set_num_threads(threads)
    frames, data = opened(Path(folder) / "data", connectors), _training(Path(folder) / "ensemble", trained_on, episodes)
    return {"detectors": together(frames, _logits(data, updates, frames, device))}


def resolution_job(
    connectors: tuple[str, ...], folder: str, trained_on: tuple[str, ...], episodes: int, updates: int,
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """``detectors``: the same of `RESOLUTION`, on the same benches drawn twice as fine."""
    torch.set_num_threads(threads)
    own = Path(folder) / "fine"
    record_job(connectors, episodes, str(own), FINE)
    frames, data = opened(own / "data", connectors), _training(own / "training", trained_on, episodes, FINE)
    found = {}
    for name, (_, view) in RESOLUTION.items():
        found[name] = _each(frames, _logits(_viewed(data, view), updates, frames, device, view))
    return {"detectors": found}


def _training(folder: Path, connectors: Sequence[str], episodes: int, image_size: int = 64) -> DiskStore:
    """Data to train on, one bench of each connector."""
    config = CollectConfig(image_size=image_size, expert_episodes=episodes, near_miss_share=0.5)
    collect(folder / "data", InsertionCollection(tuple(connectors), config), 1)
    return DiskStore.open(folder / "data")


def _viewed(data: Store, view: Callable[[np.ndarray], np.ndarray]) -> MemoryStore:
    """The same data, seen by a view."""
    seen = MemoryStore(data.tasks)
    for episode in map(data.episode, range(len(data))):
        seen.append(replace(episode, observation={"image": view(episode.observation["image"])}))
    return seen


def _logits(
    data: Store, updates: int, frames: Frames, device: str, view: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """(MEMBERS, N) logits of the frames, of classifiers that differ by their seeds."""

    def trained(seed: int) -> RewardModel:
        config = replace(find_preset("small").reward, steps=updates)
        with RewardTrainer(data, data, config, seed, device) as trainer:  # no threshold is chosen
            return trainer.run()

    def scores(model: RewardModel) -> np.ndarray:
        images = (seen["image"] for _, seen in frames.parts())
        return np.concatenate([model.score(view(of) if view else of) for of in images])

    return np.array([[clipped_logit(score) for score in scores(trained(seed))] for seed in range(MEMBERS)])


def _each(frames: Frames, logits: np.ndarray) -> dict[str, Any]:
    """Means of the figures of each of (members, N) logits."""
    each = [figures(frames, of) for of in logits]
    return {part: {key: known_mean([one[part][key] for one in each]) for key in of} for part, of in each[0].items()}


def together(frames: Frames, logits: np.ndarray) -> dict[str, Any]:
    """Figures of `ENSEMBLE`, of (members, N) logits."""
    joined = (figures(frames, of) for of in (logits.mean(0), logits.min(0)))
    return dict(zip(ENSEMBLE, [_each(frames, logits), *joined], strict=True))


def _near(seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(B,) minus the mean squared difference, of (B, ...) each."""
    return -np.square(seen - goal).reshape(len(seen), -1).mean(1)


def _shifted(images: np.ndarray) -> list[np.ndarray]:
    """(B, V, H, W, 3) images as they are, and moved by `SHIFT` to each side, edges drawn out."""
    wide = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    high, across = images.shape[2:4]
    corners = ((SHIFT, SHIFT), (0, SHIFT), (2 * SHIFT, SHIFT), (SHIFT, 0), (SHIFT, 2 * SHIFT))
    return [np.ascontiguousarray(wide[:, :, y : y + high, x : x + across]) for y, x in corners]


def _over_time(scores: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """(N,) means of each score and of up to two before it, in the same of (N,) episodes, which are in order."""
    sums, counts = scores.copy(), np.ones(len(scores))
    for back in (1, 2):
        same = np.concatenate([np.zeros(back, bool), episode[back:] == episode[:-back]])
        sums[same] += np.roll(scores, back)[same]
        counts += same
    return sums / counts


def _others(frames: Frames) -> np.ndarray:
    """(benches,) the other bench of the same connector and robot."""
    of = [(task.attributes["connector"], task.attributes["robot"]) for task in frames.store.tasks]
    return np.array([next(k for k, other in enumerate(of) if other == own and k != n) for n, own in enumerate(of)])


_COLUMNS = {"auc": "AUC", "near_auc": "AUC, near misses", "recall": "recall", HALF_IN: "half in", BESIDE: "beside"}
_COLUMNS |= {"precision": "precision", "own_precision": "at a threshold of its own bench"}

_NOTE = f"""Means over connectors, half width of Student's 95 % interval over them. AUC of seated plugs against all
other frames, and against near misses, half in or beside. At a threshold that lets through {RECALL:.0%} of the seated
plugs of the *other* connectors: recall, the shares of near misses that pass, and precision were seated ones as frequent
as near misses; and that at a threshold that lets through as many of the own bench's. A goal picture is one frame of the
plug seated on this bench, which somebody has to bring about.
"""


@dataclass(frozen=True)
class Detectors:
    """The study; see `lotj.experiments.comparisons.Comparison`."""

    title: str = "Success detectors on near misses"
    cells: str = "detectors"

    def asked(self, asked: Asked) -> Detectors:
        """As it is; SettingsError for what it does not know."""
        asked.refuse_choices("detectors")
        return self

    def jobs(self, asked: Asked) -> list[Job]:
        """The data set, the detectors on it, and those that are trained for it."""
        count, trained_on, episodes, updates = SIZES[asked.preset]
        connectors, folder = of_split("validation")[:count], asked.runs / "detectors"
        given: dict[str, Any] = {"connectors": list(connectors), "folder": str(folder)}
        how = {**given, "trained_on": list(choose_training(trained_on)), "episodes": episodes, "updates": updates}
        return [
            Job("data", record_job, {**given, "episodes": episodes}, (), {}, folder),
            Job("scores", score_job, given, ("data",), asked.machine),
            Job("ensemble", ensemble_job, how, ("data",), asked.machine),
            Job("resolution", resolution_job, how, (), asked.machine),
        ]

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """The page."""
        if "scores" not in results:
            return {}
        data, found = results["data"], dict(results["scores"]["detectors"])
        for job in ("ensemble", "resolution"):
            found |= results.get(job, {}).get("detectors", {})
        rows = [
            [name, *(mean_words([of[key] for of in by.values()]) for key in _COLUMNS)] for name, by in found.items()
        ]
        told = DETECTORS | ENSEMBLE | {name: words for name, (words, _) in RESOLUTION.items()}
        what = "".join(f"- {name}: {words}\n" for name, words in told.items() if name in found)
        counts = ", ".join(f"{number} {place}" for place, number in data["frames"].items())
        head = f"{data['benches']} benches; frames: {counts}.\n"
        by = [[part, *(f"{found[name][part]['near_auc']:.3f}" for name in found)] for part in found["classifier"]]
        parts = [markdown(["detector", *_COLUMNS.values()], rows), head, _NOTE, what]
        parts += ["## AUC against near misses, by connector\n", markdown(["connector", *found], by)]
        rows = []
        for name, of in found.items():
            if name not in ("classifier", SMALLER, WHOLE):
                than = AGAINST.get(name, "classifier")
                gain = [of[part]["near_auc"] - found[than][part]["near_auc"] for part in of]
                rows.append([name, than, mean_words(gain)])
        parts += ["## The same, less another's, paired by connector\n"]
        parts += [markdown(["detector", "less that of", "difference"], rows)]
        return {"table.md": page(self.title, parts, results)}


DETECTOR_STUDY = Detectors()
