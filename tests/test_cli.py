"""The command line: one clear line for every mistake, no work done for a look at the help."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console

from lotj.agents import AGENTS
from lotj.agents.iql import IQLConfig
from lotj.cli import COMMANDS, main, parse
from lotj.cli.collect import recorded_episodes
from lotj.cli.job import pick_run, results_table
from lotj.data.layout import Schema
from lotj.data.writer import EpisodeWriter
from lotj.envs.insertion import insertion_task
from lotj.errors import RendererError, SettingsError, counted
from lotj.evaluation.results import EvaluationResult
from lotj.experience import SUCCESS, Episode
from lotj.extras import EXTRAS
from lotj.rewards.classifier import RewardConfig
from lotj.runs import Run, restore_settings
from lotj.runs.metrics import plain
from lotj.sim.connector import catalogue
from lotj.training.practice_config import SelfJudgedConfig

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
        "import sys; before = {*sys.modules}; from lotj.cli import main; main(['--help']); "
        "new = {name.partition('.')[0] for name in {*sys.modules} - before} - {*sys.stdlib_module_names}; "
        "assert new == {'lotj'}, new"  # nothing but the standard library: 0.1 s
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_with_a_documented_dataclass(name: str) -> None:
    command = importlib.import_module(f"lotj.cli.{name}").Command
    for kind in get_args(command) or (command,):
        assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
        assert callable(kind.run)


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
        (["connectors", "sheet", "--columns", "0"], "sheet columns 0: must be between 1 and 2000"),
        (["connectors", "sheet", "--out", "/nowhere/x.png"], "cannot write /nowhere/x.png"),
        (["data", "info", "/nowhere"], "no data set at /nowhere"),
        (["data", "check", "/nowhere"], "no data set at /nowhere"),
        (["report", "/nowhere"], "/nowhere"),
        (["report", "--runs", "/nowhere"], "/nowhere: no practice run here"),
        (["evaluate", "--runs", "/nowhere"], "/nowhere: no practice run here"),
        (["demo", "--resume", "--runs", "/nowhere"], "nothing to resume in /nowhere: leave --resume out"),
        (
            ["demo", "--all", "--resume", "--data", "/no", "--runs", "/where"],
            "nothing to resume in /no or /where: ",
        ),
        (["demo", "--data", "/nowhere"], "data /nowhere: the base needs none; leave it out, or give --all"),
        (["evaluate", "--trials", "0"], "trials 0: must be at least 1"),
        (["collect", "--preset", "labtop"], "unknown preset 'labtop': did you mean 'laptop'?"),
        (["collect", "--expert-episodes", "0"], "expert_episodes 0: must be at least 1"),
        (["collect", "--noise", "7"], "noise 7.0: must be between 0 and 1"),
        (["collect", "--validation.noise", "nan"], "noise nan: must be a finite number"),
        (["collect", "--max-steps", "0"], "max_steps 0: must be at least 1"),
        (["collect", "--domains-per-connector", "0"], "domains_per_connector 0: must be at least 1"),
        (["collect", "--training-connectors", "0"], "training_connectors 0: must be at least 1"),
        (["collect", "--seed", "-1"], "seed -1: must be between 0 and 4294967295"),
        (["collect", "--seed", "9999999999999999"], "seed 9999999999999999: must be between 0 and"),
        (["collect", "--training-connectors", "-1"], "training_connectors -1: must be at least 1"),
        (["data", "view", "/nowhere", "--rows", "0"], "rows 0: must be at least 1"),
        (["data", "view", "/nowhere", "--out", "a.jpg"], "out a.jpg: must end with .png or .rrd"),
        (["data", "view", "/nowhere", "--rows", "-3"], "rows -3: must be at least 1"),
        (["data", "view", "/nowhere", "--seed", "4294967296"], "seed 4294967296: must be between 0 and 4294967295"),
        (["demo", "--seed", "-1"], "seed -1: must be between 0 and 4294967295"),
        (["demo", "--seed", "4294967296"], "seed 4294967296: must be"),
        (["pretrain", "--seed", "4294967296"], "seed 4294967296: must be"),
        (
            ["pretrain", "--pretrain.save-minutes", "inf"],
            "pretrain save_minutes inf: must be a finite number",
        ),
        (["practice", "--connector", "usb-b", "--seed", "4294967296"], "seed 4294967296: must be"),
        (
            ["practice", "--connector", "usb-b", "--domain-seed", "-1"],
            "domain_seed -1: must be between 0 and 4294967295",
        ),
        (["practice", "--connector", "usb-b", "--q-gradient-weight", "nan"], "q_gradient_weight nan: must be"),
        (
            ["practice", "--connector", "usb-b", "--ask", "3"],
            "ask 3: is answered on the page, of a connector; give --page",
        ),
        (
            ["practice", "--task", "fetch/reach", "--page", "--ask", "3"],
            "ask 3: is answered on the page, of a connector",
        ),
        (
            ["practice", "--connector", "usb-b", "--page", "--ask", "3", "--robots", "2"],
            "ask 3: questions are about one robot, here are 2; leave ask out",
        ),
        (["practice", "--connector", "usb-b", "--ask", "-1"], "ask -1: must be at least 0"),
        (
            ["practice", "--connector", "usb-b", "--task", "insertion/usb-c"],
            "task insertion/usb-c: names a connector, and so does --connector; leave one out",
        ),
        *(
            (
                ["practice", "--task", "fetch/reach", f"--{flag}", value],
                f"{flag} {value}: is for connectors, fetch/reach",
            )
            for flag, value in (
                ("connector", "usb-b"),
                ("scenario", "near"),
                ("robot", "trio"),
                ("robots", "2"),
                ("on", "ray"),
            )
        ),
        (["practice", "--task", "fetch/reach", "--domain-seed", "3"], "domain_seed 3: is for connectors"),
        (
            ["practice", "--task", "fetch/reach", "--disturbance", "action-latency"],
            "is an environment; name the task fetch/reach,disturbance=action-latency",
        ),
        (
            ["practice", "--connector", "usb-b", "--robot", "localhost:1", "--disturbance", "blur"],
            "disturbance blur: is of a bench simulated here, localhost:1 is served; leave it out",
        ),
        (["reproduce", "brick", "--show", "--changed", "starts"], "changed 'starts': is for the leaderboard"),
        (["practice", "--connector", "usb-b", "--page", "--page-at", "8751"], "page-at '8751': must be host:port"),
        (
            ["practice", "--connector", "usb-b", "--page", "--page-at", "0.0.0.0:0"],
            "host 0.0.0.0: other machines are served encrypted alone; give --cert and --key, both",
        ),
        (["evaluate", "--spread", "nan"], "spread nan: must be a finite number"),
        (["reproduce", "table1", "--show", "--benches", "0", "0"], "benches (0, 0): none twice"),
        (["reproduce", "table1", "--show", "--benches", "0", "-2"], "benches -2: must be between 0 and 4294967295"),
        (["collect", "--image-size", "32"], "image-size 32, validation.image-size 64: must be the same"),
        (["collect", "--workers", "0"], "workers 0: must be between 1 and 1024"),
        (["collect", "--workers", "100000"], "workers 100000: must be between 1 and 1024"),
        (["practice", "--connector", "usb-b", "--robots", "100000"], "robots 100000: must be between 1 and 1024"),
        (["practice", "--connector", "usb-b", "--threads", "100000"], "threads 100000: must be between 1 and 1024"),
        (["reproduce", "table1", "--workers", "100000"], "workers 100000: must be between 1 and 1024"),
        (["collect", "--tasks", "fetch/reach", "--episodes", "-3"], "episodes -3: must be at least 1"),
        (["pretrain", "--data", "/nowhere"], "no data set at /nowhere"),
        (["pretrain", "--device", "tpu"], "device 'tpu': must be auto, cpu"),
        (["pretrain", "--resume", "--runs", "/nowhere"], "/nowhere: no pretrain run here"),
        (["practice", "--resume", "--runs", "/nowhere"], "/nowhere: no practice run here"),
        (["practice", "--resume=/nowhere"], "/nowhere: not a run folder"),
        (["practice", "--resume", "--run_folder", "x"], "--run_folder: a resumed run keeps the settings it was begun"),
        (["pretrain", "--iql.expectile", "1.5"], "iql expectile 1.5: must be strictly between 0 and 1"),
        (["practice", "--connector", "nema"], "unknown connector 'nema'; nearest: "),
        (["practice", "--connector", "nema-5-15", "--scenario", "fra"], "unknown scenario 'fra': did you mean 'far'?"),
        (["practice", "--connector", "nema-5-15", "--pretrained", "/nowhere"], "/nowhere: not a run folder"),
        (["practice", "--connector", "nema-5-15", "--trials", "0"], "trials 0: must be at least 1"),
        (["demo", "--connector", "nema"], "unknown connector 'nema'"),
        (["demo", "--scenario", "nearby"], "unknown scenario 'nearby': did you mean 'near'?"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2_or_more(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = one_line(capsys, *words)
    assert code >= 2
    assert part in line


def test_evaluate_and_report_refuse_a_run_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Run.create(tmp_path, "pretrain", {}, seed=0)
    for command in ("evaluate", "report"):
        code, line = one_line(capsys, command, str(other.path))
        assert code == 2 and "a practice run is needed, this is a pretrain run; name one, or" in line


def test_a_folder_of_runs_is_said_to_be_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the newest of the kind that is needed is named, if there is one."""
    practised = Run.create(tmp_path, "practice", {}, seed=0)
    base = Run.create(tmp_path, "pretrain", {}, seed=0)
    for words, inside in (
        (["report", str(tmp_path)], practised),
        (["evaluate", str(tmp_path)], practised),
        (["practice", "--resume", str(tmp_path)], practised),
        (["pretrain", "--resume", str(tmp_path)], base),
        (["practice", "--connector", "usb-b", "--pretrained", str(tmp_path)], base),
    ):
        code, line = one_line(capsys, *words)
        assert code == 2 and line.endswith(f"{tmp_path}: is a folder of runs; name one of them, e.g. {inside.path}")


