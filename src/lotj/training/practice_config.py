"""Settings of practice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lotj.errors import SettingsError
from lotj.training.features import FeatureConfig


@dataclass(frozen=True)
class PracticeConfig:
    """Settings of practice. The defaults are the laptop's, measured on unseen connectors; `paper` values are named."""

    trials: int = 200
    """Number of trials (the paper's budget is 200, about 50 minutes on its robot)."""
    max_steps: int = 20
    """Steps after which a trial is truncated."""
    verify: Literal["score", "touch"] = "touch"
    """What makes a predicted success one: `score`, the reward model's word (paper); `touch`, besides, that the plug
    then gives way neither to a press nor to pushes sideways, as the camera shows it. If it does, the trial goes on."""
    hold_frames: int = 2
    """Number of frames in a row that must count as success before the trial ends with reward 1 (paper: 1). A plug some
    millimetres short of its seat already looks like a success: the step to the second frame brings it home."""
    calibrate: bool = True
    """Raise the reward model's threshold to what this part's own frames score: what one part's successes score,
    another's plugs score a few millimetres short of the seat. All earlier trials are judged anew by it (paper: no)."""
    one_place: bool = True
    """Tell the pictures of predicted successes apart by place, and take for a success only what ends in the likeliest:
    the socket stands where it stood. Not for a bench on which it is moved between trials (paper: no)."""
    withdrawals: int = 10
    """Successes after which the plug is taken out in a way to learn from: seen backwards, an insertion (paper: 0)."""
    online_fraction: float = 0.75
    """Share of online transitions in a batch (paper: 0.25)."""
    batch_size: int = 256
    """Transitions in a batch."""
    updates_per_step: int = 2
    """Gradient updates for each step of the robot, all at the end of a trial, so that the robot need not stand still in
    contact. More narrow the policy before it has seen enough (lab notes)."""
    advantage_scale: float = 100.0
    """Multiplies the advantage in the exponent of equation 3. Returns within 20 steps differ by less than 0.2, so that
    the 3 to 10 of other tasks would weight nothing."""
    q_gradient_weight: float = 100.0
    """Weight of -Q(s, mean action) in the policy's loss (paper: 0). Imitation says nothing of where no success has come
    by, and there the policy forgets what it knew; Q has seen the failures, too (lab notes)."""
    q_gradient_successes: int = 10
    """Predicted successes from which that weight is full; until then it grows with them, from 0. A Q that has not seen
    this part succeed expects too much of the unknown, and can lead the policy away for good (lab notes)."""
    imitate: Literal["all", "successes"] = "successes"
    """Which of the part's own trials the policy imitates: all (paper), or those that ended in predicted success, for
    where little succeeds it unlearns the prior data's way down by imitating what failed (lab notes). Values are learnt
    from all."""
    warmup_trials: int = 3
    """Finished trials before updates start."""
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian noise on actions in the first trial, beside the policy's own spread [share of
    the largest action]; it falls linearly to 0 in the last one."""
    boost: bool = True
    """Explore more where trials fail, see `lotj.training.exploration` (paper: no)."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    """Which prior transitions are kept as features."""
    save_every: int = 1
    """Trials between checkpoints: more than these a kill does not cost."""
    threads: int = 2
    """Processor threads of the learner."""

    def __post_init__(self) -> None:
        for name in ("trials", "max_steps", "hold_frames", "batch_size", "warmup_trials", "save_every", "threads"):
            if getattr(self, name) < 1:
                raise SettingsError(f"practice {name} {getattr(self, name)}: must be at least 1")
        for name in ("updates_per_step", "withdrawals", "q_gradient_weight", "exploration_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"practice {name} {getattr(self, name)}: must be 0 or more, and finite")
        if self.q_gradient_successes < 1 or not 0 < self.advantage_scale < math.inf:
            raise SettingsError(
                f"practice q_gradient_successes {self.q_gradient_successes}, advantage_scale {self.advantage_scale}: "
                "must be at least 1, and above 0"
            )
        if not 0 <= self.online_fraction <= 1:
            raise SettingsError(f"practice online_fraction {self.online_fraction}: must be in [0, 1]")
