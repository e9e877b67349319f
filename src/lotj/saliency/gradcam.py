"""Grad-CAM of any convolutional network (Selvaraju et al.; LOTJ, section VI-C): ReLU(sum_k alpha_k A_k)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from lotj.errors import NumericsError


def gradcam(layer: nn.Module, images: Tensor, scalar: Callable[[Tensor], Tensor], *, batch: int = 64) -> np.ndarray:
    """Heat maps of the regions that make one scalar output larger.

    For a reward model the scalar is its logit; for a policy one component of the mean action, ``lambda images:
    policy({"image": images})[:, 1]`` (the Y axis, as in the paper: which regions push the plug towards +Y?).

    Args:
        layer: convolutional part of a network in evaluation mode, whose output (B V, C, h, w) is looked at; an
            encoder's last stage but one (6x6 at 96 px) is what the paper takes. Its output must not be changed in place
            afterwards.
        images: (N, V, 3, H, W) float32 of V cameras, as the network wants them, on its device.
        scalar: asks the network about (B, V, 3, H, W) images; returns (B,).
        batch: images at once.

    Returns:
        (N, V, H, W) float32 in [0, 1], bilinearly upsampled; the maps of one image are scaled by their common maximum,
        and are all zero where nothing in the layer pushes the scalar up.

    Raises:
        ValueError: `images` or the layer's output has other dimensions, or `scalar` does not give one number an image.
        NumericsError: a heat map is not finite.
    """
    if images.ndim != 5:
        raise ValueError(f"images must be (N, V, 3, H, W), not {tuple(images.shape)}")
    method = LayerGradCam(lambda x: _one_each(scalar(x), len(x)), layer)
    # Frozen networks have no parameter that asks for gradients: the input has to, or the layer has no graph.
    with torch.inference_mode(False), torch.enable_grad():
        maps = [_maps(method, part.detach().clone().requires_grad_()) for part in images.split(batch)]
    return torch.cat(maps).cpu().numpy() if maps else np.zeros((0, images.shape[1], *images.shape[3:]), np.float32)


def _one_each(values: Tensor, n: int) -> Tensor:
    if values.shape != (n,):
        raise ValueError(f"scalar must give one number an image, ({n},), not {tuple(values.shape)}")
    return values


def _maps(method: LayerGradCam, images: Tensor) -> Tensor:
    """(B, V, 3, H, W) images to (B, V, H, W) maps in [0, 1]; the layer sees the views as (B V, ...)."""
    heat = method.attribute(images, relu_attributions=True)
    if not isinstance(heat, Tensor) or heat.ndim != 4:
        raise ValueError("the layer's output must be one tensor (B V, C, h, w): give a convolutional layer")
    size = (int(images.shape[3]), int(images.shape[4]))
    heat = LayerAttribution.interpolate(heat.detach().float(), size, "bilinear").squeeze(1)
    heat = heat.unflatten(0, images.shape[:2])
    if not torch.isfinite(heat).all():
        raise NumericsError("Grad-CAM is not finite: check the network's weights and the images")
    peak = heat.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(peak > 0, heat / peak.clamp_min(torch.finfo(heat.dtype).tiny), torch.zeros_like(heat))
