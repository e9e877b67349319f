"""Where the time of a practice goes: simulation, learning, keeping what was learnt.

    python benchmarks/learning_cost.py --pretrained runs/<a pretraining> --out results/benchmarks/learning_cost.json

One practice with a clock on each of its parts. On a real robot the simulation falls away and what is left is the cost
of learning: all that is not `simulation`, with start-up. ``--profile FILE`` runs it under cProfile besides, for
``python -m pstats FILE``; the seconds are then too long, most of all those of networks, which are much Python.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from side_by_side import as_command, report

from lotj.agents import Learner, learner
from lotj.agents.iql import IQL
from lotj.data.replay import Replay
from lotj.data.writer import EpisodeWriter
from lotj.experiments import stages
from lotj.experiments.presets import find_preset
from lotj.rewards.model import RewardModel
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.sim.bench import Bench
from lotj.training.self_judged import SelfJudged
from lotj.training.trials import Trials

TARGET_SECONDS = 120.0
"""What 200 trials shall cost at most, apart from the simulation, on two cores."""

Places = list[tuple[Any, str]]
"""Functions and where they are looked up: class or module, and name there."""

PARTS: dict[str, dict[str, Places]] = {
    "simulation": {
        "physics": [(Bench, "move"), (Bench, "reset")],
        "drawing": [(Bench, "render")],
        "the robot's rest": [(SimulatedRobot, "move"), (SimulatedRobot, "reset")],  # less physics and drawing
    },
    "learning": {
        "features of the frames": [(SelfJudged, "_observe")],
        "reward's scores": [(RewardModel, "score")],
        "actions and values": [(Learner, "act"), (Learner, "value")],
        "drawing batches": [(Replay, "sample")],
        "updates": [(Learner, "update")],
        "judging anew": [(Trials, "judge")],
    },
    "keeping": {
        "checkpoints": [(Run, "save"), (Learner, "state")],
        "trials": [(EpisodeWriter, "append")],
        "metrics": [(Run, "log"), (Run, "metrics")],
    },
    "start-up": {
        "models and prior data": [(stages, "load_reward"), (stages, "load_agent"), (stages, "load_features")],
    },
}
"""Group -> part -> functions whose time with all that they call is the part's. None of them calls another, but for the
robot's."""

UPDATE: dict[str, Places] = {
    "batches to tensors": [(Learner, "_bring")],
    "losses": [(IQL, "losses")],
    "losses and gradients": [(Learner, "_differentiate")],
    "clipping": [(learner, "_clip")],
    "optimiser": [(torch.optim.Adam, "step")],
    "slow copies": [(learner, "follow")],
}
"""Parts of an update."""


class Clocks:
    """Seconds and calls by name, of functions that `watch` was given."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)

    def watch(self, name: str, places: Places) -> None:
        """Put timed functions in the places of these; for good, the process is its own."""
        for owner, attribute in places:
            found = getattr(owner, attribute)
            if isinstance(found, property):
                assert found.fget is not None
                setattr(owner, attribute, property(self._timed(name, found.fget)))
            else:
                setattr(owner, attribute, self._timed(name, found))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - started
                self.calls[name] += 1

        return timed

    def row(self, name: str, whole: float, less: tuple[str, ...] = ()) -> dict[str, Any]:
        """A line of the table: seconds (without those of other names), share, calls, milliseconds a call."""
        seconds, calls = self.seconds[name] - sum(self.seconds[other] for other in less), self.calls[name]
        found = {"seconds": round(seconds, 2), "share": round(seconds / whole, 3), "calls": calls}
        return found | ({"ms_a_call": round(1e3 * seconds / calls, 3)} if calls else {})


def table(clocks: Clocks, whole: float) -> dict[str, Any]:
    """Seconds, shares and calls of all parts and of the rest."""
    found: dict[str, Any] = {}
    for group, parts in PARTS.items():
        inside = {"the robot's rest": ("physics", "drawing")}
        rows = {name: clocks.row(name, whole, inside.get(name, ())) for name in parts}
        total = sum(row["seconds"] for row in rows.values())
        found[group] = {"seconds": round(total, 2), "share": round(total / whole, 3), "parts": rows}
    rest = whole - sum(group["seconds"] for group in found.values())
    return found | {"rest": {"seconds": round(rest, 2), "share": round(rest / whole, 3)}}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Practise with all clocks running."""
    preset, clocks = find_preset(options.preset), Clocks()
    for places in (*PARTS.values(), UPDATE):
        for name, functions in places.items():
            clocks.watch(name, functions)
    practice = replace(preset.practice, trials=options.trials, threads=options.threads)
    preset = replace(preset, practice=practice)
    pretrained, profile = Run.open(options.pretrained), cProfile.Profile()
    call = functools.partial(stages.practice_phase, preset, pretrained, folder, options.connector, options.scenario)
    started = time.perf_counter()
    run, result = profile.runcall(call, live=False) if options.profile else call(live=False)
    whole = time.perf_counter() - started
    rows = run.metrics()
    run.close()
    if options.profile:
        profile.dump_stats(options.profile)
    return {
        "trials": result.trials,
        "steps": sum(row["steps"] for row in rows),
        "updates": sum(row["updates"] for row in rows),
        "seconds": round(whole, 1),
        "table": table(clocks, whole),
        "update": {name: clocks.row(name, whole) for name in UPDATE},
    }


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, required=True, help="run folder of a pretraining")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--connector", default="usb-b")
    parser.add_argument("--scenario", default="far")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", type=Path, help="file for a profile of it")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = as_command(measure, options, Path(folder))
    cost = found["seconds"] - found["table"]["simulation"]["seconds"]
    result = {
        "cores": os.cpu_count(),
        "threads": options.threads,
        "connector": options.connector,
        "scenario": options.scenario,
        "torch": torch.__version__,
        "target_seconds": TARGET_SECONDS,
        "learning_seconds": round(cost, 1),
        **found,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
