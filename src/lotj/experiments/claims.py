"""What papers claim of learning curves, and the rules by which ours say yes or no."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

import numpy as np

from lotj.experiments.tables import mean_words

Curves = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Problem and title of an arm -> the results of its seeds that are done."""

Rule = Callable[[Curves], tuple[bool | None, str]]
"""Curves -> yes, no, or None where it cannot be told; and the figures that say so."""


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


Judge = Callable[..., tuple[bool | None, str]]
"""Figures of each arm, one a seed -> what a `Rule` says."""


def _rule(figure: Callable[[Mapping[str, Any]], Any], judge: Judge, *arms: tuple[str | Sequence[str], str]) -> Rule:
    """Has `judge` decide by a `figure` of each result of some arms, named by problem, or problems, and title; a figure
    that is None is left out. Not done yet while an arm has none."""
    keys = [([problems] if isinstance(problems, str) else problems, title) for problems, title in arms]

    def rule(curves: Curves) -> tuple[bool | None, str]:
        known = [[figure(one) for problem in of for one in curves.get((problem, title), ())] for of, title in keys]
        known = [[value for value in values if value is not None] for values in known]
        return judge(*known) if all(known) else (None, "not done yet")

    return rule


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


def faster(problem: str, better: str, worse: str, ratio: float) -> Rule:
    """The mean over the steps of one arm's curves is so many times another's, on average over seeds, and each seed's
    lies above each of the other's; no where a third of that gain is not there."""

    def judge(ours: Sequence[float], theirs: Sequence[float]) -> tuple[bool | None, str]:
        first, second = float(np.mean(ours)), float(np.mean(theirs))
        told = f"on average over practice: {better} {first:.0f}, {worse} {second:.0f}"
        return _apart(ours, theirs, first - second, (ratio - 1) * second, (ratio - 1) / 3 * second), told

    return _rule(lambda one: area_under(one["curve"]), judge, (problem, better), (problem, worse))


def higher(problem: str, better: str, worse: str, least: float, at: int = -1) -> Rule:
    """One arm is better than another by `least`, on average over seeds, at a point of the curves, by default their end;
    no where it is by less than a third of that. Between them, and where the seeds do not tell the arms apart, it cannot
    be told."""
    return _above((better, worse), ((problem, better), (problem, worse)), least, at)


def lower(usual: str, harder: str, arm: str, least: float) -> Rule:
    """An arm ends lower by at least so much on one problem than on another, by the rule of `higher`."""
    return _above((usual, harder), ((usual, arm), (harder, arm)), least, -1)


def _above(titles: tuple[str, str], arms: Sequence[tuple[str, str]], least: float, at: int) -> Rule:
    """See `higher`."""

    def judge(*ends: Sequence[float]) -> tuple[bool | None, str]:
        gap = float(np.mean(ends[0]) - np.mean(ends[1]))
        return _apart(*ends, gap, least, least / 3), _words(titles, ends)

    return _rule(_success(at), judge, *arms)


def level(problem: str, arms: Sequence[str], most: float) -> Rule:
    """Some arms end within `most` points of each other, on average over seeds; no where they span twice as much."""

    def judge(*ends: Sequence[float]) -> tuple[bool | None, str]:
        return _within(float(np.ptp([np.mean(rates) for rates in ends])), most), _words(arms, ends)

    return _rule(_success(-1), judge, *((problem, arm) for arm in arms))


def lower_by(problem: str, worse: str, better: str, most: float) -> Rule:
    """One arm ends below another by `most` points at most, on average over seeds; no where it does by twice that."""

    def judge(*ends: Sequence[float]) -> tuple[bool | None, str]:
        return _within(float(np.mean(ends[1]) - np.mean(ends[0])), most), _words((worse, better), ends)

    return _rule(_success(-1), judge, (problem, worse), (problem, better))


def near_oracle(problem: str, arm: str) -> Rule:
    """At the end an arm lacks at most a quarter of what the oracle has over random actions, on average over seeds; no
    where it lacks twice that. It cannot be told where the oracle has nothing over them."""
    titles = (arm, "oracle", "random")

    def judge(*ends: Sequence[float]) -> tuple[bool | None, str]:
        own, oracle, random = (float(np.mean(of)) for of in ends)
        met = _within(oracle - own, 0.25 * (oracle - random)) if oracle > random else None
        return met, _words(titles, ends)

    return _rule(_success(-1), judge, *((problem, title) for title in titles))


def alike(problem: str, arm: str, also: str, most: float) -> Rule:
    """What an arm reaches on another task besides is not lower by more than `most` points, on average over seeds; no
    where it is by twice as much. It cannot be told where there are not so many points to lose."""

    def judge(done: Sequence[tuple[float, float]]) -> tuple[bool | None, str]:
        here, there = zip(*done, strict=True)
        met = _within(float(np.mean(here) - np.mean(there)), most) if np.mean(here) > most else None
        return met, f"{mean_words(here)}, {also} {mean_words(there)}"

    return _rule(lambda one: (success_rate(one["curve"][-1]), success_rate(one["also"][also])), judge, (problem, arm))


