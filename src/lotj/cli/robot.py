"""``lotj robot``: a robot behind a socket."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from lotj.cli.job import say
from lotj.ranges import COUNT, Checked, Interval
from lotj.robots import wire
from lotj.robots.safe import Limits


@dataclass(frozen=True)
class Serve(Checked):
    """Serve a robot to `lotj practice`, `evaluate` and `collect --robot HOST:PORT`, one learner at a time.

    Its limits hold whatever a learner asks for; they are no safety function. In a terminal Enter is an emergency stop,
    and `go` releases it. The token is read from LOTJ_ROBOT_TOKEN, or made anew and shown.
    """

    interrupted: ClassVar[str] = "stopped; the robot is let go"

    driver: tyro.conf.Positional[str] = "bench"
    """bench, the simulated one, or module:Class of a driver of your own (docs/real-robot.md)."""
    limits: Limits = dataclasses.field(default_factory=Limits)
    arm: str = "duo"
    """Of the simulated bench: duo, trio or panda."""
    truth: Path | None = None
    """Of the simulated bench: file that the true successes of practice go to, which no learner sees."""
    host: str = "127.0.0.1"
    """Where to listen: this machine alone by default; other machines with --cert and --key alone."""
    port: Annotated[int, Interval(0, 65535)] = 8750
    """Where to listen; 0 takes a free one."""
    cert: Path | None = None
    """Certificate in PEM, for TLS."""
    key: Path | None = None
    """Its key in PEM."""
    jpeg: Annotated[int | None, Interval(1, 95)] = None
    """Send pictures as JPEG of this quality: smaller, but not the same; by default they are, bit for bit."""

    def run(self) -> None:
        from lotj.errors import find
        from lotj.robots.server import Benches, RobotServer, driver
        from lotj.sim.arm import ARMS

        find("arm", self.arm, ARMS)
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
        logging.getLogger("lotj.robots").setLevel(logging.INFO)
        logging.getLogger("lotj.robots.connections").setLevel(logging.ERROR)
        sys.path.insert(0, os.getcwd())  # a driver of one's own lies where one works
        make = Benches(self.arm, self.truth) if self.driver == "bench" else driver(self.driver)
        given = os.environ.get(wire.TOKEN)
        token = given or secrets.token_urlsafe(32)
        where = (self.host, self.port, self.cert, self.key, self.jpeg)
        server = RobotServer(make, token, self.limits, *where)
        if not given:
            say(f"{wire.TOKEN}={token}")
        say(f"serving {self.driver} at {server.address}; Ctrl-C ends it")
        sys.stdout.flush()
        if sys.stdin is not None and sys.stdin.isatty():
            threading.Thread(target=_watch_keys, args=[server], daemon=True).start()
        try:
            server.run()
        finally:
            server.close()


@dataclass(frozen=True)
class Ping(Checked):
    """Say what a served robot shows and takes, and how long a message to it takes. Nothing moves."""

    address: tyro.conf.Positional[str]
    """host:port, ws://host:port or wss://host:port."""
    connector: str = "usb-b"
    """What it is to be ready for."""
    messages: Annotated[int, COUNT] = 100
    """How many to time."""

    def run(self) -> None:
        from contextlib import closing

        from lotj.robots.client import RemoteRobot
        from lotj.robots.robot import PRACTICE, Setup
        from lotj.sim.connector import connector_text, find_connector

        find_connector(self.connector)
        took = []
        with closing(RemoteRobot(self.address, Setup(PRACTICE, connector_text(self.connector).decode()))) as robot:
            for _ in range(self.messages):
                started = time.perf_counter()
                robot.park()
                took.append(1e3 * (time.perf_counter() - started))
            shown = ", ".join(f"{name} {of.shape} {of.dtype}" for name, of in robot.spec.observation.items())
            rate, size = f"{robot.spec.rate_hz:g} Hz", f"{1e3 * robot.action_scale:g} mm"
            say(f"{robot.name}: shows {shown}; takes {robot.spec.action}, an action of 1 is {size}, at {rate}")
            say(f"a message takes {sorted(took)[len(took) // 2]:.2f} ms in the median, {max(took):.2f} ms at most")


Command = Serve | Ping


def _watch_keys(server: object) -> None:
    stop = server.stop  # type: ignore[attr-defined]
    for line in sys.stdin:
        if line.strip() == "go":
            stop.release()
        else:
            stop.press("Enter was pressed where the robot is")
