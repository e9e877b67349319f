"""A run folder in, one self-contained HTML page out. Reads run folders only."""

from __future__ import annotations

from lotj.report.build import build_report

__all__ = ["build_report"]
