"""What replay promises: next frames that follow, exact shares, no ground truth unless named, relabelling by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.data.prefetch import Prefetcher
from lotj.data.replay import Replay, Segment, Source, hindsight, join
from lotj.data.store import DiskStore, MemoryStore
from lotj.errors import DataError, SettingsError
from lotj.experience import PRACTISED, Batch, Episode, Task
from lotj.training.features import FeatureStore
from lotj.training.pretrain_config import PretrainConfig
from lotj.training.prior import batches
from test_data import episode, fill

TASKS = [Task("a", "insertion/a"), Task("b", "insertion/b")]


def trial(steps: int, first: int, success: bool = False, name: str = "a", axes: int = 2, **changes: Any) -> Episode:
    """An episode whose frame f (a running number over episodes) shows f; an action is a quarter of its frame."""
    frame = np.arange(first, first + steps + 1, dtype=np.float32)
    last = np.arange(steps) == steps - 1
    given = {
        "observation": {"map": frame[:, None], "image": np.repeat(frame[:, None], 3, axis=1).astype(np.uint8)},
        "action": np.repeat(frame[:-1, None] / 4, axes, axis=1),
        "reward": (last & success).astype(np.float32),
        "terminated": success,
        "truncated": not success,
        "task": name,
        "kind": "practice",
        "seed": first,
        "notes": {"score": frame / 100},
        "truth": {"position": -frame[:, None]},
    }
    return Episode(**(given | changes))


def memory(*episodes: Episode) -> MemoryStore:
    store = MemoryStore(TASKS)
    for item in episodes:
        store.append(item)
    return store


def seen(batch: Batch) -> np.ndarray:
    """(B,) the frame at which each transition begins."""
    return batch.observation["map"][:, 0]


# Drawing


def test_next_observation_follows_within_the_episode() -> None:
    store = memory(trial(3, 0, success=True), trial(2, 4, name="b"))  # frames 0 1 2 3 and 4 5 6
    batch = Replay([Source(store)], 400).sample(np.random.default_rng(0))
    before = seen(batch)
    assert set(before) == {0, 1, 2, 4, 5}  # 3 and 6 end their episodes: nothing starts there
    np.testing.assert_array_equal(batch.next_observation["map"][:, 0], before + 1)
    np.testing.assert_array_equal(batch.next_observation["image"], batch.observation["image"] + 1)
    np.testing.assert_array_equal(batch.reward, before == 2)
    np.testing.assert_array_equal(batch.terminated, before == 2)  # a time limit goes on
    np.testing.assert_array_equal(batch.action, np.repeat(before[:, None] / 4, 2, axis=1))
    np.testing.assert_array_equal(batch.task, before >= 4)
    assert (batch.reward.dtype, batch.terminated.dtype, batch.task.dtype) == (np.float32, bool, np.int64)
    assert len(batch) == 400 and batch.columns == {}


@pytest.mark.parametrize("axes", [1, 24])
def test_any_number_of_action_axes(axes: int) -> None:
    batch = Replay([Source(memory(trial(3, 0, axes=axes)))], 5).sample(np.random.default_rng(0))
    assert batch.action.shape == (5, axes)


def test_nothing_that_starts_in_success_is_drawn_and_what_enters_it_ends() -> None:
    won = {"success": np.array([0, 1, 0, 0, 1], bool)}  # in at frame 1, out again, in at the time limit
    store = memory(trial(4, 0, notes=won, reward=np.array([1, 0, 0, 1], np.float32)))
    batch = Replay([Source(store)], 200).sample(np.random.default_rng(0))
    assert set(seen(batch)) == {0, 2, 3}
    np.testing.assert_array_equal(batch.terminated, seen(batch) != 2)
    np.testing.assert_array_equal(batch.reward, seen(batch) != 2)


def test_evenly_drawn() -> None:
    batch = Replay([Source(memory(trial(1, 0), trial(3, 2)))], 40_000).sample(np.random.default_rng(0))
    counts = np.bincount(seen(batch).astype(int))
    assert abs(counts[[0, 2, 3, 4]] / 40_000 - 0.25).max() < 0.01


def test_same_generator_same_batch() -> None:
    replay = Replay([Source(memory(trial(9, 0)), 0.3), Source(memory(trial(9, 20)), 0.7)], 16)
    one, other = (seen(replay.sample(np.random.default_rng(3))) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, seen(replay.sample(np.random.default_rng(4))))


def test_a_store_is_drawn_from_while_it_grows() -> None:
    """Practice appends and learns in turns; the room is moved several times meanwhile."""
    store, rng = memory(), np.random.default_rng(0)
    replay = Replay([Source(store, practised=True)], 50)
    with pytest.raises(DataError, match="nothing to learn from: none of 0 episodes"):
        replay.sample(rng)
    for number in range(40):
        store.append(trial(5, 6 * number, success=number % 2 == 0))
        batch = replay.sample(rng)
        before = seen(batch)
        assert before.max() < 6 * number + 5 and (before % 6 < 5).all()
        np.testing.assert_array_equal(batch.next_observation["map"][:, 0], before + 1)
        np.testing.assert_array_equal(batch.terminated, (before % 6 == 4) & (before // 6 % 2 == 0))
        assert (batch.task == PRACTISED).all()
    assert set(seen(Replay([Source(store)], 5000).sample(rng)) // 6) == set(range(40))


def test_of_a_data_set_on_disk_as_of_one_in_memory(tmp_path: Path) -> None:
    given = [episode(1, (0, 1, 0, 0), "press", True, "a"), episode(2, name="a"), episode(3, (0, 1), name="b")]
    fill(tmp_path / "set", *given)
    stores = DiskStore.open(tmp_path / "set"), memory(*given)
    one, other = (
        Replay([Source(store)], 64, ["far", "position"], ["position"]).sample(np.random.default_rng(0))
        for store in stores
    )
    for name, values in vars(one).items():
        again = getattr(other, name)
        for mine, theirs in zip(
            *(v.items() if isinstance(v, dict) else [("", v)] for v in (values, again)), strict=True
        ):
            assert mine[0] == theirs[0] and mine[1].dtype == theirs[1].dtype
            np.testing.assert_array_equal(mine[1], theirs[1])


# Shares


@pytest.mark.parametrize(
    ("size", "share", "counts"), [(8, 0.75, {6}), (10, 0.25, {2, 3}), (7, 0.0, {0}), (7, 1.0, {7}), (7, 1 / 3, {2, 3})]
)
def test_shares_are_exact_in_expectation_and_off_by_less_than_a_row(size: int, share: float, counts: set[int]) -> None:
    sources = [Source(memory(trial(3, 0)), share, practised=True), Source(memory(trial(5, 10)), 1 - share)]
    replay, rng = Replay(sources, size), np.random.default_rng(0)
    batches = [replay.sample(rng) for _ in range(2000)]
    online = [int((drawn.task == PRACTISED).sum()) for drawn in batches]
    assert {len(drawn) for drawn in batches} == {size}
    assert set(online) == counts
    assert abs(np.mean(online) - size * share) < 0.04  # standard error at .5 is 0.011


def test_rows_come_in_the_order_of_the_sources_and_three_add_up() -> None:
    sources = [Source(memory(trial(3, first)), share) for first, share in ((0, 0.5), (10, 0.25), (20, 0.25))]
    drawn = seen(Replay(sources, 8).sample(np.random.default_rng(0)))
    assert (drawn // 10).astype(int).tolist() == [0] * 4 + [1] * 2 + [2] * 2


def test_an_empty_source_leaves_its_share_to_the_others() -> None:
    practised = memory()
    sources = [Source(memory(trial(3, 0)), 0.25), Source(memory(trial(3, 10)), 0.25), Source(practised, 0.5)]
    replay, rng = Replay(sources, 8), np.random.default_rng(0)
    assert (seen(replay.sample(rng)) // 10).astype(int).tolist() == [0] * 4 + [1] * 4
    practised.append(trial(2, 20))
    assert (seen(replay.sample(rng)) // 10).astype(int).tolist() == [0] * 2 + [1] * 2 + [2] * 4
    nothing = memory(trial(2, 0, notes={"success": np.ones(3, bool)}))  # it starts and stays in success
    with pytest.raises(DataError, match="none of 1 episodes has a step that starts before success"):
        Replay([Source(nothing)], 8).sample(rng)


@pytest.mark.parametrize("shares", [[], [0.5], [0.5, 0.6], [-0.5, 1.5], [float("nan"), 1.0]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(SettingsError, match="shares that add up to 1"):
        Replay([Source(memory(trial(3, 0)), share) for share in shares], 8)
    with pytest.raises(SettingsError, match="replay of 0 rows"):
        Replay([Source(memory(trial(3, 0)))], 0)


# Columns


def test_columns_come_from_the_source_or_from_notes() -> None:
    practised = Source(memory(trial(3, 0)), 0.5, columns={"imitate": np.array([1, 0, 1, 0], bool), "weight": 2.0})
    prior = Source(memory(trial(3, 10)), 0.5, columns={"imitate": True, "weight": np.arange(4) / 4})
    batch = Replay([practised, prior], 400, ["imitate", "weight", "score"]).sample(np.random.default_rng(0))
    before = seen(batch)
    np.testing.assert_array_equal(batch.columns["imitate"], before != 1)
    np.testing.assert_array_equal(batch.columns["weight"], np.where(before < 10, 2.0, (before - 10) / 4))
    np.testing.assert_allclose(batch.columns["score"], before / 100, rtol=1e-6)
    assert batch.columns.keys() == {"imitate", "weight", "score"}


def test_a_judge_changes_rows_rewards_and_ends_afterwards() -> None:
    """Frames 0 1 2 3 of a success; a later verdict calls it one at frame 2 already, then none at all."""
    source = Source(memory(trial(3, 0, success=True)))
    replay = Replay([source], 200)

    def drawn() -> dict[int, tuple[float, bool]]:
        batch = replay.sample(np.random.default_rng(0))
        rows = zip(seen(batch), batch.reward, batch.terminated, strict=True)
        return {int(frame): (float(reward), bool(end)) for frame, reward, end in rows}

    assert drawn() == {0: (0.0, False), 1: (0.0, False), 2: (1.0, True)}
    end = np.array([0, 1, 0, 0], bool)
    source.rows, source.columns = np.array([0, 1]), {"reward": end, "terminated": end}
    assert drawn() == {0: (0.0, False), 1: (1.0, True)}
    source.rows, source.columns = np.array([0, 1, 2]), {"reward": 0, "terminated": False}
    assert drawn() == {frame: (0.0, False) for frame in range(3)}
    source.rows, source.columns = None, {}
    assert drawn() == {0: (0.0, False), 1: (0.0, False), 2: (1.0, True)}


def test_observations_are_chosen_by_name() -> None:
    one, other = memory(trial(3, 0)), memory(trial(3, 10, observation={"map": np.zeros((4, 1), np.float32)}))
    batch = Replay([Source(one, 0.5), Source(other, 0.5)], 8, observation=["map"]).sample(np.random.default_rng(0))
    assert batch.observation.keys() == batch.next_observation.keys() == {"map"}
    with pytest.raises(DataError, match="nothing to learn observation 'image' from: a source has map, score alone"):
        Replay([Source(one, 0.5), Source(other, 0.5)], 8)


def test_a_column_that_is_nowhere_fails_at_the_door() -> None:
    with pytest.raises(DataError, match="nothing to learn 'weight' from"):
        Replay([Source(memory(trial(3, 0)), columns={"imitate": True})], 8, ["imitate", "weight"])
    late = memory()
    replay = Replay([Source(late)], 8, ["weight"])  # what it will hold is not known yet
    late.append(trial(3, 0))
    with pytest.raises(DataError, match="nothing to learn 'weight' from"):
        replay.sample(np.random.default_rng(0))


# Columns made of what follows


def test_monte_carlo_returns_by_hand() -> None:
    """Discount 0.5. Rewards 1, 2, 4 of an episode that ends: 1 + 0.5 (2 + 0.5 * 4) = 3, then 4, then 4. One of -1 and
    -1 that is cut off goes on at -1 for ever: -1 / (1 - 0.5) = -2 from each of its frames on."""
    won = trial(3, 0, success=True, reward=np.array([1, 2, 4], np.float32))
    cut = trial(2, 10, reward=np.array([-1, -1], np.float32))
    single = trial(1, 20, reward=np.array([3], np.float32), terminated=True, truncated=False)
    batch = Replay([Source(memory(won, cut, single))], 200, ["return"], discount=0.5).sample(np.random.default_rng(0))
    expected = {0: 3.0, 1: 4.0, 2: 4.0, 10: -2.0, 11: -2.0, 20: 3.0}
    assert batch.columns["return"].dtype == np.float32
    assert {int(f): float(g) for f, g in zip(seen(batch), batch.columns["return"], strict=True)} == expected
    undiscounted = Replay([Source(memory(won, cut))], 200, ["return"]).sample(np.random.default_rng(0))
    found = {int(f): float(g) for f, g in zip(seen(undiscounted), undiscounted.columns["return"], strict=True)}
    assert found == {0: 7.0, 1: 6.0, 2: 4.0, 10: -2.0, 11: -1.0}  # without discount it ends where it was cut off


def test_returns_follow_a_judges_verdict_and_success_within_an_episode() -> None:
    source = Source(memory(trial(3, 0, success=True)))
    replay = Replay([source], 100, ["return"], discount=0.5)

    def drawn() -> dict[int, float]:
        batch = replay.sample(np.random.default_rng(0))
        return {int(f): float(g) for f, g in zip(seen(batch), batch.columns["return"], strict=True)}

    assert drawn() == {0: 0.25, 1: 0.5, 2: 1.0}
    end = np.array([0, 1, 0, 0], bool)
    source.rows, source.columns = np.array([0, 1]), {"reward": end.astype(float), "terminated": end}
    assert drawn() == {0: 0.5, 1: 1.0}
    labels = {"success": np.array([0, 1, 0, 0, 1], bool)}  # in at frame 1, out again, in at the end
    inside = memory(trial(4, 0, notes=labels, reward=np.array([1, 0, 0, 1], np.float32)))
    replay = Replay([Source(inside)], 100, ["return"], discount=0.5)
    assert drawn() == {0: 1.0, 2: 0.5, 3: 1.0}


def test_the_next_action_is_the_datas_own_and_a_cut_off_step_without_one_is_not_drawn() -> None:
    store = memory(trial(3, 0, success=True), trial(3, 10), trial(1, 20))
    batch = Replay([Source(store)], 400, ["next_action"]).sample(np.random.default_rng(0))
    before = seen(batch)
    assert set(before) == {0, 1, 2, 10, 11}  # 12 and 20 were cut off; what 2 led to has ended, and no value follows
    following = np.where(before == 2, 0.0, (before + 1) / 4)
    np.testing.assert_array_equal(batch.columns["next_action"], np.repeat(following[:, None], 2, axis=1))
    assert batch.columns["next_action"].dtype == np.float32


def test_demonstrations_are_the_prior_data_that_are_imitated() -> None:
    practised = Source(memory(trial(3, 0)), 0.5, columns={"imitate": True}, practised=True)
    prior = Source(memory(trial(3, 10)), 0.5, columns={"imitate": np.array([1, 0, 1, 0], bool)})
    batch = Replay([practised, prior], 400, ["demo", "imitate"]).sample(np.random.default_rng(0))
    before = seen(batch)
    np.testing.assert_array_equal(batch.columns["demo"], (before >= 10) & (before != 11))
    assert batch.columns["demo"].dtype == bool
    plain = Replay([Source(memory(trial(3, 0)))], 8, ["demo"]).sample(np.random.default_rng(0))
    assert plain.columns["demo"].all()


def test_pretraining_draws_the_columns_that_the_agent_needs() -> None:
    store = memory(trial(3, 0, success=True, kind="expert"), trial(3, 10))
    needs = {"return", "next_action", "demo"}
    config = PretrainConfig(batch=64, policy_kinds=("expert",), aside_share=None)
    drawn = batches(store, config, 0, needs, ("map",), discount=0.5)(0)
    before = seen(drawn)
    assert drawn.columns.keys() == needs
    np.testing.assert_array_equal(drawn.columns["demo"], before < 10)
    np.testing.assert_allclose(drawn.columns["return"], np.where(before < 10, 0.5 ** (2 - before), 0.0))


def test_what_follows_is_refused_where_it_is_not_known() -> None:
    relabelled = Source(memory(reach(3, 0, 9)), relabel=[hindsight(touching)])
    with pytest.raises(SettingsError, match="column 'return' of relabelled transitions: .*switch hindsight off"):
        Replay([relabelled], 8, ["return"])
    assert Replay([relabelled], 8, ["next_action"]).sample(np.random.default_rng(0)).columns.keys() == {"next_action"}
    single = memory(trial(1, 0))
    assert not FeatureStore.whole
    single.whole = False  # transitions, as there
    for column in ("return", "next_action"):
        with pytest.raises(DataError, match=f"nothing to learn '{column}' from"):
            Replay([Source(single)], 8, [column])


# What only a simulator knows


def test_ground_truth_is_in_a_batch_only_if_it_is_named(tmp_path: Path) -> None:
    store = memory(trial(3, 0))
    with pytest.raises(DataError, match="nothing to learn 'position' from"):
        Replay([Source(store)], 8, ["position"])
    batch = Replay([Source(store)], 8, ["position"], truth=["position"]).sample(np.random.default_rng(0))
    np.testing.assert_array_equal(batch.columns["position"][:, 0], -seen(batch))
    practised = Source(memory(trial(3, 0, truth={})), 0.5)  # a robot does not tell it
    with pytest.raises(DataError, match="nothing to learn 'position' from"):
        Replay([Source(store, 0.5), practised], 8, ["position"], truth=["position"])


def test_falsified_truth_changes_no_batch_that_does_not_name_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "set", *(episode(seed) for seed in range(5)))
    path = folder / "truth.tbl"

    def batch(*truth: str) -> Batch:
        store = DiskStore.open(tmp_path / "set")
        asked = Replay([Source(store)], 64, ["far", "success", *truth], truth)
        return asked.sample(np.random.default_rng(0))

    def content(batch: Batch) -> list[bytes]:
        groups = batch.observation, batch.next_observation, batch.columns
        values = [v for group in groups for v in group.values()]
        return [v.tobytes() for v in [*values, batch.action, batch.reward, batch.terminated, batch.task]]

    plain, named = content(batch()), content(batch("position"))
    path.write_bytes(bytes(len(path.read_bytes())))
    assert content(batch()) == plain
    assert content(batch("position")) != named  # so the file is the one that it lies in


# Relabelling


def reach(steps: int, first: float, goal: float, success: bool = False) -> Episode:
    """Moves along a line, 1 a step; `achieved_goal` is where it is."""
    where = (first + np.arange(steps + 1, dtype=np.float32))[:, None]
    observation = {"map": where, "achieved_goal": where, "goal": np.full_like(where, goal)}
    return trial(steps, 0, success, observation=observation)


def touching(achieved: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(achieved - goal)[:, 0] < 0.5


def test_hindsight_by_hand() -> None:
    """Positions 0 1 2 3 with the goal 9, never reached. From position p the goal becomes one of p + 1 to 3, each as
    often; p + 1 is reached at once, which pays and ends."""
    source = Source(memory(reach(3, 0, 9), reach(1, 50, 9)), relabel=[hindsight(touching, 1.0)])
    batch = Replay([source], 40_000).sample(np.random.default_rng(0))
    start, goal = seen(batch), batch.observation["goal"][:, 0]
    for p, goals in ((0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (50, [51])):  # never beyond the end of its episode
        found, counts = np.unique(goal[start == p], return_counts=True)
        assert found.tolist() == goals
        assert abs(counts / counts.sum() - 1 / len(goals)).max() < 0.02
    np.testing.assert_array_equal(batch.next_observation["goal"], batch.observation["goal"])
    np.testing.assert_array_equal(batch.reward, goal == start + 1)
    np.testing.assert_array_equal(batch.terminated, goal == start + 1)
    assert batch.reward.dtype == np.float32


def test_hindsight_leaves_a_share_as_it_was() -> None:
    store = memory(reach(4, 0, 4, success=True))
    batch = Replay([Source(store, relabel=[hindsight(touching, 0.75)])], 40_000).sample(np.random.default_rng(0))
    start, goal = seen(batch), batch.observation["goal"][:, 0]
    # From position 0 the goal is 4 where it is left (1/4), or drawn of 1 2 3 4 (3/4 x 1/4).
    assert abs((goal[start == 0] == 4).mean() - 0.4375) < 0.02


def test_hindsight_leaves_the_end_of_a_lost_episode() -> None:
    lost = reach(2, 0, 9)
    object.__setattr__(lost, "truncated", False)
    object.__setattr__(lost, "terminated", True)
    batch = Replay([Source(memory(lost), relabel=[hindsight(touching, 0.0)])], 50).sample(np.random.default_rng(0))
    np.testing.assert_array_equal(batch.terminated, seen(batch) == 1)
    with pytest.raises(SettingsError, match="hindsight share 1.5"):
        hindsight(touching, 1.5)


def test_relabellings_are_done_in_order_and_change_nothing_in_place() -> None:
    def add(amount: float) -> Callable[[Segment, np.random.Generator], Batch]:
        def relabel(segment: Segment, rng: np.random.Generator) -> Batch:
            batch = segment.batch
            reward = 2 * batch.reward + amount
            return Batch(**(vars(batch) | {"reward": reward}))

        return relabel

    store = memory(trial(3, 0))
    batch = Replay([Source(store, relabel=[add(1), add(10)])], 8).sample(np.random.default_rng(0))
    assert set(batch.reward) == {12.0}  # 2 x (2 x 0 + 1) + 10
    assert store.column("reward")[:3].tolist() == [0, 0, 0]


def test_batches_join_by_name() -> None:
    replay = Replay([Source(memory(trial(3, 0)))], 4, ["score"])
    one, other = (replay.sample(np.random.default_rng(seed)) for seed in (0, 1))
    both = join([one, other])
    assert len(both) == 8
    np.testing.assert_array_equal(seen(both), np.concatenate([seen(one), seen(other)]))
    np.testing.assert_array_equal(both.columns["score"][4:], other.columns["score"])


def test_prefetcher_gives_each_step_its_own_and_passes_errors_on() -> None:
    def load(step: int) -> int:
        if step == 5:
            raise DataError("frame 5 is missing")
        return step * step

    ahead = Prefetcher(load)
    assert [ahead.get(step) for step in (0, 1, 2, 7, 8, 3, 4)] == [0, 1, 4, 49, 64, 9, 16]
    with pytest.raises(DataError, match="frame 5"):
        ahead.get(5)
    assert ahead.get(6) == 36
    ahead.close()
