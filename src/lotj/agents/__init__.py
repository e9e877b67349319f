"""Algorithms by name, and the `Learner` that they all are run by."""

from __future__ import annotations

import importlib
import pkgutil

from lotj.agents.base import Algorithm, At
from lotj.agents.learner import Learner, agent_name
from lotj.errors import find

__all__ = ["AGENTS", "Algorithm", "At", "Learner", "find_agent"]


def _found() -> dict[str, type[Algorithm]]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    algorithms = [kind for kind in kinds if issubclass(kind, Algorithm)]
    return {
        agent_name(kind): kind for kind in sorted(algorithms, key=agent_name) if kind.decide is not Algorithm.decide
    }


AGENTS = _found()
"""Name -> algorithm: every one that a module of this package defines and that acts, by the name of the module."""


def find_agent(name: str) -> type[Algorithm]:
    """The algorithm of that name.

    Raises:
        SettingsError: there is none.
    """
    return find("agent", name, AGENTS)
