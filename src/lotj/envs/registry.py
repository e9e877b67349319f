"""Every task by its name, `fetch/reach` or `insertion/usb-b`: which there are, the environment and its scripted expert.

A module of this package that has a `FAMILY` is registered by that; nothing else lists it. A script calls `register`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

import gymnasium as gym

import lotj.envs
from lotj.controllers import Controller
from lotj.envs.base import Family
from lotj.errors import unknown


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


def find_task(name: str) -> tuple[Family, str]:
    """The family of a task and its member.

    Raises:
        SettingsError: there is none of that name.
    """
    prefix, _, member = name.partition("/")
    family = families().get(prefix)
    if family is None or not (member in family.members or (family.others and member)):
        raise unknown("task", name, task_names(), "`lotj tasks` lists all")
    return family, member


def make_task(name: str, **options: Any) -> gym.Env:
    """The environment of a task, e.g. ``make_task("insertion/usb-b", robot="duo", domain_seed=0)``.

    Args:
        name: one of `task_names`, or a family that takes files with the path of one.
        options: what `lotj tasks show NAME` lists.

    Raises:
        SettingsError: unknown task or option, or a value that the environment does not take.
        CatalogueError: an insertion task of no known connector, or of a bad file.
    """
    family, member = find_task(name)
    known = family.options()
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    return family.make(member, **options)


def expert_of(name: str, env: gym.Env) -> Controller:
    """The scripted expert of a task, for an environment that `make_task` has made, wrapped or not."""
    return find_task(name)[0].expert(env.unwrapped)
