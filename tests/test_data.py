"""The episode store: what is read is what was written, resuming, choosing, copying, and what a batch cannot hold."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.data import layout
from lotj.data.layout import Schema
from lotj.data.store import DiskStore, MemoryStore, Store
from lotj.data.writer import EpisodeWriter
from lotj.errors import DataError, NumericsError
from lotj.experience import Episode, Task

SIZE = 20
"""Of the images in most tests: two views of 10 x 20 pixels are 1200 bytes a frame. A row is an action of 4 x 4, a
reward of 4, a state of 3 x 4 and two notes of 1: 34 bytes; the truth is 6 x 4 = 24 bytes."""


def task(name: str = "peg.0", split: str = "train", **attributes: Any) -> Task:
    return Task(name, "insertion/peg", split, {"robot": "duo", "seed": 0} | attributes)


def episode(
    seed: int,
    success: tuple[int, ...] = (0, 0, 1),
    kind: str = "expert",
    truncated: bool = False,
    name: str = "peg.0",
    size: int = SIZE,
    axes: int = 4,
) -> Episode:
    """An episode whose every number follows from its seed and the frame: pixel = 10 seed + step (one more in the second
    view), action = step / 10. It pays where it becomes a success."""
    n, won = len(success), np.array(success, bool)
    steps = np.arange(n)
    pixel = (10 * seed + steps)[:, None] + np.arange(2)
    image = np.broadcast_to(pixel[..., None, None, None] % 256, (n, 2, size // 2, size, 3)).astype(np.uint8)
    position = np.zeros((n, 3), np.float32)
    position[:, 2] = 0.02 - 0.01 * steps
    return Episode(
        observation={"image": image, "state": np.repeat(steps[:, None] + 0.5, 3, axis=1).astype(np.float32)},
        action=np.repeat(steps[:-1, None] / 10, axes, axis=1).astype(np.float32),
        reward=(won[1:] & ~won[:-1]).astype(np.float32),
        terminated=bool(won[-1]) and not truncated,
        truncated=truncated,
        task=name,
        kind=kind,
        seed=seed,
        notes={"success": won, "far": np.ones(n, bool)},
        truth={"position": position, "force": np.full((n, 3), seed, np.float32)},
    )


SCHEMA = Schema.of(episode(0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


def fill(root: Path, *episodes: Episode, of: Task | None = None, **settings: object) -> Path:
    """Writes the episodes, each to its task; returns the folder of the last task."""
    for item in episodes:
        with EpisodeWriter(root, of or task(item.task), Schema.of(item), settings or None) as writer:
            writer.append(item)
    return root / "tasks" / episodes[-1].task


def assert_same(store: Store, number: int, expected: Episode) -> None:
    """Every bit of a stored episode is the one given."""
    entry = store.episodes[number]
    at = slice(entry["first_frame"], entry["first_frame"] + entry["n_frames"])
    seen = store.observe(np.arange(at.start, at.stop))
    assert seen.keys() == expected.observation.keys()
    columns = {**seen, **{name: store.column(f"notes/{name}")[at] for name in expected.notes}}
    columns |= {f"true {name}": store.truth(name)[at] for name in expected.truth}
    wanted = {**expected.observation, **expected.notes, **{f"true {n}": v for n, v in expected.truth.items()}}
    for name, values in wanted.items():
        assert columns[name].dtype == values.dtype and columns[name].tobytes() == values.tobytes(), name
    assert store.column("action")[at][:-1].tobytes() == expected.action.tobytes()
    assert store.column("reward")[at][:-1].tobytes() == expected.reward.tobytes()
    assert np.isnan(store.column("action")[at][-1]).all() and np.isnan(store.column("reward")[at][-1])
    assert (entry["terminated"], entry["truncated"]) == (expected.terminated, expected.truncated)
    assert (store.kinds[entry["kind"]], entry["seed"]) == (expected.kind, expected.seed)
    assert store.tasks[entry["task"]].name == expected.task


# Writing and reading


def test_three_frames_come_back_bit_for_bit(root: Path) -> None:
    folder = fill(root, episode(7))
    store = DiskStore.open(root)
    assert_same(store, 0, episode(7))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix in (".tbl", ".raw")}
    assert sizes == {"image.raw": 3 * 1200, "rows.tbl": 3 * 34, "truth.tbl": 3 * 24}
    image = store.observe(np.array([2, 0]), ["image"])["image"]
    assert image[:, :, 0, 0, 0].tolist() == [[72, 73], [70, 71]]
    assert (len(store), store.n_frames, store.tasks, store.schema) == (1, 3, (task(),), SCHEMA)


@pytest.mark.parametrize("axes", [1, 2, 24])
def test_any_number_of_action_axes_and_any_observations(root: Path, axes: int) -> None:
    rng = np.random.default_rng(0)
    observation = {
        "feature/policy": rng.normal(size=(4, 700)).astype(np.float16),  # 1400 bytes: a file of its own
        "depth": rng.integers(0, 2**16, (4, 2, 3), np.uint16),
        "time": np.arange(4.0),
    }
    notes = {"score": rng.random(4, np.float32)}
    action, reward = rng.normal(size=(3, axes)).astype(np.float32), np.zeros(3, np.float32)
    given = Episode(observation, action, reward, False, True, "reach.0", "practice", 3, notes)
    folder = fill(root, given, of=Task("reach.0", "fetch/reach"))
    assert sorted(path.name for path in folder.iterdir()) == [
        *("episodes.jsonl", "feature-policy.raw", "rows.tbl", "task.json")
    ]
    memory = MemoryStore([Task("reach.0", "fetch/reach")])
    memory.append(given)
    for store in (DiskStore.open(root), memory):
        assert_same(store, 0, given)
        assert not store.success.any() and store.starts().tolist() == [0, 1, 2]
        with pytest.raises(DataError, match="no true 'position'"):
            store.truth("position")


def test_columns_of_two_tasks(root: Path) -> None:
    given = episode(2, (0, 0, 0), "press", True, "a"), episode(3, (0, 1), name="a"), episode(1, (0, 1), name="b")
    fill(root, given[2], *given[:2])
    memory = MemoryStore([task("a"), task("b")])
    for item in given:
        memory.append(item)
    for store in (DiskStore.open(root), memory):
        assert [t.name for t in store.tasks] == ["a", "b"] and store.kinds == ("press", "expert")
        assert store.episodes["first_frame"].tolist() == [0, 3, 5]
        assert store.frame_task.tolist() == [0, 0, 0, 0, 0, 1, 1]
        assert store.frame_episode.tolist() == [0, 0, 0, 1, 1, 2, 2]
        assert store.last_frames.tolist() == [2, 4, 6]
        assert store.of_kind(["expert", "half"]).tolist() == [False, True, True]
        assert store.of_frames(store.of_kind(["press"])).tolist() == [True] * 3 + [False] * 4
        image = store.observe(np.array([6, 0, 4, 6]), ["image"])["image"]
        assert image[:, 0, 3, 3, 2].tolist() == [11, 20, 31, 11]


def test_a_success_is_absorbing_and_a_time_out_goes_on(root: Path) -> None:
    given = (
        episode(0, (0, 0, 1)),  # frames 0 1 2
        episode(1, (0, 1, 0, 0), "withdraw", True),  # frames 3 4 5 6: in at 4, out again at 5
        episode(2, (0, 0), "press", True),  # frames 7 8
        episode(3, (1, 1), "half"),  # frames 9 10: starts in success, so it has no transition
        episode(4, (0, 0, 1), truncated=True),  # frames 11 12 13: a success, whatever the clock says
    )
    fill(root, *given)
    memory = MemoryStore([task()])
    for item in given:
        memory.append(item)
    for store in (DiskStore.open(root), memory):
        frame = store.starts()
        assert frame.tolist() == [0, 1, 3, 5, 7, 11, 12] and frame.dtype == np.int64
        assert store.column("reward")[frame].tolist() == [0, 1, 1, 0, 0, 0, 1]
        assert store.terminated()[frame].tolist() == [False, True, True, False, False, False, True]
        assert store.column("action")[frame, 0].tolist() == pytest.approx([0, 0.1, 0, 0.2, 0, 0, 0.1])


def test_where_the_environment_rewards_its_word_ends_an_episode(root: Path) -> None:
    rewarded = Task("peg.0", "push/one")
    fill(root, episode(0, (0, 1, 0, 0), truncated=True), of=rewarded)  # it goes on after the success
    store = DiskStore.open(root)
    assert store.starts().tolist() == [0, 1, 2] and not store.terminated().any()
    assert store.success.tolist() == [False, True, False, False]


def test_an_end_without_success_is_an_end(root: Path) -> None:
    lost = copy.copy(episode(1, (0, 0, 0)))
    object.__setattr__(lost, "terminated", True)
    fill(root, lost, episode(2, (0, 0)))
    assert DiskStore.open(root).terminated().tolist() == [False, True, False, False, False]


def test_nothing_but_success_gives_no_transitions(root: Path) -> None:
    fill(root, episode(1, (1, 1), "half"))
    assert DiskStore.open(root).starts().tolist() == []


def test_a_copy_holds_the_same_episodes_however_the_data_set_has_grown(root: Path) -> None:
    fill(root, episode(1, name="a"), episode(2, kind="press", name="a"), episode(3, name="b"))
    whole = DiskStore.open(root)
    packed = pickle.dumps(whole)
    fill(root, episode(4, kind="half", name="a"))  # else the frames of b would be numbered anew
    for again in (pickle.loads(packed), copy.deepcopy(whole)):
        assert (again.episodes == whole.episodes).all() and again.kinds == ("expert", "press")
        for number, seed in enumerate((1, 2, 3)):
            assert_same(again, number, episode(seed, kind="press" if seed == 2 else "expert", name="aab"[seed - 1]))


def test_tasks_are_chosen_by_split_or_predicate(root: Path) -> None:
    for name, split in (("a", "train"), ("b", "test"), ("c", "test")):
        fill(root, episode(1, name=name), of=task(name, split))
    assert [t.name for t in DiskStore.open(root, split="test").tasks] == ["b", "c"]
    assert [t.name for t in DiskStore.open(root, lambda t: t.name < "c", "test").tasks] == ["b"]
    with pytest.raises(DataError, match="holds no validation tasks, of 1 train, 2 test: .* let `lotj collect` record"):
        DiskStore.open(root, split="validation")
    with pytest.raises(DataError, match="holds no such tasks, of 1 train, 2 test"):
        DiskStore.open(root, lambda t: t.name > "x")


@pytest.mark.parametrize("index", [[-1], [3], [[0]], [0.5]])
def test_frame_numbers_out_of_range_are_refused(root: Path, index: list) -> None:
    fill(root, episode(1))
    with pytest.raises(IndexError):
        DiskStore.open(root).observe(np.array(index))


def test_no_frames_asked_none_given(root: Path) -> None:
    fill(root, episode(1))
    seen = DiskStore.open(root).observe(np.array([], int))
    assert seen["image"].shape == (0, 2, 10, 20, 3) and seen["state"].shape == (0, 3)


def test_the_documented_ways_of_reading_give_what_was_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data-format.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    given = episode(7, name="as-3112.duo.0")
    fill(tmp_path / "data" / "laptop", given)
    monkeypatch.chdir(tmp_path)
    by_hand: dict[str, Any] = {}
    exec(blocks[0], by_hand)
    assert by_hand["seen"].tobytes() == given.observation["image"].tobytes()
    assert by_hand["actions"].tobytes() == given.action.tobytes()
    by_lotj: dict[str, Any] = {}
    exec(blocks[1], by_lotj)
    assert by_lotj["episode"].truth.keys() == {"force", "position"} and by_lotj["batch"].columns["far"].all()
    assert len(blocks) == 2


# What an episode and a schema are


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": np.zeros((3, 4))}, r"must be \(T, A\) and \(T,\)"),
        ({"action": np.zeros(2)}, r"must be \(T, A\)"),
        ({"action": np.zeros((0, 4)), "reward": np.zeros(0)}, "episode of 0 steps"),
        ({"observation": {}}, r"observes \[\]"),
        ({"truncated": True}, "terminated or truncated, not both"),
        ({"notes": {"score": np.zeros(2)}}, "2 actions need 3 frames of 'score', not 2"),
        ({"truth": {"position": np.zeros((4, 3))}}, "3 frames of 'position', not 4"),
    ],
)
def test_an_episode_that_does_not_fit_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Episode(**(vars(episode(1)) | changes))


FLOAT = np.dtype("<f4")


@pytest.mark.parametrize(
    "group",
    [
        {"observation": {"Image": FLOAT}},
        {"observation": {"action": FLOAT}},
        {"truth": {"reward": FLOAT}},
        {"observation": {"a/b": FLOAT, "a-b": FLOAT}},
        {"observation": {"notes/success": FLOAT}},
        {"notes": {"name": np.dtype("U3")}},
        {"notes": {"nothing": np.dtype(("<f4", (0,)))}},
        {"action": 0},
    ],
)
def test_a_schema_that_could_not_be_read_back_is_refused(group: dict) -> None:
    with pytest.raises(ValueError, match="column|observations|axes"):
        Schema(**({"action": 2, "observation": {"state": FLOAT}} | group))


def test_columns_lie_in_the_order_of_their_names_whoever_names_them() -> None:
    one, other = (Schema(1, dict(order)) for order in ([("b", FLOAT), ("a", FLOAT)], [("a", FLOAT), ("b", FLOAT)]))
    assert one == other and one.files == other.files
    assert one.files["rows.tbl"].names == ("action", "reward", "a", "b")
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


# What only a simulator knows


def test_the_truth_lies_in_a_file_of_its_own_even_under_the_name_of_an_observation(root: Path) -> None:
    given = episode(1)
    seen = np.full((3, 3), 9, np.float32)  # what the robot believes, not where it is
    given = replace(given, observation={**given.observation, "position": seen})
    folder = fill(root, given)
    store = DiskStore.open(root)
    assert (store.observe(np.arange(3))["position"] == 9).all()
    assert store.truth("position")[:, 2].tolist() == pytest.approx([0.02, 0.01, 0.0])
    truth = given.truth["position"].tobytes()
    where = [path.name for path in folder.iterdir() if truth[:12] in path.read_bytes()]
    assert where == ["truth.tbl"]


# Resuming


def test_resume_knows_what_is_done_and_goes_on(root: Path) -> None:
    where = task(tolerance=(1, 2))  # a tuple, which comes back from the file as a list
    with EpisodeWriter(root, where, SCHEMA, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == set()
        writer.append(episode(1))
        writer.discard("press", 2, "lost")
    with EpisodeWriter(root, where, SCHEMA, {"noise": 0.2, "box": (1, 2)}) as writer:
        assert writer.finished == {("expert", 1), ("press", 2)}
        writer.append(episode(3))
        with pytest.raises(ValueError, match="stored or discarded already"):
            writer.append(episode(2, kind="press"))
    store = DiskStore.open(root)
    assert store.episodes["seed"].tolist() == [1, 3]
    assert store.discarded == {"peg.0": Counter(lost=1)}
    assert store.settings == {"noise": 0.2, "box": [1, 2]}


def test_rewind_forgets_what_was_recorded_after_a_trial(root: Path) -> None:
    """As practice does it: trials are numbered, and one that was lost is noted."""
    with EpisodeWriter(root, task(), SCHEMA) as writer:
        for seed in (1, 2, 3):
            writer.append(episode(seed))
    folder = root / "tasks" / "peg.0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with EpisodeWriter(root, task(), SCHEMA) as writer:
        writer.discard("practice", 4, "lost")
        writer.append(episode(5))
        writer.rewind(7)
        assert writer.finished == {("practice", 4), *(("expert", n) for n in (1, 2, 3, 5))}
        writer.rewind(3)
        assert writer.finished == {("expert", 1), ("expert", 2), ("expert", 3)}
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        writer.append(episode(4))
        writer.rewind(0)
        writer.append(episode(9, kind="practice"))
    assert DiskStore.open(root).episodes["seed"].tolist() == [9]
    assert_same(DiskStore.open(root), 0, episode(9, kind="practice"))
    with pytest.raises(ValueError, match="is closed"):
        writer.rewind(0)


def test_one_writer_per_task(root: Path) -> None:
    with EpisodeWriter(root, task(), SCHEMA) as first:
        with pytest.raises(DataError, match="is being written by another process"):
            EpisodeWriter(root, task(), SCHEMA)
        with EpisodeWriter(root, task("other"), SCHEMA) as second:  # another task is free
            second.append(episode(1, name="other"))
        first.append(episode(1))
    EpisodeWriter(root, task(), SCHEMA).close()
    assert len(DiskStore.open(root)) == 2


def test_a_closed_writer_says_so(root: Path) -> None:
    writer = EpisodeWriter(root, task(), SCHEMA)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.append(episode(1))


def test_another_schema_setting_or_task_is_refused(root: Path) -> None:
    fill(root, episode(1), noise=0.2)
    with pytest.raises(DataError, match=r"frames with observation.image.shape \[2, 10, 20, 3\], not \[2, 4, 8, 3\]"):
        EpisodeWriter(root, task(), Schema.of(episode(1, size=8)))
    with pytest.raises(DataError, match="holds frames with action 4, not 2: observe the same, or collect into"):
        EpisodeWriter(root, task(), Schema.of(episode(1, axes=2)))
    with pytest.raises(DataError, match="collected with noise 0.2, not 0.3"):
        EpisodeWriter(root, task(), SCHEMA, {"noise": 0.3})
    with pytest.raises(DataError, match="describes Task"):
        EpisodeWriter(root, task(split="test"), SCHEMA)
    with pytest.raises(DataError, match=r"'\.\./x' cannot be a folder"):
        EpisodeWriter(root, task("../x"), SCHEMA)
    with pytest.raises(ValueError, match=r"sync_every 17: must be in \[1, 16\]"):
        EpisodeWriter(root, task(), SCHEMA, sync_every=17)
    assert len(DiskStore.open(root)) == 1


@pytest.mark.parametrize("name", ["action", "reward", "state", "position"])
def test_a_number_that_is_not_finite_is_refused(root: Path, name: str) -> None:
    bad = episode(1)
    bad = replace(bad, notes={**bad.notes, "position": np.zeros(3, np.float32)})  # hides no other
    values = {"action": bad.action, "reward": bad.reward, **bad.observation, **bad.truth}[name]
    values.reshape(-1)[1] = np.inf
    with EpisodeWriter(root, task(), Schema.of(bad)) as writer:
        with pytest.raises(NumericsError, match=f"{name} of expert episode 1 of peg.0 is not finite everywhere"):
            writer.append(bad)
        assert writer.finished == set()


def test_wrong_episodes_are_refused_and_nothing_is_stored(root: Path) -> None:
    with EpisodeWriter(root, task(), SCHEMA) as writer:
        with pytest.raises(ValueError, match="given to the writer"):
            writer.append(episode(1, name="other"))
        with pytest.raises(ValueError, match="this data set holds"):
            writer.append(episode(1, size=8))
        with pytest.raises(ValueError, match="2 to 32768 frames, not 32769"):
            writer.append(_long(layout.MAX_FRAMES + 1))
        with pytest.raises(ValueError, match="kind 'pull out'"):
            writer.discard("pull out", 1, "lost")
        with pytest.raises(ValueError, match="seed is -1"):
            writer.append(episode(-1))
        assert writer.finished == set()
    with pytest.raises(DataError, match="holds no finished episode in 1 tasks: run `lotj collect` first"):
        DiskStore.open(root)


def _long(frames: int) -> Episode:
    """So many frames of the usual schema, which take no memory to speak of."""
    few = episode(1)

    def longer(group: Any) -> dict[str, np.ndarray]:
        return {name: np.broadcast_to(values[:1], (frames, *values.shape[1:])) for name, values in group.items()}

    changes = {name: longer(getattr(few, name)) for name in ("observation", "notes", "truth")}
    action, reward = np.zeros((frames - 1, 4), np.float32), np.zeros(frames - 1, np.float32)
    return replace(few, **changes, action=action, reward=reward)


# In memory


def test_a_memory_store_keeps_what_it_held_when_an_append_fails() -> None:
    store = MemoryStore([task()])
    assert (len(store), store.n_frames, store.starts().tolist()) == (0, 0, [])
    store.append(episode(1))
    with pytest.raises(ValueError, match="is held"):
        store.append(episode(2, axes=1))
    with pytest.raises(ValueError, match="elsewhere"):
        store.append(episode(2, name="elsewhere"))
    store.append(episode(2, (0, 1)))
    assert store.n_frames == 5
    assert_same(store, 0, episode(1))
    assert_same(store, 1, episode(2, (0, 1)))


def test_a_memory_store_grows_past_its_first_room_without_losing_a_row() -> None:
    store = MemoryStore([task()])
    for seed in range(100):  # 300 frames, far beyond the first 64 rows
        store.append(episode(seed, size=2))
    assert store.column("action").shape == (300, 4)
    for seed in (0, 42, 99):
        assert_same(store, seed, episode(seed, size=2))
