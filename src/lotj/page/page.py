"""What the page shows and does: the person's end of a practice. It is asked and told in threads of the server; practice
goes on in its own. Nothing on the page knows the truth."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lotj.data.pictures import cameras, data_uri
from lotj.data.store import DiskStore
from lotj.errors import DataError, SettingsError
from lotj.page.server import PageServer
from lotj.report import charts
from lotj.report.files import aligned
from lotj.rewards.ask import Ask
from lotj.rewards.judge import SCORE
from lotj.runs import Run
from lotj.training.corrections import Corrections
from lotj.training.live_view import ALARM, LiveView
from lotj.training.trials import PRACTICE

NOTES = 5
"""Last lines about what has happened that are shown."""

FAREWELL_S = 1.5
"""A page that has asked within the last so many seconds is told that practice has ended, for as long [s]."""

FORMS: dict[str, dict[str, type]] = {
    "pause": {},
    "go on": {},
    "stop": {},
    "answer": {"trial": int, "answer": str},
    "hold": {"action": list},
}
"""What the page can be told to do -> the arguments and their types."""


class Page:
    """A `lotj.training.live_view.Watcher` that serves the page until it is closed; for where see `PageServer`.

    Attributes:
        address: of the page, with the secret that lets one in.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self._go, self._stopping, self._waiting, self._ended = threading.Event(), False, False, False
        self._go.set()
        self._run: Run | None = None
        self._judge: Any = None
        self._corrections: Corrections | None = None
        self._rows: list[dict[str, Any]] = []
        self._notes = deque[str](maxlen=NOTES)
        self._view = LiveView("", 0, shown=False)
        self._drawing = threading.Lock()  # matplotlib is for one thread at a time
        self._curve: tuple[int, dict[str, str]] = (0, {})
        self._read = lru_cache(32)(self._read_film)
        self._polled = -FAREWELL_S  # when [s]
        answers = {"state": self._poll, "film": self.film, "curve": lambda _: self.curve(), "now": lambda _: self.now()}
        self._server = PageServer(answers, self.told, host, port, certificate, key)
        self.address = self._server.address

    def close(self) -> None:
        """Tells pages that are open that it is over, and ends."""
        self._ended = True
        if time.monotonic() - self._polled < FAREWELL_S:
            time.sleep(FAREWELL_S)
        self._server.close()

    # Practice's end, see `Watcher`

    def begin(self, run: Run, practitioner: Any, trials: int) -> None:
        self._rows, self._judge = run.metrics(), practitioner.judge
        self._corrections = getattr(practitioner, "corrections", None)
        self._view, self._trials = LiveView("", trials, self._rows, shown=False), trials
        self._run = run

    def ready(self) -> bool:
        """Waits as long as the page has practice paused; False once it has stopped it."""
        self._waiting = True
        self._go.wait()
        self._waiting = False
        return not self._stopping

    def trial(self, row: dict[str, Any]) -> None:
        self._rows = [*self._rows, row]
        self._view.trial(row)

    def note(self, text: str) -> None:
        self._notes.append(text)

    # The browser's end

    def told(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Does what a message of `FORMS` says; SettingsError or RobotError if it is none, or cannot be done: then
        nothing has changed, but for a correction, which is let go."""
        does = str(message.get("do"))
        if {name: type(value) for name, value in message.items()} != {"do": str, **FORMS.get(does, {"": str})}:
            raise SettingsError(f"{str(message)[:80]}: must be one of {', '.join(FORMS)} with its arguments")
        if does == "stop":
            self._stopping = True
        if does == "pause" and not self._stopping:
            self._go.clear()
        elif does in ("go on", "stop"):
            self._go.set()
        elif does == "answer":
            if not isinstance(self._judge, Ask):
                rule = "nothing is asked in this practice; begin one with --ask"
                raise SettingsError(f"answer: {'practice has not begun yet' if self._judge is None else rule}")
            self._judge.answer(message["trial"], message["answer"])
        elif does == "hold":
            action = message["action"]
            if self._corrections is None or any(type(value) not in (int, float) for value in action):
                raise SettingsError(f"hold {action!r:.60}: must be numbers, in a practice that can be corrected")
            self._corrections.hold(action)
        return {"status": self._status}

    @property
    def _status(self) -> str:
        if self._ended or self._run is None:
            return "ended" if self._ended else "preparing"
        if self._stopping:
            return "stopping"
        return "running" if self._go.is_set() else "paused" if self._waiting else "pausing"

    def _poll(self, _: str) -> dict[str, Any]:
        self._polled = time.monotonic()
        return self.state()

    def state(self) -> dict[str, Any]:
        """All that changes, but for pictures."""
        row, ask = self._rows[-1] if self._rows else {}, self._judge
        state: dict[str, Any] = {"status": self._status, "done": len(self._rows), "notes": [*self._notes]}
        if self._run is not None:
            figures = {name: text for name, text in self._view.figures().items() if name != "alarm"}
            task = self._run.config.get("connector_title") or self._run.config.get("task", "")
            state |= {"run": self._run.path.name, "task": task, "trials": self._trials, "figures": figures}
        state |= {"last": row.get("trial"), "predicted": row.get("predicted_success")}
        state |= {"alarm": ALARM if row.get("alarm") else "", "asks": isinstance(ask, Ask)}
        state["axes"] = self._corrections.axes if self._corrections is not None else 0
        if isinstance(ask, Ask):
            state["questions"] = [{"trial": asked.trial, "step": asked.step} for asked in ask.questions]
            state["answered"] = [{"trial": trial, "answer": said} for trial, said in ask.answered.items()]
        return state

    def curve(self) -> dict[str, str]:
        """The learning curve as SVG, for a ``wide`` and a ``narrow`` page; empty before the first trial."""
        with self._drawing:
            rows, judged = {row["trial"]: row for row in self._rows}, self._judge is not None
            if self._curve[0] != len(rows):
                truth = {} if judged else {n: {"true_success": row["predicted_success"]} for n, row in rows.items()}
                trials = aligned(rows, truth, judged)
                wide, narrow = (charts.learning_curve(trials, None, None, of) for of in (charts.WIDE, charts.NARROW))
                self._curve = len(rows), {"wide": wide, "narrow": narrow}
            return self._curve[1]

    def film(self, trial: str) -> dict[str, Any]:
        """All frames of a trial beside one another: ``picture`` as a data URI, ``frames``, ``width`` and ``height`` of
        each [px], and ``scores`` where the robot judged itself; DataError for no such trial, or no pictures."""
        if not trial[:9].isdecimal() or not 1 <= int(trial[:9]) <= len(self._rows):
            raise DataError(f"trial {trial:.20}: there are {len(self._rows)}")
        return self._read(int(trial[:9]))

    def _read_film(self, trial: int) -> dict[str, Any]:
        assert self._run is not None
        store = DiskStore.open(self._run.path / "trials")
        names, kinds = cameras(store.schema), np.array(store.kinds)[store.episodes["kind"]]
        found = np.flatnonzero((kinds == PRACTICE) & (store.episodes["seed"] == trial))
        if not names or not len(found):
            raise DataError(f"trial {trial}: {'is not there' if names else 'has no pictures'}")
        episode = store.episode(int(found[0]))
        frames = _side_by_side(episode.observation[names[0]])
        scores = episode.notes[SCORE].round(3).tolist() if SCORE in episode.notes else None
        count, height, width = frames.shape[:3]
        picture = data_uri(_side_by_side(frames))
        return {"picture": picture, "frames": count, "width": width, "height": height, "scores": scores}

    def now(self) -> dict[str, Any]:
        """What the robot sees at the moment, as ``picture``; empty where nothing is seen."""
        seen = None if self._corrections is None else self._corrections.seen
        if seen is None or "image" not in seen:
            return {}
        frame = _side_by_side(seen["image"])
        return {"picture": data_uri(frame), "width": frame.shape[1], "height": frame.shape[0]}


def _side_by_side(pictures: np.ndarray) -> np.ndarray:
    """(..., V, H, W, 3) as (..., H, V * W, 3)."""
    return np.concatenate(np.moveaxis(pictures, -4, 0), axis=-2)
