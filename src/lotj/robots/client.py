"""A robot that is served elsewhere, as a `Robot` here."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from lotj.errors import FaultError, RobotError
from lotj.experience import Observation
from lotj.robots import wire
from lotj.robots.robot import Setup
from lotj.spaces import Spec

MOVE_S, RESET_S = 3.0, 60.0
"""The robot has failed when a motion, or a way to a start, has taken so long."""


def is_address(robot: str) -> bool:
    """Whether this names a robot that is served, ``host:port`` or a WebSocket's URL, and not a simulated one."""
    return ":" in robot


class RemoteRobot:
    """See `lotj.robots.robot.Robot` and `Witness`. A connection that is gone is made anew by `reset`.

    Args:
        address: ``host:port``, ``ws://host:port`` or, encrypted, ``wss://host:port``; the environment's SSL_CERT_FILE
            names a certificate that is not signed by a known authority.
        setup: what the robot is to be ready for.
        token: that of the server; by default the environment's `wire.TOKEN`.
        move_s: see `MOVE_S`.

    Raises:
        RobotError: nobody answers there, the token is wrong, another learner has the robot, or it is not ready.
        SettingsError: no address, no token, a package is missing.
    """

    def __init__(self, address: str, setup: Setup, token: str | None = None, move_s: float = MOVE_S) -> None:
        self._url, self._encryption = wire.checked_address(address)
        self._token = wire.check_token(os.environ.get(wire.TOKEN, "") if token is None else token)
        self._setup, self._move_s, self._name = setup, move_s, secrets.token_hex(16)
        self._connection: Any = None
        self._session, self._number, self._ahead = "", 0, 0.0  # `_ahead`: of the server's clock [s]
        self._told: Mapping[str, Any] = {}
        about = self._connect()
        self.name = str(about["name"])
        self.spec = Spec.from_json(about["spec"])
        self.action_scale = float(about["action_scale"])
        self.estimate_error, self.height_error = float(about["estimate_error"]), float(about["height_error"])
        if about["tells"]:
            self.outcome = self._outcome

    def reset(self, seed: int, start: np.ndarray | None = None) -> Observation:
        """See `Robot.reset`.

        Raises:
            FaultError: the robot is not back yet.
            RobotError: another one is.
        """
        if self._connection is None:
            about = self._connect()
            now, before = (str(about["name"]), float(about["action_scale"])), (self.name, self.action_scale)
            if now != before:
                self._cut()
                there = (
                    f"{now[0]}, {1e3 * now[1]:g} mm an action, is served where {before[0]}, {1e3 * before[1]:g} mm, was"
                )
                raise RobotError(f"{self._url}: {there}; serve that again")
        where = None if start is None else [float(number) for number in start]
        return self._seen(self._ask("reset", RESET_S, seed=int(seed), start=where))

    def move(self, action: np.ndarray) -> Observation:
        """See `Robot.move`."""
        return self._seen(self._ask("move", self._move_s, action=np.asarray(action, np.float32).ravel().tolist()))

    def relax(self) -> Observation:
        """See `Robot.relax`."""
        return self._seen(self._ask("relax", self._move_s))

    def park(self) -> None:
        """See `Robot.park`."""
        self._ask("park", self._move_s)

    def prepare(self, setup: Setup) -> None:
        """Be ready for something else, of the same shape; where the connection is gone, from the next `reset` on."""
        changed, self._setup = setup != self._setup, setup
        if changed and self._connection is not None:
            self._ask("prepare", RESET_S, setup=asdict(setup))

    def close(self) -> None:
        """See `Robot.close`: the server stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _outcome(self) -> Mapping[str, Any]:
        return self._told

    def _connect(self) -> Mapping[str, Any]:
        """Connects; what the robot says of itself. FaultError where it cannot be reached now."""
        with self._speaking():
            self._connection = wire.dial(
                self._url,
                ssl=self._encryption,
                additional_headers={"Authorization": f"Bearer {self._token}", "Lotj-Learner": self._name},
                open_timeout=5,
                close_timeout=1,
                ping_interval=None,  # each message is answered, and waited for
            )
            greeting = self._received(5.0)
        if greeting.get("version") != wire.VERSION:
            raise RobotError(f"{self._url}: speaks version {greeting.get('version')!r}, this lotj {wire.VERSION}")
        self._session, self._number = str(greeting["session"]), 0
        return self._ask("prepare", RESET_S, setup=asdict(self._setup))

    def _ask(self, do: str, within: float, **arguments: Any) -> dict[str, Any]:
        """One message and its answer; FaultError where none comes, or not in time: `reset` then connects anew."""
        if self._connection is None:
            raise FaultError(f"{self._url}: the connection is gone; reset makes a new one")
        self._number += 1
        by = time.monotonic() + self._ahead + wire.LATE_S
        message = {"session": self._session, "n": self._number, "by": by, "do": do, **arguments}
        with self._speaking():
            self._connection.send(wire.pack(message))
            answer = self._received(within)
        if "error" in answer:
            raise wire.ERRORS.get(answer["error"], RobotError)(str(answer.get("why")))
        if answer.get("n") != self._number:
            self._cut()
            raise FaultError(f"{self._url}: answer {answer.get('n')!r} to message {self._number}")
        return answer

    def _received(self, within: float) -> dict[str, Any]:
        answer = wire.unpack(self._connection.recv(timeout=within))
        if isinstance(answer.get("clock"), float):
            self._ahead = answer["clock"] - time.monotonic()
        return answer

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            with wire.speaking(self._url, "robot server", wire.TOKEN):
                yield
        except FaultError:
            self._cut()
            raise

    def _cut(self) -> None:
        """Gives the connection up, if there is one, without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
            connection.socket.close()

    def _seen(self, answer: Mapping[str, Any]) -> Observation:
        self._told = {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in answer.get("outcome", {}).items()
        }
        return wire.unpack_observation(answer.get("seen"), self.spec)
