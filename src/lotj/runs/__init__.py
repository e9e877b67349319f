"""Run folders: settings, seed, versions, metrics and checkpoints of one run, written so that a kill loses nothing."""

from lotj.files import atomic_write
from lotj.runs.metrics import plain
from lotj.runs.run import Run, find_run
from lotj.runs.settings import changed_flags, first_difference, restore_settings

__all__ = ["Run", "atomic_write", "changed_flags", "find_run", "first_difference", "plain", "restore_settings"]
