"""The benchmark of success detectors: what is true of a frame, figures by hand, and the study from nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotj.data.store import MemoryStore
from lotj.distributed import run_jobs
from lotj.errors import DataError, SettingsError
from lotj.evaluation.detectors import PLACES, Frames, figures, places
from lotj.experience import SUCCESS, Episode, Task
from lotj.experiments import detectors
from lotj.experiments.detectors import DETECTOR_STUDY, DETECTORS, ENSEMBLE, RESOLUTION
from lotj.experiments.study import Asked

TASK = Task("usb-b.duo.0", "insertion/usb-b", attributes={"connector": "usb-b", "robot": "duo", "seed": 0})


def frames_of(connector: list[str], place: list[int]) -> Frames:
    store = MemoryStore([TASK])
    rows = np.arange(len(place))
    bench = np.unique(connector, return_inverse=True)[1]
    return Frames(store, rows, np.array(place), np.array(connector), bench, {0: 0})


def test_where_a_plug_is_by_the_truth() -> None:
    """Of a plug that goes 10 mm in: seated; 4 mm out; 4 mm out but pressed 3 mm beside the axis, as beside a low
    block; pressed on the face; above, touching nothing."""
    position = np.array([[0, 0, 0], [0.1, 0, 4], [3, 0, 4], [5, 0, 10], [0, 0, 20]], np.float32) / 1000
    force = np.array([[0, 0, 5], [0, 0, 0], [0, 0, 9], [0, 0, 9], [0, 0, 0]], np.float32)
    success = np.array([True, False, False, False, False])
    store = MemoryStore([TASK])
    still, truth = np.zeros((4, 3), np.float32), {"position": position, "force": force}
    made = (still, still[:, 0], False, True, TASK.name, "press", 0, {SUCCESS: success}, truth)
    store.append(Episode({"state": position}, *made))
    assert [PLACES[k] for k in places(store, np.full(5, 0.01))] == ["seated", "half in", "beside", "beside", "free"]


def test_figures_by_hand() -> None:
    """Connector a: two seated at 3 and 4, half in at 1 and 3.5, beside at 0, free at 9. Against all others 5 of 8 pairs
    are right (3 beats 1 and 0; 4 beats 1, 3.5 and 0), against near misses 5 of 6. The other connector, whose seated
    are all at 2, sets the threshold: of a one half in passes, and both seated. At that of its own bench, 3.1, one
    seated of two does, and one half in of two: 0.5 / (0.5 + 0.25)."""
    frames = frames_of([*"aaaaaa", *"bbb"], [0, 0, 1, 1, 2, 3, 0, 0, 2])
    found = figures(frames, np.array([3, 4, 1, 3.5, 0, 9, 2, 2, 1.0]))
    assert found["a"] == {
        "auc": 5 / 8, "near_auc": 5 / 6, "recall": 1.0, "half in": 0.5, "beside": 0.0, "precision": 1 / 1.25,
        "own_precision": pytest.approx(2 / 3),
    }  # fmt: skip
    assert found["b"]["half in"] is None and found["b"]["recall"] == 0.0 and found["b"]["precision"] is None
    assert found["b"]["near_auc"] == found["b"]["own_precision"] == 1.0
    for scores in (np.zeros(8), np.full(9, np.nan)):
        with pytest.raises(DataError, match="one a frame"):
            figures(frames, scores)


def test_scores_over_time_and_shifted_views_by_hand() -> None:
    """Of an episode of four frames and one of two: each mean of at most three, none across."""
    scores, episode = np.array([1.0, 2, 6, 7, 10, 20]), np.array([4, 4, 4, 4, 9, 9])
    assert detectors._over_time(scores, episode).tolist() == [1, 1.5, 3, 5, 10, 15]
    images = np.arange(24, dtype=np.uint8).reshape(1, 1, 4, 6, 1)
    same, up, down, left, right = (view[0, 0, :, :, 0] for view in detectors._shifted(images))
    assert (same == images[0, 0, :, :, 0]).all()
    assert up[:, 0].tolist() == [0, 0, 0, 6] and down[:, 0].tolist() == [12, 18, 18, 18]
    assert left[0].tolist() == [0, 0, 0, 1, 2, 3] and right[0].tolist() == [2, 3, 4, 5, 5, 5]


def test_an_ensemble_by_hand() -> None:
    """Seated at 2 and 2, half in at 1 and 3 of the one member, at 3 and 1 of the other: each is right in 2 of 4 pairs,
    their mean (2 of all) ties with both, and the lowest, 1 of what is half in, is right in all."""
    frames = frames_of([*"aaaa"], [0, 0, 1, 1])
    found = detectors.together(frames, np.array([[2, 2, 1, 3], [2, 2, 3, 1.0]]))
    assert [*found] == [*ENSEMBLE]
    assert [of["a"]["near_auc"] for of in found.values()] == [0.5, 0.5, 1.0]
    assert found["smaller classifier"]["a"]["recall"] == 1.0 and found["smaller classifier"]["a"]["beside"] is None


def test_views_twice_as_fine_by_hand() -> None:
    """Of 8 x 16 pixels that are 100 but for one, 4, in row 2, column 4, where the middle half, 4 x 8, begins: in the
    coarse view it is a quarter of a pixel, 76; in the coarse middle that pixel is four, and in the fine one it is 4."""
    images = np.full((1, 1, 8, 16, 1), 100, np.uint8)
    images[0, 0, 2, 4] = 4
    seen = {name: view(images)[0, 0, :, :, 0] for name, (_, view) in RESOLUTION.items()}
    whole, middle, fine = seen.values()
    assert whole.shape == middle.shape == fine.shape == (4, 8)
    assert whole[1, 2] == 76 and (whole != 100).sum() == 1
    assert (middle[:2, :2] == 76).all() and (middle != 100).sum() == 4
    assert fine[0, 0] == 4 and (fine != 100).sum() == 1


def test_the_study_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.SIZES, "quick", (1, 2, 2, 2))
    monkeypatch.setattr(detectors, "MEMBERS", 1)
    monkeypatch.setattr(detectors, "FINE", 64)
    asked = Asked("quick", Path("data"), tmp_path / "runs", machine={"threads": 1, "device": "cpu"})
    results: dict[str, Any] = run_jobs(DETECTOR_STUDY.asked(asked).jobs(asked), tmp_path / "results")
    assert results["data"]["benches"] == 4 and min(results["data"]["frames"].values()) > 0
    assert set(results["scores"]["detectors"]) == set(DETECTORS)
    assert set(results["ensemble"]["detectors"]) == set(ENSEMBLE)
    assert set(results["resolution"]["detectors"]) == set(RESOLUTION)
    table = DETECTOR_STUDY.files(results)["table.md"].decode()
    assert "| classifier " in table and "4 benches" in table and "as-3112" in table
    assert "| ensemble, mean " in table and re.search(r"middle twice as fine +\| smaller classifier, middle ", table)
    assert DETECTOR_STUDY.files({}) == {}
    without = {name: results[name] for name in ("data", "scores")}
    assert "ensemble, mean" not in DETECTOR_STUDY.files(without)["table.md"].decode()
    page = (Path(__file__).parents[1] / "docs" / "detectors.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("runs/reproduce-laptop", str(tmp_path / "runs")), names)
    of_pixels = results["scores"]["detectors"]["goal picture, pixels"]
    assert {name: one["near_auc"] for name, one in names["by_connector"].items()} == pytest.approx(
        {name: one["near_auc"] for name, one in of_pixels.items()}, abs=1e-3
    )
    with pytest.raises(SettingsError, match="detectors: takes no connectors"):
        DETECTOR_STUDY.asked(Asked("quick", Path("data"), tmp_path, connectors=("usb-b",)))


def test_a_bench_without_a_success_is_named(tmp_path: Path) -> None:
    from lotj.training.collect import collect
    from lotj.training.collect_insertion import CollectConfig, InsertionCollection

    config = CollectConfig(robots=("duo",), expert_episodes=1, near_miss_share=0.5, max_steps=2)
    collect(tmp_path / "data", InsertionCollection(("usb-b",), config), 1)
    with pytest.raises(DataError, match=r"usb-b\.duo\.0: no episode of the expert that ends in success"):
        Frames.open(tmp_path / "data", {"usb-b": 0.01})
