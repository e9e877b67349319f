"""Offline features for practice: the frozen convolutions see a subset of the prior data once, not at every update."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import track

from lotj.data.dataset import Dataset
from lotj.data.replay import OfflineFeatures, choose_transitions
from lotj.errors import SettingsError
from lotj.files import atomic_file, storage_errors

CACHE_VERSION = 1
PROBE_FRAMES = 16
CHUNK = 256
"""Frames read and encoded at once."""
FEATURE = "feature/"
"""Prefix of the arrays in a cache file that are features, by name."""


@dataclass(frozen=True)
class FeatureConfig:
    """Which offline transitions practice keeps, as features of the frozen convolutions."""

    transitions: int = 10_000
    """How many, balanced over domains. About 7 kB of memory each at laptop size."""
    views: int = 2
    """Augmented views of each frame."""
    success_share: float = 0.25
    """Share of transitions that lead to success, as far as a domain has them (in the data it is about 0.15)."""
    cache: Path | None = Path(".cache/features")
    """Folder where features are kept for the next practice with the same agent and data; None keeps nothing."""

    def __post_init__(self) -> None:
        if self.transitions < 1 or self.views < 1:
            raise SettingsError(f"practice features: {self.transitions} transitions, {self.views} views; at least 1")
        if not 0 <= self.success_share <= 1:
            raise SettingsError(f"practice features success_share {self.success_share}: must be in [0, 1]")


class FeatureEncoder(Protocol):
    """What is asked of an agent here."""

    device: torch.device

    def encode(
        self, images: Any, names: tuple[str, ...] | None = None, augment: bool = False, generator: Any = None
    ) -> dict[str, torch.Tensor]:
        """(B, H, W, 3) uint8 images to name -> (B, ...) float16."""
        ...


def prepare_features(dataset: Dataset, agent: FeatureEncoder, config: FeatureConfig, live: bool) -> OfflineFeatures:
    """Augmented features of a subset of the data set's transitions, from the cache if they are there.

    The subset and the views depend on the data, the agent's convolutions and the settings only, not on a run's seed,
    so that every practice with this agent and data finds the same file.

    Args:
        dataset: prior data of other connectors.
        agent: its convolutions are frozen.
        config: settings.
        live: show progress.

    Raises:
        CheckpointError: the agent was made for another image size.
        StorageError: the cache cannot be written.
    """
    key = _key(dataset, agent, config)
    path = None if config.cache is None else config.cache / f"{key}.npz"
    features = None if path is None else _read(path)
    if features is None:
        features = _compute(dataset, agent, config, int(key[:8], 16), live)
        if path is not None:
            _write(path, features)
    return features


def _key(dataset: Dataset, agent: FeatureEncoder, config: FeatureConfig) -> str:
    """Names the features by all that they depend on; the agent by what its convolutions make of some frames."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {config.transitions} {config.views} {config.success_share}".encode())
    digest.update("\n".join(domain.name for domain in dataset.domains).encode())
    digest.update(dataset.episodes.tobytes())
    probe = dataset.images(np.linspace(0, dataset.n_frames - 1, PROBE_FRAMES).astype(np.int64))
    for augment in (False, True):
        generator = torch.Generator(agent.device).manual_seed(0)
        for name, values in sorted(agent.encode(probe, augment=augment, generator=generator).items()):
            digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()[:32]


def _compute(dataset: Dataset, agent: FeatureEncoder, config: FeatureConfig, seed: int, live: bool) -> OfflineFeatures:
    held = dataset.transitions()
    rng = np.random.default_rng(seed)
    chosen = choose_transitions(held.domain, held.reward, config.transitions, config.success_share, rng)
    before = held.frame[chosen]
    frames = np.union1d(before, before + 1)
    generator = torch.Generator(agent.device).manual_seed(seed)
    features: dict[str, np.ndarray] = {}
    for start in track(range(0, len(frames), CHUNK), "Encoding prior data", disable=not live, transient=True):
        images = dataset.images(frames[start : start + CHUNK])
        for view in range(config.views):
            for name, values in agent.encode(images, augment=True, generator=generator).items():
                if name not in features:
                    features[name] = np.empty((len(frames), config.views, *values.shape[1:]), np.float16)
                features[name][start : start + CHUNK, view] = values.numpy()
    return OfflineFeatures(
        features=features,
        frame=np.searchsorted(frames, before),
        next_frame=np.searchsorted(frames, before + 1),
        action=held.action[chosen],
        reward=held.reward[chosen],
        terminated=held.terminated[chosen],
        truncated=held.truncated[chosen],
        domain=held.domain[chosen],
    )


def _columns() -> list[str]:
    return [field.name for field in dataclasses.fields(OfflineFeatures) if field.name != "features"]


def _write(path: Path, features: OfflineFeatures) -> None:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {FEATURE + name: values for name, values in features.features.items()}
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **arrays, **{name: getattr(features, name) for name in _columns()})


def _read(path: Path) -> OfflineFeatures | None:
    """The cached features; None if there are none, or the file is damaged (they are then made again)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            features = {name.removeprefix(FEATURE): file[name] for name in file.files if name.startswith(FEATURE)}
            return OfflineFeatures(features=features, **{name: file[name] for name in _columns()})
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
