"""A robot that practises by itself: it says with a learned reward and its own touch what was a success.

The policy moves until its picture looks like success; then that is verified. Everything that the robot does is
recorded, with notes (`lotj.rewards.judge`); what of it is learnt from is decided afterwards, by the judge. Ground truth
has no way in: a `Robot` has none to give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from lotj.agents import Learner
from lotj.controllers import verification
from lotj.controllers.withdrawal import withdraw
from lotj.errors import CheckpointError, NumericsError, SettingsError
from lotj.experience import INTERVENTION, Episode, Observation, Recorder, batch_of_one
from lotj.rewards.calibration import Threshold
from lotj.rewards.judge import (
    CLAIM,
    LOST,
    NONE,
    PLAY,
    PRESS_MOVED,
    PUSH_MOVED,
    SCORE,
    STOOD,
    TOUCH,
    All,
    GoalPictures,
    Judge,
    OnePose,
    RewardModel,
    Score,
    valid_scores,
)
from lotj.rewards.judge import claimed_step as end_of
from lotj.robots.robot import Robot, RobotEnv
from lotj.spaces import Spec
from lotj.training.corrections import Corrections
from lotj.training.exploration import Exploration
from lotj.training.features import Encoder
from lotj.training.practice import Attempted, generator, trial_seed
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.starts import choose_start
from lotj.training.trials import PRACTICE, REVERSED, Past

QUANTILE, MARGIN = 0.95, 2.5
"""A calibrated threshold lies this far [logits] below this quantile of the trials' best scores: wide, for the touch
finds out most of what it lets through."""

REFUTED = 2e-3
"""So near [m] to where a push or the pull has moved the plug no success is looked for again in the same trial."""


@dataclass
class Memory:
    """What a robot that judges itself keeps of its trials."""

    score: Score
    pose: OnePose | None  # where the touch verifies
    pictures: GoalPictures | None = None  # where these take over from it
    seats: dict[int, np.ndarray] = field(default_factory=dict)
    """Where the hand was at the end of a claimed success, by trial, (2,) [m]."""

    @classmethod
    def empty(cls, threshold: float, config: SelfJudgedConfig) -> Self:
        """Before the first trial; the reward model's `threshold` is where it begins."""
        touches = config.verify != "score"
        score = Score(Threshold(threshold, QUANTILE, MARGIN if touches else None))
        pose = OnePose() if touches else None
        return cls(score, pose, GoalPictures(pose) if pose and config.verify == "picture" else None)

    def judge(self, *more: Judge, together: Callable[..., Judge] = All) -> Judge:
        """Says what the trials are worth, with this memory and other judges, put `together`."""
        return together(self.score, *([self.pose] if self.pose else []), *more)

    def see(self, episode: Episode, judge: Judge) -> None:
        """Takes in what a trial has brought, and tells the judge."""
        if episode.kind != PRACTICE:
            return
        if episode.notes[CLAIM].any() and "state" in episode.observation:
            self.seats[episode.seed] = episode.observation["state"][end_of(episode), :2]
        judge.see(episode.seed, episode)
        if self.pictures:
            self.pictures.see(episode.seed, episode)


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
        together: how all judges are put together, e.g. `lotj.rewards.ask.Ask`.
        corrections: a person's motions in place of the policy's; None where the run's notes know of none.

    Raises:
        CheckpointError: the robot shows or does other things than the agent was made for.
        SettingsError: verification by touch without the hand's measured position.
    """

    def __init__(
        self,
        robot: Robot,
        encoders: Encoder,
        learner: Learner,
        reward_model: RewardModel,
        config: SelfJudgedConfig,
        seed: int,
        judges: Sequence[Judge] = (),
        together: Callable[..., Judge] = All,
        corrections: Corrections | None = None,
    ) -> None:
        _check_cameras(robot.spec, encoders.spec)
        if config.verify != "score" and "state" not in robot.spec.observation:
            raise SettingsError(
                f"verify {config.verify}: the robot does not measure its hand's position, `state`; try verify score"
            )
        self._env, self._encoders, self._learner, self._model = RobotEnv(robot), encoders, learner, reward_model
        self._config, self._seed = config, seed
        self.memory, self.corrections = Memory.empty(reward_model.threshold, config), corrections
        self.judge = self.memory.judge(*judges, together=together)

    def attempt(self, number: int, act: Exploration, past: Past) -> Attempted:
        """The trial, over when this returns; after one of the first successes also the insertions that taking the plug
        out shows. Its row: ``moves``, ``play`` [mm], ``threshold`` and ``score`` in [0, 1], ``boost``, ``value`` of the
        start, ``rejected_pushes``, and steps ``corrected`` where a person may. RobotError; NumericsError."""
        threshold, pose = self.memory.score.threshold.value, self.memory.pose
        seats = [seat for trial, seat in self.memory.seats.items() if past.verdicts[trial].success]
        rng = generator(self._seed, number, "start")
        start = choose_start(rng, seats, len(past), self._env.robot.estimate_error)
        recorder = self._trial(trial_seed(self._seed, number), start, act)
        value = float(self._learner.value(batch_of_one(recorder.first))[0])
        lost, claimed = bool(recorder.noted(LOST)[-1]), bool(recorder.noted(CLAIM).any())
        trial = recorder.finish(lost or claimed, not (lost or claimed), past.task.name, PRACTICE, number)
        last = {name: values[end_of(trial)] for name, values in trial.observation.items()}
        elsewhere = claimed and pose is not None and pose.elsewhere(last)
        after: list[Episode] = []
        if claimed and not elsewhere and past.successes < self._config.withdrawals:
            after = self._withdrawn(trial)
        self._env.park()  # while the agent learns
        row = {
            "moves": end_of(trial) + len(verification.PUSHES) if claimed and self._touches else len(trial),
            "play": float(trial.notes[PLAY][end_of(trial)]),
            "threshold": threshold,
            "boost": act.boost,
            "value": value,
            "score": float(trial.notes[SCORE][end_of(trial)]),
            "rejected_pushes": int((trial.notes[TOUCH] == PUSH_MOVED).sum()),
        }
        if self.corrections is not None:
            row["corrected"] = int(trial.notes[INTERVENTION].sum())
        return Attempted([trial, *after], row, lost)

    def see(self, episode: Episode) -> None:
        self.memory.see(episode, self.judge)

    @property
    def _touches(self) -> bool:
        """Whether the touch verifies: all of a trial, for the memory changes between trials alone."""
        pictures = self.memory.pictures
        return self._config.verify != "score" and not (pictures and pictures.ready)

    def _trial(self, seed: int, start: np.ndarray | None, act: Callable[[Observation], np.ndarray]) -> Recorder:
        """One trial from `start`, or the pose of `seed`; `act` gives the (A,) action for what is recorded of an
        observation.

        Raises:
            NumericsError: a score or an action that is not finite.
        """
        observation, _ = self._env.reset(seed=seed, options={} if start is None else {"start": start})
        trial = Recorder(self._observe(observation), self._notes(observation))
        refuted: list[np.ndarray] = []  # where a push or the pull has moved the plug
        while len(trial) < self._config.max_steps:
            if self._acted(trial, act):
                return trial
            pictures = self.memory.pictures
            if pictures and pictures.ready:
                if pictures.shows(trial.observation[pictures.FEATURES]):
                    trial.note(CLAIM, True, slice(-1, None))
                    trial.note(PLAY, pictures.play, slice(-1, None))
                    return trial
                continue
            scores = valid_scores({name: trial.noted(name) for name in (SCORE, TOUCH)})
            # At its end a trial is verified whatever its score: the model may be blind to this part, the touch is not.
            if not (self.memory.score.likely(scores) or (self._touches and len(trial) >= self._config.max_steps)):
                continue
            if not self._touches:  # the score's word stands
                trial.note(CLAIM, True, slice(-1, None))
                return trial
            here = _hand(trial)
            if any(np.linalg.norm(here - place) < REFUTED for place in refuted):  # verification costs steps
                continue
            if self._verified(trial) or trial.noted(LOST)[-1]:
                return trial
            if trial.noted(TOUCH)[-1] == PUSH_MOVED:
                refuted.append(here)
        return trial

    def _acted(self, trial: Recorder, act: Callable[[Observation], np.ndarray]) -> bool:
        """A motion of the policy, or of the person who corrects it; whether the part was lost."""
        if self.corrections is None:
            return self._step(trial, act(trial.observation))
        action, by_hand = self.corrections.choose(trial.observation, act)
        lost = self._step(trial, action)
        trial.note(INTERVENTION, by_hand, slice(-1, None))
        return lost

    def _step(self, trial: Recorder, action: Sequence[float] | np.ndarray, touch: int = NONE) -> bool:
        """Moves and records; whether the part was lost."""
        action = np.asarray(action, np.float32)
        return self._record(trial, action, self._env.step(action), touch)

    def _record(self, trial: Recorder, action: np.ndarray, outcome: tuple[Any, ...], touch: int) -> bool:
        observation, _, _, _, info = outcome
        lost = bool(info["lost"])
        trial.add(action, 0.0, self._observe(observation), self._notes(observation, touch, lost))
        return lost

    def _verified(self, trial: Recorder) -> bool:
        """Presses and pushes, pulls and pushes again. The press that the part has stood is the end of the trial, so
        that the policy learns to press home what looks seated; what follows is recorded only. Where the part moves, or
        the socket cannot be, the trial goes on."""
        before, here, robot = len(trial), _hand(trial), self._env.robot
        for motion in (verification.PRESS, *verification.PUSHES):
            last = _hand(trial)
            if self._step(trial, motion, STOOD):
                return False
            if verification.sinks(last, _hand(trial)):
                return self._moved(trial, before, PRESS_MOVED)
            if verification.slides(last, _hand(trial)):
                return self._moved(trial, before, PUSH_MOVED)
        play = self._pulled(trial)
        if trial.noted(LOST)[-1]:
            return False
        error = np.array([robot.estimate_error, robot.estimate_error, robot.height_error])
        if play > verification.LOOSE or verification.elsewhere(here, error):
            return self._moved(trial, before, PUSH_MOVED)
        trial.note(CLAIM, True, slice(before + 1, before + 2))
        trial.note(PLAY, play, slice(before + 1, before + 2))
        return True

    def _moved(self, trial: Recorder, before: int, touch: int) -> bool:
        """Notes that the last motion of the verification that began at frame `before` has moved the part: False."""
        trial.note(TOUCH, NONE, slice(before + 1, None))
        trial.note(TOUCH, touch, slice(-1, None))
        return False

    def _pulled(self, trial: Recorder) -> float:
        """Lets go, pulls and pushes again: how far the hand moved sideways at most [mm]. Infinite where the part has
        come out freely and should not; 0 where it is lost."""
        play = 0.0
        if self._record(trial, np.zeros(3, np.float32), self._env.relax(), STOOD):
            return 0.0
        for motion in (verification.PULL, *verification.SHIFTS):
            last = _hand(trial)
            if self._step(trial, motion, STOOD):
                return 0.0
            moved = 1e3 * np.abs(_hand(trial) - last)
            if motion in verification.SHIFTS:
                play = max(play, float(moved[:2].max()))
            elif self._config.retention and moved[2] > verification.HELD:
                return math.inf
        return play

    def _withdrawn(self, trial: Episode) -> list[Episode]:
        """Takes the plug out after one of the first successes; returns the insertions that this shows."""
        if self._touches:  # the plug stands where its play was felt, above the seat
            for motion in verification.HOME:
                _, _, lost, _, _ = self._env.step(np.array(motion, np.float32))
                if lost:
                    return []
        end = end_of(trial) - int(trial.notes[TOUCH][end_of(trial)] == STOOD)
        notes = {name: np.zeros((), values.dtype) for name, values in trial.notes.items()}
        return withdraw(
            self._env,
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

    def _notes(self, observation: Observation, touch: int = NONE, lost: bool = False) -> Mapping[str, np.ndarray]:
        score = 0.0 if lost else float(self._model.score(observation["image"][None])[0])
        if not math.isfinite(score):
            raise NumericsError(
                f"reward score {score}: must be a probability; finished trials are saved, mend the reward model, "
                "then --resume"
            )
        return {
            SCORE: np.array(score, np.float32),
            CLAIM: np.array(False),
            TOUCH: np.array(touch, np.uint8),
            LOST: np.array(lost),
            PLAY: np.array(0.0, np.float32),
            **({} if self.corrections is None else {INTERVENTION: np.array(False)}),
        }


def _hand(trial: Recorder) -> np.ndarray:
    """(3,) of the hand as measured [m]."""
    return trial.observation["state"][:3]


def _check_cameras(robot: Spec, agent: Spec) -> None:
    for name, made_for in {**agent.observation, "action": agent.action}.items():
        here = robot.action if name == "action" else robot.observation.get(name)
        shapes = [getattr(array, "shape", array) for array in (here, made_for)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"the robot has {name} of shape {shapes[0]}, the agent was made for {shapes[1]}: use cameras of that "
                "number and size, or choose another pretraining run"
            )
