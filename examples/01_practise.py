"""Practise from Python: a pretrained robot learns to insert a connector that it has never seen.

    python examples/01_practise.py --connector examples/my_plug.toml

The same as `lotj practice`, `lotj evaluate` and `lotj report`, as three calls, so that settings can be varied in a
script. It begins from the base that comes with lotj, or from the pretraining in the folder `--pretrained`.

50 trials take one to two minutes. One line a trial (in a terminal a live view), then true successes of 20 before and
after practice and of two hand-made searches, and the path of the report, one HTML page.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.presets import find_preset
from lotj.experiments.stages import practice_phase
from lotj.report import build_report
from lotj.runs import BASE, Run


def main() -> None:
    """Practise, evaluate, report."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--pretrained", type=Path, default=BASE, help="run folder of `lotj pretrain`")
    parser.add_argument("--connector", default="usb-b", help="catalogue name, or a TOML file")
    parser.add_argument("--scenario", default="far", help="where trials start: near or far")
    parser.add_argument("--trials", type=int, default=50, help="trials of practice")
    parser.add_argument("--evaluation", type=int, default=20, help="trials of each evaluation")
    asked = parser.parse_args()
    pretrained = Run.open(asked.pretrained)
    preset = find_preset(pretrained.setting("preset"))
    preset = replace(preset, practice=replace(preset.practice, trials=asked.trials))  # any setting of practice
    run, practised = practice_phase(preset, pretrained, Path("runs"), asked.connector, asked.scenario)
    print(f"{practised.predicted_successes} of {practised.trials} trials successes by the robot's own verdict")
    if practised.alarm:
        print("alarm: it hardly sees any success on this part")
    for found in evaluate_phase(run, asked.evaluation):
        print(f"{found.label}: {found.success.sum()} of {len(found)} inserted")
    run.close()
    print(build_report(run.path))


if __name__ == "__main__":
    main()