def test_a_pretraining_that_has_no_reward_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of a task whose environment rewards never gets one; a stopped one of connectors gets it when it goes on."""
    run = Run.create(tmp_path, "pretrain", {"preset": "demo", "agent": "td3"}, seed=0)
    words = ["practice", "--connector", "usb-b", "--pretrained", str(run.path), "--runs", str(tmp_path / "runs")]
    code, line = one_line(capsys, *words)
    assert code == 2 and f"{run.path}/reward.pt: there is no reward model here" in line
    assert f"`lotj pretrain --resume {run.path}` makes it" in line
    run.save("td3", {})
    code, line = one_line(capsys, *words)
    assert (
        code == 2
        and f"{run.path}/reward.pt: there is no reward model here, it is no pretraining on connectors; " in line
    )
    assert line.endswith("name another --pretrained, or leave it out") and not (tmp_path / "runs").exists()


def test_a_chapters_own_practice_is_left_to_the_chapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As those of rig and oda are recorded: without what else a run of practice has."""
    run = Run.create(tmp_path, "practice", {"task": "push/one", "goals": "prior"}, seed=0)
    for words in (["evaluate", str(run.path)], ["report", str(run.path)], ["practice", "--resume", str(run.path)]):
        code, line = one_line(capsys, *words)
        assert code == 2 and "is a part of a chapter of `lotj reproduce`" in line and "name a run of" in line


