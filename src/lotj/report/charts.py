"""Charts as inline SVG, drawn by matplotlib. Text stays text, and colours are the style sheet's, so that they follow
light and dark. The learning curve is drawn twice, for a wide and a narrow page, so that letters keep their size.
"""

from __future__ import annotations

import io
import math
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lotj.data.pictures import spread
from lotj.errors import counted
from lotj.evaluation.results import EvaluationResult
from lotj.evaluation.statistics import moving_rate, wilson
from lotj.report.files import Trials
from lotj.report.findings import BESIDE_MM, outcome_kinds, percent

WINDOW = 20
"""Trials in the moving success rate, of runs of up to 1,000."""

WIDE, NARROW = 940, 350
"""Widths of the drawings [px]."""

MOST = 300
"""Points of a line, ticks of a row, marks of a kind: a page of 20,000 trials stays as light as one of 300."""

OUTCOMES = {
    "hit": ("succeeded", "true"),
    "alarm": ("false success", "said"),
    "miss": ("not seen", "true"),
    "fail": ("failed", "soft"),
    "said": ("said so", "said"),
    "unsaid": ("did not", "soft"),
}
"""What a trial was -> its row's words, its colour."""

_INKS = ("paper", "ink", "soft", "fill", "grid", "true", "said")
_INK = {name: f"#00000{place}" for place, name in enumerate(_INKS, 1)}  # stand for the style sheet's, see `_svg`
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lotj",
    "text.parse_math": False,
    "path.simplify": False,
    "font.size": 13,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "axes.edgecolor": _INK["soft"],
    "axes.axisbelow": True,
    "grid.color": _INK["grid"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK["soft"]),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
}
_wilson = cache(wilson)  # a moving window meets the same few counts again and again


def window(trials: Trials) -> int:
    """Trials in the moving success rate: more in a long run, whose curve would be all noise."""
    return max(WINDOW, len(trials) // 50)


def learning_curve(
    trials: Trials, offline: EvaluationResult | None, practised: EvaluationResult | None, width: int
) -> str:
    """Moving success rate by trial, predicted and true, between the evaluations before and after.

    Below it, a row for each outcome with one tick a trial, of long runs one for several with the share as its height.

    Args:
        trials: at least one.
        offline, practised: evaluations before and after practice, drawn left of the first trial and right of the last.
        width: `WIDE` or `NARROW`.
    """
    with mpl.rc_context(_STYLE):
        figure = _figure(width, 400 if width == NARROW else 420)
        top = 0.82 if width == NARROW else 0.9
        curves = figure.add_axes((90 / width, 0.32, 1 - 98 / width, top - 0.32))
        rows = figure.add_axes((90 / width, 0.12, 1 - 98 / width, 0.15), sharex=curves)
        last, beside = max(float(trials.trial[-1]), 2.0), 0.13 if width == NARROW else 0.06
        curves.set(
            xlim=(-2 * beside * last if offline else 0.0, last * (1 + 2 * beside * bool(practised))), ylim=(0, 1)
        )
        curves.grid(axis="y")
        curves.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="\u00a0%"))
        curves.tick_params(labelbottom=False)
        _rates(curves, trials)
        for result, x, name in ((offline, -beside * last, "before"), (practised, last * (1 + beside), "after")):
            if result:
                _whisker(curves, x, result, name)
        handles, names = curves.get_legend_handles_labels()
        known = dict(zip(names, handles, strict=True))  # both evaluations are one line of it
        columns = 1 if width == NARROW else 3
        curves.legend(known.values(), known, loc="lower left", bbox_to_anchor=(0, 1.04), ncols=columns, borderaxespad=0)
        _outcome_rows(rows, trials, figure.get_size_inches()[0] * 72 - 98)
        return _svg(figure, _curve_words(trials))


