"""What the replay buffers promise: whole trials, next frames that follow, exact proportions, balanced subsets."""

from dataclasses import replace

import numpy as np
import pytest

from lotj.data.prefetch import Prefetcher
from lotj.data.replay import MixedReplay, OfflineFeatures, OnlineBuffer, Trial, choose_transitions, first_success
from lotj.errors import DataError


def make_trial(number: int, steps: int, first: int, success: bool = False) -> Trial:
    """A trial whose frame f (a running number over trials) is filled with f and has the feature f."""
    frame = np.arange(first, first + steps + 1)
    return Trial(
        number=number,
        frames=np.broadcast_to(frame[:, None, None, None], (steps + 1, 2, 2, 3)).astype(np.uint8),
        features={"map": frame[:, None].astype(np.float16)},
        actions=np.full((steps, 3), 0.25 * number, np.float32),
        scores=np.zeros(steps, np.float32),
        rewards=np.where(np.arange(steps) == steps - 1, success, False).astype(np.float32),
        terminated=success,
        truncated=not success,
    )


def make_features(transitions: int) -> OfflineFeatures:
    """Transition i: frame row i to row i + 1; the feature of row r in view k is 100 r + k."""
    rows, views = transitions + 1, 2
    return OfflineFeatures(
        features={"map": (100 * np.arange(rows)[:, None, None] + np.arange(views)[:, None]).astype(np.float16)},
        frame=np.arange(transitions),
        next_frame=np.arange(transitions) + 1,
        action=np.zeros((transitions, 3), np.float32),
        reward=np.zeros(transitions, np.float32),
        terminated=np.zeros(transitions, bool),
        truncated=np.zeros(transitions, bool),
        domain=np.zeros(transitions, np.int64),
    )


def test_next_observation_follows_within_the_trial():
    buffer = OnlineBuffer(keep_images=False)
    buffer.append(make_trial(1, steps=3, first=0, success=True))  # frames 0 1 2 3
    buffer.append(make_trial(2, steps=2, first=4))  # frames 4 5 6
    batch = buffer.sample(400, np.random.default_rng(0))
    before, after = batch.observation["map"][:, 0], batch.next_observation["map"][:, 0]
    assert len(buffer) == 5 and buffer.trials == 2
    assert set(before) == {0, 1, 2, 4, 5}  # 3 and 6 end their trials: nothing starts there
    np.testing.assert_array_equal(after, before + 1)
    np.testing.assert_array_equal(batch.reward, before == 2)
    np.testing.assert_array_equal(batch.terminated, before == 2)
    np.testing.assert_array_equal(batch.truncated, before == 5)
    np.testing.assert_array_equal(batch.action[:, 0], np.where(before < 4, 0.25, 0.5))
    assert (batch.domain == -1).all()


def test_images_instead_of_features_when_convolutions_learn():
    buffer = OnlineBuffer(keep_images=True)
    buffer.append(replace(make_trial(1, steps=3, first=7), features={}))
    batch = buffer.sample(50, np.random.default_rng(0))
    assert batch.observation.shape == (50, 2, 2, 3) and batch.observation.dtype == np.uint8
    np.testing.assert_array_equal(batch.next_observation, batch.observation + 1)


def test_buffer_grows_past_its_first_room_without_losing_a_row():
    buffer = OnlineBuffer(keep_images=False)
    for number in range(300):  # 300 trials of 20 steps: 6000 transitions, far beyond the first 1024 rows
        buffer.append(replace(make_trial(number, steps=20, first=0), actions=np.full((20, 3), number, np.float32)))
    batch = buffer.sample(60_000, np.random.default_rng(0))
    assert len(buffer) == 6000
    assert set(batch.action[:, 0]) == set(range(300))


def test_evenly_drawn():
    buffer = OnlineBuffer(keep_images=False)
    buffer.append(make_trial(1, steps=4, first=0))
    counts = np.bincount(buffer.sample(40_000, np.random.default_rng(0)).observation["map"][:, 0].astype(int))
    assert abs(counts / 40_000 - 0.25).max() < 0.01


