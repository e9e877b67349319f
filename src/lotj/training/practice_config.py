"""Settings of practice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lotj.errors import SettingsError
from lotj.experience import KINDS
from lotj.training.practice_features import FeatureConfig


@dataclass(frozen=True)
class PracticeConfig:
    """Settings of practice. The defaults are the laptop's, measured on unseen connectors; `paper` values are named."""

    trials: int = 200
    """Number of trials (the paper's budget is 200, about 50 minutes on its robot)."""
    max_steps: int = 20
    """Steps after which a trial is truncated."""
    reward_threshold: float | None = None
    """Score from which a frame counts as success, at least; None takes the reward model's, chosen on validation
    connectors, or the lower `calibration_least` where it is raised anyway."""
    hold_frames: int = 2
    """Number of frames in a row that must count as success before the trial ends with reward 1 (paper: 1). A plug some
    millimetres short of its seat already looks like a success: the step to the second frame brings it home."""
    confirm: Literal["look", "touch"] = "touch"
    """What makes a predicted success one: `look`, the reward model's word (paper); `touch`, besides, that the plug then
    gives way neither to a press nor to pushes sideways, as the camera shows it. If it does, the trial goes on."""
    keep_press: bool = True
    """The press that a touch begins with is the trial's last step and gets its reward: the policy learns to press home
    what looks seated. Otherwise the touch seats plugs that the policy alone leaves a millimetre short."""
    withdrawals: int = 10
    """Successes after which the plug is taken out in a way to learn from: seen backwards, an insertion (paper: 0)."""
    ways: int = 4
    """Ways out of the socket that are taken each time: up, then so often sideways and, but for the last time, back."""
    one_place: bool = True
    """Tell the pictures of predicted successes apart by place, and take for a success only what ends in the likeliest:
    the socket stands where it stood. Not for a bench on which it is moved between trials (paper: no)."""
    calibrate: bool = True
    """Raise that threshold to what this part's own frames score: what one domain's successes score, another's plugs
    score a few millimetres short of the seat. All earlier trials are judged anew by it. No label is needed."""
    calibration_least: float = 0.1
    """Lowest threshold where it is calibrated. Lower than one that must do for all parts: it is the raising that keeps
    false positives away, and on some parts even a plain success scores little."""
    calibration_margin: float | None = None
    """How far below the trials' best scores the raised threshold lies [logits]; None takes 2.5 with touch, which finds
    out most of what such a margin lets through, and 1 without."""
    calibration_quantile: float = 0.95
    """Which of the trials' best scores is meant, as a share of the trials."""
    online_fraction: float = 0.75
    """Share of online transitions in a batch (paper: 0.25)."""
    batch_size: int = 256
    """Transitions in a batch."""
    updates_per_step: int = 2
    """Gradient updates for each step of the robot. More narrow the policy before it has seen enough (lab notes)."""
    update_when: Literal["step", "trial"] = "trial"
    """`trial`: all updates at its end, so that the robot need not stand still in contact; `step`: after each step."""
    advantage_scale: float | None = None
    """Multiplies the advantage in the exponent of equation 3; None takes the agent's."""
    q_gradient_weight: float = 100.0
    """Weight of -Q(s, mean action) in the policy's loss (paper: 0). Imitation says nothing of where no success has come
    by, and there the policy forgets what it knew; Q has seen the failures, too (lab notes)."""
    q_gradient_successes: int = 10
    """Predicted successes from which that weight is full; until then it grows with them, from 0. A Q that has not seen
    this part succeed expects too much of the unknown, and can lead the policy away for good (lab notes)."""
    imitate: Literal["all", "successes"] = "successes"
    """Which of the part's own trials the policy learns from: all (paper), or those that ended in predicted success, for
    where little succeeds it unlearns the prior data's way down by imitating what failed (lab notes). Values are learnt
    from all. Prior data are always imitated."""
    warmup_trials: int = 3
    """Finished trials in the buffer before updates start."""
    sample_policy: bool = True
    """Explore with the policy's own spread; otherwise its mean action is the one that noise is added to."""
    exploration_noise: float = 0.1
    """Standard deviation of the extra Gaussian noise on actions in the first trial [share of the largest action]."""
    exploration_noise_end: float = 0.0
    """The same in the last trial; in between it falls linearly."""
    bold_failures: int = 3
    """Trials in a row without predicted success, lost ones included, from which exploration is bold; before it is so
    in part (paper: 0, never). A policy cloned from other parts does too little where it does not know (lab notes)."""
    bold_successes: int = 10
    """Predicted successes, without those denied since, from which it is never bold; before, the less so the more."""
    bold_sideways: float = 3.0
    """Bold, the policy's mean action in x and y is multiplied by this."""
    bold_press: float = 0.3
    """Bold, this much is added downwards [share of the largest action]: what slides over its socket must drop in."""
    bold_noise: float = 0.2
    """Bold, this is added to that noise's standard deviation [share of the largest action], in any trial."""
    freeze_convolutions: bool = True
    """Learn only behind the convolutions, from cached features (paper); otherwise from images, much slower."""
    offline_kinds: tuple[str, ...] = ("expert", "press", "recover")
    """Kinds of prior episodes to learn from; the actions of the others (half in, withdrawn) are no example."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    """Which offline transitions are kept as features."""
    dislodged: Literal["discard", "failure"] = "failure"
    """What is learnt of a trial in which a step of the policy has dislodged the plug: nothing, or that nothing follows
    that step. The robot says so itself, see `Robot.move`."""
    max_dislodged: int = 10
    """Trials in a row that may be lost to a dislodged plug before practice stops."""
    threads: int = 2
    """Processor threads of the learner."""

    def __post_init__(self) -> None:
        whole = ("trials", "max_steps", "hold_frames", "batch_size", "warmup_trials", "max_dislodged", "threads")
        for name in (*whole, "q_gradient_successes", "bold_successes", "ways"):
            if getattr(self, name) < 1:
                raise SettingsError(f"practice {name} {getattr(self, name)}: must be at least 1")
        if self.updates_per_step < 0:
            raise SettingsError(f"practice updates_per_step {self.updates_per_step}: must be 0 (no learning) or more")
        if self.withdrawals < 0:
            raise SettingsError(f"practice withdrawals {self.withdrawals}: must be 0 (none) or more")
        if not 0 <= self.online_fraction <= 1:
            raise SettingsError(f"practice online_fraction {self.online_fraction}: must be in [0, 1]")
        for name in ("reward_threshold", "calibration_least"):
            threshold = getattr(self, name)
            if threshold is not None and not 0 < threshold < 1:
                raise SettingsError(f"practice {name} {threshold}: must be between 0 and 1")
        unknown = set(self.offline_kinds) - set(KINDS)
        if unknown or not self.offline_kinds:
            raise SettingsError(f"practice offline_kinds {self.offline_kinds}: must be some of {', '.join(KINDS)}")
        if not 0 < self.calibration_quantile <= 1 or (self.calibration_margin or 0.0) < 0:
            raise SettingsError(
                f"practice calibration_quantile {self.calibration_quantile}, calibration_margin "
                f"{self.calibration_margin}: must be above 0 and at most 1, and not negative"
            )
        if self.advantage_scale is not None and not self.advantage_scale > 0:
            raise SettingsError(f"practice advantage_scale {self.advantage_scale}: must be above 0")
        if self.q_gradient_weight < 0:
            raise SettingsError(f"practice q_gradient_weight {self.q_gradient_weight}: must not be negative")
        for name in ("exploration_noise", "exploration_noise_end", "bold_failures", "bold_press", "bold_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"practice {name} {getattr(self, name)}: must not be negative, nor infinite")
        if not 1 <= self.bold_sideways < math.inf:
            raise SettingsError(f"practice bold_sideways {self.bold_sideways}: must be at least 1 (no more than usual)")
