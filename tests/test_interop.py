"""Data sets of LeRobot, robomimic and Minari: there and back bit for bit, maps, bad input, kills, full disks, size."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from importlib.util import find_spec
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.cli import main
from lotj.data.layout import Schema
from lotj.data.store import DiskStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError, LotjError, SettingsError
from lotj.experience import Episode
from lotj.interop import exchange
from lotj.interop.contract import Header, Keys, Trajectory, find_format
from lotj.interop.exchange import export, import_
from lotj.interop.mapping import Column, Map, foreign_episode, read_map
from test_data import episode, task

NEEDS = {"lerobot": "pyarrow", "robomimic": "h5py", "minari": "minari"}
FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed"))
    for name, package in NEEDS.items()
]
OUT = {"lerobot": "set", "robomimic": "set.hdf5", "minari": "set-v0"}


def rich(seed: int, name: str) -> Episode:
    """An episode with every kind of column: cameras with and without an axis of views, a depth image of 64-bit numbers,
    whole numbers and flags, alone and in arrays. It ends by success, by a limit, or by neither."""
    rng = np.random.default_rng(seed)
    made = episode(seed, (0,) * (3 + seed % 3) + (1,), name=name, truncated=seed % 3 == 1)
    n = len(made) + 1
    seen = {
        "image": rng.integers(0, 256, (n, 2, 10, 20, 3), np.uint8),
        "wrist/rgb": rng.integers(0, 256, (n, 8, 9, 3), np.uint8),
        "depth": rng.random((n, 2, 4, 5, 1)),
        "state": rng.random((n, 3), np.float32),
        "count": np.arange(n) - 2**40,
        "one": rng.random((n, 1), np.float32),
        "flags": rng.random((n, 3)) > 0.5,
    }
    terminated = made.terminated and seed % 3 == 0
    return replace(made, observation=seen, terminated=terminated, notes={**made.notes, "score": rng.random(n)})


def record(root: Path, episodes: int = 4, make: Callable[[int, str], Episode] = rich) -> Path:
    """A data set of two tasks, one episode of each discarded."""
    for name, split in (("peg.0", "train"), ("usb.1", "validation")):
        with EpisodeWriter(root, task(name, split), Schema.of(make(0, name)), {"recipe": "expert"}) as writer:
            for seed in range(episodes):
                writer.append(make(seed, name))
            writer.discard("expert", 10**6, "lost")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An episode of `rich` has 4 to 6 frames of 1,829 bytes with its truth: two to four episodes a part."""
    monkeypatch.setattr(exchange, "PART_BYTES", 20_000)


# There and back


@pytest.mark.parametrize("form", FORMATS)
def test_there_and_back_is_bit_equal(tmp_path: Path, form: str, small_parts: None) -> None:
    root, out = record(tmp_path / "data"), tmp_path / OUT[form]
    seen: list[tuple[int, int]] = []
    export(root, form, out, truth=True, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8) and seen == sorted(seen)
    import_(out, form, tmp_path / "back", progress=lambda done, total: seen.append((done, total)))
    assert seen[-8:] == [(done, 8) for done in range(1, 9)]
    assert contents(tmp_path / "back") == contents(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["back", "data", out.name])


@pytest.mark.parametrize("form", FORMATS)
def test_truth_leaves_only_where_it_is_asked_for(tmp_path: Path, form: str) -> None:
    root, out = record(tmp_path / "data", 2), tmp_path / OUT[form]
    export(root, form, out)
    everything = b"".join(contents(out).values()) if out.is_dir() else out.read_bytes()
    assert b"position" not in everything and b"truth.position" not in everything
    import_(out, form, tmp_path / "back")
    before, after = DiskStore.open(root), DiskStore.open(tmp_path / "back")
    assert not after.schema.truth and after.schema.observation == before.schema.observation
    for file in ("rows.tbl", "image.raw"):
        assert contents(tmp_path / "back")[f"tasks/peg.0/{file}"] == contents(root)[f"tasks/peg.0/{file}"]


