"""What papers claim of learning curves, and the rules by which ours say yes or no."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce, wraps
from operator import getitem
from typing import Any, Concatenate, ParamSpec

import numpy as np

from lotj.experiments.tables import mean_words

Curves = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Problem and title of an arm -> the results of its seeds that are done."""

Verdict = tuple[bool | None, str]
"""Yes, no, or None where it cannot be told; and the figures that say so."""

Rule = Callable[[Curves], Verdict]
"""What a claim is judged by."""

Figure = Callable[[Mapping[str, Any]], float]
"""A number of a point of a curve."""

Given = ParamSpec("Given")


@dataclass(frozen=True)
class Claim:
    """What a paper says, and the rule by which our curves say yes or no.

    Attributes:
        text: in one sentence.
        rule: see `Rule`.
    """

    text: str
    rule: Rule


def success_rate(at: Mapping[str, Any]) -> float:
    """Success at a point of a curve, or the score of one that has been `scored` [%]."""
    return at["score"] if "score" in at else 100.0 * at["successes"] / at["n"]


def met_rate(at: Mapping[str, Any]) -> float:
    """Share of the subgoals that were reached in their time, at a point of a curve [%]; NaN where none was left."""
    return 100.0 * at.get("reached", np.nan)


def area_under(curve: Sequence[Mapping[str, Any]]) -> float:
    """Mean over the steps of a learning curve."""
    rates = np.array([success_rate(at) for at in curve])
    steps = np.array([at["steps"] for at in curve], float)
    if steps[-1] == steps[0]:
        return float(rates[-1])
    return float(np.trapezoid(rates, steps) / (steps[-1] - steps[0]))


def solved_after(one: Mapping[str, Any]) -> int | None:
    """Trials until practice had so many successes in a row (`chapter_jobs.solved`), of a job's result; None: never."""
    return one.get("solved", one.get("practice", {}).get("solved"))


class _NotDoneError(Exception):
    """An arm that a rule asks about has no results yet."""


def _rule(judge: Callable[Concatenate[Curves, Given], Verdict]) -> Callable[Given, Rule]:
    """Makes rules of a function that judges curves by what else it is given."""

    @wraps(judge)
    def made(*given: Given.args, **named: Given.kwargs) -> Rule:
        def rule(curves: Curves) -> Verdict:
            try:
                return judge(curves, *given, **named)
            except _NotDoneError:
                return None, "not done yet"

        return rule

    return made


def _known(
    curves: Curves, figure: Callable[[Mapping[str, Any]], Any], *arms: tuple[str | Sequence[str], str]
) -> list[list[Any]]:
    """A `figure` of each result of some arms, named by problem, or problems, and title; one that is None is left out.
    _NotDoneError while an arm has none."""
    found = []
    for problems, title in arms:
        of = [problems] if isinstance(problems, str) else problems
        values = [figure(one) for problem in of for one in curves.get((problem, title), ())]
        found.append([value for value in values if value is not None])
    if not all(found):
        raise _NotDoneError
    return found


def _success(at: int) -> Callable[[Mapping[str, Any]], float]:
    """Success of a result at a point of its curve [%]."""
    return lambda one: success_rate(one["curve"][at])


def _words(titles: Iterable[str], rates: Iterable[Sequence[float]]) -> str:
    return ", ".join(f"{title} {mean_words(of)}" for title, of in zip(titles, rates, strict=True))


def _apart(better: Sequence[float], worse: Sequence[float], gap: float, least: float, less: float) -> bool | None:
    """Whether a `gap` of two arms' means is one: yes from `least` on, if each seed of the one lies above each of the
    other; no below `less`; between them, and where seeds overlap, it cannot be told."""
    return True if gap >= least and min(better) > max(worse) else False if gap < less else None


def _within(gap: float, most: float) -> bool | None:
    """Whether a gap is no larger than `most`; no where it is larger than twice that."""
    return True if gap <= most else False if gap > 2 * most else None


