"""A small world of pictures: a coloured disc on a grid of 4 x 4 places, 16 pixels a side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SIDE, PLACES = 16, 4
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 230]], np.uint8)


def picture(place: tuple[int, int], colour: int) -> np.ndarray:
    """(16, 16, 3) uint8."""
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = (np.array(place) + 0.5) * SIDE / PLACES - 0.5
    image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 4.1] = COLOURS[colour]
    return image


def pictures(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(rows, 16, 16, 3) uint8, and (rows, 3) places and colours."""
    facts = np.stack([rng.integers(PLACES, size=rows), rng.integers(PLACES, size=rows), rng.integers(3, size=rows)], 1)
    return np.stack([picture((y, x), colour) for y, x, colour in facts]), facts


def tensor(images: np.ndarray) -> Tensor:
    """(B, 3, 16, 16) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
