"""Ranges of settings, written where the setting is: ``discount: Annotated[float, SHARE] = 0.97``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lotj.errors import SettingsError


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`; without the ends where it is `open`."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'above' if self.open else 'at least'} {self.low}"
        return f"{'strictly ' if self.open else ''}between {self.low} and {self.high}"

    def check(self, name: str, value: float) -> None:
        """Raises SettingsError for what is outside or not finite: its name, its value and the range."""
        if not math.isfinite(value):
            raise SettingsError(f"{name} {value!r}: must be a finite number")
        if value not in self:
            raise SettingsError(f"{name} {value!r}: must be {self}")


SHARE, COUNT, NOT_NEGATIVE, FINITE = Interval(0, 1), Interval(1), Interval(0), Interval()
POSITIVE, INSIDE = Interval(0, open=True), Interval(0, 1, open=True)
PROCESSES = Interval(1, 1024)  # or threads: with many more a machine has no memory left, and says so in its own words
SEED = Interval(0, 2**32 - 1)  # every generator takes these, and products with them stay 64-bit numbers


class Checked:
    """Base of a dataclass of settings or flags: an entry outside the `Interval` or the `Literal` of its annotation is
    refused when it is made. Of a tuple each entry is held against the interval; None is in all."""

    def __post_init__(self) -> None:
        """Raises SettingsError of the first setting that is outside: its name, its value and the range."""
        for name, hint in _hints(type(self)).items():
            value: Any = getattr(self, name)
            for rule in getattr(hint, "__metadata__", ()):
                for entry in value if isinstance(value, tuple) else (value,):
                    if isinstance(rule, Interval) and entry is not None:
                        rule.check(self._called(name), entry)
            if get_origin(hint) is Literal and value not in get_args(hint):
                self._refuse(name, f"must be one of {', '.join(map(str, get_args(hint)))}")

    def _refuse(self, name: str, rule: str) -> None:
        raise SettingsError(f"{self._called(name)} {getattr(self, name)!r}: {rule}")

    def _called(self, name: str) -> str:
        """A setting in messages: after what it is a setting of; a command's is a flag, and its own name says enough."""
        what = getattr(self, "CALLED", type(self).__name__.removesuffix("Config").removesuffix("Command").lower())
        return f"{what} {name}".lstrip()


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
