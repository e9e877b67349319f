"""What codes and decoded goals hold, judged by the truth of a simulator: for evaluation alone, never in practice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import nn

from lotj.goals.encoder import Latent, pixels
from lotj.nets.vae import convolutions

MATCH = 0.2
"""Largest difference of a colour, root mean square over red, green and blue from 0 to 1, that counts as the same."""
CHANGED = 0.1
"""A pixel has changed where a channel differs by more, of 1."""

SAME = 1e-4
"""What deviates less is the same in all scenes, and nothing can be said of how well it is read."""


@dataclass(frozen=True)
class Scenes:
    """N frames with what is true of them: `images` and `first` (N, 48, 48, 3) uint8, the first of each one's episode;
    `places` (N, P), hand first; `colour` (N, 3) of the object."""

    images: np.ndarray
    first: np.ndarray
    places: np.ndarray
    colour: np.ndarray


class Regressor:
    """What is true of pictures (N, 48, 48, 3) uint8, P numbers each; learnt from (N, P) of true ones."""

    def __init__(self, images: np.ndarray, truth: np.ndarray, steps: int = 600, seed: int = 0) -> None:
        truth = truth.astype(np.float32)
        self._mean, self._scale = truth.mean(0), truth.std(0) + 1e-6
        torch.manual_seed(seed)
        self._net = nn.Sequential(convolutions(3), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, truth.shape[1]))
        optimiser, rng = torch.optim.Adam(self._net.parameters(), 1e-3), np.random.default_rng(seed)
        wanted = torch.from_numpy((truth - self._mean) / self._scale)
        for _ in range(steps):
            rows = rng.integers(len(truth), size=64)
            loss = (self._net(pixels(images[rows])) - wanted[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self._net.eval()

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, P) of pictures."""
        return self._net(pixels(images)).numpy() * self._scale + self._mean


def reconstruction(encoder: Latent, scenes: Scenes) -> dict[str, float]:
    """Mean squared error of decoded frames, pixels from 0 to 1: of all pixels, and of those that have changed since the
    first frame (hand and object, where they were and are), beside that of showing the first frame there."""
    decoded = encoder.decode(encoder.encode(scenes.images, scenes.first), encoder.context(scenes.first))
    true, shown, first = (array.astype(np.float32) / 255 for array in (scenes.images, decoded, scenes.first))
    changed = np.abs(true - first).max(-1) > CHANGED
    error, still = np.square(true - shown).mean(-1), np.square(true - first).mean(-1)
    of_changed = (float(values[changed].mean()) if changed.any() else 0.0 for values in (error, still))
    return dict(zip(("mse", "mse_changed", "mse_changed_first"), (float(error.mean()), *of_changed), strict=True))


def ranks(encoder: Latent, here: Scenes, there: Scenes) -> dict[str, float]:
    """Spearman's correlation of latent with true distance, from frames to others of the same scenes: of all places, of
    the hand's and of the objects' alone."""
    codes = [encoder.encode(scenes.images, here.first) for scenes in (here, there)]
    apart = np.linalg.norm(codes[0] - codes[1], axis=1)
    gaps = np.linalg.norm((here.places - there.places).reshape(len(apart), -1, 2), axis=2)
    parts = {"rank": gaps.mean(1), "rank_hand": gaps[:, 0]}
    parts |= {"rank_object": gaps[:, 1:].mean(1)} if gaps.shape[1] > 1 else {}
    return {name: float(np.asarray(stats.spearmanr(apart, gap))[0]) for name, gap in parts.items()}


def samples(encoder: Latent, scenes: Scenes) -> dict[str, float]:
    """Goals from the prior, decoded in the scenes: share whose object has the scene's colour (and that of frames that
    are decoded from their own codes); mean distance of a code from that of its own picture, as a share of that from the
    mean code."""
    rng = np.random.default_rng(0)
    drawn, context = encoder.draw(len(scenes.first), rng), encoder.context(scenes.first)
    pictures, own = encoder.decode(drawn, context), encoder.decode(encoder.encode(scenes.images, scenes.first), context)
    told = {}
    if scenes.colour.std(0).min() >= SAME:
        judge = Regressor(scenes.images, scenes.colour, min(600, 3 * len(scenes.first)), 0)
        for name, shown in (("same_colour", pictures), ("same_colour_own", own)):
            off = np.sqrt(np.square(judge(shown) - scenes.colour).mean(1))
            told[name] = float((off < MATCH).mean())
    again = encoder.encode(pictures, scenes.first)
    off, spread = (np.linalg.norm(drawn - other, axis=1).mean() for other in (again, drawn.mean(0)))
    return {**told, "round_trip": float(off / spread)}


def probes(encoder: Latent, scenes: Scenes) -> dict[str, float]:
    """R^2 of ridge regressions on the second half of the frames, learnt on the first: places and colour, from codes and
    from context codes."""
    codes = {"code": encoder.encode(scenes.images, scenes.first)}
    codes |= {"context": encoder.context(scenes.first)} if encoder.needs_context else {}
    told, half = {}, len(scenes.images) // 2
    for name, code in codes.items():
        inputs = np.hstack([code, np.square(code), np.ones((len(code), 1))]).astype(float)
        for what, wanted in (("places", scenes.places), ("colour", scenes.colour)):
            if wanted.std(0).min() < SAME:
                continue
            a, y = inputs[:half], wanted[:half].astype(float)
            found = inputs[half:] @ np.linalg.solve(a.T @ a + 1e-3 * np.eye(a.shape[1]), a.T @ y)
            left = np.square(found - wanted[half:]).sum() / np.square(wanted[half:] - wanted[:half].mean(0)).sum()
            told[f"{what}_from_{name}"] = float(1.0 - left)
    return told
