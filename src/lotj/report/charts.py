"""Charts as inline SVG. Colours come from the page's style sheet (classes), so that they follow light and dark.

Each chart is drawn twice, for a wide and a narrow page, so that letters keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from markupsafe import Markup, escape

from lotj.evaluation import Summary, moving_rate, wilson
from lotj.report.files import Trials
from lotj.report.findings import BESIDE_MM, percent

WINDOW = 20
"""Trials in the moving success rate."""

WIDE, NARROW = 760, 350
"""Widths of the drawings [px]."""


@dataclass(frozen=True)
class Plane:
    """The part of a drawing where data lies: maps values to pixels.

    Attributes:
        x_range: values at the left and right edge.
        y_range: values at the bottom and top edge (bottom may be the greater one).
        box: left, top, right, bottom [px].
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    box: tuple[float, float, float, float]

    def x(self, value: float) -> float:
        """Pixel column of a value."""
        (low, high), (left, _, right, _) = self.x_range, self.box
        return round(left + (value - low) / (high - low) * (right - left), 1)

    def y(self, value: float) -> float:
        """Pixel row of a value."""
        (low, high), (_, top, _, bottom) = self.y_range, self.box
        return round(bottom - (value - low) / (high - low) * (bottom - top), 1)


_wilson = cache(wilson)  # a moving window meets the same few counts again and again


def both_widths(draw: Callable[[int], Markup]) -> Markup:
    """A drawing for wide pages and the same for narrow ones; the style sheet shows one."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(WIDE), draw(NARROW))


def learning_curve(trials: Trials, offline: Summary | None, practised: Summary | None) -> Markup:
    """Moving success rate by trial, predicted and true, between the evaluations before and after.

    Below it, one tick a trial: what the robot believed and what was true.
    """
    return both_widths(lambda width: _learning_curve(trials, offline, practised, width))


def _learning_curve(trials: Trials, offline: Summary | None, practised: Summary | None, width: int) -> Markup:
    narrow = width == NARROW
    height = 300 if narrow else 340
    last = max(int(trials.trial[-1]), 2)
    plane = Plane((0.0, float(last)), (0.0, 1.0), (40, 14, width - 22, height - 76))
    # A rate over a handful of trials is noise: the curves begin once half a window has passed.
    begin = min(WINDOW // 2, len(trials) // 2)
    parts = [_percent_grid(plane), _trial_axis(plane, last, narrow)]
    for outcomes, kind in ((trials.true, "true"), (trials.predicted, "predicted")):
        rate = moving_rate(outcomes, WINDOW)
        parts.append(_band(plane, trials.trial, outcomes, begin, kind))
        parts.append(_line(plane, trials.trial[begin:], rate[begin:], f"line {kind}"))
    for summary, place in ((offline, 0), (practised, last)):
        if summary:
            parts.append(_whisker(plane, place, summary))
    parts.append(_ticks(plane, trials, height - 50))
    parts.append(_text(plane.box[0] - 34, height - 4, f"Trial (one tick each above; curves: last {WINDOW} trials)"))
    return _svg(width, height, _curve_words(trials), parts)


def _curve_words(trials: Trials) -> str:
    said = moving_rate(trials.predicted, WINDOW)[-1]
    true = moving_rate(trials.true, WINDOW)[-1]
    words = f"Success rate by practice trial, {len(trials)} trials. Last {WINDOW} trials: predicted {percent(said)}"
    return words + (f", true {percent(true)}." if np.isfinite(true) else "; true success not recorded.")


def _percent_grid(plane: Plane) -> Markup:
    left, _, right, _ = plane.box
    parts = []
    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = plane.y(rate)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, y, y))
        parts.append(_text(left - 8, y + 4, f"{100 * rate:.0f}{' %' if rate == 1 else ''}", "end"))
    return Markup("").join(parts)


def _trial_axis(plane: Plane, last: int, narrow: bool) -> Markup:
    step = _round_step(last / (4 if narrow else 8))
    places = [place for place in range(0, last + 1, step) if last - place > 0.4 * step or place == last]
    if last not in places:
        places.append(last)
    bottom = plane.box[3]
    return Markup("").join(_text(plane.x(place), bottom + 16, str(place), "middle") for place in places)


def _round_step(rough: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below `rough`."""
    scale = 10 ** int(np.floor(np.log10(max(rough, 1.0))))
    return int(next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough))


