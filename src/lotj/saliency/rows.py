"""Pictures in labelled rows, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lotj.geometry import mosaic


def spread(count: int, most: int) -> np.ndarray:
    """At most so many of (count,) places, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def draw_rows(blocks: Sequence[tuple[str, Sequence[str], Sequence[np.ndarray]]]) -> bytes:
    """A PNG of blocks below each other.

    Args:
        blocks: title, name of each row, and the pictures of each row, (K, V, H, W, 3) uint8 of V views.
    """
    columns = max((len(pictures[0]) for _, _, pictures in blocks), default=1)
    count = sum(len(names) for _, names, _ in blocks)
    figure = Figure(figsize=(1.0 + columns, 0.4 + 1.03 * max(count, 1)), dpi=120, layout="constrained")
    axes = figure.subplots(max(count, 1), columns, squeeze=False)
    for plot in axes.flat:
        plot.set_axis_off()
    line = 0
    for title, names, pictures in blocks:
        for name, row in zip(names, pictures, strict=True):
            label = f"{title}\n{name}" if name == names[0] else name
            axes[line][0].text(-0.1, 0.5, label, transform=axes[line][0].transAxes, ha="right", va="center", fontsize=8)
            for plot, picture in zip(axes[line], row, strict=False):
                plot.imshow(mosaic(picture))
            line += 1
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
