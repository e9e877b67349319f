"""Settings back from the JSON values that `Run.create` wrote."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lotj.errors import SettingsError

Config = TypeVar("Config")


def restore_settings(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Rebuild a (nested) settings dataclass from plain JSON values, one for each of its fields; a SettingsError that
    begins with `where`, e.g. the run, if they are not those of this version's dataclass."""
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if names != (values.keys() if isinstance(values, Mapping) else set()):
        other = sorted(names ^ {*values})[0] if isinstance(values, Mapping) else kind.__name__
        raise SettingsError(f"{where}: setting {other!r} is not in both the run and this lotj; start a new run")
    try:
        return kind(**{name: _restore(hints[name], value, where, name) for name, value in values.items()})
    except TypeError as error:
        raise SettingsError(f"{where}: {kind.__name__} is damaged ({error}); restore it from a copy") from None


def _restore(hint: Any, value: Any, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return restore_settings(hint, value, where)  # type: ignore[arg-type]
    if hint in (bool, int, float, str) and type(value) not in ((int, float) if hint is float else (hint,)):
        raise SettingsError(f"{where}: setting {name!r} is {value!r}, not a {hint.__name__}; restore it from a copy")
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
