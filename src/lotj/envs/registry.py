"""Every task by its name, `fetch/reach` or `insertion/usb-b`: which there are, the environment and its scripted expert.

A module of this package that has a `FAMILY` is registered by that; nothing else lists it. A script calls `register`.
Wherever a task is named, options may follow: ``blocks/assembly,yaw=0.3,residual=0.3`` or, of any task,
``fetch/reach,disturbance=action-latency``.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym

import lotj.envs
from lotj.controllers import Controller, Memoryless
from lotj.envs.base import Family
from lotj.envs.disturbances import disturbed
from lotj.envs.residual import ResidualAction, Uncorrected
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


def find_task(name: str) -> tuple[Family, str]:
    """The family of a task and its member; options behind the name are passed over.

    Raises:
        SettingsError: there is none of that name.
    """
    bare = name.partition(",")[0]
    prefix, _, member = (bare.replace(":", "/", 1) if bare.startswith("gym:") else bare).partition("/")
    family = families().get(prefix)
    if family is None or not (member in family.members or (family.others and member)):
        raise unknown("task", name, task_names(), "`lotj tasks` lists all")
    return family, member


def named_options(name: str) -> dict[str, Any]:
    """The options in a task's name: numbers, True, False and None as such, all else as text.

    Raises:
        SettingsError: one is not ``option=value``.
    """
    options: dict[str, Any] = {}
    for part in name.split(",")[1:]:
        option, given, value = part.partition("=")
        if not given:
            raise SettingsError(f"{part!r} in {name!r}: must be option=value, e.g. max_steps=20")
        try:
            options[option] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[option] = value
    return options


def folder_name(name: str) -> str:
    """The name of a task as that of a folder, e.g. ``fetch.push`` or ``blocks.assembly.yaw.0.3``."""
    return re.sub(r"[^\w.+-]", ".", name)


def make_task(name: str, **options: Any) -> gym.Env:
    """The environment of a task, e.g. ``make_task("insertion/usb-b", robot="duo", domain_seed=0)``.

    Args:
        name: one of `task_names`, or a family that takes files with the path of one; options may follow.
        options: what `lotj tasks show NAME` lists; they win over those in the name. With `residual` an action corrects
            the task's scripted expert, see `ResidualAction`: the share that it has of the environment's own range. With
            `disturbance` something goes wrong in every episode, see `lotj.envs.disturbances`.

    Raises:
        SettingsError: unknown task or option, or a value that the environment does not take; a residual of an expert
            that needs more than the observation.
        CatalogueError: an insertion task of no known connector, or of a bad file.
    """
    family, member = find_task(name)
    known, options = family.options(), {**named_options(name), **options}
    scale, wrong = options.pop("residual", None), options.pop("disturbance", "")
    for option in options:
        if option not in known:
            raise unknown(f"option of {name.partition(',')[0]}", option, (*known, "residual", "disturbance"))
    env = disturbed(family.make(member, **options), wrong, seed=0)
    if scale is None:
        return env
    if not isinstance(expert := _expert(name)(env), Memoryless):
        env.close()
        raise SettingsError(
            f"residual = {scale!r} on {name}: its expert, {type(expert).__name__}, remembers or feels more than what "
            "is observed; wrap the environment in a ResidualAction with a controller that does not"
        )
    return ResidualAction(env, expert, scale)


def expert_of(name: str, env: gym.Env) -> Controller:
    """The scripted expert of a task, for an environment that `make_task` has made, wrapped or not; SettingsError where
    there is none. With a residual that is the controller itself, uncorrected."""
    if env.has_wrapper_attr("controller"):
        return Uncorrected(env.get_wrapper_attr("action_space").shape)
    return _expert(name)(env.unwrapped)


def unseen_by(expert: Controller, env: gym.Env) -> str:
    """What a scripted expert reads and this environment, which is reset, does not show; "" where it shows all."""
    seen, info = env.reset(seed=0)
    expert.reset(0)
    try:
        expert(seen, info)
    except KeyError as missing:
        return str(missing.args[0])
    return ""


def _expert(name: str) -> Callable[[Any], Controller]:
    expert = find_task(name)[0].expert
    if expert is None:
        raise SettingsError(f"{name} has no scripted expert: train an agent on it, and record that one")
    return expert
