"""The page of a practice over HTTP, without a browser: who may do what, and what comes of it. In a browser:
tests/test_page_browser.py."""

from __future__ import annotations

import base64
import http.client
import io
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from lotj.data.replay import Replay, Source
from lotj.data.store import DiskStore
from lotj.errors import RobotError, SettingsError
from lotj.experience import INTERVENTION, Task
from lotj.page.page import Page
from lotj.rewards.ask import Ask
from lotj.rewards.judge import All, Score
from lotj.runs import Run
from lotj.training.corrections import Corrections
from lotj.training.practice import PracticeResult
from lotj.training.trials import PRACTICE, Trials
from test_judge import FIXED, trial
from test_practice import assert_same
from toy_world import ColourReward, ToyRobot, collect, make_config, practise, trials_of


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> DiskStore:
    return collect(tmp_path_factory.mktemp("prior") / "data", episodes=8)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr("lotj.page.page.FAREWELL_S", 0.0)  # no browser is to be told that it is over
    page = Page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Corrections]]:
    """A page that nobody manages to change."""
    page, hands = Page(), Corrections(3, 10.0)
    practitioner = type("", (), {"judge": None, "corrections": hands})()
    page.begin(Run.create(tmp_path_factory.mktemp("runs"), "practice", {}, 0), practitioner, 8)
    yield page, hands
    page.close()


def assert_untouched(page: Page, hands: Corrections) -> None:
    assert page.state()["status"] == "running" and page.ready()
    act = np.array([0.1, 0.2, 0.3], np.float32)
    action, by_hand = hands.choose({}, lambda observation: act)
    assert action is act and not by_hand


def asked(page: Page, path: str, body: Any = None, token: str | None = None, **headers: str) -> tuple[int, Any]:
    """Status and content of an answer; a body that is no text is sent as JSON."""
    parts = urlsplit(page.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    secret = parts.path.strip("/") if token is None else token
    content = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
    given = {"Content-Type": "application/json", **headers}
    connection.request("GET" if body is None else "POST", f"/{secret}/{path}", content, given)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" else text


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@contextmanager
def practising(page: Page, prior: DiskStore, run: Run, **more: Any) -> Iterator[list[PracticeResult]]:
    """Practice in a thread of its own meanwhile; at the end its result is in the list."""
    result: list[PracticeResult] = []
    judging = {"corrections": Corrections(3, 10.0)}
    how = {"watcher": page, "judging": judging, **more}

    def work() -> None:
        result.append(practise(ToyRobot(), ColourReward(), prior, make_config(trials=6), run, **how))

    thread = threading.Thread(target=work)
    thread.start()
    yield result
    thread.join(60)


# Who may

HOLD = {"do": "hold", "action": [1, 0, 0]}


@pytest.mark.parametrize("token", ["", "wrong", "a" * 32, "%00", "..", "x" * 5000])
@pytest.mark.parametrize(
    ("path", "body"), [("", None), ("state", None), ("film/1", None), ("do", {"do": "stop"}), ("do", HOLD)]
)
def test_without_the_secret_nothing_is_seen_or_done(
    untouched: tuple[Page, Corrections], token: str, path: str, body: Any
) -> None:
    status, said = asked(untouched[0], path, body, token=token)
    assert status == 403 and "the whole address is needed" in said["why"]
    assert_untouched(*untouched)


def test_a_part_of_the_secret_is_none(page: Page) -> None:
    secret = urlsplit(page.address).path.strip("/")
    assert len(secret) == 32  # 24 random bytes
    for token in (secret[:-1], secret + "a", secret.swapcase()):
        assert asked(page, "do", {"do": "stop"}, token=token)[0] == 403
    assert asked(page, "")[0] == 200 and page.ready()


def test_other_machines_are_served_encrypted_alone() -> None:
    with pytest.raises(SettingsError, match=r"host 0.0.0.0: other machines are served encrypted alone"):
        Page("0.0.0.0")
    first = Page()
    with pytest.raises(SettingsError, match="cannot listen there"):
        Page("127.0.0.1", urlsplit(first.address).port or 0)
    first.close()


def test_with_a_certificate_the_page_is_encrypted(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run([*words, "-out", str(certificate)], check=True, capture_output=True)
    page = Page("127.0.0.1", 0, certificate, key)
    parts = urlsplit(page.address)
    silent = socket.create_connection((parts.hostname, parts.port))  # who says nothing holds nobody up
    trusted = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=trusted)
    connection.request("GET", parts.path)
    assert page.address.startswith("https://") and connection.getresponse().status == 200
    connection.close()
    silent.close()
    page.close()


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "null", '"stop"', b"\xff\xfe", "[" * 4000, "9" * 4000, '{"do": NaN}', "{}",
        {"do": "stop", "more": 1}, {"do": "STOP"}, {"do": ["stop"]}, {"do": None}, {"stop": 1},
        {"do": "hold"}, {"do": "hold", "action": "1, 0, 0"}, {"do": "hold", "action": [1, 0]},
        {"do": "hold", "action": [1, 0, 1.1]}, {"do": "hold", "action": [True, False, True]},
        '{"do": "hold", "action": [NaN, 0, 0]}', '{"do": "hold", "action": [1e999, 0, 0]}',
        {"do": "hold", "action": [[1], 0, 0]}, {"do": "hold", "action": [0, 0, 0, 0]},
        {"do": "answer", "trial": 1, "answer": "yes"}, {"do": "answer", "trial": True, "answer": "yes"},
        {"do": "pause", "pad": "x" * 5000},
    ],
)  # fmt: skip
def test_what_is_malformed_moves_nothing(untouched: tuple[Page, Corrections], body: Any) -> None:
    status, said = asked(untouched[0], "do", body)
    assert status == 400 and said["why"]
    assert_untouched(*untouched)


