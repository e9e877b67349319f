"""A robot behind a socket: practice, evaluation and collection come out as in process, bit for bit, and whoever is not
its learner, or says what no learner says, moves nothing."""

from __future__ import annotations

import logging
import math
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("msgpack", reason="pip install 'lotj[robot]'")

import msgpack
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from lotj import patience
from lotj.cli import main
from lotj.data.store import DiskStore
from lotj.errors import FaultError, LostError, RobotError, SettingsError
from lotj.experiments.evaluation import evaluate_phase
from lotj.experiments.stages import practice_phase, pretrain_phase
from lotj.robots import wire
from lotj.robots.client import RemoteRobot
from lotj.robots.robot import EVALUATION, PRACTICE, Setup
from lotj.robots.safe import Limits
from lotj.robots.server import Benches, Conversation, Make, RobotServer, driver
from lotj.robots.simulated import SimulatedRobot
from lotj.runs import Run
from lotj.sim.connector import connector_text
from lotj.spaces import Array, Spec
from lotj.training.collect import collect
from lotj.training.collect_insertion import CollectConfig, InsertionCollection
from test_examples import EXAMPLES
from test_practice import assert_same
from test_stages import TINY
from toy_world import ToyRobot

TOKEN = "a token that is long enough"
PATIENT = Limits(watchdog_s=60.0)
"""Of tests that share their processor: no step is too late."""


@contextmanager
def served(make: Make, limits: Limits = PATIENT, **more: Any) -> Iterator[RobotServer]:
    server = RobotServer(make, TOKEN, limits, **more)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The smallest pretraining there can be."""
    root = tmp_path_factory.mktemp("served")
    settings = CollectConfig(image_size=32, expert_episodes=2, near_miss_share=0.0)
    collect(root / "data", InsertionCollection(("usb-a", "duplo-2x2"), settings), workers=1)
    return pretrain_phase(TINY, root / "data", root / "runs", seed=0, live=False)


def practised(pretrained: Run, folder: Path, robot: str) -> Run:
    config = replace(TINY.practice, trials=3, warmup_trials=1, max_steps=4, updates_per_step=1, batch_size=8)
    part = str(EXAMPLES / "my_plug.toml")
    run, _ = practice_phase(replace(TINY, practice=config), pretrained, folder, part, "near", robot, live=False)
    run.close()
    return run


def test_practice_and_evaluation_come_out_as_in_process(
    pretrained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, lines, all that was recorded, and the truth, which stays where the robot is; then what is evaluated."""
    monkeypatch.setenv(wire.TOKEN, TOKEN)
    here = practised(pretrained, tmp_path / "here", "duo")
    with served(Benches(truth_file=tmp_path / "truth.jsonl")) as server:
        there = practised(pretrained, tmp_path / "there", server.address)
        assert_same(here, there)
        assert (tmp_path / "truth.jsonl").read_bytes() == (here.path / "truth.jsonl").read_bytes()
        assert not (there.path / "truth.jsonl").exists()
        names = ["practice", "expert", "spiral-search"]
        pair = [evaluate_phase(run, 2, controllers=names) for run in (here, there)]
    assert [result.successes for result in pair[0]][1] == 2  # the expert's
    for mine, theirs in zip(*pair, strict=True):
        np.testing.assert_equal(asdict(mine) | {"context": 0}, asdict(theirs) | {"context": 0})
    assert here.config["domain"] == there.config["domain"] and there.config["robot"] == server.address


def test_collection_comes_out_as_in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.TOKEN, TOKEN)
    config = CollectConfig(image_size=16, expert_episodes=2, near_miss_share=0.6, recover_episodes=1, robots=("duo",))
    with served(Benches()) as server:
        for name, robot in (("here", ""), ("there", server.address)):
            collect(tmp_path / name, InsertionCollection(("usb-a",), config, robot), workers=1)
        other = InsertionCollection(("usb-a",), replace(config, robots=("trio",)), server.address)
        with pytest.raises(SettingsError, match="serves a duo, not the trio that --robots names first"):
            collect(tmp_path / "other", other, workers=1)
    assert_equal_data(tmp_path / "here", tmp_path / "there")


