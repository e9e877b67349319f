"""Presets: every number of a whole job, composed once. A variant is `dataclasses.replace` of one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lotj.agents.iql import IQLConfig
from lotj.agents.localizer import LocalizerConfig
from lotj.errors import find
from lotj.nets.bottleneck import BottleneckConfig
from lotj.nets.encoder import EncoderConfig
from lotj.nets.front import Pixels
from lotj.rewards.classifier import RewardConfig
from lotj.training.collect import TaskCollection
from lotj.training.collect_insertion import CollectConfig
from lotj.training.features import FeatureConfig
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig, TaskPracticeConfig
from lotj.training.pretrain_config import PretrainConfig


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pretraining; what other agents than IQL have in common with it is taken from there."""

    reward: RewardConfig = RewardConfig()
    front: Pixels = Pixels()
    iql: IQLConfig = IQLConfig()
    pretrain: PretrainConfig = PretrainConfig()
    localizer: LocalizerConfig = LocalizerConfig()
    features: FeatureConfig = FeatureConfig()

    @property
    def pretraining(self) -> PretrainSettings:
        """These settings alone, of a preset that has more."""
        return PretrainSettings(**{part.name: getattr(self, part.name) for part in fields(PretrainSettings)})


@dataclass(frozen=True, kw_only=True)
class Preset(PretrainSettings):
    """One size of the whole job.

    Attributes:
        name: as on the command line.
        collect: collection from the training connectors.
        collect_validation: collection from the validation connectors, on which thresholds are chosen.
        training_connectors: how many of the training connectors to use; None for all.
        practice: settings of practice.
        evaluation_trials: trials per evaluation.
        tasks: collection from other tasks instead of connectors.
        agent: settings of the agent that learns, by name, where they are not those of `iql`.
    """

    name: str
    collect: CollectConfig = CollectConfig(
        robots_per_connector=2, domains_per_connector=4, expert_episodes=9, near_miss_share=0.5, recover_episodes=4
    )
    collect_validation: CollectConfig = CollectConfig(
        robots_per_connector=2, domains_per_connector=2, expert_episodes=12, recover_episodes=4
    )
    training_connectors: int | None = None
    practice: PracticeConfig = SelfJudgedConfig()
    evaluation_trials: int = 20
    tasks: TaskCollection | None = None
    agent: Mapping[str, Any] = field(default_factory=dict)


PAPER_PRACTICE: dict[str, Any] = {
    "online_fraction": 0.25,
    "verify": "score",
    "withdrawals": 0,
    "boost": False,
    "imitate": "all",
    "q_gradient_weight": 0.0,
}
"""Practice as in the paper (LOTJ section V-C), where our defaults are others."""


def as_in_paper(preset: Preset) -> Preset:
    """The preset whose agent is pretrained by the paper's losses alone, on its data as they are."""
    return replace(
        preset, iql=replace(preset.iql, position_weight=0.0), pretrain=replace(preset.pretrain, aside_share=None)
    )


_DEMO = Preset(
    name="demo",
    collect=CollectConfig(domains_per_connector=2, expert_episodes=7, recover_episodes=3),
    collect_validation=CollectConfig(expert_episodes=10, recover_episodes=3),
    reward=RewardConfig(steps=800),
    pretrain=PretrainConfig(steps=900),
    localizer=LocalizerConfig(steps=800),
    practice=SelfJudgedConfig(trials=100),
)
"""The whole job within a quarter of an hour on two cores."""

_SMALL_ENCODER = EncoderConfig(width=16)
_SMALL = Preset(
    name="small",
    reward=RewardConfig(encoder=_SMALL_ENCODER, steps=1500, batch=64),
    front=Pixels(_SMALL_ENCODER),
    pretrain=PretrainConfig(steps=3000, batch=64),
    practice=SelfJudgedConfig(trials=100),
)
"""On the laptop's data, for comparisons of many pretrainings: one takes some eight minutes of a core."""

_RESNET18 = EncoderConfig(width=64, stages=4, norm="batch")

_PAPER = as_in_paper(
    Preset(
        name="paper",
        training_connectors=50,
        collect=CollectConfig(image_size=96, robots_per_connector=2, expert_episodes=700, near_miss_share=0.0),
        collect_validation=CollectConfig(image_size=96, robots_per_connector=2, expert_episodes=40),
        reward=RewardConfig(encoder=_RESNET18, steps=20_000, batch=256, lr=3e-4),
        front=Pixels.paper(),
        iql=IQLConfig.paper(),
        pretrain=PretrainConfig(steps=100_000, batch=256),
        localizer=LocalizerConfig(front=Pixels(_RESNET18, 0), steps=20_000, batch=256, lr=3e-4),
        practice=SelfJudgedConfig(**PAPER_PRACTICE),
    )
)
"""The paper's protocol where it is stated: 50 connectors on 2 robots, 70,000 episodes, no near misses, ResNet-18 at
96 px, plain IQL with DAIB, a quarter of online data. For a machine with a GPU."""

_STATE = Preset(
    name="state",
    tasks=TaskCollection(("fetch/reach",)),
    iql=IQLConfig(
        bottleneck=BottleneckConfig(variant="none"),
        hidden=(256, 256),
        critic_projection=0,
        critic_hidden=256,
        discount=0.95,
        ema=0.05,
        position_weight=0.0,
    ),
    pretrain=PretrainConfig(steps=3000, batch=256, policy_kinds=None, policy_share=None, aside_share=None),
    practice=TaskPracticeConfig(
        trials=400,
        updates_per_step=1,
        warmup_trials=10,
        exploration_noise=0.2,
        imitate="all",
        online_fraction=0.5,
        save_every=20,
        threads=1,
    ),
)
"""Tasks with states and goals instead of images (Fetch, mazes), from nothing or from their experts' episodes."""

PRESETS = {preset.name: preset for preset in (_DEMO, _SMALL, Preset(name="laptop"), _PAPER, _STATE)}


def find_preset(name: str) -> Preset:
    """A preset by name; SettingsError if there is none of it."""
    return find("preset", name, PRESETS)
