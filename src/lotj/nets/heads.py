"""Small fully connected heads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """A multi-layer perceptron with ReLU between its layers and none at the end.

    Args:
        inputs: size of the input.
        hidden: sizes of the hidden layers; empty for a linear map.
        outputs: size of the output.
    """
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
