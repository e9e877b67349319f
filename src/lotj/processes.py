"""Worker processes that end with their parent, and with the first error."""

from __future__ import annotations

import concurrent.futures as futures
import ctypes
import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

CONTEXT = mp.get_context("spawn")
"""How workers are started: a fork would share what the parent has open, its renderer among it."""


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def keep_memory() -> None:
    """What is freed stays with this process, up to 256 MB, and arrays up to 32 MB come from there.

    By default glibc gives arrays of some hundred kB back at once, and an update of an agent on states takes 1,700 page
    faults, a sixth of its time. Does nothing where the C library is another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 2**28)
        mallopt(M_MMAP_THRESHOLD, 2**25)


@contextmanager
def worker_pool(count: int, nice: int = 0, shared: Any = None) -> Iterator[futures.ProcessPoolExecutor]:
    """Processes that take one job after the other; an error or Ctrl-C in the block ends them and their jobs at once.

    They stand back for others by `nice`. What is `shared`, e.g. a queue of `CONTEXT`, cannot be given to jobs: they
    find it with `shared_object`.
    """
    pool = futures.ProcessPoolExecutor(count, CONTEXT, _begin, (nice, shared))
    try:
        yield pool
    except BaseException:  # no job is cancelled before: the pool's thread would trip over it and print a traceback
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_shared: Any = None


def shared_object() -> Any:
    """In a worker: what `worker_pool` was given for all."""
    return _shared


def _begin(nice: int, shared: Any) -> None:
    """Ctrl-C and a hangup reach the parent, which ends the workers; where it is killed, they end by themselves.

    Otherwise they would go on with their jobs, beside the processes that do them again.
    """
    global _shared
    _shared = shared
    keep_memory()
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    os.nice(nice)
    parent = mp.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)  # at once: what is half done is done again

    threading.Thread(target=end_with_parent, daemon=True).start()
