"""Damaged and foreign data sets: each is one line that names the file, the rule and the way out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lotj.data.inspect import check, describe
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError
from test_data import SCHEMA, episode, fill, task

LOCKED = ("task.json", "episodes.jsonl", "rows.tbl", "truth.tbl", "image.raw")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def damage(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, r"meta.json: version is 1, not 2; `lotj data upgrade` turns 1 into 2"),
        ({"format": "other"}, r"meta.json: format is 'other', not 'lotj-episodes'"),
        ({"schema": []}, r"meta.json: not the schema of a data set"),
        ({"schema": {"action": 4}}, r"meta.json: not the schema of a data set .*observation"),
        ({"schema": {"action": 4, "observation": {}, "notes": {}, "truth": {}}}, "nothing is observed"),
        ({"schema": {"action": 4, "observation": {"a": {"dtype": "O", "shape": []}}}}, "not the schema of a data set"),
        ({"settings": None}, r"meta.json: settings are not an object; restore"),
    ],
)
def test_other_versions_and_formats(root: Path, changes: dict, message: str) -> None:
    fill(root, episode(1))
    damage(root / "meta.json", **changes)
    for attempt in (DiskStore.open, check, describe, lambda r: EpisodeWriter(r, task(), SCHEMA)):
        with pytest.raises(DataError, match=message) as caught:
            attempt(root)
        assert "\n" not in str(caught.value)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set at .*nowhere.*`lotj collect`"):
        DiskStore.open(tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"no data set at .*: it has no meta.json"):
        DiskStore.open(tmp_path)
    with pytest.raises(DataError, match=r"is not a data set but holds 'holiday.jpg': name a new or empty folder"):
        EpisodeWriter(tmp_path, task(), SCHEMA)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("foreign", ["notes.txt", "folder/x.bin"])
def test_foreign_things_among_the_tasks(root: Path, foreign: str) -> None:
    fill(root, episode(1))
    path = root / "tasks" / foreign
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    with pytest.raises(DataError, match=r"is not part of a data set: it has no task.json; move it elsewhere"):
        DiskStore.open(root)


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("image.raw", None, r"image.raw is missing: 6 frames need it; copy the data set again, or delete"),
        ("rows.tbl", None, r"rows.tbl is missing: 6 frames need it"),
        ("truth.tbl", None, r"truth.tbl is missing: 6 frames need it"),
        ("image.raw", 7199, r"image.raw holds 7199 bytes, but 6 frames of 1200 bytes need 7200"),
        ("rows.tbl", 0, r"rows.tbl holds 0 bytes, but 6 frames of 34 bytes need 204"),
        ("truth.tbl", 143, r"truth.tbl holds 143 bytes, but 6 frames of 24 bytes need 144"),
    ],
)
def test_missing_and_short_files(root: Path, name: str, keep: int | None, message: str) -> None:
    folder = fill(root, episode(1), episode(2))
    if keep is None:
        (folder / name).unlink()
    else:
        os.truncate(folder / name, keep)
    with pytest.raises(DataError, match=message):
        DiskStore.open(root)
    assert len(check(root)) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'{"id":0', b'{"id":', "not a record"),
        (b'"id":0', b'"id":5', "id 5 at frame 0 where id 0 at frame 0 must follow"),
        (b'"seed":1', b'"seed":-1', "seed is -1"),
        (b'"seed":1', b'"seed":"1"', "seed is '1'"),
        (b'"expert"', b'"the wizard"', "kind 'the wizard'"),
        (b'"n_frames":3', b'"n_frames":1', "n_frames is 1"),
        (b'"n_frames":3', b'"n_frames":4', "first_frame|id 1 at frame 3 where id 1 at frame 4 must follow"),
        (b'"crc":', b'"crc":-', "crc is -"),
        (b'"truncated":false', b'"truncated":0', "must be true or false"),
        (b'"terminated"', b'"finished"', "terminated is missing"),
        (b'{"id":0', b'[{"id":0', "not a record"),
        (b'"expert"', b'["expert"]', "not a record"),
    ],
)
def test_a_corrupt_line_in_the_middle(root: Path, old: bytes, new: bytes, message: str) -> None:
    folder = fill(root, episode(1), episode(2), episode(3))
    index = folder / "episodes.jsonl"
    index.write_bytes(index.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match=r"episodes.jsonl, line [12]: .*" + f"({message})" + ".*restore") as caught:
        DiskStore.open(root)
    assert "\n" not in str(caught.value)


def test_a_damaged_task_file(root: Path) -> None:
    path = fill(root, episode(1)) / "task.json"
    damage(path, env=0, colour="red")
    with pytest.raises(DataError, match=r"task.json: colour, env missing, unknown or of the wrong type"):
        DiskStore.open(root)
    path.write_text("{")
    with pytest.raises(DataError, match=r"task.json is damaged"):
        DiskStore.open(root)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"holds a list, not an object"):
        DiskStore.open(root)


def test_a_renamed_task_folder(root: Path) -> None:
    folder = fill(root, episode(1))
    folder.rename(folder.with_name("other"))
    with pytest.raises(DataError, match="name is 'peg.0' but the folder is 'other'; rename"):
        DiskStore.open(root)


def test_check_finds_one_flipped_bit(root: Path) -> None:
    fill(root, episode(1, name="other"))
    folder = fill(root, episode(1), episode(2, kind="press"), episode(3))
    told: list[tuple[int, int]] = []
    assert check(root, lambda done, total: told.append((done, total))) == []
    assert told == [(1, 2), (2, 2)]
    for name, at in (("image.raw", 3 * 1200 + 5), ("rows.tbl", 3 * 34), ("truth.tbl", 3 * 24 + 71)):
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 1
        (folder / name).write_bytes(content)
        (problem,) = check(root)
        assert "episode 1 (press, seed 2): its records do not match their checksum; give" in problem
        content[at] ^= 1
        (folder / name).write_bytes(content)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Inside, the files of `folder` belong to somebody else: who runs the tests as root would be let in anywhere."""
    before, root = Path.cwd(), os.geteuid() == 0
    folder.chmod(0o755)
    os.chdir(folder)
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        os.chdir(before)


@pytest.mark.parametrize("closed", ["set", "tasks", "tasks/peg.0", *(f"tasks/peg.0/{name}" for name in LOCKED)])
def test_what_somebody_else_keeps_closed_is_one_line(root: Path, closed: str) -> None:
    fill(root, episode(1))
    path = root if closed == "set" else root / closed
    for mode in (0o000, 0o444) if path.is_dir() else (0o000,):  # 444: its names may be read, nothing else
        path.chmod(mode)
        try:
            with as_nobody(root.parent):
                for attempt in (DiskStore.open, describe):
                    with pytest.raises(DataError, match=r"cannot read set.*: Permission denied; check its permissions"):
                        attempt(Path("set"))
                try:
                    (problem,) = check(Path("set"))
                except DataError as error:
                    problem = str(error)
                assert problem.startswith("cannot read set") and "\n" not in problem
        finally:
            path.chmod(0o755)
    assert check(root) == []
