"""Set-up that every test shares."""

import gc
import os
import signal
from pathlib import Path

# Threads of torch sleep while they wait, as in the command line; it must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Processes that tests start have small networks, too, and share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lotj.sim  # noqa: E402, F401  chooses the renderer, which must happen before any test imports mujoco

import pytest  # noqa: E402  # isort: skip

from lotj.processes import keep_memory  # noqa: E402

# Processes that tests start find this lotj, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])

# A shell starts what runs in the background with Ctrl-C ignored, and nohup what it runs with SIGHUP, which processes
# that tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded and collected by now, some 300,000 objects, stays to the end. To look through it for garbage again
    and again takes a thirtieth of the time of all tests."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(700, 10, 50)  # what is loaded later is looked through more seldom


@pytest.fixture(autouse=True, scope="session")
def as_a_command() -> None:
    """Memory is kept as in the command line. One thread, too, for fixtures of modules, which come before a test's."""
    import torch  # not above: the process that only shares out the tests need not wait for it

    keep_memory()
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Networks as small as the tests' gain nothing from threads, and lose much where cores are shared."""
    import torch

    torch.set_num_threads(1)
