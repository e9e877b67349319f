"""A policy server of openpi's protocol is a controller here. The server of the tests is written from that protocol:
metadata first, then an answer with `actions` to each observation, arrays as msgpack maps, a text when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgpack", reason="pip install 'lotj[robot]'")

import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from lotj.cli import main
from lotj.controllers.search import StraightDown
from lotj.errors import RobotError, SettingsError
from lotj.evaluation.results import read_evaluations
from lotj.experiments.evaluation import evaluate_phase
from lotj.robots.policy_server import RemotePolicy
from lotj.runs import Run

BENCH = {"task": "insertion/usb-b", "connector": "usb-b", "scenario": "near", "robot": "duo", "domain": "usb-b.duo.0"}


def packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def unpacked(entry: dict[Any, Any]) -> Any:
    if b"__ndarray__" in entry:
        return np.ndarray(buffer=entry[b"data"], dtype=np.dtype(entry[b"dtype"]), shape=entry[b"shape"])
    return entry


@contextmanager
def policy_server(infer: Callable[[dict[str, Any]], Any], headers: list[str] | None = None) -> Iterator[str]:
    def handle(connection: Any) -> None:
        if headers is not None:
            headers.append(connection.request.headers.get("Authorization", ""))
        try:
            connection.send(msgpack.packb({"robot": "tiny"}, default=packed))
            while True:
                answer = infer(msgpack.unpackb(connection.recv(), object_hook=unpacked))
                connection.send(answer if isinstance(answer, str | bytes) else msgpack.packb(answer, default=packed))
        except ConnectionClosed:
            pass

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def observation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"image": rng.integers(0, 256, (3, 4, 8, 3), np.uint8), "state": rng.normal(size=9).astype(np.float32)}


def test_a_chunk_is_carried_out_action_by_action_and_forgotten_at_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    headers: list[str] = []

    def infer(seen: dict[str, Any]) -> Any:
        asked.append(seen)
        return {"actions": np.array([[0.1, 0.2, -3.0], [0.4, 0.5, 0.6]]) * len(asked), "server_timing": np.float64(1.5)}

    monkeypatch.setenv("LOTJ_POLICY_KEY", "a key")
    with policy_server(infer, headers) as url, closing(RemotePolicy(url, (3,), "insert the plug")) as policy:
        assert policy.metadata == {"robot": "tiny"} and headers == ["Api-Key a key"]
        policy.reset(0)
        seen = observation()
        given = [policy(seen, {}) for _ in range(3)]
        np.testing.assert_allclose(given, [[0.1, 0.2, -1], [0.4, 0.5, 0.6], [0.2, 0.4, -1]], rtol=1e-6)
        policy.reset(1)
        np.testing.assert_allclose(policy(seen, {}), [0.3, 0.6, -1.0], rtol=1e-6)
    assert len(asked) == 3
    names = ("observation/image", "observation/wrist_image", "observation/image_2")
    np.testing.assert_equal(
        asked[0],
        {"prompt": "insert the plug", "observation/state": seen["state"]}
        | dict(zip(names, seen["image"], strict=True)),
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Traceback:\n  ...\nKeyError: 'prompt'", "the policy server has failed: KeyError: 'prompt'"),
        ({}, "its answer has no actions"),
        ({"actions": [[0.0, 0.0, 0.0]]}, "its answer has no actions"),
        ({"actions": np.zeros((5, 7))}, r"actions \(5, 7\): must be finite, \(T, 3\) with T > 0"),
        ({"actions": np.zeros((0, 3))}, "must be finite"),
        ({"actions": np.full((2, 3), np.nan)}, "must be finite"),
        ({"actions": {b"__ndarray__": True, b"dtype": "|O", b"data": b"x" * 8, b"shape": [1]}}, "an array of object"),
        ({"actions": {b"__ndarray__": True, b"dtype": "<f8", b"data": b"x" * 8, b"shape": [9]}}, "cannot reshape"),
        ({"actions": {b"__ndarray__": True}}, "answers no msgpack map"),
        (b"\xc1", "answers no msgpack map"),
        (b"\x01", "answers int, not a map"),
    ],
)
def test_an_answer_that_will_not_do_gets_one_line(answer: Any, text: str) -> None:
    with policy_server(lambda seen: answer) as url, closing(RemotePolicy(url, (3,), "")) as policy:
        policy.reset(0)
        with pytest.raises(RobotError, match=text):
            policy(observation(), {})


def test_a_key_is_sent_to_another_machine_encrypted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTJ_POLICY_KEY", "a key")
    with pytest.raises(SettingsError, match="spoken to encrypted alone; use wss://192.0.2.1:8000"):
        RemotePolicy("ws://192.0.2.1:8000", (3,), "")


def test_nobody_there_gets_one_line() -> None:
    with pytest.raises(RobotError, match="no policy server answers"):
        RemotePolicy("ws://127.0.0.1:1", (3,), "")
    with pytest.raises(SettingsError, match="must be ws://host:port or wss://host:port"):
        RemotePolicy("localhost:8000", (3,), "")


def test_a_policy_server_is_an_entrant_of_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what `straight-down` does, and comes out as that."""
    run = Run.create(
        tmp_path, "practice", {**BENCH, "pretrain_run": "", "agent": "iql", "domain_seed": 0, "preset": "laptop"}, 0
    )
    down = StraightDown()
    with policy_server(lambda seen: {"actions": np.tile(down(seen, {}), (4, 1))}) as url:
        served, scripted = evaluate_phase(run, 2, controllers=["straight-down"], policy=url)[::-1]
    assert (served.name, served.label) == ("policy-server", "Policy server")
    np.testing.assert_array_equal(served.success, scripted.success)
    np.testing.assert_array_equal(served.peak_force_n, scripted.peak_force_n)
    assert [found.name for found in read_evaluations(run.path / "evaluation.json")] == [
        "straight-down",
        "policy-server",
    ]
    assert main(["evaluate", str(run.path), "--controllers", "policy-server"]) == 2
    assert "controller 'policy-server' is not for this run" in capsys.readouterr().err
