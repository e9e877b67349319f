"""What has been practised: every episode on disk and in memory, and what of it is learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lotj.data.layout import META, Schema, read_meta, task_names
from lotj.data.replay import Source
from lotj.data.store import DiskStore, MemoryStore
from lotj.data.writer import EpisodeWriter
from lotj.errors import CheckpointError, counted
from lotj.experience import INTERVENTION, SUCCESS, Episode, Task
from lotj.rewards.judge import LOST, STOOD, TOUCH, Judge, Verdict

PRACTICE = "practice"
"""Kind of an episode that is a trial; others, of the same number, show what followed from it."""

REVERSED = "reversed"
"""Kind of an extraction seen backwards, an insertion that counts as long as the success of its trial does. The k-th of
a trial is ``reversed-<k>``."""


@dataclass(frozen=True)
class Past:
    """What a trial may know of those before it on its bench. A copy: it can be sent to another process."""

    task: Task  # the bench
    verdicts: Mapping[int, Verdict]  # the last one on each, by number

    def __len__(self) -> int:
        return len(self.verdicts)

    @property
    def successes(self) -> int:
        """Those that count as successes."""
        return sum(verdict.success for verdict in self.verdicts.values())


class Trials:
    """The episodes of a practice run, in ``<run>/trials``. Each is known by the number of its trial, from 1.

    Args:
        folder: of the data set.
        tasks: what is practised, one task for each bench.
        learned: names of the observations that learners read; others stay on the disk.
        imitate_successes: the policy imitates only trials that ended in success.

    Attributes:
        episodes: trials and what followed from them, in order, with what is learnt from of their observations; their
            `seed` is the number of the trial.
        store: what learners draw from; `source` says which of it.
    """

    def __init__(self, folder: Path, tasks: Sequence[Task], learned: Sequence[str], imitate_successes: bool) -> None:
        self.folder, self._tasks = folder, {task.name: task for task in tasks}
        self.episodes: list[Episode] = []
        self.store = MemoryStore(tasks)
        self._learned, self._imitate_successes = tuple(learned), imitate_successes
        self._writers: dict[str, EpisodeWriter] = {}
        self._verdicts: dict[int, Verdict] = {}

    def restore(self, last: int) -> Iterator[Episode]:
        """Takes up what a run has recorded, up to trial `last`; what a killed sitting has recorded after it is dropped.

        Yields:
            Each episode as it was recorded.

        Raises:
            DataError: the files are damaged.
            CheckpointError: trials are missing.
        """
        if (self.folder / META).exists():
            for name in task_names(self.folder):
                if name in self._tasks:
                    self._writer(name, read_meta(self.folder).schema).rewind(last)
            if any(writer.finished for writer in self._writers.values()):
                store = DiskStore.open(self.folder)
                for number in np.argsort(store.episodes["seed"], kind="stable"):
                    episode = store.episode(int(number))
                    self._take_in(episode)
                    yield episode
        if len(self) < last:
            held = f"{self.folder} holds {len(self)} of {counted(last, 'trial')}"
            raise CheckpointError(f"{held}: restore it from a copy, or start a new run")

    def append(self, episodes: Sequence[Episode]) -> None:
        """Adds a finished trial and what followed from it, first to the disk; StorageError if that is full."""
        for episode in episodes:
            self._writer(episode.task, Schema.of(episode)).append(episode)
            self._take_in(episode)

    def close(self) -> None:
        """Let go of the files."""
        while self._writers:
            self._writers.popitem()[1].close()

    def __len__(self) -> int:
        """Number of trials."""
        return sum(episode.kind == PRACTICE for episode in self.episodes)

    @property
    def successes(self) -> int:
        """Trials that count as successes by the last verdicts."""
        return sum(verdict.success for verdict in self._verdicts.values())

    def verdict(self, number: int) -> Verdict:
        """The last verdict on a trial."""
        return self._verdicts[number]

    def past(self, task: str) -> Past:
        """What there has been on a bench."""
        numbers = [e.seed for e in self.episodes if e.kind == PRACTICE and e.task == task]
        return Past(self._tasks[task], {number: self._verdicts[number] for number in numbers})

    def judge(self, judges: Mapping[str, Judge], source: Source) -> None:
        """Judges all trials anew, each by the judge of its bench, and tells the source, whose rows and columns are set,
        what may be drawn of `store`, with which reward and end. What a person did is a demonstration, imitated whatever
        came of it. Without judges the environments' own rewards stand."""
        if not judges:
            self._believe(source)
            return
        frames = self.store.n_frames
        reward = np.zeros(frames, np.float32)
        ended, won, by_hand = (np.zeros(frames, bool) for _ in range(3))
        rows: list[np.ndarray] = []
        first = 0
        for episode in self.episodes:
            steps, terminated = len(episode), episode.terminated
            if episode.kind != PRACTICE:
                success = self._verdicts[episode.seed].success
                steps *= success
            else:
                verdict = _unless_lost(episode, judges[episode.task].verdict(episode.seed, episode))
                self._verdicts[episode.seed] = verdict
                steps, success = verdict.steps, verdict.success
                # What the robot took for a success and no longer does was cut off there: more might have followed.
                terminated = success or bool(verdict.rejected) or (_lost(episode) and steps == len(episode))
            if steps:
                last = first + steps - 1
                reward[first : last + 1] = episode.reward[:steps]
                if episode.kind == PRACTICE:
                    reward[first : last + 1] = 0.0
                    reward[last] = success
                ended[last] = terminated
                won[first : last + 1] = success
                if episode.kind == PRACTICE and INTERVENTION in episode.notes:
                    by_hand[first : last + 1] = episode.notes[INTERVENTION][1 : steps + 1]
                rows.append(np.arange(first, last + 1))
            first += len(episode) + 1
        source.rows = np.concatenate([np.zeros(0, np.int64), *rows])
        imitate = won | by_hand if self._imitate_successes else np.ones(frames, bool)
        told = {"reward": reward, "terminated": ended, "imitate": imitate, "demo": by_hand}
        source.columns = {**source.columns, **told}

    def _believe(self, source: Source) -> None:
        """What the environment has said of trials since the last time; of thousands none is looked at twice."""
        for episode in self.episodes[len(self._verdicts) :]:
            won = episode.notes.get(SUCCESS, episode.reward > 0).any()
            self._verdicts[episode.seed] = Verdict(len(episode), bool(won))
        source.rows = self.store.starts()
        won = np.array([verdict.success for verdict in self._verdicts.values()], bool)
        imitate = self.store.of_frames(won) if self._imitate_successes else np.ones(self.store.n_frames, bool)
        said = {"reward": self.store.column("reward"), "terminated": self.store.terminated()} if len(won) else {}
        source.columns = {**source.columns, **said, "imitate": imitate}

    def _writer(self, task: str, schema: Schema) -> EpisodeWriter:
        if task not in self._writers:
            self._writers[task] = EpisodeWriter(self.folder, self._tasks[task], schema, sync_every=1)
        return self._writers[task]

    def _take_in(self, episode: Episode) -> None:
        learned = replace(episode, observation={name: episode.observation[name] for name in self._learned}, truth={})
        self.episodes.append(learned)
        self.store.append(replace(learned, notes={}))


def _lost(episode: Episode) -> bool:
    return bool(episode.notes[LOST][-1])


def _unless_lost(episode: Episode, verdict: Verdict) -> Verdict:
    """The verdict; but where the verification itself has lost the part, the policy is not to blame, and the trial ends
    before it, cut off."""
    if not _lost(episode) or episode.notes[TOUCH][-1] != STOOD:
        return verdict
    touched = episode.notes[TOUCH] == STOOD
    return Verdict(len(episode) - int(np.argmin(touched[::-1])), False)