def test_what_lies_in_a_lerobot_data_set(tmp_path: Path, small_parts: None) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "set"
    export(record(tmp_path / "data"), "lerobot", out, rate=5.0)
    info = json.loads((out / "meta/info.json").read_text())
    # Episodes of seeds 0 to 3 have 3, 4, 5 and 3 steps, in each of two tasks.
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 5, 8, 30)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [4], "names": [f"axis_{n}" for n in range(4)]}
    assert info["features"]["observation.images.image_1"]["shape"] == [10, 20, 3]
    assert info["features"]["next.reward"] == {"dtype": "float32", "shape": [1], "names": None}
    files = sorted(out.glob("data/*/*.parquet"))
    assert [file.name for file in files] == [f"file-{n:03d}.parquet" for n in range(len(files))] and len(files) > 2
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [row["index"] for row in rows] == list(range(30))
    assert [row["task_index"] for row in rows] == [0] * 15 + [1] * 15
    second = rows[3:7]  # seed 1: four steps, cut off by a limit though a success was seen
    assert [row["timestamp"] for row in second] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert [row["next.done"] for row in second] == [False, False, False, True]
    assert [row["next.truncated"] for row in second] == [False, False, False, True]
    assert [row["next.success"] for row in second] == [False, False, False, True]
    assert [row["next.reward"] for row in second] == [0, 0, 0, 1]
    assert second[2]["action"] == pytest.approx([0.2] * 4)
    tables = [pq.read_table(file).to_pylist() for file in sorted(out.glob("meta/episodes/*/*.parquet"))]
    about = [row for table in tables for row in table][1]
    assert (about["episode_index"], about["length"], about["tasks"], about["lotj/seed"]) == (1, 4, ["peg.0"], 1)
    assert (about["dataset_from_index"], about["dataset_to_index"], about["data/file_index"]) == (3, 7, 0)
    stats = json.loads((out / "meta/stats.json").read_text())
    # Actions are 0, .1, .2 ... in each episode: of both tasks 2 x (3 + 4 + 5 + 3) of sum 2 x (.3 + .6 + 1 + .3) = 4.4.
    assert stats["action"]["mean"] == pytest.approx([4.4 / 30] * 4) and stats["action"]["count"] == [30]
    numbers = np.array(([0, 1, 2] + [0, 1, 2, 3] + [0, 1, 2, 3, 4] + [0, 1, 2]) * 2) / 10
    assert stats["action"]["std"] == pytest.approx([numbers.std()] * 4)
    assert stats["action"]["max"] == pytest.approx([0.4] * 4)
    assert np.shape(stats["observation.images.image_0"]["mean"]) == (3, 1, 1)


def test_a_video_shows_the_frames_in_their_order(tmp_path: Path) -> None:
    """Each picture of an episode is evenly grey, brighter by 10 from step to step: lossy, but to be told apart."""
    pytest.importorskip("av")
    root = record(tmp_path / "data", 3, lambda seed, name: episode(seed, (0, 0, 0, 1), name=name, size=64))
    export(root, "lerobot", tmp_path / "set", video=True)
    assert len(list((tmp_path / "set").rglob("*.mp4"))) == 2  # one a camera
    import_(tmp_path / "set", "lerobot", tmp_path / "back")
    before, after = DiskStore.open(root), DiskStore.open(tmp_path / "back")
    for number in range(6):
        one, other = (store.episode(number).observation["image"].astype(int) for store in (before, after))
        assert one.shape == other.shape and np.abs(one - other).max() <= 3
    with pytest.raises(SettingsError, match="video: robomimic keeps pictures as arrays"):
        export(root, "robomimic", tmp_path / "r.hdf5", video=True)


# Foreign data and their maps

KEYS = Keys("obs/", "notes/", "truth/", "obs/{}_image", "actions", "rewards", "dones", "", "truncated", ("success",))


