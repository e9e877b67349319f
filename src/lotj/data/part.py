"""Some episodes of another store, as a store of their own."""

from __future__ import annotations

import numpy as np

from lotj.data.store import Store


class PartStore(Store):
    """The `chosen` (E,) bool episodes of `whole`, of the same tasks; nothing is copied but what is asked for."""

    def __init__(self, whole: Store, chosen: np.ndarray) -> None:
        self._whole, self._frames = whole, np.flatnonzero(whole.of_frames(chosen))
        self.schema, self.tasks, self.kinds = whole.schema, whole.tasks, whole.kinds
        self.episodes = whole.episodes[chosen]
        lengths = self.episodes["n_frames"].astype(np.int64)
        self.episodes["first_frame"] = np.cumsum(lengths) - lengths

    def _records(self, file: str) -> np.ndarray:
        return self._whole._records(file)[self._frames]

    def _gather(self, name: str, frames: np.ndarray) -> np.ndarray:
        return self._whole.observe(self._frames[frames], [name])[name]
