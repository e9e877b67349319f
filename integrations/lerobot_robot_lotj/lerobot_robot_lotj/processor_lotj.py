"""What comes before and after lotj's policy in LeRobot: a batch, and nothing normalised, for the policy does that."""

from __future__ import annotations

from typing import Any

from lerobot.processor import AddBatchDimensionProcessorStep, DeviceProcessorStep, PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action

from lerobot_robot_lotj.configuration_lotj import LotjConfig


def make_lotj_pre_post_processors(config: LotjConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """Pipelines of observations and of actions."""
    before = [AddBatchDimensionProcessorStep(), DeviceProcessorStep(device=config.device or "cpu")]
    action = {"to_transition": policy_action_to_transition, "to_output": transition_to_policy_action}
    return (
        PolicyProcessorPipeline(steps=before, name="policy_preprocessor"),
        PolicyProcessorPipeline(steps=[DeviceProcessorStep(device="cpu")], name="policy_postprocessor", **action),
    )
