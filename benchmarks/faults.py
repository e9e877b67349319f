"""Faults of cameras, robot and network: is each noticed, how soon, and how far does the hand go on?

    python benchmarks/faults.py --out results/benchmarks/faults.json

A learner moves the simulated bench through `lotj.robots.server`, ten times a second as a robot would. Each repetition
injects one fault in mid-trial, at a time drawn by chance. `latency_ms` is the time until the learner is told, which
voids its trial; `stop_ms` until the robot's side has let go. `motion_mm` is how far the hand goes from then until 0.5 s
after the fault is noticed. `landed` counts the repetitions in which the injected fault is proved by what came of it: a
picture that is not the true one, a motion that took its time, a port that nobody listens at any more (or another server
does), bytes that the cut cable has swallowed, a stream that the learner has ended. Clean running (without pauses, so
that an hour of robot time takes some minutes) gives the false trips an hour.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report

from lotj.errors import FaultError, LostError, RobotError
from lotj.experience import Observation
from lotj.robots.client import RemoteRobot
from lotj.robots.robot import PRACTICE, Setup
from lotj.robots.safe import Limits
from lotj.robots.server import Benches, RobotServer
from lotj.robots.simulated import SimulatedRobot
from lotj.sim.connector import connector_text

TOKEN = "only for this benchmark"
STEP_S = 0.1
MOVE_S = 1.0
"""So long the learner waits for a motion while faults are injected; in clean running as long as it always does."""

PICTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "camera frozen": lambda now, then: then,
    "one of two frozen": lambda now, then: np.stack([now[0], then[1]]),
    "camera black": lambda now, then: np.zeros_like(now),
    "one of two black": lambda now, then: np.stack([now[0], np.zeros_like(now[1])]),
    "camera of wrong size": lambda now, then: now[:, ::2, ::2],
    "one of two gone": lambda now, then: now[:1],
}
"""What is shown, of the true picture and that at the time of the fault."""

FAULTS = (*PICTURES, "robot slow", "robot gone", "robot restarted", "network cut", "learner gone")


class Injected:
    """A simulated robot in real time, with a fault from `fault_at` on."""

    def __init__(self, robot: SimulatedRobot, pace: float) -> None:
        self._robot, self._pace = robot, pace
        self.fault, self.landed, self.closed = "", False, False
        self.stops: list[float] = []
        self.path: list[tuple[float, np.ndarray]] = []
        self._then: np.ndarray | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "outcome":
            raise AttributeError(name)
        return getattr(self._robot, name)

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        return self._shown(self._robot.reset(seed, start))

    def move(self, action: np.ndarray) -> Observation:
        started = time.perf_counter()
        if self.fault == "robot slow":
            time.sleep(2 * MOVE_S)
        seen = self._shown(self._robot.move(action))
        self.landed = self.landed or (self.fault == "robot slow" and time.perf_counter() - started > MOVE_S)
        time.sleep(max(0.0, self._pace - (time.perf_counter() - started)))
        return seen

    def relax(self) -> Observation:
        self.stops.append(time.perf_counter())
        return self._shown(self._robot.relax())

    def close(self) -> None:
        self._robot.close()
        self.closed = True

    def _shown(self, seen: Observation) -> Observation:
        self.path.append((time.perf_counter(), self._robot.sensors()["position"]))
        image = np.asarray(seen["image"])
        if self._then is None or not self.fault:
            self._then = image
        if self.fault not in PICTURES:
            return seen
        shown = PICTURES[self.fault](image, self._then)
        self.landed = self.landed or shown.shape != image.shape or not np.array_equal(shown, image)
        return {**seen, "image": shown}


class Cable:
    """Carries bytes between a learner and a server until it is cut; then nothing comes through, and nobody is told."""

    def __init__(self, port: int) -> None:
        self.whole, self.swallowed, self.ended = True, 0, False  # bytes; whether the learner has hung up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self._port = port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            learner, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            for pair in ((learner, server, True), (server, learner, False)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, of_learner: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.whole:
                    target.sendall(data)
                else:
                    self.swallowed += len(data)
            self.ended = self.ended or of_learner
            target.shutdown(socket.SHUT_WR)


class World:
    """A server, its robot and the cable to it."""

    def __init__(self, pace: float = STEP_S, port: int = 0) -> None:
        benches, self.made = Benches(), list[Injected]()

        def make(setup: Setup) -> Any:
            self.made.append(Injected(benches(setup), pace))
            return self.made[-1]

        self.server = RobotServer(make, TOKEN, Limits(), port=port)
        self.port = int(self.server.address.rpartition(":")[2])
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.close()
        self._thread.join()


def motion(rng: np.random.Generator) -> np.ndarray:
    """Sideways and up and down, and never still."""
    return (rng.choice([-1.0, 1.0], 3) * rng.uniform(0.5, 1.0, 3)).astype(np.float32)


def run_into(fault: str, rng: np.random.Generator) -> dict[str, Any]:
    """One repetition."""
    world, again = World(), None
    cable = Cable(world.port)
    learner = RemoteRobot(cable.address, Setup(PRACTICE, connector_text("usb-b").decode()), TOKEN, move_s=MOVE_S)
    robot, told, why = world.made[-1], None, ""
    try:
        learner.reset(int(rng.integers(2**31)))
        for _ in range(int(rng.integers(2, 6))):
            learner.move(motion(rng))
        began = time.perf_counter()
        robot.fault = fault
        if fault in ("robot gone", "robot restarted"):
            world.close()
            again = World(port=world.port) if fault == "robot restarted" else None
        elif fault == "network cut":
            cable.whole = False
        elif fault == "learner gone":
            learner.close()
        while told is None and time.perf_counter() - began < 10.0:
            try:
                learner.move(motion(rng))
            except FaultError as error:
                told, why = time.perf_counter(), str(error)
            except LostError:
                learner.reset(int(rng.integers(2**31)))
        time.sleep(0.5 + (2 * MOVE_S if fault == "robot slow" else 0.0))  # its motion is still to come
        stop = next((at for at in robot.stops if at >= began), None)
        after = [place for at, place in robot.path if at >= began]
        before = [place for at, place in robot.path if at < began][-1:]
        places = np.array([*before, *after])
        goes_on = _goes_on(fault, learner, robot, cable)
        return {
            "told_ms": None if told is None else 1e3 * (told - began),
            "stop_ms": None if stop is None else 1e3 * (stop - began),
            "motion_mm": 1e3 * float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum()),
            "landed": robot.landed or _landed(fault, cable, world, again),
            "goes_on": goes_on,
            "why": why,
        }
    finally:
        learner.close()
        if fault not in ("robot gone", "robot restarted"):
            world.close()
        if again is not None:
            again.close()


def _landed(fault: str, cable: Cable, world: World, again: World | None) -> bool:
    """Proof of a fault that is not the robot's own."""
    if fault == "network cut":
        return cable.swallowed > 0
    if fault == "learner gone":
        return cable.ended
    if fault == "robot restarted":
        return world.made[0].closed and again is not None and _listens(again.port)
    return fault == "robot gone" and world.made[0].closed and not _listens(world.port)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _goes_on(fault: str, learner: RemoteRobot, robot: Injected, cable: Cable) -> bool:
    """Whether a trial can be begun once the fault is mended; a robot that is gone for good is not."""
    if fault == "robot gone":
        return False
    robot.fault, cable.whole = "", True
    for seed in range(20):
        try:
            learner.reset(seed)
            learner.move(np.zeros(3, np.float32))
            return True
        except RobotError:
            time.sleep(0.5)
    return False


