"""A policy that others have trained: a network of tanh layers as plain arrays, for `scripts/convert_dapg.py`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lotj.controllers import Memoryless
from lotj.errors import DataError


class TanhPolicy(Memoryless):
    """The mean action of a network, from "state".

    Args:
        path: .npz of weights ``w0`` (H, S), ``w1``, ... and biases ``b0`` (H,), ...; ``in_shift``, ``in_scale`` (S,),
            ``out_shift``, ``out_scale`` (A,).

    Raises:
        DataError: it is no such file.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: np.asarray(values, float) for name, values in file.items()}
            self._in = arrays["in_shift"], arrays["in_scale"] + 1e-8
            self._out = arrays["out_shift"], arrays["out_scale"]
            self._layers = [(arrays[f"w{k}"], arrays[f"b{k}"]) for k in range(sum(name[0] == "w" for name in arrays))]
            self({"state": np.zeros_like(arrays["in_shift"])}, {})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a policy ({error}): make it with scripts/convert_dapg.py") from None

    def __call__(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> np.ndarray:
        """(A,) action in [-1, 1]."""
        x = (observation["state"] - self._in[0]) / self._in[1]
        for number, (weight, bias) in enumerate(self._layers):
            x = weight @ (np.tanh(x) if number else x) + bias
        return np.clip(x * self._out[1] + self._out[0], -1.0, 1.0)