def _band(plane: Plane, trial: np.ndarray, outcomes: np.ndarray, begin: int, kind: str) -> Markup:
    """Wilson 95 % band of the moving rate."""
    ends = []
    for index in range(begin, len(trial)):
        recent = outcomes[max(0, index - WINDOW + 1) : index + 1]
        recent = recent[np.isfinite(recent)]
        if len(recent):
            ends.append((trial[index], *_wilson(int(recent.sum()), len(recent))))
    if len(ends) < 2:
        return Markup("")
    points = [(x, high) for x, _, high in ends] + [(x, low) for x, low, _ in reversed(ends)]
    return Markup('<path class="band {}" d="M{}Z"/>').format(kind, _path(plane, points))


def _line(plane: Plane, xs: np.ndarray, ys: np.ndarray, classes: str) -> Markup:
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]
    return Markup('<path class="{}" d="M{}"/>').format(classes, _path(plane, points)) if points else Markup("")


def _path(plane: Plane, points: Iterable[tuple[float, float]]) -> str:
    return "L".join(f"{plane.x(float(x))} {plane.y(float(y))}" for x, y in points)


def _whisker(plane: Plane, place: float, summary: Summary) -> Markup:
    x, rate = plane.x(place), summary.successes / summary.n
    left = place > plane.x_range[0]
    return Markup(
        '<g class="whisker"><line x1="{x}" x2="{x}" y1="{low}" y2="{high}"/><circle cx="{x}" cy="{y}" r="5"/>'
        '<text x="{tx}" y="{ty}" text-anchor="{anchor}">{k}/{n}</text></g>'
    ).format(
        x=x,
        y=plane.y(rate),
        low=plane.y(summary.low),
        high=plane.y(summary.high),
        tx=x - 10 if left else x + 10,
        ty=plane.y(rate) - 8,
        anchor="end" if left else "start",
        k=summary.successes,
        n=summary.n,
    )


def outcome_kinds(trials: Trials) -> np.ndarray:
    """What each trial was.

    Returns:
        (n,) of ``hit``, ``alarm`` (believed, not true), ``miss`` (true, not believed), ``fail``; ``said`` or ``unsaid``
        where the truth is not known.
    """
    said, true, known = trials.predicted > 0.5, trials.true > 0.5, np.isfinite(trials.true)
    return np.select(
        [known & said & true, known & said, known & true, known, said],
        ["hit", "alarm", "miss", "fail", "said"],
        default="unsaid",
    )


def _ticks(plane: Plane, trials: Trials, top: float) -> Markup:
    """One upright tick a trial; a false alarm is also taller, so that colour is not the only sign."""
    width = max((plane.box[2] - plane.box[0]) / max(plane.x_range[1], 1.0) - 0.3, 0.6)
    heights = {"hit": (0, 16), "alarm": (-4, 24), "miss": (8, 8), "fail": (13, 3), "said": (0, 16), "unsaid": (13, 3)}
    parts = []
    for trial, kind in zip(trials.trial, outcome_kinds(trials), strict=True):
        offset, height = heights[str(kind)]
        parts.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                kind, round(plane.x(float(trial) - 0.5), 1), top + offset, round(width, 1), height
            )
        )
    return Markup('<g class="ticks">{}</g>').format(Markup("").join(parts))


def claim_map(trials: Trials, insertion_depth_mm: float) -> Markup | None:
    """Where the plug truly was in the trials that the reward model called a success, seen from the side.

    Args:
        trials: with depth_mm and lateral_mm.
        insertion_depth_mm: depth of a seated plug; NaN if unknown.

    Returns:
        None when no such trial has a recorded place.
    """
    depth, lateral = trials.state["depth_mm"], trials.state["lateral_mm"]
    shown = (trials.predicted > 0.5) & np.isfinite(depth) & np.isfinite(lateral) & np.isfinite(trials.true)
    if not shown.any():
        return None
    return _claim_map(lateral[shown], depth[shown], trials.true[shown] > 0.5, insertion_depth_mm)