def assert_equal_data(one: Path, other: Path) -> None:
    stores = [DiskStore.open(root) for root in (one, other)]
    assert len(stores[0]) == len(stores[1]) > 4
    for number in range(len(stores[0])):
        mine, theirs = (asdict(store.episode(number)) for store in stores)
        np.testing.assert_equal(mine, theirs)


class Failing(Benches):
    """Its robots fail in their moves of these numbers, counted over all."""

    def __init__(self, *moves: int) -> None:
        super().__init__()
        self.moves, self.fails = 0, moves

    def __call__(self, setup: Setup) -> SimulatedRobot:
        robot = super().__call__(setup)
        move = type(robot).move

        def failing(action: np.ndarray) -> Any:
            self.moves += 1
            if self.moves in self.fails:
                raise FaultError("the arm has lost its power")
            return move(robot, action)

        robot.move = failing
        return robot


def test_collection_waits_for_a_robot_that_fails_or_is_restarted_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(wire.TOKEN, TOKEN)
    monkeypatch.setattr(patience, "RETRY_S", 0.05)
    config = CollectConfig(image_size=16, expert_episodes=3, near_miss_share=0.5, robots=("duo",))
    collect(tmp_path / "here", InsertionCollection(("usb-a",), config), workers=1)
    recorded: list[Any] = []
    with ExitStack() as first, ExitStack() as second:
        server = first.enter_context(served(Failing(7, 8)))
        port = int(server.address.rpartition(":")[2])

        def report(progress: Any) -> None:
            recorded.append(progress)
            if len(recorded) == 3:
                first.close()
                second.enter_context(served(Benches(), port=port))

        there = InsertionCollection(("usb-a",), config, server.address)
        collect(tmp_path / "there", there, workers=1, report=report)
    assert_equal_data(tmp_path / "here", tmp_path / "there")
    said = [record.getMessage() for record in caplog.records if record.name == "lotj.patience"]
    assert len(said) == 4 and "expert 0: paused, its trial is discarded: the arm has lost its power" in said[0]
    assert re.search(r"the robot is back after \d+ s, at attempt 3", said[1]) and "the connection is gone" in said[2]


