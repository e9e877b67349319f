"""Settings of practice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Checked


@dataclass(frozen=True)
class PracticeConfig(Checked):
    """Settings of practice. The defaults are the laptop's, measured on unseen connectors; `paper` values are named."""

    trials: Annotated[int, COUNT] = 200
    """Number of trials (the paper's budget is 200, about 50 minutes on its robot)."""
    max_steps: Annotated[int, COUNT] = 20
    """Steps after which a trial is truncated."""
    verify: Literal["score", "touch"] = "touch"
    """What makes a predicted success one: `score`, the reward model's word (paper); `touch`, besides, that the plug
    then gives way neither to a press nor to pushes sideways, as the camera shows it. If it does, the trial goes on."""
    hold_frames: Annotated[int, COUNT] = 2
    """Number of frames in a row that must count as success before the trial ends with reward 1 (paper: 1). A plug some
    millimetres short of its seat already looks like a success: the step to the second frame brings it home."""
    calibrate: bool = True
    """Raise the reward model's threshold to what this part's own frames score: what one part's successes score,
    another's plugs score a few millimetres short of the seat. All earlier trials are judged anew by it (paper: no)."""
    one_place: bool = True
    """Tell the pictures of predicted successes apart by place, and take for a success only what ends in the likeliest:
    the socket stands where it stood. Not for a bench on which it is moved between trials (paper: no)."""
    withdrawals: Annotated[int, NOT_NEGATIVE] = 10
    """Successes after which the plug is taken out in a way to learn from: seen backwards, an insertion (paper: 0)."""
    online_fraction: Annotated[float, SHARE] = 0.75
    """Share of online transitions in a batch (paper: 0.25)."""
    batch_size: Annotated[int, COUNT] = 256
    """Transitions in a batch."""
    updates_per_step: Annotated[int, NOT_NEGATIVE] = 2
    """Gradient updates for each step of the robot, all at the end of a trial, so that the robot need not stand still in
    contact. More narrow the policy before it has seen enough (lab notes)."""
    advantage_scale: Annotated[float, POSITIVE] = 100.0
    """Multiplies the advantage in the exponent of equation 3. Returns within 20 steps differ by less than 0.2, so that
    the 3 to 10 of other tasks would weight nothing."""
    q_gradient_weight: Annotated[float, NOT_NEGATIVE] = 100.0
    """Weight of -Q(s, mean action) in the policy's loss (paper: 0). Imitation says nothing of where no success has come
    by, and there the policy forgets what it knew; Q has seen the failures, too (lab notes)."""
    q_gradient_successes: Annotated[int, COUNT] = 10
    """Predicted successes from which that weight is full; until then it grows with them, from 0. A Q that has not seen
    this part succeed expects too much of the unknown, and can lead the policy away for good (lab notes)."""
    imitate: Literal["all", "successes"] = "successes"
    """Which of the part's own trials the policy imitates: all (paper), or those that ended in predicted success, for
    where little succeeds it unlearns the prior data's way down by imitating what failed (lab notes). Values are learnt
    from all."""
    warmup_trials: Annotated[int, COUNT] = 3
    """Finished trials before updates start."""
    exploration_noise: Annotated[float, NOT_NEGATIVE] = 0.1
    """Standard deviation of the Gaussian noise on actions in the first trial, beside the policy's own spread [share of
    the largest action]; it falls linearly to 0 in the last one."""
    boost: bool = True
    """Explore more where trials fail, see `lotj.training.exploration` (paper: no)."""
    save_every: Annotated[int, COUNT] = 1
    """Trials between checkpoints: more than these a kill does not cost."""
    threads: Annotated[int, COUNT] = 2
    """Processor threads of the learner."""
