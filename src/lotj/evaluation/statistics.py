"""How sure a success rate is. Pure functions over numbers and arrays.

Trials of one policy on one bench are no independent evidence for a method: on our own results they have a
correlation of 0.36 to 0.38 (docs/reproduction.md), so that 160 trials of 8 policies are worth about 20. **The unit is
the (pretraining, bench) pair.** `wilson` and `barnard` count trials and are for one unit alone. Whatever is said of a
method is said over units: `unit_interval`, `sign_flip`, `reliable_units`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import betaln

from lotj.errors import SettingsError

EXACT_FLIPS = 2**12
"""Up to this many ways to set the signs, `sign_flip` tries all; of more it draws as many, with seed 0."""

_GRID_RATES, _GRID_CORRELATIONS = 500, 50


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a success rate **within one unit**: how often this policy inserts on this bench. It
    takes trials for independent, so over several units it is too narrow: `unit_interval` is for these.

    Returns:
        (low, high), each in [0, 1]; (0, 1) of no trials.

    Raises:
        SettingsError: impossible counts.
    """
    if successes == n == 0:
        return 0.0, 1.0
    (k,), (trials,) = _counts([successes], [n])
    from scipy import stats  # takes half a second to import, which other commands need not wait for

    interval = stats.binomtest(k, trials).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def barnard(successes_a: int, n_a: int, successes_b: int, n_b: int) -> float:
    """Two-sided p-value of Barnard's exact test (pooled) that two success rates are equal; the paper's test.

    **Within one unit**: it tells one policy from another on one bench. It says nothing of two methods, for trials that
    share a policy are no independent evidence: `sign_flip` over units is for these.

    Args:
        successes_a, n_a: successes and size of the first group, which is not empty.
        successes_b, n_b: of the second.

    Returns:
        p in [0, 1]; 1 when both groups always fail or both always succeed.

    Raises:
        SettingsError: impossible counts or an empty group.
    """
    _counts([successes_a, successes_b], [n_a, n_b])
    from scipy import stats

    if successes_a + successes_b in (0, n_a + n_b):  # the statistic is 0/0: nothing tells the groups apart
        return 1.0
    table = [[successes_a, successes_b], [n_a - successes_a, n_b - successes_b]]  # columns are the groups
    return float(stats.barnard_exact(table, n=64).pvalue)


def unit_interval(successes: Sequence[int], n: Sequence[int]) -> tuple[float, float]:
    """95 % interval of the mean success rate of units like these, by the beta-binomial model.

    Each unit has a rate of its own, drawn from a beta distribution (Skellam 1948; Williams 1975); its mean and the
    correlation of two trials of a unit are unknown, both uniform in [0, 1]. The interval is the highest-density one
    of the mean. Chosen over the usual two because units are few and often all succeed, where those fail. In simulation
    (2 to 16 units of 20 trials, mean 0.5 to 0.98, correlation 0.05 to 0.7) it holds the truth in 88 % of cases or more;
    Student's t over units in as few as 6 %, the bootstrap over units in 2 %.

    Args:
        successes, n: (U,) successes and trials of each unit.

    Returns:
        (low, high), each in [0, 1]. Of one unit it is very wide: one run says little of others.

    Raises:
        SettingsError: no units, different lengths, an empty unit, or impossible counts.
    """
    k, trials = _counts(successes, n)
    rates = (np.arange(_GRID_RATES) + 0.5) / _GRID_RATES
    (k, trials), count = np.unique([k, trials], axis=1, return_counts=True)
    likelihood = sum(c * _log_beta(int(x), int(m)) for x, m, c in zip(k, trials, count, strict=True))
    likelihood -= count.sum() * _log_beta(0, 0)  # but for what the rates do not change
    density = np.exp(likelihood - likelihood.max()).sum(1)
    order = np.argsort(-density, kind="stable")
    mass = np.cumsum(density[order]) / density.sum()
    kept = rates[order[: np.searchsorted(mass, 0.95) + 1]]
    half = 0.5 / _GRID_RATES
    return max(float(kept.min()) - half, 0.0), min(float(kept.max()) + half, 1.0)


@lru_cache(64)
def _log_beta(k: int, n: int) -> np.ndarray:
    """ln B(k + a, n - k + b) where the rates' distribution is beta(a, b), (rates, correlations). Most units of a study
    have the same few counts."""
    rates = (np.arange(_GRID_RATES)[:, None] + 0.5) / _GRID_RATES
    spread = _GRID_CORRELATIONS / (np.arange(_GRID_CORRELATIONS) + 0.5) - 1.0  # 1 / correlation - 1 = a + b
    return betaln(k + rates * spread, n - k + (1.0 - rates) * spread)


def sign_flip(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p-value that two methods are equal, from their differences on shared units (Fisher 1935).

    If they are equal, each difference may as well have the other sign; p is the share of such flips whose sum is at
    least as far from 0. Exact up to `EXACT_FLIPS` flips (12 units), otherwise from as many drawn ones, with the
    observed one among them (Phipson and Smyth 2010). With fewer than 6 units p cannot fall below 0.05.

    Args:
        differences: (U,) of the two methods' rates on each unit that both have.

    Returns:
        p in (0, 1]; 1 without units.
    """
    d = np.asarray(differences, np.float64)
    if 2 ** len(d) <= EXACT_FLIPS:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(d))[:, None] >> np.arange(len(d)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (EXACT_FLIPS, len(d)))
        signs[0] = 1.0
    return float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9))


def reliable_units(successes: Sequence[int], n: Sequence[int], least: float = 0.95) -> tuple[int, float, float]:
    """On how many units at least `least` of the trials succeed (by default 19 of 20), with the Clopper-Pearson 95 %
    interval of their share: 59 of 59 are needed for "at most 5 % of units fail" (one-sided).

    Returns:
        (units, low, high).

    Raises:
        SettingsError: as `unit_interval`.
    """
    k, trials = _counts(successes, n)
    from scipy import stats

    good = int((k >= least * trials - 1e-9).sum())
    interval = stats.binomtest(good, len(k)).proportion_ci(0.95, method="exact")
    return good, float(interval.low), float(interval.high)


def _counts(successes: Sequence[int], n: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Checked counts of units or groups, (U,) int64 each."""
    k, trials = np.asarray(successes, np.int64), np.asarray(n, np.int64)
    if not len(k) or k.shape != trials.shape or not ((k >= 0) & (k <= trials) & (trials > 0)).all():
        rule = "must be as many, at least 1, each of at least 1 trial and 0 to all of them"
        raise SettingsError(f"{k.tolist()} successes of {trials.tolist()} trials: {rule}")
    return k, trials


def moving_rate(outcomes: np.ndarray, window: int) -> np.ndarray:
    """Rate of success over the last `window` outcomes (fewer at the start).

    Args:
        outcomes: (n,) 0 or 1, in order of time; NaN where unknown, which is left out of the mean.
        window: at least 1.

    Returns:
        (n,) float64 in [0, 1]; entry t covers outcomes max(0, t - window + 1) .. t. NaN where none is known.
    """
    values = np.asarray(outcomes, np.float64)
    if not len(values):
        return values
    known, reach = np.isfinite(values), np.ones(min(window, len(values)))
    sums, many = (np.convolve(of, reach)[: len(values)] for of in (np.where(known, values, 0.0), known))
    return np.where(many > 0, sums / np.maximum(many, 1), np.nan)
