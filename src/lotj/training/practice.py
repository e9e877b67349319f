"""Practice: trial by trial an agent acts and learns, whatever the task (LOTJ section V-C).

What differs is passed in: who makes a trial and judges it (`SelfJudged` a robot by itself, `Rewarded` an environment
that rewards), the agent, the prior data. Every trial draws its random numbers from (seed of the run, number of the
trial), and is stored with its checkpoint before the next one starts. So a killed run loses the running trial at most
and, resumed, ends in the same weights as one that was never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lotj.agents import At, Learner
from lotj.data.replay import DERIVED, Contexts, Relabel, Replay, Source
from lotj.errors import CheckpointError, FaultError, RobotError, SettingsError
from lotj.experience import Episode, Observation, Task, batch_of_one
from lotj.rewards.judge import Judge
from lotj.runs import Run
from lotj.training.exploration import Exploration, boost
from lotj.training.live_view import LiveView, Watcher
from lotj.training.loop import means
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig
from lotj.training.trials import Trials

CHECKPOINT = "practice"
"""Name of the checkpoint in the run folder: the agent after the last finished trial."""

MAX_LOST = 10
"""Trials in a row that may be lost before practice stops."""

KEPT_WINDOW, KEPT_LEAST, KEPT_SLACK, KEPT_RECENT = 20, 5, 3, 5
"""The policy after a trial is worth keeping if at least 5 of the last 20 trials count as successes, one of them among
the last 5, and no more than 3 fewer than of the best 20 in a row so far (chance alone makes that of 20 trials that
succeed nine times in ten)."""

Q_GRADIENT_SUCCESSES = 10
"""Predicted successes at which the weight of Q's gradient is full; it grows from 0 in proportion to them. A Q that has
not seen this part succeed overestimates unknown states, and can lead the policy away for good (lab notes)."""

ALARM_TRIALS = 25
"""A trial from this one on gives an alarm while no policy of practice is worth keeping: the self-reward sees hardly any
success."""

RETRY_S, PATIENCE_S = 1.0, 1800.0
"""A robot that has failed is tried again so often [s], and so long, before practice stops."""

PURPOSES = {"exploration": 1, "updates": 2, "withdrawal": 3, "start": 4}
"""What random numbers of a trial are for, each a stream of its own."""


@dataclass(frozen=True)
class Attempted:
    """What came of a trial."""

    episodes: Sequence[Episode]  # the trial, and what followed from it
    row: Mapping[str, float]  # its line of figures, with ``moves``, the motions of the robot up to the trial's end
    lost: bool  # the robot has lost its part and grasps it anew


class Practitioner(Protocol):
    """Who makes trials."""

    @property
    def judge(self) -> Judge | None:
        """Says afterwards what trials are worth; None where the environment rewards."""
        ...

    def attempt(self, number: int, act: Exploration, trials: Trials) -> Attempted:
        """Trial `number`, from 1; `trials` holds those before it."""
        ...

    def see(self, episode: Episode) -> None:
        """Takes in what a trial has brought, now or before the run was stopped."""
        ...


@dataclass(frozen=True)
class PracticeResult:
    """What came of practice, as far as the learner can know."""

    trials: int  # finished, all sittings of the run together
    predicted_successes: int  # trials that count as successes
    lost: int  # trials that ended because the part was lost
    kept: int  # the trial whose policy is kept; 0: the one that practice began with
    alarm: bool = False  # the self-reward sees hardly any success on this part


def trial_seed(run_seed: int, number: int) -> int:
    """Seed of the start of trial `number` (from 1)."""
    return int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def generator(run_seed: int, number: int, purpose: str) -> np.random.Generator:
    """Random numbers of trial `number`, for one of `PURPOSES`."""
    return np.random.default_rng([run_seed, number, PURPOSES[purpose]])


def finished_trials(run: Run) -> int:
    """How many trials the run's checkpoint holds: practice resumed goes on with the next one."""
    return int(run.load(CHECKPOINT)["trial"]) if run.has(CHECKPOINT) else 0


def checkpoint_after(trial: int) -> str:
    """Name of the checkpoint that is the snapshot of a trial, see `practice`."""
    return f"{CHECKPOINT}-{trial}"


