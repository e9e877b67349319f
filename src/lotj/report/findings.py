"""What a run shows: the numbers of the report, worked out from its files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from lotj.errors import counted
from lotj.evaluation.results import EXPERT, POLICIES, EvaluationResult
from lotj.evaluation.statistics import barnard, reliable_units, sign_flip, unit_interval, wilson
from lotj.report.files import RunFiles, Trials
from lotj.training.live_view import ALARM

SPACE = "\u00a0"
"""Between a number and its unit: no line ends here."""

BESIDE_MM = 2.0
"""Farther than this from the socket's axis, a plug is beside the socket [mm]."""
ABOVE_MM = -3.0
"""Higher than this above the socket's mouth (negative depth), nothing is touched [mm]."""
ENTERED_MM = 0.5
"""Deeper than this, the plug has entered [mm]."""


@dataclass(frozen=True)
class Judgement:
    """Predicted against true success at the end of the trials of which both are known."""

    hits: int  # predicted and true
    false_successes: int  # predicted only
    misses: int  # true only
    rejections: int  # neither
    causes: dict[str, tuple[int, float, float]]  # of false successes: how many, median depth and lateral error [mm]

    @property
    def claims(self) -> int:
        """Trials that the reward model called a success."""
        return self.hits + self.false_successes

    @property
    def n(self) -> int:
        """Trials judged."""
        return self.claims + self.misses + self.rejections


def outcome_kinds(trials: Trials) -> np.ndarray:
    """What each trial was.

    Returns:
        (n,) of ``hit``, ``alarm`` (believed, not true), ``miss`` (true, not believed), ``fail``; ``said`` or ``unsaid``
        where the truth is not known.
    """
    said, true, known = trials.predicted > 0.5, trials.true > 0.5, np.isfinite(trials.true + trials.predicted)
    return np.select(
        [known & said & true, known & said, known & true, known, said],
        ["hit", "alarm", "miss", "fail", "said"],
        default="unsaid",
    )


def judge(trials: Trials, first: int = 0) -> Judgement | None:
    """Confusion of the self-reward in practice, without the `first` trials; None when there is none, or the truth of no
    trial is known."""
    kinds = outcome_kinds(trials)[first:]
    hits, wrong, misses, rejections = (int((kinds == kind).sum()) for kind in ("hit", "alarm", "miss", "fail"))
    if not trials.judged or not hits + wrong + misses + rejections:
        return None
    where = first + np.flatnonzero(kinds == "alarm")
    depth, lateral, dislodged = (trials.series[name][where] for name in ("depth_mm", "lateral_mm", "dislodged"))
    off = lateral > BESIDE_MM
    known = {
        "dislodged": dislodged == 1,
        "position not recorded": ~np.isfinite(depth + lateral),
        "pressed beside the socket": off & (depth > ABOVE_MM),
        "partly inserted": ~off & (depth > ENTERED_MM),
    }
    why = np.select([*known.values()], [*known], default="in the air")
    causes = {cause: (count, float(np.median(depth[why == cause])), float(np.median(lateral[why == cause])))
              for cause, count in Counter(why.tolist()).most_common()}  # fmt: skip
    return Judgement(hits, wrong, misses, rejections, causes)


def percent(rate: float | None) -> str:
    """A rate as whole per cent; a rate that is neither 0 nor 1 never reads as 0 or 100 %, an unknown one as a dash."""
    if rate is None or not np.isfinite(rate):
        return "–"
    whole = round(100.0 * rate)
    if whole == 0 and rate > 0:
        return f"<1{SPACE}%"
    return f">99{SPACE}%" if whole == 100 and rate < 1 else f"{whole}{SPACE}%"


def interval_words(successes: int, n: int, noun: str) -> str:
    """A count with its interval, e.g. 17 of 20 attempts (95 % interval 64–95 %)."""
    return f"{successes} of {counted(n, noun)} (95{SPACE}%{SPACE}interval{SPACE}{percent_range(*wilson(successes, n))})"


def percent_range(low: float, high: float) -> str:
    """As in `percent`, an end that is not certainty does not read as one."""
    return f"{max(round(100 * low), low > 0)}–{min(round(100 * high), 99 + (high >= 1))}{SPACE}%"


def summary_sentences(run: RunFiles) -> list[str]:
    """The findings in plain words, most important first."""
    after, before = map(run.evaluations.get, ("practice", "offline"))
    trained = counted(len(run.trials), "practice trial") if run.trials else "practice"
    judged, did = ", judged only by what it saw and felt", "robot inserted this connector"
    if not run.judged:
        judged, did = "", "agent succeeded"
    sentences = []
    if after:
        attempts = interval_words(after.successes, len(after), "attempt")
        sentences.append(f"After {trained}{judged}, the {did} in {attempts}.")
        if before:
            sentences.append(_change(before, after))
    elif before:
        attempts = interval_words(before.successes, len(before), "attempt")
        sentences.append(f"Before practice, the {did} in {attempts}; it has not been evaluated after practice.")
    elif run.trials:
        said = int(np.nansum(run.trials.predicted))
        called = f"called {said} of them a success itself" if run.judged else f"succeeded in {said} of them, exploring"
        sentences.append(
            f"The {did.split()[0]} practised {counted(len(run.trials), 'trial')} and {called}; how often it "
            f"{'truly ' * run.judged}succeeds has not been evaluated."
        )
    else:
        sentences.append("Nothing has been practised or evaluated in this run yet.")
    made = [result for result in run.evaluations.values() if result.name not in (*POLICIES, EXPERT)]
    if after and made:
        best = max(made, key=lambda result: result.success.mean())
        managed = interval_words(best.successes, len(best), "attempt")
        sentences.append(f"The best hand-made strategy here, {best.label.lower()}, managed {managed}.")
    sentences += _over_units(run) if after else []
    alarm = run.trials.series["alarm"][-1:] if run.trials else np.zeros(0)
    if (alarm > 0).any():
        sentences.append(f"Alarm: {ALARM}.")
    return sentences


