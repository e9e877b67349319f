"""The page in a real browser: at a phone's width and at a desk's, by keyboard and by hand."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lotj.experience import INTERVENTION
from lotj.page.page import Page
from lotj.rewards.ask import Ask
from lotj.runs import Run
from lotj.training.corrections import Corrections
from lotj.training.practice import PracticeResult
from toy_world import ColourReward, ToyRobot, collect, make_config, practise, trials_of

pytestmark = pytest.mark.slow
ALONE = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=ALONE)
        yield browser
        browser.close()


class Bench:
    """Practice of twelve trials in a thread of its own, with one question, and its page."""

    def __init__(self, folder: Path) -> None:
        self.page, self.run = Page(), Run.create(folder / "runs", "practice", {"task": "toy"}, 0)
        self.page.told({"do": "pause"})  # from the first trial on
        prior, self.result = collect(folder / "data", episodes=6), list[PracticeResult]()
        ask = partial(Ask, count=1, answers=self.run.path / "answers.jsonl")
        judging = {"together": ask, "corrections": Corrections(3, 20.0)}

        def work() -> None:
            config = make_config(trials=12, max_steps=12)
            robot, reward = ToyRobot(), ColourReward(wrong=True)  # which claims no success soon
            self.result.append(practise(robot, reward, prior, config, self.run, judging=judging, watcher=self.page))
            self.page.close()

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 900)])
def test_a_person_follows_a_practice_answers_and_corrects(
    browser: Any, width: int, height: int, tmp_path: Path
) -> None:
    bench, wrong = Bench(tmp_path), list[str]()
    tab = browser.new_page(viewport={"width": width, "height": height})
    asked = list[str]()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    tab.on("request", lambda request: asked.append(request.url))
    tab.set_default_timeout(120_000)
    tab.goto(bench.page.address)
    tab.get_by_text("paused", exact=True).wait_for()
    tab.get_by_role("button", name="Go on").click()

    tab.keyboard.press("c")  # correct: up along y, until a trial is over
    tab.locator("#now").wait_for()
    tab.keyboard.down("ArrowUp")
    tab.get_by_text(re.compile(r"trial ([3-9]|1\d) of 12")).wait_for()
    tab.keyboard.up("ArrowUp")
    tab.keyboard.press("c")

    tab.locator("#question").wait_for()
    assert "is the part in its seat" in tab.locator("#ask h2").inner_text().lower()
    tab.locator("#questionFilm canvas").wait_for()  # hidden until the film is there
    tab.keyboard.press("n")
    tab.get_by_text("Nothing to answer now; 1 answered.").wait_for()
    tab.locator("#wide svg" if width > 700 else "#narrow svg").wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    small = tab.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 32).length"
    )
    assert small == 0  # a thumb finds every button
    tab.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)

    tab.get_by_role("button", name="Stop").click()
    tab.get_by_text(re.compile("^(stops after this trial|ended|no connection)$")).wait_for()
    bench.thread.join(120)
    tab.get_by_text(re.compile("^(ended|no connection)$")).wait_for()
    assert tab.get_by_role("button", name="Stop").is_disabled()
    tab.close()
    assert bench.result[0].trials < 12 or bench.result[0].trials == len(bench.run.metrics())
    by_hand = [e for e in trials_of(bench.run).values() if e.notes[INTERVENTION].any()]
    assert by_hand and all(
        (episode.action[episode.notes[INTERVENTION][1:]] == [0.0, 0.5, 0.0]).all() for episode in by_hand
    )
    assert '"answer": "no"' in (bench.run.path / "answers.jsonl").read_text()
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {bench.page.address.split("/")[2]}
    assert [line for line in wrong if "ERR_CONNECTION_REFUSED" not in line] == []
