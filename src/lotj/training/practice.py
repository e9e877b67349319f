"""Practice on a connector never seen before, with the robot as its own judge (LOTJ sections V-C and V-E).

The learner gets images and nothing else. The reward of a step is what the reward model says of the image after it; an
episode ends when the model says success or at the step limit. Ground truth has no way in: a `Robot` has none to give.

Every trial draws its random numbers from (seed of the run, number of the trial), and is stored with its checkpoint
before the next one starts. So a killed run loses the running trial at most and, resumed, ends in the same weights as
one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from lotj.data.dataset import Dataset
from lotj.data.replay import (
    MixedReplay,
    OfflineFeatures,
    OfflineImages,
    OnlineBuffer,
    TransitionSource,
    Trial,
    first_success,
)
from lotj.errors import CheckpointError, DislodgedError, NumericsError, RobotError
from lotj.experience import Batch, is_kind
from lotj.robots.robot import Robot
from lotj.runs import Run
from lotj.training.live_view import LiveView
from lotj.training.practice_config import PracticeConfig
from lotj.training.practice_exploration import Actor, boldness, explore
from lotj.training.practice_features import FeatureEncoder, prepare_features
from lotj.training.practice_place import Places
from lotj.training.practice_threshold import Threshold
from lotj.training.practice_touch import PRESS, PUSHES, FreeMotion, alarming, gives_way, picture_change
from lotj.training.practice_trials import RunningTrial, UpdateMeans, load_trial, save_trial, trial_path
from lotj.training.practice_withdrawal import take_out, ways_out

CHECKPOINT = "practice"
"""Name of the checkpoint in the run folder: the agent after the last finished trial."""


class Agent(Actor, FeatureEncoder, Protocol):
    """What practice asks of an agent."""

    @property
    def image_size(self) -> int:
        """Side of the images it was made for [pixels]."""
        ...

    def freeze_convolutions(self, frozen: bool = True) -> None:
        """Fix the convolutions, or let them learn."""
        ...

    def value(self, observation: Any) -> np.ndarray:
        """(B,) values of images or their features."""
        ...

    def update(
        self,
        batch: Batch,
        progress: float = 1.0,
        *,
        advantage_scale: float | None = None,
        q_gradient_weight: float | None = None,
    ) -> dict[str, float]:
        """One gradient step; returns named numbers, losses as ``loss_<name>``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that further updates depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        ...


class RewardModel(Protocol):
    """What practice asks of a reward model."""

    threshold: float

    @property
    def image_size(self) -> int:
        """Side of the images it was made for [pixels]."""
        ...

    def score(self, images: np.ndarray) -> np.ndarray:
        """(N,) probability of success of (N, H, W, 3) uint8 images."""
        ...


@dataclass(frozen=True)
class PracticeResult:
    """What came of practice, as far as the learner can know.

    Attributes:
        trials: finished or discarded trials of the run, all sittings together.
        predicted_successes: trials that ended because the reward model said success.
        discarded: trials lost to a dislodged plug.
        alarm: the last trials' touches say that the self-reward is not to be trusted on this part.
    """

    trials: int
    predicted_successes: int
    discarded: int
    alarm: bool = False


def trial_seed(run_seed: int, number: int) -> int:
    """Seed of the start pose of trial `number` (from 1): `Robot.reset` is called with it."""
    return int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def finished_trials(run: Run) -> int:
    """How many trials the run's checkpoint holds: practice resumed goes on with the next one."""
    return int(run.load(CHECKPOINT)["trial"]) if run.has(CHECKPOINT) else 0


