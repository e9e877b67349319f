"""A robot behind a socket: one learner at a time, who knows the token; whatever else comes in moves nothing."""

from __future__ import annotations

import hmac
import http
import importlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from lotj.envs.insertion import InsertionEnv
from lotj.errors import FaultError, LotjError, RobotError, SettingsError
from lotj.experience import Observation
from lotj.extras import library
from lotj.robots import wire
from lotj.robots.robot import COLLECTION, EVALUATION, PRACTICE, PURPOSES, Robot, Setup
from lotj.robots.safe import EmergencyStop, Limits, Safe, check_driver
from lotj.robots.simulated import SimulatedRobot, simulated_bench

_log = logging.getLogger(__name__)

FIGURES = ("action_scale", "estimate_error", "height_error")
MEMBERS = ("reset", "move", "relax", "park", "close", "spec", *FIGURES)
"""What a driver must have, see `Robot`; the figures are told to the learner."""

Make = Callable[[Setup], Robot]
"""Gives the robot, ready for what it is set up for; RobotError where it cannot be."""


class Benches:
    """Makes the simulated bench that a learner asks for.

    Args:
        arm: ``duo``, ``trio`` or ``panda``.
        truth_file: see `SimulatedRobot`.
    """

    def __init__(self, arm: str = "duo", truth_file: Path | None = None) -> None:
        self.arm, self._truth_file = arm, truth_file
        self._made: tuple[Setup, InsertionEnv, SimulatedRobot] | None = None

    def __call__(self, setup: Setup) -> SimulatedRobot:
        if self._made is not None:
            before, env, robot = self._made
            if replace(before, scenario=setup.scenario) == setup and setup.purpose != PRACTICE:
                env.scenario, self._made = setup.scenario, (setup, env, robot)
                return robot
            robot.close()
            self._made = None
        env, practised = simulated_bench(setup, self.arm), setup.purpose == PRACTICE
        robot = SimulatedRobot(env, self._truth_file if practised else None, witnessed=not practised)
        self._made = setup, env, robot
        return robot


def driver(name: str) -> Make:
    """Makes the robot of a class that is named ``module:Class``, once, and takes it for ready, unless it has a method
    ``prepare(setup)`` that says otherwise; SettingsError where there is none of that name, RobotError where it cannot
    be made, or what it says of itself cannot be."""
    module, _, kind = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), kind)
    except (Exception, SystemExit) as error:  # of a file of somebody else, maybe a script
        raise SettingsError(f"robot {name!r}: must be module:Class of a class that can be imported: {error}") from None
    try:
        robot = made()
    except LotjError:
        raise
    except (Exception, SystemExit) as error:  # a driver's
        raise RobotError(
            f"robot {name!r}: cannot be made ({type(error).__name__}: {error}); mend it or its driver"
        ) from error
    if lacking := [member for member in MEMBERS if not hasattr(robot, member)]:
        raise RobotError(f"robot {name!r}: has no {', '.join(lacking)}; docs/real-robot.md says what each is")
    check_driver(robot)

    def ready(setup: Setup) -> Robot:
        getattr(robot, "prepare", lambda setup: None)(setup)
        return robot

    return ready


