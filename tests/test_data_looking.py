"""What `lotj data` shows: figures, film strips, recordings."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lotj.cli import main
from lotj.data.inspect import LEGEND, describe
from lotj.data.pictures import caption, choose, film, record_rerun
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError, SettingsError, StorageError
from lotj.experience import Task
from test_data import SCHEMA, episode, fill, task


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def show(root: Path, by: str) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(describe(root, by))
    return console.export_text().splitlines()


def rows(lines: list[str]) -> list[list[str]]:
    """The words of the table's rows."""
    head = next(number for number, line in enumerate(lines) if line.split()[-1:] == ["lost"])
    return [line.split() for line in lines[head + 1 : lines.index("", head)]]


def test_summary_and_description(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 0), truncated=True, name="a"), episode(3, (0, 1), "half", name="a"))
    with EpisodeWriter(root, task("b"), SCHEMA) as writer:
        writer.discard("expert", 1, "slipped")
    lines = show(root, "task")
    assert ":0.00GB" in "".join(lines).replace(" ", "")  # a long path wraps its line, wherever
    assert "actions of 4 axes; observed: image 2 x 10 x 20 x 3, state 3" in lines
    assert "3 episodes, 7 frames: 28.6% show a success" in lines
    assert "ended in success: expert 1 of 2, half 1 of 1" in lines and "discarded episodes: 1 slipped" in lines
    assert all(line in lines for line in LEGEND.splitlines())  # not wrapped at 80 columns
    # expert, half, success, frames, steps, lost
    assert rows(lines) == [["a", "1/2", "1/1", "67%", "7", "1.3", "0"], ["b", "-", "-", "-", "0", "-", "1"]]


def test_rows_stand_for_what_tasks_share(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, (0, 0), truncated=True, name="a"), of=task("a", family="pegs"))
    fill(root, episode(3, name="b"), of=task("b", "test", family="pegs"))
    fill(root, episode(4, name="c"), of=Task("c", "fetch/push"))
    pegs, other = rows(show(root, "family"))
    assert pegs == ["pegs", "2/3", "67%", f"{3 + 2 + 3}", "1.7", "0"]  # 5 steps in 3 episodes
    assert other[0] == "-" and other[3] == "3"
    assert [row[0] for row in rows(show(root, "env"))] == ["insertion/peg", "fetch/push"]
    assert [row[0] for row in rows(show(root, "split"))] == ["train", "test"]
    assert [row[0] for row in rows(show(root, "task"))] == ["a", "b", "c"]
    with pytest.raises(
        SettingsError, match="rows by 'colour': no task .* choose of task, env, split, robot, seed, fam"
    ):
        describe(root, "colour")


def test_long_names_of_kinds_are_folded(root: Path) -> None:
    fill(root, episode(1, kind="withdraw"), episode(1, kind="press"))
    lines = show(root, "env")
    head = next(number for number, line in enumerate(lines) if line.startswith("env"))
    assert lines[head - 1].split() == ["with-"] and lines[head].split()[:3] == ["env", "draw", "press"]


def test_a_film_shows_first_and_last_and_marks_success(root: Path) -> None:
    fill(root, episode(1, (0,) * 14 + (1,)))  # 15 frames, of which 8 are every second
    shown = film(DiskStore.open(root), 0)
    # Two views of 10 x 20 pixels below each other, with a border of 3.
    assert shown.shape == (8, 1, 26, 26, 3) and shown.dtype == np.uint8
    pictures = DiskStore.open(root).episode(0).observation["image"]
    np.testing.assert_array_equal(shown[:, 0, 3:13, 3:23], pictures[::2, 0])
    np.testing.assert_array_equal(shown[:, 0, 13:23, 3:23], pictures[::2, 1])
    assert shown[:, 0, 0, 0].tolist() == [[70, 74, 82]] * 7 + [[46, 204, 113]]