def foreign(**columns: Any) -> Trajectory:
    """Four steps of a foreign arm."""
    own = {
        "obs/pose": np.arange(12, dtype=np.float64).reshape(4, 3),
        "obs/front": np.full((4, 8, 8, 3), 7, np.uint8),
        "obs/side": np.full((4, 4, 4, 3), 9, np.uint8),
        "actions": np.array([[0.1, 20], [0.2, 40], [0.3, -60], [0.4, 10]]),
        "rewards": np.array([0.0, 1, 0, 2]),
        "dones": np.array([0, 0, 0, 1]),
    }
    return Trajectory(Header(7, "push it"), {k: v for k, v in {**own, **columns}.items() if v is not None})


def mapped(tmp_path: Path, text: str) -> Map:
    path = tmp_path / "map.toml"
    path.write_text(text)
    return read_map(path)


MAP = """
task = "fetch/reach"
kind = "human"
rate = 10
source_rate = 20
[observation.state]
from = "obs/pose"
axes = [2, 0]
scale = [-1, 100]
offset = [0.5, 0]
[observation.image]
from = ["obs/side", "obs/front"]
size = [2, 6]
[action]
from = "actions"
axes = [1, 0]
scale = [0.01, -1]
join = "sum"
[success]
from = "rewards"
"""


def test_a_map_says_what_becomes_of_what(tmp_path: Path) -> None:
    """By hand: two steps become one; axes change places, signs and units; the end is a success, so it terminated."""
    how = mapped(tmp_path, MAP).completed(foreign().columns, KEYS, None)
    made = foreign_episode(foreign(), how, KEYS, how.every(None), "x")
    # frames 0, 2 and the last, which is not there: the fourth stands for it
    assert made.observation["state"].tolist() == [[-1.5, 0], [-7.5, 600], [-10.5, 900]]
    assert made.observation["image"].shape == (3, 2, 2, 6, 3) and made.observation["image"][0, :, 0, 0, 0].tolist() == [
        9,
        7,
    ]
    np.testing.assert_allclose(made.action, [[0.6, -0.3], [-0.5, -0.7]], rtol=1e-6)
    assert made.reward.tolist() == [1, 2] and made.notes["success"].tolist() == [False, True, True]
    assert (made.terminated, made.truncated, made.kind, made.seed, made.task) == (
        True,
        False,
        "human",
        7,
        "fetch.reach",
    )
    assert how.task_of(Header(0, "push it")).env == "fetch/reach"


@pytest.mark.parametrize(
    ("changed", "bounds", "text"),
    [
        ({"obs/Pose": np.ones((4, 2))}, None, "keys obs/pose and obs/Pose would both be pose"),
        ({"obs/side": np.zeros((4, 8, 8, 3), np.uint8), "obs/image": np.ones((4, 2))}, None, "would both be image"),
        ({"rewards": np.zeros((4, 2))}, None, "episode 0, key rewards: 2 numbers a row, must be one"),
        ({}, (np.zeros(2), np.array([1.0, 0.0])), "key actions: axis 1 of the actions' space is a point"),
    ],
)
def test_what_is_guessed_loses_nothing_without_a_word(changed: dict[str, Any], bounds: Any, text: str) -> None:
    keys = find_format("robomimic").KEYS
    columns = {"obs/pose": np.zeros((4, 3)), "actions": np.zeros((4, 2)), **changed}
    with pytest.raises(DataError, match=text):
        how = Map().completed(columns, keys, bounds)
        foreign_episode(Trajectory(Header(0, "t"), columns), how, keys, 1, "episode 0")


def test_the_map_of_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "interoperability.md").read_text("utf-8")
    how = mapped(tmp_path, page.partition("```toml\n")[2].partition("```")[0])
    assert how.action == Column(("action",), (1, 0, 2), (-20, 20, 20), join="sum") and how.rate == 10
    assert how.observation["image"].size == (32, 64) and how.tasks == {"push the block": "fetch/push"}


