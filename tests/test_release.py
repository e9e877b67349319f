"""What a release holds: the wheel, built of what git tracks and installed in a fresh environment, does the demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str | Path, folder: Path, **environment: str) -> str:
    """What a command prints; a failure shows what it said."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([*map(str, words)], cwd=folder, env=plain | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make dist` builds it, in a copy of the files that git tracks: what lies about here must not get in."""
    root = tmp_path_factory.mktemp("release")
    for name in run("git", "ls-files", "-z", folder=ROOT).split("\0"):
        if name.startswith(("src/", "pyproject.toml", "README.md", "LICENSE")) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (recipe,) = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if "$(PIP) wheel" in line]
    flags = recipe.split("$(PIP) wheel ")[1].split()
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *flags, folder=root)
    (built,) = (root / "dist").iterdir()
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = {name.removeprefix("src/") for name in run("git", "ls-files", "src", folder=ROOT).split()}
    assert names == tracked
    assert wheel.name.startswith(f"{project['name']}-") and wheel.stat().st_size < 60e6


@pytest.mark.slow
def test_an_installed_release_does_the_demo_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """The packages that lotj needs are this interpreter's, so that nothing is downloaded; lotj is the wheel's."""
    environment, folder = tmp_path / "environment", tmp_path / "with a space"
    folder.mkdir()
    run(sys.executable, "-m", "venv", environment, folder=tmp_path)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, folder=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).strip())
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import lotj; print(lotj.__file__)", folder=folder).strip()
    assert Path(where).is_relative_to(site)
    said = run(environment / "bin" / "lotj", "demo", folder=folder, COLUMNS="120")
    assert "trial 100/100" in said and "After practice" in said
    assert "as-3112" in (folder / "runs" / "demo" / "last" / "report.html").read_text("utf-8").lower()
    assert [path.name for path in folder.iterdir()] == ["runs"]
