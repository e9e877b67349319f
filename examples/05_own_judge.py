"""A judge of your own: one more reason for the robot to doubt that a trial was a success.

    python examples/05_own_judge.py --connector volume-knob

The robot takes a trial for a success if its reward model scores the pictures highly, the plug stands a press and
pushes, and its end is in the usual pose. Each of these is a judge with two methods: `see` takes in a finished trial,
`verdict` says, again after every further trial, what it was worth. This one adds that the socket does not move: the
hand must end as deep as in most trials that were taken for a success. It reads what the robot measures, not the truth,
and it is wrong where most successes are.

50 trials take one to two minutes. One line a trial (in a terminal a live view), then which ended at another depth
and were rejected. On volume-knob a plug can go 8 mm too deep; in one run of 40 trials none did.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from lotj.experience import Episode
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practice_phase
from lotj.rewards.judge import CLAIM, Verdict, claimed_step
from lotj.runs import BASE, Run

WITHIN = 2e-3  # heights of the hand that are alike [m]


class SameDepth:
    """See `lotj.rewards.judge.Judge`. `height`: of the hand where a trial was taken for a success [m], by trial."""

    def __init__(self) -> None:
        self.height: dict[int, float] = {}

    def see(self, number: int, episode: Episode) -> None:
        """Keep how high the hand was; z is the third entry of the state."""
        if episode.notes[CLAIM].any():
            self.height[number] = float(episode.observation["state"][claimed_step(episode), 2])

    def elsewhere(self, number: int) -> bool:
        """Whether a trial ended at another depth than most."""
        return number in self.height and abs(self.height[number] - np.median([*self.height.values()])) > WITHIN

    def verdict(self, number: int, episode: Episode) -> Verdict:
        """A rejected success ends the trial where it was, without reward; to all else there is nothing to say."""
        rejected = self.elsewhere(number)
        return Verdict(claimed_step(episode), not rejected, "another depth" if rejected else "")


def main() -> None:
    """Practise with it."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--pretrained", type=Path, default=BASE, help="run folder of `lotj pretrain`")
    parser.add_argument("--connector", default="volume-knob", help="catalogue name, or a TOML file")
    parser.add_argument("--trials", type=int, default=50, help="trials of practice")
    asked = parser.parse_args()
    pretrained, judge = Run.open(asked.pretrained), SameDepth()
    preset = find_preset(pretrained.setting("preset"))
    preset = replace(preset, practice=replace(preset.practice, trials=asked.trials))
    run, _ = practice_phase(preset, pretrained, Path("runs"), asked.connector, "far", judges=[judge])
    rejected = {number: f"{1e3 * height:.1f} mm" for number, height in judge.height.items() if judge.elsewhere(number)}
    print(f"{run.path}: {len(judge.height)} trials taken for a success, {len(rejected)} rejected: {rejected}")


if __name__ == "__main__":
    main()