@pytest.mark.parametrize(
    ("join", "expected"),
    [("sum", [[0.3], [0.6], [0.5]]), ("mean", [[0.15], [0.3], [0.5]]), ("last", [[0.2], [0.4], [0.5]])],
)
def test_a_rate_that_leaves_a_rest(join: str, expected: list[list[float]]) -> None:
    """Five steps at 20 Hz are two and a half at 10; the motions are .1, .2, .2, .4 and .5."""
    columns = {
        "obs/pose": np.arange(6.0)[:, None],
        "actions": np.array([[0.1], [0.2], [0.2], [0.4], [0.5]]),
        "rewards": None,
        "dones": None,
        "obs/front": None,
        "obs/side": None,
    }
    how = Map(action=Column(("actions",), join=join), rate=10.0).completed(foreign(**columns).columns, KEYS, None)
    made = foreign_episode(foreign(**columns), how, KEYS, how.every(20.0), "x")
    assert made.observation["pose"].tolist() == [[0], [2], [4], [5]] and not made.reward.any()
    np.testing.assert_allclose(made.action, expected, rtol=1e-6)
    assert made.truncated and not made.terminated  # it just stops


def test_actions_come_from_the_range_of_their_space() -> None:
    """-2 to 6 becomes -1 to 1: 0 is -.5."""
    columns = foreign(actions=np.array([[0.0], [-2], [6], [2]])).columns
    bounds = np.array([-2.0], np.float32), np.array([6.0], np.float32)
    how = Map(observation={"state": Column(("obs/pose",))}).completed(columns, KEYS, bounds)
    assert foreign_episode(Trajectory(Header(0, "a"), columns), how, KEYS, 1, "x").action.tolist() == [
        [-0.5],
        [-1],
        [1],
        [0],
    ]


