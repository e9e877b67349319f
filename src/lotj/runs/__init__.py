"""Run folders: settings, seed, versions, metrics and checkpoints of one run, written so that a kill loses nothing."""

from lotj.files import atomic_write, first_difference
from lotj.runs.metrics import plain
from lotj.runs.run import BASE, Run, base_run, find_run, read_timings, typed_command
from lotj.runs.settings import restore_settings

__all__ = [
    "BASE",
    "Run",
    "atomic_write",
    "base_run",
    "find_run",
    "first_difference",
    "plain",
    "read_timings",
    "restore_settings",
    "typed_command",
]
