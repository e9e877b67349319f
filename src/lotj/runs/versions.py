"""What a run was made with: versions of the software and the machine's processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import lotj


def versions() -> dict[str, Any]:
    """Commit and version of lotj, versions of Python and what it stands on; processor, cores, torch threads and, where
    torch computes on it, the GPU. Imports none of them."""
    torch = sys.modules.get("torch")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = _loaded() | {"cores": cores, "threads": torch.get_num_threads() if torch else None}
    if torch and torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.get_device_name()
    return found


@cache
def _loaded() -> dict[str, Any]:
    """What stays the same as long as this process lives, whatever is installed or committed meanwhile."""
    found: dict[str, Any] = {"lotj": lotj.__version__, "commit": commit(), "python": platform.python_version()}
    for name in ("torch", "mujoco", "numpy", "gymnasium"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found | {"cpu": _processor(), "platform": platform.platform()}


def commit(folder: Path = Path(lotj.__file__).parent) -> str | None:
    """The commit that the package is at, short, with ``+`` where files of it are changed; None where git does not keep
    them, as in an installed package."""

    def git(*words: str) -> str:
        done = subprocess.run(("git", "-C", str(folder), *words), capture_output=True, check=True, text=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not a repository that merely lies around it
        return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """The processor's model name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
