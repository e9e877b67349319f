r"""Control steps a second with images: lotj's environment and two tasks of robosuite, in turns in one run.

    python benchmarks/peer_env.py --robosuite-python .cache/peers/robosuite/bin/python \
        --out results/benchmarks/peer_env.json

How to make robosuite's Python: benchmarks/peers/README.md. Both draw as many pixels, by the same off-screen renderer,
in one process each. robosuite's tasks are measured three ways:

- `default`: as robosuite comes, 20 control steps a simulated second;
- `rate`: at lotj's control rate, so that a control step is as much simulated time;
- `lean`: as `default`, but drawn as lotj draws, without shadows, reflections, sky and multisampling.

The headline is stepping alone, with robosuite as it comes; resets (robosuite's soft ones, which reload no model) are
reported beside it. `parts_ms` are parts of a control step on their own: drawing, the step without images, and MuJoCo.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report
from turns import Worker, peer_python, spread, take_turns

from lotj.sim.bench import RATE_HZ
from lotj.sim.renderer import choose_renderer

TASKS = {"TwoArmPegInHole": 10.0, "NutAssemblySquare": 3.0}
"""robosuite's tasks, and how many times as fast lotj's environment shall be."""

DEFAULT_HZ = 20.0
WAYS: dict[str, dict[str, Any]] = {
    "default": {"control_freq": DEFAULT_HZ, "lean": False},
    "rate": {"control_freq": RATE_HZ, "lean": False},
    "lean": {"control_freq": DEFAULT_HZ, "lean": True},
}
EPISODE = 20
"""Steps between resets."""


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """What each worker is, and its rounds."""
    python = peer_python(options.robosuite_python, "robosuite")
    renderer, size = {"MUJOCO_GL": choose_renderer()}, options.image_size
    views = {"width": size, "height": size // 2}  # two of them are lotj's image
    with ExitStack() as stack:
        settings = {"connector": options.connector, "image_size": size}
        workers = {"lotj": stack.enter_context(Worker(Path(sys.executable), "lotj_env.py", settings, renderer))}
        for task in TASKS:
            for way in options.ways:
                worker = Worker(python, "robosuite_env.py", {"task": task, **views, **WAYS[way]}, renderer)
                workers[f"{task} {way}"] = stack.enter_context(worker)
                print(f"{task} {way} is there", file=sys.stderr, flush=True)
        requests = {name: {"steps": options.peer_steps, "episode": EPISODE, "parts": 3} for name in workers}
        requests["lotj"] = {"steps": options.steps, "episode": EPISODE, "parts": 40}
        take_turns(workers, {name: {"steps": 2, "episode": EPISODE, "parts": 1} for name in workers}, 1)  # warm-up
        found = take_turns(workers, requests, options.repeats)
        return {name: worker.about for name, worker in workers.items()}, found


def rates(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps a second of each round, without and with the resets; milliseconds of a reset and of a step's parts."""
    parts = {name: [1e3 * r["parts_s"][name] for r in rounds] for name in rounds[0]["parts_s"]}
    return {
        "steps_per_s": spread([r["steps"] / r["step_s"] for r in rounds]),
        "steps_per_s_with_resets": spread([r["steps"] / (r["step_s"] + r["reset_s"]) for r in rounds]),
        "reset_ms": spread([1e3 * r["reset_s"] / r["resets"] for r in rounds]),
        "parts_ms": {name: round(float(np.median(values)), 3) for name, values in parts.items()},
    }


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """lotj's rate over each of the others', round by round."""
    ours, found = rows["lotj"], {}
    for name, row in rows.items():
        if name == "lotj":
            continue
        found[name] = {
            key: spread(np.divide(ours[key]["all"], row[key]["all"]).tolist(), 2)
            for key in ("steps_per_s", "steps_per_s_with_resets")
        }
        found[name]["without_images"] = round(row["parts_ms"]["without_images"] / ours["parts_ms"]["without_images"], 2)
    return found


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robosuite-python", type=Path, required=True)
    parser.add_argument("--connector", default="nema-5-15")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="of lotj in a round")
    parser.add_argument("--peer-steps", type=int, default=20, help="of robosuite in a round, which takes longer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about, found = measure(options)
    rows = {name: rates(rounds) for name, rounds in found.items()}
    ratio = ratios(rows)
    result = {
        "cores": os.cpu_count(),
        "pixels_a_step": options.image_size**2,
        "repeats": options.repeats,
        "steps_in_a_round": {"lotj": options.steps, "robosuite": options.peer_steps},
        "targets": TASKS,
        "ratio": ratio,
        "rates": rows,
        "about": about,
    }
    report(result, options.out)


if __name__ == "__main__":
    main()
