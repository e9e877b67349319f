"""Offline meta-reinforcement learning with demonstration adaptation (ODA, Zhao et al. 2022)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lotj.distributed import Job
from lotj.evaluation.statistics import sign_flip
from lotj.experiments.chapter import Chapter, collect_job, learn_job
from lotj.experiments.chapters.ddpg_demos import CLONING
from lotj.experiments.claims import success_rate
from lotj.experiments.meta import adapt_job, merge_job, meta_job
from lotj.experiments.study import Asked, page
from lotj.experiments.tables import markdown, mean_words

TRAIN = (
    "usb-a",
    "lego-2x4",
    "rj45",
    "d-sub-de-9",
    "din-5",
    "hdmi-a",
    "usb-c",
    "m12-a-5",
    "dc-5-5x2-1",
    "xt60",
    "mini-fit-jr-6",
)
"""In this order for fewer of them. None is of the mains, a peg or a DT."""

TEST = ("nema-14-30", "peg-rect-16x10", "peg-round-12", "bs-1363", "deutsch-dt-4", "peg-square-12", "deutsch-dt-3")
HELD_OUT = ("nema-5-15", "europlug")
"""Test connectors of *Learning on the Job*: tried by this chapter's one final run alone."""

CHALLENGE = ("ddr4-dimm", "complex-key")
OPTIONS = "start=far,goal_error=1,step_mm=2.5"
AGENTS: Mapping[str, Mapping[str, Any]] = {
    "oda": {"advantage_scale": 20.0},
    "awac": {"advantage_scale": 20.0},
    "ddpg": {},
}
PRACTICE = {"updates_per_step": 1, "warmup_trials": 2, "exploration_noise": 0.05}
UPDATES, EPISODES, DEMOS, TRIALS = 20_000, 300, 20, 150


class MetaChapter(Chapter):
    """Trains on the data of eleven parts, tells by demonstrations of each other part what it is, and practises."""

    def jobs(self, asked: Asked) -> list[Job]:
        size, root = self.size, asked.runs / self.name
        new = (*TEST, *HELD_OUT, *CHALLENGE)
        made = [_demos(part, root) for part in (*TRAIN, *new)]
        made += [_scratch(part, 0, size.share, size.evaluation_trials, root, asked) for part in TRAIN]
        made.append(_merged("data", TRAIN, root))
        made.append(_merged("data-and-demos", TRAIN, root, new))
        for agent, seed in itertools.product(AGENTS, range(size.seeds)):
            data = "data-and-demos" if agent == "awac" else "data"
            folder = root / f"meta-{agent}-{seed}"
            arguments = {"agent": agent, "settings": dict(AGENTS[agent]), "data": str(root / data), "seed": seed}
            arguments |= {"updates": round(size.share * UPDATES), "folder": str(folder)}
            made.append(Job(folder.name, meta_job, arguments, (data,), asked.machine, folder))
            for place, part in enumerate(new):
                trials = round(size.share * TRIALS) if agent != "ddpg" else 0
                made.append(_adapt(agent, part, new[place - 1], seed, trials, size.evaluation_trials, root, asked))
        for part, seed in itertools.product(new, range(size.seeds)):
            made.append(_scratch(part, seed, size.share, size.evaluation_trials, root, asked))
        return made

    def files(self, results: Mapping[str, Any]) -> dict[str, bytes]:
        def done(who: str, part: str) -> list[Mapping[str, Any]]:
            return [results[name] for seed in range(self.size.seeds) if (name := f"{who}-{part}-{seed}") in results]

        rows, gaps = [], []
        for part in (*TEST, *HELD_OUT, *CHALLENGE):
            cells = [[success_rate(one["curve"][place]) for one in done(who, part)] for who, place in _COLUMNS.values()]
            told = [[success_rate(one["told"][by]) for one in done("oda", part)] for by in _TOLD]
            solved = [", ".join(str(one["solved"] or "-") for one in done(who, part)) or "-" for who in ("oda", "awac")]
            rows.append([part, *map(mean_words, [*cells, *told]), *solved])
            if part not in CHALLENGE and cells[0] and cells[1]:
                gaps.append(float(np.mean(cells[0]) - np.mean(cells[1])))
        head = ["part", *_COLUMNS, *(f"ODA, told {by}" for by in _TOLD), "ODA solved after", "AWAC solved after"]
        words = f"ODA over AWAC before practice: {mean_words(gaps)} points over {len(gaps)} parts"
        return {"table.md": page(self.title, [markdown(head, rows), f"{words}; p {sign_flip(gaps):.2g}.\n"], results)}


_COLUMNS = {
    "ODA, told": ("oda", 0),
    "AWAC, shared": ("awac", 0),
    "DDPG, offline": ("ddpg", 0),
    "ODA, practised": ("oda", -1),
    "AWAC, practised": ("awac", -1),
    "DDPG from demonstrations": ("scratch", -1),
}
"""Title -> whose jobs, and which point of their curves."""

_TOLD = ("nothing", "another part")


def _task(part: str) -> str:
    return f"force-insertion/{part},{OPTIONS}"


def _demos(part: str, root: Path) -> Job:
    folder = root / f"demos-{part}"
    arguments = {"task": _task(part), "folder": str(folder), "count": DEMOS, "recipe": "human"}
    return Job(folder.name, collect_job, arguments, (), {}, folder)


def _scratch(part: str, seed: int, share: float, trials: int, root: Path, asked: Asked) -> Job:
    """DDPG from demonstrations; of the training parts its trials are the prior data."""
    folder = root / f"scratch-{part}-{seed}"
    arguments: dict[str, Any] = {"task": _task(part), "evaluated": _task(part), "seed": seed, "agent": "ddpg"}
    arguments |= {"settings": {**CLONING, "hidden": (256, 256)}, "online": {}, "updates": 0, "share": 0.3}
    arguments |= {"data": str(root / f"demos-{part}" / "data"), "folder": str(folder), "practice": PRACTICE}
    arguments |= {"trials": max(4, round(share * EPISODES)), "points": []}
    arguments["evaluation_trials"] = trials
    return Job(folder.name, learn_job, arguments, (f"demos-{part}",), asked.machine, folder)


def _merged(name: str, parts: tuple[str, ...], root: Path, more: tuple[str, ...] = ()) -> Job:
    demos, practised = [f"demos-{part}" for part in (*parts, *more)], [f"scratch-{part}-0" for part in parts]
    arguments = {"demos": [str(root / one) for one in demos], "practised": [str(root / one) for one in practised]}
    return Job(name, merge_job, arguments | {"folder": str(root / name)}, (*demos, *practised), {}, root / name)


def _adapt(agent: str, part: str, other: str, seed: int, trials: int, tested: int, root: Path, asked: Asked) -> Job:
    folder, needs = root / f"{agent}-{part}-{seed}", (f"meta-{agent}-{seed}", f"demos-{part}", f"demos-{other}")
    trained, demos, others = (str(root / need) for need in needs)
    arguments = {"task": _task(part), "agent": agent, "trained": trained, "demos": demos, "other": others, "seed": seed}
    arguments |= {"trials": trials, "points": [], "evaluation_trials": tested, "practice_settings": PRACTICE}
    return Job(folder.name, adapt_job, arguments | {"folder": str(folder)}, needs, asked.machine, folder)


CHAPTER = MetaChapter("oda", "Offline meta-reinforcement learning with demonstrations", (), ())