def test_a_sum_of_actions_whose_space_is_not_centred_is_not_guessed() -> None:
    """From 0 to 1, 0.5 and 0.5 would be 0 and 0, and 0.25 and 0.25 -1: neither says how far it went."""
    how, columns = Map(action=Column(("actions",), join="sum")), foreign().columns
    with pytest.raises(DataError, match="key actions: the actions' space is not centred on 0"):
        how.completed(columns, KEYS, (np.zeros(2), np.ones(2)))
    made = how.completed(columns, KEYS, (-2 * np.ones(2), 2 * np.ones(2)))
    assert made.action is not None and made.action.scale == (0.5, 0.5)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("[observation]\nstate = 'obs/nothing'", {}, ("x, key obs/nothing: is missing", "obs/pose")),
        ("", {}, ("key obs/side: pictures of 4 x 4, 8 x 8", "`size`")),
        ("", {"obs/front": None, "obs/side": None}, ("key actions: reaches 60 on axis 1", "action.scale")),
        ("[observation.state]\nfrom='obs/pose'\naxes=[3]", {}, ("key obs/pose: axes [3] of 3",)),
        ("[observation]\nstate='obs/pose'", {"obs/pose": np.zeros((2, 3))}, ("key obs/pose: 2 rows for 4 actions",)),
        ("[observation]\nstate='obs/pose'\n[action]\nfrom='actions'\nscale=[1,2,3]", {}, ("scale of 3 numbers for 2",)),
        ("[observation]\nstate='obs/pose'", {"rewards": np.zeros(3)}, ("key rewards: 3 rows for 4 actions",)),
        ("rate = 10", {}, ("does not say its own; give source_rate",)),
        ("rate = 10\nsource_rate = 25\naction.from = 'actions'", {}, ("25 Hz cannot be divided",)),
        ("rate = 10\nsource_rate = 20", {}, ("one action stands for 2", "action.join")),
        ("axes = 3", {}, ("unknown entry of", "'axes'", "rate")),
        ("action.from = 'actions'\naction.scal = 3", {}, ("unknown entry of", "did you mean 'scale'")),
        ("action.from = 3", {}, ("action: from = 3 must be a key",)),
        ("action = {from = 'actions', join = 'max'}", {}, ("join is 'max', not sum, mean, last",)),
        ("observation.image = {from = 'obs/side', size = 3}", {}, ("size is [3], must be height and width",)),
        ("observation.image = {from = 'obs/side', scale = 0.5}", {}, ("obs/side: axes, scale and offset are not",)),
        ("observation.state = {from = 'obs/pose', size = [4, 4]}", {}, ("obs/pose: size is for pictures",)),
        ("observation.state = {from = 'obs/pose', join = 'sum'}", {}, ("join is for the action alone",)),
        ("[tasks]\n'push it' = 3", {}, ("tasks.push it is 3, must be the name of a task",)),
        ("rate = 'fast'", {}, ("rate is 'fast'",)),
        ("rate = nan\nsource_rate = 20", {}, ("rate is nan",)),
        ("rate = true\nsource_rate = 20", {}, ("rate is True",)),
        ("rate = -10\nsource_rate = 20", {}, ("rate is -10",)),
        ("split = 'trian'", {}, ("unknown split in", "did you mean 'train'")),
        ("observation.image = {from = 'obs/side', size = [9999999, 9]}", {}, ("height and width, of 1 to 4096",)),
        ("observation.state = {from = 'obs/pose', scale = nan}", {}, ("x, key obs/pose: not finite in row 0; take",)),
        (
            "[observation]\nstate='obs/pose'",
            {"obs/pose": [[0.0], [1], [np.inf], [2]]},
            ("obs/pose: not finite in row 2",),
        ),
        (
            "[observation]\nstate='obs/pose'",
            {"actions": np.full((4, 2), np.nan)},
            ("key actions: not finite in row 0",),
        ),
        (
            "[observation]\nstate='obs/pose'",
            {"obs/pose": np.array([b"a"] * 4)},
            ("obs/pose: |S1 of shape (4,), must be",),
        ),
        (
            "[observation]\nstate='obs/pose'",
            {"obs/pose": np.float32(3)},
            ("key obs/pose: float32 of shape (), must be",),
        ),
        ("[observation]\nstate='obs/pose'", {"actions": np.zeros((0, 2))}, ("key actions: has no steps; take",)),
        ("rate 3", {}, ("not TOML",)),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    tmp_path: Path, text: str, columns: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(LotjError) as caught:
        how = mapped(tmp_path, text)
        every = how.every(None)
        how = how.completed(foreign(**columns).columns, KEYS, None)
        foreign_episode(foreign(**columns), how, KEYS, every, "x")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def damage_timestamps(root: Path) -> None:
    """In episode 1 (4 frames from the 4th row on) the clock runs at half the rate."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    [file] = root.glob("data/*/*.parquet")
    table = pq.read_table(file)
    times = table["timestamp"].to_numpy().copy()
    times[3:7] *= 2
    pq.write_table(table.set_column(table.column_names.index("timestamp"), "timestamp", pa.array(times)), file)


def drop_frame(root: Path) -> None:
    import pyarrow.parquet as pq

    [file] = root.glob("data/*/*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.filter(np.arange(len(table)) != 4), file)  # type: ignore[arg-type]


def drop_column(root: Path) -> None:
    import pyarrow.parquet as pq

    [file] = root.glob("data/*/*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["observation.state"]), file)


def cut_short(root: Path) -> None:
    [file] = root.glob("data/*/*.parquet")
    os.truncate(file, file.stat().st_size // 2)


def older(root: Path) -> None:
    info = root / "meta/info.json"
    info.write_text(info.read_text().replace("v3.0", "v2.1"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_timestamps, ("episode 1, key timestamp", "frame 1 is at 0.2 s", "10 Hz")),
        (drop_frame, ("episode 1, key episode_index: 3 frames", "says 4")),
        (drop_column, ("episode 0, key observation.state: is missing",)),
        (cut_short, ("not a table of frames, or damaged",)),
        (older, ("version 'v2.1', not 'v3.0'",)),
    ],
)
def test_a_damaged_lerobot_data_set_names_episode_and_key(
    tmp_path: Path, damage: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    pytest.importorskip("pyarrow")
    export(record(tmp_path / "data", 2), "lerobot", tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        import_(tmp_path / "set", "lerobot", tmp_path / "back")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_is_stopped_leaves_nothing_that_complains(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the second episode: no file is left open, to be told of by its library whenever it is collected."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(record(tmp_path / "data"), form, tmp_path / OUT[form], progress=stop)
    gc.collect()
    assert [str(one.exc_value) for one in complaints] == []


@pytest.mark.parametrize(("form", "file"), [("robomimic", "."), ("minari", "data/main_data.hdf5")])
def test_an_hdf5_file_with_a_damaged_list_of_names_is_told_of(tmp_path: Path, form: str, file: str) -> None:
    """Each of its heaps of names is torn in turn: HDF5 finds some of them as it opens, some as it lists a group."""
    pytest.importorskip(NEEDS[form])
    out = tmp_path / OUT[form]
    export(record(tmp_path / "data", 1), form, out)
    whole, places = (out / file).read_bytes(), []
    while (place := whole.find(b"HEAP", places[-1] + 4 if places else 0)) >= 0:
        places.append(place)
    places = [place for place in places if b"valid" not in whole[place : place + 64]]  # masks are not read
    assert len(places) > 2
    for place in places:
        (out / file).write_bytes(whole[:place] + b"TORN" + whole[place + 4 :])
        with pytest.raises(DataError, match="damaged"):
            import_(out, form, tmp_path / f"back-{place}")
        assert not (tmp_path / f"back-{place}").exists()


def test_episodes_of_robomimic_must_be_alike(tmp_path: Path) -> None:
    """Written by hand, as robomimic's users do; the second has a wider state, the third is no episode."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "demo.hdf5"
    for width, words in ((3, "demo_x"), (5, "key observation.eef.shape [3], not [5] as in this one")):
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})
            for name, size in (("demo_0", 3), ("demo_1" if width == 5 else "demo_x", width)):
                demo = data.create_group(name)
                demo["actions"], demo["rewards"], demo["dones"] = np.zeros((4, 7)), np.zeros(4), np.zeros(4)
                demo["obs/eef"] = demo["next_obs/eef"] = np.arange(4.0)[:, None] + np.zeros(size)
        with pytest.raises(DataError, match=words.replace("[", r"\[").replace("]", r"\]")):
            import_(path, "robomimic", tmp_path / "back")
        kept = (tmp_path / ".back.part").exists()  # where a first episode is stored, not where there is none
        assert kept == (width == 5)
        shutil.rmtree(tmp_path / ".back.part", ignore_errors=True)
    with h5py.File(path, "a") as file:
        del file["data/demo_1"]
    import_(path, "robomimic", tmp_path / "back")
    store = DiskStore.open(tmp_path / "back")
    assert store.column("eef")[:, 0].tolist() == [0, 1, 2, 3, 3]  # the last of next_obs
    assert store.tasks[0].name == "Lift" and store.settings["rate"] == 20


