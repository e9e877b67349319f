"""What a run was made with: versions of the software and the machine's processor."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import lotj


def versions() -> dict[str, Any]:
    """Versions of Python, lotj and what it stands on; processor, cores and torch threads. Imports none of them."""
    found: dict[str, Any] = {"lotj": lotj.__version__, "python": platform.python_version()}
    for name in ("torch", "mujoco", "numpy", "gymnasium"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    torch = sys.modules.get("torch")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found |= {"cpu": _processor(), "cores": cores, "threads": torch.get_num_threads() if torch else None}
    return found | {"platform": platform.platform()}


def _processor() -> str:
    """The processor's model name."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
