"""Packages that extras of lotj bring: imported when they are used, so that who does without need not install them."""

from __future__ import annotations

import importlib
from typing import Any

from lotj.errors import SettingsError

EXTRAS = {
    "cad": (("cascadio", "trimesh"), "connectors from meshes"),
    "cluster": (("ray",), "--on ray"),
    "export": (("av", "h5py", "minari", "pyarrow", "rerun"), "data sets of other software, and recordings for Rerun"),
    "docs": (("docutils", "furo", "myst_parser", "sphinx", "sphinx_external_toc"), "the documentation site"),
    "robot": (("mink", "msgpack", "websockets"), "robots and policies that are served, and the jointed arm"),
    "wandb": (("wandb",), "metrics on Weights & Biases"),
}
"""Extra -> modules that it brings, and what it is for."""


def library(name: str, instead: str = "") -> Any:
    """A module of a package that an extra brings; SettingsError with the way out if it is not installed, which may end
    with what can be done `instead`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        extra = next(extra for extra, (modules, _) in EXTRAS.items() if package in modules)
        raise SettingsError(
            f"this needs the package {package} ({error}): pip install 'lotj[{extra}]'{instead}"
        ) from error
