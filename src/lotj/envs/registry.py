"""Every task by its name, `fetch/reach` or `insertion/usb-b`: which there are, the environment and its scripted expert.

A module of this package that has a `FAMILY` is registered by that; nothing else lists it. A script calls `register`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
from typing import Any

import gymnasium as gym

import lotj.envs
from lotj.controllers import Controller
from lotj.envs.base import Family
from lotj.errors import SettingsError, unknown


@functools.cache
def families() -> dict[str, Family]:
    """Name -> family, in the order of the names; those that `register` has added come last."""
    modules = [importlib.import_module(f"lotj.envs.{found.name}") for found in pkgutil.iter_modules(lotj.envs.__path__)]
    found = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in sorted(found, key=lambda family: family.name)}


def register(family: Family) -> None:
    """Add tasks that no module of this package makes, for this process: a script's own."""
    families()[family.name] = family


def task_names() -> list[str]:
    """All tasks that have a name of their own."""
    return [f"{family.name}/{member}" for family in families().values() for member in family.members]


def task_title(name: str) -> str:
    """A task's name as that of a folder: ``fetch.push``, ``blocks.assembly.yaw.0.3``."""
    return re.sub(r"[^\w-]+", ".", name)


def find_task(name: str) -> tuple[Family, str]:
    """The family of a task and its member; options behind the name are passed over.

    Raises:
        SettingsError: there is none of that name.
    """
    bare = name.partition("?")[0]
    prefix, _, member = (bare.replace(":", "/", 1) if bare.startswith("gym:") else bare).partition("/")
    family = families().get(prefix)
    if family is None or not (member in family.members or (family.others and member)):
        raise unknown("task", name, task_names(), "`lotj tasks` lists all")
    return family, member


def make_task(name: str, **options: Any) -> gym.Env:
    """The environment of a task, e.g. ``make_task("insertion/usb-b", robot="duo", domain_seed=0)``.

    Args:
        name: one of `task_names`, or a family that takes files with the path of one. Options may stand behind it, so
            that a name is all that a command, a data set or a run needs: ``fetch/push?max_steps=20&image_size=32``.
        options: what `lotj tasks show NAME` lists; they come before those of the name.

    Raises:
        SettingsError: unknown task or option, or a value that the environment does not take.
        CatalogueError: an insertion task of no known connector, or of a bad file.
    """
    family, member = find_task(name)
    known, options = family.options(), {**_options(name), **options}
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return family.make(member, **options)


def expert_of(name: str, env: gym.Env) -> Controller:
    """The scripted expert of a task, for an environment that `make_task` has made, wrapped or not; SettingsError where
    there is none."""
    expert = find_task(name)[0].expert
    if expert is None:
        raise SettingsError(f"{name} has no scripted expert: train an agent on it, and record that one")
    return expert(env.unwrapped)


def _options(name: str) -> dict[str, Any]:
    """The options behind a task's name: numbers, True, False and None are that, all else is text."""
    query = name.partition("?")[2]
    options: dict[str, Any] = {}
    for part in query.split("&") if query else ():
        option, equals, value = part.partition("=")
        if not equals:
            raise SettingsError(f"task {name!r}: behind the ? there must be option=value, with & between them")
        try:
            options[option] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            options[option] = value
    return options
