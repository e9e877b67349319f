"""Success counts: intervals, tests and sums over seeds. Pure functions over numbers and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lotj.errors import SettingsError


def _check_counts(successes: int, n: int) -> None:
    if n < 0 or not 0 <= successes <= n:
        raise SettingsError(f"{successes} successes of {n} trials: need 0 <= successes <= trials")


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a success rate.

    Args:
        successes: number of successes, 0..n.
        n: number of trials; 0 trials say nothing, which is the interval (0, 1).
        confidence: in (0, 1).

    Returns:
        (low, high), each in [0, 1].

    Raises:
        SettingsError: impossible counts.
    """
    successes, n = int(successes), int(n)
    _check_counts(successes, n)
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def barnard(successes_a: int, n_a: int, successes_b: int, n_b: int) -> float:
    """Two-sided p-value of Barnard's exact test (pooled) that two success rates are equal; the paper's test.

    Args:
        successes_a: successes of the first group of `n_a` trials.
        n_a: size of the first group, at least 1.
        successes_b: successes of the second group of `n_b` trials.
        n_b: size of the second group, at least 1.

    Returns:
        p in [0, 1]; 1 when both groups always fail or both always succeed.

    Raises:
        SettingsError: impossible counts or an empty group.
    """
    for successes, n in ((successes_a, n_a), (successes_b, n_b)):
        _check_counts(successes, n)
        if n == 0:
            raise SettingsError("Barnard's test of 0 trials: each group needs at least 1")
    if successes_a + successes_b in (0, n_a + n_b):  # the statistic is 0/0: nothing tells the groups apart
        return 1.0
    table = [[successes_a, successes_b], [n_a - successes_a, n_b - successes_b]]  # columns are the groups
    return float(stats.barnard_exact(table, n=64).pvalue)


@dataclass(frozen=True)
class Aggregate:
    """One condition over several seeds.

    Attributes:
        seeds: number of seeds (runs) S.
        successes: over all seeds.
        n: trials over all seeds.
        rate: mean of the seeds' own rates (every run counts the same).
        low: lower end of the Wilson 95 % interval of the pooled counts. It knows trial noise only.
        high: upper end of the same.
        seed_rates: (S,) rate of each seed, for the spread between runs, which the interval does not hold.
    """

    seeds: int
    successes: int
    n: int
    rate: float
    low: float
    high: float
    seed_rates: tuple[float, ...]


def aggregate(successes: Sequence[int], n: Sequence[int]) -> Aggregate:
    """Sums one condition over seeds.

    Args:
        successes: (S,) successes of each seed.
        n: (S,) trials of each seed, each at least 1.

    Raises:
        SettingsError: no seeds, different lengths, an empty seed, or impossible counts.
    """
    if len(successes) == 0 or len(successes) != len(n):
        raise SettingsError(f"{len(successes)} success counts for {len(n)} trial counts: need as many, at least 1")
    for k, trials in zip(successes, n, strict=True):
        _check_counts(k, trials)
        if trials == 0:
            raise SettingsError("a seed with 0 trials cannot be averaged: leave it out or evaluate it")
    rates = tuple(int(k) / int(trials) for k, trials in zip(successes, n, strict=True))
    total, trials = int(sum(successes)), int(sum(n))
    low, high = wilson(total, trials)
    return Aggregate(len(rates), total, trials, float(np.mean(rates)), low, high, rates)


def moving_rate(outcomes: np.ndarray, window: int) -> np.ndarray:
    """Rate of success over the last `window` outcomes (fewer at the start).

    Args:
        outcomes: (n,) 0 or 1, in order of time; NaN where unknown, which is left out of the mean.
        window: at least 1.

    Returns:
        (n,) float64 in [0, 1]; entry t covers outcomes max(0, t - window + 1) .. t. NaN where none is known.
    """
    if window < 1:
        raise SettingsError(f"window {window}: must be at least 1")
    values = np.asarray(outcomes, np.float64)
    known = np.isfinite(values)
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    many = counts[ends] - counts[starts]
    return np.where(many > 0, (sums[ends] - sums[starts]) / np.maximum(many, 1), np.nan)
