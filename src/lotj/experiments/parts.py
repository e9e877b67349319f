"""Which connectors a job trains on, validates on and is tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from lotj.data import layout
from lotj.errors import SettingsError
from lotj.experience import Task
from lotj.sim.connector import Connector, catalogue, find_connector, training_connectors


def choose_training(count: int | None, left_out: Sequence[Connector] = ()) -> tuple[str, ...]:
    """Names of training connectors, spread over the families: one of each in turn until `count` is reached.

    Args:
        count: how many; None for all.
        left_out: connectors, e.g. of one's own, that are left out with their close variants.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for part in training_connectors(*left_out):
        families[part.family].append(part.name)
    chosen = [name for turn in zip_longest(*families.values()) for name in turn if name]
    return tuple(sorted(chosen[:count]))


def of_split(split: str, opened: bool = False) -> tuple[str, ...]:
    """Names of the connectors of a split, sorted.

    Args:
        opened: for the one final run on ``blind`` connectors, which has been asked for by its name.

    Raises:
        SettingsError: ``blind`` otherwise: whoever opens one of those names it.
    """
    if split == "blind" and not opened:
        raise SettingsError("split blind: is opened by the names of its connectors alone, see docs/predictions.md")
    return tuple(name for name, part in catalogue().items() if part.split == split)


def refuse_seen(part: Connector, data: Path) -> None:
    """Raises SettingsError where `data`, if there is any yet, holds training connectors that are variants of `part`."""
    if (data / layout.META).exists():
        tasks = [layout.read_task(layout.task_folder(data, name)) for name in layout.task_names(data)]
        refuse_variants(part, [task for task in tasks if task.split == "train"])


def refuse_variants(part: Connector, trained_on: Iterable[Task]) -> None:
    """Raises SettingsError where one of these tasks is of a connector that `part` is a close variant of."""
    seen = [find_connector(name) for name in sorted({task.attributes["connector"] for task in trained_on})]
    variants = [other.name for other in seen if part.is_variant_of(other)]
    if variants and part not in seen:  # who names a training connector itself is told so, see `check_connector`
        raise SettingsError(
            f"{part.name}: {variants[0]!r} in the training data is a close variant of it, so the result would not be "
            "that of an unseen connector; collect into another folder, with `lotj collect --leave-out`, and pretrain"
        )
