r"""What tells a plug that sits from one that is held elsewhere: false seats that stand the verification.

    python benchmarks/false_success.py --out results/benchmarks/false_success.json

Three validation connectors have a place beside their socket that holds the plug (`FALSE`); a scripted motion as a
policy's (down beside it, sideways under light pressure, down) brings the plug there. On all validation connectors
random places around the socket are pressed and dragged over, and those that stand are kept, too. Then the verification
of `lotj.controllers.verification` is made, and the plug is withdrawn straight up; beside it the same of the true seat.
`--parts` measures some connectors and leaves the others' rows in the file as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import record

from lotj.controllers.expert import Expert, towards
from lotj.controllers.verification import PRESS, PUSHES, sinks, slides
from lotj.envs.insertion import InsertionEnv
from lotj.experiments.comparisons import ROBOTS
from lotj.experiments.parts import of_split
from lotj.geometry import mosaic

FALSE = {
    "vacuum-dock": (0.0, 11.9e-3),
    "volume-knob": (0.0, 20.2e-3),
    "wall-charger": (0.0, 8.75e-3),
}
"""Where the false seat is, from the socket's axis [m]."""

SHORT = 3e-3
"""The scripted motion comes down this far from the false seat, on the socket's side [m]."""

PULL = (0.0, 0.0, 4.0 / 6.0)
"""The pull after which a plug is pushed again: 4 mm, less what the hand gives."""

AT_LIMIT = 10.0
"""Vertical force after a press [N] below which nothing but the hand's own workspace can have stopped it: the plug has
fallen beside the block, and stands because the hand may go no deeper."""

REACH = 22e-3
"""Random places are up to this far from the socket's axis [m]."""

SIGNALS = {
    "height": "hand above where it stands in the true seat [mm]; known once the seat is",
    "press_motion": "hand's motion on the press [mm]",
    "push_motion": "largest motion of the hand on a push, sideways [mm]",
    "press_force": "vertical force after the press [N]",
    "push_force": "smallest sideways force after a push [N]",
    "lift_force": "largest downward force after a step up, until free [N]",
    "raised": "hand's motion on the first step of the withdrawal, from rest, 4 mm asked [mm]",
    "raised_motion": "largest motion of the hand on a push of the plug thus raised, sideways [mm]",
    "picture": "mean difference of the picture from a true seat's [standard deviations of a channel]",
}


class Bench:
    """An environment whose last state and truth are at hand; nothing is rendered unless asked for."""

    def __init__(self, part: str, robot: str, seed: int) -> None:
        self.env = InsertionEnv(part, robot, seed, "far", 64, "state", max_steps=1000, end_on_success=False)

    def start(self, seed: int, **place: Any) -> None:
        """A new trial, at `place` if given."""
        observation, self.info = self.env.reset(seed=seed, options=place)
        self.state = observation["state"].astype(float)
        self.steps = 0

    def step(self, action: Sequence[float] | np.ndarray) -> None:
        """Move by an action (3,) of [-1, 1]."""
        observation, *_, self.info = self.env.step(np.asarray(action, float))
        self.state = observation["state"].astype(float)
        self.steps += 1

    def picture(self) -> np.ndarray:
        """What the cameras see."""
        return mosaic(self.env.bench.render())

    def towards(self, target: np.ndarray) -> np.ndarray:
        """The scripted expert's action to a centre-line (2,) [m]."""
        return towards(self.info["position"], target, self.env.action_scale, self.env.bench.contact_height)

    def blocked(self, action: np.ndarray, least: float = 0.4e-3) -> bool:
        """Take a step, and say whether the hand went down less than `least` [m] though it was told to."""
        before = self.state[2]
        self.step(action)
        return action[2] < 0 and before - self.state[2] < least


def true_seat(bench: Bench, seed: int) -> bool:
    """The expert inserts, and presses."""
    expert = Expert(np.random.default_rng(seed), bench.env.action_scale, bench.env.bench.contact_height, noise=0.0)
    bench.start(seed)
    while not bench.info["is_success"] and not bench.info["lost"] and bench.steps < 25:
        bench.step(expert(None, bench.info))
    bench.step(PRESS)
    return bench.info["is_success"]