def test_evaluation_waits_for_a_robot_that_fails(
    pretrained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(wire.TOKEN, TOKEN)
    monkeypatch.setattr(patience, "RETRY_S", 0.05)
    run, found = practised(pretrained, tmp_path, "duo"), []
    for benches in (Benches(), Failing(3, 6)):
        with served(benches) as server:
            found += evaluate_phase(run, 3, controllers=["expert"], robot=server.address)
    mine, theirs = (asdict(result) | {"context": 0} for result in found)
    np.testing.assert_equal(mine, theirs)
    assert [r.getMessage().partition(",")[0] for r in caplog.records if "paused" in r.getMessage()] == ["expert"]
    with served(Failing(*range(2, 1000))) as server, pytest.raises(RobotError, match="then run the same command again"):
        monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
        evaluate_phase(run, 3, controllers=["expert"], robot=server.address)


def test_practice_is_told_no_truth() -> None:
    setup = Setup(PRACTICE, connector_text("usb-b").decode(), image_size=16)
    robot = Benches()(setup)
    robot.reset(0)
    with pytest.raises(RobotError, match="the truth is for evaluation and collection"):
        robot.outcome()
    robot.close()
    for purpose, told in ((PRACTICE, False), (EVALUATION, True)):
        talk = Talk(Benches(), replace(setup, purpose=purpose))
        assert ("outcome" in talk.say("reset", seed=1, start=None)) is told
        talk.talk.robot.close()  # type: ignore[union-attr]


# Who is listened to


class Counting(ToyRobot):
    """Counts its motions."""

    moves = 0

    def move(self, action: np.ndarray) -> Any:
        self.moves += 1
        return super().move(action)


SETUP = Setup(PRACTICE, "")


class Talk:
    """A learner that says what it likes, without a socket, in a time that stands still."""

    def __init__(self, make: Make, setup: Setup = SETUP, limits: Limits = PATIENT) -> None:
        self.now, self.number = 100.0, 0
        self.talk = Conversation(make, limits, clock=lambda: self.now)
        self.session = wire.unpack(self.talk.greeting())["session"]
        self.prepared = self.say("prepare", setup=asdict(setup))

    def message(self, do: str, **more: Any) -> dict[str, Any]:
        self.number += 1
        return {"session": self.session, "n": self.number, "by": self.now + 0.5, "do": do, **more}

    def say(self, do: str, **more: Any) -> dict[str, Any]:
        return self.send(wire.pack(self.message(do, **more)))

    def send(self, data: Any) -> dict[str, Any]:
        return wire.unpack(self.talk.answer(data))


def started(limits: Limits = PATIENT) -> tuple[Talk, Counting]:
    robot = Counting()
    talk = Talk(lambda setup: robot, limits=limits)
    assert "error" not in talk.prepared
    talk.say("reset", seed=0, start=None)
    return talk, robot


GO = [0.5, -0.5, 0.0]


def test_what_a_driver_says_of_itself_may_be_numpys() -> None:
    robot = ToyRobot(action_scale=np.float32(0.25), height_error=np.int64(0))  # type: ignore[arg-type]
    assert Talk(lambda setup: robot).prepared["action_scale"] == 0.25


def test_what_is_late_early_replayed_or_of_another_session_moves_nothing() -> None:
    talk, robot = started()
    good = wire.pack(talk.message("move", action=GO))
    assert "seen" in talk.send(good) and robot.moves == 1
    assert "message 3 after message 3: must be a later one" in talk.send(good)["why"]
    late = talk.message("move", action=GO)
    talk.now += 0.6
    assert talk.send(wire.pack(late))["why"] == "message 4 is 100 ms late; nothing has moved"
    assert "from the future" in talk.send(wire.pack(talk.message("move", action=GO) | {"by": talk.now + 2.0}))["why"]
    for by in (math.nan, math.inf, -math.inf):
        assert "nothing has moved" in talk.send(wire.pack(talk.message("move", action=GO) | {"by": by}))["why"]
    other = talk.message("move", action=GO) | {"session": "0" * 32}
    assert "another session" in talk.send(wire.pack(other))["why"]
    assert robot.moves == 1 and "seen" in talk.say("move", action=GO) and robot.moves == 2


def test_nothing_moves_before_a_robot_is_prepared_and_a_trial_begun() -> None:
    robot = Counting()
    talk = Talk(lambda setup: robot)
    assert "no trial: reset first" in talk.say("move", action=GO)["why"]
    assert talk.say("relax")["error"] == "fault"
    fresh = Conversation(lambda setup: robot, PATIENT, clock=lambda: 0.0)
    session = wire.unpack(fresh.greeting())["session"]
    ask = wire.pack({"session": session, "n": 1, "by": 0.1, "do": "move", "action": GO})
    assert "move before prepare" in wire.unpack(fresh.answer(ask))["why"]
    assert robot.moves == robot.resets == 0


def test_what_is_refused_does_not_keep_the_watchdog_quiet_and_a_new_setup_lets_go() -> None:
    talk, robot = started(Limits(watchdog_s=0.3))
    let_go: list[str] = []
    robot.relax = lambda: let_go.append("relax") or robot.observe()  # type: ignore[method-assign,func-returns-value]
    robot.park = lambda: let_go.append("park")  # type: ignore[method-assign]
    talk.say("move", action=GO)
    for _ in range(4):  # faster than anybody looks at the clock
        talk.now += 0.08
        talk.send(b"nonsense")
    assert let_go == ["relax"] and "watchdog" in talk.say("move", action=GO)["why"]
    talk.say("reset", seed=1, start=None)
    talk.say("move", action=GO)
    talk.say("prepare", setup=asdict(SETUP))
    assert let_go == ["relax", "relax", "park"] and robot.moves == 2


@pytest.mark.parametrize(
    "setup",
    [{}, {"purpose": "practice"}, *(asdict(SETUP) | odd for odd in ({"more": 1}, {"seed": "1"}, {"purpose": "x"}))],
)
def test_a_setup_of_another_form_is_refused(setup: dict[str, Any]) -> None:
    talk, robot = started()
    assert talk.say("prepare", setup=setup)["error"] == "refused"
    for do in ({"do": "reset", "seed": 1, "start": None}, {"do": "move", "action": GO}):  # nor does the earlier robot
        assert f"{do['do']} before prepare" in talk.say(**do)["why"]
    assert robot.resets == 1 and robot.moves == 0


@pytest.mark.parametrize("part", ["", "name = 3", "\x00", "[[", "x" * 10_000, 'name = "../../etc"\n'])
def test_a_part_that_is_none_is_refused_in_one_line(part: str) -> None:
    answer = Talk(Benches(), Setup(PRACTICE, part)).prepared
    assert answer["error"] == "refused" and "\n" not in answer["why"].strip()


VALUES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()),
        *(st.text(max_size=8), st.binary(max_size=8)),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=64) | VALUES.map(lambda value: msgpack.packb(value)) | st.text(max_size=9))
