"""What a data set holds, and whether it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lotj.data import layout
from lotj.data.dataset import Dataset
from lotj.errors import DataError
from lotj.experience import KINDS, SCENARIOS

LEGEND = """
domain: a connector in a robot's gripper, with one setting of camera and light
near, far: start up to 10 mm, or 10 to 20 mm, beside the socket
expert: scripted insertion; recover: the expert goes on after a wrong press
press, withdraw, half: made wrong: pressed beside, pulled out, stopped half-way
3/4: of 4 episodes, 3 ended with the plug seated; success: share of all
steps: mean length of an episode; lost: discarded (the plug slipped)"""
"""What the words of `describe` mean, in lines that fit a terminal of 80 columns."""


Grouping = Literal["family", "connector", "domain"]
"""What a row of figures stands for."""


@dataclass(frozen=True)
class Summary:
    """Figures of one domain, or of all domains of one connector or family.

    Attributes:
        name: of the domain, connector or family.
        episodes: number of finished episodes, in the order of `KINDS`.
        successes: how many of them ended in a true success, in the order of `KINDS`.
        frames: number of frames.
        success_frames: how many of them show a true success.
        mean_steps: mean length of an episode [steps]; NaN without episodes.
        discarded: number of episodes thrown away.
    """

    name: str
    episodes: tuple[int, ...]
    successes: tuple[int, ...]
    frames: int
    success_frames: int
    mean_steps: float
    discarded: int

    @property
    def success_rate(self) -> float:
        """Share of all episodes that ended in a true success, in [0, 1]; NaN without episodes."""
        return sum(self.successes) / sum(self.episodes) if sum(self.episodes) else float("nan")


def summarise(dataset: Dataset, by: Grouping = "domain") -> list[Summary]:
    """Figures of each domain, connector or family, in the order in which `dataset.domains` first names it."""
    of_domain = [domain.name if by == "domain" else getattr(domain, by) for domain in dataset.domains]
    names = list(dict.fromkeys(of_domain))
    group = np.array([names.index(name) for name in of_domain])
    shape = (len(names), len(KINDS))
    episodes, successes = np.zeros(shape, int), np.zeros(shape, int)
    frames, success_frames, discarded = (np.zeros(shape[0], int) for _ in range(3))
    table = dataset.episodes
    groups = group[table["domain"]]
    np.add.at(episodes, (groups, table["kind"]), 1)
    np.add.at(successes, (groups, table["kind"]), table["success"])
    np.add.at(frames, groups, table["n_frames"])
    np.add.at(success_frames, groups, table["success_frames"])
    np.add.at(discarded, group, [dataset.discarded[domain.name].total() for domain in dataset.domains])
    return [
        Summary(
            name=name,
            episodes=tuple(episodes[i].tolist()),
            successes=tuple(successes[i].tolist()),
            frames=int(frames[i]),
            success_frames=int(success_frames[i]),
            mean_steps=float(frames[i] / episodes[i].sum() - 1) if episodes[i].any() else float("nan"),
            discarded=int(discarded[i]),
        )
        for i, name in enumerate(names)
    ]


def describe(root: Path, by: Grouping = "family") -> RenderableType:
    """What the data set at `root` holds, for the terminal: overall figures and a table with a row per `by`.

    Raises:
        DataError: see `Dataset.open`.
    """
    dataset = Dataset.open(root)
    summaries = summarise(dataset, by)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(by, overflow="fold", vertical="bottom")
    for title in (*KINDS, "success", "frames", "steps", "lost"):
        short = title.replace("withdraw", "with-\ndraw").replace("recover", "re-\ncover")
        table.add_column(short, justify="right", no_wrap=True)
    for summary in summaries:
        table.add_row(Text(summary.name), *_cells(summary))
    scenarios = np.bincount(dataset.episodes["scenario"], minlength=len(SCENARIOS))
    size = dataset.n_frames * (dataset.image_size**2 * 3 + layout.ROW.itemsize)
    lines = [
        f"{dataset.root}: {size / 1e9:.2f} GB, images of {dataset.image_size} x {dataset.image_size} pixels",
        f"{len(dataset.domains)} domains: " + _counts(Counter(domain.split for domain in dataset.domains)),
        f"{len(dataset):,} episodes: " + _counts(Counter(dict(zip(SCENARIOS, scenarios.tolist(), strict=True)))),
        f"{dataset.n_frames:,} frames: {dataset.frame_success.mean():.1%} show the plug seated",
        f"ended with the plug seated: {_by_kind(summaries)}",
    ]
    reasons = sum(dataset.discarded.values(), start=Counter[str]())
    if reasons:
        lines.append(f"discarded episodes: {_counts(reasons)}")
    return Group(*(Text(line) for line in lines), Text(), table, Text(LEGEND, style="dim"))


def check(root: Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Reads every byte of the data set and compares it with the checksums.

    Args:
        root: folder of the data set.
        progress: is told (episodes checked, episodes in all) after each episode.

    Returns:
        One line per problem; empty when the data set is whole. A torn tail is no problem: it is no episode yet.

    Raises:
        DataError: there is no data set of this version at `root`.
    """
    root = Path(root)
    meta = layout.read_meta(root)
    problems: list[str] = []
    sound: list[tuple[Path, layout.Index]] = []
    for name in layout.domain_names(root):
        folder = layout.domain_folder(root, name)
        try:
            layout.read_domain(folder)
            index = layout.read_index(folder / layout.INDEX)
            layout.check_sizes(folder, index, meta.image_size)
            sound.append((folder, index))
        except DataError as error:
            problems.append(str(error))
    done, total = 0, sum(len(index.entries) for _, index in sound)
    for folder, index in sound:
        if not index.n_frames:
            continue
        with open(folder / layout.FRAMES, "rb") as frames, open(folder / layout.TABLE, "rb") as table:
            for number, entry in enumerate(index.entries):
                fault = layout.episode_fault(entry, frames.fileno(), table.fileno(), meta.image_size)
                if fault:
                    recent = number >= len(index.entries) - layout.SYNC_EVERY
                    problems.append(
                        f"{folder}, episode {number} ({KINDS[entry['kind']]}, seed {entry['seed']}): {fault}; "
                        + (layout.COLLECT_AGAIN if recent else layout.COPY_AGAIN)
                    )
                done += 1
                if progress:
                    progress(done, total)
    return problems


def _cells(summary: Summary) -> list[str]:
    kinds = [f"{s}/{n}" if n else "-" for s, n in zip(summary.successes, summary.episodes, strict=True)]
    rate, steps = (f"{summary.success_rate:.0%}", f"{summary.mean_steps:.1f}") if summary.frames else ("-", "-")
    return [*kinds, rate, f"{summary.frames:,}", steps, str(summary.discarded)]


def _by_kind(summaries: list[Summary]) -> str:
    """Successes of episodes of each kind, over all domains."""
    episodes = np.sum([summary.episodes for summary in summaries], axis=0)
    successes = np.sum([summary.successes for summary in summaries], axis=0)
    rows = zip(KINDS, successes, episodes, strict=True)
    return ", ".join(f"{kind} {of:,} of {n:,}" for kind, of, n in rows if n)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())
