"""Put the tables of results/ into the pages of docs/, so that no figure there is copied by hand.

    python scripts/fill_tables.py            # writes
    python scripts/fill_tables.py --check    # says what is out of date, and fails if anything is

A page names a table's file, as seen from the page, in a comment; what stands between it and the closing one is made:

    <!-- table: ../results/reproduce-laptop/table1.csv -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from lotj.experiments.tables import count_words

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"(<!-- table: (\S+\.csv) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
NOT_YET = "*Not run yet.*"


def fill(page: Path) -> str:
    """The page's text with all its tables as their files are now."""
    return BLOCK.sub(lambda found: found[1] + markdown(page.parent / found[2]) + found[4], page.read_text("utf-8"))


def markdown(file: Path) -> str:
    """A table of `lotj reproduce` as Markdown, one line a method."""
    if not file.exists():
        return NOT_YET + "\n"
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    cells = _successes(rows) if "successes" in rows[0] else _figures(rows)
    columns = list(dict.fromkeys(column for line in cells.values() for column in line))
    head = f"| method | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}\n"
    return head + "".join(
        f"| {name} | {' | '.join(line.get(c, '') for c in columns)} |\n" for name, line in cells.items()
    )


def _successes(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Method -> connector -> e.g. ``**36**/40 [19] (77-96 %)``: of n, the paper's, 95 % interval over units."""
    told = {row["connector"] for row in rows if row["verdict"] == "best"}
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        interval = (float(row["low"]), float(row["high"])) if int(row["units"]) > 1 else None
        mark = "**" * (row["connector"] in told and row["verdict"] != "worse")
        words = count_words(int(row["successes"]), int(row["n"]), interval, row["paper"], mark)
        cells.setdefault(row["method"], {})[row["connector"]] = words
    return cells


def _figures(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Method -> figure -> e.g. ``0.685 +- 0.039``."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        width = f" ± {float(row['half_width']):.3f}" if row["half_width"] else ""
        cells.setdefault(row["method"], {})[row["figure"]] = f"{float(row['mean']):.3f}{width}"
    return cells


def main() -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is out of date")
    check = parser.parse_args().check
    stale = [page for page in sorted(DOCS.glob("*.md")) if fill(page) != page.read_text("utf-8")]
    for page in stale:
        print(f"{page.name}: {'out of date, run `python scripts/fill_tables.py`' if check else 'filled'}")
        if not check:
            page.write_text(fill(page), "utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