class Conversation:
    """What one learner says, and what comes of it: bytes in, bytes out.

    Args:
        make, limits: the robot and what it is held to.
        clock: seconds; of messages and of the watchdog.
        stop: see `Safe`.
    """

    def __init__(
        self,
        make: Make,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        stop: EmergencyStop | None = None,
    ) -> None:
        self._make, self._limits, self._clock = make, limits, clock
        self._stop = stop or EmergencyStop()
        self.session, self._last = secrets.token_hex(16), 0
        self.robot: Safe | None = None
        self._prepared = False  # else the robot is an earlier one, which a refused `prepare` leaves standing
        self._tells = False  # the truth

    def greeting(self) -> bytes:
        """What a learner hears first."""
        return wire.pack({"version": wire.VERSION, "session": self.session, "clock": self._clock()})

    def answer(self, data: Any) -> bytes:
        """Does what a message asks, if it is one that counts."""
        number, answer = 0, dict[str, Any]()
        try:
            request = wire.checked_request(wire.unpack(data))
            number = self._counted(request)
            answer = self._done(request)
        except LotjError as error:
            kind = next((name for name, of in wire.ERRORS.items() if isinstance(error, of)), "refused")
            answer = {"error": kind, "why": str(error)}
            _log.info("%s: %s", kind, error)
            self.check_time()  # however many come: what is refused does not keep the watchdog quiet
        except Exception as error:  # a driver's
            _log.exception("the robot's driver has failed")
            answer = {"error": "fault", "why": f"the robot's driver has failed: {type(error).__name__}: {error}"}
            self.end()
        return wire.pack({"n": number, "clock": self._clock(), **answer})

    def check_time(self) -> None:
        """See `Safe.check_time`."""
        if self.robot is not None:
            self.robot.check_time()

    def end(self) -> None:
        """The learner is gone, or the driver has failed: let go, and hold still."""
        if self.robot is not None:
            with suppress(Exception):  # it may be that which has failed
                self.robot.leave()

    def _counted(self, request: dict[str, Any]) -> int:
        """The number of a message that is of this session, new, and in time."""
        number, now = request["n"], self._clock()
        if not hmac.compare_digest(request["session"].encode(), self.session.encode()):
            raise RobotError("a message of another session; nothing has moved")
        if not self._last < number < 2**53:
            raise RobotError(f"message {number} after message {self._last}: must be a later one; nothing has moved")
        self._last = number
        if not now <= request["by"] <= now + 2 * wire.LATE_S:
            late = f"{1e3 * (now - request['by']):.0f} ms late" if request["by"] < now else "from the future"
            raise FaultError(f"message {number} is {late}; nothing has moved")
        return number

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        do, robot = request["do"], self.robot if self._prepared else None
        if do == "prepare":
            self._prepared = False
            return self._prepare(request["setup"])
        if robot is None:
            raise RobotError(f"{do} before prepare; nothing has moved")
        if do == "park":
            robot.park()
            return {}
        if do == "reset":
            start = request["start"]
            seen = robot.reset(request["seed"], None if start is None else np.array(start, float))
        else:
            seen = robot.move(np.array(request["action"])) if do == "move" else robot.relax()
        return self._seen(seen, robot)

    def _seen(self, seen: Observation, robot: Safe) -> dict[str, Any]:
        answer: dict[str, Any] = {"seen": wire.pack_observation(seen)}
        if self._tells:
            answer["outcome"] = {
                name: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
                for name, value in robot.outcome().items()
            }
        return answer

    def _prepare(self, setup: dict[str, Any]) -> dict[str, Any]:
        kinds = {field.name: {"str": str, "int": int}[str(field.type)] for field in fields(Setup)}
        if setup.keys() != kinds.keys() or any(type(setup[name]) is not kind for name, kind in kinds.items()):
            raise RobotError(f"prepare: setup must have {', '.join(kinds)}, texts and whole numbers")
        asked = Setup(**setup)
        if asked.purpose not in PURPOSES:
            raise RobotError(f"purpose {asked.purpose!r:.40}: must be one of {', '.join(PURPOSES)}")
        self.end()  # a trial that still runs
        made = self._make(asked)
        self.robot = Safe(made, self._limits, self._clock, self._stop)
        self._tells = asked.purpose in (EVALUATION, COLLECTION) and hasattr(made, "outcome")
        self._prepared = True
        about = {name: float(getattr(made, name)) for name in FIGURES}
        name = getattr(made, "name", type(made).__name__)
        return {**about, "spec": asdict(made.spec), "name": name, "tells": self._tells}


