"""The same work many times on a GPU: recorded once, then replayed, for Python launches small kernels slower than they
run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Calls that are carried out as usual first: they fill caches and choose algorithms, which must not happen while it is
recorded."""


class Recording:
    """A function of tensors as a CUDA graph, from the fourth call with alike arguments on.

    The function must do the same kernels whatever the tensors hold, ask nothing of them, and draw random numbers from
    one generator alone. It may read and change other tensors, which must stay in their place; gradients that it leaves
    behind are those of the last call.

    Args:
        function: gets a mapping from names to tensors, and the constants.
        generator: of its random numbers, on the GPU; they go on from call to call as without recording.
    """

    def __init__(self, function: Callable[..., Any], generator: torch.Generator) -> None:
        self._function, self._generator = function, generator
        self._like: Hashable = None  # what the calls since the last change are alike in
        self._calls = 0
        self._recorded: tuple[torch.cuda.CUDAGraph, dict[str, Tensor], Any] | None = None

    def __call__(self, tensors: Mapping[str, Tensor], *constants: Hashable) -> Any:
        """What the function returns; its tensors hold until the next call. Where the constants (all else that it
        depends on), or a tensor's shape, are others than before, it is recorded anew."""
        like = constants, tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors.items())
        if like != self._like:
            self._like, self._calls, self._recorded = like, 0, None
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._function(tensors, *constants)
        if self._recorded is None:
            held, graph = {name: tensor.clone() for name, tensor in tensors.items()}, torch.cuda.CUDAGraph()
            graph.register_generator_state(self._generator)
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                result = self._function(held, *constants)
            self._recorded = graph, held, result
        graph, held, result = self._recorded
        for name, tensor in tensors.items():
            held[name].copy_(tensor)
        graph.replay()
        return result