def test_no_bytes_that_are_no_message_move_anything(data: Any) -> None:
    talk, robot = started()
    assert talk.send(data)["error"] == "refused"
    assert robot.moves == 0 and robot.resets == 1 and "seen" in talk.say("move", action=GO)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["session", "n", "by", "do", "action", "more"]), value=VALUES, drop=st.booleans())
def test_no_message_with_one_entry_that_is_not_as_it_should_be_moves_anything(
    name: str, value: Any, drop: bool
) -> None:
    talk, robot = started()
    message = talk.message("move", action=GO)
    if drop:
        message.pop(name, None)
    assume(drop or not (name == "do" and value in ("relax", "park")))
    message = message if drop else message | {name: value}
    counts = name == "action" and not drop and isinstance(value, list) and len(value) == 3
    counts = counts and all(type(number) in (int, float) and abs(float(number)) <= 1 for number in value)
    counts = counts or (name == "more" and drop) or (name == "n" and not drop and value == talk.number)
    counts = counts or (name == "n" and not drop and type(value) is int and talk.number < value < 2**53)
    counts = counts or (name == "by" and not drop and type(value) is float and 100.0 <= value <= 101.0)
    answer = talk.send(wire.pack(message))
    assert robot.moves == int(counts) and ("error" not in answer) == counts


def nonsense(rng: random.Random, talk: Talk) -> bytes:
    """A message that is not quite one: bytes changed, cut off, put in or repeated; or an entry of another kind."""
    message = talk.message("move", action=[rng.uniform(-1, 1) for _ in range(3)])
    odd = [
        None,
        True,
        -1,
        0,
        2**62,
        math.nan,
        math.inf,
        -0.5,
        "",
        "move",
        "x" * 99,
        b"",
        b"\xff" * 9,
        [],
        [1],
        {},
        {"a": 1},
    ]
    kind = rng.randrange(6)
    if kind == 0:  # of an old number, or a bygone time
        message |= rng.choice([{"n": rng.randrange(-5, talk.number)}, {"by": talk.now - rng.random()}])
    elif kind == 1:
        message["action"] = [rng.choice([*odd, 2.0, -7]) for _ in range(rng.randrange(1, 6))]
    elif kind == 2:
        message[rng.choice(list(message))] = rng.choice(odd)
    elif kind == 3:
        message.pop(rng.choice(list(message)))
    elif kind == 4:
        message |= {rng.choice(["x", "seed", "truth", "__reduce__"]): rng.choice(odd)}
    data = bytearray(wire.pack(message))
    if kind == 5:
        at = rng.randrange(len(data))
        data = rng.choice([data[:at], data[:at] + bytes([rng.randrange(256)]) + data[at:], data + data, bytearray(at)])
    return bytes(data)


def fuzz(messages: int) -> None:
    """Next to all of that is refused; what is not is a motion that a learner may ask for."""
    rng, (talk, robot) = random.Random(0), started()
    refused = 0
    for _ in range(messages):
        before, answer = robot.moves, talk.send(nonsense(rng, talk))
        if "is frozen" in answer.get("why", ""):  # a motion that may be asked, of a toy that stands at its edge
            assert robot.moves == before + 1
            talk.say("reset", seed=1, start=None)
        elif "error" in answer:
            refused += 1
            assert robot.moves == before, answer
        talk.talk._last = min(talk.talk._last, talk.number)  # a number that was put far ahead is no more than that
    assert refused > 0.9 * messages
    assert "seen" in talk.say("reset", seed=1, start=None) and "seen" in talk.say("move", action=GO)


