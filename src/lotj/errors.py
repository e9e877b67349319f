"""Errors a user can cause, and words that messages share. Each is one line: the value, the rule, the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Found = TypeVar("Found")


class LotjError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""

    exit_code: int = 2


class SettingsError(LotjError):
    """A setting, preset, scenario or connector name that does not exist or is out of range."""


class CatalogueError(LotjError):
    """A connector file with a missing, unknown or impossible entry."""


class MeshError(LotjError):
    """A mesh that is no connector's: open, of another unit, or a plug and a socket that do not mate."""


class DataError(LotjError):
    """A data set of another version, a foreign file, or one with missing frames."""


class CheckpointError(LotjError):
    """A checkpoint that is missing, torn, or made for other settings (e.g. another image size)."""


class RendererError(LotjError):
    """No off-screen renderer (EGL or OSMesa) is to be had."""

    exit_code = 3


class NumericsError(LotjError):
    """A loss, gradient or input that is not finite."""

    exit_code = 4


class StorageError(LotjError):
    """The disk is full or the folder cannot be written."""

    exit_code = 5


class RobotError(LotjError):
    """The robot refused a command or lost its part."""

    exit_code = 6


class LostError(RobotError):
    """The robot has noticed that its part is lost, e.g. slipped in the fingers; the next reset grasps it anew."""


class FaultError(RobotError):
    """The robot, a camera or the connection has failed: the running trial is void. Once it is back a reset goes on."""


def unknown(what: str, name: str, known: Iterable[str], more: str = "") -> SettingsError:
    """The error for a name that does not exist, with the nearest that does; `more` replaces the list of those known."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"unknown {what} {name!r}: {hint}{more or 'known are ' + ', '.join(known)}")


def find(what: str, name: str, known: Mapping[str, Found]) -> Found:
    """What is known by that name; the error of `unknown` where nothing is."""
    if not isinstance(name, str) or name not in known:
        raise unknown(what, str(name), known)
    return known[name]


def counted(n: int, noun: str) -> str:
    """So many of a thing, for people: 1 trial, 1,200 frames."""
    return f"{n:,} {noun}" + ("" if n == 1 else "es" if noun.endswith("s") else "s")