def end_over(problem: str, arm: str, least: float) -> Rule:
    """Practice ends higher than it begins by more than `least`, in each seed; it cannot be told where all begin above
    95 %."""

    def judge(done: Sequence[tuple[float, float]]) -> tuple[bool | None, str]:
        gains = [last - first for first, last in done]
        met = None if all(first > 95 for first, _ in done) else all(gain > least for gain in gains)
        return met, f"gains {', '.join(f'{gain:+.0f}' for gain in gains)}"

    return _rule(lambda one: (_success(0)(one), _success(-1)(one)), judge, (problem, arm))


def at_least(problem: str, arm: str, most: float) -> Rule:
    """No point of practice lies lower than its begin by more than -`most`, on average over seeds; it cannot be told
    where there is no more to lose."""

    def judge(done: Sequence[Sequence[float]]) -> tuple[bool | None, str]:
        worth = np.array(done).mean(0)
        dip = float((worth - worth[0]).min())
        met = None if dip >= most and worth[0] < -most else dip >= most
        return met, f"lowest point {dip:+.0f} from the start's {worth[0]:.0f}"

    return _rule(lambda one: [success_rate(at) for at in one["curve"]], judge, (problem, arm))


def sooner(problem: str, faster: str, slower: str, success: float, ratio: float) -> Rule:
    """One arm reaches `success` [%] in so many times fewer steps than another, or that never does; no where the ratio
    is below 1.3."""

    def reached(one: Mapping[str, Any]) -> float:
        return next((at["steps"] for at in one["curve"] if success_rate(at) >= success), np.inf)

    judge = _sooner(f"steps to {success:g} %", faster, slower, ratio, lambda first, second: second < 1.3 * first)
    return _rule(reached, judge, (problem, faster), (problem, slower))


def _sooner(what: str, faster: str, slower: str, ratio: float, no: Callable[[float, float], bool]) -> Judge:
    """Whether the median of one arm is so many times less than another's, or `no` says that it is not."""

    def judge(*counts: Sequence[float]) -> tuple[bool | None, str]:
        first, second = (float(np.median(of)) for of in counts)
        told = f"median {what}: {faster} {first:.0f}, {slower} {second:.0f}"
        if not np.isfinite(first):
            return (None if not np.isfinite(second) else False), told
        return (True if second >= ratio * first else False if no(first, second) else None), told

    return judge


At = tuple[str, int]
"""Title of an arm, and a point of its curves."""


def paired(problems: Sequence[str], better: At, worse: At, least: float = 0.0) -> Rule:
    """One arm at a point of its curves is better than another by more than `least`, over pairs of the same problem and
    seed: yes where the 95 % interval of the mean difference (see `_crossed`) lies above; no where the mean does not; of
    a single seed it cannot be told, for all its problems may share one agent."""

    def rule(curves: Curves) -> tuple[bool | None, str]:
        ours, theirs = (_rates(problems, of, curves) for of in (better, worse))
        gaps = {pair: rate - theirs[pair] for pair, rate in ours.items() if pair in theirs}
        if not gaps:
            return None, "not done yet"
        (low, high), mean = _crossed(gaps), float(np.mean([*gaps.values()]))
        single = len({seed for _, seed in gaps}) < 2
        met = None if single else True if low > least else False if mean <= least else None
        return met, f"{mean:+.0f} points, {low:+.0f} to {high:+.0f}, over {len(gaps)} pairs"

    return rule


def reaches(problems: Sequence[str], of: At, bound: float, sign: int = 1) -> Rule:
    """Over all problems and seeds an arm's mean success at a point of its curves is at least `bound` [%]; at most with
    `sign` -1. It cannot be told where the mean's 95 % interval (see `_crossed`) holds the bound."""

    def rule(curves: Curves) -> tuple[bool | None, str]:
        rates = _rates(problems, of, curves)
        if not rates:
            return None, "not done yet"
        (low, high), mean = _crossed(rates), float(np.mean([*rates.values()]))
        told = f"{of[0]} {mean:.0f}, {low:.0f} to {high:.0f}, over {len(rates)}"
        return (None if low < bound < high else sign * mean >= sign * bound), told

    return rule


def solved_sooner(problems: Sequence[str], faster: str, slower: str, ratio: float) -> Rule:
    """Over all problems and seeds, the median of the trials until one arm's practice had so many successes in a row
    (``solved``; never counts as infinity) is so many times less than another's; no where it is not less at all."""
    judge = _sooner("trials", faster, slower, ratio, lambda first, second: second <= first)
    return _rule(lambda one: solved_after(one) or np.inf, judge, (problems, faster), (problems, slower))


