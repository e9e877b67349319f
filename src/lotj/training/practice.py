"""Practice: trial by trial an agent acts and learns, whatever the task (LOTJ section V-C).

What differs is passed in: who makes a trial and judges it (`SelfJudged` a robot by itself, `Rewarded` an environment
that rewards), the agent, the prior data. Every trial draws its random numbers from (seed of the run, number of the
trial), and is stored with its checkpoint before the next one starts. So a killed run loses the running trial at most
and, resumed, ends in the same weights as one that was never stopped.

Several may make trials at once, each on a bench of its own. They are learnt from in the order in which they come in,
and who has brought one begins the next with the policy as it is then: that order decides what is learnt, nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from lotj.agents import At, Learner
from lotj.data.replay import DERIVED, Contexts, Relabel, Replay, Source
from lotj.errors import CheckpointError, RobotError, SettingsError, counted
from lotj.experience import Episode, Task
from lotj.rewards.judge import Judge
from lotj.runs import Run
from lotj.training.exploration import Exploration, acting, boost
from lotj.training.live_view import LiveView, Watcher
from lotj.training.loop import means
from lotj.training.practice_config import PracticeConfig, SelfJudgedConfig
from lotj.training.trials import Past, Trials
from lotj.training.turns import Turns

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

    def attempt(self, number: int, act: Exploration, past: Past) -> Attempted | Future[Attempted]:
        """Trial `number`, from 1, or the promise of it where it is made elsewhere; `past` holds those before it."""
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

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], kept: int) -> PracticeResult:
        """From the run's lines of figures, one a trial, and the trial whose policy is kept."""
        successes, lost = (sum(row[name] for row in rows) for name in ("predicted_success", "lost"))
        return cls(len(rows), successes, lost, kept, bool(rows and rows[-1].get("alarm")))


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
    practitioner: Practitioner | Sequence[Practitioner],
    learner: Learner,
    prior: Sequence[Source],
    config: PracticeConfig,
    run: Run,
    task: str | Sequence[str] = "practised",
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
        practitioner: makes the trials, or several that do.
        learner: acts and learns, changed in place.
        prior: what it learns from besides; their shares add up to 1 - `config.online_fraction`.
        config: settings.
        run: where metrics (one line a trial), trials and the checkpoint go; its seed is the seed of practice.
        task: name of what is practised; one for each practitioner, no two alike.
        relabel: what is done to the practised transitions that are drawn, e.g. hindsight.
        live: show what goes on.
        resume: go on after the run's last finished trial; with none, from the beginning.
        until: stop after this trial, to be resumed later; None does all.
        snapshots, contexts: trials whose checkpoints stay, by `checkpoint_after`; demonstrations, see `Replay`.
        watcher: looks on, and may have practice wait or stop between trials; of several robots each may finish the one
            that it makes meanwhile, which is not learnt from before practice goes on.

    Raises:
        RobotError: it refused a command, lost its part `MAX_LOST` times in a row, or was gone for half an hour. A fault
            that passes costs the running trial, which is made again. Of several robots those that have failed cost
            theirs, and practice goes on with the rest.
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
        raise CheckpointError(
            f"{run.path} holds {counted(finished_trials(run), 'trial')}: give --resume or start a new run"
        )
    several = isinstance(practitioner, Sequence)
    tasks = [task] if isinstance(task, str) else task
    benches = dict(zip(tasks, practitioner if several else [practitioner], strict=True))
    sitting = _Sitting(benches, learner, prior, config, run, relabel, snapshots, contexts)
    try:
        sitting.practise(min(config.trials, until or config.trials), live, watcher)
    finally:
        sitting.close()
    return PracticeResult.of(run.metrics(), sitting.kept)


