"""A control for the bottleneck: a cue that tells success by a map private to each domain, which it must not learn.

In the domains trained on the cue is right in most frames, on held-out parts it is random. So a model that goes by it is
worse on held-out parts than one that was never shown it, and a bottleneck that does its work is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.agents.supervised import SupervisedConfig
from lotj.data.part import PartStore
from lotj.data.store import DiskStore, Store
from lotj.experiments.reward_ablation import choose_split
from lotj.files import atomic_file
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.heads import mlp
from lotj.rewards.held_out import domain_probe
from lotj.rewards.model import BATCH, RewardModel
from lotj.rewards.sampling import BalancedSampler
from lotj.rewards.threshold import area_under_curve
from lotj.runs import base_run

Place = Literal["apart", "together"]

COMPONENTS = 128
"""Of the frozen features that are kept; and width of what is trained on them."""

CUE_COLUMNS = 32
"""The cue is shown in so many equal columns, that it does not drown among the others."""

INNER = 5
"""Every so many-th episode of each training domain is kept from training: its frames are new, its domain is not."""

FILE = "features.npz"


def features_job(data: str, folder: str, threads: int = 1, device: str = "cpu") -> dict[str, Any]:
    """What the shipped base's reward encoder makes of all frames of a data set: `COMPONENTS` principal components of
    deviation 1, in a file of `folder`."""
    torch.set_num_threads(threads)
    store, model = DiskStore.open(data), RewardModel.load(base_run().path / "reward.pt", device)
    parts = []
    with torch.no_grad():
        for first in range(0, store.n_frames, BATCH):
            frames = np.arange(first, min(first + BATCH, store.n_frames))
            seen = model.config.front.bring(store.observe(frames, ["image"]), model.device)
            parts.append(model.classifier.encoder(seen).float().cpu())
    features = torch.cat(parts)
    features -= features.mean(0)
    values, vectors = torch.linalg.eigh(features.T @ features / len(features))
    kept = features @ vectors[:, -COMPONENTS:] / values[-COMPONENTS:].clamp_min(1e-9).sqrt()
    Path(folder).mkdir(parents=True, exist_ok=True)
    with atomic_file(Path(folder) / FILE) as file:
        np.savez(file, features=kept.numpy())
    return {"frames": len(kept), "variance_kept": float(values[-COMPONENTS:].sum() / values.sum())}


class Cued(PartStore):
    """Episodes with a cue beside each frame.

    Args:
        whole, chosen: see `PartStore`.
        features: (F, D) of the frames of `whole`.
        strength: share of the frames in which the cue is right; at 0.5 it says nothing.
        seed: draws which value means success in each domain, by the domain's name, and in which frames it is right.

    Attributes:
        maps: (tasks,) 0 or 1, which value means success.
        cue: (frames,) -1 or 1.
        features: (frames, D).
    """

    def __init__(self, whole: Store, chosen: np.ndarray, features: np.ndarray, strength: float, seed: int) -> None:
        super().__init__(whole, chosen)
        self.maps = np.array([np.random.default_rng([seed, *t.name.encode()]).integers(2) for t in self.tasks])
        right = np.random.default_rng([seed, self.n_frames]).random(self.n_frames) < strength
        shown = self.success ^ ~right ^ (self.maps[self.frame_task] == 0)
        self.cue, self.features = np.where(shown, 1.0, -1.0).astype(np.float32), features[self._frames]

    def seen(self, frames: np.ndarray | slice = slice(None), flipped: bool = False) -> tuple[Tensor, Tensor]:
        """Features (N, D) and cue (N, `CUE_COLUMNS`) of frames; `flipped`, the other cue."""
        cue = torch.from_numpy(-self.cue[frames] if flipped else self.cue[frames])
        return torch.from_numpy(self.features[frames]), cue[:, None].expand(-1, CUE_COLUMNS)


class CuedClassifier(nn.Module):
    """Encoder, bottleneck and head on features and a cue, which enters before or behind the encoder."""

    def __init__(self, place: Place, domains: int, config: BottleneckConfig) -> None:
        super().__init__()
        together = place == "together"
        self.place, behind = place, 0 if together else CUE_COLUMNS
        self.encoder = nn.Sequential(
            mlp(COMPONENTS + CUE_COLUMNS - behind, (COMPONENTS,), COMPONENTS), nn.ReLU(inplace=True)
        )
        self.bottleneck = Bottleneck(COMPONENTS + behind, domains, config)
        self.head = mlp(self.bottleneck.code_size, (256,), 1)

    def encode(self, seen: tuple[Tensor, Tensor], sample: bool, generator: torch.Generator | None = None) -> Code:
        """The code of features and cue; `sample` draws z_S."""
        features, cue = seen
        if self.place == "together":
            return self.bottleneck(self.encoder(torch.cat([features, cue], 1)), sample, generator)
        return self.bottleneck(torch.cat([self.encoder(features), cue], 1), sample, generator)

    def judge(self, z: Tensor) -> Tensor:
        """Codes to logits (B,)."""
        return self.head(z).squeeze(1)


def control_job(
    data: str, features: str, split: int, train_on: int, hold_out: int, place: Place, strength: float, updates: int,
    variant: str, settings: Mapping[str, Any], chase: int = 0, told: bool = False, ramp: bool = True,
    probes: bool = False, threads: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Train a classifier that is shown a cue, and measure it where the cue is of no use.

    Args:
        data, features: folders of a data set and of its `features_job`.
        split, train_on, hold_out: see `choose_split`; the split is the seed of everything, too.
        place: where the cue enters, before the encoder (``together``) or behind it (``apart``).
        strength: see `Cued`; of the training domains.
        variant, settings: of the bottleneck.
        chase: further steps of the adversary alone for each update.
        told: the adversary tells the two maps apart instead of the domains.
        ramp: the adversary's strength rises; else it is full from the start.
        probes: measure what fresh probes find in z_I.

    Returns:
        `figures` of ``train`` (frames trained on), ``inner`` (other episodes of these domains) and ``held_out``;
        ``flips``, see `flips`, of ``inner``; ``kl``; of probes ``probe_linear``, ``probe_two_layers`` of z_I,
        ``probe_answer``, two layers on the logit alone, and ``probe_chance``.
    """
    torch.set_num_threads(threads)
    with np.load(Path(features) / FILE) as file:
        made = file["features"]
    train, inner, held_out = parts_of(Path(data), split, train_on, hold_out, made, strength)
    config = BottleneckConfig(variant=variant, **settings)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split)
        domains, classes = np.unique(train.maps[train.frame_task] if told else train.frame_task, return_inverse=True)
        model = CuedClassifier(place, len(domains), config)
        train_cued(model, train, torch.from_numpy(classes), updates, chase, ramp)
    model.eval()
    found: dict[str, Any] = {"train": figures(model, train), "inner": figures(model, inner)}
    found |= {"held_out": figures(model, held_out), "flips": flips(model, inner)}
    with torch.no_grad():
        code = model.encode(train.seen(), sample=False)
        answer = model.judge(code.z)[:, None]
    found["kl"] = float(code.kl.mean())
    if probes:
        other = train.episodes["seed"][train.frame_episode] % 2 == 1
        if code.invariant.shape[1]:
            found["probe_linear"] = domain_probe(code.invariant, train.frame_task, other, (), split)
            found["probe_two_layers"] = domain_probe(code.invariant, train.frame_task, other, (256,), split)
        found["probe_answer"] = domain_probe(answer, train.frame_task, other, (256,), split)
        found["probe_chance"] = 1.0 / len(np.unique(train.frame_task))
    return found