def clean(minutes: float) -> dict[str, Any]:
    """False trips of a learner that does nothing wrong, in so many minutes of robot time."""
    world, rng, trips, steps = World(pace=0.0), np.random.default_rng(0), list[str](), 0
    setup = Setup(PRACTICE, connector_text("usb-b").decode())
    learner = RemoteRobot(world.server.address, setup, TOKEN)
    while steps < minutes * 60 / STEP_S:
        try:
            learner.reset(steps)
            for _ in range(20):
                steps += 1
                learner.move(motion(rng) * np.array([1, 1, 0.5], np.float32))
            learner.park()
        except LostError:
            pass
        except FaultError as error:
            trips.append(str(error))
    learner.close()
    world.close()
    return {"robot_minutes": minutes, "moves": steps, "false_trips": trips, "an_hour": 60 * len(trips) / minutes}


def main() -> None:
    """Inject all, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--clean-minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = {}
    for number, fault in enumerate(FAULTS):
        rng = np.random.default_rng([number, 0])
        rows = [run_into(fault, rng) for _ in range(options.repetitions)]
        told = [row["told_ms"] for row in rows if row["told_ms"] is not None]
        stops = [row["stop_ms"] for row in rows if row["stop_ms"] is not None]
        table[fault] = {
            "repetitions": len(rows),
            "landed": sum(row["landed"] for row in rows),
            "detected": len(told),
            **{f"latency_ms_p{q}": round(float(np.percentile(told, q)), 1) for q in (50, 99) if told},
            **{f"stop_ms_p{q}": round(float(np.percentile(stops, q)), 1) for q in (50, 99) if stops},
            **{f"motion_mm_p{q}": round(float(np.percentile([r["motion_mm"] for r in rows], q)), 2) for q in (50, 99)},
            "goes_on": sum(row["goes_on"] for row in rows),
            "loss": "the running trial",
            "said": rows[0]["why"],
        }
        print(fault, table[fault], file=sys.stderr, flush=True)
    figures = {"command": " ".join(["python", *sys.argv]), "limits": str(Limits()), "move_s": MOVE_S}
    report({**figures, "faults": table, "clean": clean(options.clean_minutes)}, options.out)


if __name__ == "__main__":
    main()