def practice(
    robot: Robot,
    agent: Agent,
    reward_model: RewardModel,
    offline: OfflineFeatures | Dataset,
    config: PracticeConfig,
    run: Run,
    live: bool = True,
    resume: bool = False,
    until: int | None = None,
) -> PracticeResult:
    """Lets a robot practise and its agent learn, trial by trial, on the reward model's word.

    Args:
        robot: gives images, takes motions. The caller closes it.
        agent: pretrained; it is changed in place.
        reward_model: judges images.
        offline: prior data of other connectors, or features made of it beforehand.
        config: settings.
        run: where metrics (one line a trial), trials and the checkpoint go; its seed is the seed of practice.
        live: show what goes on.
        resume: go on after the run's last finished trial; with none, from the beginning.
        until: stop after this trial, to be resumed later; None does all.

    Raises:
        RobotError: the robot refused a command, or its plug was dislodged `max_dislodged` times in a row.
        NumericsError: a score or a loss is not finite. All finished trials are saved.
        CheckpointError: the run holds practice already and `resume` is False, or its files are damaged.
        StorageError: the disk is full.
        KeyboardInterrupt: Ctrl-C. All finished trials are saved.
    """
    torch.set_num_threads(config.threads)
    if run.has(CHECKPOINT) and not resume:
        raise CheckpointError(f"{run.path} holds {finished_trials(run)} trials: give --resume or start a new run")
    for judge, maker in (("agent", agent), ("reward model", reward_model)):
        if maker.image_size != robot.image_size:
            raise CheckpointError(
                f"the camera gives {robot.image_size} px images, the {judge} was made for {maker.image_size} px: "
                "change the camera's image size or choose another pretraining run"
            )
    agent.freeze_convolutions(config.freeze_convolutions)
    source = _offline_source(offline, agent, config, live)
    learner = _Practice(robot, agent, reward_model, source, config, run)
    done = learner.restore() if resume else 0
    past = run.metrics()
    with LiveView(str(run.path), config.trials, past, live) as view:
        learner.view = view
        for number in range(done + 1, min(config.trials, until or config.trials) + 1):
            learner.trial(number)
    rows = run.metrics()
    return PracticeResult(
        trials=len(rows),
        predicted_successes=sum(row["predicted_success"] for row in rows),
        discarded=sum(row.get("discarded", 0) for row in rows),
        alarm=bool(rows and rows[-1].get("alarm", 0)),
    )


def _offline_source(
    offline: OfflineFeatures | Dataset, agent: Agent, config: PracticeConfig, live: bool
) -> TransitionSource:
    if isinstance(offline, OfflineFeatures):
        return offline
    offline = offline.subset(is_kind(offline.episodes["kind"], config.offline_kinds))
    if config.freeze_convolutions:
        return prepare_features(offline, agent, config.features, live)
    return OfflineImages(offline)


def _least(config: PracticeConfig, reward_model: RewardModel) -> float:
    """The threshold before any trial."""
    if config.reward_threshold is not None:
        return config.reward_threshold
    return min(reward_model.threshold, config.calibration_least) if config.calibrate else reward_model.threshold


def _margin(config: PracticeConfig) -> float:
    """Of the calibrated threshold below the trials' best scores [logits]."""
    if config.calibration_margin is not None:
        return config.calibration_margin
    return 2.5 if config.confirm == "touch" else 1.0


def _denied(row: Mapping[str, float]) -> int:
    """How often what looked seated was found not to be, from a trial's line."""
    return int(row.get("denied_pushes", 0) + row.get("denied_place", 0))


def _generator(run_seed: int, number: int, purpose: Literal["exploration", "updates", "ways"]) -> np.random.Generator:
    """Random numbers of trial `number`: for the policy's motions, the batches that are drawn, or the ways out."""
    return np.random.default_rng([run_seed, number, {"exploration": 1, "updates": 2, "ways": 3}[purpose]])


