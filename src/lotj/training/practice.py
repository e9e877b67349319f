"""Practice on a task never seen before, with the robot as its own judge (LOTJ sections V-C and V-E).

Ground truth has no way in: a `Robot` has none to give. Every trial draws its random numbers from (seed of the run,
number of the trial), and is stored with its checkpoint before the next one starts. So a killed run loses the running
trial at most and, resumed, ends in the same weights as one that was never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch

from lotj.agents.base import At, Learner
from lotj.controllers.verification import FreeMotion, alarming
from lotj.controllers.withdrawal import withdraw
from lotj.data.replay import Replay, Source
from lotj.data.store import Store
from lotj.errors import CheckpointError, RobotError
from lotj.experience import Episode, Observation, Recorder, Task
from lotj.rewards.calibration import Threshold
from lotj.rewards.judge import All, Claimed, OnePlace, Score, claimed_step
from lotj.robots.robot import Robot, RobotEnv
from lotj.runs import Run
from lotj.training.attempt import Attempt
from lotj.training.exploration import Exploration, boost
from lotj.training.features import imitated
from lotj.training.live_view import LiveView
from lotj.training.loop import Means
from lotj.training.practice_config import PracticeConfig
from lotj.training.trials import PRACTICE, REVERSED, Trials

CHECKPOINT = "practice"
"""Name of the checkpoint in the run folder: the agent after the last finished trial."""

LEAST_THRESHOLD = 0.1
"""Lowest threshold where it is calibrated. Lower than one that must do for all parts: it is the raising that keeps
false positives away, and on some parts even a plain success scores little."""

MAX_LOST = 10
"""Trials in a row that may be lost before practice stops."""


class RewardModel(Protocol):
    """What practice asks of a reward model."""

    threshold: float

    def score(self, images: np.ndarray) -> np.ndarray:
        """(N,) probability of success of (N, V, H, W, 3) uint8 images."""
        ...


@dataclass(frozen=True)
class PracticeResult:
    """What came of practice, as far as the learner can know.

    Attributes:
        trials: finished trials of the run, all sittings together.
        predicted_successes: trials that ended because the robot took them for a success.
        lost: trials that ended because the part was lost.
        alarm: the last trials' verifications say that the self-reward is not to be trusted on this part.
    """

    trials: int
    predicted_successes: int
    lost: int
    alarm: bool = False


def trial_seed(run_seed: int, number: int) -> int:
    """Seed of the start pose of trial `number` (from 1): `Robot.reset` is called with it."""
    return int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def finished_trials(run: Run) -> int:
    """How many trials the run's checkpoint holds: practice resumed goes on with the next one."""
    return int(run.load(CHECKPOINT)["trial"]) if run.has(CHECKPOINT) else 0


def practice(
    robot: Robot,
    agent: Learner,
    reward_model: RewardModel,
    prior: Store,
    config: PracticeConfig,
    run: Run,
    live: bool = True,
    resume: bool = False,
    until: int | None = None,
    task: str = "practised",
) -> PracticeResult:
    """Lets a robot practise and its agent learn, trial by trial, on the robot's own word.

    Args:
        robot: gives observations, takes motions. The caller closes it.
        agent: pretrained, with its encoders; what practises is the same agent behind their features.
        reward_model: judges images.
        prior: features of prior data, see `lotj.training.features`.
        config: settings.
        run: where metrics (one line a trial), trials and the checkpoint go; its seed is the seed of practice.
        live: show what goes on.
        resume: go on after the run's last finished trial; with none, from the beginning.
        until: stop after this trial, to be resumed later; None does all.
        task: name of what is practised.

    Raises:
        RobotError: the robot refused a command, or its part was lost `MAX_LOST` times in a row.
        NumericsError: a score or a loss is not finite. All finished trials are saved.
        CheckpointError: the run holds practice already and `resume` is False, or its files are damaged.
        StorageError: the disk is full.
        KeyboardInterrupt: Ctrl-C. All finished trials are saved.
    """
    torch.set_num_threads(config.threads)
    if run.has(CHECKPOINT) and not resume:
        raise CheckpointError(f"{run.path} holds {finished_trials(run)} trials: give --resume or start a new run")
    sitting = _Sitting(robot, agent, reward_model, prior, config, run, task)
    try:
        done = sitting.restore()
        with LiveView(str(run.path), config.trials, run.metrics(), live) as view:
            sitting.view = view
            for number in range(done + 1, min(config.trials, until or config.trials) + 1):
                sitting.trial(number)
    finally:
        sitting.trials.close()
    rows = run.metrics()
    return PracticeResult(
        trials=len(rows),
        predicted_successes=sum(row["predicted_success"] for row in rows),
        lost=sum(row["lost"] for row in rows),
        alarm=bool(rows and rows[-1]["alarm"]),
    )