def test_first_success_by_hand():
    scores = np.array([0.1, 0.6, 0.2, 0.7, 0.9])
    assert first_success(scores, 0.5) == 1
    assert first_success(scores, 0.5, hold_frames=2) == 4  # the .6 stands alone
    assert first_success(scores, 0.95) == 5  # none


def test_trials_judged_anew():
    buffer = OnlineBuffer(keep_images=False)
    # Frames 0 1 2 3 and 4 5 6 7; the scores are those of frames 1 2 3 and 5 6 7.
    buffer.append(replace(make_trial(1, steps=3, first=0, success=True), scores=np.array([0.1, 0.2, 0.6], np.float32)))
    buffer.append(replace(make_trial(2, steps=3, first=4, success=True), scores=np.array([0.1, 0.7, 0.9], np.float32)))

    def drawn() -> dict[int, tuple[float, bool, bool]]:
        batch = buffer.sample(400, np.random.default_rng(0))
        rows = zip(batch.observation["map"][:, 0], batch.reward, batch.terminated, batch.truncated, strict=True)
        return {int(frame): (float(r), bool(t), bool(c)) for frame, r, t, c in rows}

    going_on, end, limit = (0.0, False, False), (1.0, True, False), (0.0, False, True)
    buffer.relabel(0.8, hold_frames=1)  # the first trial was no success after all
    assert drawn() == {0: going_on, 1: going_on, 2: limit, 4: going_on, 5: going_on, 6: end}
    buffer.relabel(0.65, hold_frames=1)  # the second was one already a step earlier: frame 6 ends it
    assert drawn() == {0: going_on, 1: going_on, 2: limit, 4: going_on, 5: end} and len(buffer) == 5
    buffer.relabel(0.65, hold_frames=2)
    assert drawn() == {0: going_on, 1: going_on, 2: limit, 4: going_on, 5: going_on, 6: end} and len(buffer) == 6


def test_trial_that_does_not_fit_is_refused():
    buffer = OnlineBuffer(keep_images=False)
    trial = make_trial(1, steps=3, first=0)
    with pytest.raises(ValueError, match="3 actions do not fit"):
        buffer.append(replace(trial, features={"map": trial.features["map"][:-1]}))
    with pytest.raises(ValueError, match="do not fit"):
        buffer.append(replace(trial, features={}))
    buffer.append(trial)
    with pytest.raises(ValueError, match=r"\['other'\] where \['map'\]"):
        buffer.append(replace(trial, features={"other": trial.features["map"]}))


@pytest.mark.parametrize(
    ("batch", "fraction", "counts"), [(8, 0.75, {6}), (10, 0.25, {2, 3}), (7, 0.0, {0}), (7, 1.0, {7})]
)
def test_online_share_of_a_batch(batch: int, fraction: float, counts: set[int]):
    online = OnlineBuffer(keep_images=False)
    online.append(make_trial(1, steps=3, first=0))
    replay = MixedReplay(online, make_features(5), batch, fraction)
    rng = np.random.default_rng(0)
    batches = [replay.sample(rng) for _ in range(2000)]
    shares = [int((drawn.domain == -1).sum()) for drawn in batches]
    assert {len(drawn) for drawn in batches} == {batch}
    assert set(shares) == counts
    assert abs(np.mean(shares) - batch * fraction) < 0.04  # standard error at .5 is 0.011


def test_online_rows_come_first():
    online = OnlineBuffer(keep_images=False)
    online.append(make_trial(1, steps=3, first=0))
    drawn = MixedReplay(online, make_features(5), 8, 0.5).sample(np.random.default_rng(0))
    assert drawn.domain.tolist() == [-1] * 4 + [0] * 4


