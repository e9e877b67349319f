"""One module for each chapter, registered by its `CHAPTER` alone."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from lotj.experiments.chapter import Chapter


@functools.cache
def chapters() -> dict[str, Chapter]:
    """Name -> chapter."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.CHAPTER.name: module.CHAPTER for module in modules}