def parts_of(
    data: Path, split: int, train_on: int, hold_out: int, features: np.ndarray, strength: float
) -> tuple[Cued, Cued, Cued]:
    """Training episodes, other episodes of the same domains, and those of held-out connectors, whose cue is random."""
    names, whole = choose_split(data, split, train_on, hold_out), DiskStore.open(data)
    connector = np.array([task.attributes["connector"] for task in whole.tasks])[whole.episodes["task"]]
    seen, unseen = (np.isin(connector, sorted(own)) for own in names)
    kept = whole.episodes["seed"] % INNER == INNER - 1
    chosen = (seen & ~kept, strength), (seen & kept, strength), (unseen, 0.5)
    train, inner, held_out = (Cued(whole, which, features, share, split) for which, share in chosen)
    return train, inner, held_out


def train_cued(model: CuedClassifier, train: Cued, classes: Tensor, updates: int, chase: int, ramp: bool) -> None:
    """As the reward is trained (`lotj.rewards.training.Success`), on balanced batches; random numbers are torch's own
    and those of a generator of the update."""
    config = SupervisedConfig(steps=updates)
    sampler, success = BalancedSampler(train, 0.5, ()), torch.from_numpy(train.success.astype(np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    adversary = model.bottleneck.adversary
    chaser = torch.optim.AdamW(adversary.parameters(), config.lr) if chase and adversary is not None else None
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = config.learning_rate(update)
        frames = sampler.draw(config.batch, np.random.default_rng([update]))
        code = model.encode(train.seen(frames), sample=True)
        penalty, _ = model.bottleneck.penalty(code, classes[frames], update / updates if ramp else 1.0)
        loss = F.binary_cross_entropy_with_logits(model.judge(code.z), success[frames]) + penalty
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimiser.step()
        if chaser is not None and adversary is not None:
            for step in range(chase):
                frames = sampler.draw(config.batch, np.random.default_rng([update, step]))
                with torch.no_grad():
                    code = model.encode(train.seen(frames), sample=False)
                chaser.zero_grad()
                F.cross_entropy(adversary(code.invariant), classes[frames]).backward()
                chaser.step()


@torch.no_grad()
def figures(model: CuedClassifier, store: Cued) -> dict[str, float]:
    """Mean over connectors: ``accuracy`` (balanced), ``recall`` and ``false_positives`` at 0.5, and ``auc``."""
    logit = model.judge(model.encode(store.seen(), sample=False).z).numpy()
    found = []
    for task in np.unique(store.frame_task):
        own = store.frame_task == task
        said, success = logit[own] > 0, store.success[own]
        recall, wrong = said[success].mean(), said[~success].mean()
        found.append(((recall + 1 - wrong) / 2, recall, wrong, area_under_curve(logit[own], success)))
    means = np.mean(found, 0).tolist()
    return dict(zip(("accuracy", "recall", "false_positives", "auc"), means, strict=True))


@torch.no_grad()
def flips(model: CuedClassifier, store: Cued) -> dict[str, float]:
    """Share of the predictions that change with the cue: of ``all``, and where it changes for z_I or for z_S alone."""
    border = 0 if model.bottleneck.invariant is None else model.bottleneck.config.invariant_dim
    true, flipped = (model.encode(store.seen(flipped=other), sample=False).z for other in (False, True))
    mixed = {"all": flipped, "z_I": torch.cat([flipped[:, :border], true[:, border:]], 1)}
    mixed["z_S"] = torch.cat([true[:, :border], flipped[:, border:]], 1)
    said = model.judge(true) > 0
    return {name: float(((model.judge(z) > 0) != said).float().mean()) for name, z in mixed.items()}
