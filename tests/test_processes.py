"""Worker processes, and the memory that a process keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from lotj.processes import keep_memory
keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    [np.ones(131072, np.float32) for _ in range(4)]
before = faults()
for _ in range(50):
    [np.ones(131072, np.float32) for _ in range(4)]
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_arrays_of_half_a_megabyte_are_taken_from_memory_that_the_process_keeps() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    # 200 arrays of 128 pages each: 25,600 faults where they are given back each time
    assert int(done.stdout) < 200, done.stdout
