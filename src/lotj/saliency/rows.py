"""Pictures in labelled rows, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lotj.geometry import mosaic


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of (count,) places, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def draw_rows(rows: Mapping[str, np.ndarray]) -> bytes:
    """A PNG of rows by name, each of as many pictures, (K, V, H, W, 3) uint8 of V views."""
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(1.0 + columns, 0.4 + 1.03 * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (name, pictures), line in zip(rows.items(), axes, strict=True):
        line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
        for picture, plot in zip(pictures, line, strict=True):
            plot.set_axis_off()
            plot.imshow(mosaic(picture))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
