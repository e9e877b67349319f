"""Settings of practice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from lotj.ranges import COUNT, NOT_NEGATIVE, POSITIVE, PROCESSES, SHARE, Checked


@dataclass(frozen=True)
class PracticeConfig(Checked):
    """Settings of all practice. The defaults are the laptop's, measured on unseen connectors; the paper's are named."""

    CALLED: ClassVar[str] = "practice"
    """In messages, whoever practises."""
    trials: Annotated[int, COUNT] = 200
    """Number of trials (the paper's budget is 200, about 50 minutes on its robot)."""
    max_steps: Annotated[int, COUNT] = 20
    """Steps after which a trial is truncated."""
    online_fraction: Annotated[float, SHARE] = 0.75
    """Share of online transitions in a batch (paper: 0.25)."""
    batch_size: Annotated[int, COUNT] = 256
    """Transitions in a batch."""
    updates_per_step: Annotated[float, NOT_NEGATIVE] = 2
    """Gradient updates for each step of the robot, all at the end of a trial, so that the robot need not wait in
    contact. With more, the policy becomes narrow before it has seen enough (lab notes)."""
    advantage_scale: Annotated[float, POSITIVE] = 100.0
    """Multiplies the advantage in the exponent of equation 3: the larger, the more only the best actions are imitated.
    Returns within 20 steps differ by less than 0.2, so the 3 to 10 usual elsewhere would weigh all alike."""
    q_gradient_weight: Annotated[float, NOT_NEGATIVE] = 100.0
    """Weight of -Q(s, mean action) in the policy's loss (paper: 0), in full from the tenth predicted success on. Where
    no success has passed, there is nothing to imitate and the policy forgets what it knew; Q has learnt from the
    failures there (lab notes)."""
    imitate: Literal["all", "successes"] = "successes"
    """Which of the part's own trials the policy imitates: all (paper), or those that ended in predicted success.
    Imitating failures, it unlearns from the prior data how to go down (lab notes). Values are learnt from all."""
    warmup_trials: Annotated[int, COUNT] = 3
    """Finished trials before updates start."""
    exploration_noise: Annotated[float, NOT_NEGATIVE] = 0.1
    """Standard deviation of the Gaussian noise on actions in the first trial, beside the policy's own spread [share of
    the largest action]; it falls linearly to 0 in the last one."""
    save_every: Annotated[int, COUNT] = 1
    """Trials between checkpoints; a killed run loses at most these."""
    threads: Annotated[int, PROCESSES] = 2
    """Processor threads of the learner."""


@dataclass(frozen=True)
class SelfJudgedConfig(PracticeConfig):
    """Settings of a robot that judges itself: those of all practice, and four more."""

    verify: Literal["score", "touch", "picture"] = "touch"
    """What a success must pass. `score`: the reward model's own threshold (paper). `touch`: a threshold that adapts to
    the scores this part shows; then a press and pushes sideways, under which the hand must not follow (where it
    does, the trial goes on); then a pull, see `retention`, and pushes again; and the hand must be where most and
    tightest successes end, earlier ones too, so the socket must not be moved between trials. `picture`: as touch, until
    five successes have been verified; from then on what looks like these to the policy's eyes, so that the robot pushes
    no more (as good after 100 trials, slower to begin, see docs/reproduction.md)."""
    retention: bool = True
    """Whether its seat holds the part back when it is pulled, as every connector with spring contacts does; then what
    comes out freely was no success. False for pegs, screws and spanners; where the part's file has a seating force of
    0, it is false anyway. Only where `touch` verifies."""
    withdrawals: Annotated[int, NOT_NEGATIVE] = 10
    """Reversed extractions: after so many first successes the plug is pulled out, and the motion, played backwards, is
    learnt from as an insertion (paper: 0)."""
    boost: bool = True
    """Exploration boost: after three failures in a row motions sideways are up to three times as large, with more
    pressure and noise; it fades to none by the tenth success (paper: no)."""


@dataclass(frozen=True)
class TaskPracticeConfig(PracticeConfig):
    """Settings of practice where the environment rewards: those of all practice, and two more."""

    hindsight: Annotated[float, SHARE] = 0.8
    """Share of transitions that get a goal which was reached later in their episode, where a task has goals."""
    demonstration_starts: Annotated[float, SHARE] = 0.0
    """Share of trials that start within a demonstration of the prior data, with what that achieved at its end as the
    goal; for tasks whose simulator can be set, and data of `lotj collect --recipe`. Never in an evaluation."""