def _generator(
    run_seed: int, number: int, purpose: Literal["exploration", "updates", "withdrawal"]
) -> np.random.Generator:
    """Random numbers of trial `number`, for one purpose."""
    return np.random.default_rng([run_seed, number, {"exploration": 1, "updates": 2, "withdrawal": 3}[purpose]])


class _Sitting:
    """What one sitting of practice carries from trial to trial; its parts decide, this only passes on."""

    def __init__(
        self,
        robot: Robot,
        agent: Learner,
        reward_model: RewardModel,
        prior: Store,
        config: PracticeConfig,
        run: Run,
        task: str,
    ) -> None:
        self._encoders, self._learner = agent, agent.on_features()
        self._config, self._run, self._reward_model = config, run, reward_model
        self._free = FreeMotion()
        margin = None if not config.calibrate else 2.5 if config.verify == "touch" else 1.0
        least = min(reward_model.threshold, LEAST_THRESHOLD) if config.calibrate else reward_model.threshold
        touched = config.verify == "touch"
        self._score = Score(Threshold(least, 0.95, margin), config.hold_frames, at_claim=touched)
        self._place = OnePlace(lambda observation: observation["image"])
        parts = [self._score, *([Claimed()] if touched else []), *([self._place] if config.one_place else [])]
        self._judge = All(*parts)
        learned = [name for name in prior.schema.observation if name.startswith("feature/")]
        self.trials = Trials(run.path / "trials", Task(task, task), learned, config.imitate == "successes")
        self._online = Source(self.trials.store, config.online_fraction, np.zeros(0, np.int64), practised=True)
        offline = Source(prior, 1.0 - config.online_fraction, columns={"imitate": imitated(prior)})
        self._replay = Replay([self._online, offline], config.batch_size, self._learner.needs, observation=learned)
        self.view = LiveView(str(run.path), config.trials, shown=False)
        self._attempt = Attempt(
            env=RobotEnv(robot),
            observe=self._observe,
            score=self._scored,
            likely=self._score.likely,
            elsewhere=self._place.elsewhere,
            verify=touched,
            max_steps=config.max_steps,
            free=self._free,
            on_step=lambda steps, score: self.view.status(f"step {steps}, score {score:.2f}"),
        )

    def restore(self) -> int:
        """Takes up the run's checkpoint; returns the number of trials it holds (0 if there is none yet)."""
        done = 0
        if self._run.has(CHECKPOINT):
            state = self._run.load(CHECKPOINT)
            done = state["trial"]
            self._learner.restore(state["agent"])
        self.trials.restore(done)
        for episode in self.trials.episodes:
            self._see(episode)
        self._judged()
        self._run.rewind(done)
        return done

    def trial(self, number: int) -> None:
        """One trial with its updates; when it returns, the trial is on disk and in the checkpoint."""
        started = time.perf_counter()
        config, rows = self._config, self._run.metrics()
        rng = _generator(self._run.seed, number, "exploration")
        passed = (number - 1) / max(config.trials - 1, 1)
        boosted = boost(self.trials.successes, _failures(rows)) if config.boost else 0.0
        act = Exploration(self._act, config.exploration_noise * (1 - passed), boosted, rng)
        row = {"trial": number, "seed": trial_seed(self._run.seed, number), "threshold": self._score.threshold.value}
        recorder = self._attempt.run(trial_seed(self._run.seed, number), act)
        value = float(self._learner.value(_first(recorder))[0])
        lost = bool(recorder.noted("lost")[-1])
        claimed = bool(recorder.noted("claim").any())
        trial = recorder.finish(lost or claimed, not (lost or claimed), self.trials.task.name, PRACTICE, number)
        after = self._withdrawn(trial) if claimed and self.trials.successes < config.withdrawals else []
        self.trials.append([trial, *after])
        self._see(trial)
        self._judged()
        means = self._learn(len(trial), number)
        verdict = self.trials.verdict(number)
        moves = len(trial) + sum(len(episode) for episode in after)
        row |= {"steps": verdict.steps, "moves": moves, "predicted_success": int(verdict.success), "lost": int(lost)}
        row |= {"denied_pushes": _denied_pushes(trial), "denied_place": int(verdict.denied == "another place")}
        row |= {"boost": boosted, "value": value, "score": float(trial.notes["score"][claimed_step(trial)])}
        denied = [*(r["denied_pushes"] + r["denied_place"] for r in rows if not r["lost"])]
        if not lost:
            denied.append(row["denied_pushes"] + row["denied_place"])
        row |= means | {"alarm": int(alarming(denied)), "seconds": time.perf_counter() - started}
        self._run.log(number, row)
        self._run.save(CHECKPOINT, {"trial": number, "agent": self._learner.state()})
        self.view.trial(row)
        if lost:
            self._report_loss(number, [*rows, row])

    def _see(self, episode: Episode) -> None:
        if episode.kind == PRACTICE:
            if not episode.notes["lost"][-1]:
                self._free.see(episode.observation["image"], episode.action)
            self._judge.see(episode.seed, episode)

    def _judged(self) -> None:
        self.trials.judge(self._judge, self._online)

    def _withdrawn(self, trial: Episode) -> list[Episode]:
        """Takes the plug out after one of the first successes; returns the insertions that this shows."""
        end = claimed_step(trial) - (self._config.verify == "touch") - (self._config.hold_frames - 1)
        descent = max(0.0, -float(trial.action[: max(0, end), 2].sum()))
        rng = _generator(self._run.seed, trial.seed, "withdrawal")
        notes = {name: np.zeros((), values.dtype) for name, values in trial.notes.items()}
        return withdraw(
            self._attempt.env,
            descent,
            rng,
            self._observe,
            lambda observation: notes,
            lambda k: {"task": trial.task, "kind": f"{REVERSED}-{k}", "seed": trial.seed},
        )

    def _learn(self, steps: int, number: int) -> dict[str, float]:
        """The updates due for `steps` steps of the robot; means of what they say."""
        config = self._config
        if len(self.trials) < config.warmup_trials or not config.updates_per_step:
            return {"updates": 0}
        rng, means = _generator(self._run.seed, number, "updates"), Means()
        pull = config.q_gradient_weight * min(1.0, self.trials.successes / config.q_gradient_successes)
        started, updates = time.perf_counter(), steps * config.updates_per_step
        for _ in range(updates):
            at = At(self._learner.updates, weights={"follow_q": pull})
            means.add(self._learner.update(self._replay.sample(rng), at))
        named = {("loss/" + k[5:] if k.startswith("loss_") else "agent/" + k): v for k, v in means.take().items()}
        return named | {"updates": updates, "updates_per_second": updates / (time.perf_counter() - started)}

    def _observe(self, observation: Observation) -> Observation:
        """What is seen, and the features that the learner reads."""
        seen = self._encoders.encode({name: values[None] for name, values in observation.items()})
        return {**observation, **{name: values[0] for name, values in seen.items()}}

    def _act(self, observation: Observation, spread: float, rng: np.random.Generator) -> np.ndarray:
        return self._learner.act({name: values[None] for name, values in observation.items()}, spread, rng)[0]

    def _scored(self, observation: Observation) -> float:
        return float(self._reward_model.score(observation["image"][None])[0])

    def _report_loss(self, number: int, rows: Sequence[dict[str, float]]) -> None:
        """Says that a part was lost, and stops where that has become the rule."""
        self.view.note(f"trial {number}: the part was lost; it is grasped anew")
        lost = next((k for k, row in enumerate(reversed(rows)) if not row["lost"]), len(rows))
        # Not `>=`: whoever has mended the gripper and resumes shall get as many trials again.
        if lost % MAX_LOST == 0:
            raise RobotError(f"the part was lost in {lost} trials in a row: check grip and workspace, then --resume")


def _failures(rows: Sequence[dict[str, float]]) -> int:
    """Last trials in a row that did not end in predicted success."""
    return next((k for k, row in enumerate(reversed(rows)) if row["predicted_success"]), len(rows))


def _denied_pushes(trial: Episode) -> int:
    return int((trial.notes["touch"] == 2).sum())


def _first(recorder: Recorder) -> Observation:
    return {name: recorder.seen(name)[0][None] for name in recorder.observation}
