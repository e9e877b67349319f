"""Which prior data agents are pretrained on, and in what shares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from lotj.data.replay import DERIVED, Contexts, Relabel, Replay, Source
from lotj.data.store import Store
from lotj.errors import DataError
from lotj.experience import Batch
from lotj.training.pretrain_config import PretrainConfig

ASIDE_M = 0.002
"""Further from the socket axis than this, the expert moves sideways [m]."""


def sources(
    data: Store, config: PretrainConfig, relabel: Sequence[Relabel] = (), share_of_batch: float = 1.0
) -> list[Source]:
    """The transitions of a data set in the shares that the settings say: those that the policy imitates, divided by
    whether the plug is aside, and the others; all together that share of a batch. `relabel` is done to all of
    them.

    Raises:
        DataError: no transition is of a kind that the policy imitates.
    """
    starts = data.starts()
    imitate = data.of_frames(data.of_kind(data.kinds if config.policy_kinds is None else config.policy_kinds))
    if not imitate[starts].any():
        raise DataError(
            f"the data hold no episode of kind {', '.join(config.policy_kinds or ())}: collect some, or set "
            "policy_kinds to kinds that they hold"
        )
    pools: list[tuple[np.ndarray, float]] = []
    for rows, share in _parts(starts, imitate, config.policy_share, 1.0, config.batch):
        apart = config.aside_share if imitate[rows].all() and "position" in data.schema.truth else None
        aside = np.linalg.norm(data.truth("position")[:, :2], axis=1) > ASIDE_M if apart is not None else imitate
        pools += _parts(rows, aside, apart, share, config.batch)
    return [Source(data, share_of_batch * share, rows, {"imitate": imitate}, relabel=relabel) for rows, share in pools]


def batches(
    data: Store,
    config: PretrainConfig,
    seed: int,
    needs: Collection[str],
    observation: Collection[str],
    relabel: Sequence[Relabel] = (),
    discount: float = 1.0,
    ahead: int = 0,
) -> Callable[[int], Batch]:
    """Number of an update -> its batch, drawn from (seed, number), so that it is the same in a resumed run.

    Columns that the agent `needs` and the data do not have are left out; `observation` names what it observes, and
    `discount` and `ahead` are its own.
    """
    truth = set(needs) & set(data.schema.truth)
    columns = (set(needs) & set(data.schema.notes)) | truth | (({"imitate"} | DERIVED) & set(needs))
    vectors = sorted(name for name in observation if len(data.schema.observation[name].shape) == 1)
    contexts = Contexts.of(data, vectors) if "context" in needs else None
    made = sources(data, config, relabel), config.batch, sorted(columns), truth, observation, discount, contexts
    replay = Replay(*made, ahead)
    return lambda number: replay.sample(np.random.default_rng([seed, number]))


def _parts(
    rows: np.ndarray, chosen: np.ndarray, share: float | None, of: float, batch: int
) -> list[tuple[np.ndarray, float]]:
    """Divide a share `of` a batch between the rows that are `chosen` (by frame), which get `share` of it, and the
    others, in whole rows; undivided where `share` is None or one part is empty."""
    first, second = rows[chosen[rows]], rows[~chosen[rows]]
    if share is None or not len(first) or not len(second):
        return [(rows, of)]
    of_first = max(1, round(share * of * batch)) / batch
    return [(first, of_first), (second, of - of_first)]