@_rule
def faster(curves: Curves, problem: str, better: str, worse: str, ratio: float) -> Verdict:
    """The mean over the steps of one arm's curves is so many times another's, on average over seeds, and each seed's
    lies above each of the other's; no where a third of that gain is not there."""
    ours, theirs = _known(curves, lambda one: area_under(one["curve"]), (problem, better), (problem, worse))
    first, second = float(np.mean(ours)), float(np.mean(theirs))
    told = f"on average over practice: {better} {first:.0f}, {worse} {second:.0f}"
    return _apart(ours, theirs, first - second, (ratio - 1) * second, (ratio - 1) / 3 * second), told


@_rule
def higher(curves: Curves, problem: str, better: str, worse: str, least: float, at: int = -1) -> Verdict:
    """One arm is better than another by `least`, on average over seeds, at a point of the curves, by default their end;
    no where it is by less than a third of that. Between them, and where the seeds do not tell the arms apart, it cannot
    be told."""
    return _above(curves, (better, worse), ((problem, better), (problem, worse)), least, at)


@_rule
def lower(curves: Curves, usual: str, harder: str, arm: str, least: float) -> Verdict:
    """An arm ends lower by at least so much on one problem than on another, by the rule of `higher`."""
    return _above(curves, (usual, harder), ((usual, arm), (harder, arm)), least, -1)


def _above(curves: Curves, titles: tuple[str, str], arms: Sequence[tuple[str, str]], least: float, at: int) -> Verdict:
    """See `higher`."""
    better, worse = _known(curves, _success(at), *arms)
    gap = float(np.mean(better) - np.mean(worse))
    return _apart(better, worse, gap, least, least / 3), _words(titles, (better, worse))


@_rule
def level(curves: Curves, problem: str, arms: Sequence[str], most: float) -> Verdict:
    """Some arms end within `most` points of each other, on average over seeds; no where they span twice as much."""
    ends = _known(curves, _success(-1), *((problem, arm) for arm in arms))
    return _within(float(np.ptp([np.mean(rates) for rates in ends])), most), _words(arms, ends)


@_rule
def lower_by(curves: Curves, problem: str, worse: str, better: str, most: float) -> Verdict:
    """One arm ends below another by `most` points at most, on average over seeds; no where it does by twice that."""
    ends = _known(curves, _success(-1), (problem, worse), (problem, better))
    return _within(float(np.mean(ends[1]) - np.mean(ends[0])), most), _words((worse, better), ends)


@_rule
def near_oracle(curves: Curves, problem: str, arm: str) -> Verdict:
    """At the end an arm lacks at most a quarter of what the oracle has over random actions, on average over seeds; no
    where it lacks twice that. It cannot be told where the oracle has nothing over them."""
    titles = (arm, "oracle", "random")
    ends = _known(curves, _success(-1), *((problem, title) for title in titles))
    own, oracle, random = (float(np.mean(of)) for of in ends)
    met = _within(oracle - own, 0.25 * (oracle - random)) if oracle > random else None
    return met, _words(titles, ends)


@_rule
def alike(curves: Curves, problem: str, arm: str, also: str, most: float) -> Verdict:
    """What an arm reaches on another task besides is not lower by more than `most` points, on average over seeds; no
    where it is by twice as much. It cannot be told where there are not so many points to lose."""
    (here,) = _known(curves, _success(-1), (problem, arm))
    (there,) = _known(curves, lambda one: success_rate(one["also"][also]), (problem, arm))
    met = _within(float(np.mean(here) - np.mean(there)), most) if np.mean(here) > most else None
    return met, f"{mean_words(here)}, {also} {mean_words(there)}"


@_rule
def end_over(curves: Curves, problem: str, arm: str, least: float) -> Verdict:
    """Practice ends higher than it begins by more than `least`, in each seed; it cannot be told where all begin above
    95 %."""
    (begins,), (ends,) = (_known(curves, _success(at), (problem, arm)) for at in (0, -1))
    gains = [last - first for first, last in zip(begins, ends, strict=True)]
    met = None if min(begins) > 95 else min(gains) > least
    return met, f"gains {', '.join(f'{gain:+.0f}' for gain in gains)}"


@_rule
def at_least(curves: Curves, problem: str, arm: str, most: float) -> Verdict:
    """No point of practice lies lower than its begin by more than -`most`, on average over seeds; it cannot be told
    where there is no more to lose."""
    (rates,) = _known(curves, lambda one: [success_rate(at) for at in one["curve"]], (problem, arm))
    worth = np.array(rates).mean(0)
    dip = float((worth - worth[0]).min())
    met = None if dip >= most and worth[0] < -most else dip >= most
    return met, f"lowest point {dip:+.0f} from the start's {worth[0]:.0f}"