def test_practice_on_a_part_of_the_training_set_is_said_to_be_that(capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("usb-a", True), ("usb-b", False)):
        assert main(["practice", "--connector", name, "--pretrained", "/nowhere"]) == 2  # there is no pretraining
        assert (f"note: {name} is a training connector" in capsys.readouterr().out) is said


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    """A practice run as `lotj practice` begins it, without a trial yet."""
    config = {
        "task": "insertion/europlug",
        "connector": "europlug",
        "scenario": "near",
        "robot": "duo",
        "domain_seed": 1,
        "preset": "demo",
        "agent": "iql",
        "pretrain_run": str(Run.create(tmp_path / "of", "pretrain", {}, 0).path),
        "practice": dataclasses.asdict(SelfJudgedConfig(trials=7, online_fraction=0.5)),
    }
    return Run.create(tmp_path, "practice", config, seed=3)


@pytest.mark.parametrize("words", [["--resume", "FOLDER"], ["--resume=FOLDER"], ["--runs", "RUNS", "--resume"]])
def test_resume_takes_the_run_and_the_device(begun: Run, words: list[str]) -> None:
    Run.create(begun.path.parent, "pretrain", {}, seed=0)  # newer, of another kind
    words = [word.replace("FOLDER", str(begun.path)).replace("RUNS", str(begun.path.parent)) for word in words]
    command: Any = parse(["practice", "--device", "cpu", "--page", "--page-at", "127.0.0.1:8751", *words])
    assert command.device == "cpu" and command.page and command.page_at == "127.0.0.1:8751"
    assert pick_run(command.folder, command.runs, "practice", begun=True).path == begun.path


