"""Seconds and peak memory of one command with all its processes; the figures of several commands go into one file.

python benchmarks/command.py --name collect --out results/benchmarks/phases.json -- lotj collect --preset laptop
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from lotj.runs.versions import versions

INTERVAL_S = 0.2


def memory(group: int) -> dict[str, float]:
    """Memory of a session's processes now [GB]: all of it, and the part that is not pages of files.

    A page that several processes share counts in each of them, so the sum is an upper bound.
    """
    total = own = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if os.getsid(int(folder.name)) != group:
                continue
            fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        kilobytes = {name: int(fields.get(name, "0").split()[0]) for name in ("VmRSS", "RssAnon")}
        total, own = total + kilobytes["VmRSS"], own + kilobytes["RssAnon"]
    return {"resident": total * 1024 / 1e9, "without_files": own * 1024 / 1e9}


def measure(command: list[str]) -> dict[str, Any]:
    """Run a command to its end."""
    started, peak = time.perf_counter(), {"resident": 0.0, "without_files": 0.0}
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None:
        peak = {name: max(value, peak[name]) for name, value in memory(process.pid).items()}
        time.sleep(INTERVAL_S)
    return {
        "command": " ".join(command),
        "exit_code": process.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_gb": {name: round(value, 2) for name, value in peak.items()},
        "cores": os.cpu_count(),
        "made": versions(),
    }


def main() -> int:
    """Measure and add to the file; the exit code is the command's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    found = measure(options.command[1:] if options.command[:1] == ["--"] else options.command)
    figures = json.loads(options.out.read_text()) if options.out.exists() else {}
    figures[options.name] = found
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(found))
    return int(found["exit_code"])


if __name__ == "__main__":
    raise SystemExit(main())
