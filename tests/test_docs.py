"""What README and docs say is so: figures are those of results/ (pages are filled by `scripts/fill_tables.py`), code
runs, links and headings exist. That commands, flags and files exist is held by tests/test_cli.py."""

from __future__ import annotations

import importlib.util
import re
import tomllib
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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
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


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_environment_of_the_readme_shows_what_it_says() -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["views"].shape == (2, 32, 64, 3) and names["views"].dtype == "uint8"
    names["env"].close()


def test_no_other_page_has_python_that_nothing_runs() -> None:
    """Those of data-format.md run in tests/test_data.py."""
    assert {page.name for page in PAGES if blocks(page, "python")} == {"README.md", "data-format.md"}


def test_the_part_on_the_page_is_the_example() -> None:
    (page,) = blocks(ROOT / "docs" / "connectors.md", "toml")
    example = (ROOT / "examples" / "my_plug.toml").read_text("utf-8")
    assert tomllib.loads(page) == tomllib.loads(example)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_that_are_called_and_pictures_that_are_shown_exist(page: Path) -> None:
    called = re.findall(r"python (examples/\S+)", "\n".join(blocks(page, "sh")))
    shown = re.findall(r'<img src="([^"]+)"', page.read_text("utf-8"))
    assert [name for name in called if not (ROOT / name).exists()] == []
    assert [name for name in shown if not (page.parent / name).exists()] == []


def anchors(page: Path) -> set[str]:
    """What can stand after # in a link to a page: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_heading_becomes_an_anchor(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Could it trust its own eyes?\n```sh\n# no heading\n```\n## Q's `gradient`, far\n")
    assert anchors(page) == {"could-it-trust-its-own-eyes", "qs-gradient-far"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text("utf-8")):
        assert heading in anchors(page.parent / target if target else page), f"{target}#{heading}"


def test_pictures_of_the_pages_are_small() -> None:
    """But for the sheet of 117 connectors."""
    large = {path.name for path in (ROOT / "docs" / "images").iterdir() if path.stat().st_size > 150_000}
    assert large <= {"connectors.png"}
