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


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's write errors on `path` into a `StorageError` with the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(f"disk full at {path}: free some space, then continue with --resume") from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"cannot write {path}: {reason}; choose another folder or mend its permissions") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under `path`, complete and on disk, only when the block ends without an error.

    Raises:
        StorageError: the disk is full or the folder cannot be written. The old file, if any, is untouched.
    """
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
    """Write `data` to `path`: readers see the old file or the new one, never a part.

    Raises:
        StorageError: the disk is full or the folder cannot be written. The old file, if any, is untouched.
    """
    with atomic_file(path) as file:
        file.write(data)


def sync_folder(path: Path) -> None:
    """Make a rename in the folder `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
