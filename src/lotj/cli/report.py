"""``lotj report``: a run folder as one page."""

from __future__ import annotations

from dataclasses import dataclass

from lotj.cli.job import OfRun, pick_run


@dataclass(frozen=True)
class Command(OfRun):
    """Make a practice run's report.html: one self-contained page with table, curves, film strips and saliency."""

    def run(self) -> None:
        from lotj.report import build_report

        print(build_report(pick_run(self.folder, self.runs, "practice").path))