@pytest.mark.parametrize(
    ("rate", "text", "words"),
    [
        ("fast", "", "not a file of robomimic"),
        (20, "[observation]\n'../up' = 'obs/eef'", "episode 0: column '../up' of"),
    ],
)
def test_what_a_file_of_robomimic_says_is_checked(tmp_path: Path, rate: Any, text: str, words: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "demo.hdf5", "w") as file:
        about = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": rate}}
        file.create_group("data").attrs["env_args"] = json.dumps(about)
        for name in ("actions", "rewards", "dones", "obs/eef"):
            file[f"data/demo_0/{name}"] = np.zeros((4, 7)) if name in ("actions", "obs/eef") else np.zeros(4)
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        import_(tmp_path / "demo.hdf5", "robomimic", tmp_path / "back", tmp_path / "map.toml")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("form", "file"),
    [("lerobot", "meta/info.json"), ("lerobot", "lotj/about.json"), ("minari", "data/metadata.json")],
)
def test_no_entry_of_what_a_source_says_of_itself_is_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, file: str
) -> None:
    """Each entry, and each of the entries in it, is nothing, 0, a text, or a list: it does not matter, and what is made
    is a data set, or it is told of in one line, and nothing is made."""
    pytest.importorskip(NEEDS[form])
    out, back = tmp_path / OUT[form], tmp_path / "back"
    export(record(tmp_path / "data", 1), form, out)
    whole = json.loads((out / file).read_text())
    ours = out / ("lotj/about.json" if form == "lerobot" else "data/lotj.json")
    if file != "lotj/about.json":  # then another has written it
        ours.unlink()
    nested = [(key, inner) for key, value in whole.items() if isinstance(value, dict) for inner in value]
    nested += [("tasks", 0, inner) for inner in whole["tasks"][0]] if "tasks" in whole else []
    for place in [*((key,) for key in whole), *nested]:
        for value in (None, 0, "odd", []):
            wrong = json.loads(json.dumps(whole))
            reduce(getitem, place[:-1], wrong)[place[-1]] = value
            (out / file).write_text(json.dumps(wrong))
            code = main(["data", "import", "--from", form, str(out), str(back)])
            error = capsys.readouterr().err
            told = error.count("\n") == 1 and "fault in lotj" not in error and not back.exists()
            assert code == 0 or (code == 2 and told), (place, value, error)
            if code == 0:
                assert DiskStore.open(back).tasks
            for made in (back, tmp_path / ".back.part"):
                shutil.rmtree(made, ignore_errors=True)