def false_seat(bench: Bench, seed: int, place: tuple[float, float]) -> bool:
    """Down beside the place, sideways under light pressure until the plug drops, down; whether it is held there."""
    target = np.array(place)
    bench.start(seed)
    aim = target * (1 - SHORT / np.linalg.norm(target))
    while not bench.blocked(bench.towards(aim)) and bench.steps < 14:
        pass
    for _ in range(14):
        sideways = np.clip((target - bench.info["position"][:2]) / bench.env.action_scale, -0.3, 0.3)
        if bench.blocked(np.array([*sideways, -0.5])) and np.linalg.norm(sideways) < 0.05:
            break
    bench.step(PRESS)
    return not bench.info["is_success"] and not bench.info["lost"]


def chance_seat(bench: Bench, rng: np.random.Generator, seed: int) -> bool:
    """Down at a random place around the socket, a drag, and down again; whether it is no success, nor lost."""
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(3e-3, REACH)
    bench.start(seed, offset=distance * np.array([np.cos(angle), np.sin(angle)]), height=3e-3)
    for drag in (0.0, *rng.uniform(0.2, 0.8, 2)):
        turn = rng.uniform(0, 2 * np.pi)
        bench.step([drag * np.cos(turn), drag * np.sin(turn), -0.5])
        for _ in range(8):
            if bench.info["lost"] or bench.blocked(np.array([0.0, 0.0, -1.0])):
                break
    return not bench.info["is_success"] and not bench.info["lost"]


def push(bench: Bench, motions: Sequence[Sequence[float]]) -> tuple[bool, np.ndarray, np.ndarray]:
    """Makes the motions until one gives way as the verification's must not: whether none has, motion of the hand (N, 3)
    [mm] and force after it (N, 3) [N] on each."""
    hands, forces, held = [bench.state[:3]], [], True
    for motion in motions:
        bench.step(motion)
        hands.append(bench.state[:3])
        forces.append(bench.state[6:9])
        before, after = hands[-2:]
        held = not bench.info["lost"] and not sinks(before, after) and not slides(before, after)
        if not held:
            break
    return held, 1e3 * np.abs(np.diff(hands, axis=0)), np.array(forces)


def verification(bench: Bench) -> dict[str, float] | None:
    """The press and the pushes; what is felt of them, or None where one gives way."""
    held, moved, forces = push(bench, (PRESS, *PUSHES))
    if not held:
        return None
    return {
        "press_motion": moved[0, 2],
        "push_motion": moved[1:, :2].max(),
        "press_force": forces[0, 2],
        "push_force": np.abs(forces[1:, :2]).max(1).min(),
    }


def withdrawal(bench: Bench) -> dict[str, float]:
    """From rest a pull, pushes of the plug that is raised by it, then straight up until nothing is felt."""
    bench.env.relax()
    bench.step(np.zeros(3))
    rest = bench.state[2]
    bench.step(PULL)
    forces, raised = [-bench.state[8]], 1e3 * (bench.state[2] - rest)
    pushed = [push(bench, [(x, y, 0.0)]) for x, y, _ in PUSHES]  # all four, whether it gives way or not
    for _ in range(6):
        bench.step([0.0, 0.0, 1.0])
        forces.append(-bench.state[8])
    largest = max(moved[0, :2].max() for _, moved, _ in pushed)
    return {"raised": raised, "lift_force": max(forces), "raised_motion": largest}


def row(bench: Bench, kind: str, seed: int, seat: np.ndarray | None) -> dict[str, Any] | None:
    """What a plug that stands tells, where it is, and how far its picture is from the `seat`'s; None where the
    verification moves it, into the seat or out of it, too."""
    here, steps = _picture(bench.picture()), bench.steps
    held = verification(bench)
    if held is None or (kind == "true") != bool(bench.info["is_success"]):
        return None
    seen = 0.0 if seat is None else np.abs(here - _picture(seat)).mean()
    # The hand is measured from the estimate of the socket's place, which is another for each seed: its height over the
    # seat is the plug's own, as far as it does not slip.
    place = [round(1e3 * float(value), 2) for value in bench.info["position"]]
    told = {"steps": steps, "place": place, "height": place[2], "picture": seen} | held
    found = {"kind": kind, "seed": seed} | told | withdrawal(bench)
    if kind != "true" and found["press_force"] < AT_LIMIT:
        found["kind"] = "at its limit"
    return found | {name: round(float(found[name]), 3) for name in SIGNALS}


