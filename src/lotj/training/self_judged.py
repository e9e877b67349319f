"""A robot that practises by itself: it says with a learned reward and its own touch what was a success.

Ground truth has no way in: a `Robot` has none to give.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np

from lotj.agents import Learner
from lotj.controllers.verification import HOME, SHIFTS, FreeMotion
from lotj.controllers.withdrawal import withdraw
from lotj.errors import CheckpointError
from lotj.experience import Episode, Observation, batch_of_one
from lotj.rewards.calibration import Threshold
from lotj.rewards.judge import (
    CLAIM,
    LOST,
    PLAY,
    PUSH_MOVED,
    SCORE,
    STOOD,
    TOUCH,
    All,
    Claimed,
    Judge,
    OnePose,
    RewardModel,
    Score,
)
from lotj.rewards.judge import claimed_step as end_of
from lotj.robots.robot import Robot, RobotEnv
from lotj.spaces import Spec
from lotj.training.attempt import Attempt
from lotj.training.exploration import Exploration
from lotj.training.features import Encoder
from lotj.training.practice import Attempted, generator, trial_seed
from lotj.training.practice_config import PracticeConfig
from lotj.training.trials import PRACTICE, REVERSED, Trials

QUANTILE, MARGIN = 0.95, 2.5
"""A calibrated threshold lies this far [logits] below this quantile of the trials' best scores: wide, for the touch
finds out most of what it lets through."""


class SelfJudged:
    """See `lotj.training.practice.Practitioner`.

    Args:
        robot: gives observations, takes motions. The caller closes it.
        encoders: the pretrained agent whose features the practising learner reads, or what else stands before it.
        learner: practises; asked for the value of a start.
        reward_model: judges images.
        config: settings.
        seed: of the run.
        judges: further ones, without whose word nothing is a success.

    Raises:
        CheckpointError: the robot shows or does other things than the agent was made for.
    """

    def __init__(
        self,
        robot: Robot,
        encoders: Encoder,
        learner: Learner,
        reward_model: RewardModel,
        config: PracticeConfig,
        seed: int,
        judges: Sequence[Judge] = (),
    ) -> None:
        _check_cameras(robot.spec, encoders.spec)
        self._encoders, self._learner, self._model = encoders, learner, reward_model
        self._config, self._seed = config, seed
        self._before = copy.deepcopy(learner)  # a second opinion, which does not learn from what is wrong here
        self._free = FreeMotion()
        touched = config.verify == "touch"
        threshold = Threshold(reward_model.threshold, QUANTILE, MARGIN if touched else None)
        self._score = Score(threshold, at_claim=touched)
        self._pose = OnePose(lambda observation: observation["image"]) if touched else None
        self.judge = All(self._score, *([Claimed(), self._pose] if self._pose else []), *judges)
        rules = (self._score.likely, touched, config.max_steps, self._free)
        self._attempt = Attempt(RobotEnv(robot), self._observe, self._scored, *rules)

    def attempt(self, number: int, act: Exploration, trials: Trials) -> Attempted:
        threshold = self._score.threshold.value
        recorder = self._attempt.run(trial_seed(self._seed, number), act)
        value = float(self._learner.value(batch_of_one(recorder.first))[0])
        lost, claimed = bool(recorder.noted(LOST)[-1]), bool(recorder.noted(CLAIM).any())
        trial = recorder.finish(lost or claimed, not (lost or claimed), trials.task.name, PRACTICE, number)
        last = {name: values[end_of(trial)] for name, values in trial.observation.items()}
        elsewhere = claimed and self._pose is not None and self._pose.elsewhere(last)
        after: list[Episode] = []
        if claimed and not elsewhere and trials.successes < self._config.withdrawals:
            after = self._withdrawn(trial)
        row = {
            "moves": len(trial) - (2 + len(SHIFTS) if claimed and trial.notes[PLAY].any() else 0),
            "play": float(trial.notes[PLAY][end_of(trial)]),
            "threshold": threshold,
            "boost": act.boost,
            "value": value,
            "value_before": float(self._before.value(batch_of_one(last))[0]) if claimed else math.nan,
            "score": float(trial.notes[SCORE][end_of(trial)]),
            "rejected_pushes": int((trial.notes[TOUCH] == PUSH_MOVED).sum()),
        }
        return Attempted([trial, *after], row, lost)

    def see(self, episode: Episode) -> None:
        if episode.kind != PRACTICE:
            return
        if not episode.notes[LOST][-1]:  # nor is a push free motion that a seated plug has stood
            self._free.see(episode.observation["image"], episode.action[: end_of(episode)])
        self.judge.see(episode.seed, episode)

    def _withdrawn(self, trial: Episode) -> list[Episode]:
        """Takes the plug out after one of the first successes; returns the insertions that this shows."""
        env = self._attempt.env
        if trial.notes[PLAY].any():  # the plug stands where its play was felt, above the seat
            for motion in HOME:
                _, _, lost, _, _ = env.step(np.array(motion, np.float32))
                if lost:
                    return []
        end = end_of(trial) - int(trial.notes[TOUCH][end_of(trial)] == STOOD)
        notes = {name: np.zeros((), values.dtype) for name, values in trial.notes.items()}
        return withdraw(
            env,
            max(0.0, -float(trial.action[:end, 2].sum())),
            generator(self._seed, trial.seed, "withdrawal"),
            self._observe,
            lambda observation: notes,
            lambda k: {"task": trial.task, "kind": f"{REVERSED}-{k}", "seed": trial.seed},
        )

    def _observe(self, observation: Observation) -> Observation:
        """What is seen, and the features that the learner reads."""
        features = self._encoders.encode(batch_of_one(observation))
        return {**observation, **{name: values[0] for name, values in features.items()}}

    def _scored(self, observation: Observation) -> float:
        return float(self._model.score(observation["image"][None])[0])


def _check_cameras(robot: Spec, agent: Spec) -> None:
    for name, made_for in {**agent.observation, "action": agent.action}.items():
        here = robot.action if name == "action" else robot.observation.get(name)
        shapes = [getattr(array, "shape", array) for array in (here, made_for)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"the robot has {name} of shape {shapes[0]}, the agent was made for {shapes[1]}: use cameras of that "
                "number and size, or choose another pretraining run"
            )