@_rule
def sooner(curves: Curves, problem: str, faster: str, slower: str, success: float, ratio: float) -> Verdict:
    """One arm reaches `success` [%] in so many times fewer steps than another, or that never does; no where the ratio
    is below 1.3."""

    def reached(one: Mapping[str, Any]) -> float:
        return next((at["steps"] for at in one["curve"] if success_rate(at) >= success), np.inf)

    steps = _known(curves, reached, (problem, faster), (problem, slower))
    first, second = (float(np.median(of)) for of in steps)
    told = f"median steps to {success:g} %: {faster} {first:.0f}, {slower} {second:.0f}"
    return _times(first, second, ratio, second < 1.3 * first), told


def _times(first: float, second: float, ratio: float, no: bool) -> bool | None:
    """Whether the first of two numbers, which may be infinite, is so many times less."""
    if not np.isfinite(first):
        return None if not np.isfinite(second) else False
    return True if second >= ratio * first else False if no else None


At = tuple[str, int]
"""Title of an arm, and a point of its curves."""


@_rule
def paired(
    curves: Curves, problems: Sequence[str], better: At, worse: At, least: float = 0.0, figure: Figure = success_rate
) -> Verdict:
    """One arm at a point of its curves is better than another by more than `least`, over pairs of the same problem and
    seed: yes where the 95 % interval of the mean difference (see `_crossed`) lies above; no where the mean does not; of
    a single seed it cannot be told, for all its problems may share one agent. The `figure` is of a point [%]; where it
    is NaN there is no pair."""
    ours, theirs = (_rates(problems, of, curves, figure) for of in (better, worse))
    gaps = {pair: rate - theirs[pair] for pair, rate in ours.items() if pair in theirs}
    (low, high), mean = _crossed(gaps), float(np.mean([*gaps.values()]))
    single = len({seed for _, seed in gaps}) < 2
    met = None if single else True if low > least else False if mean <= least else None
    return met, f"{mean:+.0f} points, {low:+.0f} to {high:+.0f}, over {len(gaps)} pairs"


@_rule
def reaches(curves: Curves, problems: Sequence[str], of: At, bound: float, sign: int = 1) -> Verdict:
    """Over all problems and seeds an arm's mean success at a point of its curves is at least `bound` [%]; at most with
    `sign` -1. It cannot be told where the mean's 95 % interval (see `_crossed`) holds the bound."""
    rates = _rates(problems, of, curves)
    (low, high), mean = _crossed(rates), float(np.mean([*rates.values()]))
    told = f"{of[0]} {mean:.0f}, {low:.0f} to {high:.0f}, over {len(rates)}"
    return (None if low < bound < high else sign * mean >= sign * bound), told


@_rule
def solved_sooner(curves: Curves, problems: Sequence[str], faster: str, slower: str, ratio: float) -> Verdict:
    """Over all problems and seeds, the median of the trials until one arm's practice had so many successes in a row
    (``solved``; never counts as infinity) is so many times less than another's, and of pairs of the same problem and
    seed it is sooner in more than later: the 95 % interval of the difference (see `_crossed`) lies above 0, of two
    seeds or more. No where the median is not less at all."""
    ours, theirs = (
        _by_pair(problems, title, curves, lambda one: solved_after(one) or np.inf) for title in (faster, slower)
    )
    leads = {pair: float(theirs[pair] > own) - float(theirs[pair] < own)
             for pair, own in ours.items() if pair in theirs}  # fmt: skip
    low, _ = _crossed(leads)
    first, second = (float(np.median([*of.values()])) for of in (ours, theirs))
    won, lost = (sum(lead == sign for lead in leads.values()) for sign in (1.0, -1.0))
    told = f"median trials: {faster} {first:.0f}, {slower} {second:.0f}"
    told += f"; sooner in {won} of {len(leads)}, later in {lost}"
    met = _times(first, second, ratio, second <= first)
    return (None if met and (low <= 0 or len({seed for _, seed in leads}) < 2) else met), told


