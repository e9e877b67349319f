"""A control for the bottleneck: a cue that tells success by a map private to each domain, which it must not learn.

In the domains trained on the cue is right in most frames, in others it is random. So a model that goes by it is worse
there than one to which it says nothing, and a bottleneck that does its work is not. Frames are made up, a few numbers
each: what they tell is known exactly, and as much of it is drawn as is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotj.agents.supervised import SupervisedConfig
from lotj.nets.bottleneck import Bottleneck, BottleneckConfig, Code
from lotj.nets.heads import mlp
from lotj.rewards.held_out import domain_probe
from lotj.rewards.threshold import area_under_curve

Place = Literal["apart", "together"]

BACKGROUND = 16
"""Numbers of a frame that are those of its domain, the same in all of its frames."""

COLUMNS = 4
"""Sign and cue are shown in so many equal columns each, that they do not drown in the background."""

SIGN_DEVIATION = 1.188
"""Of the noise on the sign of success, -1 or 1: who goes by it alone is right in 0.80, in every domain."""

WIDTH = 64
"""Of the encoder's layers."""

MEASURED = 200
"""Frames of each domain that a model is measured on."""


@dataclass(frozen=True)
class World:
    """Some domains.

    Attributes:
        background: (domains, `BACKGROUND`) float32.
        maps: (domains,) -1 or 1, the value of the cue that means success.
        strength: share of the frames in which the cue is right; at 0.5 it says nothing.
    """

    background: np.ndarray
    maps: np.ndarray
    strength: float

    @classmethod
    def draw(cls, domains: int, strength: float, rng: np.random.Generator) -> World:
        """So many new ones."""
        background = rng.standard_normal((domains, BACKGROUND), np.float32)
        return cls(background, rng.choice((-1.0, 1.0), domains), strength)

    def frames(self, domain: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Frames of these domains (N,): background and sign (N, `BACKGROUND` + `COLUMNS`), cue (N, `COLUMNS`), and
        success (N,), in one half of the frames."""
        success = rng.permutation(np.arange(len(domain)) % 2).astype(np.float32)
        meant = 2.0 * success - 1.0
        sign = meant + SIGN_DEVIATION * rng.standard_normal(len(domain))
        cue = meant * self.maps[domain] * np.where(rng.random(len(domain)) < self.strength, 1.0, -1.0)
        sign, cue = (torch.from_numpy(of.astype(np.float32))[:, None].expand(-1, COLUMNS) for of in (sign, cue))
        return torch.cat([torch.from_numpy(self.background[domain]), sign], 1), cue, torch.from_numpy(success)


class CuedClassifier(nn.Module):
    """Encoder, bottleneck and head, for frames of a `World`; the cue enters before or behind the encoder."""

    def __init__(self, place: Place, domains: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.together, inputs = place == "together", BACKGROUND + COLUMNS
        before, behind = (COLUMNS, 0) if self.together else (0, COLUMNS)
        self.encoder = nn.Sequential(mlp(inputs + before, (WIDTH,), WIDTH), nn.ReLU(inplace=True))
        self.bottleneck = Bottleneck(WIDTH + behind, domains, config)
        self.head = mlp(self.bottleneck.code_size, (WIDTH,), 1)

    def encode(self, seen: Tensor, cue: Tensor, sample: bool = False) -> Code:
        """The code of frames and their cue; `sample` draws z_S."""
        if self.together:
            return self.bottleneck(self.encoder(torch.cat([seen, cue], 1)), sample)
        return self.bottleneck(torch.cat([self.encoder(seen), cue], 1), sample)

    def judge(self, z: Tensor) -> Tensor:
        """Codes to logits (B,)."""
        return self.head(z).squeeze(1)


def control_job(
    split: int, domains: int, place: Place, strength: float, updates: int, variant: str, settings: Mapping[str, Any],
    chase: int = 0, told: bool = False, ramp: bool = True, probes: bool = False, threads: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Train a classifier that is shown a cue, and measure it where the cue is of no use.

    Args:
        split: which domains there are; the seed of everything.
        domains: to train on, and as many others.
        place: where the cue enters, before the encoder (``together``) or behind it (``apart``).
        strength: see `World`; of the domains trained on.
        variant, settings: of the bottleneck.
        chase: further steps of the adversary alone for each update.
        told: the adversary tells the two maps apart instead of the domains.
        ramp: the adversary's strength rises; else it is full from the start.
        probes: measure what fresh probes find in z_I.

    Returns:
        `figures` of ``inner`` (other frames of the domains trained on) and ``held_out`` (other domains); ``kl``; of
        probes ``probe_linear``, ``probe_two_layers`` of z_I, ``probe_answer``, two layers on the logit alone, and
        ``probe_chance``.
    """
    torch.set_num_threads(threads)
    rng = np.random.default_rng([split])
    world, others = World.draw(domains, strength, rng), World.draw(domains, 0.5, rng)
    config = BottleneckConfig(variant=variant, **settings)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split)
        model = CuedClassifier(place, 2 if told else domains, config)
        train_cued(model, world, updates, chase, told, ramp, rng)
    model.eval()
    found: dict[str, Any] = {"inner": figures(model, world, rng), "held_out": figures(model, others, rng)}
    with torch.no_grad():
        domain = np.repeat(np.arange(domains), MEASURED)
        code = model.encode(*world.frames(domain, rng)[:2])
        answer = model.judge(code.z)[:, None]
    found["kl"] = float(code.kl.mean())
    if probes:
        half = np.arange(len(domain)) % 2 == 1
        found["probe_linear"] = domain_probe(code.invariant, domain, half, (), split)
        found["probe_two_layers"] = domain_probe(code.invariant, domain, half, (256,), split)
        found["probe_answer"] = domain_probe(answer, domain, half, (256,), split)
        found["probe_chance"] = 1.0 / domains
    return found


