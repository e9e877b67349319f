"""Weights & Biases beside TensorBoard, by option: the same metrics, online or into the run folder (extra ``wandb``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lotj.errors import SettingsError
from lotj.extras import library

TRACKING: ContextVar[str] = ContextVar("tracking", default="no")
"""``online`` or ``offline`` within `tracked`."""


@contextmanager
def tracked(mode: str) -> Iterator[None]:
    """Sends what runs log meanwhile to Weights & Biases: ``online``, ``offline`` into the folder ``wandb`` of the run,
    or ``no``. SettingsError where the package is missing."""
    if mode != "no":
        library("wandb", ", or leave it out")
    token = TRACKING.set(mode)
    try:
        yield
    finally:
        TRACKING.reset(token)


class Tracker:
    """One run there, which a resumed run goes on with, of the run here in `folder` and its settings; SettingsError if
    it cannot be begun, e.g. nobody is logged in."""

    def __init__(self, folder: Path, config: Mapping[str, Any], mode: str) -> None:
        wandb, number = library("wandb", ", or leave it out"), hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        how = {"settings": wandb.Settings(silent=True, console="off"), "reinit": "create_new", "resume": "allow"}
        how |= {"name": folder.name, "id": number, "dir": str(folder), "config": dict(config), "mode": mode}
        try:
            self._run = wandb.init(project="lotj", **how)
        except wandb.errors.Error as error:
            why = str(error).splitlines()[0]
            raise SettingsError(f"Weights & Biases: {why}; `wandb login`, or --wandb offline") from None

    def log(self, stream: str, step: int, values: Mapping[str, Any]) -> None:
        """The numbers of a line of metrics; each stream counts steps of its own."""
        self._run.define_metric(f"{stream}/*", step_metric=f"{stream}/step")
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        self._run.log({f"{stream}/{name}": value for name, value in {**numbers, "step": step}.items()})

    def close(self) -> None:
        """All is sent, or written."""
        self._run.finish()