def practice(
    practitioner: Practitioner,
    learner: Learner,
    prior: Sequence[Source],
    config: PracticeConfig,
    run: Run,
    task: str = "practised",
    relabel: Sequence[Relabel] = (),
    live: bool = True,
    resume: bool = False,
    until: int | None = None,
    snapshots: Collection[int] = (),
    contexts: Contexts | None = None,
    watcher: Watcher | None = None,
) -> PracticeResult:
    """Lets an agent practise, trial by trial.

    Args:
        practitioner, learner: makes the trials; acts and learns, changed in place.
        prior: what it learns from besides; their shares add up to 1 - `config.online_fraction`.
        config: settings.
        run: where metrics (one line a trial), trials and the checkpoint go; its seed is the seed of practice.
        task: name of what is practised.
        relabel: what is done to the practised transitions that are drawn, e.g. hindsight.
        live: show what goes on.
        resume: go on after the run's last finished trial; with none, from the beginning.
        until: stop after this trial, to be resumed later; None does all.
        snapshots, contexts: trials whose checkpoints stay, by `checkpoint_after`; demonstrations, see `Replay`.
        watcher: looks on, and may have practice wait or stop between trials.

    Raises:
        RobotError: it refused a command, lost its part `MAX_LOST` times in a row, or was gone for `PATIENCE_S`. A fault
            that passes costs the running trial, which is made again.
        NumericsError: a score or a loss is not finite.
        SettingsError: the exploration boost for other actions than motions along three axes.
        CheckpointError: the run holds practice already and `resume` is False, or its files are damaged.
        StorageError: the disk is full.
        KeyboardInterrupt: Ctrl-C.

    Whatever ends it, finished trials are saved; of those since the last checkpoint only if it came not in the updates.
    """
    torch.set_num_threads(config.threads)
    if isinstance(config, SelfJudgedConfig) and config.boost and learner.spec.action != (3,):
        raise SettingsError(f"practice boost with actions of shape {learner.spec.action}: it moves along three axes")
    if run.has(CHECKPOINT) and not resume:
        raise CheckpointError(f"{run.path} holds {finished_trials(run)} trials: give --resume or start a new run")
    sitting = _Sitting(practitioner, learner, prior, config, run, task, relabel, snapshots, contexts)
    try:
        done = sitting.restore()
        if watcher is not None:
            watcher.begin(run, practitioner, config.trials)
        with LiveView(str(run.path), config.trials, run.metrics(), live, watcher=watcher) as view:
            for number in range(done + 1, min(config.trials, until or config.trials) + 1):
                if not (view.ready() and _whatever_fails(sitting, number, view)):
                    break
    finally:
        sitting.close()
    rows = run.metrics()
    return PracticeResult(
        trials=len(rows),
        predicted_successes=sum(row["predicted_success"] for row in rows),
        lost=sum(row["lost"] for row in rows),
        kept=sitting.kept,
        alarm=bool(rows and rows[-1].get("alarm")),
    )


def _whatever_fails(sitting: _Sitting, number: int, view: LiveView) -> bool:
    """A trial, begun anew as often as the robot fails in it, once the robot is back: nothing of it is kept before it is
    over, and its random numbers are its own, so that it comes out as if nothing had been. False: stopped meanwhile."""
    failed, since = 0, time.monotonic()
    while True:
        try:
            sitting.trial(number, view)
            break
        except FaultError as error:
            if not failed:
                view.note(f"trial {number}: paused, its trial is discarded: {error}; goes on when the robot is back")
            failed += 1
            if time.monotonic() - since > PATIENCE_S:
                raise RobotError(f"{error}; for {PATIENCE_S / 60:.0f} minutes: mend it, then --resume") from None
            time.sleep(RETRY_S)
            if not view.ready():
                return False
    if failed:
        view.note(f"trial {number}: the robot is back after {time.monotonic() - since:.0f} s, at attempt {failed + 1}")
    return True


