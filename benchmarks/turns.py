"""The other end of `peers/rounds.py`: starts the processes of a benchmark, and asks them for rounds in turns."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

PEERS = Path(__file__).parent / "peers"


class Worker:
    """A process that does rounds; end it with `close`, or use `with`.

    Args:
        python: the interpreter.
        script: name of a file in ``benchmarks/peers``.
        arguments: its settings, given to it as JSON.
        environment: variables to set besides those of this process.

    Raises:
        SystemExit: it could not begin; says why in one line.
    """

    def __init__(
        self, python: Path, script: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = f"{script} {json.dumps(arguments)}"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (`close` closes it)
        self._process = subprocess.Popen(
            [python, PEERS / script, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self.about = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """One round.

        Raises:
            SystemExit: the process ended; says why in one line.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["no message"]
            raise SystemExit(f"{self._name} ended: {lines[-1][:200]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_turns(
    workers: Mapping[str, Worker], requests: Mapping[str, Mapping[str, Any]], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Answers of each worker to its request, `repeats` times in turn."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            found[name].append(worker.ask(**requests[name]))
    return found


def peer_python(path: Path, package: str) -> Path:
    """The path, if it is a Python with that package.

    Raises:
        SystemExit: it is not; says in one line what to do.
    """
    command = [path, "-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"]
    try:
        found = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        found = False
    if not found:
        raise SystemExit(f"{path}: no Python with {package}; make one as benchmarks/peers/README.md says")
    return path


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Lowest and median of repeated figures, and all of them."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return {
        "min": round(ordered[0], digits),
        "median": round(middle, digits),
        "all": [round(value, digits) for value in values],
    }
