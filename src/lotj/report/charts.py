"""Charts as inline SVG. Colours come from the page's style sheet (classes), so that they follow light and dark.

The learning curve is drawn twice, for a wide and a narrow page, so that letters keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from xml.etree import ElementTree

import numpy as np

from lotj.evaluation import Summary, moving_rate, wilson
from lotj.report.files import Trials
from lotj.report.findings import BESIDE_MM, SPACE, percent

WINDOW = 20
"""Trials in the moving success rate."""

WIDE, NARROW = 940, 350
"""Widths of the drawings [px]."""

_wilson = cache(wilson)  # a moving window meets the same few counts again and again


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


class Drawing:
    """An SVG picture under construction; names and words are escaped by the XML writer.

    Args:
        width: [px].
        height: [px].
        words: what it shows, for people who cannot see it.
    """

    def __init__(self, width: int, height: int, words: str) -> None:
        self.width, self.height = width, height
        box = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": words}
        self._root = ElementTree.Element("svg", box)
        self._into = self._root

    def add(self, tag: str, kind: str = "", words: str = "", **attributes: object) -> None:
        """Put an element in the current group; `kind` is its class."""
        named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        element = ElementTree.SubElement(self._into, tag, {"class": kind, **named} if kind else named)
        element.text = words or None

    def group(self, kind: str) -> None:
        """What follows belongs to a new group."""
        self._into = ElementTree.SubElement(self._root, "g", {"class": kind})

    def write(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        """Put words at a point."""
        self.add("text", kind, words, x=round(x, 1), y=round(y, 1), text_anchor=anchor)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "") -> None:
        """Put a straight line."""
        self.add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, plane: Plane, points: Iterable[tuple[float, float]], kind: str, closed: bool = False) -> None:
        """Put a line through data points; fewer than two make none."""
        places = [f"{plane.x(float(x))} {plane.y(float(y))}" for x, y in points]
        if len(places) > 1:
            self.add("path", kind, d="M" + "L".join(places) + ("Z" if closed else ""))

    def __str__(self) -> str:
        return ElementTree.tostring(self._root, encoding="unicode")


def learning_curve(trials: Trials, offline: Summary | None, practised: Summary | None, width: int) -> str:
    """Moving success rate by trial, predicted and true, between the evaluations before and after.

    Below it, one tick a trial: what the robot believed and what was true.

    Args:
        trials: at least one.
        offline: evaluation before practice, drawn at trial 0.
        practised: evaluation after practice, drawn at the last trial.
        width: `WIDE` or `NARROW`.
    """
    height = 300 if width == NARROW else 340
    last = max(int(trials.trial[-1]), 2)
    # Beside the curves stand the evaluations, before on the left, after on the right.
    before, after = 44 if offline else 0, 36 if practised else 0
    plane = Plane((0.0, float(last)), (0.0, 1.0), (46 + before, 24, width - 8 - after, height - 60))
    drawing = Drawing(width, height, _curve_words(trials))
    _percent_grid(drawing, plane, 46, width - 2)
    _trial_axis(drawing, plane, last, 4 if width == NARROW else 8)
    # A rate over a handful of trials is noise: the curves begin once half a window has passed.
    begin = min(WINDOW // 2, len(trials) // 2)
    shown = "true" if np.isfinite(trials.true).any() else "predicted"
    for outcomes, kind in ((trials.true, "true"), (trials.predicted, "predicted")):
        if kind == shown:  # two bands over one another would only be grey
            _band(drawing, plane, trials.trial, outcomes, begin, kind)
        rate = moving_rate(outcomes, WINDOW)
        drawing.path(plane, _known(trials.trial[begin:], rate[begin:]), f"line {kind}")
    _ticks(drawing, plane, trials, plane.box[3] + 10)
    for summary, x, name in ((offline, 64, "before"), (practised, width - 20, "after")):
        if summary:
            _whisker(drawing, plane, x, summary, name)
    return str(drawing)


def _curve_words(trials: Trials) -> str:
    said = moving_rate(trials.predicted, WINDOW)[-1]
    true = moving_rate(trials.true, WINDOW)[-1]
    words = f"Success rate by practice trial, {len(trials)} trials. Last {WINDOW} trials: predicted {percent(said)}"
    return words + (f", true {percent(true)}." if np.isfinite(true) else "; true success not recorded.")


def _known(xs: np.ndarray, ys: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]


def _percent_grid(drawing: Drawing, plane: Plane, left: float, right: float) -> None:
    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = plane.y(rate)
        drawing.line(left, y, right, y, "grid")
        drawing.write(left - 8, y + 4, f"{100 * rate:.0f}{' %' if rate == 1 else ''}", "end")


def _trial_axis(drawing: Drawing, plane: Plane, last: int, many: int) -> None:
    """Trial numbers, below the ticks; the last one says what they count."""
    step, row = _round_step(last / many), plane.box[3] + 54
    for place in range(0, last, step):
        if plane.box[2] - plane.x(place) > 80:  # room for the last one's words
            drawing.write(plane.x(place), row, str(place), "middle")
    drawing.write(plane.box[2], row, f"trial{SPACE}{last}", "end")


def _round_step(rough: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below `rough`."""
    scale = 10 ** int(np.floor(np.log10(max(rough, 1.0))))
    return int(next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough))


def _band(drawing: Drawing, plane: Plane, trial: np.ndarray, outcomes: np.ndarray, begin: int, kind: str) -> None:
    """Wilson 95 % band of the moving rate."""
    ends = []
    for index in range(begin, len(trial)):
        recent = outcomes[max(0, index - WINDOW + 1) : index + 1]
        recent = recent[np.isfinite(recent)]
        if len(recent):
            ends.append((float(trial[index]), *_wilson(int(recent.sum()), len(recent))))
    points = [(x, high) for x, _, high in ends] + [(x, low) for x, low, _ in reversed(ends)]
    drawing.path(plane, points, f"band {kind}", closed=True)


