"""Writing files so that a kill or a full disk never leaves half a file under the final name; and reading them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lotj.errors import DataError, StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's write errors on `path`, or a full disk, quota or file-size limit, into a
    `StorageError` of one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            way_out = "free space and run again, a run with --resume; what is finished is kept"
            raise StorageError(f"disk full at {path} ({reason}): {way_out}") from error
        raise StorageError(f"cannot write {path}: {reason}; choose another folder or mend its permissions") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under `path`, complete and on disk, only when the block ends without an error; else
    the old file, if any, is untouched. StorageError if the disk is full or the folder cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path`: readers see the old file or the new one, never a part. Errors as of `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON values, to be read by people too, as `atomic_write` does."""
    atomic_write(path, json.dumps(value, indent=1).encode() + b"\n")


def sync_folder(path: Path) -> None:
    """Make a rename in the folder `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to read at `path`, or below it, into a `DataError`."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise DataError(f"cannot read {where}: {error.strerror}; check its permissions and the disk") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; DataError if it cannot be read or holds something else."""
    with reading(path):
        text = path.read_bytes()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); restore it from a copy") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not an object; restore it from a copy")
    return content


def first_difference(values: Mapping[str, Any], wanted: Mapping[str, Any], strictly: bool = False) -> str | None:
    """Where (nested) JSON values are not those that are wanted, in words, e.g. ``practice.imitate 'all', not
    'successes'``; None where all of these agree. Values that nothing is wanted of are left out, unless `strictly`."""
    for name, value in {**(dict.fromkeys(values) if strictly else {}), **wanted}.items():
        have = values.get(name)
        if isinstance(value, Mapping) and isinstance(have, Mapping):
            inner = first_difference(have, value, strictly)
            if inner:
                return f"{name}.{inner}"
        elif have != value:
            return f"{name} {have!r}, not {value!r}"
    return None


@contextmanager
def growing(out: Path, wanted: Mapping[str, Any]) -> Iterator[Path]:
    """A hidden folder beside `out` where ``data`` grows, which is named `out` when the block ends without an error.

    Stopped in whatever way, it is there again when the same is `wanted` (JSON values), and gone where it held nothing;
    DataError where `out` exists, something else was begun, or another process is at it; StorageError if the disk is
    full or cannot be written.
    """
    if out.exists():
        raise DataError(f"{out} exists: name a new one")
    work = out.with_name(f".{out.name}.part")
    begun = work / "begun.json"
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        handle = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{out} is being written by another process: wait for it, or name another") from error
        if not begun.exists() or not [path for path in work.iterdir() if path != begun and path.suffix != ".tmp"]:
            write_json(begun, wanted)
        elif other := first_difference(read_object(begun), wanted, strictly=True):
            raise DataError(f"{work} was begun with {other}: delete it, or name another than {out}")
        try:
            with storage_errors(work):
                yield work
                os.rename(work / "data", out)
                sync_folder(out.parent)
                shutil.rmtree(work)
        finally:
            if work.exists() and [*work.iterdir()] == [begun]:
                shutil.rmtree(work)
    finally:
        os.close(handle)