@pytest.mark.parametrize("flags", [["--trials", "8"], ["--connector=nema-5-15"], ["--features.transitions", "5"]])
def test_a_resumed_run_refuses_settings(begun: Run, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, line = one_line(capsys, "practice", "--resume", str(begun.path), *flags)
    assert code == 2
    name = flags[0].partition("=")[0]
    assert line.startswith(f"{name}: a resumed run keeps the settings it was begun with; beside --resume [FOLDER]")
    free = "--runs, --device, --wandb, --page, --page-at, --page-cert, --page-key"
    assert f"there may be {free}; leave it out, or start a new run" in line


def test_a_run_of_another_kind_or_version_is_refused(begun: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _, line = one_line(capsys, "pretrain", "--resume", str(begun.path))
    assert "a pretrain run is needed, this is a practice run" in line
    config = json.loads((begun.path / "config.json").read_text())
    config["practice"]["momentum"] = 0.9
    (begun.path / "config.json").write_text(json.dumps(config))
    _, line = one_line(capsys, "practice", "--resume", str(begun.path))
    assert "setting 'momentum' is not in both the run and this lotj" in line


@pytest.mark.parametrize(
    "config", [SelfJudgedConfig(), IQLConfig.paper(), RewardConfig()], ids=lambda config: type(config).__name__
)
def test_settings_survive_json(config: Any) -> None:
    values = json.loads(json.dumps(plain(dataclasses.asdict(config))))
    assert restore_settings(type(config), values, "here") == config


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("threads", None, "int"), ("max_steps", 2.5, "int"), ("advantage_scale", "9", "float"), ("boost", 1, "bool")],
)
def test_a_setting_of_another_type_is_named(name: str, value: Any, kind: str) -> None:
    values = plain(dataclasses.asdict(SelfJudgedConfig())) | {name: value}
    with pytest.raises(SettingsError, match=rf"^here: setting '{name}' is {value!r}, not a {kind}; restore it"):
        restore_settings(SelfJudgedConfig, values, "here")


def short_episode() -> Episode:
    return Episode(
        observation={"image": np.zeros((2, 2, 16, 32, 3), np.uint8)},
        action=np.zeros((1, 3), np.float32),
        reward=np.zeros(1, np.float32),
        terminated=False,
        truncated=True,
        task=insertion_task("usb-a").name,
        kind="expert",
        seed=0,
        notes={SUCCESS: np.zeros(2, bool)},
    )


@pytest.mark.parametrize("discarded", [0, 1])
def test_collect_counts_what_is_there_before_the_first_finished_episode(tmp_path: Path, discarded: int) -> None:
    """Stopped that early, or with nothing but a lost plug, the same command must go on."""
    with EpisodeWriter(tmp_path, insertion_task("usb-a"), Schema.of(short_episode())) as writer:
        assert recorded_episodes(tmp_path) == 0
        for seed in range(discarded):
            writer.discard("expert", seed, "dislodged")
    assert recorded_episodes(tmp_path) == discarded
    assert recorded_episodes(tmp_path / "nowhere") == 0


