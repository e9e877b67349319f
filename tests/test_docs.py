"""What README and docs say is so: figures are those of results/ (pages are filled by `scripts/fill_tables.py`), code
runs, links and headings exist. That commands, flags and files exist is held by tests/test_cli.py."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lotj.cli import COMMANDS, main, parse
from lotj.experiments.chapter import overview
from lotj.experiments.chapters import chapters
from lotj.experiments.comparisons import COMPARISONS
from lotj.experiments.figures import FIGURES
from lotj.experiments.presets import PAPER_PRACTICE, as_in_paper, find_preset
from lotj.experiments.questions import QUESTIONS
from lotj.experiments.reward_ablation import TABLE4
from lotj.experiments.robustness import ROBUSTNESS
from lotj.sim.connector import find_connector
from lotj.sim.randomization import draw_randomization

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


def result(name: str) -> str:
    """A file of results/, its spaces made single."""
    return " ".join((ROOT / "results" / name).read_text("utf-8").replace("**", "").split())


def figure(pattern: str, name: str) -> list[int]:
    """The whole numbers that the groups of a pattern find in a result."""
    found = re.search(pattern, result(name))
    assert found is not None, pattern
    return [int(float(number) + 0.5) for number in found.groups()]


def test_the_sentences_below_the_table_of_the_readme_are_those_of_the_results() -> None:
    table = "headline/table.md"
    minutes = figure(r"\| all \| [\d.]+ ± [\d.]+ \| ([\d.]+) ±", table)
    fifty = figure(r"after 50 trials on 80 % of units: \w+ \((\d+) of (\d+) units", table)
    hundred, units = figure(r"after 100 trials on 95 % of units: \w+ \((\d+) of (\d+) units", table)
    predicted, false = figure(r"(\d+) predicted successes, (\d+) of them false", table)
    before, of = figure(r"\| all \| (\d+)/(\d+)", "blind/table.md")
    after = figure(r"or more of 480 after practice: \w+ \((\d+)\)", "blind/table.md")
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"After 50 trials ({minutes[0]} minutes of robot time) {fifty[0]} of {fifty[1]} units are at 19" in text
    assert f"after 100 trials {hundred}, where the target was {math.ceil(0.95 * units)}" in text
    assert f"{false} of {predicted} predicted successes were false" in text
    assert f"{before} of {of} before and {after[0]} after" in text


def test_how_long_the_demo_takes_is_measured() -> None:
    seconds = json.loads((ROOT / "results" / "benchmarks" / "phases.json").read_text("utf-8"))["demo"]["seconds"]
    assert 120 <= seconds <= 180 and "two to three minutes after set-up" in (ROOT / "README.md").read_text("utf-8")


def test_how_long_a_pretraining_takes_is_measured() -> None:
    files = sorted((ROOT / "results" / "headline").glob("pretrain-ours-seed*.json"))
    minutes = [round(json.loads(path.read_text("utf-8"))["result"]["seconds"] / 60) for path in files]
    text = (ROOT / "docs" / "own-base.md").read_text("utf-8")
    assert f"Pretraining took {' and '.join(map(str, minutes))} minutes" in text


def test_the_angles_of_the_bench_are_those_that_are_drawn() -> None:
    """Of the plug in the hand against the socket, both turned by rotation vectors, over 500 benches."""
    part, angles = find_connector("nema-5-15"), []
    for seed in range(500):
        drawn = draw_randomization(part, seed)
        socket = Rotation.from_rotvec(drawn.clamp_tilt) * Rotation.from_euler("z", drawn.clamp_yaw)
        angles.append((socket.inv() * Rotation.from_rotvec(drawn.grasp_tilt)).magnitude())
    median, most = np.degrees([np.median(angles), np.max(angles)])
    said = f"{median:.1f} degrees in the median, {most:.1f} at most of 500 benches"
    assert said in " ".join((ROOT / "docs" / "bench.md").read_text("utf-8").split())


def made_by() -> dict[str, str]:
    """Files below results/, as patterns, and the command that makes them, as results/README.md says."""
    text = (ROOT / "results" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == len(dict(rows)) > 15
    return dict(rows)


def test_every_result_is_made_by_one_command() -> None:
    results = ROOT / "results"
    files = [path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()]
    assert "benchmarks/latency.json" in files
    for file in files:
        makers = [command for pattern, command in made_by().items() if fnmatch.fnmatch(file, pattern)]
        assert len(makers) == (file != "README.md"), f"{file}: named by {makers}"


@pytest.mark.parametrize(("files", "command"), made_by().items(), ids=made_by())
def test_the_command_of_a_result_is_there_and_writes_that_file(files: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        script = (ROOT / words[1]).read_text("utf-8")
        assert words[words.index("--out") + 1] == f"results/{files}"
        named = words[2 : words.index("--")] if "--" in words else words[2:]
        assert all(f'"{flag}"' in script for flag in named if flag.startswith("--"))
        return
    asked: Any = parse(words[1:])
    studies: dict[str, Any] = {**COMPARISONS, "disturbances": ROBUSTNESS, "table4": TABLE4, **FIGURES}
    named = list(studies) if asked.what == "all" else [asked.what]
    studies |= QUESTIONS
    if asked.what in (*chapters(), "bottleneck", "detectors"):
        assert files in (f"{asked.what}/*", "chapters.md")
        return
    folders = {*named, *(studies[name].cells for name in named)}
    assert files.split("/")[0] in folders or files == "leaderboard.md"


def test_the_overview_of_the_chapters_is_that_of_their_pages() -> None:
    assert (ROOT / "results" / "chapters.md").read_text("utf-8") == overview(chapters(), ROOT / "results")


DONE = [
    name
    for name in ("headline", "blind", "disturbances", "bottleneck", "detectors", *chapters())
    if (ROOT / "results" / name).exists()
]


@pytest.fixture(scope="module")
def copied_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(ROOT / "results", tmp_path_factory.mktemp("docs") / "results")


@pytest.mark.parametrize("name", DONE)
def test_a_table_is_made_anew_from_its_files_by_the_code_of_today(name: str, copied_results: Path) -> None:
    """Jobs whose arguments have changed since would no longer be taken for what is there."""
    there, here = ROOT / "results", copied_results
    command = shlex.split(made_by()[f"{name}/*"])[1:]
    assert main([*command, "--show", "--out", str(here)]) == 0
    files = [path.relative_to(here) for path in (here / name).iterdir()]
    assert {path for path in files if (here / path).read_bytes() != (there / path).read_bytes()} == set()


@pytest.mark.parametrize("page", fill_tables.PAGES, ids=lambda page: page.name)
def test_results_that_a_page_links_to_are_there_or_can_be_made(page: Path) -> None:
    """A table's block says that it is not there yet; nothing else may stand for a missing file."""
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(((?:\.\./)?results[^)#]*)", text)
    assert not [link for link in links if not (page.parent / link).exists()]
    blocks = [(page.parent / file).resolve() for _, file, *_ in fill_tables.BLOCK.findall(text)]
    for path in blocks:
        file = path.relative_to(ROOT / "results").as_posix()
        assert any(fnmatch.fnmatch(file, pattern) for pattern in made_by()), file


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


TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_environment_of_the_tutorial_shows_what_it_says() -> None:
    (code,) = blocks(TUTORIAL, "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["views"].shape == (2, 32, 64, 3) and names["views"].dtype == "uint8"
    names["env"].close()


def run_lines(page: Path, folder: Path, left_out: Sequence[str]) -> tuple[list[list[str]], str]:
    """Runs the page's commands one after the other in an empty folder beside which examples/ lies; returns their words
    and what they print. What sets the environment up is left out, named by how it begins."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for name, module in (("python", ""), ("lotj", "-m lotj ")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        (folder / name).chmod(0o755)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if not line.startswith(tuple(left_out))]
    search = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": search, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "120"}
    said = ""
    for words in commands:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        said += done.stdout
    return commands, said


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    """But those that set up: a part of one's own from nothing to a report."""
    commands, _ = run_lines(ROOT / "README.md", tmp_path, ("git ", "make ", ". "))
    assert [words[:2] for words in commands] == [["lotj", "practice"], ["lotj", "evaluate"], ["lotj", "report"]]
    assert len(list(tmp_path.glob("runs/**/report.html"))) == 1


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    commands, said = run_lines(TUTORIAL, tmp_path, ("make setup", ". .venv"))
    assert [" ".join(words[:2]) for words in commands] == [
        "lotj doctor",
        "cp examples/my_plug.toml",
        "lotj connectors",
        "python examples/02_own_part.py",
        "lotj practice",
        "lotj evaluate",
        "lotj report",
    ]
    checked, counted = blocks(TUTORIAL, "text")
    assert checked in said
    rows = re.findall(r"^  ([A-Z][a-z ]+?)  +\d", counted, re.MULTILINE)
    assert rows == ["Before practice", "After practice", "Straight down", "Spiral search"]
    assert all(re.search(rf"{row}\W+\d+/20", said) for row in rows)
    assert (tmp_path / "my_plug.png").exists() and (tmp_path / "runs" / "last" / "report.html").exists()


def test_no_other_page_has_python_that_nothing_runs() -> None:
    """Those of data-format.md run in tests/test_data.py, that of detectors.md in tests/test_detectors.py."""
    assert {page.name for page in PAGES if blocks(page, "python")} == {"tutorial.md", "data-format.md", "detectors.md"}


def test_the_part_on_the_page_is_the_example() -> None:
    (page,) = blocks(ROOT / "docs" / "own-part.md", "toml")
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


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)|<img src=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_not_to_folders(page: Path) -> None:
    """A folder has no page on the site."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = {one or other for one, other in LINK.findall(text)}
    assert {target for target in targets if not (page.parent / target).is_file()} == set()


def test_every_page_stands_once_in_the_contents_of_the_site() -> None:
    """A new page needs a line in docs/_toc.yml."""
    named = re.findall(r"(?:root|- file): (\S+)", (ROOT / "docs" / "_toc.yml").read_text("utf-8"))
    pages = [path.relative_to(ROOT).with_suffix("").as_posix() for path in (*PAGES, ROOT / "CHANGELOG.md")]
    generated = ["docs/reference/command-help", "docs/reference/examples"]
    assert sorted(named) == sorted([*pages, *generated])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text("utf-8")):
        assert heading in anchors(page.parent / target if target else page), f"{target}#{heading}"


def test_pictures_of_the_pages_are_small() -> None:
    """But for the sheet of 119 connectors."""
    large = {path.name for path in (ROOT / "docs" / "images").iterdir() if path.stat().st_size > 150_000}
    assert large <= {"connectors.png"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, where a warning is an error."""
    pytest.importorskip("sphinx", reason="pip install 'lotj[docs]'")
    (recipe,) = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if " -m sphinx " in line]
    folder = tmp_path_factory.mktemp("site")
    words = recipe.split(" -m ")[1].replace("build/docs", str(folder)).split()
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    """No picture, script, style or font but its own; links of the text may lead elsewhere."""
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    loads = (
        r"<(?:img|script|iframe|source)[^>]*\bsrc=\"(?:https?:)?//|<link[^>]*href=\"(?:https?:)?//|url\([\"']?https?:"
    )
    assert len(pages) > 60
    assert [page.name for page in pages if re.search(loads, page.read_text("utf-8"))] == []


@pytest.mark.slow
def test_the_site_has_equations_help_docstrings_and_a_search(site: Path) -> None:
    methods = {page.stem: page.read_text("utf-8") for page in (site / "docs" / "methods").glob("*.html")}
    assert len(methods) == 8
    assert all("<math" in text for text in methods.values())
    assert "$$" not in "".join(methods.values())
    helped = (site / "docs" / "reference" / "command-help.html").read_text("utf-8")
    assert all(f"usage: lotj {name}" in helped for name in COMMANDS)
    documented = (site / "docs" / "reference" / "api-agents.html").read_text("utf-8")
    assert 'id="lotj.agents.iql.IQLConfig.expectile"' in documented
    found = (site / "searchindex.js").read_text("utf-8")
    assert '"retent"' in found and "docs/glossary" in found  # words by their stems
