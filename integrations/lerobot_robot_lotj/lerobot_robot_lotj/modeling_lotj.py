"""lotj's policy as one of LeRobot's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from lerobot_robot_lotj.configuration_lotj import LotjConfig
from lotj.experiments.practised import practised_agent
from lotj.runs import Run, base_run
from lotj.training.pretrain import load_agent


class LotjPolicy(PreTrainedPolicy):
    """Acts; it is trained by `lotj practice` alone.

    Raises:
        lotj.errors.LotjError: there is no such run, or no policy in it.
    """

    config_class = LotjConfig
    name = "lotj"

    def __init__(self, config: LotjConfig, **kwargs: Any) -> None:
        super().__init__(config)
        device = config.device or "cpu"
        run = Run.open(Path(config.run)) if config.run else base_run()
        self._agent = practised_agent(run, device) if config.run else load_agent(run, device)
        self.reset()

    @classmethod
    def from_pretrained(cls, pretrained_name_or_path: Any, *, config: Any = None, **kwargs: Any) -> LotjPolicy:
        """Of a folder that `save_pretrained` has written: it names the run, which holds the weights."""
        return cls(config or PreTrainedConfig.from_pretrained(pretrained_name_or_path))

    def _save_pretrained(self, save_directory: Path) -> None:
        self.config._save_pretrained(save_directory)

    def reset(self) -> None:
        """Begin an episode; the random numbers of its actions begin anew."""
        self._rng = np.random.default_rng(self.config.seed)

    def get_optim_params(self) -> dict[str, Any]:
        return {}

    def forward(self, batch: dict[str, Tensor], **kwargs: Any) -> tuple[Tensor, dict[str, Any] | None]:
        raise NotImplementedError("policy lotj learns by `lotj practice`; lerobot-train does not train it")

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        """(B, 3) in [-1, 1] from pictures (B, 3, H, W) in [0, 1], cameras in the order of their names."""
        names = sorted(name for name in batch if name.startswith("observation.images."))
        views = [(255.0 * batch[name]).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy() for name in names]
        action = self._agent.act({"image": np.stack(views, axis=1)}, self.config.spread, self._rng)
        return torch.from_numpy(np.asarray(action, np.float32))

    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        return self.select_action(batch)[:, None]
