"""State-IQL: implicit Q-learning on where the plug is, instead of on images (LOTJ section VI-A)."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import torch

from lotj.agents.iql import IQL
from lotj.agents.iql_config import IQLConfig
from lotj.agents.localizer import Localizer
from lotj.agents.networks import POSITION_SCALE, ImageEncoder, PositionEncoder


class StateIQL(IQL):
    """The same learner behind a localisation model, which is given and stays as it is.

    Offline it learns from the true positions, handed over as features (`features_of`); in practice its features are the
    positions that the model sees in the images.
    """

    @classmethod
    def of(cls, localizer: Localizer, config: IQLConfig, domains: int, seed: int = 0) -> Self:
        """A new agent behind a trained localisation model.

        Args:
            localizer: gives the encoder's weights and the device.
            config: settings; of the encoder's and the bottleneck's the model's and none (variant ``erm``) are taken.
            domains: number of domains of the prior data.
            seed: of the weights and of all random numbers drawn in updates.
        """
        bottleneck = dataclasses.replace(config.bottleneck, variant="erm")
        config = dataclasses.replace(
            config, encoder=localizer.config.encoder, feature_channels=0, bottleneck=bottleneck, position_weight=0.0
        )
        agent = cls(config, domains, seed, localizer.device)
        for module in (*agent._inputs.encoders.values(), agent.target.encoder):
            module.load_state_dict(localizer.network.state_dict())
        agent.freeze_convolutions()
        return agent

    def features_of(self, position: np.ndarray) -> dict[str, torch.Tensor]:
        """What `encode` would give for images in which the model sees these positions exactly.

        Args:
            position: (B, 3) of the plug in the socket frame [m].
        """
        features = torch.from_numpy(position.astype(np.float32) / POSITION_SCALE)
        return dict.fromkeys(self._inputs.encoders, features)

    def _encoder(self) -> ImageEncoder:
        return PositionEncoder(self.config.encoder)
