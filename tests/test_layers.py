"""The house, as data: which part may import which, held against every import in the package."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lotj"

LAYERS = (
    {"errors"},
    {"experience", "spaces", "ranges", "geometry", "files", "processes"},
    {"sim", "controllers", "nets", "data", "runs"},
    {"envs", "rewards", "agents", "goals"},
    {"robots"},
    {"training", "evaluation", "saliency", "distributed"},
    {"experiments", "report"},
    {"cli"},
)
"""Read from the bottom up. A part imports lower layers only, and no other part of its own layer."""

MUJOCO_SIDE = {"sim", "envs", "controllers", "robots"}
TORCH_SIDE = {"nets", "rewards", "agents", "goals", "runs"}
SHARED = {"errors", "experience", "spaces", "ranges", "geometry", "files", "processes"}

FORBIDDEN = (
    {part: {"torch", "lotj.runs"} for part in MUJOCO_SIDE}
    | {part: {"mujoco", "gymnasium"} for part in TORCH_SIDE}
    | {part: {"torch", "mujoco", "gymnasium"} for part in SHARED | {"data", "report"}}
)
"""What a part must not import whatever its layer. Data is shared by both sides; the report reads run folders only."""

VAGUE = {"utils", "util", "common", "misc", "helpers", "helper", "base_utils"}
"""Names that say nothing; a function lives with the noun it serves."""

LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}


def imports(path: Path) -> Iterator[str]:
    """Full dotted names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def faults(package: Path) -> list[str]:
    """One line for each import that the house does not allow, and for each vague name."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        part = place.parts[0].removesuffix(".py")
        if VAGUE & {name.removesuffix(".py") for name in place.parts}:
            found.append(f"{place}: a name that says nothing")
        if part.startswith("__"):
            continue
        if part not in LEVEL:
            found.append(f"{place}: part {part!r} has no layer")
            continue
        for name in imports(path):
            if name.startswith("."):
                found.append(f"{place}: relative import {name}")
            elif any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN.get(part, ())):
                found.append(f"{place}: {part} must not import {name}")
            elif name.startswith("lotj."):
                target = name.split(".")[1]
                if target in LEVEL and target != part and LEVEL[target] >= LEVEL[part]:
                    found.append(f"{place}: {part} imports upwards or sideways: {name}")
    return found


def test_every_import_goes_down_and_keeps_to_its_side() -> None:
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("sim/bad.py", "import torch"),
        ("envs/bad.py", "from torch import nn"),
        ("sim/bad.py", "from lotj.runs import Run"),
        ("nets/bad.py", "import mujoco.viewer"),
        ("agents/bad.py", "def f():\n    from mujoco import MjModel"),
        ("agents/bad.py", "from lotj.rewards import RewardModel"),
        ("data/bad.py", "from lotj.training.practice import practice"),
        ("errors.py", "import lotj.geometry"),
        ("nets/bad.py", "from . import encoder"),
        ("nets/utils.py", ""),
        ("things/bad.py", ""),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, file: str, line: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert len(faults(tmp_path)) == 1, faults(tmp_path)


def test_allowed_imports_pass(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "good.py").write_text(
        "import torch\nfrom lotj.agents import iql\nfrom lotj.nets.encoder import ResNetEncoder\nimport lotj.errors"
    )
    assert faults(tmp_path) == []


def test_every_package_that_is_imported_is_declared() -> None:
    """And nothing is declared that is never imported."""
    module_of = {"pillow": "PIL", "rerun-sdk": "rerun"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [
        *project["dependencies"],
        *(n for e, names in project["optional-dependencies"].items() if e != "dev" for n in names),
    ]
    names = {re.split(r"[<>=\[ ]", line)[0].lower() for line in stated}
    declared = {module_of.get(name, name.replace("-", "_")) for name in names}
    used = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for name in imports(path) if not name.startswith(".")}
    used -= {"lotj", "__future__", *sys.stdlib_module_names}
    assert used - declared == set(), "imported but not declared in pyproject.toml"
    assert declared - used == {"tensorboard"}, "declared but never imported (torch imports tensorboard itself)"


def test_every_dependency_is_pinned() -> None:
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *(n for names in project["optional-dependencies"].values() for n in names)]
    names = {re.split(r"[<>=\[ ]", line)[0].lower() for line in stated} - {"lotj"}
    assert names <= pins
