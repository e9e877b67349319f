"""What a reward model is worth on connectors it was not trained on, and whether its bottleneck does what it says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lotj.data.store import Store
from lotj.nets.heads import mlp
from lotj.nets.precision import autocast
from lotj.rewards.model import BATCH, RewardModel
from lotj.rewards.sampling import BalancedSampler
from lotj.rewards.threshold import area_under_curve, choose_threshold
from lotj.runs import plain

PROBE_FRAMES = 40
"""Frames drawn of each training domain for the probes, half of them successes."""

_PROBE_UPDATES = 1000

WRONG = "false_positive_rate"


def score_frames(model: RewardModel, store: Store) -> Any:
    """Scores of all F frames of a store with what is known about them, (F,) with fields ``score`` in [0, 1],
    ``success`` (true), ``kind`` of the episode, ``near``, whether it was recorded as a near miss, ``task``, index into
    `Store.tasks`, and ``connector``, the environment's name where a task has none."""
    chunks = (np.arange(k, min(k + BATCH, store.n_frames)) for k in range(0, store.n_frames, BATCH))
    score = [model.score(store.observe(chunk, ["image"])["image"]) for chunk in chunks]
    kind, task = store.of_frames(np.array(store.kinds)[store.episodes["kind"]]), store.frame_task
    connector = np.array([t.attributes.get("connector", t.env) for t in store.tasks])[task]
    columns = np.concatenate(score), store.success, kind, np.isin(kind, model.config.near_miss_kinds), task, connector
    names = "score, success, kind, near, task, connector"
    return np.rec.fromarrays(columns, names=names)  # type: ignore[call-overload]


def held_out_report(model: RewardModel, store: Store, frames: Any = None) -> dict[str, Any]:
    """Figures on held-out connectors, ready for JSON; what cannot be said (a label is missing) is None.

    ``connectors`` maps each connector to its figures and ``overall`` to their mean over connectors (as in the paper's
    Table IV; counts are summed). The figures: ``accuracy`` (successes and other frames of the expert equally frequent,
    as in the paper), ``near_miss_accuracy`` (the same with near misses), ``accuracy_left_out`` (the first at the
    threshold that the *other* connectors choose: where the model's own was chosen on this data set, it flatters),
    ``recall``, ``precision`` and ``near_miss_precision`` (at equal frequencies, against all other frames and against
    near misses), ``auc``, ``near_miss_auc``, ``false_positive_rate`` by kind, ``successes`` and ``others``.
    """
    frames = score_frames(model, store) if frames is None else frames
    connectors = {}
    for name in np.unique(frames.connector):
        ours = frames[frames.connector == name]
        left_out = _left_out(ours, frames[frames.connector != name], model.config.min_precision)
        connectors[str(name)] = _figures(ours, model.threshold) | {"accuracy_left_out": left_out}
    figures = list(connectors.values())
    overall: dict[str, Any] = {key: _mean(one[key] for one in figures) for key in figures[0] if key != WRONG}
    kinds = [str(kind) for kind in np.unique(frames.kind)]
    overall[WRONG] = {kind: _mean(one[WRONG].get(kind, math.nan) for one in figures) for kind in kinds}
    overall |= {key: sum(one[key] for one in figures) for key in ("successes", "others")}
    report = {"variant": model.config.bottleneck.variant, "threshold": model.threshold, "overall": overall}
    return plain({**report, "connectors": connectors})


def bottleneck_report(
    model: RewardModel, train: Store, validation: Store, seed: int, count: int = 2048
) -> dict[str, Any]:
    """Whether the bottleneck does what it says (LOTJ, section V-D), from balanced samples of the training tasks, in
    their order, and of `count` frames of the validation tasks.

    ``probe_linear``, ``probe_two_layers``: how often a fresh classifier tells the training domain from the frozen z_I,
    see `domain_probe`, beside ``probe_chance``; of every variant with a z_I, so that the bottleneck's can be held
    against ERM's. The adversary's own loss is no evidence: against reversed gradients it stands at chance whether
    or not z_I is free of the domain (Elazar and Goldberg 2018). ``kl`` [nats]: 0 means that z_S is not used. ``auc``,
    and what it falls to when z_I (``auc_without_invariant``) or z_S (``auc_without_specific``) is silenced, that is
    replaced by its mean: a z_I that has degenerated leaves no trace.
    """
    config, bottleneck = model.config.bottleneck, model.classifier.bottleneck
    border = 0 if bottleneck.invariant is None else config.invariant_dim  # of z_I and z_S in a code
    out: dict[str, Any] = {"variant": config.variant}
    if border:
        sampler, draws = BalancedSampler(train, 0.5, model.config.near_miss_kinds), PROBE_FRAMES * len(train.tasks)
        index = np.unique(sampler.draw(draws, np.random.default_rng([seed, 0])))
        code = _codes(model, train, index)[0][:, :border]
        domains, episodes = train.frame_task[index], train.frame_episode[index]
        first = np.searchsorted(train.episodes["task"], domains)  # episodes are ordered by task
        held_out = (episodes - first) % 2 == 1  # probes learn from every second episode of each training task
        both = np.intersect1d(domains[held_out], domains[~held_out])
        for name, hidden in (("probe_linear", ()), ("probe_two_layers", (256,))):
            out[name] = domain_probe(code, domains, held_out, hidden, seed)
        out["probe_chance"] = 1.0 / len(both) if len(both) else None
    sampler = BalancedSampler(validation, 0.5, model.config.near_miss_kinds)
    index = sampler.draw(count, np.random.default_rng([seed, 1]))
    z, kl = _codes(model, validation, index)

    def auc(silent: slice) -> float:
        code = z.clone()
        code[:, silent] = z[:, silent].mean(0)
        with torch.no_grad():
            return area_under_curve(model.classifier.judge(code).cpu().numpy(), validation.success[index])

    out["auc"] = auc(slice(0))
    if border:
        out["auc_without_invariant"] = auc(slice(border))
    if bottleneck.specific is not None:
        out |= {"kl": float(kl.mean()), "auc_without_specific": auc(slice(border, None))}
    return out


