"""What a data set holds, and whether it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lotj.data import layout
from lotj.data.store import DiskStore
from lotj.errors import DataError, SettingsError, counted
from lotj.files import read_object, reading, write_json

QUALITY = "quality.json"
"""File of a data set of tasks with how good its episodes are, see `write_quality`."""

LEGEND = """
3/4: of 4 episodes, 3 ended in success; success: share of all episodes
steps: mean length of an episode; lost: thrown away while recording"""
"""What the words of the table mean, in lines that fit a terminal of 80 columns."""


def describe(root: Path, by: str = "env") -> RenderableType:
    """What the data set at `root` holds, for the terminal: overall figures, and a table with a row for the tasks that
    share their ``task``, ``env``, ``split``, or an attribute.

    Raises:
        DataError: as `DiskStore.open`.
        SettingsError: no task has such an attribute.
    """
    store = DiskStore.open(root)
    schema, kind, ended = store.schema, store.episodes["kind"], store.success[store.last_frames]
    size = store.n_frames * sum(kind.itemsize for kind in schema.files.values())
    seen = [f"{name} {' x '.join(map(str, kind.shape))}".strip() for name, kind in schema.observation.items()]
    each = ((name, ended[kind == number]) for number, name in enumerate(store.kinds))
    lines = [
        f"{store.root}: {size / 1e9:.2f} GB",
        f"actions of {schema.action} axes; observed: {', '.join(seen)}",
        f"{counted(len(store.tasks), 'task')}: " + _counts(Counter(task.split for task in store.tasks)),
        f"{counted(len(store), 'episode')}, {store.n_frames:,} frames: {store.success.mean():.1%} show a success",
        f"ended in success: {', '.join(f'{name} {won.sum():,} of {len(won):,}' for name, won in each)}",
    ]
    if "recipe" in store.settings:
        lines.append(" ".join(["recipe", store.settings["recipe"], store.settings.get("policy", "")]).strip())
    for name, row in read_object(store.root / QUALITY).items() if (store.root / QUALITY).exists() else ():
        shares = ", ".join(f"{share:.0%} {what}" for what, share in row["ended"].items())
        lines.append(f"quality of {name}: {counted(row['episodes'], 'episode')}, {row['steps']:.1f} steps, {shares}")
    reasons = sum(store.discarded.values(), start=Counter[str]())
    if reasons:
        lines.append(f"discarded episodes: {_counts(reasons)}")
    return Group(*(Text(line) for line in lines), Text(), _table(store, by), Text(LEGEND, style="dim"))


def write_quality(root: Path) -> None:
    """Stores how good the episodes of each task are: number, mean length, and the shares that ended in success and in
    what else is true or false in the truth, such as ``released``. DataError as `DiskStore.open`."""
    store = DiskStore.open(root)
    last, rows = store.last_frames, {}
    ended = {"success": store.success} | {
        n: store.truth(n) for n, kind in store.schema.truth.items() if kind.kind == "b"
    }
    for number, task in enumerate(store.tasks):
        of = store.episodes["task"] == number
        shares = {name: float(values[last[of]].mean()) for name, values in ended.items()}
        steps = float(store.episodes["n_frames"][of].mean() - 1)
        rows[task.name] = {"episodes": int(of.sum()), "steps": steps, "ended": shares}
    write_json(Path(root) / QUALITY, rows)


def _table(store: DiskStore, by: str) -> Table:
    """A row for the tasks that share what `by` names, in the order in which they first show it."""
    about = [{**task.attributes, "task": task.name, "env": task.env, "split": task.split} for task in store.tasks]
    if not any(by in entries for entries in about):
        known = dict.fromkeys(["task", "env", "split", *(name for entries in about for name in entries)])
        raise SettingsError(f"rows by {by!r}: no task of {store.root} has it; choose of {', '.join(known)}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(by, overflow="fold", vertical="bottom")
    for title in (*store.kinds, "success", "frames", "steps", "lost"):
        half = (len(title) + 1) // 2
        short = f"{title[:half]}-\n{title[half:]}" if title in store.kinds and len(title) > 6 else title
        table.add_column(short, justify="right", no_wrap=True)
    shared = np.array([str(entries.get(by, "-")) for entries in about])
    kind, ended = store.episodes["kind"], store.success[store.last_frames]
    for name in dict.fromkeys(shared.tolist()):
        of = (shared == name)[store.episodes["task"]]
        frames, lengths = store.episodes["n_frames"][of].sum(), store.episodes["n_frames"][of] - 1
        each = (ended[of & (kind == number)] for number in range(len(store.kinds)))
        means = (f"{ended[of].mean():.0%}", f"{frames:,}", f"{lengths.mean():.1f}") if of.any() else ("-", "0", "-")
        lost = sum(store.discarded[task.name].total() for task in np.array(store.tasks, object)[shared == name])
        table.add_row(Text(name), *(f"{won.sum()}/{len(won)}" if len(won) else "-" for won in each), *means, str(lost))
    return table


def check(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Reads every byte of the data set at `root` and compares it with the checksums: a line per problem, none if it is
    whole. A torn tail is no problem: it is no episode yet. `progress` is told (tasks checked, tasks in all).

    Raises:
        DataError: there is no data set of this version, or it may not be read.
    """
    root = Path(root)
    with reading(root):
        schema, names = layout.read_meta(root).schema, layout.task_names(root)
    problems: list[str] = []
    for done, name in enumerate(names, 1):
        folder = layout.task_folder(root, name)
        try:
            with reading(folder):
                layout.read_task(folder)
                index = layout.read_index(folder / layout.INDEX)
                layout.check_sizes(folder, index, schema)
                for number, entry in enumerate(index.entries):
                    if layout.read_records(folder, entry, schema.files) is None:
                        recent = number >= len(index.entries) - layout.SYNC_EVERY
                        way_out = layout.COLLECT_AGAIN if recent else layout.COPY_AGAIN
                        which = f"episode {number} ({index.kinds[entry['kind']]}, seed {entry['seed']})"
                        problems.append(f"{folder}, {which}: its records do not match their checksum; {way_out}")
        except DataError as error:
            problems.append(str(error))
        progress(done, len(names))
    return problems


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())
