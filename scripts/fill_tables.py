"""Put the tables of results/ into the pages of docs/ and README, so that no figure there is copied by hand.

    python scripts/fill_tables.py            # writes
    python scripts/fill_tables.py --check    # says what is out of date, and fails if anything is

A page names a file, as seen from the page, and if it is not the first part that is wanted, its heading, in a comment;
what stands between it and the closing one is made:

    <!-- table: ../results/headline/table.md Targets -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- table: (\S+\.md)(?: ([^>\n]+?))? -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
NOT_YET = "*Not run yet.*\n"


def fill(page: Path) -> str:
    """The page's text with all its tables as their files are now."""
    text = page.read_text("utf-8")
    return BLOCK.sub(lambda found: found[1] + part(page.parent / found[2], found[3]) + found[5], text)


def part(file: Path, heading: str | None) -> str:
    """The table or list that stands first below a heading, by default below the title."""
    if not file.exists():
        return NOT_YET
    parts = re.split(r"^#+ (.+)\n", file.read_text("utf-8"), flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True)).get(heading or parts[1], "")
    lines = re.search(r"^[|-] .*\n(?:[|-].*\n|  .*\n)*", text, re.MULTILINE)
    if lines is None:
        raise SystemExit(f"{file}: there is no table or list below {heading or parts[1]!r}")
    return lines[0]


def main() -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is out of date")
    check = parser.parse_args().check
    stale = [page for page in PAGES if fill(page) != page.read_text("utf-8")]
    for page in stale:
        print(f"{page.name}: {'out of date, run `python scripts/fill_tables.py`' if check else 'filled'}")
        if not check:
            page.write_text(fill(page), "utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
