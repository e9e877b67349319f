"""Writing files so that a kill or a full disk never leaves half a file under the final name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lotj.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


RESUME = "free some space, then continue with --resume"


def storage_error(path: Path, error: OSError, way_out: str = RESUME) -> StorageError:
    """The one line for a failed write at `path`; a full disk, quota or file-size limit gets `way_out`."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return StorageError(f"disk full at {path} ({reason}): {way_out}")
    return StorageError(f"cannot write {path}: {reason}; choose another folder or mend its permissions")


@contextmanager
def storage_errors(path: Path, way_out: str = RESUME) -> Iterator[None]:
    """Turn the operating system's write errors on `path` into a `StorageError`, which says the way out."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, way_out) from error


@contextmanager
def atomic_file(path: Path, way_out: str = RESUME) -> Iterator[BinaryIO]:
    """A binary file that appears under `path`, complete and on disk, only when the block ends without an error.

    Args:
        path: of the file.
        way_out: what to do about a full disk.

    Raises:
        StorageError: the disk is full or the folder cannot be written. The old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path, way_out):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def atomic_write(path: Path, data: bytes, way_out: str = RESUME) -> None:
    """Write `data` to `path`: readers see the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written. The old file, if any, is untouched.
    """
    with atomic_file(path, way_out) as file:
        file.write(data)


def sync_folder(path: Path) -> None:
    """Make a rename in the folder `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
