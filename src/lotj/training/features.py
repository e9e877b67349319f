"""Prior data for practice, as features: at the end of a pretraining the encoders, frozen from then on, see a subset of
it once. Practice reads what they made and needs no data set."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Protocol, Self

import numpy as np
from rich.progress import track

from lotj.data.layout import Schema
from lotj.data.store import EPISODE, DiskStore, Store
from lotj.errors import CheckpointError, DataError
from lotj.experience import Observation, Task
from lotj.files import atomic_file
from lotj.nets.front import FEATURE
from lotj.ranges import COUNT, SHARE, Checked
from lotj.spaces import Spec
from lotj.training.pretrain_config import PretrainConfig

CHUNK = 256
"""Transitions encoded at once."""

SCALE = "scale/"
"""In a file: before the name of features, (2, D) float32, the value of byte 0 and the step from byte to byte."""


@dataclass(frozen=True)
class FeatureConfig(Checked):
    """Which transitions of the prior data are kept for practice, as features of the frozen encoders."""

    transitions: Annotated[int, COUNT] = 10_000
    """How many, balanced over tasks. About 2 kB each on disk, and 4 kB in memory, at laptop size."""
    success_share: Annotated[float, SHARE] = 0.25
    """Share of transitions that lead to success, as far as a task has them (in the data it is about 0.15)."""
    kinds: tuple[str, ...] = ("expert", "press", "recover")
    """Kinds of episodes that they are of; values are learnt from all of these."""


class Encoder(Protocol):
    """What is asked of an agent here."""

    spec: Spec  # what it was made to observe

    def encode(
        self, observation: Observation, augment: bool = False, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        """``feature/<role>`` -> (B, D) float16 of a batch of observations."""
        ...


def prepare_features(
    data: DiskStore,
    agent: Encoder,
    config: FeatureConfig,
    live: bool,
    policy_kinds: Sequence[str] | None = PretrainConfig.policy_kinds,
) -> FeatureStore:
    """Features of a subset of a data set's transitions, each augmented once: a store of episodes of one step, of kind
    ``imitated`` or ``other``. The subset and the views depend on the data and the settings only, not on a run's seed.

    Args:
        data: prior data of other tasks.
        agent: its encoders are frozen.
        config: settings.
        live: show progress.
        policy_kinds: of episodes that the policy imitates, None for all: those of its pretraining.

    Raises:
        DataError: the data hold no step of an episode of these kinds.
    """
    imitate = tuple(data.kinds if policy_kinds is None else policy_kinds)
    rng = np.random.default_rng(0)  # of no run, and not of the last bits of what an encoder makes
    starts, task, reward = data.starts(), data.frame_task, data.column("reward")
    starts = starts[data.of_frames(data.of_kind(config.kinds))[starts]]
    if not len(starts):
        raise DataError(f"no step to learn from in episodes of kind {', '.join(config.kinds)}: choose other kinds")
    chosen = starts[_choose(task[starts], reward[starts], config.transitions, config.success_share, rng)]
    features: dict[str, list[np.ndarray]] = {}
    for start in track(range(0, len(chosen), CHUNK), "Encoding prior data", disable=not live, transient=True):
        frame = chosen[start : start + CHUNK]
        seen = agent.encode(data.observe(np.concatenate([frame, frame + 1])), True, rng)
        for name, values in seen.items():
            features.setdefault(name, []).append(np.stack(np.split(values, 2), axis=1))
    columns = {name: np.concatenate(parts) for name, parts in features.items()} | {
        "action": data.column("action")[chosen],
        "reward": reward[chosen],
        "terminated": data.terminated()[chosen],
        "task": task[chosen],
        "imitate": data.of_frames(data.of_kind(imitate))[chosen],
    }
    return FeatureStore(columns, data.tasks)


class FeatureStore(Store):
    """Transitions that lie in columns, each an episode of one step of kind ``imitated`` or ``other``.

    Args:
        columns: ``action`` (M, A), ``reward``, ``terminated``, ``task``, ``imitate`` (M,), and features (M, 2, D) of
            the frames before and after each step.
        tasks: those that ``task`` numbers.
    """

    whole = False

    def __init__(self, columns: Mapping[str, np.ndarray], tasks: tuple[Task, ...]) -> None:
        count, axes = columns["action"].shape
        self.tasks, self.kinds, self._given = tasks, ("imitated", "other"), columns
        frames = {name: values for name, values in columns.items() if name.startswith(FEATURE)}
        self.schema = Schema(axes, {name: np.dtype((v.dtype, v.shape[2:])) for name, v in frames.items()})
        for name in ("action", "reward"):  # NaN on the frame after the step, as in every store
            values = columns[name].astype(np.float32)
            frames[name] = np.stack([values, np.full_like(values, np.nan)], 1)
        self._columns = {name: values.reshape(2 * count, *values.shape[2:]) for name, values in frames.items()}
        self.episodes = np.zeros(count, EPISODE)
        self.episodes["task"], self.episodes["kind"] = columns["task"], ~columns["imitate"]
        self.episodes["seed"], self.episodes["first_frame"] = np.arange(count), 2 * np.arange(count)
        self.episodes["n_frames"] = 2
        self.episodes["terminated"], self.episodes["truncated"] = columns["terminated"], ~columns["terminated"]

    def column(self, name: str) -> np.ndarray:
        return self._columns[name]

    def save(self, path: Path) -> None:
        """Write everything to one file, atomically: features as bytes, each entry on a scale of its own from the least
        to the largest value that it has (the error is a hundredth of its standard deviation); StorageError."""
        arrays = {"tasks": np.array(json.dumps([asdict(task) for task in self.tasks]))}
        for name, values in self._given.items():
            if name.startswith(FEATURE):
                low, high = (edge(values, axis=(0, 1)).astype(np.float32) for edge in (np.min, np.max))
                step = (high - low) / 255
                values = np.rint((values - low) / np.where(step > 0, step, 1)).astype(np.uint8)
                arrays[SCALE + name] = np.stack([low, step])
            arrays[name] = values
        with atomic_file(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; CheckpointError for a file that is damaged, or no such file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            tasks = tuple(Task(**task) for task in json.loads(columns.pop("tasks").item()))
            for name in [name for name in columns if name.startswith(FEATURE)]:
                low, step = columns.pop(SCALE + name)
                columns[name] = (columns[name] * step + low).astype(np.float16)
            return cls(columns, tasks)
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(f"{path}: torn, or no features of prior data") from error


def imitated(store: Store) -> np.ndarray:
    """(F,) bool, which frames of such a store the policy imitates."""
    return store.of_frames(store.of_kind(["imitated"]))


def _choose(
    task: np.ndarray, reward: np.ndarray, count: int, success_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Sorted indices of at most `count` of M transitions, of (M,) tasks and rewards, above 0 for success: the same
    number of each task (one with too few gives all it has), with the set share of successes as far as it has them."""
    chosen = []
    tasks = np.unique(task)
    quotas = np.full(len(tasks), count // len(tasks))
    quotas[rng.permutation(len(tasks))[: count % len(tasks)]] += 1
    for name, quota in zip(tasks, quotas, strict=True):
        mine = task == name
        success = rng.permutation(np.flatnonzero(mine & (reward > 0)))
        other = rng.permutation(np.flatnonzero(mine & (reward <= 0)))
        successes = min(len(success), round(quota * success_share))
        others = min(len(other), quota - successes)
        successes = min(len(success), quota - others)
        chosen += [success[:successes], other[:others]]
    return np.sort(np.concatenate(chosen))