def test_thousands_of_odd_messages_move_nothing() -> None:
    fuzz(3000)


@pytest.mark.slow
def test_a_hundred_thousand_odd_messages_move_nothing() -> None:
    fuzz(100_000)


def dial(address: str, token: str | None = TOKEN, **more: Any) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return wire.dial(address, additional_headers=headers, **more)


def test_who_does_not_know_the_token_is_not_listened_to() -> None:
    robot = Counting()
    with served(lambda setup: robot) as server:
        for token in (None, "", "a token that is long enougH", TOKEN + "!", "é" * 20):
            with pytest.raises((InvalidStatus, UnicodeEncodeError)) as refused:
                dial(server.address, token)
            assert "401" in str(refused.value) or token == "é" * 20
        with pytest.raises(InvalidStatus, match="403"):
            dial(server.address, origin="https://a.page")  # a browser's
        with pytest.raises(RobotError, match="the token is wrong: set LOTJ_ROBOT_TOKEN"):
            RemoteRobot(server.address, SETUP, "another token of length")
        with closing(RemoteRobot(server.address, SETUP, TOKEN)) as one:
            one.reset(0)
    assert robot.resets == 1 and robot.moves == 0
    for token in ("", "short", "é" * 20):
        with pytest.raises(SettingsError, match="must be at least 16 ASCII letters"):
            RemoteRobot(server.address, SETUP, token)


def test_what_is_too_large_or_no_message_ends_or_refuses_and_moves_nothing() -> None:
    robot = Counting()
    with served(lambda setup: robot) as server:
        for data, code in ((b"x" * (wire.LARGEST_REQUEST + 1), 1009), ("a text", None), (b"\xc1", None)):
            with closing(dial(server.address)) as connection:
                connection.recv()
                connection.send(data)
                if code is None:
                    assert wire.unpack(connection.recv())["error"] == "refused"
                else:
                    with pytest.raises(ConnectionClosed) as closed:
                        connection.recv()
                    assert code in [close.code for close in (closed.value.sent, closed.value.rcvd) if close]
        with closing(RemoteRobot(server.address, SETUP, TOKEN)) as one:
            one.reset(0)
    assert robot.resets == 1 and robot.moves == 0


def test_a_second_learner_is_refused_and_the_first_goes_on() -> None:
    robot = Counting()
    with served(lambda setup: robot) as server, closing(RemoteRobot(server.address, SETUP, TOKEN)) as first:
        first.reset(0)
        with pytest.raises(RobotError, match=r"another learner has had the robot since \d\d:\d\d:\d\d; wait, or stop"):
            RemoteRobot(server.address, SETUP, TOKEN)
        first.move(np.array(GO, np.float32))
        first.close()
        second = RemoteRobot(server.address, SETUP, TOKEN)
        with closing(second), pytest.raises(FaultError, match="no trial: reset first"):
            second.move(np.array(GO, np.float32))
    assert robot.moves == 1


def test_a_lost_connection_is_one_line_where_the_robot_is_and_a_fault_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As websockets logs them; the second is a fault of the server's own."""
    with served(lambda setup: Counting()):
        for error in (ConnectionClosedError(None, None), ValueError("odd")):
            try:
                raise error
            except (ConnectionClosedError, ValueError):
                logging.getLogger("lotj.robots.connections").error("keepalive ping failed", exc_info=True)
    lost, fault = (record for record in caplog.records if record.name == "lotj.robots.connections")
    assert lost.getMessage() == "the connection is lost: no close frame received or sent" and lost.exc_info is None
    assert fault.getMessage() == "keepalive ping failed" and fault.exc_info is not None


