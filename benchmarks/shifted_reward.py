r"""Practice with a reward model that scores a part higher or lower than it should, as it may on parts it has not seen.

    python benchmarks/shifted_reward.py --out results/benchmarks/shifted_reward.json

On each validation connector, from the base, far, `--trials` trials: with the model as it is, and with a constant added
to its logits. The robots take turns over the connectors. Afterwards 20 fresh starts; success is the simulator's word.
Each practice is written when it is done, and the same command goes on with those that are missing. What would count as
yes: with every shift, the mean over connectors is within 1 of 20 of the unshifted model's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit
from side_by_side import record

from lotj.experiments import stages
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.parts import of_split
from lotj.experiments.presets import find_preset
from lotj.experiments.study import in_practice
from lotj.rewards.model import RewardModel
from lotj.runs import base_run

SHIFTS = (0.0, -6.0, 6.0, -3.0, 3.0)
"""Added to the logits."""


class Shifted:
    """A reward model whose logits are all higher by `shift`; its threshold is not."""

    def __init__(self, model: RewardModel, shift: float) -> None:
        self._model, self._shift = model, shift
        self.threshold, self.shape, self.report = model.threshold, model.shape, model.report

    def score(self, images: np.ndarray) -> np.ndarray:
        """(N,) scores of (N, V, H, W, 3) uint8 images."""
        scores = self._model.score(images).astype(np.float64)
        return expit(logit(np.clip(scores, 1e-12, 1 - 1e-12)) + self._shift)


def practise(connector: str, robot: str, shift: float, trials: int) -> dict[str, Any]:
    """What came of one practice."""
    base = base_run()
    preset = find_preset(base.setting("preset"))
    preset = replace(preset, practice=replace(preset.practice, trials=trials, threads=1))
    load = stages.load_reward
    stages.load_reward = lambda run, device: Shifted(load(run, device), shift)  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            run, _ = stages.practice_phase(preset, base, Path(folder), connector, "far", robot, live=False)
            stages.load_reward = load
            names = ["practice"] if shift else ["offline", "practice"]
            results = {found.name: int(found.success.sum()) for found in evaluate_phase(run, 20, controllers=names)}
            practised = in_practice(run, (trials,))
            run.close()
    finally:
        stages.load_reward = load
    return {"connector": connector, "robot": robot, "shift": shift, "successes": results, "practice": practised}


def main() -> None:
    """Practise what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectors", nargs="*", default=of_split("validation"))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    done = json.loads(asked.out.read_text())["practices"] if asked.out.exists() else []
    for shift in SHIFTS:
        for number, connector in enumerate(asked.connectors):
            if any((one["connector"], one["shift"]) == (connector, shift) for one in done):
                continue
            done.append(practise(connector, ("duo", "trio")[number % 2], shift, asked.trials))
            print(done[-1], flush=True)
            means = {
                f"{shift:+g}": round(float(np.mean(counts)), 2)
                for shift in SHIFTS
                if (counts := [one["successes"]["practice"] for one in done if one["shift"] == shift])
            }
            record({"of": 20, "trials": asked.trials, "mean_successes": means, "practices": done}, asked.out)


if __name__ == "__main__":
    main()
