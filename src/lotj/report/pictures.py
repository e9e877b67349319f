"""Pictures of a film strip as data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from matplotlib import image as images

from lotj.data.pictures import FRAMES, spread
from lotj.evaluation import FilmStrip
from lotj.geometry import mosaic
from lotj.saliency.overlay import overlay


def stills(strip: FilmStrip) -> list[dict[str, Any]]:
    """At most `FRAMES` frames, evenly spread, with the first and the last.

    Returns:
        Of each ``step`` (0 at the start pose), ``score``, and as data URIs ``camera`` and, with the heat map over it,
        ``reward`` and ``policy`` (None if it sees no picture).
    """
    steps = spread(len(strip.frames), FRAMES)
    pictures: dict[str, np.ndarray | None] = {"camera": strip.frames[steps]}
    for name, heat in (("reward", strip.reward_heat), ("policy", strip.policy_heat)):
        pictures[name] = None if heat is None else overlay(strip.frames[steps], heat[steps])
    return [
        {"step": step, "score": float(strip.scores[step])}
        | {name: None if shown is None else _data_uri(mosaic(shown[k])) for name, shown in pictures.items()}
        for k, step in enumerate(steps)
    ]


def _data_uri(frame: np.ndarray) -> str:
    """(H, W, 3) uint8 as a PNG data URI."""
    buffer = io.BytesIO()
    images.imsave(buffer, frame, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
