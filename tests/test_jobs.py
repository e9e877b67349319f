"""What a list of jobs promises: each done once, after what it needs, wherever it runs; an interruption loses little."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lotj.distributed import Job, read_results, run_jobs
from lotj.errors import DataError, NumericsError, SettingsError
from lotj.runs.versions import commit


def double(value: int, log: str) -> dict[str, Any]:
    with open(log, "a") as file:
        file.write(f"{value}\n")
    return {"twice": 2 * value, "process": os.getpid()}


def add(folder: str, parts: list[str]) -> dict[str, int]:
    return {"sum": sum(json.loads((Path(folder) / f"{part}.json").read_text())["result"]["twice"] for part in parts)}


def fail(message: str) -> dict[str, Any]:
    raise NumericsError(message)


def sleep(seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return {}


def beat(path: str) -> dict[str, Any]:
    """Works for a minute, and lets it be seen."""
    for count in range(1200):
        Path(path).write_text(str(count))
        time.sleep(0.05)
    return {}


def make_list(tmp_path: Path) -> list[Job]:
    """Three jobs and their sum, which stands first."""
    log, results = str(tmp_path / "log"), str(tmp_path / "results")
    parts = [Job(f"double-{n}", double, {"value": n, "log": log}) for n in (1, 2, 3)]
    names = [job.name for job in parts]
    return [Job("sum", add, {"folder": results, "parts": names}, needs=tuple(names)), *parts]


@pytest.mark.parametrize("on", ["here", "processes"])
def test_each_is_done_once_after_what_it_needs(tmp_path: Path, on: str) -> None:
    jobs, states = make_list(tmp_path), []
    results = run_jobs(jobs, tmp_path / "results", on, 2, lambda job, state: states.append((job.name, state)))
    assert results["sum"]["sum"] == 12
    assert states.index(("sum", "started")) > max(states.index((f"double-{n}", "done")) for n in (1, 2, 3))
    processes = {results[f"double-{n}"]["process"] for n in (1, 2, 3)}
    assert processes == {os.getpid()} if on == "here" else os.getpid() not in processes
    states.clear()
    assert run_jobs(jobs, tmp_path / "results", on, 2, lambda job, state: states.append((job.name, state))) == results
    assert sorted(states) == sorted((job.name, "skipped") for job in jobs)
    assert sorted((tmp_path / "log").read_text().split()) == ["1", "2", "3"]


@pytest.mark.slow
def test_on_a_local_ray_cluster_of_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the workers find this module
    results = run_jobs(make_list(tmp_path), tmp_path / "results", "ray", 2)
    assert results["sum"]["sum"] == 12
    assert os.getpid() not in {results[f"double-{n}"]["process"] for n in (1, 2, 3)}
    with pytest.raises(NumericsError, match="job bad: the loss is nan"):
        run_jobs([Job("bad", fail, {"message": "the loss is nan"})], tmp_path / "results", "ray", 2)


@pytest.mark.parametrize("on", ["here", "processes"])
def test_a_failure_names_the_job_and_keeps_what_is_done(tmp_path: Path, on: str) -> None:
    log = str(tmp_path / "log")
    good = Job("good", double, {"value": 4, "log": log})
    bad = Job("bad", fail, {"message": "the loss is nan"}, needs=("good",))
    with pytest.raises(NumericsError, match="job bad: the loss is nan"):
        run_jobs([bad, good], tmp_path, on)
    assert set(read_results([good, bad], tmp_path)) == {"good"}
    mended = Job("bad", double, {"value": 5, "log": log}, needs=("good",))
    assert run_jobs([mended, good], tmp_path, on)["bad"]["twice"] == 10
    assert (tmp_path / "log").read_text().split() == ["4", "5"]


def test_what_a_result_was_made_with_stands_beside_it_and_is_not_asked_for_again(tmp_path: Path) -> None:
    """Threads and device change the last bits, which can decide a short training: they are to be known."""
    jobs = [Job("a", sleep, {"seconds": 0.0}), Job("b", sleep, machine={"seconds": 0.0})]
    run_jobs(jobs, tmp_path)
    kept = [json.loads((tmp_path / f"{name}.json").read_text())["machine"] for name in "ab"]
    assert kept == [{}, {"seconds": 0.0}]
    made = read_results([Job("b", sleep, machine={"seconds": 9.0})], tmp_path)["b"]["made"]
    assert {"commit", "cpu", "threads", "torch", "begun"} <= set(made) and made["python"] == platform.python_version()


def test_a_commit_is_known_where_git_keeps_the_package_and_says_what_is_not_committed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        subprocess.run(("git", "-C", str(tmp_path), *who, *words), check=True, capture_output=True)

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert commit(package) is None
    git("init")
    assert commit(package) is None  # installed in somebody's repository, which does not keep it
    git("add", ".")
    git("commit", "-m", "all")
    clean = commit(package)
    assert clean and re.fullmatch("[0-9a-f]{7,}", clean)
    (tmp_path / "results.json").write_text("{}")
    assert commit(package) == clean
    (package / "__init__.py").write_text("changed = True")
    assert commit(package) == clean + "+"


def test_ctrl_c_ends_the_workers_and_the_list_goes_on_later(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from test_jobs import *\n"
        f"log = {str(tmp_path / 'log')!r}\n"
        "jobs = [Job('quick', double, {'value': 1, 'log': log}), Job('long', sleep, {'seconds': 60.0})]\n"
        "def show(job, state): print(job.name, state, flush=True)\n"
        f"run_jobs(jobs, Path({str(tmp_path)!r}), 'processes', 2, show)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert any("quick done" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=30)
        assert time.monotonic() - started < 20  # not the long one's minute
    assert process.returncode != 0
    jobs = [Job("quick", double, {"value": 1, "log": str(tmp_path / "log")}), Job("long", sleep, {"seconds": 60.0})]
    assert set(read_results(jobs, tmp_path)) == {"quick"}


def test_a_killed_parent_takes_its_workers_along(tmp_path: Path) -> None:
    """Otherwise they would write beside those that do the list again."""
    path = tmp_path / "beat"
    code = (
        "from pathlib import Path; from test_jobs import *\n"
        f"run_jobs([Job('beat', beat, {{'path': {str(path)!r}}})], Path({str(tmp_path)!r}), 'processes', 1)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    time.sleep(1.0)
    seen = path.read_text()
    time.sleep(0.5)
    assert path.read_text() == seen


def test_a_result_of_other_arguments_or_none_is_refused(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    run_jobs([Job("a", double, {"value": 1, "log": log})], tmp_path)
    with pytest.raises(DataError, match=r"a\.json is of value 1, not 2: give the flags that it was made"):
        run_jobs([Job("a", double, {"value": 2, "log": log})], tmp_path)
    with pytest.raises(DataError, match=r"a\.json is of log '.*log', not None: give the flags"):
        run_jobs([Job("a", double, {"value": 1})], tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json is not the result of a job"):
        run_jobs([Job("a", double, {"value": 1, "log": log})], tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"arguments": {"value": 1, "log": log}, "result": None}))
    with pytest.raises(DataError, match=r"a\.json is not the result of a job \(result None: must be an object\)"):
        read_results([Job("a", double, {"value": 1, "log": log})], tmp_path)


def test_what_a_result_lacks_is_said_with_its_file(tmp_path: Path) -> None:
    """Of the objects in it as well: a table asks for what an earlier lotj, or a hand, has left out."""
    job = Job("a", double, {"value": 1})
    (tmp_path / "a.json").write_text(json.dumps({"arguments": {"value": 1}, "result": {"practice": {"lost": 0}}}))
    result = read_results([job], tmp_path)["a"]
    assert result == {"practice": {"lost": 0}} and result.get("twice") is None and "twice" not in result
    for lacks, name in ((result, "twice"), (result["practice"], "false")):
        with pytest.raises(DataError, match=rf"a\.json has no '{name}': remove it, and the job is done again"):
            lacks[name]


@pytest.mark.parametrize(
    "jobs,words",
    [
        ([Job("a", sleep), Job("a", sleep)], "of one name"),
        ([Job("a", sleep, needs=("b",))], "needed and not in the list"),
        ([Job("a", sleep, needs=("b",)), Job("b", sleep, needs=("a",))], "in a cycle"),
    ],
)
def test_a_list_that_cannot_be_done_is_refused(tmp_path: Path, jobs: list[Job], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run_jobs(jobs, tmp_path)


def test_unknown_places_and_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="on 'moon': must be one of here, processes, ray"):
        run_jobs([Job("a", sleep)], tmp_path, "moon")
    with pytest.raises(SettingsError, match="workers 0: must be at least 1"):
        run_jobs([Job("a", sleep)], tmp_path, "processes", 0)
