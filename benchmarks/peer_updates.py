r"""Updates a second of IQL from images: lotj's and d3rlpy's, in turns in one run.

    python benchmarks/peer_updates.py --d3rlpy-python .cache/peers/d3rlpy/bin/python \
        --out results/benchmarks/peer_updates.json

How to make d3rlpy's Python: benchmarks/peers/README.md. Same image encoder (lotj's class in both), same pixels, batch,
actions and threads, one process each. What differs is said in `differs`. lotj's ways:

- `offline`: images, every row of which trains the policy, as d3rlpy's do;
- `offline policy share`: as in pretraining, where the policy learns from the preset's share of rows alone;
- `offline single precision`: the same as `offline` without bf16, which shows what the number format brings;
- `practice`: cached features of frozen convolutions, drawn as in practice.

d3rlpy has no cached features: `practice` is compared with its updates from images at practice's batch. `vectors
practice` are its updates of the same heads from ready vectors, for whoever caches features with other means.

Updates are timed alone; what drawing the batch takes is reported beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report
from turns import Worker, peer_python, spread, take_turns

from lotj.experiments.presets import Preset, find_preset

DIFFERS = [
    "lotj: one encoder for V and both Q, another for the policy; d3rlpy: one each for V, the policy and both Q",
    "lotj: each image passes each encoder once; d3rlpy passes them again for the policy's weights",
    "lotj: bf16 where the processor is fast at it; d3rlpy: single precision",
    "lotj besides: augmentation of all images, bottleneck with domain adversary, gradient clipping; in practice Q's "
    "gradient to the policy",
    "d3rlpy: optimiser steps one after the other, at the weights so far; lotj: one step on the sum of losses",
]
PAIRS = {
    "offline": ("offline", "images", 3.0),
    "offline policy share": ("offline policy share", "images", 3.0),
    "offline single precision": ("offline single precision", "images", None),
    "practice": ("practice", "images practice", 20.0),
    "practice against vectors": ("practice", "vectors practice", None),
}
"""Name of a comparison -> lotj's way, d3rlpy's, and how many times as fast lotj shall be."""

COUNTS = {"offline": 6, "offline policy share": 6, "offline single precision": 4, "practice": 60}
PEER_COUNTS = {"images": 2, "images practice": 1, "vectors practice": 60}
"""Updates in a round."""


def peer_settings(preset: Preset, threads: int) -> dict[str, Any]:
    """What d3rlpy's side is made with."""
    iql = preset.iql
    return {
        "encoder": dataclasses.asdict(preset.front.resnet),
        "channels": preset.front.feature_channels,
        "image_size": preset.collect.image_size,
        "actor_hidden": list(iql.hidden),
        "critic_hidden": [iql.critic_projection, iql.critic_hidden, iql.critic_hidden],
        "batch": preset.pretrain.batch,
        "practice_batch": preset.practice.batch_size,
        "threads": threads,
    }


def measure(options: argparse.Namespace, preset: Preset) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each process is, and the rounds of each way."""
    python = peer_python(options.d3rlpy_python, "d3rlpy")
    spin = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "20000")}  # as the command does, see `lotj.cli.main`
    with ExitStack() as stack:
        settings = {"preset": preset.name, "threads": options.threads}
        ours = stack.enter_context(Worker(Path(sys.executable), "lotj_iql.py", settings, spin))
        peer = stack.enter_context(Worker(python, "d3rlpy_iql.py", peer_settings(preset, options.threads)))
        workers = {way: ours for way in COUNTS} | {way: peer for way in PEER_COUNTS}
        counts = COUNTS | PEER_COUNTS
        take_turns(workers, {way: {"way": way, "count": 1} for way in workers}, 1)  # warm-up
        found = take_turns(workers, {way: {"way": way, "count": counts[way]} for way in workers}, options.repeats)
        return {"lotj": ours.about, "d3rlpy": peer.about}, found


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d3rlpy-python", type=Path, required=True)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    preset = find_preset(options.preset)
    about, found = measure(options, preset)
    rates = {way: [r["count"] / r["update_s"] for r in rounds] for way, rounds in found.items()}
    draws = {way: round(float(np.median([1e3 * r["draw_s"] / r["count"] for r in found[way]])), 2) for way in found}
    result = {
        "cores": os.cpu_count(),
        "repeats": options.repeats,
        "batch": {"offline": preset.pretrain.batch, "practice": preset.practice.batch_size},
        "image_size": preset.collect.image_size,
        "differs": DIFFERS,
        "ratio": {
            name: {"target": target, **spread(np.divide(rates[ours], rates[peer]).tolist(), 2)}
            for name, (ours, peer, target) in PAIRS.items()
        },
        "updates_per_s": {
            "lotj": {way: spread(rates[way]) for way in COUNTS},
            "d3rlpy": {way: spread(rates[way]) for way in PEER_COUNTS},
        },
        "draw_ms": {"lotj": {way: draws[way] for way in COUNTS}, "d3rlpy": {way: draws[way] for way in PEER_COUNTS}},
        "about": about,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
