"""Milliseconds that a step through the robot server takes longer than one in process, on this machine.

    python benchmarks/robot_server.py --out results/benchmarks/robot_server.json

The server is a process of its own and serves a robot that does nothing but show pictures of the given size: all the
time is the boundary's (two messages, limits, camera checks, compression). The 99th percentile shall be at most 5 ms.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import report

from lotj.robots.client import RemoteRobot
from lotj.robots.robot import PRACTICE, Setup
from lotj.robots.safe import Limits
from lotj.robots.server import RobotServer
from lotj.spaces import Array, Spec

TARGET_MS, TOKEN = 5.0, "only for this benchmark"
SIZES = {"bench, 2 x 64 x 32": (2, 32, 64, 3), "2 x 128 x 64": (2, 64, 128, 3), "2 x 320 x 240": (2, 240, 320, 3)}


class Still:
    """Shows smooth pictures with a little noise, as cameras do, and moves nothing."""

    action_scale, estimate_error, height_error, name = 6e-3, 0.0, 0.0, "still"

    def __init__(self, shape: tuple[int, ...]) -> None:
        arrays = {"image": Array(shape, "uint8", 0, 255), "state": Array((9,), "float32", -np.inf, np.inf)}
        self.spec = Spec(arrays, (3,), 10.0, 20)
        rng, (y, x) = np.random.default_rng(0), np.mgrid[: shape[1], : shape[2]]
        smooth = 128 + 60 * np.sin(x / 9)[..., None] * np.cos(y / 7)[..., None]
        self._shown = [(smooth + rng.normal(0, 2, shape)).astype(np.uint8) for _ in range(16)]
        self._number = 0

    def reset(self, seed: int, start: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return self.relax()

    def move(self, action: np.ndarray) -> dict[str, np.ndarray]:
        return self.relax()

    def relax(self) -> dict[str, np.ndarray]:
        self._number += 1
        return {"image": self._shown[self._number % 16], "state": np.zeros(9, np.float32)}

    def park(self) -> None:
        pass

    def close(self) -> None:
        pass


def serve(shape: tuple[int, ...], said: Any) -> None:
    """In the server's process."""
    server = RobotServer(lambda setup: Still(shape), TOKEN, Limits(watchdog_s=60.0))
    threading.Thread(target=server.run, daemon=True).start()
    said.send(server.address)
    for _ in range(2):  # at the first and after the last step that is timed
        said.send(said.recv() and time.process_time())
    server.close()


def _processor_time(server: Any) -> float:
    """Of this process and the server's [s]."""
    server.send(True)
    return time.process_time() + server.recv()


def measure(shape: tuple[int, ...], steps: int) -> dict[str, float]:
    """Percentiles of a step's time, and the processor time of both sides [ms]."""
    ours, theirs = mp.Pipe()
    process = mp.get_context("spawn").Process(target=serve, args=(shape, theirs))
    process.start()
    robot, took, action = RemoteRobot(ours.recv(), Setup(PRACTICE, ""), TOKEN), [], np.zeros(3, np.float32)
    used: list[float] = []
    robot.reset(0)
    for step in range(steps + 50):
        if step == 50:
            used.append(_processor_time(ours))
        started = time.perf_counter()
        robot.move(action)
        if step >= 50:
            took.append(1e3 * (time.perf_counter() - started))
    used.append(_processor_time(ours))
    robot.close()
    process.join()
    cpu = 1e3 * (used[1] - used[0]) / steps
    figures = {f"p{q}": float(np.percentile(took, q)) for q in (50, 90, 99)} | {"max": max(took), "processor": cpu}
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Measure, print, and write the figures with their command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {name: measure(shape, options.steps) for name, shape in SIZES.items()}
    about = {"command": " ".join(["python", *sys.argv]), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    about |= {"note": options.note, "steps": options.steps, "target_p99_ms": TARGET_MS}
    report({**about, "milliseconds": found}, options.out)


if __name__ == "__main__":
    main()