def test_only_json_is_taken_so_that_no_other_page_can_send_a_form(untouched: tuple[Page, Corrections]) -> None:
    assert asked(untouched[0], "do", HOLD, **{"Content-Type": "text/plain"})[0] == 400
    assert_untouched(*untouched)
    assert asked(untouched[0], "do", HOLD) == (200, {"status": "running"})  # else none of these tests could fail
    assert untouched[1].choose({}, lambda seen: np.zeros(3, np.float32))[1]
    untouched[1].hold([])


# Pause and stop


def test_pause_and_stop_finish_the_running_trial_and_the_run_goes_on_as_if_nothing_had_been(
    prior: DiskStore, tmp_path: Path, page: Page
) -> None:
    run, whole = (Run.create(tmp_path / name, "practice", {}, 0) for name in ("page", "whole"))
    assert asked(page, "do", {"do": "pause"}) == (200, {"status": "preparing"})
    early = asked(page, "do", {"do": "answer", "trial": 1, "answer": "yes"})
    assert early == (400, {"why": "answer: practice has not begun yet"})
    with practising(page, prior, run) as result:
        until(lambda: page.state()["status"] == "paused")
        assert page.state()["done"] == 0
        asked(page, "do", {"do": "go on"})
        until(lambda: page.state()["done"] >= 2)
        asked(page, "do", {"do": "pause"})
        until(lambda: page.state()["status"] == "paused")
        done = page.state()["done"]
        time.sleep(0.3)
        assert page.state()["done"] == done == len(run.metrics())
        assert asked(page, "do", {"do": "stop"}) == (200, {"status": "stopping"})
    assert result[0].trials == done < 6
    judging = {"corrections": Corrections(3, 10.0)}
    practise(ToyRobot(), ColourReward(), prior, make_config(trials=6), run, judging=judging, resume=True)
    practise(ToyRobot(), ColourReward(), prior, make_config(trials=6), whole, judging=judging)
    assert_same(run, whole)


# What is shown


def test_curve_and_film_are_those_of_the_run(prior: DiskStore, tmp_path: Path, page: Page) -> None:
    assert page.curve() == {}
    run = Run.create(tmp_path, "practice", {"task": "toy"}, 0)
    with practising(page, prior, run):
        pass
    status, curve = asked(page, "curve")
    assert status == 200 and {*curve} == {"wide", "narrow"} and curve["wide"].startswith("<svg")
    assert "true success not recorded" in curve["wide"]  # nobody on this page knows it
    status, film = asked(page, "film/3")
    episode = trials_of(run)["practice", 3]
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(film["picture"].partition(",")[2]))))
    frames = np.split(picture, film["frames"], axis=1)
    np.testing.assert_array_equal(frames, episode.observation["image"][:, 0])
    assert film["scores"] == episode.notes["score"].round(3).tolist()
    for wrong in ("film/0", "film/7", "film/", "film/one", "film/" + "1" * 6000, "film/../state"):
        assert asked(page, wrong)[0] == 400
    state = asked(page, "state")[1]
    assert (state["done"], state["trials"], state["task"], state["axes"]) == (6, 6, "toy", 3)
    assert state["figures"]["predicted success"].endswith("of the last 6")


# Questions