@_rule
def falls(curves: Curves, problem: str, arm: str, key: str, least: float) -> Verdict:
    """A number of practice ends below what it was ``offline`` by at least so much, on average over seeds; no where it
    ends by less than a third of that below."""
    (done,) = _known(curves, lambda one: one.get(key), (problem, arm))
    before, after = np.mean([(one["offline"], one["online"][-1]) for one in done], axis=0)
    met = True if before - after >= least else False if before - after < least / 3 else None
    return met, f"{before:.1f} offline, {after:.1f} at the end"


@_rule
def hacked(curves: Curves, problem: str, arm: str, line: str, least: float = 0.1) -> Verdict:
    """Of an arm's episodes, tried by `tried_once`, at least so large a share fail and yet are paid as much as half of
    the line's successes are; no where none does."""
    won, tried = (
        [(paid, success) for one in curves.get((problem, title), ()) for paid, success in
         zip(one.get("returns", ()), one.get("won", ()), strict=True)]
        for title in (line, arm)
    )  # fmt: skip
    usual = [paid for paid, success in won if success]
    if not usual or not tried:
        raise _NotDoneError
    count = sum(paid >= np.median(usual) and not success for paid, success in tried)
    met = True if count >= least * len(tried) else False if not count else None
    return met, f"{count} of {len(tried)} episodes of {arm}"


@_rule
def lived_through(curves: Curves, problem: str, arm: str, figure: str, low: float, high: float) -> Verdict:
    """A figure of an arm's practice (`chapter_jobs.lived`), meant over axes and seeds, lies between two others."""
    (done,) = _known(curves, lambda one: one.get("practice", {}), (problem, arm))
    known = [practice[figure] for practice in done if figure in practice]
    return (bool(low <= np.mean(known) <= high), f"{np.mean(known):.2f}") if known else (None, "not recorded")


@_rule
def contrary(curves: Curves, rule: Rule) -> Verdict:
    """Of what is claimed not to be so."""
    met, told = rule(curves)
    return (None if met is None else not met), told


@_rule
def gate(
    curves: Curves, problem: str, arm: str, path: Sequence[str], least: float = -np.inf, most: float = np.inf
) -> Verdict:
    """A number of the results of an arm, found by the names that lead to it, lies between, in each seed; no where it
    does in none; else it cannot be told."""
    (values,) = _known(curves, lambda one: float(reduce(getitem, path, one)), (problem, arm))  # type: ignore[arg-type]
    between = [least <= value <= most for value in values]
    return (True if all(between) else None if any(between) else False), f"{path[-1]} {mean_words(values)}"


def _rates(
    problems: Sequence[str], of: At, curves: Curves, figure: Figure = success_rate
) -> dict[tuple[str, int], float]:
    """A figure of an arm at a point of its curves [%], of each problem and seed that is done, where it is not NaN."""
    title, at = of
    rates = _by_pair(problems, title, curves, lambda one: figure(one["curve"][at]))
    return {pair: rate for pair, rate in rates.items() if np.isfinite(rate)}


def _by_pair(problems: Sequence[str], title: str, curves: Curves, figure: Figure) -> dict[tuple[str, int], float]:
    """A figure of an arm's results, of each problem and seed that is done."""
    return {(problem, one["seed"]): figure(one) for problem in problems for one in curves.get((problem, title), ())}


def _crossed(gaps: Mapping[tuple[str, int], float]) -> tuple[float, float]:
    """95 % of the mean of a number of each problem and seed, by a bootstrap that draws problems and seeds each anew
    (pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1): those that share an agent or a scene are not
    independent of each other."""
    if not gaps:
        raise _NotDoneError
    rows, columns = sorted({row for row, _ in gaps}), sorted({column for _, column in gaps})
    values = np.array([[gaps.get((row, column), np.nan) for column in columns] for row in rows])
    rng, parts = np.random.default_rng(0), [np.nan_to_num(values), np.isfinite(values).astype(float)]
    drawn = [rng.multinomial(count, np.full(count, 1.0 / count), 10_000) for count in values.shape]
    sums, counts = (np.einsum("dr,rc,dc->d", drawn[0], part, drawn[1]) for part in parts)
    low, high = np.percentile(sums[counts > 0] / counts[counts > 0], [2.5, 97.5])
    return float(low), float(high)
