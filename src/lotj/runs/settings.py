"""Settings back from JSON: what `Run.create` took apart, as the dataclass it was."""

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


def _restore(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return restore_settings(hint, value, where)  # type: ignore[arg-type]
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
