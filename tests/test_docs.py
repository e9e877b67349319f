"""Figures in docs/ are those of results/: pages are filled by `scripts/fill_tables.py`."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lotj.cli import parse
from lotj.experiments.presets import PAPER_PRACTICE, as_in_paper, find_preset

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("fill_tables", ROOT / "scripts" / "fill_tables.py")
assert spec is not None and spec.loader is not None
fill_tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fill_tables)


@pytest.mark.parametrize("page", fill_tables.PAGES, ids=lambda page: page.name)
def test_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("<!-- table: ") == len(fill_tables.BLOCK.findall(text))  # none left open
    assert fill_tables.fill(page) == text, "run `python scripts/fill_tables.py`"


def test_a_page_is_filled_and_says_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text(
        "# Title\n\n| a |\n| - |\n| 1 |\n\nNote.\n\n## Targets\n\n- x: yes (2)\n- y: no\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "Before.\n<!-- table: there.md -->\nold\n<!-- end of table -->\n"
        "<!-- table: there.md Targets -->\n<!-- end of table -->\n"
        "<!-- table: missing.md -->\n<!-- end of table -->\nAfter.\n"
    )
    assert fill_tables.fill(page) == (
        "Before.\n<!-- table: there.md -->\n| a |\n| - |\n| 1 |\n<!-- end of table -->\n"
        "<!-- table: there.md Targets -->\n- x: yes (2)\n- y: no\n<!-- end of table -->\n"
        "<!-- table: missing.md -->\n*Not run yet.*\n<!-- end of table -->\nAfter.\n"
    )
    page.write_text("<!-- table: there.md Nothing -->\n<!-- end of table -->\n")
    with pytest.raises(SystemExit, match="there is no table or list below 'Nothing'"):
        fill_tables.fill(page)


def test_the_papers_own_way_by_hand_is_that_of_the_comparisons() -> None:
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    pattern = r"The paper's own losses.*?```sh\nlotj pretrain (.*?)\nlotj practice --connector europlug (.*?)```"
    found = re.search(pattern, page, re.DOTALL)
    assert found is not None
    ours, losses, practice = find_preset("laptop"), *(line.replace("\\\n", "").split() for line in found.groups())
    paper = as_in_paper(ours)
    asked: Any = parse(["pretrain", *losses])
    assert (asked.settings.iql, asked.settings.pretrain) == (paper.iql, paper.pretrain) and len(losses) == 4
    asked = parse(["practice", "--preset", "laptop", "--connector", "europlug", *practice])
    assert asked.settings == replace(ours.practice, **PAPER_PRACTICE)