def test_policy_imitates_successful_trials_alone_where_asked():
    second = replace(make_trial(2, steps=2, first=4), scores=np.array([0.0, 0.9], np.float32))
    for only in (False, True):
        online = OnlineBuffer(keep_images=False, imitate_successes=only)
        online.append(make_trial(1, steps=3, first=0, success=True))
        online.append(second)
        mixed = MixedReplay(online, make_features(5), 400, 0.5)
        drawn, rng = mixed.sample(np.random.default_rng(0)), np.random.default_rng(1)
        if not only:
            assert drawn.policy is None
            continue
        before = drawn.observation["map"][:200, 0]
        np.testing.assert_array_equal(drawn.policy[:200], before < 4)  # the first trial's frames
        assert drawn.policy[200:].all()  # prior data
        online.relabel(0.5, hold_frames=1)  # now the second is the success
        again = mixed.sample(rng)
        np.testing.assert_array_equal(again.policy[:200], again.observation["map"][:200, 0] >= 4)


def test_a_trial_that_touch_has_denied_stays_no_success():
    """Both score above the threshold; the first ended in no success when it was made. Touched, the second was one in
    its last step, for only there it was found to sit."""
    online = OnlineBuffer(keep_images=False)
    scores = np.array([0.9, 0.0, 0.9], np.float32)
    online.append(replace(make_trial(1, steps=3, first=0), scores=scores))
    online.append(replace(make_trial(2, steps=3, first=4, success=True), scores=scores))
    for ended_only, ends in ((False, [1.0, 5.0]), (True, [7.0])):
        online.relabel(0.5, hold_frames=1, ended_only=ended_only)
        drawn = online.sample(200, np.random.default_rng(0))
        assert np.unique(drawn.next_observation["map"][drawn.terminated, 0]).tolist() == ends


def test_a_success_that_is_denied_afterwards_is_an_end_without_reward_and_not_imitated():
    """Frames 0 1 2 and 3 4 5 of two successes; the first was in the wrong place."""
    online = OnlineBuffer(keep_images=False, imitate_successes=True)
    for number in (1, 2):
        trial = make_trial(number, steps=2, first=3 * number - 3, success=True)
        online.append(replace(trial, scores=np.array([0.0, 0.9], np.float32)))
    for denied, successes, rewarded, imitated in (
        (frozenset(), 2, [2.0, 5.0], [0.0, 1.0, 3.0, 4.0]),
        (frozenset({1}), 1, [5.0], [3.0, 4.0]),
        (frozenset(), 2, [2.0, 5.0], [0.0, 1.0, 3.0, 4.0]),  # and back: the places were judged anew
    ):
        online.relabel(0.5, 1, ended_only=True, denied=denied)
        drawn = online.sample(200, np.random.default_rng(0))
        assert online.successes == successes and drawn.policy is not None
        assert np.unique(drawn.next_observation["map"][drawn.terminated, 0]).tolist() == [2.0, 5.0]
        assert np.unique(drawn.next_observation["map"][drawn.reward > 0, 0]).tolist() == rewarded
        assert np.unique(drawn.observation["map"][drawn.policy, 0]).tolist() == imitated


def test_a_lost_plug_is_an_end_without_reward_whatever_is_judged_anew():
    """Frames 0 1 2 3 of the lost trial, 4 5 6 of one that ran out of time: only the loss is an end."""
    online = OnlineBuffer(keep_images=False, imitate_successes=True)
    lost = replace(make_trial(1, steps=3, first=0), terminated=True, truncated=False)
    assert lost.lost and not make_trial(1, 3, 0).lost and not make_trial(1, 3, 0, success=True).lost
    online.append(lost)
    online.append(make_trial(2, steps=2, first=4))
    for judge in (False, True):
        if judge:
            online.relabel(0.5, hold_frames=1)
        drawn = online.sample(200, np.random.default_rng(0))
        before = drawn.observation["map"][:, 0]
        np.testing.assert_array_equal(drawn.terminated, before == 2)
        np.testing.assert_array_equal(drawn.truncated, before == 5)
        assert not drawn.reward.any() and drawn.policy is not None and not drawn.policy.any()