def test_two_tasks_that_would_have_one_name_are_told_of(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        for number, task in enumerate(("push it!", "push it?")):
            demo = file.create_group(f"data/demo_{number}")
            demo.attrs["task"] = task
            for key, rows in {"obs/pose": np.zeros((3, 2)), "actions": np.zeros((3, 2))}.items():
                demo[key] = rows
    with pytest.raises(DataError, match=r"tasks 'push it!' and 'push it\?' would both be push.it: name them in"):
        import_(tmp_path / "two.hdf5", "robomimic", tmp_path / "data")
    (tmp_path / "map.toml").write_text('task = "fetch/push"')
    import_(tmp_path / "two.hdf5", "robomimic", tmp_path / "other", tmp_path / "map.toml")
    assert len(DiskStore.open(tmp_path / "other")) == 2


def test_a_task_of_a_map_that_is_none_of_ours_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    export(record(tmp_path / "data", 1), "robomimic", tmp_path / "set.hdf5")
    for name, told in (("fetch/rech", "did you mean 'fetch/reach'"), ("fetch/reach", "")):
        (tmp_path / "map.toml").write_text(f"task = '{name}'\nobservation.state = 'obs/state'")
        words = [str(tmp_path / "set.hdf5"), str(tmp_path / name[6:]), "--map", str(tmp_path / "map.toml")]
        code = main(["data", "import", "--from", "robomimic", *words])
        said, failed = capsys.readouterr()
        assert code == 0, failed
        assert ("unknown task" in said) == bool(told) and told in said


def test_of_what_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "there").mkdir()
    for words, told in (
        (["export", "--to", "lerobot", str(tmp_path / "new"), "--data", str(tmp_path)], "no data set at"),
        (["export", "--to", "lerobot", str(tmp_path / "there"), "--data", str(record(tmp_path / "d", 1))], "exists"),
        (["import", "--from", "lerobot", str(tmp_path / "there"), str(tmp_path / "new")], "no LeRobotDataset at"),
        (
            ["export", "--to", "lerobot", str(tmp_path / "n"), "--data", str(tmp_path / "d"), "--rate", "2.5"],
            "whole frames",
        ),
    ):
        assert main(["data", *words]) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1, error
    words = ["--to", "lerobot", str(tmp_path / "a set"), "--data", str(tmp_path / "d"), "--truth"]
    assert main(["data", "export", *words]) == 0
    assert main(["data", "import", "--from", "lerobot", str(tmp_path / "a set"), str(tmp_path / "its copy")]) == 0
    assert contents(tmp_path / "its copy") == contents(tmp_path / "d")


