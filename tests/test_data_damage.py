"""Damaged and foreign data sets: each is one line that names the file, the rule and the way out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lotj.data.dataset import Dataset
from lotj.data.inspect import check, describe
from lotj.data.store import EpisodeWriter
from lotj.errors import DataError
from test_data import SIZE, domain, episode, fill


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def damage(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"meta.json: version is 2, this lotj reads 1; .*collect again"),
        ({"format": "other"}, r"meta.json: format is 'other', not 'lotj-episodes'"),
        ({"image_size": 0}, r"meta.json: image_size is 0"),
        ({"settings": None}, r"settings a NoneType"),
    ],
)
def test_other_versions_and_formats(root: Path, changes: dict, message: str) -> None:
    fill(root, episode(1))
    damage(root / "meta.json", **changes)
    for attempt in (Dataset.open, check, describe, lambda r: EpisodeWriter(r, domain(), SIZE)):
        with pytest.raises(DataError, match=message) as caught:
            attempt(root)
        assert "\n" not in str(caught.value)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set at .*nowhere.*`lotj collect`"):
        Dataset.open(tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"is not a data set: it has no meta.json"):
        Dataset.open(tmp_path)
    with pytest.raises(DataError, match=r"is not a data set but holds 'holiday.jpg': name a new or empty folder"):
        EpisodeWriter(tmp_path, domain(), SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("foreign", ["notes.txt", "folder/x.bin"])
def test_foreign_things_among_the_domains(root: Path, foreign: str) -> None:
    fill(root, episode(1))
    path = root / "domains" / foreign
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(DataError, match=r"is not part of a data set: it has no domain.json; move it elsewhere"):
        Dataset.open(root)


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("frames.u8", None, r"frames.u8 is missing: 6 frames need it; copy the data set again, or delete"),
        ("frames.tbl", None, r"frames.tbl is missing: 6 frames need it"),
        ("frames.u8", 287, r"frames.u8 holds 287 bytes, but 6 frames of 48 bytes need 288"),
        ("frames.tbl", 0, r"frames.tbl holds 0 bytes, but 6 frames of 37 bytes need 222"),
    ],
)
def test_missing_and_short_files(root: Path, name: str, keep: int | None, message: str) -> None:
    folder = fill(root, episode(1), episode(2))
    if keep is None:
        (folder / name).unlink()
    else:
        os.truncate(folder / name, keep)
    with pytest.raises(DataError, match=message):
        Dataset.open(root)
    assert len(check(root)) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'{"id":0', b'{"id":', "not a record"),
        (b'"id":0', b'"id":5', "id 5 at frame 0 where id 0 at frame 0 must follow"),
        (b'"seed":1', b'"seed":-1', "seed is -1"),
        (b'"seed":1', b'"seed":"1"', "seed is '1'"),
        (b'"expert"', b'"wizard"', "kind 'wizard'"),
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
        Dataset.open(root)
    assert "\n" not in str(caught.value)


def test_a_damaged_domain_file(root: Path) -> None:
    path = fill(root, episode(1)) / "domain.json"
    damage(path, seed="0", colour="red")
    with pytest.raises(DataError, match=r"domain.json: colour, seed missing, unknown or of the wrong type"):
        Dataset.open(root)
    path.write_text("{")
    with pytest.raises(DataError, match=r"domain.json is damaged"):
        Dataset.open(root)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"holds a list, not an object"):
        Dataset.open(root)


def test_a_renamed_domain_folder(root: Path) -> None:
    folder = fill(root, episode(1))
    folder.rename(folder.with_name("other"))
    with pytest.raises(DataError, match="name is 'peg.sawbot.0' but the folder is 'other'; rename"):
        Dataset.open(root)


def test_nothing_but_success_gives_no_transitions(root: Path) -> None:
    fill(root, episode(1, (1, 1), "half"))
    with pytest.raises(DataError, match="all 1 episodes start and stay in success"):
        Dataset.open(root).transitions()


def test_check_finds_one_flipped_bit(root: Path) -> None:
    folder = fill(root, episode(1), episode(2, kind="press"), episode(3))
    told: list[tuple[int, int]] = []
    assert check(root, lambda done, total: told.append((done, total))) == []
    assert told == [(1, 3), (2, 3), (3, 3)]
    for name, at in (("frames.u8", 3 * 48 + 5), ("frames.tbl", 3 * 37)):
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 1
        (folder / name).write_bytes(content)
        (problem,) = check(root)
        assert "episode 1 (press, seed 2): frames or rows do not match their checksum; give" in problem
        content[at] ^= 1
        (folder / name).write_bytes(content)
    index = folder / "episodes.jsonl"
    index.write_bytes(index.read_bytes().replace(b'"success":true', b'"success":false', 1))
    (problem,) = check(root)
    assert "episode 0 (expert, seed 1): the index and the last row disagree about success" in problem
