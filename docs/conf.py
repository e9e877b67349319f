"""How Sphinx makes the documentation site: `make docs`.

The source folder is the repository's root, so that links between docs/, README, results/ and examples/ are the same on
the site as in a checkout. What is generated, the help of every command, the docstrings and the examples, is written to
docs/reference/, which git ignores. Nothing on the site comes from elsewhere: equations become MathML when it is built,
and the search index is a script of its own, so that it works from a folder, too.
"""

from __future__ import annotations

import contextlib
import io
import os
import pkgutil
import re
import sys
import textwrap
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.ext.napoleon import Config, GoogleDocstring

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import lotj  # noqa: E402
from lotj.cli import COMMANDS, parse  # noqa: E402

project = "lotj"
author = "the lotj authors"
release = version = lotj.__version__
project_copyright = author

extensions = ["myst_parser", "sphinx_external_toc", "sphinx.ext.autodoc"]
external_toc_path = "docs/_toc.yml"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
include_patterns = [
    "*.md",
    "docs/**",
    "results/*.md",
    "results/**/*.md",
    "benchmarks/**/README.md",
    "integrations/**/README.md",
]
exclude_patterns = ["**/.*", ".*", "build", "data", "dist", "runs", "src", "tests", "typings", "docs/images"]
suppress_warnings = [
    "toc.not_included",  # tables of results/ are reached by links; that pages of docs/ stand there is tested
    "ref.python",  # in a signature: one name in two modules
]

myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["ray", "stable_baselines3"]
python_maximum_signature_line_length = 100
maximum_signature_line_length = 100

html_theme = "furo"
html_title = "lotj"
html_static_path = ["site.css", f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSerif.ttf"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # needs a server: a page in a folder may not read another
html_show_sourcelink = False
pygments_style = "friendly"


def help_of(*words: str) -> str:
    """What `lotj WORDS --help` prints, 88 columns wide."""
    text = io.StringIO()
    narrow = mock.patch.dict(os.environ, COLUMNS="88", NO_COLOR="1")
    with narrow, contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        parse([*words, "--help"])
    return text.getvalue()


def subcommands(text: str) -> list[str]:
    """Names in the usage line of a help, ``{list,show}``."""
    head = " ".join(text.split("\n\n")[0].split())
    return head.partition("{")[2].partition("}")[0].split(",") if "{" in head else []


def titled(title: str, line: str = "=") -> str:
    """A heading."""
    return f"{title}\n{line * len(title)}\n"


def literal(text: str) -> str:
    """A block of text as it is."""
    lines = [short for line in text.strip("\n").splitlines() for short in textwrap.wrap(line, 90) or [""]]
    return ".. code-block:: text\n\n" + "".join(f"   {line}".rstrip() + "\n" for line in lines)


def command_pages() -> str:
    """A section for each command, and one for each of its subcommands."""
    parts = [titled("Help of every command"), "What ``lotj COMMAND --help`` prints.\n"]
    for name in COMMANDS:
        text = help_of(name)
        parts += [titled(f"lotj {name}", "-"), literal(text)]
        for sub in subcommands(text):
            parts += [titled(f"lotj {name} {sub}", "~"), literal(help_of(name, sub))]
    return "\n".join(parts)


def module_page(part: str, names: list[str]) -> str:
    """The docstrings of a part of the package."""
    body = [f".. automodule:: {name}\n   :members:\n   :show-inheritance:\n" for name in names]
    sections = [f"{titled(name, '-')}\n{text}" for name, text in zip(names[1:], body[1:], strict=True)]
    return "\n".join([titled(f"lotj.{part}"), body[0], *sections])  # the package itself comes first


def example_page() -> str:
    """The source of every example."""
    files = sorted((ROOT / "examples").iterdir())
    body = [f"{titled(path.name, '-')}\n.. literalinclude:: ../../examples/{path.name}\n" for path in files]
    return "\n".join([titled("The examples' source"), *body])


def write_reference() -> None:
    """Write docs/reference/; a file that is as it was is left alone, so that Sphinx does not read it again."""
    parts: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages([str(ROOT / "src" / "lotj")], "lotj."):
        if not module.name.startswith(("lotj.cli.", "lotj.__main__")):
            parts.setdefault(module.name.split(".")[1], []).append(module.name)
    pages = {f"api-{part}": module_page(part, names) for part, names in parts.items() if part != "cli"}
    pages |= {"command-help": command_pages(), "examples": example_page()}
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def visit_math(self: Any, node: nodes.math) -> None:
    """An equation within a line, as MathML, which browsers draw by themselves."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """An equation on lines of its own."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def as_restructured(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings of the package are plain text with names in backticks and, but for attributes, sections as Google
    writes them. What else reStructuredText would read as a mark is escaped."""
    parts = re.split(r"(`+[^`]+`+)", "\n".join(lines))
    plain = [re.sub(r"[*|\\]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    names = [f"``{part.strip('`')}``" for part in parts[1::2]]
    text = "".join(part for pair in zip_longest(plain, names, fillvalue="") for part in pair)
    if what not in ("attribute", "data", "property"):
        text = str(GoogleDocstring(text, Config(napoleon_use_ivar=True), app, what, name, obj, options))
    lines[:] = text.split("\n")


def write_start(app: Any, error: Exception | None) -> None:
    """The site starts at its folder's index.html."""
    if error is None:
        page = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html">'
        (Path(app.outdir) / "index.html").write_text(f"{page}<title>lotj</title>\n", "utf-8")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_block, None))
    app.connect("autodoc-process-docstring", as_restructured)
    app.connect("build-finished", write_start)
    write_reference()


html_math_renderer = "mathml"