class _Sitting:
    """What one sitting of practice carries from trial to trial; its parts decide, this only passes on."""

    def __init__(
        self, practitioner: Practitioner, learner: Learner, prior: Sequence[Source], config: PracticeConfig, run: Run,
        task: str, relabel: Sequence[Relabel], snapshots: Collection[int], contexts: Contexts | None,
    ) -> None:  # fmt: skip
        self._practitioner, self._learner, self._config, self._run = practitioner, learner, config, run
        self._snapshots = snapshots
        seen = sorted(learner.reads | ({"achieved_goal"} if relabel else set()))
        self.trials = Trials(run.path / "trials", Task(task, task), seen, config.imitate == "successes")
        share = config.online_fraction if prior else 1.0
        self._online = Source(self.trials.store, share, np.zeros(0, np.int64), {}, practised=True, relabel=relabel)
        columns, sources = sorted(({"imitate"} | DERIVED) & learner.needs), [self._online, *prior]
        self._replay = Replay(
            sources, config.batch_size, columns, observation=seen, discount=learner.discount, contexts=contexts
        )
        self._rows: list[dict[str, Any]] = []
        self._unsaved = 0  # the last trial, where the learner is as after it and no checkpoint holds it
        self.kept = 0  # the trial whose policy stays, see `_keep`
        self._kept_agent: dict[str, Any] | None = None  # its state, where it is neither the first nor the last

    def restore(self) -> int:
        """Takes up the run's checkpoint; returns the number of trials it holds (0 if there is none yet)."""
        done = 0
        if self._run.has(CHECKPOINT):
            state = self._run.load(CHECKPOINT)
            done = state["trial"]
            self._learner.restore(state["agent"])
            self.kept, self._kept_agent = state.get("kept", done), state.get("kept_agent")
        self._run.rewind(done)
        self._rows = self._run.metrics()
        for episode in self.trials.restore(done):
            self._practitioner.see(episode)
        self.trials.judge(self._practitioner.judge, self._online)
        return done

    def trial(self, number: int, view: LiveView) -> None:
        """One trial with its updates; when it returns, the trial is on disk and in the checkpoint."""
        started = time.perf_counter()
        config, seed = self._config, trial_seed(self._run.seed, number)
        attempted = self._practitioner.attempt(number, self._exploration(number), self.trials)
        self.trials.append(attempted.episodes)
        for episode in attempted.episodes:
            self._practitioner.see(episode)
        self.trials.judge(self._practitioner.judge, self._online)
        verdict = self.trials.verdict(number)
        row: dict[str, Any] = {"trial": number, "seed": seed, "steps": verdict.steps, "lost": int(attempted.lost)}
        row |= {"predicted_success": int(verdict.success), "rejected_pose": int(verdict.rejected == "another pose")}
        row |= attempted.row
        self._unsaved = 0
        judged = self._practitioner.judge is not None
        before = self._learner.state() if self.kept == number - 1 and self.kept else self._kept_agent
        row |= self._learn(verdict.steps, number)
        if not judged or self._succeeds(number):
            self.kept, self._kept_agent = number, None
        else:
            self._kept_agent = before
        if judged:
            row |= {"kept": self.kept, "alarm": int(number >= ALARM_TRIALS and not self.kept)}
        row["seconds"] = time.perf_counter() - started
        self._run.log(number, row)
        self._rows.append(row)
        self._unsaved = number
        if number % config.save_every == 0 or number in self._snapshots:
            self.save()
        view.trial(row)
        if attempted.lost:
            view.note(f"trial {number}: the part was lost; it is grasped anew")
            lost = _last_in_a_row(self._rows, lambda row: not row["lost"])
            # Not `>=`: whoever has mended the gripper and resumes shall get as many trials again.
            if lost % MAX_LOST == 0:
                raise RobotError(
                    f"the part was lost in {lost} trials in a row: check grip and workspace, then --resume"
                )

    def save(self) -> None:
        """A checkpoint of the trials finished, unless there is one."""
        number, self._unsaved = self._unsaved, 0
        if number:
            state = {"trial": number, "agent": self._learner.state(), "kept": self.kept, "kept_agent": self._kept_agent}
            if number in self._snapshots:  # first: once the other is there, practice resumed goes on behind it
                self._run.save(checkpoint_after(number), state)
            self._run.save(CHECKPOINT, state)

    def close(self) -> None:
        """Saves what is finished, and lets go of the files."""
        try:
            self.save()
        finally:
            self.trials.close()

    def _succeeds(self, number: int) -> bool:
        """Whether the policy after trial `number` is one that stays.

        A robot that judges itself may be wrong, and then practice makes its policy worse. So what stays is the last
        policy whose own trials succeed, by all that is known now of these: what has been rejected since does not count.
        Without any the policy stays that practice began with. Where the environment rewards, its word is true and the
        last policy stays.
        """
        won = [self.trials.verdict(n).success for n in range(1, number + 1)]
        last = np.convolve(won, np.ones(KEPT_WINDOW, int))[:number]  # of the window up to each trial
        return any(won[-KEPT_RECENT:]) and bool(last[-1] >= max(KEPT_LEAST, last.max() - KEPT_SLACK))

    def _exploration(self, number: int) -> Exploration:
        config = self._config
        passed = (number - 1) / max(config.trials - 1, 1)
        failures = _last_in_a_row(self._rows, lambda row: row["predicted_success"])
        boosts = isinstance(config, SelfJudgedConfig) and config.boost
        boosted = boost(self.trials.successes, failures) if boosts else 0.0
        rng = generator(self._run.seed, number, "exploration")
        return Exploration(self._act, config.exploration_noise * (1 - passed), boosted, rng)

    def _learn(self, steps: int, number: int) -> dict[str, float]:
        """The updates due for `steps` steps; means of what they say."""
        config = self._config
        if len(self.trials) < config.warmup_trials or not config.updates_per_step:
            return {"updates": 0}
        rng, learner = generator(self._run.seed, number, "updates"), self._learner
        ramp = {"q_gradient": min(1.0, self.trials.successes / Q_GRADIENT_SUCCESSES)}
        weights = {name: weight for name, weight in ramp.items() if name in learner.terms}
        started, updates = time.perf_counter(), round(steps * config.updates_per_step)
        told = [learner.update(self._replay.sample(rng), At(learner.updates, weights=weights)) for _ in range(updates)]
        named = {("loss/" + k[5:] if k.startswith("loss_") else "agent/" + k): v for k, v in means(told).items()}
        return named | {"updates": updates, "updates_per_second": updates / (time.perf_counter() - started)}

    def _act(self, observation: Observation, spread: float, rng: np.random.Generator) -> np.ndarray:
        return self._learner.act(batch_of_one(observation), spread, rng)[0]


def _last_in_a_row(rows: Sequence[Mapping[str, float]], ended: Callable[[Mapping[str, float]], Any]) -> int:
    """How many trials there are since the last whose row says that the series has `ended`."""
    return next((k for k, row in enumerate(reversed(rows)) if ended(row)), len(rows))