def _claim_map(lateral: np.ndarray, depth: np.ndarray, true: np.ndarray, seated: float) -> Markup:
    width, height = NARROW, 300
    # A few far-away plugs must not squeeze the rest: they are drawn at the edge.
    right = float(np.clip(lateral.max(), 5.0, 25.0))
    deepest = max(seated if np.isfinite(seated) else 0.0, float(min(depth.max(), 60.0)), 2.0) * 1.08
    highest = float(np.clip(depth.min(), -30.0, -3.0))
    plane = Plane((0.0, right), (deepest, highest), (44, 12, width - 12, height - 42))
    parts = [_map_frame(plane, seated)]
    for x, y, good in sorted(zip(lateral, depth, true, strict=True), key=lambda point: point[2], reverse=True):
        cx, cy = plane.x(min(float(x), right)), plane.y(float(np.clip(y, highest, deepest)))
        if good:
            parts.append(Markup('<circle class="hit" cx="{}" cy="{}" r="4"/>').format(cx, cy))
        else:  # a cross, so that colour is not the only sign
            parts.append(
                Markup('<path class="alarm" d="M{} {}l7 7m0 -7l-7 7"/>').format(round(cx - 3.5, 1), round(cy - 3.5, 1))
            )
    words = f"Where the plug was when the reward said success: {int(true.sum())} seated, {int((~true).sum())} not."
    return _svg(width, height, words, parts)


def _map_frame(plane: Plane, seated: float) -> Markup:
    left, top, right, bottom = plane.box
    mouth = plane.y(0.0)
    parts = [
        Markup('<rect class="socket" x="{}" y="{}" width="{}" height="{}"/>').format(
            left, mouth, round(plane.x(min(BESIDE_MM, plane.x_range[1])) - left, 1), round(bottom - mouth, 1)
        ),
        Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, mouth, mouth),
        _text(right, mouth - 5, "socket mouth", "end"),
    ]
    depths = [0.0]
    if np.isfinite(seated):
        y = plane.y(seated)
        parts.append(Markup('<line class="rule dashed" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(left, right, y, y))
        parts.append(_text(right, y - 5, "seated", "end"))
        depths.append(seated)
    parts += [_text(left - 6, plane.y(depth) + 4, f"{depth:g}", "end") for depth in depths]
    step = _round_step(plane.x_range[1] / 5)
    for place in range(0, int(plane.x_range[1]) + 1, step):
        parts.append(_text(plane.x(place), bottom + 16, str(place), "middle"))
    parts.append(_text((left + right) / 2, bottom + 34, "Distance from the socket’s axis (mm)", "middle"))
    parts.append(
        Markup('<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">Depth (mm)</text>').format(
            round((top + bottom) / 2)
        )
    )
    return Markup("").join(parts)


def small_series(trials: Trials, name: str, title: str) -> Markup | None:
    """One recorded series by trial, on its own scale: faint dots and a moving mean; None when there are no numbers."""
    values = trials.series.get(name, np.array([]))
    known = np.isfinite(values)
    if known.sum() < 2:
        return None
    width, height = 230, 130
    low, high = (float(value) for value in np.percentile(values[known], [1, 99]))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    plane = Plane((0.0, max(float(trials.trial[-1]), 2.0)), (low, high), (52, 24, width - 8, height - 22))
    smooth = np.array(
        [np.nanmean(values[max(0, end - WINDOW) : end]) if known[max(0, end - WINDOW) : end].any() else np.nan
         for end in range(1, len(values) + 1)]
    )  # fmt: skip
    dots = [
        Markup('<circle cx="{}" cy="{}" r="1.2"/>').format(plane.x(float(x)), plane.y(float(np.clip(y, low, high))))
        for x, y in zip(trials.trial[known], values[known], strict=True)
    ]
    bottom = plane.box[3]
    parts = [
        _text(0, 12, title, kind="title"),
        *(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(plane.box[0], plane.box[2], y, y)
            for y in (plane.y(low), plane.y(high))
        ),
        _text(46, plane.y(high) + 4, f"{high:.3g}", "end"),
        _text(46, plane.y(low) + 4, f"{low:.3g}", "end"),
        Markup('<g class="dots">{}</g>').format(Markup("").join(dots)),
        _line(plane, trials.trial, smooth, "line neutral"),
        _text(plane.box[0], bottom + 16, "0"),
        _text(plane.box[2], bottom + 16, f"trial {int(trials.trial[-1])}", "end"),
    ]
    ends = smooth[np.isfinite(smooth)]
    return _svg(width, height, f"{title} by trial, from {ends[0]:.3g} to {ends[-1]:.3g} (mean of {WINDOW}).", parts)


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> Markup:
    classes = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text{} x="{}" y="{}" text-anchor="{}">{}</text>').format(
        classes, round(x, 1), round(y, 1), anchor, words
    )


def _svg(width: int, height: int, words: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, escape(words), Markup("").join(parts)
    )
