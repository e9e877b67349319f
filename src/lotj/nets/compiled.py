"""The one piece of C here, group_norm.c: built once for this processor with the machine's compiler, if it has one.

torch has no fast group normalisation of 16-bit images on a CPU (docs/performance.md). Without a compiler torch's own
serves, with the same results up to rounding.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from lotj.errors import StorageError
from lotj.files import atomic_write

WIDEST = 1024
"""Most channels that group_norm.c takes."""

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
_SECONDS = 60.0
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long
_SIGNATURES = {
    "lotj_group_norm": [*[_POINTER] * 6, *[_LONG] * 3, ctypes.c_float, ctypes.c_int, ctypes.c_int],
    "lotj_group_norm_backward": [*[_POINTER] * 9, *[_LONG] * 3, ctypes.c_int, ctypes.c_int],
}


@cache
def group_norm_library() -> ctypes.CDLL | None:
    """The functions of group_norm.c; None without a C compiler, or where ``LOTJ_COMPILE=0`` asks for none.

    Built at the first call on a machine (about a second), into ``lotj`` in ``XDG_CACHE_HOME`` or ``~/.cache``. Import
    torch first: both then share one OpenMP and its threads.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or os.environ.get("LOTJ_COMPILE") == "0":
        return None
    source = resources.files("lotj.nets").joinpath("group_norm.c").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "lotj" / f"group_norm-{_key(source, compiler)}.so"
    try:
        if not path.exists():
            _build(compiler, source, path)
        library = ctypes.CDLL(str(path))
    except (OSError, StorageError, subprocess.SubprocessError):
        return None  # no OpenMP, a read-only home: it is only speed
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


def _key(source: bytes, compiler: str) -> str:
    """Names the build by all that it depends on: a home may be shared by machines."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else [platform.processor()]
    processor = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    text = "\n".join([compiler, *_FLAGS, platform.machine(), *processor])
    return hashlib.sha256(source + text.encode()).hexdigest()[:16]


def _build(compiler: str, source: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile() as built:
        command = [compiler, *_FLAGS, "-x", "c", "-", "-o", built.name, "-lm"]
        subprocess.run(command, input=source, check=True, capture_output=True, timeout=_SECONDS)
        atomic_write(path, Path(built.name).read_bytes())
