"""``lotj report``: a run folder as one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Command:
    """Make a run's report.html: one self-contained page with setting, table, curves, film strips and saliency."""

    run_folder: tyro.conf.Positional[Path] = Path("runs/last")
    """Folder of the run; the newest by default."""

    def run(self) -> None:
        """Write the page and print its path."""
        from lotj.report import build_report

        print(build_report(self.run_folder))
