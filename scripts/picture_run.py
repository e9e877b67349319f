"""Pictures of a practice run for README and docs: `python scripts/picture_run.py docs/images [RUN]`.

RUN has been practised, evaluated and reported; without it the tutorial's commands do that now, on a machine with
nothing else to do, for the live view shows times. Writes the live view as it was in the middle of practice, and parts
of the report's page, which headless Chromium (`chromium` on the path) draws. What the tutorial and README say of the
run, counts and all, is then to be changed by hand.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageChops
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from lotj.cli import main as lotj
from lotj.training.live_view import LiveView

PARTS = {"report": ("header", "#result"), "curve": ("#curve",), "trust": ("#trust",), "films": ("#films",)}
"""Picture -> what of the page is on it."""

WIDTH = 1000


def shoot(page: str, width: int = WIDTH) -> Image.Image:
    """A page as a picture, without most of what is empty around it."""
    with tempfile.TemporaryDirectory() as folder:
        source, shot = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},3000"]
        command = ["chromium", *flags, f"--screenshot={shot}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
    empty = Image.new("RGB", picture.size, picture.getpixel((width - 1, picture.height - 1)))
    left, top, right, bottom = ImageChops.difference(picture, empty).getbbox() or (0, 0, *picture.size)
    return picture.crop((max(left - 16, 0), max(top - 16, 0), min(right + 16, width), min(bottom + 16, picture.height)))


def live_view(run: Path) -> str:
    """The live view after half of a run's trials, from its metrics, as HTML."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    half = rows[: len(rows) // 2]
    view = LiveView(f"runs/{run.resolve().name}", config["trials"])
    view._rows = half
    view._started = time.monotonic() - sum(row["seconds"] for row in half)  # it shows what has passed since
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    console.print(view._panel())
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # fonts from elsewhere
    svg = console.export_svg(title="lotj practice", code_format=form)
    return f"<body style='margin:0;background:white'><div style='width:{WIDTH}px'>{svg}</div>"


def practised(folder: Path) -> Path:
    """A run in a folder, made as in the tutorial."""
    shutil.copy(Path(__file__).parents[1] / "examples" / "my_plug.toml", folder)
    os.chdir(folder)
    for words in (["practice", "--connector", "my_plug.toml", "--trials", "60"], ["evaluate"], ["report"]):
        if code := lotj(words):
            sys.exit(code)
    return folder / "runs" / "last"


def main() -> None:
    """Write live-view.png and the parts of the report."""
    folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as made:
        draw(Path(sys.argv[2]) if len(sys.argv) > 2 else practised(Path(made)), folder)


def draw(run: Path, folder: Path) -> None:
    """Of a run that is there."""
    page = (run / "report.html").read_text(encoding="utf-8")
    pictures = {"live-view": live_view(run)}
    for name, shown in PARTS.items():
        hidden = ", ".join(f"{part}" for part in ("header", "main > section", "footer"))
        style = f"<style>{hidden} {{display: none}} {', '.join(shown)} {{display: block !important}}</style>"
        pictures[name] = page.replace("</head>", f"{style}</head>")
    for name, html in pictures.items():
        picture = shoot(html)
        if name == "films":  # photographs take much room
            picture = picture.resize((720, round(picture.height * 720 / picture.width)))
        picture = picture.quantize(256, dither=Image.Dither.NONE)
        path = folder / f"{name}.png"
        picture.save(path, optimize=True)
        print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