def _whisker(drawing: Drawing, plane: Plane, x: float, summary: Summary, name: str) -> None:
    """An evaluation with its interval at pixel column `x`."""
    y = plane.y(summary.successes / summary.n)
    drawing.group("whisker")
    drawing.line(x, plane.y(summary.low), x, plane.y(summary.high))
    drawing.add("circle", cx=x, cy=y, r=5)
    drawing.write(x, plane.y(summary.high) - 6, f"{summary.successes}/{summary.n}", "middle", "count")
    drawing.write(x, plane.box[3] + 18, name, "middle")


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


def _ticks(drawing: Drawing, plane: Plane, trials: Trials, top: float) -> None:
    """One upright tick a trial; a false alarm hangs below the rest, so that colour is not the only sign."""
    width = round(min(max((plane.box[2] - plane.box[0]) / plane.x_range[1] - 0.3, 0.6), 12.0), 1)
    spans = {"hit": (0, 16), "alarm": (9, 18), "miss": (8, 8), "fail": (13, 3), "said": (0, 16), "unsaid": (13, 3)}
    drawing.group("ticks")
    for trial, kind in zip(trials.trial, outcome_kinds(trials), strict=True):
        offset, height = spans[str(kind)]
        x = round(plane.x(float(trial)) - width / 2, 1)
        drawing.add("rect", str(kind), x=x, y=top + offset, width=width, height=height)


def claim_map(trials: Trials, insertion_depth_mm: float) -> str | None:
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
    lateral, depth, true = lateral[shown], depth[shown], trials.true[shown] > 0.5
    # A few far-away plugs must not squeeze the rest: they are drawn at the edge.
    right = float(np.clip(lateral.max() * 1.05, 5.0, 25.0))
    seated = insertion_depth_mm if np.isfinite(insertion_depth_mm) else 0.0
    deepest = max(seated, float(min(depth.max(), 60.0)), 2.0) * 1.08
    highest = float(np.clip(depth.min() - 1.0, -30.0, -4.0))
    plane = Plane((0.0, right), (deepest, highest), (78, 12, NARROW - 12, 258))
    words = f"Where the plug was when the reward said success: {int(true.sum())} seated, {int((~true).sum())} not."
    drawing = Drawing(NARROW, 300, words)
    _map_frame(drawing, plane, insertion_depth_mm)
    for good in (True, False):  # false alarms on top
        for x, y in zip(np.minimum(lateral[true == good], right), depth[true == good], strict=True):
            cx, cy = plane.x(float(x)), plane.y(float(np.clip(y, highest, deepest)))
            if good:
                drawing.add("circle", "hit", cx=cx, cy=cy, r=4)
            else:  # a cross, so that colour is not the only sign
                drawing.add("path", "alarm", d=f"M{cx - 3.5:.1f} {cy - 3.5:.1f}l7 7m0 -7l-7 7")
    return str(drawing)


def _map_frame(drawing: Drawing, plane: Plane, seated: float) -> None:
    left, _, right, bottom = plane.box
    mouth = plane.y(0.0)
    socket = round(plane.x(min(BESIDE_MM, plane.x_range[1])) - left, 1)
    drawing.add("rect", "socket", x=left, y=mouth, width=socket, height=round(bottom - mouth, 1))
    for depth, name, kind in ((0.0, "mouth", "rule"), (seated, "seated", "rule dashed")):
        if np.isfinite(depth):
            y = plane.y(depth)
            drawing.line(left, y, right, y, kind)
            drawing.write(left - 6, y + 4, f"{name} {depth:g}", "end")
    for place in range(0, int(plane.x_range[1]) + 1, _round_step(plane.x_range[1] / 5)):
        drawing.write(plane.x(place), bottom + 16, str(place), "middle")
    drawing.write((left + right) / 2, bottom + 36, "Distance from the socket’s axis (mm)", "middle")
    middle = round((plane.box[1] + bottom) / 2)
    drawing.add("text", "", "Depth (mm)", transform=f"translate(12 {middle}) rotate(-90)", text_anchor="middle")


def small_series(trials: Trials, name: str, title: str) -> str | None:
    """One recorded series by trial, on its own scale: faint dots and a moving mean; None when there are no numbers."""
    values = trials.series[name]
    known = np.isfinite(values)
    if known.sum() < 2:
        return None
    low, high = (float(value) for value in np.percentile(values[known], [1, 99]))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    plane = Plane((0.0, max(float(trials.trial[-1]), 2.0)), (low, high), (54, 24, 222, 108))
    recent = [values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)]
    smooth = np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in recent])
    ends = smooth[np.isfinite(smooth)]
    drawing = Drawing(230, 130, f"{title} by trial, from {ends[0]:.3g} to {ends[-1]:.3g} (mean of {WINDOW}).")
    drawing.write(0, 12, title, kind="title")
    for value in (high, low):
        drawing.line(plane.box[0], plane.y(value), plane.box[2], plane.y(value), "grid")
        drawing.write(plane.box[0] - 6, plane.y(value) + 4, f"{value:.2g}", "end")
    drawing.write(plane.box[2], plane.box[3] + 16, f"trial {int(trials.trial[-1])}", "end")
    drawing.write(plane.box[0], plane.box[3] + 16, "0")
    drawing.path(plane, _known(trials.trial, np.clip(smooth, low, high)), "line neutral")
    drawing.group("dots")
    for x, y in zip(trials.trial[known], np.clip(values[known], low, high), strict=True):
        drawing.add("circle", cx=plane.x(float(x)), cy=plane.y(float(y)), r=1.2)
    return str(drawing)