def test_captions_say_what_is_known(root: Path) -> None:
    fill(root, episode(1), episode(2, (0, 0), "press", True), episode(3, (0, 0)))
    store = DiskStore.open(root)
    assert [caption(store, number) for number in range(3)] == [
        "peg.0\nexpert\nseed 1\nfar\n2 steps\nsuccess",
        "peg.0\npress\nseed 2\nfar\n1 step\ntime limit",
        "peg.0\nexpert\nseed 3\nfar\n1 step\nno success",
    ]


def test_films_are_a_png_with_a_row_an_episode(root: Path, tmp_path: Path) -> None:
    fill(root, episode(1), episode(2), episode(3, kind="press"))
    for rows in (1, 3):
        out = tmp_path / "view" / f"{rows}.png"
        assert main(["data", "view", str(root), "--rows", str(rows), "--out", str(out)]) == 0
    one, three = (np.asarray(Image.open(tmp_path / "view" / f"{rows}.png")).shape[0] for rows in (1, 3))
    assert three - one == pytest.approx(2 * 1.03 * 120, abs=2)  # a row is 1.03 inches of 120 pixels


def test_episodes_are_shown_by_their_seeds_and_those_of_a_run_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four episodes two have one of these seeds: as high as a picture of two rows."""
    fill(tmp_path / "run" / "trials", *(episode(seed) for seed in (1, 2, 3)), episode(3, kind="press"))
    (tmp_path / "run" / "run.json").write_text("{}")
    for name, flags in (("some", ["--seeds", "3", "9"]), ("two", ["--rows", "2"])):
        assert main(["data", "view", str(tmp_path / "run"), "--out", str(tmp_path / f"{name}.png"), *flags]) == 0
    some, two = (np.asarray(Image.open(tmp_path / f"{name}.png")).shape for name in ("some", "two"))
    assert some == two
    assert main(["data", "view", str(tmp_path / "run"), "--out", str(tmp_path / "x.png"), "--seeds", "7"]) != 0
    assert "no episodes of the seeds (7,); leave them out" in capsys.readouterr().err


def test_data_without_pictures_says_so(root: Path) -> None:
    state = {"state": np.zeros((2, 3), np.float32)}
    fill(root, replace(episode(1, (0, 1)), observation=state))
    with pytest.raises(DataError, match="no pictures among the observations state"):
        film(DiskStore.open(root), 0)


def test_choice_takes_each_task_and_kind_before_a_second(root: Path) -> None:
    experts = [episode(seed, name="a") for seed in range(6)]
    fill(root, *experts, episode(1, kind="press", name="a"), episode(1, name="b"))
    store = DiskStore.open(root)
    for seed in range(5):
        chosen = choose(store, 3, np.random.default_rng(seed))
        assert chosen[1:].tolist() == [6, 7] and chosen[0] < 6
        assert chosen.tolist() == choose(store, 3, np.random.default_rng(seed)).tolist()
    assert choose(store, 99, np.random.default_rng(0)).tolist() == list(range(8))


def test_recording_for_the_viewer(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    fill(root, episode(1))
    record_rerun(DiskStore.open(root), [0], tmp_path / "view" / "episodes.rrd")
    content = (tmp_path / "view" / "episodes.rrd").read_bytes()
    assert content[:3] == b"RRF"
    for entity in ("image/1", "state/2", "action/3", "reward/0", "notes/far/0"):
        assert f"/peg.0/expert-1/{entity}".encode() in content.replace(b"\\", b""), entity
    assert b"position" not in content  # the truth is not what the robot saw
    (tmp_path / "folder.rrd").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*folder.rrd: .*; choose another folder"):
        record_rerun(DiskStore.open(root), [0], tmp_path / "folder.rrd")


def test_a_recording_says_what_it_needs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    fill(root, episode(1))
    with pytest.raises(SettingsError, match=r"needs the package rerun.*pip install 'lotj\[export\]', or write a .png"):
        record_rerun(DiskStore.open(root), [0], tmp_path / "x.rrd")
