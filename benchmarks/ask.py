r"""Practice in which a person answers ten questions, against practice without, where the reward model is weakest.

    python benchmarks/ask.py --out results/benchmarks/ask.json

The person is the simulator: it answers from the truth, at once and never wrongly, so this is the most that a person can
give. On the four validation connectors on which the reward model that comes with lotj tells successes from near misses
worst, from the base, far, `--trials` trials; success verified by touch, and by the score alone as in the paper; with
the model as it is, and with 6 more or less on its logits (see shifted_reward.py). The robots take turns over the
connectors. Of each practice: precision and recall of the last verdicts on its trials, and the successes of 20 fresh
starts; success is the simulator's word. Each practice is written when it is done, and the same command goes on with
those that are missing.

What would count as yes: over connectors and shifts, the mean of precision and of recall is no lower with questions
than without, in both ways of verifying, and the mean of successes is higher by 1 of 20 at least where the score alone
verifies.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from shifted_reward import Shifted
from side_by_side import record

from lotj.data.store import DiskStore
from lotj.experiments import stages
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import find_preset
from lotj.rewards.ask import NO, YES, Ask
from lotj.rewards.judge import CLAIM, claimed_step
from lotj.runs import Run, base_run
from lotj.runs.metrics import read_lines
from lotj.training.practice import trial_seed
from lotj.training.practice_config import SelfJudgedConfig
from lotj.training.trials import PRACTICE

SHIFTS = (0.0, -6.0, 6.0)
"""Added to the logits."""

QUESTIONS = (0, 10)


class Truth:
    """Stands for the person: answers what is open before each trial. See `lotj.training.live_view.Watcher`."""

    def begin(self, run: Run, practitioner: Any, trials: int) -> None:
        self.run, self.judge = run, practitioner.judge

    def ready(self) -> bool:
        if isinstance(self.judge, Ask) and self.judge.questions:
            truth = self.frames()
            for asked in self.judge.questions:
                self.judge.answer(asked.trial, YES if truth[trial_seed(self.run.seed, asked.trial), asked.step] else NO)
        return True

    def trial(self, row: dict[str, Any]) -> None:
        pass

    def note(self, text: str) -> None:
        print(text, flush=True)

    def frames(self) -> dict[tuple[int, int], bool]:
        """Whether the plug was in its seat, by the seed of a trial and the number of motions."""
        lines = read_lines(self.run.path / "truth.jsonl")
        return {(line["seed"], line["steps"]): line["true_success"] for line in lines}

    def verdicts(self) -> dict[str, int]:
        """The last verdicts against the truth: of a trial that counts as a success, or was claimed as one, at its end;
        of another a success at any moment is one that was missed."""
        truth, store, found = self.frames(), DiskStore.open(self.run.path / "trials"), []
        for number in range(len(store)):
            episode = store.episode(number)
            if episode.kind == PRACTICE:
                verdict, seed = self.judge.verdict(episode.seed, episode), trial_seed(self.run.seed, episode.seed)
                end = verdict.steps if verdict.success else claimed_step(episode)
                frames = [end] if verdict.success or episode.notes[CLAIM].any() else range(1, len(episode) + 1)
                found.append((verdict.success, any(truth[seed, frame] for frame in frames)))
        said, true = np.transpose(found)
        return {"said": int(said.sum()), "true": int(true.sum()), "right": int((said & true).sum())}


def weakest(count: int) -> list[str]:
    """Validation connectors on which the base's reward model tells successes from near misses worst."""
    known = json.loads((base_run().path / "reward_report.json").read_text())["connectors"]
    return sorted(known, key=lambda name: known[name]["near_miss_auc"])[:count]


def practise(connector: str, robot: str, verify: str, shift: float, questions: int, trials: int) -> dict[str, Any]:
    """What came of one practice."""
    base, person = base_run(), Truth()
    preset = find_preset(base.setting("preset"))
    assert isinstance(preset.practice, SelfJudgedConfig)
    config = replace(preset.practice, trials=trials, threads=1, verify=verify)  # type: ignore[arg-type]
    preset, load = replace(preset, practice=config), stages.load_reward
    stages.load_reward = lambda run, device: Shifted(load(run, device), shift)  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            how: dict[str, Any] = {"live": False, "ask": questions, "watcher": person}
            run, result = stages.practice_phase(preset, base, Path(folder), connector, "far", robot, **how)
            verdicts = person.verdicts()
            answers = [line["answer"] for line in read_lines(run.path / "answers.jsonl")]
            stages.load_reward = load
            (after,) = evaluate_phase(run, 20, controllers=["practice"])
            run.close()
    finally:
        stages.load_reward = load
    about = {"connector": connector, "robot": robot, "verify": verify, "shift": shift, "questions": questions}
    told = {"yes": answers.count(YES), "no": answers.count(NO)}
    return {**about, **verdicts, "answers": told, "kept": result.kept, "successes": int(after.success.sum())}


def figures(practices: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Means over practices; precision of those that took any trial for a success, recall of those that had one."""
    values = {
        "precision": [one["right"] / one["said"] for one in practices if one["said"]],
        "recall": [one["right"] / one["true"] for one in practices if one["true"]],
        "successes": [one["successes"] for one in practices],
    }
    return {name: round(float(np.mean(of)), 3) if of else None for name, of in values.items()} | {"n": len(practices)}


def main() -> None:
    """Practise what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectors", nargs="*", default=weakest(4))
    parser.add_argument("--verify", nargs="*", default=["touch", "score"])
    parser.add_argument("--shifts", nargs="*", type=float, default=SHIFTS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    done = json.loads(asked.out.read_text())["practices"] if asked.out.exists() else []
    wanted = [
        (connector, ("duo", "trio")[number % 2], verify, shift, questions)
        for verify in asked.verify
        for shift in asked.shifts
        for number, connector in enumerate(asked.connectors)
        for questions in QUESTIONS
    ]
    names = ("connector", "robot", "verify", "shift", "questions")
    for unit in wanted:
        if any(tuple(one[name] for name in names) == unit for one in done):
            continue
        done.append(practise(*unit, asked.trials))
        print(done[-1], flush=True)
        means = {
            f"{verify} {shift:+g} {questions} questions": figures(alike)
            for verify in asked.verify
            for shift in asked.shifts
            for questions in QUESTIONS
            if (
                alike := [
                    one for one in done if (one["verify"], one["shift"], one["questions"]) == (verify, shift, questions)
                ]
            )
        }
        record({"of": 20, "trials": asked.trials, "means": means, "practices": done}, asked.out)


if __name__ == "__main__":
    main()
