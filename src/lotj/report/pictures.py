"""Pictures of a film strip as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import image as images

from lotj.evaluation import FilmStrip
from lotj.geometry import mosaic
from lotj.saliency.overlay import overlay

FRAMES = 8
"""Most frames shown of one trial."""


@dataclass(frozen=True)
class Still:
    """One frame of a film strip.

    Attributes:
        step: environment step, 0 at the start pose.
        seconds: time since the start pose [s].
        score: reward probability, None if not recorded.
        camera: data URI of the frame.
        reward: data URI with the reward's heat map over it, None if not recorded.
        policy: the same of the policy.
    """

    step: int
    seconds: float
    score: float | None
    camera: str
    reward: str | None
    policy: str | None


def stills(strip: FilmStrip, rate_hz: float = 10.0) -> list[Still]:
    """At most `FRAMES` frames, evenly spread, with the first and the last."""
    count = len(strip.frames)
    steps = np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int))
    pictures = {
        "camera": strip.frames[steps],
        "reward": None if strip.reward_heat is None else overlay(strip.frames[steps], strip.reward_heat[steps]),
        "policy": None if strip.policy_heat is None else overlay(strip.frames[steps], strip.policy_heat[steps]),
    }
    uris = {
        name: None if frames is None else [data_uri(frame) for frame in mosaic(frames)]
        for name, frames in pictures.items()
    }
    made = []
    for place, step in enumerate(steps):
        shown = {name: None if several is None else several[place] for name, several in uris.items()}
        score = None if strip.scores is None else float(strip.scores[step])
        made.append(Still(int(step), step / rate_hz, score, **shown))  # pyright: ignore[reportArgumentType]
    return made


def data_uri(frame: np.ndarray) -> str:
    """(H, W, 3) uint8 as a PNG data URI."""
    buffer = io.BytesIO()
    images.imsave(buffer, frame, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
