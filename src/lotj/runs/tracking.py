"""Weights & Biases beside TensorBoard, by option: the same metrics, online or into the run folder (extra ``wandb``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lotj.errors import SettingsError

_mode: ContextVar[str] = ContextVar("tracking", default="")


def tracking() -> str:
    """``online`` or ``offline`` within `tracked`; else empty."""
    return _mode.get()


@contextmanager
def tracked(mode: str) -> Iterator[None]:
    """Sends what runs log meanwhile to Weights & Biases: ``online``, ``offline`` into the folder ``wandb`` of the run,
    or ``no``. SettingsError where the package is missing."""
    if mode != "no":
        _package()
    token = _mode.set("" if mode == "no" else mode)
    try:
        yield
    finally:
        _mode.reset(token)


def _package() -> Any:
    try:
        import wandb
    except ImportError:
        raise SettingsError(
            "wandb needs the package wandb, which is not installed: pip install 'lotj[wandb]'"
        ) from None
    return wandb


class Tracker:
    """One run there, which a resumed run goes on with.

    Args:
        folder, config: of the run here.
        mode: ``online`` or ``offline``.

    Raises:
        SettingsError: it cannot be begun, e.g. nobody is logged in.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], mode: str) -> None:
        wandb = _package()
        named = {"name": folder.name, "id": hashlib.sha256(str(folder).encode()).hexdigest()[:16], "resume": "allow"}
        quiet = wandb.Settings(silent=True, console="off")
        how = {"dir": str(folder), "config": dict(config), "mode": mode, "settings": quiet, "reinit": "create_new"}
        try:
            self._run = wandb.init(project="lotj", **named, **how)
        except wandb.errors.Error as error:
            raise SettingsError(
                f"Weights & Biases: {str(error).splitlines()[0]}; `wandb login`, or --wandb offline"
            ) from None
        self._streams: set[str] = set()

    def log(self, stream: str, step: int, values: Mapping[str, Any]) -> None:
        """The numbers of a line of metrics; each stream counts steps of its own."""
        if stream not in self._streams:
            self._streams.add(stream)
            self._run.define_metric(f"{stream}/step")
            self._run.define_metric(f"{stream}/*", step_metric=f"{stream}/step")
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        self._run.log({f"{stream}/{name}": value for name, value in {**numbers, "step": step}.items()})

    def close(self) -> None:
        """All is sent, or written."""
        self._run.finish()