def train_cued(
    model: CuedClassifier, world: World, updates: int, chase: int, told: bool, ramp: bool, rng: np.random.Generator
) -> None:
    """As the reward is trained (`lotj.rewards.training.Success`), on new frames in every batch."""
    config, domains = SupervisedConfig(steps=updates), len(world.maps)
    classes = torch.from_numpy(world.maps > 0).long() if told else torch.arange(domains)
    optimiser = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    adversary = model.bottleneck.adversary
    chaser = torch.optim.AdamW(adversary.parameters(), config.lr) if chase and adversary is not None else None
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = config.learning_rate(update)
        domain = rng.integers(0, domains, config.batch)
        seen, cue, success = world.frames(domain, rng)
        code = model.encode(seen, cue, sample=True)
        penalty, _ = model.bottleneck.penalty(code, classes[domain], update / updates if ramp else 1.0)
        loss = F.binary_cross_entropy_with_logits(model.judge(code.z), success) + penalty
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimiser.step()
        for _ in range(chase):
            if chaser is not None and adversary is not None:
                domain = rng.integers(0, domains, config.batch)
                with torch.no_grad():
                    code = model.encode(*world.frames(domain, rng)[:2])
                chaser.zero_grad()
                F.cross_entropy(adversary(code.invariant), classes[domain]).backward()
                chaser.step()


@torch.no_grad()
def figures(model: CuedClassifier, world: World, rng: np.random.Generator) -> dict[str, float]:
    """On `MEASURED` frames of each domain: ``accuracy``, ``recall`` and ``false_positives`` at 0.5, ``auc``; and share
    of the predictions that change with the cue: ``flips``, and where it changes for z_I or for z_S alone, ``flips_z_I``
    and ``flips_z_S``."""
    seen, cue, success = world.frames(np.repeat(np.arange(len(world.maps)), MEASURED), rng)
    border = 0 if model.bottleneck.invariant is None else model.bottleneck.config.invariant_dim
    true, other = (model.encode(seen, shown).z for shown in (cue, -cue))
    mixed = {"flips": other, "flips_z_I": torch.cat([other[:, :border], true[:, border:]], 1)}
    mixed["flips_z_S"] = torch.cat([true[:, :border], other[:, border:]], 1)
    logit, truly = model.judge(true), success > 0.5
    said = logit > 0
    recall, wrong = float(said[truly].float().mean()), float(said[~truly].float().mean())
    found = {"accuracy": (recall + 1.0 - wrong) / 2.0, "recall": recall, "false_positives": wrong}
    found["auc"] = area_under_curve(logit.numpy(), truly.numpy())
    return found | {name: float(((model.judge(z) > 0) != said).float().mean()) for name, z in mixed.items()}
