"""A data set of format 1, written byte by byte, becomes one of format 2 with the same pixels, actions and labels."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from lotj.data.inspect import check
from lotj.data.store import DiskStore
from lotj.data.upgrade import upgrade
from lotj.errors import DataError
from lotj.experience import Task

SIZE = 4

Given = tuple[str, str, int, list[int], bool, bool]
"""kind, scenario, seed, success of each frame, terminated, truncated."""

PEG: list[Given] = [
    ("expert", "far", 0, [0, 0, 1], True, False),
    ("withdraw", "near", 1_000_000, [0, 1, 0, 1], False, True),
]
USB: list[Given] = [("press", "far", 0, [0, 0], False, True)]


def pixels(seed: int, frame: int) -> bytes:
    """(4, 4, 3): rows 0 and 1 are the first view's, filled with seed % 7 + frame; 2 and 3 the second's, 100 more."""
    return bytes([seed % 7 + frame] * 24 + [100 + seed % 7 + frame] * 24)


def row(seed: int, frame: int, success: int, last: bool) -> bytes:
    action = [float("nan")] * 3 if last else [frame / 4, 0.5, -1.0]
    return struct.pack("<9fB", *action, 0.001 * frame, 0.0, 0.01, 1.0, 2.0, seed % 7, success)


def write_domain(root: Path, name: str, connector: str, split: str, episodes: list[Given]) -> Path:
    folder = root / "domains" / name
    folder.mkdir(parents=True)
    about = {"name": name, "connector": connector, "family": connector[:3], "robot": "duo", "seed": 7, "split": split}
    (folder / "domain.json").write_text(json.dumps(about))
    frames, table, lines, first = b"", b"", [], 0
    for number, (kind, scenario, seed, success, terminated, truncated) in enumerate(episodes):
        count = len(success)
        images = b"".join(pixels(seed, frame) for frame in range(count))
        rows = b"".join(row(seed, frame, success[frame], frame == count - 1) for frame in range(count))
        line = {"id": number, "kind": kind, "scenario": scenario, "seed": seed, "first_frame": first}
        line |= {"n_frames": count, "terminated": terminated, "truncated": truncated, "success": bool(success[-1])}
        lines.append(json.dumps(line | {"crc": zlib.crc32(images + rows)}))
        frames, table, first = frames + images, table + rows, first + count
    lines.insert(1, json.dumps({"discarded": "dislodged", "kind": "half", "scenario": "near", "seed": 5}))
    (folder / "frames.u8").write_bytes(frames)
    (folder / "frames.tbl").write_bytes(table)
    (folder / "episodes.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    root = tmp_path / "old"
    write_domain(root, "usb-b.duo.7", "usb-b", "test", USB)
    write_domain(root, "peg.duo.7", "peg", "train", PEG)
    meta = {"format": "lotj-episodes", "version": 1, "image_size": SIZE, "settings": {"noise": 0.2}}
    (root / "meta.json").write_text(json.dumps(meta))
    return root


def assert_upgraded(new: Path) -> None:
    """By hand: what the two domains above hold."""
    store = DiskStore.open(new)
    about = {"family": "peg", "robot": "duo", "seed": 7}
    assert store.tasks[0] == Task("peg.duo.7", "insertion/peg", "train", {"connector": "peg", **about})
    assert store.tasks[1].env == "insertion/usb-b" and store.tasks[1].split == "test"
    assert store.settings == {"noise": 0.2}
    assert [(store.kinds[k], int(seed)) for k, seed in store.episodes[["kind", "seed"]].tolist()] == [
        ("expert", 0),
        ("withdraw", 1_000_000),
        ("press", 0),
    ]
    assert store.episodes["terminated"].tolist() == [True, False, False]
    assert store.episodes["truncated"].tolist() == [False, True, True]
    image = store.observe(np.arange(9))["image"]
    assert image.shape == (9, 2, 2, 4, 3)
    assert image[:, 0].reshape(9, -1).tolist() == [[value] * 24 for value in (0, 1, 2, 1, 2, 3, 4, 0, 1)]
    assert (image[:, 1] == image[:, 0] + 100).all()  # a million is 1 more than a multiple of 7
    old = b"".join(pixels(seed, frame) for seed, count in ((0, 3), (1_000_000, 4), (0, 2)) for frame in range(count))
    assert image.tobytes() == old
    action = store.column("action")
    assert action[[0, 1, 3, 4, 5, 7]].tolist() == [[f / 4, 0.5, -1] for f in (0, 1, 0, 1, 2, 0)]
    assert np.isnan(action[[2, 6, 8]]).all()
    assert store.success.tolist() == [False, False, True, False, True, False, True, False, False]
    assert store.column("reward")[[0, 1, 3, 4, 5, 7]].tolist() == [0, 1, 1, 0, 1, 0]
    assert store.column("notes/far").tolist() == [True] * 3 + [False] * 4 + [True] * 2
    np.testing.assert_allclose(store.truth("position")[3:7, 0], [0, 0.001, 0.002, 0.003])
    assert store.truth("force")[3].tolist() == [1, 2, 1] and store.truth("force").shape == (9, 3)
    assert {name: dict(reasons) for name, reasons in store.discarded.items()} == {
        "peg.duo.7": {"dislodged": 1},
        "usb-b.duo.7": {"dislodged": 1},
    }
    assert check(new) == []


def test_pixels_actions_and_labels_stay_the_same(old: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    told: list[tuple[int, int]] = []
    upgrade(old, tmp_path / "new", lambda done, total: told.append((done, total)))
    assert_upgraded(tmp_path / "new")
    assert told == [(number, 5) for number in range(1, 6)]
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("stop", range(1, 6))
def test_one_that_was_stopped_leaves_nothing_under_its_name_and_goes_on(old: Path, tmp_path: Path, stop: int) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(old, tmp_path / "new", interrupt)
    assert not (tmp_path / "new").exists()
    told: list[int] = []
    upgrade(old, tmp_path / "new", lambda done, total: told.append(done))
    assert told == list(range(stop + 1, 6))
    assert_upgraded(tmp_path / "new")


def test_a_domain_that_was_only_begun_is_passed_over(old: Path, tmp_path: Path) -> None:
    (old / "domains" / "begun").mkdir()
    (old / "domains" / "begun" / "episodes.jsonl").touch()
    upgrade(old, tmp_path / "new")
    assert_upgraded(tmp_path / "new")


def test_a_torn_end_of_the_index_is_passed_over(old: Path, tmp_path: Path) -> None:
    with (old / "domains" / "peg.duo.7" / "episodes.jsonl").open("a") as index:
        index.write('\0\0\0"crc": 5}\n{"id": 2, "ki')
    upgrade(old, tmp_path / "new")
    assert_upgraded(tmp_path / "new")


def test_nothing_is_written_over(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match="new exists: name a new one"):
        upgrade(old, tmp_path / "new")
    upgrade(old, tmp_path / "made")
    with pytest.raises(DataError, match="version is 2, not 1; `lotj data upgrade` turns 1 into 2"):
        upgrade(tmp_path / "made", tmp_path / "again")
    with pytest.raises(DataError, match="no data set at .*nowhere: it has no meta.json"):
        upgrade(tmp_path / "nowhere", tmp_path / "again")


def test_an_upgrade_begun_of_other_data_does_not_go_on(old: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(old, tmp_path / "new", interrupt)
    index = old / "domains" / "peg.duo.7" / "episodes.jsonl"
    index.write_text(index.read_text().replace('"seed": 0', '"seed": 3'))
    with pytest.raises(DataError, match=r"\.new\.part was begun with crc \d+, not \d+: delete it, or name another"):
        upgrade(old, tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("frames.u8", b"\1", "episode 0 .expert, seed 0.: frames or rows are missing or do not match"),
        ("frames.tbl", b"", "episode 0 .expert, seed 0.: frames or rows are missing or do not match"),
        ("domain.json", b'{"name": "peg.duo.7"}', "domain.json: split is missing"),
        ("domain.json", b"{", "domain.json is damaged"),
        ("episodes.jsonl", b"?\n?\n", "episodes.jsonl, line 1: not a record of an episode"),
        ("frames.u8", None, "cannot read .*frames.u8: No such file"),
    ],
)
def test_damage_is_one_line(old: Path, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = old / "domains" / "peg.duo.7" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        upgrade(old, tmp_path / "new")
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()