def measure(part: str, robot: str, trials: int, places: int) -> dict[str, Any]:
    """All seats of one connector on one robot's bench 0."""
    bench, seat = Bench(part, robot, 0), None
    rows, tried = [], {"true": trials, "scripted": trials if part in FALSE else 0, "chance": places}
    for seed in range(-1, trials):  # the first shows the seat's picture
        if true_seat(bench, seed % 100):
            picture = bench.picture()
            rows.append(row(bench, "true", seed, seat) if seat is not None else None)
            seat = picture if seat is None else seat
    for seed in range(tried["scripted"]):
        if false_seat(bench, seed, FALSE[part]):
            rows.append(row(bench, "scripted", seed, seat))
    rng = np.random.default_rng(0)
    for seed in range(places):
        if chance_seat(bench, rng, seed):
            rows.append(row(bench, "chance", seed, seat))
    bench.env.close()
    kept = [found for found in rows if found is not None]
    stood = {kind: sum(found["kind"] == kind for found in kept) for kind in (*tried, "at its limit")}
    return {"part": part, "robot": robot, "tried": tried, "stood": stood, "rows": kept}


def _picture(frame: np.ndarray) -> np.ndarray:
    """The frame without what the lamp adds: mean 0 and deviation 1 in each channel."""
    picture = frame.astype(np.float32)
    return (picture - picture.mean((0, 1))) / (picture.std((0, 1)) + 1.0)


def auc(true: Sequence[float], false: Sequence[float]) -> float:
    """Probability that a true seat's figure is above a false seat's, ties half."""
    higher = np.subtract.outer(np.array(true), np.array(false))
    return float(((higher > 0) + 0.5 * (higher == 0)).mean())


def separation(benches: Sequence[dict[str, Any]], kinds: Sequence[str]) -> dict[str, Any]:
    """For each signal: quantiles and AUC over all benches; the share of false seats outside what any true seat of any
    bench shows; and in how many of the benches that have false seats theirs and the true ones' do not overlap."""
    found = {}
    for name in SIGNALS:
        true, false, apart, of = [], [], [], 0
        for bench in benches:
            sits = [seen[name] for seen in bench["rows"] if seen["kind"] == "true"]
            held = [seen[name] for seen in bench["rows"] if seen["kind"] in kinds]
            true, false = true + sits, false + held
            if sits and held:
                of += 1
                if max(sits) < min(held) or max(held) < min(sits):
                    apart.append(f"{bench['part']}.{bench['robot']}")
        quantiles = [[round(float(q), 3) for q in np.quantile(all_, (0, 0.05, 0.5, 0.95, 1))] for all_ in (true, false)]
        outside = np.mean([not min(true) <= value <= max(true) for value in false])
        found[name] = {
            "true": quantiles[0],
            "false": quantiles[1],
            "auc": round(auc(true, false), 3),
            "outside_all_true": round(float(outside), 3),
            "benches_apart": f"{len(apart)} of {of}",
            "apart": apart,
        }
    return found


def summary(benches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`separation` of the scripted false seats, of those found by chance on the connectors with a trap and without."""
    traps = [bench for bench in benches if bench["part"] in FALSE]
    others = [bench for bench in benches if bench["part"] not in FALSE]
    groups = {"scripted": (traps, ("scripted",)), "chance, traps": (traps, ("chance",))}
    groups |= {"chance, others": (others, ("chance",)), "all": (benches, ("scripted", "chance"))}
    kept = {}
    for group, (among, kinds) in groups.items():
        if any(seen["kind"] in kinds for bench in among for seen in bench["rows"]):
            kept[group] = separation(among, kinds)
    return kept


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=of_split("validation"))
    parser.add_argument("--trials", type=int, default=6, help="true seats, and scripted false ones, of each bench")
    parser.add_argument("--places", type=int, default=60, help="random places of each bench")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    kept = json.loads(options.out.read_text())["benches"] if options.out.exists() else []
    benches = [bench for bench in kept if bench["part"] not in options.parts]
    for part in options.parts:
        for robot in ROBOTS:
            benches.append(measure(part, robot, options.trials, options.places))
            print(part, robot, "stood", benches[-1]["stood"], "of", benches[-1]["tried"], flush=True)
    benches.sort(key=lambda bench: (bench["part"], bench["robot"]))
    table = summary(benches)
    columns = ("true", "false", "auc", "outside_all_true", "benches_apart")
    for group, signals in table.items():
        for name, figures in signals.items():
            print(f"{group:14s} {name:13s}", *(figures[column] for column in columns))
    record({"signals": SIGNALS, "columns": columns, "separation": table, "benches": benches}, options.out)


if __name__ == "__main__":
    main()
