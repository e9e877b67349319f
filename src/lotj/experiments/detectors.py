"""How well a seated plug is told from near misses on connectors that nobody trained on: the baselines of the benchmark
`lotj.evaluation.detectors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.data.store import DiskStore
from lotj.distributed import Job
from lotj.evaluation.detectors import BESIDE, HALF_IN, PLACES, RECALL, Frames, figures
from lotj.experiments.parts import choose_training, of_split
from lotj.experiments.presets import find_preset
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import known_mean, markdown, mean_words
from lotj.rewards.calibration import clipped_logit
from lotj.rewards.training import RewardTrainer
from lotj.runs import base_run
from lotj.sim.connector import find_connector
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from lotj.training.pretrain import load_agent, load_reward

SEED = 20
"""Of the data set, which neither training nor choice of a threshold has seen."""

SIZES = {"quick": (3, 6, 4, 20), "laptop": (12, 83, 8, 1500), "full": (12, 83, 100, 6000)}
"""By name: validation connectors, the ensemble's training connectors, episodes of the expert on each bench, updates of
the ensemble; there are 1.5 times as many near misses, to train on as many."""

MEMBERS = 3
"""Of the ensemble: seeds from 0."""

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


def record_job(connectors: tuple[str, ...], episodes: int, folder: str) -> dict[str, Any]:
    """Records the data set of the benchmark: two benches of each connector on each robot."""
    config = CollectConfig(
        robots_per_connector=2, domains_per_connector=2, expert_episodes=episodes, near_miss_share=0.6, seed=SEED
    )
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
    own, frames, logits = Path(folder) / "ensemble", opened(Path(folder) / "data", connectors), []
    config = CollectConfig(expert_episodes=episodes, near_miss_share=0.5)
    collect(own / "data", InsertionCollection(tuple(trained_on), config), 1)
    data, reward = DiskStore.open(own / "data"), replace(find_preset("small").reward, steps=updates)
    for seed in range(MEMBERS):
        with RewardTrainer(data, data, reward, seed, device) as trainer:  # no threshold is chosen
            model = trainer.run()
        scores = [model.score(seen["image"]) for _, seen in frames.parts()]
        logits.append([clipped_logit(score) for score in np.concatenate(scores)])
    return {"detectors": together(frames, np.array(logits))}


def together(frames: Frames, logits: np.ndarray) -> dict[str, Any]:
    """Figures of `ENSEMBLE`, of (members, N) logits."""
    each = [figures(frames, of) for of in logits]
    alone = {part: {key: known_mean([one[part][key] for one in each]) for key in of} for part, of in each[0].items()}
    joined = (figures(frames, of) for of in (logits.mean(0), logits.min(0)))
    return dict(zip(ENSEMBLE, [alone, *joined], strict=True))


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
        """The data set, the detectors on it, and the ensemble."""
        count, trained_on, episodes, updates = SIZES[asked.preset]
        connectors, folder = of_split("validation")[:count], asked.runs / "detectors"
        given: dict[str, Any] = {"connectors": list(connectors), "folder": str(folder)}
        how = {**given, "trained_on": list(choose_training(trained_on)), "episodes": episodes, "updates": updates}
        return [
            Job("data", record_job, {**given, "episodes": episodes}, (), {}, folder),
            Job("scores", score_job, given, ("data",), asked.machine),
            Job("ensemble", ensemble_job, how, ("data",), asked.machine),
        ]

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        """The page."""
        if "scores" not in results:
            return {}
        data, of_ensemble = results["data"], results.get("ensemble", {}).get("detectors", {})
        found = {**results["scores"]["detectors"], **of_ensemble}
        rows = [
            [name, *(mean_words([of[key] for of in by.values()]) for key in _COLUMNS)] for name, by in found.items()
        ]
        what = "".join(f"- {name}: {told}\n" for name, told in (DETECTORS | ENSEMBLE).items() if name in found)
        counts = ", ".join(f"{number} {place}" for place, number in data["frames"].items())
        head = f"{data['benches']} benches; frames: {counts}.\n"
        by = [[part, *(f"{found[name][part]['near_auc']:.3f}" for name in found)] for part in found["classifier"]]
        parts = [markdown(["detector", *_COLUMNS.values()], rows), head, _NOTE, what]
        parts += ["## AUC against near misses, by connector\n", markdown(["connector", *found], by)]
        against = dict.fromkeys(found, "classifier") | dict.fromkeys(ENSEMBLE, SMALLER)
        gains = {name: [of[part]["near_auc"] - found[against[name]][part]["near_auc"] for part in of]
                 for name, of in found.items() if name != against[name]}  # fmt: skip
        parts += ["## The same, less the classifier's, an ensemble's less its members', paired by connector\n"]
        parts += [markdown(["detector", "difference"], [[name, mean_words(of)] for name, of in gains.items()])]
        return {"table.md": page(self.title, parts, results)}


DETECTOR_STUDY = Detectors()