def _over_units(run: RunFiles) -> list[str]:
    """What this run, and those beside it that are like it, say of the method: the unit is a pretraining on a bench."""
    units = [results for results in run.alike.values() if "practice" in results]
    if len(units) < 2:
        of, where = (" on one bench", "here") if run.judged else ("", "")
        return [
            f"This is one run{', one pretraining' * bool(run.config.get('pretrain_run', True))}{of}: the intervals say "
            f"how sure this policy is{where and ' ' + where}, not how the method does "
            f"{'elsewhere' if run.judged else 'with other seeds'}."
        ]
    counts = [unit["practice"].successes for unit in units], [len(unit["practice"]) for unit in units]
    good, *_ = reliable_units(*counts)
    sentences = [
        f"Over the {len(units)} units here with the same settings "
        f"({'pretrainings on benches' if run.judged else 'seeds'}), {sum(counts[0])} of "
        f"{sum(counts[1])} attempts succeed after practice (95{SPACE}%{SPACE}interval over units "
        f"{percent_range(*unit_interval(*counts))}), at least 19 of 20 on {good} of them."
    ]
    both = [(unit["practice"].success, unit["offline"].success) for unit in units if "offline" in unit]
    if both:
        gains = [now.mean() - was.mean() for now, was in both]
        p = sign_flip(gains)
        told = "by more than chance explains" if p < 0.05 else "which cannot be told from chance"
        sentences.append(
            f"Practice changes that by {100 * np.mean(gains):+.0f}{SPACE}points on average of {len(both)} units, "
            f"{told} (sign flips, {p_words(p)})."
        )
    return sentences


def pace_sentences(run: RunFiles) -> list[str]:
    """How long the robot itself was busy, and how fast it inserts; what is not recorded is left out."""
    sentences, by_name = [], run.evaluations
    if run.moves:
        step = 1.0 / run.config.get("rate_hz", 10.0)
        besides = ", verification and extractions included, resets not" if run.judged else ", resets not included"
        sentences.append(
            f"In practice the robot moved for {duration(step * run.moves)}: {run.moves:,.0f} motions of "
            f"{step:g}{SPACE}s{besides}."
        )
    after, expert = by_name.get("practice"), by_name.get(EXPERT)
    if after and after.success_seconds is not None:
        beside = expert.success_seconds if expert else None
        knows, what = (", told where the socket is,", "insertion") if run.judged else ("", "attempt")
        told = f", the scripted expert’s{knows} {beside:.2f}{SPACE}s" if beside is not None else ""
        mean = f"{after.success_seconds:.2f}{SPACE}s on average"
        sentences.append(f"A successful {what} takes {mean}{told}.")
    rates = [
        f"{600 * result.successes / result.seconds.sum():.0f} {words}"
        for name, words in (("practice", "after practice"), ("offline", "before"), (EXPERT, "by the expert"))
        if (result := by_name.get(name)) and result.seconds.any()
    ]
    if rates:
        sentences.append(f"Successes in ten minutes of motion, failures included, resets not: {', '.join(rates)}.")
    return sentences


def duration(seconds: float) -> str:
    """A length of time for people: 12 s, 7 min 5 s, 1 h 3 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _change(before: EvaluationResult, after: EvaluationResult) -> str:
    p = barnard(before.successes, len(before), after.successes, len(after))
    rise = after.success.mean() - before.success.mean()
    was = f"Before practice it managed {interval_words(before.successes, len(before), 'attempt')}"
    test = f"(Barnard’s test, {p_words(p)})"
    if p < 0.05:
        return f"{was}: it got {'better' if rise > 0 else 'worse'}, by more than chance explains {test}."
    return f"{was}; chance alone could explain the difference {test}."


def p_words(p: float) -> str:
    """A p-value for people."""
    return f"p{SPACE}<{SPACE}0.001" if p < 0.001 else f"p{SPACE}={SPACE}{p:.2g}"


def place_words(depth_mm: float, lateral_mm: float) -> str | None:
    """Where a plug was, for people; None if not recorded."""
    if not (np.isfinite(depth_mm) and np.isfinite(lateral_mm)):
        return None
    height = f"{depth_mm:.1f}{SPACE}mm deep" if depth_mm > 0 else f"{-depth_mm:.1f}{SPACE}mm above the mouth"
    return f"{height}, {lateral_mm:.1f}{SPACE}mm off the axis"
