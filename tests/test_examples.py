"""Every example runs, at a size that it offers itself, and says what a newcomer needs to know of it."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lotj.experience import Episode
from lotj.experiments.stages import pretrain_phase
from lotj.rewards.judge import CLAIM
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from test_stages import TINY

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
Example = Callable[..., str]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    """Runs an example with flags in an empty folder; returns what it prints."""

    def run(name: str, *flags: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *flags])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the smallest pretraining there can be."""
    root = tmp_path_factory.mktemp("examples")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(root / "data", InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    with pretrain_phase(replace(TINY, name="demo"), root / "data", root / "runs", seed=0, live=False) as run:
        return str(run.path)


def test_there_are_few_and_they_are_short() -> None:
    files = [path for path in EXAMPLES.iterdir() if path.is_file()]
    assert 6 <= len(SCRIPTS) <= 8 and {*files} - {*SCRIPTS} == {EXAMPLES / "my_plug.toml"}
    assert [path.name[:3] for path in SCRIPTS] == [f"{n:02}_" for n in range(1, len(SCRIPTS) + 1)]  # in reading order
    assert {path.name: n for path in files if (n := len(path.read_text().splitlines())) > 80} == {}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_says_how_it_is_run_how_long_it_takes_and_what_comes_of_it(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text is not None
    assert f"python examples/{path.name}" in text
    assert re.search(r"\btakes?\b[^.]*(second|minute)", text, re.IGNORECASE)
    assert re.search(r"\b[Pp]rints\b|One line a trial", text)


def test_a_part_of_ones_own_is_checked_and_drawn(example: Example, tmp_path: Path) -> None:
    said = example("02_own_part.py", "--trials", "2")
    assert "inserts 2 of 2" in said and "from 3 mm beside: no" in said
    assert float(re.findall(r"overlap of two bodies (\S+) mm", said)[0]) < 0.2
    assert (tmp_path / "my_plug.png").stat().st_size > 1000


def test_a_part_with_too_wide_a_hole_is_found_out(example: Example, tmp_path: Path) -> None:
    """3.5 mm of clearance on each side: 3 mm beside is still inside."""
    loose = (EXAMPLES / "my_plug.toml").read_text().replace("clearance_mm = 0.15", "clearance_mm = 3.5")
    (tmp_path / "loose.toml").write_text(loose)
    assert "yes, so it is no task" in example("02_own_part.py", "loose.toml", "--trials", "1")


def test_an_agent_of_ones_own_practises(example: Example) -> None:
    said = example("04_own_agent.py", "--trials", "11")  # it learns in the last
    assert "losses q" in said and re.search(r"\d+ of 20 goals reached", said)


def test_goals_are_imagined_and_practised(example: Example) -> None:
    few = ["--task", "push/one,max_steps=10", "--episodes", "2", "--updates", "2", "--trials", "2"]
    said = example("08_imagined_goals.py", *few, "--model", "cc-vae")
    assert re.search(r"practised: object \d+\.\d cm.*\nnothing done: object \d+\.\d cm, hand \d+", said)


def test_a_task_of_ones_own_is_practised(example: Example) -> None:
    said = example("03_own_task.py", "--trials", "12")
    assert re.search(r"After practice: \d+ of 20 reached\nScripted expert: 20 of 20 reached", said)


def test_a_robot_of_ones_own_is_served(example: Example) -> None:
    """Down from 15 mm by 6 each time: 9, 3, and 3 mm into the table, 9 N; then by 6 from its surface, 18 N."""
    pytest.importorskip("msgpack", reason="pip install 'lotj[robot]'")
    said = example("06_own_robot.py")
    assert said.startswith("pressed with 18 N at height 0 mm\nrefused: action of shape (3,)") and "not moved" in said


@pytest.mark.slow
def test_stable_baselines_learns_on_it(example: Example) -> None:
    pytest.importorskip("stable_baselines3", reason="pip install stable-baselines3")
    for more in ((), ("--image",)):
        said = example("07_stable_baselines.py", "--steps", "40", "--trials", "1", *more)
        assert re.search(r"before \d, after \d of 1 inserted\n", said)


def test_without_stable_baselines_the_example_says_what_to_install(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)  # as Python marks what cannot be imported
    with pytest.raises(SystemExit, match="pip install stable-baselines3"):
        example("07_stable_baselines.py")


def test_practice_from_python(example: Example, pretrained: str, tmp_path: Path) -> None:
    part = str(EXAMPLES / "my_plug.toml")
    said = example(
        "01_practise.py", "--pretrained", pretrained, "--connector", part, "--trials", "2", "--evaluation", "1"
    )
    assert "of 2 trials successes by the robot's own verdict" in said
    assert re.search(r"Before practice: \d of 1 inserted\nAfter practice: \d of 1 inserted\n", said)
    assert "Two-pin plug of the X200 charger" in (tmp_path / said.splitlines()[-1]).read_text()


def test_a_judge_of_ones_own_practises(example: Example, pretrained: str) -> None:
    said = example("05_own_judge.py", "--pretrained", pretrained, "--trials", "2")
    assert re.search(r"\d trials taken for a success, 0 rejected: {}", said)


def test_the_judge_rejects_what_ends_at_another_depth() -> None:
    """Heights 10, 10.5 and 18 mm: the median is 10.5, and 18 is 7.5 mm from it; trial 4 claimed nothing."""
    judge = runpy.run_path(str(EXAMPLES / "05_own_judge.py"))["SameDepth"]()
    trials = {number: trial(1e-3 * height) for number, height in ((1, 10.0), (2, 10.5), (3, 18.0))}
    trials[4] = trial(50e-3, claimed=False)
    for number, episode in trials.items():
        judge.see(number, episode)
    verdicts = {number: judge.verdict(number, episode) for number, episode in trials.items()}
    assert {number: verdict.success for number, verdict in verdicts.items()} == {1: True, 2: True, 3: False, 4: True}
    assert [verdict.rejected for verdict in verdicts.values()] == ["", "", "another depth", ""]
    assert [verdict.steps for verdict in verdicts.values()] == [2, 2, 2, 3]


def trial(height: float, claimed: bool = True) -> Episode:
    """Three steps, the second of which was taken for a success, with the hand so high [m] in that frame."""
    state = np.zeros((4, 9), np.float32)
    state[2, 2] = height
    claim = np.array([False, False, claimed, False])
    actions, rewards = np.zeros((3, 3), np.float32), np.zeros(3, np.float32)
    return Episode({"state": state}, actions, rewards, False, True, "plug", "practice", 1, {CLAIM: claim})
