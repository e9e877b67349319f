"""``lotj robot``: a robot behind a socket."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from lotj.cli.job import say
from lotj.files import storage_errors
from lotj.ranges import Checked, Interval
from lotj.robots import wire
from lotj.robots.safe import EmergencyStop, Limits


@dataclass(frozen=True)
class Command(Checked):
    """Serve a robot to `lotj practice`, `evaluate` and `collect --robot HOST:PORT`, one learner at a time.

    Its limits hold whatever a learner asks for; they are no safety function. In a terminal Enter is an emergency stop,
    and `go` releases it. The token is read from LOTJ_ROBOT_TOKEN, or made anew and shown.
    """

    interrupted: ClassVar[str] = "stopped; the robot is let go"

    do: tyro.conf.Positional[Literal["serve"]]
    """The word serve."""
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

    def run(self) -> None:
        from lotj.errors import SettingsError, find
        from lotj.robots.server import Benches, RobotServer, driver
        from lotj.sim.arm import ARMS

        find("arm", self.arm, ARMS)
        if self.driver != "bench" and (self.truth is not None or self.arm != "duo"):
            raise SettingsError(f"arm and truth are the simulated bench's, not {self.driver}'s: leave them out")
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
        logging.getLogger("lotj.robots").setLevel(logging.INFO)
        logging.getLogger("lotj.robots.connections").setLevel(logging.ERROR)
        sys.path.insert(0, os.getcwd())  # a driver of one's own lies where one works
        if self.truth is not None:  # now, and not in the first trial
            with storage_errors(self.truth):
                self.truth.open("a").close()
        make = Benches(self.arm, self.truth) if self.driver == "bench" else driver(self.driver)
        given = os.environ.get(wire.TOKEN)
        token = given or secrets.token_urlsafe(32)
        server = RobotServer(make, token, self.limits, self.host, self.port, self.cert, self.key)
        if not given:
            say(f"{wire.TOKEN}={token}")
        say(f"serving {self.driver} at {server.address}; Ctrl-C ends it")
        sys.stdout.flush()
        if sys.stdin is not None and sys.stdin.isatty():
            threading.Thread(target=_watch_keys, args=[server.stop], daemon=True).start()
        try:
            server.run()
        finally:
            server.close()


def _watch_keys(stop: EmergencyStop) -> None:
    for line in sys.stdin:
        if line.strip() == "go":
            stop.release()
        else:
            stop.press("Enter was pressed where the robot is")
