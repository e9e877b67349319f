"""The sparse reward on codes, and how its eps is chosen, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lotj.errors import DataError, SettingsError
from lotj.goals.sparse import SparseReward, calibrate, check


def test_reward_is_0_within_eps_and_minus_1_beyond() -> None:
    codes, goals = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.1]]), np.zeros((3, 2))
    reward = SparseReward(5.0)({"code": codes}, goals)
    assert reward.tolist() == [0.0, 0.0, -1.0]
    assert reward.dtype == np.float32
    with pytest.raises(SettingsError, match="reward eps 0: must be above 0"):
        SparseReward(0)


def test_eps_lies_in_the_gap_where_there_is_one() -> None:
    found = calibrate(np.array([3.0, 1.0, 2.0]), np.array([7.0, 5.0]))
    assert (found.eps, found.precision, found.recall, found.auc) == (4.0, 1.0, 1.0, 1.0)
    assert found.to_json()["curve"][0] == [1.0, 1.0, round(1 / 3, 4)]


def test_eps_where_kinds_overlap() -> None:
    # Cuts at 1.5, 2.5, 3.5, 4.5, 5.5 and 6: hits 1/4, 1/2, 3/4, 3/4, 1, 1; false 0, 0, 0, 1/2, 1/2, 1.
    same, apart = np.array([1.0, 2.0, 3.0, 5.0]), np.array([4.0, 6.0])
    found = calibrate(same, apart)
    assert (found.eps, found.precision, found.recall) == (3.5, 1.0, 0.75)
    assert found.auc == pytest.approx(7 / 8)  # of eight pairs only 5 > 4 is wrong
    held_out = check(same, apart, 5.5)
    assert (held_out.precision, held_out.recall) == (pytest.approx(1 / 1.5), 1.0)
    assert held_out.eps == 5.5


def test_equal_distances_count_half_in_the_auc_and_nothing_within_has_no_precision() -> None:
    assert check(np.array([1.0]), np.array([1.0]), 0.5).auc == 0.5
    found = check(np.array([1.0]), np.array([2.0]), 0.5)
    assert np.isnan(found.precision)
    assert found.recall == 0.0


@pytest.mark.parametrize(("same", "apart"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_bad_pairs_are_refused(same: list[float], apart: list[float]) -> None:
    with pytest.raises(DataError, match="pairs of the same state"):
        calibrate(np.array(same), np.array(apart))
