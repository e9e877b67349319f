"""One trial of a robot that judges itself: the policy moves until its picture looks like success, then it is verified.

Everything that the robot does is recorded, with notes (`lotj.rewards.judge`); what of it is learnt from is decided
afterwards, by the judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotj.controllers.verification import LOOSE, PRESS, PULL, PUSHES, SHIFTS, FreeMotion, gives_way, picture_change
from lotj.errors import NumericsError
from lotj.experience import Observation, Recorder
from lotj.rewards.judge import CLAIM, LOST, NONE, PLAY, PRESS_MOVED, PUSH_MOVED, SCORE, STOOD, TOUCH, valid_scores
from lotj.robots.robot import RobotEnv


@dataclass
class Attempt:
    """Makes trials."""

    env: RobotEnv
    observe: Callable[[Observation], Observation]  # what is recorded, e.g. with the features that the policy reads
    score: Callable[[Observation], float]  # a probability
    likely: Callable[[np.ndarray], bool]  # the last of the (T+1,) valid scores so far completes what looks like success
    verify: bool  # press and push before a success is believed
    max_steps: int  # of the policy
    free: FreeMotion  # how much the picture changes in free motion, in the trials so far

    def run(self, seed: int, act: Callable[[Observation], np.ndarray]) -> Recorder:
        """One trial from the pose of `seed`; `act` gives the (A,) action for what is recorded of an observation.

        Raises:
            NumericsError: a score or an action that is not finite.
        """
        observation, _ = self.env.reset(seed=seed)
        trial = Recorder(self.observe(observation), self._notes(observation))
        while len(trial) < self.max_steps:
            if self._step(trial, act(trial.observation)):
                return trial
            if not self.likely(self._valid(trial)):
                continue
            if self.verify and self._free_motion(trial) is not None:
                if self._verified(trial) or trial.noted(LOST)[-1]:
                    return trial
            else:  # before any free motion was seen a touch has nothing to compare with: the score's word stands
                trial.note(CLAIM, True, slice(-1, None))
                return trial
        return trial

    def _step(self, trial: Recorder, action: np.ndarray, touch: int = NONE) -> bool:
        """Moves and records; whether the part was lost."""
        return self._record(trial, action, self.env.step(action), touch)

    def _record(self, trial: Recorder, action: np.ndarray, outcome: tuple[Any, ...], touch: int) -> bool:
        observation, _, _, _, info = outcome
        lost = bool(info["lost"])
        trial.add(action, 0.0, self.observe(observation), self._notes(observation, touch, lost))
        return lost

    def _verified(self, trial: Recorder) -> bool:
        """Presses and pushes, pulls and pushes again. The press that the part has stood is the end of the trial, so
        that the policy learns to press home what looks seated; what follows is recorded only. Where the part moves the
        trial goes on."""
        typical, before = self._free_motion(trial), len(trial)
        assert typical is not None
        for motion in (PRESS, *PUSHES):
            last = trial.observation["image"]
            if self._step(trial, np.array(motion, np.float32), STOOD):
                return False
            if gives_way(picture_change(last, trial.observation["image"]), motion, typical):
                return self._moved(trial, before, PRESS_MOVED if motion == PRESS else PUSH_MOVED)
        play = self._play(trial)
        if trial.noted(LOST)[-1]:
            return False
        if play > LOOSE:
            return self._moved(trial, before, PUSH_MOVED)
        trial.note(CLAIM, True, slice(before + 1, before + 2))
        trial.note(PLAY, play, slice(before + 1, before + 2))
        return True

    def _moved(self, trial: Recorder, before: int, touch: int) -> bool:
        """Notes that the last motion of the verification that began at frame `before` has moved the part: False."""
        trial.note(TOUCH, NONE, slice(before + 1, None))
        trial.note(TOUCH, touch, slice(-1, None))
        return False

    def _play(self, trial: Recorder) -> float:
        """Lets go, pulls, pushes again and says how far the hand moved [mm]; 0 where it does not know where it is, or
        has lost the part."""
        moved = 0.0
        if "state" not in trial.observation or self._record(trial, np.zeros(3, np.float32), self.env.relax(), STOOD):
            return moved
        for motion in (PULL, *SHIFTS):
            last = trial.observation["state"][:2]
            if self._step(trial, np.array(motion, np.float32), STOOD):
                return 0.0
            if motion in SHIFTS:
                moved = max(moved, float(np.abs(trial.observation["state"][:2] - last).max()))
        return 1e3 * moved

    def _free_motion(self, trial: Recorder) -> float | None:
        """What the trials so far show; before they show any, the running one."""
        if self.free.typical is not None:
            return self.free.typical
        running = FreeMotion()
        running.see(trial.seen("image"), trial.actions)
        return running.typical

    def _valid(self, trial: Recorder) -> np.ndarray:
        return valid_scores({name: trial.noted(name) for name in (SCORE, TOUCH)})

    def _notes(self, observation: Observation, touch: int = NONE, lost: bool = False) -> Mapping[str, np.ndarray]:
        score = 0.0 if lost else self.score(observation)
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
        }