@pytest.fixture
def shared() -> Iterator[Path]:
    """A data set of one episode in a folder that everybody can enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        with EpisodeWriter(Path(name) / "data", insertion_task("usb-a"), Schema.of(short_episode())) as writer:
            writer.append(short_episode())
        yield Path(name)


@contextmanager
def without_rights(*paths: Path, mode: int = 0) -> Iterator[None]:
    """Nobody has more than `mode` on these paths, and root is nobody meanwhile."""
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(mode)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, before in zip(paths, modes, strict=True):
            path.chmod(before)


@pytest.mark.parametrize("name", ["image.raw", "rows.tbl", "episodes.jsonl", "task.json", "..", "../../meta.json"])
@pytest.mark.parametrize("what", ["info", "check", "view"])
def test_a_file_of_somebody_else_is_named_in_one_line(
    shared: Path, name: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", what, str(shared / "data")] + (["--out", str(shared / "x.png")] if what == "view" else [])
    assert main(words) == 0  # all modules are loaded now
    path = (shared / "data/tasks/usb-a.duo.0" / name).resolve()
    capsys.readouterr()
    with without_rights(path):
        code = main(words)
    output = "".join(capsys.readouterr())
    assert code in (2, 5) and path.name in output and "fault" not in output, output


@pytest.mark.parametrize("name", ["x.png", "x.rrd"])
def test_a_folder_that_cannot_be_written_is_named_in_one_line(
    shared: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "view", str(shared / "data"), "--out", str(shared / "out" / name)]
    assert main(words) == 0
    (shared / "out" / name).unlink()
    with without_rights(shared / "out", mode=0o555):
        code, line = one_line(capsys, *words)
    assert code == 5
    assert line == f"cannot write {shared}/out/{name}: Permission denied; choose another folder or mend its permissions"


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
    assert "insertion_depth_mm = 500: must be a number between" in line


def test_connectors_list_and_show_print_the_numbers_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connectors", "list"]) == 0
    listed = capsys.readouterr().out
    assert f"{len(catalogue())} connectors in" in listed
    splits = {line.split()[0]: line for line in listed.splitlines() if line and line.split()[0] in catalogue()}
    assert "held out" in splits["nema-1-15"] and "held out" not in splits["usb-a"]
    assert all(name in listed for name in catalogue())
    assert main(["connectors", "show", "nema-5-15"]) == 0
    shown = capsys.readouterr().out
    assert tomllib.loads(shown)["insertion_depth_mm"] == 1e3 * catalogue()["nema-5-15"].insertion_depth
    assert shown == (ROOT / "src/lotj/sim/catalogue/nema-5-15.toml").read_text()


@pytest.mark.parametrize("odd", ["[rev b]", "[/x]", "[red]x[/red]"])
def test_square_brackets_in_names_are_shown_as_they_are(
    tmp_path: Path, odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "src/lotj/sim/catalogue/europlug.toml").read_text()
    path = tmp_path / f"my {odd.replace('/', '')}.toml"
    path.write_text(re.sub('title = ".*"', f'title = "Plug {odd}"', text).replace('"left"', f'"left {odd}"'))
    assert main(["connectors", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f'title = "Plug {odd}"' in shown and f'"left {odd}"' in shown
    result = EvaluationResult(
        "practice",
        success=np.array([True, False]),
        steps=np.ones(2, int),
        seconds=np.ones(2),
        peak_force_n=np.ones(2),
        dislodged=np.zeros(2, bool),
        seed=np.arange(2),
        context={"connector": f"my {odd}.toml", "scenario": "near"},
    )
    Console(width=200).print(results_table([result]))
    assert f"my {odd}.toml, near" in capsys.readouterr().out
    assert main(["tasks", "show", f"insertion/{path}"]) == 0
    assert f"insertion/{path}" in capsys.readouterr().out
    task = dataclasses.replace(insertion_task("usb-a"), attributes={"connector": f"my {odd}.toml"})
    episode = Episode({"state": np.zeros((2, 1))}, np.zeros((1, 3)), np.zeros(1), False, True, task.name, "expert", 0)
    with EpisodeWriter(tmp_path / "data", task, Schema.of(episode)) as writer:
        writer.append(episode)
    assert main(["data", "info", str(tmp_path / "data"), "--by", "connector"]) == 0
    assert f"my {odd}.toml" in capsys.readouterr().out


def test_one_is_not_told_as_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = [counted(1, "trial"), counted(0, "trial"), counted(1200, "frame"), counted(2, "success")]
    assert told == ["1 trial", "0 trials", "1,200 frames", "2 successes"]
    root, runs = tmp_path / "data", tmp_path / "runs"
    assert main(["collect", "--preset", "state", "--tasks", "fetch/reach", "--episodes", "1", "--data", str(root)]) == 0
    assert "collected 1 episode: " in capsys.readouterr().out
    assert main(["data", "info", str(root)]) == 0
    said = capsys.readouterr().out
    assert "1 task: " in said and "1 episode, " in said
    few = ["--trials", "1", "--warmup-trials", "1", "--runs", str(runs)]
    assert main(["practice", "--task", "fetch/reach", *few]) == 0
    assert re.search(r"^1 trial, \d of them", capsys.readouterr().out, re.MULTILINE)
    assert main(["evaluate", "--runs", str(runs), "--trials", "1"]) == 0
    assert "true success of 1 trial\n" in re.sub(" +\n", "\n", capsys.readouterr().out)
    assert main(["report", "--runs", str(runs)]) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "After 1 practice trial, " in text and "of 1 attempt (95" in text and ">1 trial<" in text
    assert not re.search(r"\b1 (?:\w+ )?(?:trials|attempts|episodes|starts)\b", text)


def test_what_is_refused_leaves_no_run_and_the_last_one_stays_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is found out late: by the agent that is to learn, or by a package that is not there."""
    monkeypatch.chdir(tmp_path)
    few = "--tasks fetch/reach --episodes 1 --data d --workers 1"
    assert main(["collect", "--preset", "state", *few.split()]) == 0
    good = Run.create(Path("runs"), "pretrain", {}, seed=0).path
    monkeypatch.setitem(sys.modules, "ray", None)
    ray = ["practice", "--connector", "usb-b", "--robots", "2", "--on", "ray"]
    for words, part in (
        (["pretrain", "--preset", "state", "--data", "d", "--agent", "hiql"], "agent hiql: observes code and goal"),
        (["pretrain", "--preset", "state", "--data", "d", "--agent", "td3", "--also", "hiql"], "agent hiql: observes"),
        (ray, "this needs the package ray"),
    ):
        capsys.readouterr()
        code, line = one_line(capsys, *words)
        assert code == 2 and part in line
        assert sorted(path.name for path in Path("runs").iterdir()) == ["last", good.name], words
        assert Path("runs/last").resolve() == good


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--max-steps", "5"], "max_steps 5: fetch/reach has its own; name the task fetch/reach,max_steps=5"),
        (["--preset", "laptop", "--verify", "score"], "preset laptop: is for connectors; for fetch/reach choose state"),
    ],
)
def test_a_flag_of_practice_that_a_task_does_not_heed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], part: str
) -> None:
    code, line = one_line(capsys, "practice", "--task", "fetch/reach", "--runs", str(tmp_path / "r"), *flags)
    assert code == 2 and part in line and not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("setting", "part"),
    [("hidden=[0]", "hidden 0: must be at least 1"), ("lr=-1", "lr -1"), ("nonsense=1", "unknown setting of td3")],
)
def test_a_setting_of_an_agent_is_refused_before_anything_is_recorded_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, part: str
) -> None:
    """Else the job is there, and with the right setting it is another one."""
    few = ["--demos", "2", "--trials", "1", "--runs", str(tmp_path / "r")]
    code, line = one_line(capsys, "train", "--task", "fetch/reach", "--set", setting, *few)
    assert code == 2 and part in line and not (tmp_path / "r").exists()
    code, line = one_line(capsys, "train", "--task", "fetch/reach", "--max-steps", "5", *few)
    assert code == 2 and "fetch/reach,max_steps=5" in line and not (tmp_path / "r").exists()