def test_a_learner_whose_connection_was_cut_takes_its_own_place() -> None:
    robot = Counting()
    with served(lambda setup: robot) as server, closing(RemoteRobot(server.address, SETUP, TOKEN)) as learner:
        learner.reset(0)
        learner._connection = None  # gone, but for the server, which has not heard
        with pytest.raises(FaultError, match="the connection is gone"):
            learner.move(np.array(GO, np.float32))
        learner.reset(1)
        learner.move(np.array(GO, np.float32))
    assert robot.moves == 1


def test_another_robot_behind_the_same_address_is_not_moved() -> None:
    """Served anew with motions ten times as long, where the learner goes on with what it was told first."""
    robots = [Counting()]
    with served(lambda setup: robots[-1]) as server, closing(RemoteRobot(server.address, SETUP, TOKEN)) as learner:
        learner.reset(0)
        learner._cut()
        robots.append(Counting(action_scale=0.2))
        for _ in range(2):
            with pytest.raises(RobotError, match="Counting, 200 mm an action, is served where Counting, 20 mm, was"):
                learner.reset(1)
        assert not robots[-1].resets
        robots.append(robots[0])
        learner.reset(1)


class Stuffed(Counting):
    """Shows 8 MB a step: more than a connection holds of what nobody takes."""

    relaxed = 0

    def __init__(self) -> None:
        super().__init__()
        scan = Array((2_000_000,), "float32", -1.0, 1.0)
        self.spec = Spec({**self.spec.observation, "scan": scan}, (3,), 10.0, 20)

    def observe(self) -> dict[str, np.ndarray]:
        return {**super().observe(), "scan": np.zeros(2_000_000, np.float32)}

    def relax(self) -> Any:
        self.relaxed += 1
        return super().relax()


