"""The reward model as practice uses it: images in, probabilities out, one file on disk."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lotj.errors import CheckpointError
from lotj.files import atomic_file
from lotj.nets.precision import autocast, check_finite
from lotj.rewards.classifier import RewardConfig, SuccessClassifier
from lotj.runs.run import load_tensors
from lotj.runs.settings import restore_settings

FORMAT = "lotj-reward"
VERSION = 2
BATCH = 256
"""Frames scored at once."""


class RewardModel:
    """A trained success classifier, put into evaluation mode, with what it was made with, the score from which on it
    predicts success (chosen on validation tasks), held-out figures (see `lotj.rewards.held_out`), and the `shape`
    (V, H, W, 3) of the observations ``image`` that it was trained on."""

    def __init__(
        self,
        classifier: SuccessClassifier,
        config: RewardConfig,
        threshold: float,
        report: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.classifier = classifier.to(device).eval()
        self.config, self.shape = config, classifier.shape
        self.threshold = threshold
        self.report = report or {}
        self.device = torch.device(device)

    @torch.no_grad()
    def score(self, images: np.ndarray) -> np.ndarray:
        """Predicted probability of success, (N,) float32, of (N, V, H, W, 3) uint8 images of `shape`; the same images
        give the same scores.

        Raises:
            CheckpointError: images of another shape.
            NumericsError: a score that is not finite.
        """
        if images.shape[1:] != self.shape:
            raise CheckpointError(
                f"images of shape {images.shape[1:]}: this reward model was trained on {self.shape}; use cameras of "
                "that number and size, or pretrain again"
            )
        parts = [np.zeros(0, np.float32)]
        for first in range(0, len(images), BATCH):
            part = np.ascontiguousarray(images[first : first + BATCH])  # torch takes no mirrored views
            some = self.config.front.bring({"image": part}, self.device)["image"]
            with autocast(self.device, images=len(some) * self.shape[0]):
                logits = self.classifier(some)
            parts.append(torch.sigmoid(check_finite("reward score", logits)).cpu().numpy())
        return np.concatenate(parts)

    def save(self, path: Path) -> None:
        """Write everything to one file, atomically; raises StorageError where that is impossible."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "config": asdict(self.config),
            "shape": self.shape,
            "tasks": self.classifier.bottleneck.domains,
            "threshold": self.threshold,
            "report": self.report,
            "weights": {name: value.cpu() for name, value in self.classifier.state_dict().items()},
        }
        with atomic_file(Path(path)) as file:
            torch.save(content, file)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> RewardModel:
        """Read what `save` wrote; a file that is missing, torn, foreign or of another version is a CheckpointError, one
        with other settings than this version's a SettingsError."""
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no reward model here; run lotj pretrain first")
        content = load_tensors(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(f"{path} is not a reward model: give the file that lotj pretrain wrote")
        if content["version"] != VERSION:
            found = content["version"]
            raise CheckpointError(f"{path} has version {found}, this program reads {VERSION}: pretrain again")
        config = restore_settings(RewardConfig, content["config"], str(path))
        classifier = SuccessClassifier(config, content["shape"], content["tasks"])
        try:
            classifier.load_state_dict(content["weights"])
        except RuntimeError as error:
            raise CheckpointError(f"{path} holds other networks than this program has: pretrain again") from error
        return cls(classifier, config, content["threshold"], content["report"], device)