def test_a_question_is_answered_on_the_page_and_calibrates_the_judge(
    prior: DiskStore, tmp_path: Path, page: Page
) -> None:
    """All trials score what the picture says; the one asked about after five gets a yes: then the threshold is
    at most its score, and it counts as a success, whatever it was."""
    run = Run.create(tmp_path, "practice", {}, 0)
    judging = {"together": partial(Ask, count=1, answers=run.path / "answers.jsonl")}
    asked(page, "do", {"do": "pause"})
    with practising(page, prior, run, judging=judging):
        asked(page, "do", {"do": "go on"})
        until(lambda: bool(page.state().get("questions")))
        (question,) = asked(page, "state")[1]["questions"]
        said = asked(page, "do", {"do": "answer", "trial": question["trial"], "answer": "yes"})
        assert said[0] == 200
    state = asked(page, "state")[1]
    assert state["questions"] == [] and state["answered"] == [{"trial": question["trial"], "answer": "yes"}]
    ask, episode = page._judge, trials_of(run)["practice", question["trial"]]
    assert isinstance(ask, Ask)
    counts_from = json.loads((run.path / "answers.jsonl").read_text())["counts_from"]
    if counts_from <= 6:  # else practice was over before the answer
        assert ask.verdict(question["trial"], episode).success
        assert ask.threshold.value == pytest.approx(float(episode.notes["score"][question["step"]]), rel=1e-5)


# Corrections


def test_what_a_person_holds_is_done_until_shortly_after_it_was_last_said() -> None:
    now = [100.0]
    hands, policy = Corrections(3, 10.0, lambda: now[0]), np.zeros(3, np.float32)
    assert hands.choose({"a": policy}, lambda seen: policy) == (policy, False)
    hands.hold([0.5, 0, -1])
    action, by_hand = hands.choose({}, lambda seen: policy)
    assert by_hand and action.dtype == np.float32 and action.tolist() == [0.5, 0, -1]
    now[0] += 0.29
    assert hands.choose({}, lambda seen: policy)[1]
    now[0] += 0.02
    assert not hands.choose({}, lambda seen: policy)[1]
    hands.hold([1, 1, 1])
    hands.hold([])  # there, and holds nothing
    assert not hands.choose({}, lambda seen: policy)[1]
    hands.hold([1, 1, 1])
    with pytest.raises(RobotError, match="nothing moves"):
        hands.hold([1, 1, float("nan")])
    assert not hands.choose({}, lambda seen: policy)[1]


def test_while_a_person_is_there_steps_take_as_long_as_the_robots() -> None:
    hands, act = Corrections(3, 5.0), lambda seen: np.zeros(3, np.float32)
    for person, least, most in ((False, 0.0, 0.6), (True, 0.58, 60.0)):
        hands.choose({}, act)
        started = time.monotonic()
        for _ in range(3):
            if person:
                hands.hold([])
            hands.choose({}, act)
        assert least <= time.monotonic() - started < most


def test_a_correction_moves_the_robot_and_is_noted(prior: DiskStore, tmp_path: Path) -> None:
    """Held for all of two trials: up along y with half speed."""

    class Held(Corrections):
        def _since(self) -> float:  # as if it were said again all the time
            return 0.0

    hands = Held(3, 1000.0)
    hands.hold([0.0, 0.5, 0.0])
    run = Run.create(tmp_path, "practice", {}, 0)
    practise(ToyRobot(), ColourReward(), prior, make_config(trials=2), run, judging={"corrections": hands})
    for number in (1, 2):
        episode = trials_of(run)["practice", number]
        np.testing.assert_array_equal(episode.action, np.tile(np.array([0, 0.5, 0], np.float32), (len(episode), 1)))
        assert episode.notes[INTERVENTION].tolist() == [False, *[True] * len(episode)]
        assert run.metrics()[number - 1]["corrected"] == len(episode)


def test_a_persons_motions_are_demonstrations_whatever_came_of_the_trial(tmp_path: Path) -> None:
    """In a trial without success the second and third of its four steps were a person's: these two are imitated."""
    failed = trial(1, [0.0, 0.1, 0.2, 0.1, 0.1])
    by_hand = np.array([False, False, True, True, False])
    failed = replace(failed, notes={**failed.notes, INTERVENTION: by_hand})
    trials = Trials(tmp_path, [Task("t", "t")], ["feature/policy"], True)
    trials.append([failed])
    source = Source(trials.store, practised=True)
    judge = All(Score(FIXED))
    judge.see(1, failed)
    trials.judge({"t": judge}, source)
    trials.close()
    assert source.columns["imitate"].tolist() == source.columns["demo"].tolist() == [False, True, True, False, False]
    batch = Replay([source], 64, ("imitate", "demo")).sample(np.random.default_rng(0))
    where = np.asarray(batch.observation["feature/policy"])[:, 0]  # the number of the frame
    np.testing.assert_array_equal(batch.columns["demo"], np.isin(where, [1, 2]))
    assert failed.kind == PRACTICE and 0 < batch.columns["demo"].sum() < 64
