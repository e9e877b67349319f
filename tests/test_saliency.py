"""Grad-CAM on nets whose map is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lotj.errors import NumericsError
from lotj.saliency.gradcam import gradcam
from lotj.saliency.overlay import overlay, share_inside


class RedMinusGreen(nn.Module):
    """Two 1x1 feature maps, red and green; outputs (mean red - mean green, mean green - mean red) over all views."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.pool = nn.Sequential(nn.AvgPool2d(2), nn.Dropout(0.5))
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).reshape(2, 3, 1, 1)
            self.head.weight[:] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.conv(x.flatten(0, 1))).unflatten(0, x.shape[:2]).mean(dim=(1, 3, 4)))

    def first(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)[:, 0]

    def second(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)[:, 1]


def red_and_green() -> torch.Tensor:
    """One view of 4x4 pixels: top-left red 1, bottom-right green 1, (0, 3) red 0.5."""
    image = torch.zeros(1, 1, 3, 4, 4)
    image[0, 0, 0, 0, 0], image[0, 0, 1, 3, 3], image[0, 0, 0, 0, 3] = 1.0, 1.0, 0.5
    return image


def test_map_shows_what_raises_the_output_and_nothing_else():
    net = RedMinusGreen()
    heat = gradcam(net.conv, red_and_green(), net.first)
    # alpha = (1/16, -1/16): ReLU(red - green) / 16, scaled to its maximum.
    expected = np.zeros((1, 1, 4, 4))
    expected[0, 0, 0, 0], expected[0, 0, 0, 3] = 1.0, 0.5
    np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_the_other_action_component_looks_at_the_other_colour():
    net = RedMinusGreen()
    heat = gradcam(net.conv, red_and_green(), net.second)
    assert np.argwhere(heat[0, 0] > 0).tolist() == [[3, 3]]


def test_coarse_layer_is_upsampled_to_the_image():
    net = RedMinusGreen()
    heat = gradcam(net.pool[0], red_and_green(), net.first)
    # 2x2 map after pooling: red .25 top-left, .125 top-right, so 1 and .5; bilinear to 4x4 without aligned corners:
    # rows and columns at 0, 1/4, 3/4, 1 of the way. Bottom right is green: negative, cut by the ReLU.
    assert heat.shape == (1, 1, 4, 4)
    np.testing.assert_allclose(heat[0, 0, 0], [1.0, 0.875, 0.625, 0.5], atol=1e-6)
    np.testing.assert_allclose(heat[0, 0, :, 0], [1.0, 0.75, 0.25, 0.0], atol=1e-6)


def test_a_frozen_net_has_maps_too_and_is_left_as_it_was():
    net = RedMinusGreen().requires_grad_(False)
    with torch.inference_mode():
        heat = gradcam(net.conv, red_and_green().repeat(5, 1, 1, 1, 1), net.first, batch=2)
    assert heat.shape == (5, 1, 4, 4) and (heat == heat[0]).all()  # in parts as at once
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in net.parameters())


def test_no_evidence_gives_an_empty_map_not_nan():
    net = RedMinusGreen()
    heat = gradcam(net.conv, torch.zeros(2, 1, 3, 4, 4), net.first)
    assert (heat == 0).all()


def test_bad_input():
    net = RedMinusGreen()
    with pytest.raises(ValueError, match="one number an image"):
        gradcam(net.conv, red_and_green(), net)
    with pytest.raises(ValueError, match="images must be"):
        gradcam(net.conv, red_and_green()[0], net.first)
    with pytest.raises(ValueError, match="convolutional"):
        gradcam(net.head, red_and_green(), net.first)
    with pytest.raises(NumericsError, match="not finite"):
        gradcam(net.conv, red_and_green() * float("nan"), net.first)


def test_the_maps_of_an_images_views_share_one_scale():
    """Red 0.25 in the second view beside red 1 in the first: a quarter of its heat, not as much."""
    net, images = RedMinusGreen(), torch.zeros(2, 2, 3, 4, 4)
    images[0, 0, 0, 0, 0], images[0, 1, 0, 2, 1] = 1.0, 0.25
    images[1, 1, 0, 2, 1] = 0.25
    heat = gradcam(net.conv, images, net.first)
    assert heat.shape == (2, 2, 4, 4)
    assert np.argwhere(heat > 0).tolist() == [[0, 0, 0, 0], [0, 1, 2, 1], [1, 1, 2, 1]]
    np.testing.assert_allclose([heat[0, 0, 0, 0], heat[0, 1, 2, 1], heat[1, 1, 2, 1]], [1.0, 0.25, 1.0], atol=1e-6)


def test_share_of_heat_inside_a_mask_is_over_all_views():
    heat = np.zeros((2, 2, 2, 2))
    heat[0, 0], heat[0, 1] = [[3, 1], [0, 0]], [[0, 0], [0, 4]]
    mask = np.array([[[True, False], [False, False]], [[False, False], [False, True]]])
    share = share_inside(heat, mask)
    assert share[0] == 7 / 8
    assert np.isnan(share[1])
    assert share_inside(np.ones((1, 2, 2, 2)), mask)[0] == 0.25  # no preference: the mask's area


def test_overlay_is_grey_where_cold_and_coloured_where_hot():
    images = np.full((1, 1, 2, 3), 90, np.uint8)
    painted = overlay(images, np.array([[[0.0, 1.0]]]), strength=1.0)
    assert painted.dtype == np.uint8
    assert painted[0, 0, 0].tolist() == [90, 90, 90]
    assert painted[0, 0, 1].tolist() == [252, 255, 164]  # the bright end of inferno
    with pytest.raises(ValueError, match="do not fit"):
        overlay(images, np.zeros((1, 2, 2)))