def test_a_path_in_a_command_of_a_message_is_quoted() -> None:
    """Every f-string of the package that prints a command: what it fills in is quoted, or no path."""
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            said = ""
            for part in node.values:
                said += str(part.value) if isinstance(part, ast.Constant) else ""
                command = re.search(r"(?:^|`)lotj [^`]*$", said)
                filled = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
                if command and re.search(r"path|folder|root|\bdata\b|runs|file", filled) and "quote(" not in filled:
                    found.append(f"{file.name}: {said}{{{filled}}}")
    assert found == []


def test_an_error_shows_control_characters_and_does_not_send_them(capsys: pytest.CaptureFixture[str]) -> None:
    _, line = one_line(capsys, "connectors", "show", "\x1b[31m\x07.toml")
    assert r"\x1b[31m\x07.toml: no such file" in line


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


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_kin_are_one_line_and_exit_code_130(tmp_path: Path, stop: signal.Signals) -> None:
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
        process.send_signal(stop)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines() == ["stopped"]


def test_ctrl_c_speaks_of_resume_where_there_is_a_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("lotj.cli.job.find_device", interrupt)  # the user, at the very beginning
    monkeypatch.setattr(Run, "made", False)
    words = ["pretrain", "--preset", "demo", "--data", str(tmp_path)]
    assert one_line(capsys, *words) == (130, "stopped")
    Run.create(tmp_path, "pretrain", {}, seed=0)
    assert one_line(capsys, *words) == (130, "stopped; all updates are kept: `lotj pretrain --resume` goes on")