class RobotServer:
    """Serves one robot until it is closed.

    Args:
        make: gives the robot; it and all of the robot's methods are called in one thread.
        token: who does not send it is not listened to.
        limits: of the robot.
        host, port: where; port 0 takes a free one, see `address`.
        certificate, key: files in PEM, for TLS; without them only this machine is listened to.

    Raises:
        SettingsError: another host without TLS, a token too short, files that are no certificate, a port in use.
    """

    def __init__(
        self,
        make: Make,
        token: str,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._make, self._token, self._limits = make, wire.check_token(token), limits or Limits()
        self._thread = ThreadPoolExecutor(1, "robot")  # renderers and many drivers belong to one thread
        self._seat = threading.Lock()
        self._holder: tuple[str, Any, str] = ("", None, "")  # its name, its connection, since when
        self._robot: Safe | None = None  # of the last conversation
        self.stop = EmergencyStop()
        connections = logging.getLogger("lotj.robots.connections")
        connections.addFilter(_in_one_line)
        context = wire.encryption(host, certificate, key)
        try:
            self._server = library("websockets.sync.server").serve(
                self._serve,
                host,
                port,
                ssl=context,
                origins=[None],  # no page in a browser
                compression=None,
                process_request=self._admit,
                max_size=wire.LARGEST_REQUEST,
                open_timeout=5,
                ping_interval=2,
                ping_timeout=5,
                close_timeout=1,
                server_header=None,
                logger=connections,
            )
        except OSError as error:
            raise SettingsError(f"{host}:{port}: cannot listen there ({error.strerror}); choose another port") from None
        host, port = self._server.socket.getsockname()[:2]
        self.address = f"{'wss' if context else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Serve until `close`."""
        self._server.serve_forever()

    def close(self) -> None:
        """End all conversations; the robot lets go and is released."""
        self._server.shutdown()
        if self._robot is not None:
            self._thread.submit(self._robot.close).result()
        self._thread.shutdown()

    def _admit(self, connection: Any, request: Any) -> Any:
        """None, or the answer to who does not know the token."""
        given = request.headers.get_all("Authorization")
        wanted = f"Bearer {self._token}".encode()
        if len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "replace"), wanted):
            return None
        _log.warning("refused: a connection without the right token")
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, f"the robot's token is needed, as {wire.TOKEN}\n")

    def _serve(self, connection: Any) -> None:
        """One learner's connection. One that comes again after its connection was cut takes the old one's place."""
        learner = connection.request.headers.get("Lotj-Learner", "")
        holder, old, since = self._holder
        if learner and old is not None and learner == holder:
            with suppress(OSError):
                old.socket.shutdown(socket.SHUT_RDWR)  # to close it would wait for a message that nobody takes
        if not self._seat.acquire(timeout=2.0):  # who has just hung up is still being taken leave of
            _log.warning("refused: a second learner")
            return connection.close(1013, f"another learner has had the robot since {since}; wait, or stop it")
        try:
            self._holder = learner, connection, time.strftime("%H:%M:%S")
            _log.info("a learner has come")
            self._converse(connection)
        finally:
            self._holder = "", None, ""
            self._seat.release()
            _log.info("the learner has gone")

    def _converse(self, connection: Any) -> None:
        talk, over = Conversation(self._make, self._limits, stop=self.stop), threading.Event()
        # A thread of its own: this one waits, too, where the learner does not take its answers.
        threading.Thread(target=self._watch, args=[talk, over], name="watchdog", daemon=True).start()
        try:
            connection.send(talk.greeting())
            while True:
                connection.send(self._thread.submit(talk.answer, connection.recv()).result())
        except library("websockets.exceptions").ConnectionClosed:
            pass
        finally:
            over.set()
            self._thread.submit(talk.end).result()
            self._robot = talk.robot or self._robot

    def _watch(self, talk: Conversation, over: threading.Event) -> None:
        while not over.wait(self._limits.watchdog_s / 3):
            with suppress(RuntimeError):  # the server has been closed
                self._thread.submit(talk.check_time).result()


def _in_one_line(record: logging.LogRecord) -> bool:
    """A connection that is lost is no fault of the server: what its library says of that needs no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, library("websockets.exceptions").ConnectionClosed):
        record.msg, record.args, record.exc_info = "the connection is lost: %s", (str(error),), None
    return True
