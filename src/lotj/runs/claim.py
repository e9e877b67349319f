"""One process at a time writes to a run: a second one would mix its trials and checkpoints with the first one's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from lotj.errors import SettingsError

_claimed: dict[Path, int] = {}
"""Folders that this process writes to -> descriptor of the file that is locked."""


def claim(folder: Path) -> None:
    """Claim a run folder for this process, until it releases it or ends, however that may be; SettingsError if another
    process has. The lock is on the folder's ``run.json``; a file system that knows no locks lets everybody in."""
    if folder in _claimed:
        return
    descriptor = os.open(folder / "run.json", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SettingsError(
            f"{folder}: another process writes to this run; end it, or wait until it has ended"
        ) from None
    except OSError:
        pass
    _claimed[folder] = descriptor


def release(folder: Path) -> None:
    """Give up a claim, if there is one."""
    if folder in _claimed:
        os.close(_claimed.pop(folder))


def _forget() -> None:
    """In a forked child: the locks are the parent's, who would keep them as long as the child had them open."""
    for descriptor in _claimed.values():
        os.close(descriptor)
    _claimed.clear()


os.register_at_fork(after_in_child=_forget)
