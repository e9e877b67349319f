"""Settings as text: back from the JSON that `Run.create` wrote, and as the flags that ask for them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lotj.errors import SettingsError

Config = TypeVar("Config")


def restore_settings(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Rebuild a (nested) settings dataclass from plain JSON values.

    Args:
        kind: the dataclass.
        values: one entry for each of its fields.
        where: names the settings in the error message, e.g. the run's folder.

    Raises:
        SettingsError: the entries are not those of this version's dataclass.
    """
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if names != values.keys():
        other = sorted(names ^ values.keys())[0]
        raise SettingsError(f"{where}: setting {other!r} is not in both the run and this lotj; start a new run")
    return kind(**{name: _restore(hints[name], value, where) for name, value in values.items()})


def changed_flags(settings: Any, default: Any, prefix: str = "") -> list[str]:
    """The words of a command line that ask for `settings` where `default` would be taken (tyro's flags).

    Args:
        settings: a (nested) settings dataclass of numbers, texts, switches, tuples and None, or its JSON values; of
            these, settings that `default` does not have (of another version) are left out.
        default: another of the same class.
        prefix: name of the settings on the command line with a dot, e.g. ``reward.``; "" where they have none.

    Returns:
        e.g. ``["--reward.steps", "500", "--reward.augment.no-enabled"]``; empty where nothing differs.
    """
    values, usual = (item if isinstance(item, Mapping) else dataclasses.asdict(item) for item in (settings, default))
    words: list[str] = []
    for field in (name for name in usual if name in values):
        value, name = values[field], field.replace("_", "-")
        if isinstance(value, Mapping):
            words += changed_flags(value, usual[field], f"{prefix}{name}.")
            continue
        several = isinstance(value, (tuple, list))
        if str(tuple(value) if several else value) == str(usual[field]):  # JSON holds paths as text
            continue
        if isinstance(value, bool):
            words.append(f"--{prefix}{name if value else f'no-{name}'}")
        else:
            words += [f"--{prefix}{name}", *map(str, value if several else [value])]
    return words


def first_difference(values: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> str | None:
    """Where settings, as (nested) JSON values, are not those that are wanted, in words; None where all of these agree.

    Args:
        values: what there is; settings that nothing is wanted of are left out.
        wanted: what there should be.
        prefix: name of the settings with a dot.

    Returns:
        e.g. ``imitate 'all', not 'successes'``.
    """
    for name, value in wanted.items():
        have = values.get(name)
        if isinstance(value, Mapping) and isinstance(have, Mapping):
            inner = first_difference(have, value, f"{prefix}{name}.")
            if inner:
                return inner
        elif have != value:
            return f"{prefix}{name} {have!r}, not {value!r}"
    return None


def _restore(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return restore_settings(hint, value, where)  # type: ignore[arg-type]
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