class _Practice:
    """The trial loop and what it carries from trial to trial."""

    def __init__(
        self,
        robot: Robot,
        agent: Agent,
        reward_model: RewardModel,
        offline: TransitionSource,
        config: PracticeConfig,
        run: Run,
    ) -> None:
        self._robot = robot
        self._agent = agent
        self._reward_model = reward_model
        margin = _margin(config) if config.calibrate else None
        self._threshold = Threshold(_least(config, reward_model), config.calibration_quantile, margin)
        self._config = config
        self._run = run
        self._buffer = OnlineBuffer(not config.freeze_convolutions, config.imitate == "successes")
        self._replay = MixedReplay(self._buffer, offline, config.batch_size, config.online_fraction)
        self._free = FreeMotion()
        self._places = Places()
        self._discarded: list[int] = []
        self._failures = 0  # last trials in a row that did not end in predicted success
        self._denied: list[int] = []  # pushes that gave way and wrong places, of each trial that counts
        self.view = LiveView(str(run.path), config.trials, shown=False)

    def restore(self) -> int:
        """Takes up the run's checkpoint; returns the number of trials it holds (0 if there is none yet)."""
        done = 0
        if self._run.has(CHECKPOINT):
            state = self._run.load(CHECKPOINT)
            done, self._discarded = state["trial"], state["discarded"]
            self._failures = state.get("failures", 0)  # runs from before exploration was bold have none
            self._agent.load_state_dict(state["agent"])
            for number in range(1, done + 1):
                if number not in self._discarded or trial_path(self._run.path, number).exists():
                    self._take_in(load_trial(self._run.path, number), self._load_ways(number))
        self._run.rewind(done)
        self._denied = [_denied(row) for row in self._run.metrics() if not row["discarded"]]
        return done

    def _load_ways(self, number: int) -> list[Trial]:
        """The ways in that were seen after a finished trial."""
        ways: list[Trial] = []
        while trial_path(self._run.path, number, len(ways) + 1).exists():
            ways.append(load_trial(self._run.path, number, len(ways) + 1))
        return ways

    def trial(self, number: int) -> None:
        """One trial with its updates; when it returns, the trial is on disk and in the checkpoint."""
        started = time.perf_counter()
        steps, updates = RunningTrial(), UpdateMeans()
        lost: RobotError | None = None
        threshold = self._threshold.value
        try:
            self._attempt(number, steps, updates)
        except DislodgedError as error:
            lost = error
            self._discarded.append(number)
            if self._config.dislodged == "failure" and steps.tried is not None:
                self._keep(steps.finish_lost(number), updates)
            else:  # what a killed sitting may have left
                trial_path(self._run.path, number).unlink(missing_ok=True)
        else:
            self._keep(steps.finish(number), updates, self._withdraw(number, steps) if steps.success else [])
            self._denied.append(_denied(steps.row()))
        row = {"trial": number, "seed": trial_seed(self._run.seed, number), "discarded": int(lost is not None)}
        row |= steps.row() | updates.row()
        row |= {"threshold": threshold, "alarm": int(alarming(self._denied))}
        row["seconds"] = time.perf_counter() - started
        self._failures = 0 if row["predicted_success"] else self._failures + 1
        self._run.log(number, row)
        state = {"trial": number, "discarded": self._discarded, "failures": self._failures}
        self._run.save(CHECKPOINT, state | {"agent": self._agent.state_dict()})
        self.view.trial(row)
        if lost is not None:
            self._report_loss(number, lost)

    def _keep(self, trial: Trial, updates: UpdateMeans, ways: Sequence[Trial] = ()) -> None:
        """To the disk and into the buffer with a finished trial and the ways in that were seen after it, and the
        updates that are due for the trial."""
        save_trial(self._run.path, trial)
        for number, way in enumerate(ways, 1):
            save_trial(self._run.path, way, number)
        trial_path(self._run.path, trial.number, len(ways) + 1).unlink(missing_ok=True)  # a killed sitting may leave it
        self._take_in(trial, ways)
        if self._config.update_when == "trial":
            self._learn(len(trial), updates, _generator(self._run.seed, trial.number, "updates"))

    def _take_in(self, trial: Trial, ways: Sequence[Trial] = ()) -> None:
        """Into the buffer with a finished trial; then all are judged by the threshold that follows from all scores."""
        self._buffer.append(trial)
        for way in ways:
            self._buffer.append(way, way_in=True)
        if trial.lost:
            return
        self._free.see(trial.frames, trial.actions)
        self._threshold.see(trial.scores)
        config = self._config
        if config.one_place and trial.rewards.any():
            self._places.see(trial.number, trial.frames[-1], float(trial.scores[-1]))
        if config.calibrate or config.one_place:
            # Touch has denied what ended in no success; nobody has touched the frames below the threshold of then.
            touched = config.confirm == "touch"
            self._buffer.relabel(self._threshold.value, config.hold_frames, touched, self._places.denied)

    def _attempt(self, number: int, steps: RunningTrial, updates: UpdateMeans) -> None:
        """Moves the robot until the prediction says success or the limit is reached; fills `steps` and `updates`."""
        config = self._config
        exploration = _generator(self._run.seed, number, "exploration")
        policy = torch.Generator().manual_seed(int(exploration.integers(2**62)))
        sampling = _generator(self._run.seed, number, "updates")
        passed = (number - 1) / max(config.trials - 1, 1)
        steps.bold = boldness(config, self._buffer.successes, self._failures)
        steps.begin(self._observe(self._robot.reset(trial_seed(self._run.seed, number))))
        steps.value = float(self._agent.value(steps.observation)[0])
        while len(steps.actions) < config.max_steps:
            action = explore(self._agent, steps.observation, config, passed, steps.bold, exploration, policy)
            steps.tried = action
            self._add(number, steps, action, self._move(steps, action))
            steps.tried = None
            if config.update_when == "step":
                self._learn(1, updates, sampling)
            scores = np.array(steps.scores)
            if first_success(scores, self._threshold.value, config.hold_frames) == len(scores):
                continue
            if config.confirm == "look" or self._sits(number, steps):
                steps.elsewhere = self._places.elsewhere(steps.frames[-1])
                steps.success = not steps.elsewhere
                return

    def _add(self, number: int, steps: RunningTrial, action: np.ndarray, frame: np.ndarray) -> None:
        """Takes a step of the robot into the trial, with the reward model's score of the frame after it."""
        score = float(self._reward_model.score(frame[None])[0])
        if not math.isfinite(score):
            raise NumericsError(
                f"reward score {score} in trial {number}, step {len(steps.actions) + 1}: must be a probability; "
                f"trials 1 to {number - 1} are saved, mend the reward model and --resume"
            )
        steps.add(action, score, self._observe(frame))
        self.view.status(f"step {len(steps.actions)}, score {score:.2f}")

    def _sits(self, number: int, steps: RunningTrial) -> bool:
        """Presses and pushes. Where the plug gives way these motions are steps of the trial, which has had no success.

        Before any free motion was seen there is nothing to compare with, and the reward model's word stands.
        """
        typical = self._free_motion(steps)
        if typical is None:
            return True
        done: list[tuple[np.ndarray, np.ndarray]] = []
        for motion in (PRESS, *PUSHES):
            before = done[-1][1] if done else steps.frames[-1]
            action = np.array(motion, np.float32)
            done.append((action, self._move(steps, action)))
            if gives_way(picture_change(before, done[-1][1]), motion, typical):
                steps.refute()
                for action, frame in done[: self._config.max_steps - len(steps.actions)]:
                    self._add(number, steps, action, frame)
                if motion != PRESS:
                    steps.refute()  # a press may have brought the plug home, a push has not
                    steps.denied += 1
                return False
        if self._config.keep_press:
            self._add(number, steps, *done[0])
            steps.pressed = 1
        return True

    def _move(self, steps: RunningTrial, action: np.ndarray) -> np.ndarray:
        """Moves the robot and counts it; returns the frame."""
        steps.moves += 1
        return self._robot.move(action)

    def _withdraw(self, number: int, steps: RunningTrial) -> list[Trial]:
        """Takes the plug out after one of the first successes; returns the ways in that this shows."""
        if self._buffer.successes >= self._config.withdrawals:
            return []
        rng = _generator(self._run.seed, number, "ways")
        on_seat = self._config.hold_frames - 1 + steps.pressed
        ways = ways_out(steps.actions[: len(steps.actions) - on_seat], self._config.ways, self._robot.action_scale, rng)
        return take_out(self._robot, ways, self._observe, number)

    def _free_motion(self, steps: RunningTrial) -> float | None:
        """What the trials so far show; before they show any, the running one."""
        typical = self._free.typical
        if typical is None:
            running = FreeMotion()
            running.see(steps.frames, steps.actions)
            typical = running.typical
        return typical

    def _observe(self, frame: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The frame and its features, none if the convolutions still learn."""
        if not self._config.freeze_convolutions:
            return frame, {}
        return frame, {name: values[0].numpy() for name, values in self._agent.encode(frame[None]).items()}

    def _learn(self, steps: int, updates: UpdateMeans, rng: np.random.Generator) -> None:
        """The updates due for `steps` steps of the robot."""
        config = self._config
        if self._buffer.trials < config.warmup_trials:
            return
        pull = config.q_gradient_weight * min(1.0, self._buffer.successes / config.q_gradient_successes)
        started = time.perf_counter()
        for _ in range(steps * config.updates_per_step):
            batch = self._replay.sample(rng)
            updates.add(self._agent.update(batch, advantage_scale=config.advantage_scale, q_gradient_weight=pull))
        updates.seconds += time.perf_counter() - started

    def _report_loss(self, number: int, error: RobotError) -> None:
        """Says that a trial was void, and stops where that has become the rule."""
        self.view.note(f"trial {number} discarded: {error}")
        row = 0
        while number - row in self._discarded:
            row += 1
        # Not `>=`: whoever has mended the gripper and resumes shall get as many trials again.
        if row % self._config.max_dislodged == 0:
            raise RobotError(f"{row} trials in a row were void ({error}): check grip and workspace, then --resume")