def domain_probe(
    codes: torch.Tensor, domains: np.ndarray, held_out: np.ndarray, hidden: Sequence[int], seed: int
) -> float | None:
    """How well a fresh classifier with these hidden layers tells domains (N,) from frozen codes (N, D), on the
    `held_out` ones (N,), which it was not trained on. A lower bound: what it does not find may still be there.

    Returns:
        Share told rightly, mean over the domains that have codes of both sorts; of K such domains 1 / K is chance.
        None without any.
    """
    both = np.intersect1d(domains[held_out], domains[~held_out])
    if not len(both):
        return None
    used = np.isin(domains, both)
    label = torch.from_numpy(np.searchsorted(both, domains[used])).to(codes.device)
    judged = torch.from_numpy(held_out[used]).to(codes.device)
    codes = codes[torch.from_numpy(used).to(codes.device)].float()
    (std, mean), told_from = torch.std_mean(codes[~judged], 0), torch.nonzero(~judged)[:, 0]
    codes = (codes - mean) / (std + 1e-6)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        probe = mlp(codes.shape[1], hidden, len(both)).to(codes.device)
        optimizer = torch.optim.AdamW(probe.parameters(), 3e-3, weight_decay=1e-2)
        for _ in range(_PROBE_UPDATES):
            rows = told_from[torch.randint(len(told_from), (256,)).to(codes.device)]
            optimizer.zero_grad()
            F.cross_entropy(probe(codes[rows]), label[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        right = (probe(codes[judged]).argmax(1) == label[judged]).double().cpu().numpy()
    of = label[judged].cpu().numpy()
    return float(np.mean(np.bincount(of, right) / np.bincount(of)))


@torch.no_grad()
def _codes(model: RewardModel, store: Store, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean codes (N, code_size), z_I before z_S, and divergences (N,) of the frames `index`."""
    parts = []
    for first in range(0, len(index), BATCH):
        seen = model.config.front.bring(store.observe(index[first : first + BATCH], ["image"]), model.device)
        with autocast(model.device):
            parts.append(model.classifier.encode(seen["image"], sample=False))
    return torch.cat([part.z for part in parts]), torch.cat([part.kl for part in parts])


def _figures(frames: Any, threshold: float) -> dict[str, Any]:
    """Of one connector; NaN where a label is missing."""
    predicted, near = frames.score >= threshold, frames.near & ~frames.success
    expert = (frames.kind == "expert") & ~frames.success
    recall, all_wrong, near_wrong = (_mean(predicted[sort]) for sort in (frames.success, ~frames.success, near))
    wrong = _mean(predicted[expert if expert.any() else near])
    kinds, hard = np.unique(frames.kind), frames[frames.success | near]
    return {
        "accuracy": (recall + 1.0 - wrong) / 2.0,
        "near_miss_accuracy": (recall + 1.0 - near_wrong) / 2.0,
        "recall": recall,
        "precision": _precision(recall, all_wrong),
        "near_miss_precision": _precision(recall, near_wrong),
        "auc": area_under_curve(frames.score, frames.success),
        "near_miss_auc": area_under_curve(hard.score, hard.success),
        WRONG: {str(kind): _mean(predicted[~frames.success & (frames.kind == kind)]) for kind in kinds},
        "successes": int(frames.success.sum()),
        "others": int((~frames.success).sum()),
    }


def _left_out(ours: Any, others: Any, min_precision: float) -> float:
    """Accuracy of a connector at the threshold that the others choose; NaN where these lack a label."""
    if others.success.all() or not others.success.any():
        return math.nan
    threshold = choose_threshold(others.score, others.success, others.near, others.task, min_precision)
    return _figures(ours, threshold)["accuracy"]


def _mean(values: Iterable[Any]) -> float:
    """Of those that are known; NaN without any."""
    known = np.array([*values], float)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else math.nan


def _precision(recall: float, wrong: float) -> float:
    return recall / (recall + wrong) if recall + wrong > 0.0 else math.nan