@pytest.mark.parametrize(("form", "package"), NEEDS.items())
def test_a_missing_package_is_one_line(tmp_path: Path, form: str, package: str) -> None:
    record(tmp_path / "data", 1)
    (tmp_path / f"{package}.py").write_text("raise ImportError('not installed here')")
    words = ["data", "export", "--to", form, str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1] / "src")])
    done = subprocess.run(
        [sys.executable, "-m", "lotj", *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert package in done.stderr and "pip install 'lotj[export]'" in done.stderr


# Kills, full disks, size

RUN = """
import sys
from pathlib import Path
from lotj.interop import exchange
exchange.PART_BYTES = 60_000
phase, source, form, out = sys.argv[1:]
print("now", flush=True)
if phase == "export":
    exchange.export(Path(source), form, Path(out), truth=True)
else:
    exchange.import_(Path(source), form, Path(out))
"""


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen:
    """Starts a Python that can import lotj and the tests."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    words = [sys.executable, "-c", code, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, **pipes, **options)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_kill_9_at_any_moment_and_going_on_give_the_same(tmp_path: Path, form: str) -> None:
    """Killed at moments spread over export and import; in the end all is equal to what an uninterrupted run gives."""
    root, out, back = record(tmp_path / "data", 40), tmp_path / OUT[form], tmp_path / "back"
    rng = np.random.default_rng(0)
    for phase, source, made in (("export", root, out), ("import", out, back)):
        kills = 0
        for delay in (0.05, *rng.uniform(0, 0.5, 6)):
            process = python(RUN, phase, source, form, made)
            assert process.stdout is not None and process.stdout.readline() == b"now\n"  # from now on it writes
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert not errors.strip(), errors.decode()
            kills += process.returncode == -signal.SIGKILL
            if made.exists():
                break
        else:
            _, errors = python(RUN, phase, source, form, made).communicate()
            assert not errors.strip(), errors.decode()
        assert kills, phase
    assert contents(back) == contents(root)
    assert not [path for path in out.rglob("*") if path.suffix == ".tmp"]


@pytest.mark.parametrize("form", FORMATS)
def test_another_job_is_not_gone_on_with(tmp_path: Path, form: str) -> None:
    root, other = record(tmp_path / "data", 1), record(tmp_path / "other", 2)
    out = tmp_path / OUT[form]
    (tmp_path / f".{out.name}.part/data").mkdir(parents=True)
    (tmp_path / f".{out.name}.part/begun.json").write_text('{"export": "elsewhere"}')
    for source in (root, other):
        with pytest.raises(DataError, match=r"was begun with .*delete it, or name another"):
            export(source, form, out)


FULL = """
import os, sys
from pathlib import Path
from lotj.errors import StorageError
from lotj.interop.exchange import export, import_
root, disk, form, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
filler = disk / "filler"
for work in (lambda: export(root, form, disk / name), lambda: import_(disk / name, form, disk / "back")):
    for kilobytes in (100, 250):
        filler.write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 1000 * kilobytes))
        try:
            work()
        except StorageError as error:
            print(error)
        filler.unlink()
    work()
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_one_line_and_is_gone_on_with(tmp_path: Path, form: str) -> None:
    """On a small memory disk of its own, where the machine lets a user mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=6m t "$1" && shift && exec "$@"'
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "-", str(disk)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a user mount a small disk")
    root = record(tmp_path / "data", 20)  # 350 KB
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    words = [*mount, sys.executable, "-c", FULL, str(root), str(disk), form, OUT[form]]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith("disk full at") for line in lines), done.stdout


MEMORY = """
import resource, sys
from pathlib import Path
from lotj.interop import exchange
exchange.PART_BYTES = 2**20
source, form, out = sys.argv[1:]
exchange.export(Path(source), form, Path(out))
exchange.import_(Path(out), form, Path(out + ".back"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_memory_stays_flat_however_many_episodes(tmp_path: Path, form: str) -> None:
    """There and back of 200 and of 1,200 episodes of 3 frames of 12 KB: 7 MB and 44 MB of frames. What an episode more
    may cost is its line in the index and its name, not its frames."""
    used = []
    for number in (100, 600):
        root = record(tmp_path / str(number), number, lambda seed, name: episode(seed, name=name, size=64))
        output, errors = python(MEMORY, root, form, tmp_path / f"{number}-{OUT[form]}").communicate(timeout=300)
        assert not errors.strip(), errors.decode()
        used.append(int(output))
    assert used[1] - used[0] < 20, used  # MB
