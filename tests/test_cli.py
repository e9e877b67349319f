"""The command line: one clear line for every mistake, no work done for a look at the help."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lotj.cli import COMMANDS, main, parse
from lotj.errors import RendererError
from lotj.sim.connector import catalogue

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def lotj(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lotj", *words], capture_output=True, text=True, env={**os.environ, **environment}
    )


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and the single line on stderr of a command that fails."""
    code = main(words)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return code, lines[0]


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lotj.cli import main; main(['--help']); "
        "heavy = {'torch', 'mujoco', 'numpy', 'tyro'} & set(sys.modules); assert not heavy, heavy"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 2.0  # 0.1 s on an idle machine
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_with_a_documented_dataclass(name: str) -> None:
    command = importlib.import_module(f"lotj.cli.{name}").Command
    assert command.__doc__ and not command.__doc__.startswith("Command(")
    assert callable(command.run)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"usage: lotj {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["practise"], "unknown command 'practise': did you mean 'practice'?"),
        (["connectors", "show", "nema-5-51"], "unknown connector 'nema-5-51'; nearest: nema-5-15"),
        (["connectors", "show", "my_plug.toml"], "my_plug.toml: no such file"),
        (["connectors", "sheet", "--columns", "0"], "--columns 0: must be between 1 and"),
        (["connectors", "sheet", "--out", "/nowhere/x.png"], "cannot write /nowhere/x.png"),
        (["data", "info", "/nowhere"], "no data set at /nowhere"),
        (["data", "check", "/nowhere"], "no data set at /nowhere"),
        (["report", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2_or_more(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = one_line(capsys, *words)
    assert code >= 2
    assert part in line


def test_flags_that_do_not_exist_end_with_code_2() -> None:
    done = lotj("data", "info", "--rot", "x")
    assert done.returncode == 2
    assert "--rot" in done.stderr and "Traceback" not in done.stderr


def test_a_bad_connector_file_names_field_value_and_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "src/lotj/sim/catalogue/nema-5-15.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r"insertion_depth_mm = \S+", "insertion_depth_mm = 500", text))
    code, line = one_line(capsys, "connectors", "show", str(path))
    assert code == 2
    assert "insertion_depth_mm = 500: must be between" in line


def test_connectors_list_and_show_print_the_numbers_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connectors", "list"]) == 0
    listed = capsys.readouterr().out
    assert f"{len(catalogue())} connectors in" in listed
    assert all(name in listed for name in catalogue())
    assert main(["connectors", "show", "nema-5-15"]) == 0
    shown = capsys.readouterr().out
    part = catalogue()["nema-5-15"]
    assert f"{1e3 * part.insertion_depth:.4g} mm" in shown
    assert f"{part.seating_force:g} N" in shown
    assert part.source in shown
    assert all(feature.name in shown for feature in part.features)


def test_a_fault_of_lotj_is_one_line_and_a_traceback_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import lotj.cli.doctor as d\ndef run(self):\n    raise ZeroDivisionError('planted')\nd.Command.run = run\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    quiet = lotj("doctor", PYTHONPATH=path, LOTJ_DEBUG="")
    assert quiet.returncode == 1
    assert quiet.stderr.splitlines() == [
        "fault in lotj: ZeroDivisionError: planted; LOTJ_DEBUG=1 shows where, please report it"
    ]
    loud = lotj("doctor", PYTHONPATH=path, LOTJ_DEBUG="1")
    assert "Traceback" in loud.stderr and loud.returncode != 0


def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import lotj.cli.doctor as d, time\ndef run(self):\n    print('here', flush=True); time.sleep(60)\n"
        "d.Command.run = run\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    command = [sys.executable, "-m", "lotj", "doctor"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines() == ["stopped; finished work is kept: the same command with --resume goes on"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m lotj connectors show nema-5-15 | head -n 1"], capture_output=True, text=True
    )
    assert done.stderr == ""


def test_without_a_renderer_the_doctor_says_what_to_install() -> None:
    done = lotj("doctor", MUJOCO_GL="disable")
    assert done.returncode == RendererError.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    for package in ("libegl1", "libopengl0", "libgl1-mesa-dri", "libosmesa6", "make renderer"):
        assert package in done.stderr


def test_a_renderer_that_does_not_work_is_named() -> None:
    done = lotj("doctor", MUJOCO_GL="nonsense")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "MUJOCO_GL=nonsense does not work" in done.stderr


def test_doctor_reports_the_renderer_and_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    from lotj.sim.renderer import renderer_info

    assert main(["doctor"]) == 0
    assert f"renderer  {renderer_info()}" in capsys.readouterr().out
    assert renderer_info().frames_per_s > 1


def shell_lines(document: Path) -> list[str]:
    """Command lines in the document's sh blocks, continuation lines joined, comments cut."""
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_flags_and_targets_that_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in shell_lines(document):
        words = shlex.split(line)
        while "=" in words[0]:  # settings of the environment
            words = words[1:]
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, line
        elif words[0].endswith("lotj") and words[1:] != ["--help"]:
            parse(words[1:])  # SystemExit or SettingsError if it is not as documented


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_link_to_files_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