def test_offline_views_are_drawn_for_each_frame_on_its_own():
    batch = make_features(4).sample(8000, np.random.default_rng(0))
    row, view = np.divmod(batch.observation["map"][:, 0].astype(int), 100)
    next_row, next_view = np.divmod(batch.next_observation["map"][:, 0].astype(int), 100)
    np.testing.assert_array_equal(next_row, row + 1)
    assert abs(np.bincount(2 * view + next_view) / 8000 - 0.25).max() < 0.02


def test_same_generator_same_batch():
    features = make_features(50)
    one, other = (features.sample(16, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.observation["map"], other.observation["map"])


def test_subset_is_balanced_over_domains_and_rich_in_success():
    domain = np.repeat([0, 1, 2], [1000, 100, 10])
    reward = np.zeros(1110, np.float32)
    reward[:100] = 1  # domain 0: plenty of successes; domain 1: none; domain 2: ten transitions, all successes
    reward[-10:] = 1
    chosen = choose_transitions(domain, reward, 120, 0.25, np.random.default_rng(0))
    assert (np.diff(chosen) > 0).all()
    assert np.bincount(domain[chosen]).tolist() == [40, 40, 10]
    assert [int(reward[chosen][domain[chosen] == name].sum()) for name in range(3)] == [10, 0, 10]


def test_subset_never_exceeds_its_size():
    domain = np.repeat(np.arange(7), 30)
    chosen = choose_transitions(domain, np.zeros(210), 100, 0.5, np.random.default_rng(0))
    assert len(chosen) == 100
    assert sorted(np.bincount(domain[chosen])) == [14] * 5 + [15] * 2


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


def test_ways_in_count_as_long_as_the_success_they_followed() -> None:
    """Frames 0 to 3 are the trial's, 4 5 6 a way to its seat, 7 8 9 one that ends over it, 10 11 12 another trial's."""
    buffer = OnlineBuffer(keep_images=False, imitate_successes=True)
    buffer.append(replace(make_trial(1, steps=3, first=0, success=True), scores=np.array([0.1, 0.2, 0.9], np.float32)))
    buffer.append(make_trial(1, steps=2, first=4, success=True), way_in=True)
    buffer.append(make_trial(1, steps=2, first=7), way_in=True)
    buffer.append(make_trial(2, steps=2, first=10))
    assert buffer.trials == 2 and buffer.successes == 1

    def drawn() -> dict[int, tuple[float, bool, bool, bool]]:
        batch = buffer.sample(600, np.random.default_rng(0))
        assert batch.policy is not None
        rows = zip(
            batch.observation["map"][:, 0], batch.reward, batch.terminated, batch.truncated, batch.policy, strict=True
        )
        return {int(frame): (float(r), bool(t), bool(c), bool(p)) for frame, r, t, c, p in rows}

    going_on, end, cut = (0.0, False, False, True), (1.0, True, False, True), (0.0, False, True, True)
    failed = {10: (0.0, False, False, False), 11: (0.0, False, True, False)}
    won = {0: going_on, 1: going_on, 2: end, 4: going_on, 5: end, 7: going_on, 8: cut} | failed
    assert drawn() == won
    buffer.relabel(0.5, hold_frames=1)
    assert drawn() == won
    buffer.relabel(0.95, hold_frames=1)  # the trial was no success after all
    assert set(drawn()) == {0, 1, 2, 10, 11} and buffer.successes == 1
    buffer.relabel(0.5, hold_frames=1, denied=frozenset([1]))  # one in the wrong place
    assert set(drawn()) == {0, 1, 2, 10, 11} and buffer.successes == 0
    buffer.relabel(0.5, hold_frames=1)
    assert drawn() == won
