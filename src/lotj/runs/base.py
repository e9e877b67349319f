"""The base: a finished pretraining that comes with lotj, a run folder like any other, without what only more training
needs (optimisers' moments, data, logs). ``scripts/make_base.py`` makes it; its MODEL_CARD.md says of what."""

from __future__ import annotations

from pathlib import Path

import lotj
from lotj.errors import SettingsError
from lotj.runs.run import Run

BASE = Path(lotj.__file__).resolve().parent / "base"


def base_run() -> Run:
    """The base; SettingsError if this lotj has come without, or it is damaged."""
    if not BASE.is_dir():
        raise SettingsError(f"{BASE}: this lotj has come without its base; install it again, or name a --pretrained")
    return Run.open(BASE)
