"""Random numbers that go on where a checkpoint left them, also on another kind of device."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def restore_generator(generator: torch.Generator, state: Tensor) -> None:
    """Take up the state of another generator.

    Args:
        generator: of any device; it is changed.
        state: (N,) uint8 from `torch.Generator.get_state`. That of a generator of the other kind of device (a GPU's has
            16 bytes, a CPU's some thousand) cannot be taken up as it is: it becomes the seed.
    """
    state = state.cpu()
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
    else:
        digest = hashlib.sha256(state.numpy().tobytes()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
