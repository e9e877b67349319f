"""``lotj report``: a run folder as one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lotj.cli.job import RUNS, pick_run


@dataclass(frozen=True)
class Command:
    """Make a practice run's report.html: one self-contained page with table, curves, film strips and saliency."""

    run_folder: tyro.conf.Positional[Path | None] = None
    """Folder of the practice run; the newest under --runs by default."""
    runs: Path = RUNS
    """Folder of all runs."""

    def run(self) -> None:
        """Write the page and print its path."""
        from lotj.report import build_report

        print(build_report(pick_run(self.run_folder, self.runs, "practice").path))
