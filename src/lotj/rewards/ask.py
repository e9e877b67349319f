"""A person's word on the trials of which the robot is least sure, put together with what it saw and felt itself.

Practice does not wait: a question stays open until it is answered, and an answer counts from the next finished trial
on. Then that trial is what the person says, and the judges that can be `Taught` learn from it. Answers are kept with
the number of the trial from which on they count, so that practice resumed comes to the same verdicts.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lotj.errors import CheckpointError, SettingsError
from lotj.experience import Episode
from lotj.rewards.calibration import clipped_logit
from lotj.rewards.judge import CLAIM, LOST, SCORE, All, Judge, Question, Score, Taught, Verdict, claimed_step
from lotj.runs.metrics import append_line, read_lines

EVERY = 5
"""Trials between two questions: the most doubtful of all that have not been asked. So the first trials do not use up
the number of questions."""

YES, NO, SKIP, UNDO = ANSWERS = ("yes", "no", "skip", "undo")
"""What can be answered. `SKIP`: the person cannot tell; `UNDO` opens a question again."""


class Ask(All):
    """See `All`; but what a person has said of a trial stands.

    Questions are in turn on trials that count as successes and on others, for only both together show where one ends
    and the other begins; of a sort first on those where the judges disagree (the picture being one of them), the more
    strongly the picture speaks, then on those whose score is nearest the threshold. Lost parts are not asked about.

    Args:
        parts: the judges, a `Score` among them.
        count: how many questions in all.
        answers: file of JSON lines in the run folder, made with the first answer.

    Attributes:
        threshold: of the `Score`.

    Raises:
        CheckpointError: that file is damaged.
    """

    def __init__(self, *parts: Judge, count: int, answers: Path) -> None:
        super().__init__(*parts)
        self.threshold = next(part.threshold for part in parts if isinstance(part, Score))
        self._count, self._file, self._lock = count, answers, threading.Lock()
        self._lines = _read_answers(answers)  # not in force yet
        self._seen = 0  # the last trial
        self._episodes: dict[int, Episode] = {}  # without pictures, of trials that can be asked about
        self._asked: dict[int, Question] = {}  # by trial, in the order of asking
        self._given: dict[int, str] = {}  # last answers, by trial
        self._words: dict[int, str] = {}  # those in force
        for line in self._lines:
            self._give(line)

    @property
    def questions(self) -> list[Question]:
        """The open ones, the oldest first."""
        with self._lock:
            return [question for trial, question in self._asked.items() if trial not in self._given]

    @property
    def answered(self) -> dict[int, str]:
        """The answers given, by trial, the last one last."""
        with self._lock:
            return dict(self._given)

    def answer(self, trial: int, answer: str) -> None:
        """Takes an answer of `ANSWERS` to the question about a trial; it is on disk when this returns.

        Raises:
            SettingsError: no such answer, or nothing to answer, or to undo.
            StorageError: the disk is full.
        """
        with self._lock:
            open_to = self._given if answer == UNDO else self._asked.keys() - self._given.keys()
            if answer not in ANSWERS or trial not in open_to:
                raise SettingsError(f"trial {trial}, {answer!r}: is no answer to an open question; nothing is changed")
            line = {"trial": trial, "answer": answer, "counts_from": self._seen + 1}
            append_line(self._file, line)
            self._lines.append(line)
            self._give(line)

    def see(self, number: int, episode: Episode) -> None:
        """See `Judge`; answers come into force here."""
        with self._lock:
            self._seen = number
            due = [line for line in self._lines if line["counts_from"] <= number]
            self._lines = [line for line in self._lines if line["counts_from"] > number]
        for line in due:
            self._enforce(line)
        super().see(number, episode)
        if not episode.notes[LOST][-1]:
            small = {name: values for name, values in episode.observation.items() if values.dtype != np.uint8}
            self._episodes[number] = replace(episode, observation=small or {"seen": np.zeros(len(episode) + 1)})
        if number % EVERY == 0 and len(self._asked) < self._count:
            self._ask()

    def verdict(self, number: int, episode: Episode) -> Verdict:
        """See `Judge`. What a person denies and the robot had claimed was cut off there, as a rejected pose."""
        verdict, word = super().verdict(number, episode), self._words.get(number)
        if word == YES:
            return Verdict(self._asked[number].step, True)
        if word == NO:
            return replace(verdict, success=False, rejected=verdict.rejected or verdict.success * "denied")
        return verdict

    def _give(self, line: dict[str, Any]) -> None:
        self._given.pop(line["trial"], None)
        if line["answer"] != UNDO:
            self._given[line["trial"]] = line["answer"]

    def _enforce(self, line: dict[str, Any]) -> None:
        trial, said = line["trial"], line["answer"]
        if trial not in self._asked:  # nothing of it is left
            return
        self._words[trial] = said
        for part in self.parts:
            if isinstance(part, Taught):
                part.taught(self._asked[trial], {YES: True, NO: False}.get(said))

    def _ask(self) -> None:
        counted = {n: super(Ask, self).verdict(n, episode).success for n, episode in self._episodes.items()}
        free = [number for number in self._episodes if number not in self._asked]
        last = next((counted[n] for n in reversed(self._asked)), False)
        free = [number for number in free if counted[number] != last] or free
        if free:
            chosen = min(free, key=self._sureness)
            with self._lock:
                self._asked[chosen] = self._question(chosen)

    def _question(self, number: int) -> Question:
        episode = self._episodes[number]
        claimed, scores = bool(episode.notes[CLAIM].any()), episode.notes[SCORE]
        step = claimed_step(episode) if claimed else 1 + int(np.argmax(scores[1:]))
        hand = episode.observation["state"][step, :3] if "state" in episode.observation else None
        return Question(number, step, float(scores[step]), claimed, hand)

    def _sureness(self, number: int) -> tuple[bool, float, int]:
        """The least is asked first."""
        score, limit = clipped_logit(self._question(number).score), clipped_logit(self.threshold.value)
        votes = {part.verdict(number, self._episodes[number]).success for part in self.parts} | {score >= limit}
        agree, margin = len(votes) == 1, abs(score - limit)
        return agree, margin if agree else -margin, number


def _read_answers(path: Path) -> list[dict[str, Any]]:
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        whole = all(type(line.get(name)) is int for name in ("trial", "counts_from"))
        if not whole or line.get("answer") not in ANSWERS:
            raise CheckpointError(f"{path}, line {number}: is no answer; restore the file from a copy, or delete it")
    return lines
