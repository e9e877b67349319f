"""Which connectors a job trains on, validates on and is tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest

from lotj.errors import SettingsError
from lotj.sim.connector import Connector, catalogue, training_connectors


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
