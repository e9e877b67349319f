"""What a reward model is worth on connectors it was not trained on, and whether its bottleneck does what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lotj.data.dataset import Dataset
from lotj.experience import KINDS, NEAR_MISSES, STATE_NAMES, is_kind
from lotj.nets.encoder import to_tensor
from lotj.nets.precision import autocast
from lotj.rewards.classifier import SuccessClassifier
from lotj.rewards.model import BATCH, RewardModel
from lotj.rewards.sampling import BalancedSampler
from lotj.rewards.threshold import area_under_curve

DEPTH_EDGES_M = (0.0005, 0.001, 0.002, 0.004, 0.008)
"""Borders of the depth bins [m above seated]."""


@dataclass(frozen=True)
class FrameScores:
    """Scores of N frames of a data set with what is known about them.

    Attributes:
        score: (N,) float32 in [0, 1].
        success: (N,) bool, true success.
        kind: (N,) int8, index into `lotj.experience.KINDS`.
        domain: (N,) int64, index into `Dataset.domains`.
        connector: (N,) str.
        z: (N,) float32, plug height above seated [m]; NaN where unknown.
    """

    score: np.ndarray
    success: np.ndarray
    kind: np.ndarray
    domain: np.ndarray
    connector: np.ndarray
    z: np.ndarray

    def where(self, mask: np.ndarray) -> FrameScores:
        """Only the frames of a (N,) bool mask."""
        return FrameScores(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


def score_frames(model: RewardModel, dataset: Dataset, index: np.ndarray | None = None) -> FrameScores:
    """Scores the frames `index` of a data set, all by default."""
    index = np.arange(len(dataset.frame_success)) if index is None else index
    parts = [model.score(dataset.images(index[k : k + BATCH])) for k in range(0, len(index), BATCH)]
    domain = dataset.frame_domain[index].astype(np.int64)
    return FrameScores(
        score=np.concatenate([np.zeros(0, np.float32), *parts]),
        success=dataset.frame_success[index],
        kind=dataset.frame_kind[index],
        domain=domain,
        connector=np.array([d.connector for d in dataset.domains])[domain],
        z=dataset.frame_state[index, STATE_NAMES.index("z")],
    )


def held_out_report(model: RewardModel, dataset: Dataset, frames: FrameScores | None = None) -> dict[str, Any]:
    """Figures on held-out connectors, ready for JSON; what cannot be said (a label is missing) is None.

    ``connectors`` maps each connector to its figures and ``overall`` to their mean over connectors (as in the paper's
    Table IV; counts are summed). The figures: ``accuracy`` (successes and other frames of the expert equally frequent,
    as in the paper), ``near_miss_accuracy`` (the same with near misses), ``recall``, ``precision`` and
    ``near_miss_precision`` (at equal frequencies, against all other frames and against near misses), ``auc``,
    ``near_miss_auc``, ``false_positive_rate`` by kind, ``successes`` and ``others``. ``depth`` says how often frames
    that are no success are taken for one, by their height above seated.

    Args:
        model: with its threshold.
        dataset: validation domains.
        frames: its frames' scores, if already computed by `score_frames`.
    """
    frames = score_frames(model, dataset) if frames is None else frames
    connectors = {
        str(name): _figures(frames.where(frames.connector == name), model.threshold)
        for name in np.unique(frames.connector)
    }
    figures = list(connectors.values())
    means = {key: _mean([one[key] for one in figures]) for key in figures[0] if key != "false_positive_rate"}
    rates = {kind: _mean([one["false_positive_rate"][kind] for one in figures]) for kind in KINDS}
    counts = {key: sum(one[key] for one in figures) for key in ("successes", "others")}
    return {
        "variant": model.config.bottleneck.variant,
        "threshold": model.threshold,
        "overall": {**means, "false_positive_rate": rates, **counts},
        "connectors": connectors,
        "depth": _by_depth(frames, model.threshold),
    }


def bottleneck_report(
    model: RewardModel, train: Dataset, validation: Dataset, seed: int, count: int = 2048
) -> dict[str, Any]:
    """Whether the bottleneck does what it says (LOTJ, section V-D), from balanced samples.

    ``domain_loss`` [nats] of the adversary on training domains: near ``domain_loss_of_guessing`` = ln n it has nothing
    to go by. ``kl`` [nats]: 0 means that z_S is not used. ``auc``, and what it falls to when z_I
    (``auc_without_invariant``) or z_S (``auc_without_specific``) is silenced, that is replaced by its mean: a z_I that
    has degenerated leaves no trace.

    Args:
        model: a reward model.
        train: the domains it was trained on, in the same order.
        validation: validation domains.
        seed: of the samples.
        count: frames of each.
    """
    classifier, config = model.classifier, model.config.bottleneck
    out: dict[str, Any] = {"variant": config.variant}
    if classifier.bottleneck.adversary is not None:
        index = BalancedSampler(train, 0.5).draw(count, np.random.default_rng([seed, 0]))
        code = _codes(classifier, train, index, model.device)
        domain = torch.from_numpy(train.frame_domain[index].astype(np.int64)).to(model.device)
        with torch.no_grad():
            logits = classifier.bottleneck.adversary(code["invariant"])
            out["domain_loss"] = float(F.cross_entropy(logits, domain))
            out["domain_accuracy"] = float((logits.argmax(1) == domain).float().mean())
        out["domain_loss_of_guessing"] = math.log(len(train.domains))
    index = BalancedSampler(validation, 0.5).draw(count, np.random.default_rng([seed, 1]))
    code = _codes(classifier, validation, index, model.device)
    success = validation.frame_success[index]
    parts = {"invariant": code["invariant"], "specific": code["specific"]}
    out["auc"] = _auc_of(classifier, parts, success)
    if config.has_invariant:
        out["auc_without_invariant"] = _auc_of(classifier, _silence(parts, "invariant"), success)
    if config.has_specific:
        out["kl"] = float(code["kl"].mean())
        out["auc_without_specific"] = _auc_of(classifier, _silence(parts, "specific"), success)
    return out


@torch.no_grad()
def _codes(
    classifier: SuccessClassifier, dataset: Dataset, index: np.ndarray, device: torch.device
) -> dict[str, torch.Tensor]:
    parts = []
    for first in range(0, len(index), BATCH):
        images = to_tensor(dataset.images(index[first : first + BATCH]), device)
        with autocast(device):
            parts.append(classifier.encode(images, sample=False))
    return {
        "invariant": torch.cat([part.invariant for part in parts]),
        "specific": torch.cat([part.specific_mean for part in parts]),
        "kl": torch.cat([part.kl for part in parts]),
    }


def _silence(parts: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {**parts, name: parts[name].mean(0).expand_as(parts[name])}


@torch.no_grad()
def _auc_of(classifier: SuccessClassifier, parts: dict[str, torch.Tensor], success: np.ndarray) -> float:
    logits = classifier.judge(torch.cat([parts["invariant"], parts["specific"]], 1))
    return area_under_curve(logits.cpu().numpy(), success)


def _figures(frames: FrameScores, threshold: float) -> dict[str, Any]:
    predicted, near = frames.score >= threshold, is_kind(frames.kind, NEAR_MISSES) & ~frames.success
    expert = is_kind(frames.kind, ["expert"]) & ~frames.success
    recall = _rate(predicted[frames.success])
    rates = {kind: _rate(predicted[~frames.success & (frames.kind == k)]) for k, kind in enumerate(KINDS)}
    wrong, near_wrong = _rate(predicted[expert if expert.any() else near]), _rate(predicted[near])
    hard = frames.where(frames.success | near)
    return {
        "accuracy": _balanced(recall, wrong),
        "near_miss_accuracy": _balanced(recall, near_wrong),
        "recall": recall,
        "precision": _precision(recall, _rate(predicted[~frames.success])),
        "near_miss_precision": _precision(recall, near_wrong),
        "auc": _number(area_under_curve(frames.score, frames.success)),
        "near_miss_auc": _number(area_under_curve(hard.score, hard.success)),
        "false_positive_rate": rates,
        "successes": int(frames.success.sum()),
        "others": int((~frames.success).sum()),
    }


def _by_depth(frames: FrameScores, threshold: float) -> list[dict[str, Any]]:
    edges = (-math.inf, *DEPTH_EDGES_M, math.inf)
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = ~frames.success & (frames.z >= low) & (frames.z < high)
        rate = _rate(frames.score[here] >= threshold)
        row = {"from_m": _number(low), "to_m": _number(high)}
        rows.append({**row, "frames": int(here.sum()), "false_positive_rate": rate})
    return rows


def _rate(hits: np.ndarray) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _balanced(recall: float | None, wrong: float | None) -> float | None:
    return None if recall is None or wrong is None else (recall + 1.0 - wrong) / 2.0


def _precision(recall: float | None, wrong: float | None) -> float | None:
    return None if recall is None or wrong is None or recall + wrong == 0.0 else recall / (recall + wrong)


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