def test_a_hangup_is_ignored_where_nohup_says_so(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import lotj.cli.doctor as d, os, signal\ndef run(self):\n    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('goes on')\nd.Command.run = run\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    ignored = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    command = [sys.executable, "-m", "lotj", "doctor"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=ignored)
    assert (done.returncode, done.stdout) == (0, "goes on\n")


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


@pytest.mark.parametrize("words", [["doctor"], ["tasks"]])
def test_a_renderer_that_does_not_work_is_named(words: list[str]) -> None:
    done = lotj(*words, MUJOCO_GL="nonsense")
    assert done.returncode == 3
    rule = "must be egl, osmesa, glfw or disable; unset it, and lotj chooses"
    assert done.stderr == f"the renderer MUJOCO_GL=nonsense does not work: {rule}\n"


def test_doctor_reports_the_renderer_and_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    from lotj.sim.renderer import renderer_info

    assert main(["doctor"]) == 0
    assert f"renderer  {renderer_info()}" in capsys.readouterr().out
    assert int(re.findall(r"(\d+) frames/s", renderer_info())[0]) > 1


def test_a_whole_job_in_folders_with_spaces_and_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command says to do next can be given to a shell as it is."""
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "--tasks", "fetch/reach", "--episodes", "2", "--workers", "1", "--data", "my data"]) == 0
    small = ["--trials", "2", "--warmup-trials", "1", "--runs", "my runs"]
    assert main(["practice", "--task", "fetch/reach", *small]) == 0
    for step in ("data info", "evaluate", "report"):
        (said,) = re.findall(rf"`lotj ({step} [^`]*)`", capsys.readouterr().out)
        assert main(shlex.split(said) + (["--trials", "1"] if step == "evaluate" else [])) == 0
        if step == "data info":
            assert main(["practice", "--resume", "--runs", "my runs"]) == 0
    assert [*tmp_path.glob("my runs/practice-*/report.html")]
    assert not [line for line in capsys.readouterr().err.splitlines() if "Traceback" in line]


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["collect", "--tasks", "fetch/reach", "--episodes", "30", "--workers", "1", "--data", "d"], 4_000),
        (["practice", "--task", "fetch/reach", "--trials", "3", "--runs", "r"], 20_000),
    ],
    ids=["collect", "practice"],
)
def test_a_full_disk_is_one_line_and_what_is_finished_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    size: int,
) -> None:
    """A limit of a file's size is to the writer what a full disk is."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 5 and len(lines) == 1, lines
    assert re.search(r"disk full at .*: free space and run again, .* what is finished is kept", lines[0])
    if words[0] == "collect":
        assert recorded_episodes(tmp_path / "d") > 1


def test_doctor_says_what_is_slow_and_what_to_change(tmp_path: Path) -> None:
    from lotj.cli import doctor

    slow = lotj("doctor", OMP_NUM_THREADS="1", LOTJ_COMPILE="0")  # what is compiled here may be loaded already
    assert slow.returncode == 0
    changes = [line.strip() for line in slow.stdout.splitlines() if line.strip().startswith(">")]
    assert "> LOTJ_COMPILE=0 asks for none: unset it" in changes
    if (os.cpu_count() or 1) > 1:
        assert [line for line in changes if re.search(r"trainings use 1 of \d+ cores: unset OMP_NUM_THREADS", line)]
    name, found, change = doctor._disk(tmp_path)
    assert name == "disk" and re.search(r"GB free of .* writes \d+ MB/s$", found)
    assert "cannot be written" in doctor._disk(Path("/proc"))[2]  # as root, too
    assert doctor._of_renderer("egl, on the GPU (x), 900 frames/s at 64 px") == ""
    assert "EGL draws faster" in doctor._of_renderer("osmesa, on the processor (x), 90 frames/s at 64 px")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    module_of = {"rerun-sdk": "rerun"}
    for extra, (modules, _) in EXTRAS.items():
        names = [re.split(r"[<>=]", line)[0] for line in extras[extra]]
        assert sorted(module_of.get(name, name.replace("-", "_")) for name in names) == sorted(modules)
    assert EXTRAS.keys() == extras.keys() - {"dev"}


def shell_lines(document: Path) -> list[str]:
    """Command lines in the document's sh blocks, continuation lines joined, comments cut."""
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def test_agents_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agents"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (rebrac,) = [line for line in lines if line.startswith("rebrac ")]
    assert "prior data, practice" in rebrac and "next_action*" in rebrac and "Revisited behaviour" in rebrac
    assert [line.split()[0] for line in lines if "practice " in line] == list(AGENTS)
    assert main(["agents", "show", "awr"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("awr: Advantage-weighted regression") and "columns: return*, imitate" in shown
    assert re.search(r"^  weight_clip +20.0$", shown, re.MULTILINE)
    code, line = one_line(capsys, "agents", "show", "ddpq")
    assert code and line.startswith("unknown agent 'ddpq': did you mean 'ddpg'?")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_flags_and_targets_that_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
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


def stopped(words: list[str], when: str, folder: Path) -> None:
    """Run a command, press Ctrl-C once a line with `when` has come out, and hold it to its word."""
    command = [sys.executable, "-m", "lotj", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        assert any(when in line for line in process.stdout), f"{words}: no {when!r}"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    command: Any = importlib.import_module(f"lotj.cli.{words[0]}").Command
    assert errors.splitlines() == [getattr(command, "resumable", "") or command.interrupted]


@pytest.mark.slow
def test_the_whole_job_by_commands_stopped_and_resumed_on_the_way(tmp_path: Path) -> None:
    def do(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "lotj", *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = ["--image-size", "32", "--validation.image-size", "32", "--validation.expert-episodes", "2"]
    collect = ["collect", "--preset", "demo", "--training-connectors", "3", "--expert-episodes", "3", *small]
    stopped(collect, "renderer", tmp_path)
    assert "collected" in do(*collect)
    assert "whole" in do("data", "check", "data/demo")

    net = [f"--{part}.{flag}" for part in ("reward.encoder", "front.resnet") for flag in ("width=8", "stages=2")]
    stopped(
        ["pretrain", "--preset", "demo", *net, "--reward.steps=20", "--pretrain.steps=400"], "reward 20/20", tmp_path
    )
    assert "lotj practice" in do("pretrain", "--resume")
    practice = ["practice", "--connector", "europlug", "--pretrained", "runs/last"]
    stopped([*practice, "--trials", "6", "--warmup-trials", "1"], "trial 2/6", tmp_path)
    assert "6 trials" in do("practice", "--resume")
    assert "Spiral search" in do("evaluate", "--trials", "2")
    assert (tmp_path / do("report").strip()).stat().st_size > 10_000