def test_a_learner_that_takes_no_answers_does_not_keep_the_watchdog_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for ever to send; the robot lets go all the same, and the learner can take its place again."""
    monkeypatch.setattr(wire, "LATE_S", 30.0)
    robot = Stuffed()
    with served(lambda setup: robot, Limits()) as server, socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        small.connect(("127.0.0.1", int(server.address.rpartition(":")[2])))
        headers = {"Authorization": f"Bearer {TOKEN}", "Lotj-Learner": "the first"}
        deaf = wire.dial(server.address, additional_headers=headers, sock=small, max_queue=1)
        greeting, by = wire.unpack(deaf.recv()), time.monotonic() + 20.0
        for number, (do, more) in enumerate(
            [("prepare", {"setup": asdict(SETUP)}), ("reset", {"seed": 0, "start": None})]
            + [("move", {"action": GO})] * 8,
            1,
        ):
            deaf.send(wire.pack({"session": greeting["session"], "n": number, "by": by, "do": do, **more}))
        until = time.monotonic() + 10.0
        while not robot.relaxed and time.monotonic() < until:
            time.sleep(0.05)
        assert robot.relaxed == 1 and 1 <= robot.moves < 8
        with closing(wire.dial(server.address, additional_headers=headers)) as again:
            assert "session" in wire.unpack(again.recv(timeout=10.0))
        deaf.socket.close()


def test_a_driver_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_odd_arm.py").write_text("class Off:\n    def __init__(self): raise ConnectionError('no bus')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RobotError, match=r"'my_odd_arm:Off': cannot be made \(ConnectionError: no bus\)"):
        driver("my_odd_arm:Off")
    (tmp_path / "my_torn_arm.py").write_text("def (")
    (tmp_path / "my_rash_arm.py").write_text("1 / 0")
    (tmp_path / "my_script.py").write_text("raise SystemExit(3)")
    for name in (
        "my_odd_arm:On",
        "my_odd_arm",
        "no_such_module:Off",
        ":",
        "my_torn_arm:Off",
        "my_rash_arm:Off",
        "my_script:A",
    ):
        with pytest.raises(SettingsError, match="must be module:Class"):
            driver(name)
    (tmp_path / "my_still_arm.py").write_text(
        "from toy_world import ToyRobot\n\ndef on(): return ToyRobot(action_scale=0)"
    )
    with pytest.raises(RobotError, match="action_scale is 0, must be a finite number above 0"):
        driver("my_still_arm:on")
    (tmp_path / "my_half_arm.py").write_text("class On:\n    spec = action_scale = reset = move = park = close = 1\n")
    with pytest.raises(
        RobotError, match="'my_half_arm:On': has no relax, estimate_error, height_error; docs/real-robot.md says"
    ):
        driver("my_half_arm:On")


def test_a_truth_file_that_cannot_be_written_is_told_before_anybody_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["robot", "serve", "--port", "0", "--truth", str(tmp_path / "file/truth.jsonl")]) == 5
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [("--truth", "truth.jsonl"), ("--arm", "panda")])
def test_what_is_the_benchs_alone_is_refused_of_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["robot", "serve", "toy_world:ToyRobot", "--port", "0", *flag]) == 2
    assert "the simulated bench's, not toy_world:ToyRobot's: leave them out" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_errors_of_the_robot_arrive_as_what_they_are() -> None:
    class Failing(Counting):
        def move(self, action: np.ndarray) -> Any:
            self.moves += 1
            raise (LostError("slipped"), FaultError("a joint"), RobotError("no"), ZeroDivisionError("x"))[
                self.moves - 1
            ]

    robot = Failing()
    with served(lambda setup: robot) as server, closing(RemoteRobot(server.address, SETUP, TOKEN)) as learner:
        for kind, text in (
            (LostError, "slipped"),
            (FaultError, "a joint"),
            (RobotError, "no"),
            (FaultError, "ZeroDiv"),
        ):
            learner.reset(0)
            with pytest.raises(kind, match=text) as raised:
                learner.move(np.array(GO, np.float32))
            assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("localhost", "must be host:port"),
        ("http://localhost:80", "must be host:port"),
        ("localhost:port", "must be host:port"),
        ("ws://10.0.0.7:8750", "is another machine, which is spoken to encrypted alone; use wss://10.0.0.7:8750"),
        ("localhost:1", "no robot server answers .*; start it, or mend the address"),
    ],
)
def test_an_address_that_will_not_do_gets_one_line(address: str, text: str) -> None:
    with pytest.raises((SettingsError, RobotError), match=text):
        RemoteRobot(address, SETUP, TOKEN)


def test_other_machines_are_served_encrypted_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Counting()
    with pytest.raises(SettingsError, match="other machines are served encrypted alone; give --cert and --key"):
        RobotServer(lambda setup: robot, TOKEN, host="0.0.0.0")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    key.write_text("no key")
    certificate.write_text("no certificate")
    with pytest.raises(SettingsError, match="no certificate with its key"):
        RobotServer(lambda setup: robot, TOKEN, certificate=certificate, key=key)
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run([*words, "-out", str(certificate)], check=True, capture_output=True)
    with served(lambda setup: robot, certificate=certificate, key=key) as server:
        assert server.address.startswith("wss://")
        with pytest.raises(RobotError, match="certificate"):
            RemoteRobot(server.address, SETUP, TOKEN)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with closing(RemoteRobot(server.address, SETUP, TOKEN)) as learner:
            learner.reset(0)
            learner.move(np.array(GO, np.float32))
    assert robot.moves == 1


def test_a_picture_comes_over_as_it_is_or_is_refused() -> None:
    rng = np.random.default_rng(0)
    spec = Spec(
        {"image": Array((2, 6, 10, 3), "uint8", 0, 255), "state": Array((9,), "float32", -9, 9)}, (3,), 10.0, 20
    )
    seen = {"image": rng.integers(0, 256, (2, 6, 10, 3), np.uint8), "state": rng.normal(size=9).astype(np.float32)}
    again = wire.unpack_observation(wire.pack_observation(seen), spec)
    np.testing.assert_equal(again, seen)
    packed = wire.pack_observation(seen)
    small = wire.pack_observation({**seen, "image": seen["image"][:1]})
    for bad in (
        {},
        None,
        packed | {"state": b"1"},
        packed | {"image": b"JGIF89a"},
        packed | {"image": packed["image"][:-9]},
        small,
        packed | {"more": b""},
    ):
        with pytest.raises(FaultError):
            wire.unpack_observation(bad, spec)