class _Sitting:
    """What one sitting of practice carries from trial to trial; its parts decide, this only passes on."""

    def __init__(
        self, benches: Mapping[str, Practitioner], learner: Learner, prior: Sequence[Source], config: PracticeConfig,
        run: Run, relabel: Sequence[Relabel], snapshots: Collection[int], contexts: Contexts | None,
    ) -> None:  # fmt: skip
        self.benches, self._learner, self._config, self._run = benches, learner, config, run
        self._judges = {name: who.judge for name, who in benches.items() if who.judge is not None}
        self._snapshots = snapshots
        every = [*relabel, *(of for source in prior for of in source.relabel)]  # one batch holds them all
        seen = sorted(learner.reads.union(*(getattr(of, "reads", ("achieved_goal",)) for of in every)))
        self.trials = Trials(
            run.path / "trials", [Task(name, name) for name in benches], seen, config.imitate == "successes"
        )
        share = config.online_fraction if prior else 1.0
        self._online = Source(self.trials.store, share, np.zeros(0, np.int64), {}, practised=True, relabel=relabel)
        columns, sources = sorted(({"imitate"} | DERIVED) & learner.needs), [self._online, *prior]
        how: dict[str, Any] = {"observation": seen, "discount": learner.discount, "ahead": learner.ahead}
        self._replay = Replay(sources, config.batch_size, columns, contexts=contexts, **how)
        self._rows: list[dict[str, Any]] = []
        self._unsaved = 0  # the last trial, where the learner is as after it and no checkpoint holds it
        self._begun = 0  # the last number that a trial was begun with
        self._skipped = 0  # of these numbers those that are not to be begun with again, though their trials may be lost
        self._last = 0.0  # when the last trial was over, with its updates
        self.kept = 0  # the trial whose policy stays, see `_keep`
        self._kept_agent: dict[str, Any] | None = None  # its state, where it is neither the first nor the last

    def restore(self) -> int:
        """Takes up the run's checkpoint; returns the number of trials it holds (0 if there is none yet)."""
        done = 0
        if self._run.has(CHECKPOINT):
            state = self._run.load(CHECKPOINT)
            done = state["trial"]
            self._begun = done + state.get("skipped", 0)
            self._learner.restore(state["agent"])
            self.kept, self._kept_agent = state.get("kept", done), state.get("kept_agent")
        self._run.rewind(done)
        self._rows = self._run.metrics()
        if len(self._rows) < done:
            held = f"{self._run.path / 'metrics.jsonl'} holds {len(self._rows)} of {counted(done, 'trial')}"
            raise CheckpointError(f"{held}: restore it from a copy, or start a new run")
        for episode in self.trials.restore(done):
            self.benches[episode.task].see(episode)
        self.trials.judge(self._judges, self._online)
        self._last = time.perf_counter()
        return done

    def practise(self, last: int, live: bool, watcher: Watcher | None) -> None:
        """All trials from where the run stands to the `last`, unless the watcher stops it before."""
        run, trials = self._run, self._config.trials
        done = self.restore()
        if watcher is not None:
            watcher.begin(run, next(iter(self.benches.values())), trials)
        with LiveView(str(run.path), trials, run.metrics(), live, watcher=watcher) as view:
            robots = Turns([*self.benches], self.begin, self.take_number, view)
            for number in range(done + 1, last + 1):
                if not view.ready() or (came := robots.next(last + 1 - number)) is None:
                    break
                self.learn(number, *came, view)

    def take_number(self) -> int:
        """The number of a trial that is to be begun: its random numbers are drawn from it."""
        self._begun += 1
        return self._begun

    def begin(self, bench: str, number: int) -> Future[Attempted]:
        """Begins a trial; where it is made here it is over then."""
        made: Future[Attempted] = Future()
        try:
            came = self.benches[bench].attempt(number, self._exploration(bench, number), self.trials.past(bench))
            if isinstance(came, Future):
                return came
            made.set_result(came)
        except Exception as error:
            made.set_exception(error)
        return made

    def learn(self, number: int, bench: str, begun: int, attempted: Attempted, view: LiveView) -> None:
        """The updates after the `number`-th trial to come in; when it returns, the trial is on disk and in the
        checkpoint.

        Args:
            bench, begun: where it was made, and the number that it was begun with.
        """
        config, seed = self._config, trial_seed(self._run.seed, begun)
        episodes = [replace(episode, seed=number) for episode in attempted.episodes]
        self.trials.append(episodes)
        for episode in episodes:
            self.benches[bench].see(episode)
        self.trials.judge(self._judges, self._online)
        verdict = self.trials.verdict(number)
        row: dict[str, Any] = {"trial": number, "seed": seed, "steps": verdict.steps, "lost": int(attempted.lost)}
        row |= {"robot": [*self.benches].index(bench) + 1} if len(self.benches) > 1 else {}
        row |= {"predicted_success": int(verdict.success), "rejected_pose": int(verdict.rejected == "another pose")}
        row |= attempted.row
        self._unsaved = 0
        judged = bool(self._judges)
        before = self._learner.state() if self.kept == number - 1 and self.kept else self._kept_agent
        row |= self._learn(verdict.steps, number)
        if not judged or self._succeeds(number):
            self.kept, self._kept_agent = number, None
        else:
            self._kept_agent = before
        if judged:
            row |= {"kept": self.kept, "alarm": int(number >= ALARM_TRIALS and not self.kept)}
        now = time.perf_counter()
        row["seconds"], self._last = now - self._last, now
        self._run.log(number, row)
        self._rows.append(row)
        self._unsaved, self._skipped = number, self._begun - number
        if number % config.save_every == 0 or number in self._snapshots:
            self.save()
        view.trial(row)
        if attempted.lost:
            view.note(f"trial {number}: the part was lost; it is grasped anew")
            lost = _last_in_a_row(self._rows_of(bench), lambda row: not row["lost"])
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
            state |= {"skipped": self._skipped} if self._skipped else {}
            self._run.sync()
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

    def _rows_of(self, bench: str) -> list[dict[str, Any]]:
        mine = [*self.benches].index(bench) + 1
        return [row for row in self._rows if row.get("robot", 1) == mine]

    def _exploration(self, bench: str, number: int) -> Exploration:
        config = self._config
        passed = (number - 1) / max(config.trials - 1, 1)
        boosts = isinstance(config, SelfJudgedConfig) and config.boost
        failures = _last_in_a_row(self._rows_of(bench), lambda row: row["predicted_success"]) if boosts else 0
        boosted = boost(self.trials.past(bench).successes, failures) if boosts else 0.0
        rng = generator(self._run.seed, number, "exploration")
        return Exploration(acting(self._learner), config.exploration_noise * max(0.0, 1 - passed), boosted, rng)

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


def _last_in_a_row(rows: Sequence[Mapping[str, float]], ended: Callable[[Mapping[str, float]], Any]) -> int:
    """How many trials there are since the last whose row says that the series has `ended`."""
    return next((k for k, row in enumerate(reversed(rows)) if ended(row)), len(rows))
