"""What VAL and PTP learn before any reinforcement learning, codes, proposals and subgoals, and the gates these must
pass: tables and pictures that say whether practice on them can work at all."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor, nn

from lotj.data.pictures import figure_png
from lotj.data.store import DiskStore, Store
from lotj.envs.table_tasks import ABSENT, reached
from lotj.errors import DataError
from lotj.experiments.study import begun
from lotj.goals.codes import CodeEncoder, CodeGenerator
from lotj.goals.encoder import Latent
from lotj.goals.judge import Regressor
from lotj.goals.pixelcnn_proposer import Banked, PixelCNNProposer
from lotj.goals.planner import Chain, Midpoint, PlanConfig, Step, SubgoalPlanner, Unconditional, Value
from lotj.goals.sparse import Calibration, calibrate, check, distance
from lotj.nets.pixelcnn import PixelCNN, PixelCNNConfig
from lotj.nets.subgoal_cvae import SubgoalConfig, SubgoalCVAE
from lotj.nets.vq_vae import VQVAE, VQVAEConfig
from lotj.runs import Run
from lotj.training.coded import CodedStore
from lotj.training.encoders import MODELS, Draw, Modeller, ModelTraining, load_encoder, pairs, picture_model
from lotj.training.loop import means

GAPS: Mapping[str, tuple[int, int, int]] = {"gap15": (10, 15, 3), "gap30": (20, 30, 2)}
"""Generator -> least and most steps between the states of a pair, and pairs to a chain (PTP's code)."""

ENDS = 10
"""The coarsest generator goes from one of so many first frames to one of so many last ones: from start to end, not 60
steps (PTP's code)."""

CONTEXTS = {"gap60": 1, "gap30": 1, "gap15": 1, "unconditional": 0, "midpoint": 2}
PLANS: Mapping[str, Callable[[Mapping[str, Any]], list[Step]]] = {
    "none": lambda of: [],
    "flat": lambda of: [Chain(of["gap15"], 8)],
    "hierarchical": lambda of: [Chain(of[name]) for name in ("gap60", "gap30", "gap15")],
    "unconditional": lambda of: [Unconditional(of["unconditional"], 8)],
    "midpoint": lambda of: [Midpoint(of["midpoint"])] * 3,
}
"""Name -> levels of a planner; "-buffer" behind it remembers earlier plans."""

SIZED: Mapping[str, dict[str, Any]] = {
    "vae": {"size": 32, "places": False}, "cc-vae": {"size": 16, "context_size": 32, "places": False},
}  # fmt: skip
"""Of models of pictures: a table holds much more than a puck, and other colours in each scene."""

VQ, DRAWN, CHAINED = VQVAEConfig(), PixelCNNConfig(), SubgoalConfig()
"""Settings of the models of codes."""

BATCH, BANK = 64, 8
SHOWN, PLANNED = 8, 3
"""Held-out scenes in the gates' picture, and those of them that are planned in."""

JUDGED, EACH, LEARNT = 32, 8, 8000
"""Held-out scenes in which draws are judged, draws in each, and true frames of each kind that the judge learns from."""

HEIGHTS = [5, 8]
"""Where `lotj.envs.table_tasks.things` has the heights of the small and the large object."""


@dataclass(frozen=True)
class Codes:
    """The trained models of a run of `represent_job`."""

    run: Run
    device: str = "cpu"

    @cached_property
    def encoder(self) -> CodeEncoder:
        """Of images."""
        return CodeEncoder(self._restored("codebook", VQVAE(VQ)), self.device)

    @property
    def eps(self) -> float:
        """Calibrated on the prior data."""
        return float(self.run.load("eps")["eps"])

    def proposer(self, bank: int) -> PixelCNNProposer:
        """The PixelCNN, with so many draws for each scene."""
        return PixelCNNProposer(self._restored("pixelcnn", pixelcnn()), self.encoder, bank)

    def coded(self, store: Store) -> CodedStore:
        """The prior data, encoded once for all who learn."""
        return CodedStore(store, self.encoder, self.run.load("numbers")["numbers"].numpy().astype(np.uint16))

    def known_proposer(self, coded: CodedStore) -> PixelCNNProposer | None:
        """The PixelCNN, if there is one, with `BANK` draws for each scene of the prior data, which were drawn once for
        all who learn."""
        if not self.run.has("bank"):
            return None
        made = self.proposer(BANK)
        made.keep(coded.firsts, self.run.load("bank")["numbers"].numpy().astype(np.uint16))
        return made

    def redrawn(self, name: str, first: Callable[[], np.ndarray], bank: int) -> Redrawn:
        """What the model ``vae`` or ``cc-vae`` draws, as codes of the VQ-VAE; see `Redrawn`."""
        return Redrawn(load_encoder(self.run, self.device, name), self.encoder, first, bank)

    def planner(self, name: str, config: PlanConfig, seed: int) -> SubgoalPlanner:
        """One of `PLANS`."""
        known = [name for name in CONTEXTS if self.run.has(name)]
        made = {name: CodeGenerator(self._restored(name, subgoals(name)), self.encoder) for name in known}
        return SubgoalPlanner(PLANS[name](made), config, np.random.default_rng([seed, 7]))

    def _restored(self, name: str, model: Any) -> Any:
        model.load_state_dict(self.run.load(name, self.device)["agent"]["model"])
        return model


class Redrawn(Banked):
    """Goals of another model, decoded to pictures and encoded again, so that proposers can be compared on one agent.

    Args:
        latent: the model.
        encoder, bank: see `Banked`.
        first: says the first picture (1, H, W, 3) of the running episode, which the model wants to see and not what the
            codes make of it. So a scene's draws are made as its episode begins.
    """

    def __init__(self, latent: Latent, encoder: CodeEncoder, first: Callable[[], np.ndarray], bank: int) -> None:
        super().__init__(encoder, bank)
        self._latent, self._first = latent, first

    def _drawn(self, contexts: np.ndarray, seed: int) -> np.ndarray:
        first = self._first()
        if not np.array_equal(self._encoder.context(first), contexts):
            raise DataError("goals of a scene that has not begun: reset its episode before")
        z = self._latent.draw(self._bank, np.random.default_rng(seed))
        shown = self._latent.decode(z, self._latent.context(first))
        return self._encoder.numbers(self._encoder.encode(shown))[None]


def pixelcnn() -> PixelCNN:
    """Untrained, for the codes of the laptop's VQ-VAE."""
    return PixelCNN(DRAWN, VQ.codes, VQ.embedding, VQ.cells)


def subgoals(name: str) -> SubgoalCVAE:
    """One of `CONTEXTS`, untrained."""
    return SubgoalCVAE(CHAINED, VQ.embedding, VQ.cells, CONTEXTS[name])


def represent_job(
    data: str, held_out: str, folder: str, models: Sequence[str], updates: Mapping[str, int], seed: int = 0,
    threads: int = 1, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Trains what a chapter needs of VQ-VAE, PixelCNN and generators of subgoals; what its folder holds is not trained
    again.

    Args:
        data, held_out: prior data, and episodes of things that are not among them, for the gates alone.
        models: ``pixelcnn`` or of `CONTEXTS`.
        updates: of ``vq``, ``pixelcnn`` and ``subgoals``.

    Returns:
        The gates, see `gates`, and the losses of each model at its end, and its ``updates_per_second``.
    """
    torch.set_num_threads(threads)
    run = begun(Path(folder), "codes") or Run.create(Path(folder), "codes", {"models": [*models]}, seed)
    codes, store, unseen = Codes(run, device), DiskStore.open(Path(data)), DiskStore.open(Path(held_out))
    told: dict[str, Any] = {}

    def learn(name: str, model: nn.Module, draw: Draw, config: Any, losses: Any = None, **made_with: Any) -> None:
        training = ModelTraining(updates.get(name, updates.get("subgoals", 0)), **config)
        Modeller(model, training, seed, device, losses).learn(draw, run, name, **made_with)
        last = means(run.metrics(name)[-3:])
        told[name] = {key: value for key, value in last.items() if key not in ("step", "time")}

    seen = pairs(store, BATCH, device)
    torch.manual_seed(seed)  # whatever this process has drawn before: weights begin by the seed alone
    vq = VQVAE(VQ)
    learn("vq", vq, seen, {"lr": VQ.lr, "clip": 1.0})
    vq.rescale(pairs(store, 512, device)(np.random.default_rng(0))[0])
    run.save("codebook", {"agent": {"model": vq.state_dict()}})
    coded = CodedStore(store, codes.encoder)
    if not run.has("numbers"):
        run.save("numbers", {"numbers": torch.from_numpy(coded.numbers.astype(np.int16))})
    draws = Draws(coded, codes.encoder)
    for name in models:
        torch.manual_seed(seed)
        if name in MODELS:
            settings = SIZED[name]
            learn(name, picture_model(name, settings, seed), seen, {}, kind=name, settings=settings)
        elif name == "pixelcnn":
            clipped = {"lr": DRAWN.lr, "clip": 1.0}
            learn(name, pixelcnn(), draws.outcome, clipped)
        else:
            model = subgoals(name)
            chained = partial(model.losses, quantise=codes.encoder.model.quantise)
            learn(name, model, draws.of(name), {"lr": CHAINED.lr, "clip": 1.0}, chained)
    if "pixelcnn" in models and not run.has("bank"):
        proposer, firsts = codes.proposer(BANK), coded.firsts
        proposer.prepare(firsts)
        run.save("bank", {"numbers": torch.from_numpy(proposer.banks(firsts).astype(np.int32))})
    found = gates(codes, coded, CodedStore(unseen, codes.encoder), unseen)
    return {"models": told, **found, **({"valid": validity(codes, store, unseen)} if "pixelcnn" in models else {})}


class Draws:
    """Batches of maps for the models, of coded episodes."""

    def __init__(self, coded: CodedStore, encoder: CodeEncoder) -> None:
        self._coded, self._encoder = coded, encoder
        self._first, self._last = coded.episodes["first_frame"].astype(np.int64), coded.last_frames

    def outcome(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Numbers of any later frame (VAL's formula and code; its prose says the last), and the map of the first of its
        episode."""
        episode = rng.integers(len(self._first), size=BATCH)
        first, end = self._first[episode], self._last[episode]
        frame = rng.integers(first + 1, end + 1)
        numbers = torch.as_tensor(self._coded.numbers[frame].astype(np.int64), device=self._encoder.device)
        return numbers, self._maps(first)

    def of(self, name: str) -> Callable[[np.random.Generator], tuple[Tensor, ...]]:
        """What draws the context and what comes after it, of one of `CONTEXTS`."""

        def draw(rng: np.random.Generator) -> tuple[Tensor, ...]:
            episode = rng.integers(len(self._first), size=BATCH)
            first, end = self._first[episode], self._last[episode]
            if name == "unconditional":
                maps = self._maps(rng.integers(first, end + 1))
                return maps[:, :0], maps
            if name == "gap60":
                early = rng.integers(first, np.minimum(first + ENDS, end + 1))
                return self._maps(early), self._maps(rng.integers(np.maximum(end + 1 - ENDS, first), end + 1))
            if name == "midpoint":
                a, b = np.sort(rng.integers(first, end + 1, (2, BATCH)), 0)
                return torch.cat([self._maps(a), self._maps(b)], 1), self._maps((a + b) // 2)
            least, most, count = GAPS[name]
            frames = [rng.integers(first, end + 1)]
            for _ in range(count):
                frames.append(np.minimum(frames[-1] + rng.integers(least, most + 1, BATCH), end))
            return tuple(self._maps(frame) for frame in frames)

        return draw

    def _maps(self, frames: np.ndarray) -> Tensor:
        return self._encoder.maps(self._coded.observe(frames, ["code"])["code"])


# Gates


def gaps(coded: CodedStore, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of pairs of frames of an episode, drawn evenly, (N,) each: the distance of their codes, whether all things are
    where they were to `reached`, and how far the furthest of them was moved [m]."""
    rng = np.random.default_rng(seed)
    episode = rng.integers(len(coded), size=count)
    first, last = coded.episodes["first_frame"][episode].astype(np.int64), coded.last_frames[episode]
    a, b = np.sort(rng.integers(first, last + 1, (2, count)), 0)
    things = coded.truth("things")
    same = np.asarray(reached(things[a], things[b]).all(1))
    seen = coded.observe(np.concatenate([a, b]), ["code"])["code"]
    off = np.abs(things[a] - things[b])[:, [0, 1, 3, 4, 5, 6, 7, 8]].max(1)
    return distance(seen[:count], seen[count:]), same, off


def gates(codes: Codes, coded: CodedStore, unseen: CodedStore, pictures: Store) -> dict[str, Any]:
    """``reconstruction``: mean squared error of held-out pictures, over all pixels and over those that change in their
    episode, as a share of their variance, and the latter as a share of the VAE's, if there is one; ``rank``: Spearman's
    correlation of distances of codes and of things, over pairs of held-out frames; ``reward``: the calibration on prior
    data, and what its eps does on the held-out; ``proposals`` and ``plans``, as far as there are models; ``picture``, a
    PNG in base64."""
    found: dict[str, Any] = {"reconstruction": (rebuilt := _reconstruction(codes.encoder, pictures))}
    if codes.run.has("vae"):
        other = _reconstruction(load_encoder(codes.run, codes.device, "vae"), pictures)
        rebuilt["of_vae"] = rebuilt["changing"] / other["changing"]
    far, same, _ = gaps(coded, 4000)
    calibration = calibrate(far[same], far[~same])
    codes.run.save("eps", {"eps": calibration.eps})
    far, same, off = gaps(unseen, 4000, seed=1)
    held: Calibration = check(far[same], far[~same], calibration.eps)
    found["rank"] = float(np.asarray(stats.spearmanr(far, off)[0]))
    found["reward"] = {"prior": calibration.to_json(), "held_out": held.to_json(), "same": float(same.mean())}
    firsts = unseen.observe(unseen.episodes["first_frame"][:SHOWN].astype(np.int64), ["code"])["code"]
    ends = unseen.observe(unseen.last_frames[:SHOWN], ["code"])["code"]
    rows = [("first frame", codes.encoder.decode(firsts)), ("last frame", codes.encoder.decode(ends))]
    if codes.run.has("pixelcnn"):
        proposer, rng = codes.proposer(16), np.random.default_rng(0)
        began = time.perf_counter()
        proposer.prepare(firsts)
        seconds = (time.perf_counter() - began) / (16 * len(firsts))
        drawn = np.stack([proposer.propose(first, 16, rng) for first in firsts])
        found["proposals"] = {"seconds": seconds, **_likeness(codes, drawn, firsts)}
        rows += [(f"proposal {n + 1}", codes.encoder.decode(drawn[:, n])) for n in range(3)]
    for name in ("flat", "hierarchical") if codes.run.has("gap60") else ():
        # The value is not learnt yet: minus the distance in units of eps stands for it.
        value: Value = lambda states, goals: -distance(states, goals) / calibration.eps  # noqa: E731
        planner, began = codes.planner(name, PlanConfig(), 0), time.perf_counter()
        plans = np.stack([planner.plan(a, b, value) for a, b in zip(firsts[:PLANNED], ends, strict=False)])
        seconds = (time.perf_counter() - began) / len(plans)
        likeness = _likeness(codes, plans[:, :-1], firsts[:PLANNED])
        found.setdefault("plans", {})[name] = {"seconds": seconds, "cost": float(planner.cost.sum()), **likeness}
        rows += [(f"{name}, {n + 1}", codes.encoder.decode(plans[:, n])) for n in range(7)]
    return found | {"eps": calibration.eps, "picture": _picture(rows)}


def validity(codes: Codes, data: Store, pictures: Store) -> dict[str, float]:
    """Of the pictures that each model draws in held-out scenes, the share which a judge finds to be an outcome: the
    scene's small and large object are there or not, as in its first frame, something is elsewhere than in that, and all
    is where things can be.

    The judge (`Regressor`) has learnt from the truth of prior data and of other held-out episodes; it looks at first
    frames, too, so that its own faults do not count as a change. ``seen``: the same share of later true frames of the
    scenes; ``judge``: of these, where it is right about whether something has changed.
    """
    rng, starts = np.random.default_rng(0), pictures.episodes["first_frame"].astype(np.int64)
    scenes = min(JUDGED, len(starts) // 2)
    both = [(data, data.n_frames), (pictures, int(starts[-scenes]))]
    rows = [rng.integers(last, size=min(LEARNT, last)) for _, last in both]
    shown = [store.observe(some, ["image"])["image"][:, 0] for (store, _), some in zip(both, rows, strict=True)]
    truth = np.concatenate([store.truth("things")[some] for (store, _), some in zip(both, rows, strict=True)])
    judge = Regressor(np.concatenate(shown), truth, min(1500, len(truth)), 0)
    margin = 0.05 * np.ptp(truth, 0) + 1e-3
    first = starts[-scenes:].repeat(EACH)
    later = rng.integers(first + 1, pictures.last_frames[-scenes:].repeat(EACH) + 1)
    before, after = (pictures.observe(at, ["image"])["image"][:, 0] for at in (first, later))
    things, said = pictures.truth("things"), judge(before)
    contexts = codes.encoder.context(before[::EACH])
    proposer = codes.proposer(EACH)
    proposer.prepare(contexts)
    drawn = proposer.banks(contexts).reshape(len(first), *codes.encoder.shape[1:])
    made = {"seen": after, "pixelcnn": codes.encoder.decode(codes.encoder.look_up(drawn))}
    for name in filter(codes.run.has, MODELS):
        latent = load_encoder(codes.run, codes.device, name)
        made[name] = latent.decode(latent.draw(len(first), rng), latent.context(before))
    found = {}
    for name, images in made.items():
        told = judge(images)
        there = ((told[:, HEIGHTS] > ABSENT / 2) == (things[first][:, HEIGHTS] > ABSENT / 2)).all(1)
        can = ((told > truth.min(0) - margin) & (told < truth.max(0) + margin)).all(1)
        changed = ~reached(told, said).all(1)
        found[name] = float((there & can & changed).mean())
        if name == "seen":
            found["judge"] = float((changed == ~reached(things[later], things[first]).all(1)).mean())
    return found | {f"over_{name}": found["pixelcnn"] - found[name] for name in MODELS if name in found}


def _likeness(codes: Codes, made: np.ndarray, firsts: np.ndarray) -> dict[str, float]:
    """Of made codes (S, N, D) in scenes with first codes (S, D): the share that, decoded and encoded again, are within
    eps of themselves (others are no codes of a picture), and that further than eps from the scene's first."""
    flat = made.reshape(-1, made.shape[-1])
    again = codes.encoder.encode(codes.encoder.decode(flat))
    moved = distance(made, firsts[:, None]).ravel() > codes.eps
    return {"consistent": float((distance(flat, again) <= codes.eps).mean()), "changed": float(moved.mean())}


def _reconstruction(encoder: Latent, pictures: Store) -> dict[str, float]:
    errors: list[tuple[float, float]] = []
    for row in pictures.episodes[:20]:
        frames = row["first_frame"] + np.linspace(0, row["n_frames"] - 1, 12).astype(np.int64)
        images = pictures.observe(frames, ["image"])["image"][:, 0]
        made = encoder.decode(encoder.encode(images)) / 255.0
        true = images / 255.0
        change = np.abs(true - np.median(true, 0)).max(-1) > 0.1
        error, spread = np.square(made - true), np.square(true - true.mean(0))
        errors.append((float(error.sum() / spread.sum()), float(error[change].sum() / max(spread[change].sum(), 1e-9))))
    whole, changing = np.mean(errors, 0)
    return {"all": float(whole), "changing": float(changing)}


def _picture(rows: Sequence[tuple[str, np.ndarray]]) -> str:
    """Rows of (8, H, W, 3) pictures with their names, as a PNG in base64."""
    figure = Figure((7.0, 0.85 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for place, (name, images) in zip(axes, rows, strict=True):
        place.imshow(np.concatenate([*images], 1))
        place.set(xticks=[], yticks=[], xlim=(0, SHOWN * images.shape[2]))
        place.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
    return base64.b64encode(figure_png(figure, 100)).decode()