def _rates(axes: Axes, trials: Trials) -> None:
    """The moving rates, and the Wilson 95 % band of one: two over one another would only be grey."""
    # A rate over a handful of trials is noise: the curves begin once half a window has passed.
    over = window(trials)
    at = _thinned(np.arange(min(over // 2, len(trials) // 2), len(trials)))
    banded = "true" if np.isfinite(trials.true).any() else "said"
    for outcomes, ink, words, line in (
        (trials.true, "true", "true success" if trials.judged else "success", "-"),
        (trials.predicted, "said", "success as the robot saw it", (0, (3, 2))),
    ):
        rate = moving_rate(outcomes, over)[at]
        if not np.isfinite(rate).any() or (ink == "said" and not trials.judged):
            continue
        if ink == banded:
            recent = [outcomes[max(0, k - over + 1) : k + 1] for k in at]
            ends = [_wilson(int(np.nansum(values)), int(np.isfinite(values).sum())) for values in recent]
            low, high = np.transpose(ends)
            axes.fill_between(trials.trial[at], low, high, color=_INK[ink], alpha=0.13, linewidth=0)
        axes.plot(trials.trial[at], rate, color=_INK[ink], linewidth=2.5, linestyle=line, label=words)


def _whisker(axes: Axes, x: float, result: EvaluationResult, name: str) -> None:
    """An evaluation with its interval."""
    axes.plot([x, x], result.interval, color=_INK["ink"], linewidth=2)
    style = {"markerfacecolor": _INK["paper"], "markeredgecolor": _INK["ink"], "markeredgewidth": 2.5, "markersize": 10}
    axes.plot([x], [result.success.mean()], "o", label="evaluation, without exploration", clip_on=False, **style)
    place = {"textcoords": "offset points", "ha": "center", "annotation_clip": False}
    count = {"xy": (x, result.interval[1]), "xytext": (0, 6), "color": _INK["ink"], "weight": "bold"}
    axes.annotate(f"{result.successes}/{len(result)}", **count, **place)
    axes.annotate(name, xy=(x, 0), xytext=(0, -16), **place)


def _outcome_rows(axes: Axes, trials: Trials, width: float) -> None:
    """A row for each outcome, named, so that colour is not the only sign; each a single path."""
    kinds, each = outcome_kinds(trials), math.ceil(len(trials) / MOST)
    shown = [kind for kind in OUTCOMES if (kinds == kind).any()]
    starts = np.arange(0, len(trials), each)
    middle = trials.trial[np.minimum(starts + each // 2, len(trials) - 1)].astype(float)
    for row, kind in enumerate(reversed(shown)):
        share = np.add.reduceat(kinds == kind, starts) / np.diff(np.append(starts, len(trials)))
        some = share > 0
        ticks = np.stack([np.full(some.sum(), float(row)), row + 0.85 * share[some], np.full(some.sum(), np.nan)], 1)
        thick = min(max(0.7 * width / len(starts), 0.6), 8.0)
        ink = _INK[OUTCOMES[kind][1]]
        axes.plot(np.repeat(middle[some], 3), ticks.ravel(), color=ink, linewidth=thick, solid_capstyle="butt")
    axes.set(ylim=(0, len(shown)), yticks=np.arange(len(shown)) + 0.45, xlabel="trial")
    axes.set_yticklabels([OUTCOMES[kind][0] for kind in reversed(shown)], fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= trials.trial[-1]])


def _curve_words(trials: Trials) -> str:
    over = window(trials)
    said, true = moving_rate(trials.predicted, over)[-1], moving_rate(trials.true, over)[-1]
    words = f"Success rate by practice trial, {counted(len(trials), 'trial')}. Last {counted(over, 'trial')}: "
    if not trials.judged:
        return words + f"{percent(true)}."
    words += f"predicted {percent(said)}"
    return words + (f", true {percent(true)}." if np.isfinite(true) else "; true success not recorded.")


def claim_map(trials: Trials, insertion_depth_mm: float) -> str | None:
    """Where the plug truly was in the trials that the reward model called a success, seen from the side; None where no
    such trial has a recorded position. `insertion_depth_mm` is that of a seated plug, NaN if unknown."""
    depth, lateral = trials.series["depth_mm"], trials.series["lateral_mm"]
    shown = (trials.predicted > 0.5) & np.isfinite(depth) & np.isfinite(lateral) & np.isfinite(trials.true)
    if not shown.any():
        return None
    lateral, depth, true = lateral[shown], depth[shown], trials.true[shown] > 0.5
    # A few far-away plugs must not squeeze the rest: they are drawn at the edge.
    right = float(np.clip(lateral.max() * 1.05, 5.0, 25.0))
    seated = insertion_depth_mm if np.isfinite(insertion_depth_mm) else 0.0
    deepest = max(seated, float(min(depth.max(), 60.0)), 2.0) * 1.08
    highest = float(np.clip(depth.min() - 1.0, -30.0, -4.0))
    with mpl.rc_context(_STYLE):
        figure = _figure(NARROW, 330)
        axes = figure.add_axes((0.2, 0.17, 0.76, 0.73))
        axes.fill_between([0, min(BESIDE_MM, right)], 0, deepest, color=_INK["fill"], linewidth=0)
        for place, name, line in ((0.0, "mouth", "-"), (insertion_depth_mm, "seated", "--")):
            if np.isfinite(place):
                axes.axhline(place, color=_INK["soft"], linewidth=1, linestyle=line)
                axes.annotate(name, (right, place), (-2, 3), textcoords="offset points", ha="right")
        for good, words, mark in ((True, "inserted", "o"), (False, "false success", "x")):  # false ones on top
            at = _thinned(np.flatnonzero(true == good))
            where = np.minimum(lateral[at], right), np.clip(depth[at], highest, deepest)
            style = {"color": _INK["true" if good else "said"], "alpha": 0.45 if good else 1.0, "markersize": 7}
            axes.plot(*where, mark, label=words, clip_on=False, **style)
        axes.set(xlim=(0, right), ylim=(deepest, highest))
        axes.set(xlabel="Distance from the socket’s axis (mm)", ylabel="Depth (mm)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=2, borderaxespad=0)
        seen = f"{int(true.sum())} seated, {int((~true).sum())} not"
        return _svg(figure, f"Where the plug was when the reward said success: {seen}.")


def small_series(trials: Trials, name: str, title: str) -> str | None:
    """One recorded series by trial, on its own scale: faint dots and a moving mean; None when there are no numbers."""
    values = trials.series[name]
    known = np.isfinite(values)
    if known.sum() < 2:
        return None
    low, high = (float(value) for value in np.percentile(values[known], [1, 99]))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    over = window(trials)
    mean = moving_rate(values, over)
    at, dots = (_thinned(np.flatnonzero(some))[:: 1 + more] for some, more in ((np.isfinite(mean), 0), (known, 1)))
    with mpl.rc_context(_STYLE | {"font.size": 11.5}):
        figure = _figure(230, 130)
        axes = figure.add_axes((0.24, 0.16, 0.72, 0.62))
        axes.plot(
            trials.trial[dots], np.clip(values[dots], low, high), ".", color=_INK["soft"], alpha=0.35, markersize=3
        )
        axes.plot(trials.trial[at], np.clip(mean[at], low, high), color=_INK["true"], linewidth=1.8)
        axes.set(xticks=[0, trials.trial[-1]], yticks=[low, high], xlim=(0, max(float(trials.trial[-1]), 2.0)))
        axes.set_xticklabels(["0", f"trial {int(trials.trial[-1])}"], ha="right")
        axes.set_yticklabels([f"{low:.2g}", f"{high:.2g}"])
        axes.grid(axis="y")
        figure.text(0, 0.9, title, color=_INK["ink"], fontsize=13)
        ends = mean[at]
        return _svg(figure, f"{title} by trial, from {ends[0]:.3g} to {ends[-1]:.3g} (mean of {over}).")


def _figure(width: int, height: int) -> Figure:
    """Of a size in pixels; an SVG has 72 to the inch."""
    return Figure((width / 72, height / 72), facecolor="none")


def _thinned(index: np.ndarray) -> np.ndarray:
    """At most `MOST` of (n,) places."""
    return index[spread(len(index), MOST)]


def _svg(figure: Figure, words: str) -> str:
    """A drawing as an element of a page: no size, names or style of its own, nothing that refers to the outside.

    Args:
        figure: drawn in the colours of `_INK`, which become those of the style sheet.
        words: what it shows, for people who cannot see it.
    """
    for axes in figure.axes:
        axes.patch.set_visible(False)
    out = io.StringIO()
    figure.savefig(out, format="svg")
    root = ElementTree.fromstring(out.getvalue())
    used = {value for element in root.iter() for name, value in element.items() if name.endswith("href")}
    for element in root.iter():
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style", "clipPath"):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        for name, value in list(element.items()):
            del element.attrib[name]
            if name != "clip-path" and (name != "id" or f"#{value}" in used):  # pages have several drawings
                element.set(re.sub(r"^\{.*xlink\}", "xlink:", name), value)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": words}
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"#00000(\d)\b", lambda found: f"var(--{_INKS[int(found[1]) - 1]})", text)
