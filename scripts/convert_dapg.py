"""Make plain arrays of the policies that the authors of DAPG have published as pickles, and run nothing of them.

    python scripts/convert_dapg.py hand_dapg/dapg/policies/door-v0.pickle experts/door.npz

The pickles are in https://github.com/aravindr93/hand_dapg (Apache-2.0; Rajeswaran et al. 2018, arXiv:1709.10087), in
dapg/policies. A pickle names functions that are called when it is read; of these those that make arrays of NumPy and
tensors of torch are let in, and torch reads the latter's bytes with `weights_only`. Whatever else it names becomes an
empty shell that holds what it is given and does nothing.
"""

from __future__ import annotations

import argparse
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import _utils


class Shell:
    """Stands for a class or function of others: takes any arguments and any state, and does nothing."""

    def __new__(cls, *arguments: Any, **named: Any) -> Shell:
        """Empty."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("torch._utils", "_rebuild_tensor_v2"): _utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # before NumPy 2, and since
    ALLOWED[_module, "_reconstruct"] = multiarray._reconstruct  # type: ignore[attr-defined]
    ALLOWED[_module, "scalar"] = multiarray.scalar  # type: ignore[attr-defined]


class Arrays(pickle.Unpickler):
    """Reads arrays and tensors, and shells of all else."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the pickle."""
        return ALLOWED.get((module, name), Shell)


def policy(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a pickled `mjrl` Gaussian policy, as `lotj.controllers.tanh_policy` reads them.

    Raises:
        SystemExit: it is no such pickle.
    """
    try:
        network = Arrays(io.BytesIO(data)).load().model
        found = {
            name: np.asarray(getattr(network, name)) for name in ("in_shift", "in_scale", "out_shift", "out_scale")
        }
        for number, layer in enumerate(network._modules["fc_layers"]._modules.values()):
            for short, long in (("w", "weight"), ("b", "bias")):
                found[f"{short}{number}"] = layer._parameters[long].detach().numpy()
    except (pickle.UnpicklingError, RuntimeError, AttributeError, KeyError, TypeError, ValueError, EOFError) as error:
        raise SystemExit(f"no policy of mjrl ({type(error).__name__}: {error})") from None
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    arrays = policy(options.pickle.read_bytes())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, **arrays)  # type: ignore[arg-type]
    print(f"{options.out}: {', '.join(f'{name} {values.shape}' for name, values in sorted(arrays.items()))}")


if __name__ == "__main__":
    main()
