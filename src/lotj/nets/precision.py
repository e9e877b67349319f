"""Which number format a device computes in, and the check that what it computes is finite."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor

from lotj.errors import NumericsError


@cache
def fast_dtype(device_type: str) -> torch.dtype | None:
    """The 16-bit format that is fast on a kind of device (``cpu``, ``cuda``); None where single precision is better.

    A CPU counts when it multiplies bf16 matrices in hardware (AMX or AVX-512 BF16); elsewhere bf16 is emulated, slowly.
    CUDA devices without bf16 get none: fp16 would need loss scaling.
    """
    if device_type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device_type == "cpu":
        has = torch.cpu.get_capabilities()
        return torch.bfloat16 if has.get("amx_bf16") or has.get("avx512_bf16") else None
    return None


FEW_IMAGES = 8
"""On a CPU so few images pass through an encoder faster in float32: bringing the weights to 16 bits for them costs more
than it saves. One image takes 2.1 ms instead of 6.6, eight take as long either way."""


def autocast(
    device: torch.device | str, enabled: bool = True, images: int | None = None
) -> AbstractContextManager[object]:
    """Context in which convolutions and matrix products run in `fast_dtype` if `enabled` (parameters stay float32);
    `images` is how many pass through the networks without gradient, where that matters."""
    kind = torch.device(device).type
    few = kind == "cpu" and images is not None and images < FEW_IMAGES
    dtype = fast_dtype(kind) if enabled and not few else None
    return nullcontext() if dtype is None else torch.autocast(kind, dtype)


def check_finite(name: str, value: Tensor) -> Tensor:
    """Pass a tensor through if every entry is finite; otherwise raise a NumericsError that names it."""
    if torch.isfinite(value.sum(dtype=torch.float32)):  # a twentieth of the time of asking every entry
        return value
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise NumericsError(
            f"{name}: {bad} of {value.numel()} values are not finite: every input and loss must be; "
            "check the data (lotj data check) or lower the learning rate, then --resume from the last checkpoint"
        )
    return value
