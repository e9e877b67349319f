"""Write the newest version of every package that lotj can install to a constraints file.

Usage: ``python scripts/pin_versions.py constraints.txt [HELD==VERSION ...]`` (``make upgrade`` calls it). pip resolves
everything anew, as for an empty environment, and installs nothing. Local version labels (``+cpu``) are dropped, so that
the same file serves every build of a package; packages that only a CUDA build of torch needs are left to that build.
"""

import json
import subprocess
import sys
from pathlib import Path

HEADER = """\
# Every package that `make` installs, pinned. Written by `make upgrade`; do not edit.
"""
BUILD_TOOLS = ["setuptools"]
CUDA_ONLY = ("nvidia-", "cuda-", "triton")


def resolve(held: list[str]) -> dict[str, str]:
    """Names and versions of all packages, as pip would install them into an empty environment, with `held` as given."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run(
        [*command, "--editable", ".[dev,cluster,docs,wandb]", *BUILD_TOOLS, *held], stdout=subprocess.PIPE, check=True
    )
    found = (item["metadata"] for item in json.loads(done.stdout)["install"])
    return {item["name"].lower().replace("_", "-"): item["version"].partition("+")[0] for item in found}


def main(target: Path, held: list[str]) -> None:
    """Write the pins to `target`."""
    pins = {
        name: version for name, version in resolve(held).items() if name != "lotj" and not name.startswith(CUDA_ONLY)
    }
    target.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