def falls(problem: str, arm: str, key: str, least: float) -> Rule:
    """A number of practice ends below what it was ``offline`` by at least so much, on average over seeds; no where it
    ends by less than a third of that below."""

    def judge(done: Sequence[tuple[float, float]]) -> tuple[bool | None, str]:
        before, after = np.mean(done, axis=0)
        met = True if before - after >= least else False if before - after < least / 3 else None
        return met, f"{before:.1f} offline, {after:.1f} at the end"

    return _rule(
        lambda one: (one[key]["offline"], one[key]["online"][-1]) if key in one else None, judge, (problem, arm)
    )


def hacked(problem: str, arm: str, line: str, least: float = 0.1) -> Rule:
    """Of an arm's episodes, tried by `tried_once`, at least so large a share fail and yet are paid as much as half of
    the line's successes are; no where none does."""

    def rule(curves: Curves) -> tuple[bool | None, str]:
        won, tried = (
            [(paid, success) for one in curves.get((problem, title), ()) for paid, success in
             zip(one.get("returns", ()), one.get("won", ()), strict=True)]
            for title in (line, arm)
        )  # fmt: skip
        usual = [paid for paid, success in won if success]
        if not usual or not tried:
            return None, "not done yet"
        count = sum(paid >= np.median(usual) and not success for paid, success in tried)
        met = True if count >= least * len(tried) else False if not count else None
        return met, f"{count} of {len(tried)} episodes of {arm}"

    return rule


def lived_through(problem: str, arm: str, figure: str, low: float, high: float) -> Rule:
    """A figure of an arm's practice (`chapter_jobs.lived`), meant over axes and seeds, lies between two others."""

    def rule(curves: Curves) -> tuple[bool | None, str]:
        done = curves.get((problem, arm), ())
        known = [one["practice"][figure] for one in done if figure in one.get("practice", {})]
        if not known:
            return None, "not recorded" if done else "not done yet"
        return bool(low <= np.mean(known) <= high), f"{np.mean(known):.2f}"

    return rule


def contrary(rule: Rule) -> Rule:
    """Of what is claimed not to be so."""

    def turned(curves: Curves) -> tuple[bool | None, str]:
        met, told = rule(curves)
        return (None if met is None else not met), told

    return turned


def reached_more(problems: Sequence[str], better: str, worse: str) -> Rule:
    """More of one arm's subgoals are reached within their time than of another's, before practice, in each problem; it
    cannot be told where one has none left to reach."""

    def rule(curves: Curves) -> tuple[bool | None, str]:
        shares = [
            [np.mean([one["curve"][0].get("reached", np.nan) for one in done]) for done in both]
            for problem in problems
            if all(both := [curves.get((problem, title), ()) for title in (better, worse)])
        ]
        told = "; ".join(f"{one:.2f} and {other:.2f}" for one, other in shares) or "not done yet"
        known = bool(shares) and np.isfinite(shares).all()
        return (all(one > other for one, other in shares) if known else None), told

    return rule


def gate(problem: str, arm: str, path: Sequence[str], least: float = -np.inf, most: float = np.inf) -> Rule:
    """A number of the results of an arm, found by the names that lead to it, lies between, in each seed; no where it
    does in none; else it cannot be told."""

    def judge(values: Sequence[float]) -> tuple[bool | None, str]:
        between = [least <= value <= most for value in values]
        return (True if all(between) else None if any(between) else False), f"{path[-1]} {mean_words(values)}"

    return _rule(lambda one: float(reduce(getitem, path, one)), judge, (problem, arm))  # type: ignore[arg-type]


def _rates(problems: Sequence[str], of: At, curves: Curves) -> dict[tuple[str, int], float]:
    """Success of an arm at a point of its curves [%], of each problem and seed that is done."""
    title, at = of
    done = [(problem, one) for problem in problems for one in curves.get((problem, title), ())]
    return {(problem, one["seed"]): _success(at)(one) for problem, one in done}


def _crossed(gaps: Mapping[tuple[str, int], float]) -> tuple[float, float]:
    """95 % of the mean of a number of each problem and seed, by a bootstrap that draws problems and seeds each anew
    (pigeonhole bootstrap, Owen 2007, Annals of Applied Statistics 1): those that share an agent or a scene are not
    independent of each other."""
    rows, columns = sorted({row for row, _ in gaps}), sorted({column for _, column in gaps})
    values = np.array([[gaps.get((row, column), np.nan) for column in columns] for row in rows])
    rng, parts = np.random.default_rng(0), [np.nan_to_num(values), np.isfinite(values).astype(float)]
    drawn = [rng.multinomial(count, np.full(count, 1.0 / count), 10_000) for count in values.shape]
    sums, counts = (np.einsum("dr,rc,dc->d", drawn[0], part, drawn[1]) for part in parts)
    low, high = np.percentile(sums[counts > 0] / counts[counts > 0], [2.5, 97.5])
    return float(low), float(high)
