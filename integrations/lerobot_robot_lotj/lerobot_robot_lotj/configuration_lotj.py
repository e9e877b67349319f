"""Settings of lotj's policy in LeRobot: ``--policy.type=lotj --policy.run=runs/practice-...``."""

from __future__ import annotations

from dataclasses import dataclass

from lerobot.configs.policies import PreTrainedConfig


@PreTrainedConfig.register_subclass("lotj")
@dataclass
class LotjConfig(PreTrainedConfig):
    """The policy of a run of practice."""

    run: str = ""
    """Folder of the run; none: the base that comes with lotj, as it is before any practice."""
    spread: float = 1.0
    """Share of the policy's standard deviation that its actions have, see `lotj.experiments.evaluation`."""
    seed: int = 0
    """Of its actions."""
    push_to_hub: bool = False

    observation_delta_indices = action_delta_indices = reward_delta_indices = None  # one observation, one action

    def get_optimizer_preset(self) -> None:
        """None: it learns by `lotj practice`, not by `lerobot-train`."""

    def get_scheduler_preset(self) -> None: ...

    def validate_features(self) -> None:
        """ValueError unless there are pictures."""
        if not self.image_features:
            raise ValueError("policy lotj: wants pictures of the cameras, observation.images.wrist_0 and so on")
