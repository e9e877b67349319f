"""Metrics as JSON lines: one object a line, appended whole; a torn last line (after a kill) is ignored and cut."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from lotj.errors import CheckpointError
from lotj.files import storage_errors


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: NumPy and torch numbers become numbers, non-finite ones None (JSON has no NaN)."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist") and not isinstance(value, float):  # NumPy and torch arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a JSON-lines file, oldest first; empty if there is no such file; CheckpointError if a line
    before the last is damaged."""
    if not path.exists():
        return []
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append({**json.loads(line)})
        except (ValueError, TypeError):
            raise CheckpointError(f"{path}, line {number}: damaged; restore the file from a copy") from None
    return records


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append JSON values to a file in a single write, so that a kill leaves at most one torn line, the last; one from
    an earlier kill is cut off first. StorageError if the disk is full."""
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    with storage_errors(path), open(path, "ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        written = file.write(line)
        if written < len(line):  # a full disk may take a part: the next write then says why
            file.write(line[written:])
