"""Heat maps over pictures, and how much of the heat lies where it should (NumPy only)."""

from __future__ import annotations

import matplotlib
import numpy as np

COLOUR_MAP = "inferno"
"""Even in lightness, so that it reads in grey and with any colour vision; cold is dark and drawn transparent."""


def overlay(images: np.ndarray, heat: np.ndarray, strength: float = 0.75) -> np.ndarray:
    """Paints heat over pictures; a cold region shows the greyed picture alone.

    Args:
        images: (..., H, W, 3) uint8.
        heat: (..., H, W) in [0, 1].
        strength: opacity of the hottest pixel, in [0, 1].

    Returns:
        (..., H, W, 3) uint8.
    """
    if images.shape[:-1] != heat.shape:
        raise ValueError(f"images {images.shape} and heat maps {heat.shape} do not fit each other")
    heat = np.clip(np.asarray(heat, np.float32), 0.0, 1.0)
    colour = matplotlib.colormaps[COLOUR_MAP](0.25 + 0.75 * heat)[..., :3] * 255.0  # the map's black end is no heat
    grey = images.astype(np.float32).mean(axis=-1, keepdims=True)  # colours would compete with the heat's
    opacity = strength * heat[..., None]
    return np.rint(grey * (1.0 - opacity) + colour * opacity).astype(np.uint8)


def share_inside(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each heat map that lies inside a mask (plug and socket, say).

    Args:
        heat: (N, V, H, W) of V views, not negative.
        mask: (N, V, H, W) bool, or without the first axes.

    Returns:
        (N,) float64 in [0, 1]; NaN where a map has no heat at all. A map without a preference scores the mask's area.
    """
    heat = np.asarray(heat, np.float64)
    total = heat.sum(axis=(1, 2, 3))
    inside = np.where(np.broadcast_to(mask, heat.shape), heat, 0.0).sum(axis=(1, 2, 3))
    return np.divide(inside, total, out=np.full(len(heat), np.nan), where=total > 0)
