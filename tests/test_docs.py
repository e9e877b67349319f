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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("<!-- table: ") == len(fill_tables.BLOCK.findall(text))  # none left open
    assert fill_tables.fill(page) == text, "run `python scripts/fill_tables.py`"


def test_counts_as_markdown(tmp_path: Path) -> None:
    """Intervals are the file's; a single unit is one run; only a column in which a method is worse has marks."""
    file = tmp_path / "table.csv"
    file.write_text(
        "connector,method,successes,n,low,high,units,by_unit,verdict,p,paper\n"
        "plug,ours,9,10,0.021,0.999,1,seed0.duo.0=9/10,cannot tell,,19\n"
        "plug,theirs,3,10,0.001,0.9,1,seed0.duo.0=3/10,cannot tell,1.0,\n"
        "all,ours,12,20,0.387,0.782,2,a=9/10 b=3/10,best,,19/40\n"
        "all,theirs,3,20,0.052,0.4,2,a=3/10 b=0/10,worse,0.0312,\n"
        "all,others,11,20,0.3,0.7,2,a=8/10 b=3/10,cannot tell,0.5,\n"
    )
    lines = fill_tables.markdown(file).splitlines()
    assert lines[0] == "| method | plug | all |"
    assert lines[2] == "| ours | 9/10 [19] (one run) | **12**/20 [19/40] (39-78 %) |"
    assert lines[3] == "| theirs | 3/10 (one run) | 3/20 (5-40 %) |"
    assert lines[4] == "| others |  | **11**/20 (30-70 %) |"


def test_a_page_is_filled_and_says_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("method,figure,mean,half_width\nDAIB,all,0.88123,0.0212\nERM,all,0.7,\n")
    page = tmp_path / "page.md"
    page.write_text(
        "Before.\n<!-- table: there.csv -->\nold\n<!-- end of table -->\n"
        "<!-- table: missing.csv -->\n<!-- end of table -->\nAfter.\n"
    )
    assert fill_tables.fill(page) == (
        "Before.\n<!-- table: there.csv -->\n"
        "| method | all |\n| --- | --- |\n| DAIB | 0.881 ± 0.021 |\n| ERM | 0.700 |\n"
        "<!-- end of table -->\n<!-- table: missing.csv -->\n*Not run yet.*\n<!-- end of table -->\nAfter.\n"
    )


def test_the_papers_own_way_by_hand_is_that_of_the_comparisons() -> None:
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    pattern = r"The paper's own losses.*?```sh\nlotj pretrain (.*?)\nlotj practice --connector europlug (.*?)```"
    found = re.search(pattern, page, re.DOTALL)
    assert found is not None
    ours, losses, practice = find_preset("laptop"), *(line.replace("\\\n", "").split() for line in found.groups())
    paper = as_in_paper(ours)
    asked: Any = parse(["pretrain", *losses])
    assert (asked.iql, asked.pretrain) == (paper.iql, paper.pretrain) and len(losses) == 4
    asked = parse(["practice", "--preset", "laptop", "--connector", "europlug", *practice])
    assert asked.settings == replace(ours.practice, **PAPER_PRACTICE)
